//! How long things take from one process to another.

use std::process::{Command, Stdio};
use std::time::Duration;

use support::eventually;
use support::journal::Journal;
use support::scene::Scene;

use crate::peers::Peer;
use crate::stats::median;
use crate::table::Table;

const WARM_UP: usize = 10;

/// Now, by the clock that probes write down.
pub(crate) fn now_ns() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a value of our own.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

#[expect(clippy::cast_precision_loss, reason = "a difference of two moments is short")]
pub(crate) fn micros(from: i64, to: i64) -> f64 {
    (to - from) as f64 / 1_000.0
}

fn run(words: &[String]) -> std::process::Child {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// From the moment before the init is forked to the target's first instruction.
pub(crate) fn start(peers: &[Peer], table: &mut Table) {
    let columns = side_by_side(peers, 300, |words, scene| {
        let probe = scene.probe("report");
        let words: Vec<String> = words.iter().cloned().chain(probe).collect();
        let begun = now_ns();
        run(&words).wait().expect("it is our child");
        let journal = scene.journal();
        let first = last_number(&journal, "begun");
        let _ = std::fs::remove_file(journal.path());
        micros(begun, first)
    });
    table.row("exec of the init to the target's first instruction, µs", columns);
}

/// A target that exits at once: from the fork of the init to its own end.
pub(crate) fn start_to_exit(peers: &[Peer], table: &mut Table) {
    let columns = side_by_side(peers, 300, |words, scene| {
        let probe = scene.probe("exit=0");
        let words: Vec<String> = words.iter().cloned().chain(probe).collect();
        let begun = now_ns();
        run(&words).wait().expect("it is our child");
        micros(begun, now_ns())
    });
    table.row("the same to the init's exit, of a target that exits at once, µs", columns);
}

fn side_by_side(
    peers: &[Peer],
    times: usize,
    mut measure: impl FnMut(&[String], &Scene) -> f64,
) -> Vec<Option<f64>> {
    let scene = Scene::new();
    let mut values = vec![Vec::new(); peers.len()];
    for round in 0..WARM_UP + times {
        for (peer, values) in peers.iter().zip(&mut values) {
            let value = measure(&peer.words, &scene);
            if round >= WARM_UP {
                values.push(value);
            }
        }
    }
    values.iter_mut().map(|values| Some(median(values))).collect()
}

fn last_number(journal: &Journal, word: &str) -> i64 {
    let entries = journal.entries();
    let entry = entries.iter().rfind(|entry| entry.word == word);
    let entry = entry.unwrap_or_else(|| panic!("no {word} in {entries:?}"));
    entry.rest.parse().expect("a number")
}

/// From SIGHUP to the first instruction of the new epoch, one older epoch living.
pub(crate) fn restart(_: &[Peer], table: &mut Table) {
    for (ready, times) in [("none", 200), ("auto", 10)] {
        let scene = Scene::new();
        let target = scene.probe("report exit-on=TERM:0 wait");
        let restarter = scene.restarter(&["--ready", ready], &target).start();
        let pid = restarter.pid();
        let journal = scene.journal();
        let mut values = Vec::new();
        let mut pids = journal.await_ready(1);
        for epoch in 1..=times {
            restarter.says(&format!("ready epoch={}", epoch - 1));
            let sent = now_ns();
            support::processes::signal(pid, libc::SIGHUP);
            let begun = eventually("the new epoch has begun", || {
                let times = journal.writers("begun").len();
                if times > epoch { Ok(last_number(&journal, "begun")) } else { Err(times) }
            });
            values.push(micros(sent, begun));
            pids = journal.await_ready(epoch + 1);
            // The oldest leaves, as after a handover.
            support::processes::signal(pids[epoch - 1], libc::SIGTERM);
            restarter.says(&format!("ended epoch={}", epoch - 1));
        }
        drop(pids);
        table.ours(
            &format!("SIGHUP to the new epoch's first instruction, `--ready {ready}`, µs"),
            median(&mut values),
        );
    }
}

/// From the last word of the last child to the restarter's own exit, at a stop.
pub(crate) fn end(_: &[Peer], table: &mut Table) {
    let mut values = Vec::new();
    for _ in 0..100 {
        let scene = Scene::new();
        let target = scene.probe("exit-on=TERM:0 wait");
        let mut restarter = scene.restarter(&[], &target).start();
        let pids = scene.journal().await_ready(1);
        support::processes::signal(restarter.pid(), libc::SIGTERM);
        restarter.child().wait().expect("it is our child");
        let ended = now_ns();
        values.push(micros(signal_time(&scene.journal(), pids[0]), ended));
    }
    table.ours("the last child's handler for SIGTERM to our own exit, µs", median(&mut values));
}

/// From SIGUSR1 to the handler of the child.
pub(crate) fn reopen(_: &[Peer], table: &mut Table) {
    let scene = Scene::new();
    let target = scene.probe("catch=USR1 wait");
    let restarter = scene.restarter(&["--ready", "none"], &target).start();
    let journal = scene.journal();
    let child = journal.await_ready(1)[0];
    let pid = restarter.pid();
    let mut values = Vec::new();
    for round in 1..=WARM_UP + 200 {
        let sent = now_ns();
        support::processes::signal(pid, libc::SIGUSR1);
        eventually("the signal has arrived", || {
            let times = journal.signals(child).len();
            if times >= round { Ok(()) } else { Err(times) }
        });
        if round > WARM_UP {
            values.push(micros(sent, signal_time(&journal, child)));
        }
        // The restarter is idle again before the next.
        std::thread::sleep(Duration::from_millis(2));
    }
    table.ours("SIGUSR1 to the child's handler, µs", median(&mut values));
}

/// When a probe caught its last signal.
pub(crate) fn signal_time(journal: &Journal, pid: i32) -> i64 {
    let entries = journal.entries();
    let last = entries.iter().rfind(|entry| entry.pid == pid && entry.word == "signal");
    let last = last.unwrap_or_else(|| panic!("no signal in {entries:?}"));
    last.rest.split(' ').nth(1).and_then(|time| time.parse().ok()).expect("NUMBER TIME SENDER")
}
