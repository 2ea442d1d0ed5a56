//! Section 8: what `status` and `health` tell.

use std::time::Duration;

use hot_restarter::supervisor::{
    Answer, EpochReport, EpochState, Obstacle, Peer, PhaseReport, Policy, Readiness, RestartReport,
    WaitsFor,
};

use super::CRASH;
use crate::story::{
    READY, STARTING, SUCCESS, Story, by_admin, checked, defaults, drains, rollback,
};

/// The states of the living epochs.
fn states(story: &Story) -> Vec<(u32, EpochState)> {
    let epochs = story.report().epochs.into_iter();
    epochs.map(|EpochReport { number, state, .. }| (number, state)).collect()
}

/// "`health` exits 0 while a ready epoch serves and no stop is under way."
#[test]
fn healthy() {
    let mut story = Story::begin(drains());
    assert!(!story.report().healthy, "nobody serves yet");
    story.ready();
    assert!(story.report().healthy);
    story.receive("HUP");
    assert!(story.report().healthy, "epoch 0 serves");
    story.epoch_ends(0, SUCCESS);
    assert!(!story.report().healthy);
    story.ready();
    assert!(story.report().healthy);
    story.receive("TERM");
    assert!(!story.report().healthy, "it drains");
}

/// "`status` prints the epochs (number, pid, state, age, last failure)."
#[test]
fn epochs() {
    let mut story = Story::serving(defaults(), 2);
    let [_, newest] = story.report().epochs[..] else { panic!("two of them") };
    let started = story.world.kernel.now;
    assert_eq!(newest.leader, story.leader(1));
    assert!(newest.started <= started);
    assert_eq!(states(&story), [(0, EpochState::Draining), (1, EpochState::Ready)]);
    story.receive("HUP");
    let expected = [(0, EpochState::Draining), (1, EpochState::Ready), (2, EpochState::Starting)];
    assert_eq!(states(&story), expected);
    story.receive("TERM");
    assert_eq!(story.report().phase, PhaseReport::Stopping);
    assert!(states(&story).iter().all(|(_, state)| *state == EpochState::Stopping));
}

#[test]
fn an_epoch_that_has_failed() {
    let mut story = Story::serving(rollback(), 1);
    story.receive("HUP");
    story.undying(story.leader(1));
    story.pass(120.0);
    assert_eq!(states(&story), [(0, EpochState::Ready), (1, EpochState::Failed)]);
    assert_eq!(story.report().under_way, Some(RestartReport::Clearing { epoch: 1 }));
    assert!(story.report().healthy);
    story.pass(2.0);
    assert_eq!(story.report().under_way, None, "nobody waits for it any more");
}

/// What is under way, and what waits for it.
#[test]
fn restarts() {
    let mut story = Story::serving(checked(), 1);
    assert_eq!((story.report().under_way, story.report().waiting), (None, None));
    story.receive("HUP");
    assert_eq!(story.report().under_way, Some(RestartReport::Checking { epoch: 1 }));
    assert_eq!(story.report().waiting, None);
    story.receive("HUP");
    assert_eq!(story.report().waiting, Some(Some(Obstacle::Checking)));
    story.task_ends(SUCCESS);
    assert_eq!(story.report().under_way, Some(RestartReport::Starting { epoch: 1 }));
    assert_eq!(story.report().waiting, Some(Some(Obstacle::NotReady { epoch: 1 })));
}

/// The rest of an interval is what it is now.
#[test]
fn the_rest_of_an_interval() {
    let min_restart_interval = Duration::from_secs(10);
    let mut story = Story::begin(Policy { min_restart_interval, ..defaults() });
    story.ready();
    story.receive("HUP");
    for _ in 0..3 {
        let over = story.report().epochs[0].started + min_restart_interval;
        let left = over - story.world.kernel.now;
        assert_eq!(story.report().waiting, Some(Some(Obstacle::TooSoon { left })));
        story.pass(3.0);
    }
}

/// What a drain waits for.
#[test]
fn a_drain() {
    let mut story = Story::serving(drains(), 1);
    story.receive("HUP");
    story.receive("TERM");
    assert_eq!(story.report().phase, PhaseReport::Draining(WaitsFor::Handover));
    assert_eq!(states(&story), [(0, EpochState::Ready), (1, EpochState::Starting)]);
    story.ready();
    assert_eq!(story.report().phase, PhaseReport::Draining(WaitsFor::Admin));
    assert_eq!(states(&story), [(0, EpochState::Draining), (1, EpochState::Ready)]);
}

/// Epoch 0 serves, a restart has failed, and its admin has been asked.
fn doubted() -> Story {
    let mut story = Story::serving(by_admin(), 1);
    story.receive("HUP");
    story.forget();
    story.epoch_ends(1, CRASH);
    assert_eq!(story.done().last(), Some(&"ask admin of epoch 0"));
    story
}

/// It does not answer any more, and is asked as often as it takes to say that it is lost.
fn in_vain(story: &mut Story) {
    for _ in 0..2 {
        story.answer(Peer::Admin, Answer::No);
        story.pass(1.0);
    }
    story.answer(Peer::Admin, Answer::No);
    assert!(story.report().admin_lost);
}

/// "After a late failure Envoy's admin is gone until the next good epoch: the status says
/// `admin: lost`."
#[test]
fn the_admin_is_lost_until_the_next_good_epoch() {
    let mut story = doubted();
    assert!(!story.report().admin_lost, "it has not been heard");
    in_vain(&mut story);
    assert!(story.logged("admin-lost"));
    story.pass(600.0);
    assert_eq!(story.world.said["admin-lost"], 1);
    story.receive("HUP");
    assert!(story.report().admin_lost, "epoch 1 may fail as well");
    story.ready();
    assert!(!story.report().admin_lost);
}

/// One answer that is late, or two, are none of one that is lost.
#[test]
fn an_admin_that_is_slow_is_asked_again() {
    for answer in [STARTING, READY] {
        let mut story = doubted();
        for _ in 0..2 {
            story.answer(Peer::Admin, Answer::No);
            assert!(!story.report().admin_lost);
            story.forget();
            story.pass(0.999);
            assert_eq!(story.done(), [""; 0], "a second later");
            story.pass(0.001);
            assert_eq!(story.done(), ["ask admin of epoch 0"]);
        }
        story.answer(Peer::Admin, answer);
        assert!(!story.world.said.contains_key("admin-lost") && !story.report().admin_lost);
        assert_eq!(story.world.supervisor.next_deadline(), None);
        story.forget();
        story.pass(600.0);
        assert_eq!(story.done(), [""; 0], "it has answered");
    }
}

/// Nobody who is lost is asked for ever.
#[test]
fn an_admin_that_is_lost_is_left_alone() {
    let mut story = doubted();
    in_vain(&mut story);
    assert_eq!(story.world.supervisor.next_deadline(), None);
    story.forget();
    story.pass(600.0);
    assert_eq!(story.done(), [""; 0]);
}

/// … until it answers after all, when the next restart has failed, and it is said to be lost but
/// once in a row.
#[test]
fn an_admin_that_answers_after_all() {
    for answer in [STARTING, READY] {
        let mut story = doubted();
        for _ in 0..2 {
            in_vain(&mut story);
            story.receive("HUP");
            story.epoch_ends(1, CRASH);
        }
        assert_eq!(story.world.said["admin-lost"], 1);
        story.answer(Peer::Admin, answer);
        assert!(!story.report().admin_lost);
        story.receive("HUP");
        story.epoch_ends(1, CRASH);
        in_vain(&mut story);
        assert_eq!(story.world.said["admin-lost"], 2, "that is news");
    }
}

/// … or when a drain asks who it is.
#[test]
fn an_admin_that_answers_a_drain_is_not_lost() {
    for answer in [Answer::No, STARTING, READY] {
        let mut story = Story::serving(drains(), 1);
        story.receive("HUP");
        story.epoch_ends(1, CRASH);
        in_vain(&mut story);
        story.forget();
        story.receive("TERM");
        assert_eq!(story.done(), ["ask admin of epoch 0"]);
        assert!(story.report().admin_lost);
        story.answer(Peer::Admin, answer);
        assert_eq!(story.report().admin_lost, answer == Answer::No);
    }
}

/// A drain does not find it lost: it says in its own words that it is not heard.
#[test]
fn an_admin_that_is_in_doubt_when_a_drain_begins() {
    let mut story = Story::serving(drains(), 1);
    story.receive("HUP");
    story.epoch_ends(1, CRASH);
    story.answer(Peer::Admin, Answer::No);
    story.forget();
    story.receive("TERM");
    assert_eq!(story.then(), ["ask admin of epoch 0"]);
    for _ in 0..3 {
        story.answer(Peer::Admin, Answer::No);
        story.pass(0.5);
    }
    assert!(story.world.said.contains_key("drain-unheard"));
    assert!(!story.world.said.contains_key("admin-lost") && !story.report().admin_lost);
}

/// A restart that begins between two questions ends them: it asks the admin of its own epoch.
#[test]
fn an_admin_in_doubt_that_another_restart_asks() {
    let mut story = doubted();
    story.answer(Peer::Admin, Answer::No);
    story.receive("HUP");
    story.forget();
    story.pass(1.5);
    let questions = story.done().into_iter().filter(|line| line.starts_with("ask admin"));
    assert!(questions.eq(["ask admin of epoch 1"]));
}

/// A restart that begins at once asks the admin of its own epoch, and the other question is moot.
#[test]
fn an_admin_that_another_restart_asks() {
    let mut story = doubted();
    story.receive("HUP");
    story.answer(Peer::Admin, Answer::No);
    assert!(!story.report().admin_lost, "epoch 1 may have closed it by now");
    story.ready();
    assert!(!story.logged("admin-lost"));
}

/// A drain asks the same, and takes the answer.
#[test]
fn an_admin_that_a_drain_asks() {
    let mut story = Story::serving(drains(), 1);
    story.receive("HUP");
    story.epoch_ends(1, CRASH);
    story.forget();
    story.receive("TERM");
    assert_eq!(story.done(), [""; 0], "it has been asked");
    story.answer(Peer::Admin, READY);
    assert_eq!(story.then(), ["ask the admin to fail its health check"]);
}

/// A probe that answers before the admin has is no failed restart.
#[test]
fn an_admin_that_answers_late_is_not_lost() {
    let mut story = Story::begin(Policy { readiness: Readiness::Http, ..by_admin() });
    story.pass(0.005);
    story.ready();
    story.answer(Peer::Admin, Answer::No);
    assert!(!story.logged("admin-lost") && !story.report().admin_lost);
}

/// One that will not die has closed the admin like any other.
#[test]
fn an_admin_that_is_lost_to_one_that_will_not_die() {
    let mut story = Story::serving(by_admin(), 1);
    story.receive("HUP");
    story.world.kernel.says.admin = Some(Answer::No);
    story.undying(story.leader(1));
    story.pass(122.0);
    assert!(story.logged("not-gone") && !story.report().admin_lost);
    story.pass(2.0);
    assert!(story.logged("admin-lost"));
    assert!(story.report().admin_lost);
}

/// Where there is no admin, nobody is asked.
#[test]
fn no_admin() {
    let mut story = Story::serving(rollback(), 1);
    story.receive("HUP");
    story.epoch_ends(1, CRASH);
    assert!(!story.done().iter().any(|line| line.starts_with("ask")));
}
