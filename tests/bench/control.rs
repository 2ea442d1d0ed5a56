//! What clients of the control socket cost, and what they cannot delay.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use support::eventually;
use support::scene::{Restarter, Scene};

use crate::latency::{micros, now_ns};
use crate::peers::Peer;
use crate::stats::median;
use crate::table::Table;
use support::journal::Journal;

const WARM_UP: usize = 10;
/// More than have a place.
const HANGING: usize = 1_000;

fn start(scene: &Scene, control: &Path) -> Restarter {
    let control = control.to_str().expect("a path of ours is text");
    let target = scene.probe("exit-on=TERM:0 wait");
    let restarter = scene.restarter(&["--ready", "none", "--control", control], &target).start();
    scene.journal().await_ready(1);
    eventually("somebody listens", || UnixStream::connect(control).map(drop));
    restarter
}

fn ask(control: &Path, line: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(control)?;
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// From the connection to the end of the answer.
pub(crate) fn status(_: &[Peer], table: &mut Table) {
    let scene = Scene::new();
    let control = scene.path("c");
    let _restarter = start(&scene, &control);
    let mut values = Vec::new();
    for round in 0..WARM_UP + 500 {
        let begun = now_ns();
        let answer = ask(&control, "{\"command\":\"status\"}\n").expect("it answers");
        let ended = now_ns();
        assert!(answer.contains("\"phase\":\"serving\""), "{answer}");
        if round >= WARM_UP {
            values.push(micros(begun, ended));
        }
    }
    table.ours("`status` over the control socket, answer included, µs", median(&mut values));
}

/// From SIGTERM to the handler of the target: with no client, with many that hang, and with some
/// that come, say something senseless and go, again and again.
pub(crate) fn hanging_clients(_: &[Peer], table: &mut Table) {
    let mut values = [const { Vec::new() }; 3];
    for _ in 0..40 {
        for (kind, values) in values.iter_mut().enumerate() {
            values.push(stop_beside(kind));
        }
    }
    let whom =
        ["no client", "1,000 clients that hang", "2 clients that talk nonsense all the time"];
    for (whom, values) in whom.iter().zip(&mut values) {
        table.ours(&format!("SIGTERM to the target's handler, with {whom}, µs"), median(values));
    }
}

fn stop_beside(kind: usize) -> f64 {
    let scene = Scene::new();
    let control = scene.path("c");
    let restarter = start(&scene, &control);
    let hanging = if kind == 1 { HANGING } else { 0 };
    let hanging: Vec<UnixStream> = (0..hanging)
        .map(|_| UnixStream::connect(&control).expect("they are let in, or dropped for others"))
        .collect();
    let over = AtomicBool::new(false);
    let nonsense = || {
        while !over.load(Ordering::Relaxed) {
            let _ = ask(&control, "nonsense\n");
        }
    };
    thread::scope(|scope| {
        if kind == 2 {
            scope.spawn(nonsense);
            scope.spawn(nonsense);
        }
        let journal = scene.journal();
        let child = journal.await_ready(1)[0];
        // As many of them as can be are being served.
        ask(&control, "{\"command\":\"health\"}\n").expect("it answers");
        let pid = restarter.pid();
        // One that has just answered is warm, and its pages are there: let all begin from rest.
        thread::sleep(Duration::from_millis(100));
        let sent = now_ns();
        support::processes::signal(pid, libc::SIGTERM);
        eventually("the target has ended", || {
            let signals = journal.signals(child).len();
            if signals > 0 { Ok(()) } else { Err(signals) }
        });
        over.store(true, Ordering::Relaxed);
        drop(hanging);
        micros(sent, signal_time(&journal, child))
    })
}

/// When a probe caught its last signal.
fn signal_time(journal: &Journal, pid: i32) -> i64 {
    let entries = journal.entries();
    let last = entries.iter().rfind(|entry| entry.pid == pid && entry.word == "signal");
    let last = last.unwrap_or_else(|| panic!("no signal in {entries:?}"));
    last.rest.split(' ').nth(1).and_then(|time| time.parse().ok()).expect("NUMBER TIME SENDER")
}
