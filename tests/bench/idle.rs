//! What an init costs while nothing happens.

use std::fs;
use std::thread;
use std::time::Duration;

use support::processes;
use support::scene::Scene;

use crate::peers::Peer;
use crate::pid1::Init;
use crate::stats::median;
use crate::table::{Cell, Table};
use crate::trace::{self, Trace};

/// How long the idle ones are watched.
const WATCHED: Duration = Duration::from_secs(60);
/// A target that is no server is ready for us after a second; we are idle from then on.
const REST: Duration = Duration::from_millis(2_500);
/// How often memory is looked at.
const TIMES: usize = 3;

/// What is measured of a process.
type Measured = fn(i32) -> f64;

fn start_all(scene: &Scene, peers: &[Peer]) -> Vec<Init> {
    let start = |peer| Init::start(scene, peer, &[], "to=voice wait");
    let mut inits: Vec<Init> = peers.iter().map(start).collect();
    for init in &mut inits {
        init.hear("ready");
    }
    thread::sleep(REST);
    inits
}

/// Memory once a target has run for a while, threads, descriptors, and the size of the file; of
/// those that put processes between themselves and the target, of all of these together.
pub(crate) fn memory(peers: &[Peer], table: &mut Table) {
    const ROWS: [(&str, Measured); 6] = [
        ("resident memory, KiB", |pid| rollup(pid, "Rss:")),
        ("anonymous memory, KiB", |pid| rollup(pid, "Anonymous:")),
        ("private dirty memory, KiB", |pid| rollup(pid, "Private_Dirty:")),
        ("resident memory after a SIGWINCH, KiB", |pid| rollup(pid, "Rss:")),
        ("threads", threads),
        ("descriptors", descriptors),
    ];
    const AFTER_SIGNAL: usize = 3;
    let scene = Scene::new();
    let mut values = [const { Vec::new() }; ROWS.len()];
    for _ in 0..TIMES {
        let inits = start_all(&scene, peers);
        for (row, (values, (_, value))) in values.iter_mut().zip(ROWS).enumerate() {
            if row == AFTER_SIGNAL {
                // What a signal touches must not stay resident for good.
                for init in &inits {
                    init.signal(libc::SIGWINCH);
                }
                thread::sleep(Duration::from_millis(100));
            }
            let of = |init: &Init| init.processes().into_iter().map(value).sum::<f64>();
            values.push(inits.iter().map(of).collect::<Vec<_>>());
        }
    }
    for ((what, _), values) in ROWS.iter().zip(&values) {
        let cell = |peer: usize| {
            let mut values: Vec<f64> = values.iter().map(|values| values[peer]).collect();
            Cell::Figure(median(&mut values))
        };
        table.row(what, (0..peers.len()).map(cell).collect());
    }
    let size = |peer: &Peer| fs::metadata(peer.file()).expect("a program").len();
    #[expect(clippy::cast_precision_loss, reason = "programs are small")]
    let size = |peer| Cell::Figure(size(peer) as f64 / 1024.0);
    table.row("size of the file, KiB", peers.iter().map(size).collect());
}

fn rollup(pid: i32, field: &str) -> f64 {
    number(&format!("/proc/{pid}/smaps_rollup"), field)
}

fn threads(pid: i32) -> f64 {
    number(&format!("/proc/{pid}/status"), "Threads:")
}

fn number(file: &str, field: &str) -> f64 {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let value = text.lines().find_map(|line| line.strip_prefix(field)).expect("a known field");
    value.split_whitespace().next().and_then(|value| value.parse().ok()).expect("a number")
}

#[expect(clippy::cast_precision_loss, reason = "there are few")]
fn descriptors(pid: i32) -> f64 {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").count() as f64
}

/// The system calls and the wake-ups of an idle minute, the same for all. Of each there are two,
/// since those that strace watches are woken by it.
pub(crate) fn idle(peers: &[Peer], table: &mut Table) {
    let scene = Scene::new();
    let inits = start_all(&scene, peers);
    let traced = start_all(&scene, peers);
    let everybody: Vec<i32> = traced.iter().flat_map(Init::processes).collect();
    let trace = trace::possible().then(|| Trace::attach(&scene, &everybody));
    let switches = |init: &Init| init.processes().into_iter().map(processes::switches).sum::<u64>();
    let before: Vec<u64> = inits.iter().map(switches).collect();
    thread::sleep(WATCHED);
    let woken = inits.iter().zip(&before).map(|(init, before)| switches(init) - before);
    #[expect(clippy::cast_precision_loss, reason = "there are few")]
    let cell = |number: u64| Cell::Figure(number as f64);
    table.row("wake-ups in an idle minute", woken.map(cell).collect());
    let Some(trace) = trace else {
        eprintln!("strace is not installed, so idle system calls are left out");
        return;
    };
    let said = trace.finish();
    let calls = |init: &Init| {
        init.processes().into_iter().map(|pid| trace::all_calls_of(&said, pid)).sum::<usize>()
    };
    let calls = traced.iter().map(|init| cell(calls(init) as u64));
    table.row("system calls in an idle minute", calls.collect());
}
