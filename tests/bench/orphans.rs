//! How fast orphans are reaped.

use std::fs;
use std::time::{Duration, Instant};

use support::scene::Scene;

use crate::latency::now_ns;
use crate::peers::Peer;
use crate::pid1::{BOUND, Init, PATIENCE};
use crate::table::{NEVER, Table};
use crate::turns::take_turns;

/// How many there are.
const MANY: usize = 20_000;
/// How it grows.
const SIZES: [usize; 5] = [100, 1_000, 5_000, 10_000, 30_000];
/// Process numbers that others have, at most.
const OTHERS: usize = 2_000;

/// While an epoch is not ready we look through its members again and again, a second long where it
/// is no server; what is to be known is what orphans cost while one serves.
const SERVING: &[&str] = &["--ready", "none"];

/// Whether there are numbers for so many processes.
fn has_room(processes: usize) -> bool {
    let text = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
    let room = text.trim().parse().is_ok_and(|most: usize| processes + OTHERS <= most);
    if !room {
        eprintln!("/proc/sys/kernel/pid_max is too low for {processes} processes: left out");
    }
    room
}

/// A parent of very many that have ended dies: all are handed to the init at once.
pub(crate) fn burst(peers: &[Peer], table: &mut Table) {
    if has_room(MANY) {
        let [took, processor] = take_turns(peers, 3, |peer| burst_of(peer, MANY));
        let what = "20,000 orphans at once";
        table.row(&format!("{what}: until none is left, ms"), took);
        table.row(&format!("{what}: processor time of the init, ms"), processor);
    }
}

/// The same with few and with many.
pub(crate) fn growth(peers: &[Peer], table: &mut Table) {
    for orphans in SIZES.into_iter().filter(|orphans| has_room(*orphans)) {
        let times = if orphans > 10_000 { 2 } else { 8 };
        let [took] = take_turns(peers, times, |peer| {
            let [took, _] = burst_of(peer, orphans)?;
            #[expect(clippy::cast_precision_loss, reason = "there are thousands")]
            Ok([took * 1_000.0 / orphans as f64])
        });
        table.row(&format!("{orphans} orphans at once: each takes, µs"), took);
    }
}

/// Milliseconds until they are reaped, and of the init's processor time.
fn burst_of(peer: &Peer, orphans: usize) -> Result<[f64; 2], &'static str> {
    let scene = Scene::new();
    let family =
        format!("fork [ setsid repeat={orphans} [ fork [ ] ] to=voice say=set wait ] wait");
    let mut init = Init::start(&scene, peer, SERVING, &family);
    init.hear("say");
    let head = *children(init.target()).first().expect("the target has a child");
    // They are handed over, and looked at, from the oldest to the youngest.
    let youngest = *children(head).last().expect("it has forked");
    let before = processor_ms(&init);
    let begun = Instant::now();
    assert!(support::processes::signal(head, libc::SIGKILL), "it lives");
    let left = || children(init.pid).len();
    while support::processes::signal(youngest, 0) || left() > 1 {
        let waited = begun.elapsed();
        if waited > PATIENCE && left() > orphans {
            return Err(NEVER);
        }
        assert!(waited < BOUND, "{} are never reaped", left());
        std::thread::sleep(Duration::from_micros(50));
    }
    Ok([begun.elapsed().as_secs_f64() * 1_000.0, processor_ms(&init) - before])
}

/// Very many orphans, one after the other.
pub(crate) fn stream(peers: &[Peer], table: &mut Table) {
    let [took, processor, most] = take_turns(peers, 3, |peer| {
        let scene = Scene::new();
        let gate = scene.gate();
        let steps = format!(
            "to=voice say=set await={gate} repeat={MANY} [ fork [ fork [ ] ] reap ] say=done wait"
        );
        let mut init = Init::start(&scene, peer, SERVING, &steps);
        init.hear("say");
        let before = processor_ms(&init);
        let begun = now_ns();
        gate.open();
        let zombies = || children(init.pid).len().saturating_sub(1);
        let mut most = 0;
        // The line is left in the FIFO until it is done.
        while init.voice.hear("say", Duration::from_millis(20)).is_none() {
            most = most.max(zombies());
            if most > MANY / 2 {
                return Err(NEVER);
            }
        }
        let since = Instant::now();
        while zombies() > 0 {
            if since.elapsed() > PATIENCE {
                return Err(NEVER);
            }
            most = most.max(zombies());
            std::thread::sleep(Duration::from_micros(100));
        }
        let took = crate::latency::micros(begun, now_ns()) / 1_000.0;
        #[expect(clippy::cast_precision_loss, reason = "there are thousands")]
        Ok([took, processor_ms(&init) - before, most as f64])
    });
    let what = "20,000 orphans one after the other";
    table.row(&format!("{what}: until none is left, ms"), took);
    table.row(&format!("{what}: processor time of the init, ms"), processor);
    table.row(&format!("{what}: most zombies seen at once"), most);
}

/// The children of a process of one thread, oldest first, zombies included.
fn children(parent: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let list = list.unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The time that an init has had a processor.
fn processor_ms(init: &Init) -> f64 {
    let schedstat = fs::read_to_string(format!("/proc/{}/schedstat", init.pid)).unwrap_or_default();
    let nanos = schedstat.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok());
    nanos.unwrap_or(0.0) / 1e6
}
