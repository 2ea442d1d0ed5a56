//! Handovers by the dozen and by the hundred.

use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use libc::{SIGHUP, SIGTERM};
use libtest_mimic::Trial;
use support::envoy::{Bare, Stage};
use support::eventually;
use support::load::Load;

use super::{Random, times, under_load};
use crate::needs::{Needs, trial};

/// The trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    let heavy = |name, run: fn()| under_load(trial(name, Needs::Namespace, run));
    vec![
        heavy("envoy::twenty_restarts", twenty_restarts),
        heavy("envoy::a_hundred_restarts_at_random", hundred_at_random),
        trial("envoy::pairs_of_restarts", Needs::Namespace, pairs),
        trial("envoy::stops_amid_handovers", Needs::Namespace, stops_amid_handovers),
        trial("envoy::a_pair_kills_without_the_gate", Needs::Namespace, without_the_gate),
    ]
}

fn twenty_restarts() {
    let stage = Stage::in_namespace((1, 2));
    let mut bare = Bare::start(&stage, &["--max-epochs", "2"]);
    stage.await_first(|| bare.output());
    let load = Load::heavy(&stage);
    let mut handovers = Vec::new();
    for epoch in 1..=20 {
        let since = Instant::now();
        bare.restarter.signal(SIGHUP);
        stage.await_live(epoch);
        handovers.push(since.elapsed());
        stage.settled(bare.restarter, epoch..=epoch);
    }
    let (kept, new) = load.stop();
    handovers.sort();
    let [shortest, median, longest] = [0, 10, 19].map(|index| handovers[index].as_millis());
    println!("20 hot restarts, kept connections: {kept}");
    println!("20 hot restarts, new connections: {new}");
    println!("20 hot restarts, LIVE after {shortest} to {longest} ms, median {median} ms");
    assert_eq!((kept.failed, new.failed), (0, 0));
    end(&mut bare);
}

fn hundred_at_random() {
    let stage = Stage::in_namespace((1, 2));
    let mut bare = Bare::start(&stage, &["--max-epochs", "2"]);
    stage.await_first(|| bare.output());
    let load = Load::heavy(&stage);
    let seed = u64::from(std::process::id());
    println!("100 SIGHUPs at random, seed {seed}");
    let begin = Instant::now();
    for at in random_times(seed, 100, Duration::from_secs(20)) {
        thread::sleep(at.saturating_sub(begin.elapsed()));
        bare.restarter.signal(SIGHUP);
    }
    let last = stage.settled(bare.restarter, 2..=100);
    let (kept, new) = load.stop();
    println!("100 SIGHUPs at random, {last} restarts, kept connections: {kept}");
    println!("100 SIGHUPs at random, {last} restarts, new connections: {new}");
    assert_eq!((kept.failed, new.failed), (0, 0), "seed {seed}");
    end(&mut bare);
}

/// Times within a span, in their order, from a seed.
fn random_times(seed: u64, count: usize, span: Duration) -> Vec<Duration> {
    let mut random = Random(seed);
    let mut times: Vec<_> =
        (0..count).map(|_| span.mul_f64(f64::from(random.next()) / f64::from(u32::MAX))).collect();
    times.sort();
    times
}

/// Two SIGHUPs 0.5 to 120 ms apart, as often as is asked for: each is a restart of its own
/// unless the kernel has made one of them, and the service survives them all.
fn pairs() {
    let pairs = times();
    let stage = Stage::in_namespace((1, 1));
    let mut bare = Bare::start(&stage, &[]);
    stage.await_first(|| bare.output());
    let mut epoch = 0;
    for pair in 0..pairs {
        let gap_us = 500 + 119_500 * u64::from(pair) / u64::from(pairs - 1).max(1);
        let gap = Duration::from_micros(gap_us);
        bare.restarter.signal(SIGHUP);
        thread::sleep(gap);
        let least = if bare.restarter.has_pending(SIGHUP) { 1 } else { 2 };
        bare.restarter.signal(SIGHUP);
        epoch = stage.settled(bare.restarter, epoch + least..=epoch + 2);
        let answer = stage.ask();
        assert!(answer.is_ok_and(|body| !body.is_empty()), "nobody serves after a gap of {gap:?}");
    }
    println!("{pairs} pairs of SIGHUPs 0.5 to 120 ms apart: {epoch} restarts, all survived");
    end(&mut bare);
}

/// A stop 60 to 130 ms after a SIGHUP, when the epochs talk to each other. An Envoy whose parent
/// has gone first waits for its answer for ever, and then something has to be killed.
fn stops_amid_handovers() {
    let times = times();
    for turn in 0..times {
        let gap = Duration::from_millis(60) + Duration::from_millis(70) * turn / times;
        let stage = Stage::in_namespace((2, 3));
        let mut bare = Bare::start(&stage, &["--term-wait", "12"]);
        stage.await_first(|| bare.output());
        bare.restarter.signal(SIGHUP);
        thread::sleep(gap);
        end(&mut bare);
    }
}

/// What the gate is for: where every epoch counts as ready at once, Envoy's third process finds
/// the second one initialising, and all of them end by it. It is a race, so there are ten.
fn without_the_gate() {
    let died = (0..10).any(|_| {
        let stage = Stage::in_namespace((1, 1));
        let mut bare = Bare::start(&stage, &["--ready", "none"]);
        stage.await_first(|| bare.output());
        bare.restarter.signal(SIGHUP);
        thread::sleep(Duration::from_millis(5));
        // Two that wait are one.
        eventually("the signal is taken", || {
            if bare.restarter.has_pending(SIGHUP) { Err(()) } else { Ok(()) }
        });
        bare.restarter.signal(SIGHUP);
        eventually("epoch 2 serves or everything is over", || {
            match (bare.ended(), stage.live_epoch()) {
                (None, Some(2)) => Ok(false),
                (None, other) => Err(other),
                (Some(status), _) => Ok(status.code() == Some(1)),
            }
        })
    });
    assert!(died, "this trial shows nothing any more: ten pairs survived without the gate");
}

fn end(bare: &mut Bare) {
    bare.restarter.signal(SIGTERM);
    let status = bare.wait();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
}
