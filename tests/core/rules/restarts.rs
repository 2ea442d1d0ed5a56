//! Section 6: one restart at a time.

use std::time::Duration;

use hot_restarter::supervisor::{Policy, View};

use super::CRASH;
use crate::story::{SUCCESS, Story, defaults};

/// "A SIGHUP that comes while the newest epoch is not ready is remembered once (ten of them are
/// one) and carried out when its time comes."
#[test]
fn ten_hups_are_one() {
    let mut story = Story::serving(defaults(), 1);
    story.together(&["HUP"; 10], &[]);
    assert_eq!(story.epochs(), [0, 1], "the first begins at once, the others wait");
    story.together(&["HUP"; 10], &[]);
    story.ready();
    assert_eq!(story.epochs(), [0, 1, 2], "and are one");
    story.ready();
    story.epoch_ends(0, SUCCESS);
    story.pass(10.0);
    assert_eq!(story.epochs(), [1, 2], "and no more than one");
}

/// "… or inside `--min-restart-interval`."
#[test]
fn restarts_keep_their_distance() {
    let min_restart_interval = Duration::from_secs(10);
    let mut story = Story::serving(Policy { min_restart_interval, ..defaults() }, 1);
    story.receive("HUP");
    story.pass(9.9);
    assert_eq!(story.epochs(), [0]);
    story.pass(0.1);
    assert_eq!(story.epochs(), [0, 1]);
}

/// "So is one that would make more than `--max-epochs` live at once."
#[test]
fn no_more_than_max_epochs() {
    for (max_epochs, most) in [(2, 2), (3, 3)] {
        let mut story = Story::serving(Policy { max_epochs, ..defaults() }, most);
        story.receive("HUP");
        story.pass(100.0);
        assert_eq!(story.epochs().len(), max_epochs);
        story.epoch_ends(0, SUCCESS);
        assert_eq!(story.epochs().last(), Some(&most));
    }
}

/// A stop forgets the restart that waited.
#[test]
fn a_stop_forgets_a_restart_that_waits() {
    let mut story = Story::serving(defaults(), 3);
    story.receive("HUP");
    story.receive("TERM");
    story.forget();
    for epoch in 0..3 {
        story.epoch_ends(epoch, SUCCESS);
    }
    assert!(!story.done().iter().any(|line| line.starts_with("start")));
    assert_eq!(story.exit_code(), Some("0"));
}

/// "`--watch PATH`: a change of the file or directory is a SIGHUP."
#[test]
fn a_change_is_a_restart() {
    let mut story = Story::serving(defaults(), 1);
    story.change();
    assert!(story.logged("changed"));
    assert_eq!(story.then(), ["look at epoch 0 [ready]", "start epoch 1"]);
}

/// … and is remembered like one.
#[test]
fn a_change_beside_a_hup_is_one_restart() {
    let mut story = Story::serving(defaults(), 1);
    story.receive("HUP");
    story.change();
    story.receive("HUP");
    story.ready();
    assert_eq!(story.epochs(), [0, 1, 2]);
    story.ready();
    assert_eq!(story.world.supervisor.next_deadline(), None, "nothing waits any more");
}

/// During a stop a change is nothing to anybody, and nobody is told that it was refused.
#[test]
fn a_change_during_a_stop_is_ignored() {
    let mut story = Story::serving(defaults(), 1);
    story.receive("TERM");
    story.forget();
    story.change();
    assert_eq!(story.done(), [""; 0]);
    assert!(!story.logged("changed") && !story.logged("restart-refused"));
}

/// What waits for the end of an epoch wakes nobody before that end.
#[test]
fn nobody_is_woken_for_nothing() {
    let mut story = Story::serving(defaults(), 3);
    story.receive("HUP");
    assert_eq!(story.world.supervisor.next_deadline(), None);
}

/// "Carried out when its time comes": each obstacle in its turn.
#[test]
fn obstacles_in_a_row() {
    let min_restart_interval = Duration::from_secs(10);
    let policy = Policy { min_restart_interval, max_epochs: 2, ..defaults() };
    let mut story = Story::serving(policy, 1);
    story.receive("HUP");
    story.pass(10.0);
    assert_eq!(story.epochs(), [0, 1]);
    story.receive("HUP");
    story.ready();
    story.epoch_ends(0, SUCCESS);
    assert_eq!(story.epochs(), [1], "too soon");
    story.looks(1, View::Starting);
    story.pass(10.0);
    assert_eq!(story.epochs(), [1], "it looked ready, and is starting");
    story.looks(1, View::Ready);
    story.pass(1.0);
    assert_eq!(story.epochs(), [1, 2]);
}

/// "Without the option a failed new epoch is an unexpected exit, as in the original", whatever
/// waits.
#[test]
fn a_crash_forgets_a_restart_that_waits() {
    let mut story = Story::serving(defaults(), 1);
    story.receive("HUP");
    story.receive("HUP");
    story.epoch_ends(1, CRASH);
    assert_eq!(story.exit_code(), Some("3"));
}
