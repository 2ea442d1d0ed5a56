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

/// "After a late failure Envoy's admin is gone until the next good epoch: the status says
/// `admin: lost`."
#[test]
fn the_admin_is_lost_until_the_next_good_epoch() {
    let mut story = doubted();
    assert!(!story.report().admin_lost, "it has not been heard");
    story.answer(Peer::Admin, Answer::No);
    assert!(story.logged("admin-lost") && story.report().admin_lost);
    story.pass(600.0);
    assert_eq!(story.world.said["admin-lost"], 1);
    story.receive("HUP");
    assert!(story.report().admin_lost, "epoch 1 may fail as well");
    story.ready();
    assert!(!story.report().admin_lost);
}

/// … or until it answers after all, and it is said to be lost but once.
#[test]
fn an_admin_that_answers_after_all() {
    for answer in [STARTING, READY] {
        let mut story = doubted();
        for lost in [true, true, false] {
            story.answer(Peer::Admin, if lost { Answer::No } else { answer });
            assert_eq!(story.report().admin_lost, lost);
            story.receive("HUP");
            story.epoch_ends(1, CRASH);
        }
        assert_eq!(story.world.said["admin-lost"], 1);
    }
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
    assert!(story.logged("not-gone") && story.logged("admin-lost"));
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
