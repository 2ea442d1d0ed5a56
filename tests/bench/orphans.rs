//! How fast orphans are reaped, outside a PID namespace, by those that become subreapers.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::scene::Scene;

use crate::peers::Peer;
use crate::stats::median;
use crate::table::Table;

const TIMES: usize = 3;

/// What one run took.
struct Cost {
    /// From the first death, or the first fork, until none is left.
    wall_ms: f64,
    /// The init's time on a processor.
    processor_ms: f64,
    /// The most orphans that were seen at once.
    zombies: usize,
}

/// So many orphans that die at the same moment.
pub(crate) fn burst(peers: &[Peer], orphans: usize, table: &mut Table) {
    // A family that is killed as a group: its head's death makes orphans of zombies.
    let steps = format!("fork [ setsid repeat={orphans} [ fork [ wait ] ] say=head wait ] wait");
    let run = |peer: &Peer| {
        let scene = Scene::new();
        let words: Vec<String> = peer.words.iter().cloned().chain(scene.probe(&steps)).collect();
        let mut init = scene.command(&words).stderr(Stdio::null()).spawn().expect("an init");
        let pid = i32::try_from(init.id()).expect("a pid is an int");
        let journal = scene.journal();
        let head = journal.await_said("head");
        journal.await_ready(orphans + 2);
        let before = processor_ms(pid);
        let begun = Instant::now();
        // SAFETY: the group is that of a probe which we have started and which lives.
        unsafe { libc::kill(-head, libc::SIGKILL) };
        // The family is its head's until the head is dead.
        while count_children(head) > 0 {
            std::thread::yield_now();
        }
        let zombies = until_one_child_is_left(pid);
        let wall_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        let cost = Cost { wall_ms, processor_ms: processor_ms(pid) - before, zombies };
        drop(scene);
        init.wait().expect("it is our child");
        cost
    };
    rows(peers, &format!("{orphans} orphans that die at once"), table, run);
}

/// So many orphans, one after the other.
pub(crate) fn stream(peers: &[Peer], orphans: usize, table: &mut Table) {
    let run = |peer: &Peer| {
        let scene = Scene::new();
        let gate = scene.gate();
        let steps = format!(
            "say=set await={gate} repeat={orphans} [ fork [ fork [ ] ] reap ] say=done wait"
        );
        let words: Vec<String> = peer.words.iter().cloned().chain(scene.probe(&steps)).collect();
        let mut init = scene.command(&words).stderr(Stdio::null()).spawn().expect("an init");
        let pid = i32::try_from(init.id()).expect("a pid is an int");
        let journal = scene.journal();
        journal.await_said("set");
        let before = processor_ms(pid);
        let begun = Instant::now();
        gate.open();
        let mut zombies = 0;
        while !journal.entries().iter().any(|entry| entry.rest == "done") {
            let ended = init.try_wait().expect("it is our child");
            assert!(ended.is_none(), "{} has ended before its target: {ended:?}", peer.name);
            zombies = zombies.max(count_children(pid).saturating_sub(1));
            std::thread::sleep(Duration::from_millis(20));
        }
        zombies = zombies.max(until_one_child_is_left(pid));
        let wall_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        let cost = Cost { wall_ms, processor_ms: processor_ms(pid) - before, zombies };
        drop(scene);
        init.wait().expect("it is our child");
        cost
    };
    rows(peers, &format!("a stream of {orphans} orphans"), table, run);
}

fn rows(peers: &[Peer], what: &str, table: &mut Table, run: impl Fn(&Peer) -> Cost) {
    let mut costs: Vec<Vec<Cost>> = peers.iter().map(|_| Vec::new()).collect();
    for _ in 0..TIMES {
        for (peer, costs) in peers.iter().zip(&mut costs).filter(|(peer, _)| peer.reaps) {
            costs.push(run(peer));
        }
    }
    let row = |value: fn(&Cost) -> f64| -> Vec<Option<f64>> {
        let columns = costs.iter().map(|costs| {
            let mut values: Vec<f64> = costs.iter().map(value).collect();
            (!values.is_empty()).then(|| median(&mut values))
        });
        columns.collect()
    };
    table.row(&format!("{what}: time until none is left, ms"), row(|cost| cost.wall_ms));
    table.row(&format!("{what}: processor time of the init, ms"), row(|cost| cost.processor_ms));
    #[expect(clippy::cast_precision_loss, reason = "there are few")]
    table.row(&format!("{what}: most orphans seen at once"), row(|cost| cost.zombies as f64));
}

/// Waits until only the target is left below an init; the most children that it had besides.
fn until_one_child_is_left(init: i32) -> usize {
    let since = Instant::now();
    let mut most = 0;
    loop {
        let children = count_children(init);
        most = most.max(children.saturating_sub(1));
        if children <= 1 {
            return most;
        }
        assert!(since.elapsed() < support::BOUND, "{children} are never reaped");
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// How many children a process of one thread has, zombies included. They are only counted:
/// looking at each would take longer than reaping it.
fn count_children(parent: i32) -> usize {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    list.unwrap_or_default().split_ascii_whitespace().count()
}

/// The time that a process has had a processor.
fn processor_ms(pid: i32) -> f64 {
    let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let nanos = schedstat.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok());
    nanos.unwrap_or(0.0) / 1e6
}
