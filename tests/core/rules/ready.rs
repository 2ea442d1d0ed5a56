//! Section 5: ready.

use std::time::Duration;

use hot_restarter::supervisor::{Answer, Peer, Policy, Readiness, View};

use super::CRASH;
use crate::story::{READY, STARTING, SUCCESS, Story, by_admin, defaults};

fn by_command() -> Policy {
    Policy { readiness: Readiness::Command, ..defaults() }
}

fn by_http() -> Policy {
    Policy { readiness: Readiness::Http, ..defaults() }
}

/// "Any other target counts as ready one second after its start."
#[test]
fn a_silent_target_is_ready_after_a_second() {
    let mut story = Story::begin(defaults());
    story.pass(0.999);
    assert!(!story.logged("ready"));
    story.pass(0.001);
    assert!(story.logged("ready"));
    assert_eq!(story.world.supervisor.next_deadline(), None, "never when idle");
}

/// "Once an epoch of this run was an Envoy, every later one is ready only as an Envoy, never by
/// the clock."
#[test]
fn who_announced_once_must_announce_again() {
    let mut story = Story::serving(defaults(), 1);
    story.receive("HUP");
    story.pass(60.0);
    assert!(!story.world.ledger.is_ready(1));
    story.ready();
    assert!(story.world.ledger.is_ready(1));
}

/// "Readiness is looked at once more when a restart is about to begin."
#[test]
fn a_last_look_may_find_it_starting() {
    let mut story = Story::begin(defaults());
    story.pass(1.0);
    story.forget();
    story.looks(0, View::Starting);
    story.receive("HUP");
    assert_eq!(story.then(), ["look at epoch 0 [starting]"]);
    story.looks(0, View::Ready);
    story.pass(0.1);
    assert_eq!(story.epochs(), [0, 1]);
}

/// "`--ready none`: at once."
#[test]
fn ready_none_looks_at_nothing() {
    let mut story = Story::begin(Policy { readiness: Readiness::None, ..defaults() });
    assert!(story.logged("ready"));
    story.forget();
    story.receive("HUP");
    assert_eq!(story.then(), ["start epoch 1"]);
}

/// "An epoch that is not ready within `--ready-timeout` is warned about once and looked at once
/// a second from then on."
#[test]
fn a_late_epoch_is_warned_about_once() {
    let mut story = Story::serving(defaults(), 1);
    story.receive("HUP");
    story.forget();
    story.pass(119.0);
    assert!(!story.logged("not-ready"));
    story.pass(2.0);
    assert!(story.logged("not-ready"));
    story.forget();
    story.pass(60.0);
    assert!(!story.logged("not-ready"));
    assert_eq!(story.done(), ["look at epoch 1 [silent]"; 60]);
}

/// "With `--envoy-admin`, when `/server_info` says LIVE *and* the epoch's own number." It is
/// asked again and again, by the core's own clock.
#[test]
fn the_admin_says_when_it_is_ready() {
    let mut story = Story::begin(by_admin());
    story.forget();
    story.pass(0.005);
    assert_eq!(story.then(), ["ask admin of epoch 0"]);
    story.pass(60.0);
    assert_eq!(story.then(), [""; 0], "nobody asks twice at once");
    for answer in [Answer::No, STARTING] {
        story.answer(Peer::Admin, answer);
        assert_eq!(story.then(), [""; 0]);
        story.pass(1.0);
        assert_eq!(story.then(), ["ask admin of epoch 0"]);
    }
    story.answer(Peer::Admin, READY);
    assert!(story.logged("ready"));
    assert_eq!(story.then(), ["look at epoch 0 [silent]"]);
    assert_eq!(story.world.supervisor.next_deadline(), None);
}

/// Whatever the probe says: an epoch that is seen to initialise is not ready. Another one may
/// have answered in its place.
#[test]
fn an_answer_is_not_believed_while_it_initialises() {
    let mut story = Story::serving(by_http(), 1);
    story.receive("HUP");
    story.pass(0.005);
    story.forget();
    story.looks(1, View::Starting);
    story.answer(Peer::Probe, READY);
    assert_eq!(story.then(), ["look at epoch 1 [starting]"]);
    assert!(!story.world.ledger.is_ready(1));
    story.pass(0.1);
    assert_eq!(story.then(), ["ask server of epoch 1"]);
    story.looks(1, View::Ready);
    story.answer(Peer::Probe, READY);
    assert!(story.world.ledger.is_ready(1));
}

/// … nor one that is silent where others have announced themselves: its start script has not
/// come to the server yet.
#[test]
fn an_answer_is_not_believed_before_it_announces() {
    let mut story = Story::serving(by_http(), 1);
    story.receive("HUP");
    story.pass(0.005);
    story.looks(1, View::Silent);
    story.answer(Peer::Probe, READY);
    assert!(!story.world.ledger.is_ready(1));
    story.ready();
    assert!(story.world.ledger.is_ready(1));
}

/// "`--ready exec:COMMAND`: when COMMAND, run again and again, exits 0."
#[test]
fn a_command_says_when_it_is_ready() {
    let mut story = Story::begin(by_command());
    story.forget();
    for _ in 0..3 {
        story.pass(0.1);
        assert_eq!(story.then(), ["run probe of epoch 0"]);
        story.task_ends(CRASH);
        assert_eq!(story.then(), ["SIGKILL to group of probe of epoch 0", "reap probe of epoch 0"]);
    }
    story.pass(0.1);
    story.forget();
    story.task_ends(SUCCESS);
    assert!(story.logged("ready"));
    assert_eq!(story.done().last(), Some(&"look at epoch 0 [silent]"));
}

/// A probe that takes longer than 10 s is no answer; it is killed, and the next one follows.
#[test]
fn a_probe_that_hangs_is_killed() {
    let mut story = Story::begin(by_command());
    story.pass(0.005);
    story.forget();
    story.pass(9.999);
    assert_eq!(story.then(), [""; 0]);
    story.pass(0.001);
    assert_eq!(
        story.then(),
        [
            "SIGKILL to group of probe of epoch 0",
            "SIGKILL to group of probe of epoch 0",
            "reap probe of epoch 0"
        ]
    );
    story.pass(1.0);
    assert_eq!(story.then(), ["run probe of epoch 0"]);
}

/// A probe that cannot be run is said once, and tried again.
#[test]
fn a_probe_that_cannot_be_run() {
    let mut story = Story::begin_with(by_command(), |kernel| kernel.run_fails = true);
    story.pass(0.005);
    assert!(story.logged("probe-failed"));
    story.forget();
    story.pass(10.0);
    assert!(!story.logged("probe-failed"), "once");
    story.world.kernel.run_fails = false;
    story.ready();
    assert!(story.logged("ready"));
}

/// A probe that has passed is over: what it left in its group goes with it.
#[test]
fn a_probe_leaves_nothing() {
    let mut story = Story::begin(by_command());
    story.pass(0.005);
    story.orphan_of_process(story.task(), false);
    story.task_ends(SUCCESS);
    assert_eq!(story.world.kernel.processes.len(), 1, "the epoch's leader");
}

/// "`--ready http://…`: on a 2xx answer."
#[test]
fn a_server_says_when_it_is_ready() {
    let mut story = Story::begin(by_http());
    story.forget();
    story.pass(0.005);
    assert_eq!(story.then(), ["ask server of epoch 0"]);
    story.answer(Peer::Probe, Answer::No);
    assert_eq!(story.then(), [""; 0]);
    story.pass(0.1);
    story.answer(Peer::Probe, READY);
    assert!(story.logged("ready"));
}

/// "An epoch that is not ready within `--ready-timeout` is warned about once and looked at once a
/// second from then on", by whatever looks.
#[test]
fn a_late_epoch_is_probed_once_a_second() {
    let ready_timeout = Duration::from_secs(2);
    let mut story = Story::begin(Policy { ready_timeout, ..by_http() });
    story.world.kernel.says.probe = Some(Answer::No);
    story.pass(4.0);
    assert!(story.logged("not-ready"));
    story.forget();
    story.pass(60.0);
    let (asked, looked) = ("ask server of epoch 0", "look at epoch 0 [silent]");
    assert_eq!(story.done(), [asked, looked].repeat(60));
    assert!(!story.logged("not-ready"));
}

/// A question about an epoch that has become ready, or of a stop, is nobody's any more.
#[test]
fn an_answer_that_comes_too_late() {
    let mut story = Story::begin(by_http());
    story.pass(0.005);
    story.receive("TERM");
    story.forget();
    story.answer(Peer::Probe, READY);
    assert_eq!(story.done(), [""; 0]);
    assert!(!story.logged("ready"));
}

/// Fewer worker threads than the epoch before it lose connections (measured), and that is warned
/// about once.
#[test]
fn fewer_workers_are_warned_about_once() {
    let workers = |workers| Answer::Starting { workers: Some(workers) };
    let mut story = Story::begin(by_admin());
    story.pass(0.005);
    story.answer(Peer::Admin, workers(4));
    story.ready();
    story.receive("HUP");
    story.pass(0.005);
    story.answer(Peer::Admin, workers(2));
    assert!(story.logged("fewer-workers"));
    story.forget();
    for answer in [STARTING, workers(2), workers(1)] {
        story.pass(1.0);
        story.answer(Peer::Admin, answer);
    }
    assert!(!story.logged("fewer-workers"));
}

/// … and as many are none.
#[test]
fn as_many_workers_are_fine() {
    let ready = |workers| Answer::Ready { workers };
    let mut story = Story::begin(by_admin());
    for workers in [None, Some(2), Some(2), Some(4), None] {
        story.pass(0.01);
        story.looks(story.world.ledger.newest().expect("it lives"), View::Ready);
        story.answer(Peer::Admin, ready(workers));
        if story.epochs().len() == 3 {
            story.epoch_ends(story.epochs()[0], SUCCESS);
        }
        story.receive("HUP");
    }
    assert!(!story.logged("fewer-workers"));
}
