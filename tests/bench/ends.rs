//! From a signal to the target's handler, and from the target's end to the init's.

use std::thread;
use std::time::Duration;

use support::scene::Scene;

use crate::latency::micros;
use crate::peers::Peer;
use crate::pid1::{Init, PATIENCE};
use crate::table::{NEVER, NOT_FOR_IT, Table};
use crate::turns::take_turns;

/// After this every init waits for something to happen.
const REST: Duration = Duration::from_millis(10);
/// After this a target that is no server is ready, for us.
const READY: Duration = Duration::from_millis(1_500);

/// From SIGUSR1 to the handler of the target.
pub(crate) fn forwarded(peers: &[Peer], table: &mut Table) {
    let scene = Scene::new();
    let start = |peer| Init::start(&scene, peer, &[], "to=voice catch=USR1 wait");
    let mut inits: Vec<Init> = peers.iter().map(start).collect();
    for init in &mut inits {
        init.hear("ready");
    }
    thread::sleep(READY);
    let [row] = take_turns(peers, 200, |peer| {
        if peer.starts_again() {
            return Err(NOT_FOR_IT);
        }
        let init = peers.iter().position(|other| other.name == peer.name).expect("it is one");
        let init = &mut inits[init];
        // It is asleep again.
        thread::sleep(REST / 5);
        let sent = init.signal(libc::SIGUSR1);
        let heard = init.voice.hear("signal", PATIENCE).ok_or(NEVER)?;
        Ok([micros(sent, heard.number(1))])
    });
    table.row("SIGUSR1 to the target's handler, µs", row);
}

/// From SIGTERM to the handler of the target, which exits, and from that to the init's exit.
pub(crate) fn stop(peers: &[Peer], table: &mut Table) {
    let scene = Scene::new();
    let [handled, ended] = take_turns(peers, 100, |peer| {
        let mut init = Init::start(&scene, peer, &[], "to=voice exit-on=TERM:0 wait");
        init.hear("ready");
        thread::sleep(REST);
        let sent = init.signal(libc::SIGTERM);
        let handled = init.voice.hear("signal", PATIENCE).ok_or(NEVER)?.number(1);
        let ended = init.ended(PATIENCE).ok_or(NEVER)?;
        Ok([micros(sent, handled), micros(handled, ended)])
    });
    table.row("SIGTERM to the target's handler, µs", handled);
    table.row("a stop: the target's handler, which exits, to the init's exit, µs", ended);
}

/// From the last instruction of a target that exits with 3 to the init's exit.
pub(crate) fn unexpected(peers: &[Peer], table: &mut Table) {
    let scene = Scene::new();
    let [row] = take_turns(peers, 100, |peer| {
        if peer.starts_again() {
            return Err("starts it again");
        }
        let mut init = Init::start(&scene, peer, &[], "to=voice exit-on=USR2:3 wait");
        init.hear("ready");
        thread::sleep(REST);
        support::processes::signal(init.target(), libc::SIGUSR2);
        let last = init.hear("signal").number(1);
        let ended = init.ended(PATIENCE).ok_or(NEVER)?;
        Ok([micros(last, ended)])
    });
    table.row("unexpected exit of the target, with 3, to the init's exit, µs", row);
}
