//! What a start costs, as PID 1.

use std::fs;

use support::eventually;
use support::scene::Scene;

use crate::latency::micros;
use crate::peers::Peer;
use crate::pid1::{Init, PATIENCE, Prepared};
use crate::table::{NEVER, NOT_FOR_IT, Table};
use crate::trace::{self, Trace};
use crate::turns::take_turns;

/// From the init's `execve` to the target's first instruction.
pub(crate) fn start(peers: &[Peer], table: &mut Table) {
    let scene = Scene::new();
    let [row] = take_turns(peers, 300, |peer| {
        let mut init = Init::start(&scene, peer, &[], "to=voice begun wait");
        let begun = init.hear("begun").number(0);
        Ok([micros(init.executed(), begun)])
    });
    table.row("exec of the init to the target's first instruction, µs", row);
}

/// A target that exits at once: from the init's `execve` to its own end.
pub(crate) fn start_to_exit(peers: &[Peer], table: &mut Table) {
    let scene = Scene::new();
    let [row] = take_turns(peers, 300, |peer| {
        if peer.starts_again() {
            return Err("starts it again");
        }
        let mut init = Init::start(&scene, peer, &[], "");
        let ended = init.ended(PATIENCE).ok_or(NEVER)?;
        Ok([micros(init.executed(), ended)])
    });
    table.row("exec of the init to its exit, the target exits at once, µs", row);
}

/// System calls, by strace: those that the target's `execve` waits for, from the init's own on; and
/// those of the init until it waits. And the init's page faults until then, without strace.
pub(crate) fn system_calls(peers: &[Peer], table: &mut Table) {
    let scene = Scene::new();
    let [faults] = take_turns(peers, 20, |peer| {
        let mut init = Init::start(&scene, peer, &[], "to=voice begun wait");
        init.hear("ready");
        await_sleep(init.pid);
        Ok([faults(init.pid)])
    });
    table.row("page faults of the init until it waits", faults);
    if !trace::possible() {
        eprintln!("strace is not installed, so system calls are left out");
        return;
    }
    let [before, until_idle] = take_turns(peers, 3, |peer| {
        let prepared = Prepared::new(&scene, peer, &[], "to=voice begun wait");
        let pid = prepared.pid();
        let trace = Trace::attach(&scene, &[pid]);
        let mut init = prepared.go();
        init.hear("ready");
        await_sleep(pid);
        let said = trace.finish();
        drop(init);
        let calls = trace::before_target(&said, pid).ok_or(NOT_FOR_IT)?;
        let own = trace::calls_of(&said, pid);
        assert!(own > 0, "{said}");
        Ok([calls, own].map(to_f64))
    });
    table.row("system calls from the init's exec to the target's", before);
    table.row("system calls of the init until it waits", until_idle);
}

#[expect(clippy::cast_precision_loss, reason = "there are few")]
fn to_f64(count: usize) -> f64 {
    count as f64
}

/// Waits until a process sleeps and stays asleep.
fn await_sleep(pid: i32) {
    let mut before = 0;
    eventually("it waits", || {
        let switches = support::processes::switches(pid);
        let state = support::processes::process(pid).map(|process| process.state);
        let same = before == switches;
        before = switches;
        if same && matches!(state, Some('S')) { Ok(()) } else { Err(state) }
    });
}

/// How many page faults a process has had that needed no disk.
fn faults(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let after = stat.rsplit_once(')').expect("a name in parentheses").1;
    after.split_whitespace().nth(7).and_then(|faults| faults.parse().ok()).expect("a number")
}
