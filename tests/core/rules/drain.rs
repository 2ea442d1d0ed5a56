//! Section 7: drain.

use std::time::Duration;

use crate::words;
use hot_restarter::supervisor::{
    Answer, DrainTime, Peer, Pending, Policy, Readiness, Reply, Request, View, WaitsFor, What,
};

use super::CRASH;
use crate::story::{READY, STARTING, SUCCESS, Story, counted, drains, pending};

const ASKED_TO_END: &str = "SIGTERM to group of epoch 0";

fn has_asked_to_end(story: &Story) -> bool {
    story.done().iter().any(|line| line.starts_with("SIGTERM to group"))
}

fn request(story: &Story) -> Option<Request> {
    story.world.kernel.request
}

/// The count that is due finds this.
fn count(story: &mut Story, requests: u64) {
    if request(story).is_none() {
        story.pass(0.5);
    }
    assert_eq!(request(story), Some(Request::CountPending));
    story.reply(pending(requests));
}

/// "Check that `/server_info` names the newest epoch; `POST /healthcheck/fail` and
/// `POST /drain_listeners`", and nobody is asked to end.
#[test]
fn envoy_is_told() {
    let mut story = Story::serving(drains(), 1);
    story.receive("TERM");
    assert_eq!(story.then(), ["ask admin of epoch 0"]);
    story.answer(Peer::Admin, READY);
    assert_eq!(story.then(), ["ask the admin to fail its health check"]);
    story.reply(Reply::Done);
    assert_eq!(story.then(), ["ask the admin to drain its listeners"]);
    story.reply(Reply::Done);
    assert_eq!(story.then(), ["ask the admin to count what is pending"]);
    assert!(story.logged("draining") || story.world.said.contains_key("draining"));
}

/// "Go on serving for `--drain-min` at least", counted from when Envoy has been told.
#[test]
fn the_least_time_is_kept() {
    let mut story = Story::serving(drains(), 1);
    story.receive("TERM");
    story.pass(2.0);
    story.answer(Peer::Admin, READY);
    story.reply(Reply::Done);
    story.reply(Reply::Done);
    story.forget();
    story.reply(pending(0));
    for _ in 0..11 {
        count(&mut story, 0);
    }
    story.pass(0.4);
    assert!(!has_asked_to_end(&story), "{:?}", story.done());
    story.pass(0.1);
    story.reply(pending(0));
    assert!(story.done().contains(&ASKED_TO_END));
    assert!(story.logged("drained"));
}

/// "Then wait, asking each half second, until nothing is pending."
#[test]
fn what_is_pending_is_waited_for() {
    let mut story = Story::serving(drains(), 1);
    story.drains();
    story.reply(pending(3));
    for requests in [3; 20] {
        story.pass(0.5);
        count(&mut story, requests);
        assert!(!has_asked_to_end(&story));
    }
    story.pass(0.5);
    count(&mut story, 0);
    assert!(!has_asked_to_end(&story), "gauges are not read at one moment, so one is none");
    story.pass(0.5);
    count(&mut story, 0);
    assert!(story.done().contains(&ASKED_TO_END));
}

/// "… or S is over; then SIGTERM." "Nothing ever delays the stop beyond `--drain-timeout`", and
/// "the time counts towards `--term-wait`".
#[test]
fn nothing_outlasts_the_timeout() {
    let mut story = Story::serving(drains(), 1);
    story.drains();
    for _ in 0..49 {
        story.pass(0.5);
        if request(&story).is_some() {
            story.reply(pending(1));
        }
    }
    assert!(!has_asked_to_end(&story));
    story.pass(0.5);
    assert!(story.done().contains(&ASKED_TO_END));
    story.pass(4.9);
    assert_eq!(story.epochs(), [0]);
    story.pass(0.1);
    assert_eq!(story.exit_code(), Some("1"), "30 s after the signal");
}

/// "An admin that does not answer is logged, `--drain-min` still holds."
#[test]
fn an_admin_that_says_no() {
    let mut story = Story::serving(drains(), 1);
    story.world.kernel.says.admin = Some(Answer::No);
    story.receive("TERM");
    assert!(story.logged("drain-unheard"));
    story.pass(5.4);
    assert!(!has_asked_to_end(&story));
    story.pass(0.6);
    assert!(story.done().contains(&ASKED_TO_END));
    let asked = story.done().iter().filter(|line| **line == "ask admin of epoch 0").count();
    assert_eq!(asked, 13, "each half second");
    assert_eq!(story.world.said["drain-unheard"], 1);
}

/// A hung one is waited for no longer than its answer may take.
#[test]
fn an_admin_that_hangs_to_the_end() {
    let mut story = Story::serving(drains(), 1);
    story.receive("TERM");
    story.pass(24.9);
    assert!(!has_asked_to_end(&story), "here nobody ends its question");
    story.pass(0.1);
    assert!(story.done().contains(&ASKED_TO_END));
}

/// One that answers late is not too late.
#[test]
fn an_admin_that_comes_back() {
    let mut story = Story::serving(drains(), 1);
    story.receive("TERM");
    story.answer(Peer::Admin, Answer::No);
    story.pass(5.0);
    story.answer(Peer::Admin, READY);
    story.reply(Reply::Failed);
    story.pass(0.5);
    story.reply(Reply::Done);
    story.reply(Reply::Done);
    story.pass(5.9);
    story.reply(pending(0));
    assert!(!has_asked_to_end(&story), "it has been told just now");
}

/// What it does not do is given up after some attempts, and what it does do is made use of.
#[test]
fn an_admin_that_will_not_fail_its_health_check() {
    let mut story = Story::serving(drains(), 1);
    story.receive("TERM");
    story.answer(Peer::Admin, READY);
    for _ in 0..3 {
        assert_eq!(request(&story), Some(Request::FailHealthCheck));
        story.reply(Reply::Failed);
        story.pass(0.5);
    }
    assert_eq!(request(&story), Some(Request::DrainListeners));
    story.reply(Reply::Done);
    story.reply(pending(2));
    for _ in 0..11 {
        count(&mut story, 0);
    }
    assert!(!has_asked_to_end(&story), "it has been told just now");
    count(&mut story, 0);
    assert!(story.done().contains(&ASKED_TO_END));
}

/// A probe that says no is about restarts, and in a stop there will be none: who is LIVE is
/// drained.
#[test]
fn a_new_epoch_that_serves_and_is_not_found_ready() {
    let policy = Policy { readiness: Readiness::Http, ..drains() };
    let mut story = Story::serving(policy, 1);
    story.receive("HUP");
    story.receive("USR1");
    story.pass(0.01);
    story.receive("TERM");
    story.forget();
    story.answer(Peer::Admin, READY);
    assert_eq!(story.then(), ["SIGUSR1 to catchers of epoch 1", "ask admin of epoch 1"]);
    story.answer(Peer::Admin, READY);
    assert_eq!(request(&story), Some(Request::FailHealthCheck));
}

/// One answer that is late ends nothing, however short the least time.
#[test]
fn one_failure_is_none() {
    let drain = DrainTime { timeout: Duration::from_secs(20), min: Duration::ZERO };
    let mut story = Story::serving(Policy { drain: Some(drain), ..drains() }, 1);
    story.receive("TERM");
    for _ in 0..2 {
        story.answer(Peer::Admin, Answer::No);
        assert!(!has_asked_to_end(&story));
        story.pass(0.5);
    }
    story.answer(Peer::Admin, READY);
    assert_eq!(request(&story), Some(Request::FailHealthCheck));
}

/// Ctrl-Z in a drain stops nobody: it is to serve, and to be waited for.
#[test]
fn ctrl_z_in_a_drain() {
    let mut story = Story::serving_with(drains(), 1, |kernel| kernel.terminal = true);
    story.drains();
    story.forget();
    story.suspend(0);
    assert_eq!(story.then(), ["SIGCONT to group of epoch 0"]);
}

/// As long as what is pending is not known, it may be something.
#[test]
fn a_count_that_fails_is_not_nothing() {
    let mut story = Story::serving(drains(), 1);
    story.drains();
    story.reply(pending(0));
    for _ in 0..20 {
        story.pass(0.5);
        story.reply(Reply::Failed);
    }
    assert!(!has_asked_to_end(&story));
}

/// "If a restart is under way, wait, within S, until it is ready …"
#[test]
fn a_handover_is_waited_for() {
    let mut story = Story::serving(drains(), 1);
    story.receive("HUP");
    story.receive("TERM");
    story.forget();
    story.pass(0.01);
    assert_eq!(story.then(), ["ask admin of epoch 1"], "whether it is ready");
    story.answer(Peer::Admin, STARTING);
    story.pass(3.0);
    assert!(!has_asked_to_end(&story));
    story.looks(1, View::Ready);
    story.answer(Peer::Admin, READY);
    let done = story.then();
    assert_eq!(done[done.len() - 2..], ["look at epoch 1 [ready]", "ask admin of epoch 1"]);
    story.answer(Peer::Admin, READY);
    assert_eq!(story.then(), ["ask the admin to fail its health check"]);
}

/// "… or has failed": then the one before it serves, and is drained; what the failed one left in
/// its group is killed, and nobody repairs what no later epoch will need.
#[test]
fn a_handover_that_fails_in_a_drain() {
    for rollback in [false, true] {
        let mut story = Story::serving(Policy { rollback, ..drains() }, 1);
        story.receive("HUP");
        story.receive("TERM");
        story.forget();
        story.epoch_ends(1, CRASH);
        let expected = ["SIGKILL to group of epoch 1", "reap epoch 1", "ask admin of epoch 0"];
        assert_eq!(story.then(), expected);
        story.answer(Peer::Admin, READY);
        assert_eq!(story.then(), ["ask the admin to fail its health check"]);
    }
}

/// "… within S": who initialises is asked to end like any other then.
#[test]
fn a_handover_that_outlasts_the_drain() {
    let mut story = Story::serving(drains(), 1);
    story.receive("HUP");
    story.receive("TERM");
    story.forget();
    story.pass(25.0);
    assert!(has_asked_to_end(&story));
    assert!(story.logged("drained"));
}

/// "An Envoy that initialises drains nothing, though it answers."
#[test]
fn one_that_was_taken_for_ready_too_soon() {
    let policy = Policy { readiness: Readiness::None, rollback: false, ..drains() };
    let mut story = Story::serving(policy, 2);
    story.receive("TERM");
    for _ in 0..10 {
        assert_eq!(story.then().last().map(String::as_str), Some("ask admin of epoch 1"));
        story.answer(Peer::Admin, STARTING);
        story.pass(0.5);
    }
    story.answer(Peer::Admin, READY);
    assert_eq!(request(&story), Some(Request::FailHealthCheck));
}

/// Before epoch 0 serves there is nobody to be cut off.
#[test]
fn a_first_epoch_that_initialises() {
    let mut story = Story::begin(drains());
    story.receive("TERM");
    story.forget();
    story.answer(Peer::Admin, STARTING);
    assert!(story.done().contains(&ASKED_TO_END));
}

/// "The newest epoch's figures include the older one's", but what they say of them is as old as
/// the newest's last flush.
#[test]
fn nothing_is_said_of_older_ones_too_soon() {
    let mut story = Story::serving(drains(), 2);
    story.drains();
    story.reply(pending(0));
    for _ in 0..21 {
        count(&mut story, 0);
        assert!(!has_asked_to_end(&story));
        story.pass(0.5);
    }
    count(&mut story, 0);
    assert!(has_asked_to_end(&story), "11 s after it was told");
}

/// … or it tells that it has asked them since.
#[test]
fn older_ones_that_have_been_asked_since() {
    let mut story = Story::serving(drains(), 2);
    story.drains();
    story.reply(counted(0, Some(3)));
    for _ in 0..30 {
        story.pass(0.5);
        story.reply(counted(0, Some(3)));
        assert!(!has_asked_to_end(&story), "it has not asked them");
    }
    story.pass(0.5);
    story.reply(counted(2, Some(8)));
    assert!(!has_asked_to_end(&story), "they serve");
    for _ in 0..2 {
        assert!(!has_asked_to_end(&story));
        story.pass(0.5);
        story.reply(counted(0, Some(13)));
    }
    assert!(has_asked_to_end(&story));
}

/// … and once they have left there is nothing to wait for.
#[test]
fn older_ones_that_leave_in_a_drain() {
    let mut story = Story::serving(drains(), 2);
    story.drains();
    story.reply(pending(0));
    for _ in 0..14 {
        count(&mut story, 0);
    }
    assert!(!has_asked_to_end(&story));
    story.epoch_ends(0, SUCCESS);
    count(&mut story, 0);
    assert!(has_asked_to_end(&story));
}

/// When nobody serves any more there is nothing to drain.
#[test]
fn the_newest_ends_in_a_drain() {
    for status in [SUCCESS, CRASH] {
        let mut story = Story::serving(drains(), 2);
        story.drains();
        story.forget();
        story.epoch_ends(1, status);
        assert!(story.done().contains(&ASKED_TO_END));
        story.epoch_ends(0, SUCCESS);
        assert_eq!(story.exit_code(), Some("0"), "it belongs to the stop");
    }
}

/// "A second one neither restarts nor extends the wait", nor does it cut the drain short; and
/// whatever else is passed on still is.
#[test]
fn signals_in_a_drain() {
    let mut story = Story::serving(drains(), 1);
    story.drains();
    story.forget();
    for name in ["TERM", "INT", "HUP"] {
        story.receive(name);
        assert_eq!(story.then(), [""; 0]);
    }
    story.receive("USR1");
    assert_eq!(story.then(), ["SIGUSR1 to catchers of epoch 0"]);
    story.receive("QUIT");
    assert_eq!(story.then(), ["SIGQUIT to group of epoch 0"]);
    assert!(!has_asked_to_end(&story));
}

/// A SIGUSR1 that waits for an epoch to be ready reaches it in a drain too.
#[test]
fn a_reopen_that_waits_in_a_drain() {
    let mut story = Story::serving(drains(), 1);
    story.receive("HUP");
    story.receive("TERM");
    story.receive("USR1");
    story.looks(1, View::Ready);
    story.pass(0.01);
    story.forget();
    story.answer(Peer::Admin, READY);
    assert!(story.done().contains(&"SIGUSR1 to catchers of epoch 1"));
}

/// Orphans serve somebody perhaps, and are asked with the rest.
#[test]
fn orphans_live_on_in_a_drain() {
    let mut story = Story::serving(drains(), 1);
    let orphan = story.orphan_of(0, true);
    story.drains();
    story.pass(24.0);
    assert!(story.done().iter().all(|line| !line.contains("orphan")), "{:?}", story.done());
    story.pass(1.0);
    assert!(story.done().contains(&format!("SIGTERM to orphan {orphan}").as_str()));
}

/// Only a stop that was asked for drains: otherwise nobody serves whom it could be asked of.
#[test]
fn an_end_of_its_own_needs_no_drain() {
    let mut story = Story::serving(drains(), 1);
    story.epoch_ends(0, SUCCESS);
    assert_eq!(story.exit_code(), Some("0"));
    let mut story = Story::serving(drains(), 1);
    story.epoch_ends(0, CRASH);
    assert_ne!(story.exit_code(), Some("0"));
}

/// Where there is no least time the admin is still asked once.
#[test]
fn a_drain_without_a_least_time() {
    let drain = DrainTime { timeout: Duration::from_secs(5), min: Duration::ZERO };
    let mut story = Story::serving(Policy { drain: Some(drain), ..drains() }, 1);
    story.drains();
    story.reply(pending(0));
    assert!(!has_asked_to_end(&story));
    story.pass(0.5);
    story.reply(pending(0));
    assert!(story.done().contains(&ASKED_TO_END));
}

/// What the log says last of the kind that this picks.
fn said<T>(story: &Story, pick: impl Fn(&What) -> Option<T>) -> Option<T> {
    story.world.actions.iter().rev().filter_map(words::logged).find_map(pick)
}

/// "Progress every few seconds", and only of what is known.
#[test]
fn progress_is_told() {
    let mut story = Story::serving(drains(), 1);
    story.drains();
    story.reply(pending(2));
    let waits_for = |story: &Story| {
        said(story, |what| {
            if let What::DrainsOn { waits_for, .. } = what { Some(*waits_for) } else { None }
        })
    };
    story.pass(3.0);
    let two = Pending { requests: 2, ..Pending::default() };
    assert_eq!(waits_for(&story), Some(WaitsFor::Pending(two)));
    story.reply(Reply::Failed);
    story.pass(3.0);
    assert_eq!(waits_for(&story), Some(WaitsFor::Admin), "what was pending then is old");
}

/// What is left of a stop counts from the signal, also when its drain is over.
#[test]
fn a_second_signal_is_told_what_is_left() {
    let mut story = Story::serving(drains(), 1);
    story.drains();
    let left = |story: &Story| {
        said(story, |what| {
            if let What::AlreadyStopping { left, .. } = what { Some(left.as_secs()) } else { None }
        })
    };
    story.pass(10.0);
    story.receive("INT");
    assert_eq!(left(&story), Some(20));
    story.pass(16.0);
    assert!(has_asked_to_end(&story));
    story.receive("INT");
    assert_eq!(left(&story), Some(4));
}
