//! Section 6: `--check`.

use hot_restarter::exit::Exit;
use hot_restarter::supervisor::{Policy, View};

use super::{CRASH, fault};
use crate::story::{SUCCESS, Story, checked};

/// A check of epoch 1 runs.
fn checking() -> Story {
    let mut story = Story::serving(checked(), 1);
    story.receive("HUP");
    story.forget();
    story
}

/// "`--check COMMAND` runs before every hot restart with the `RESTART_EPOCH` to come."
#[test]
fn a_check_runs_before_a_restart() {
    let mut story = Story::serving(checked(), 1);
    for number in 1..=2 {
        story.receive("HUP");
        let expected = [
            format!("look at epoch {} [ready]", number - 1),
            format!("run check of epoch {number}"),
        ];
        assert_eq!(story.then(), expected);
        story.pass(1.0);
        story.task_ends(SUCCESS);
        let expected = [
            format!("SIGKILL to group of check of epoch {number}"),
            format!("reap check of epoch {number}"),
            format!("look at epoch {} [ready]", number - 1),
            format!("start epoch {number}"),
        ];
        assert_eq!(story.then(), expected);
        story.ready();
        story.forget();
    }
}

/// … and before the first start there is none.
#[test]
fn epoch_0_is_not_checked() {
    let story = Story::begin(checked());
    assert_eq!(story.done(), ["start epoch 0"]);
}

/// "If it fails, the restart is refused and nothing else has changed."
#[test]
fn a_check_that_fails() {
    for status in [CRASH, fault()] {
        let mut story = checking();
        story.task_ends(status);
        assert!(story.logged("restart-refused"));
        assert_eq!(story.done().len(), 2, "{:?}", story.done());
        assert_eq!(story.epochs(), [0]);
        assert_eq!(story.world.supervisor.next_deadline(), None);
        story.receive("HUP");
        story.task_ends(SUCCESS);
        assert_eq!(story.epochs(), [0, 1], "with the same number");
    }
}

/// "… or outlasts `--check-timeout`"; then its group is killed, and its end says nothing more.
#[test]
fn a_check_that_is_late() {
    let mut story = checking();
    let child = story.world.kernel.fork(story.task(), false);
    story.pass(29.999);
    assert_eq!(story.done(), [""; 0]);
    story.undying(story.task());
    story.pass(0.001);
    assert!(story.logged("restart-refused"));
    assert_eq!(story.then(), ["SIGKILL to group of check of epoch 1"]);
    assert!(story.world.kernel.process(child).is_none(), "its whole group");
    assert_eq!(story.world.supervisor.next_deadline(), None);
    story.task_ends(SUCCESS);
    assert_eq!(story.then(), ["SIGKILL to group of check of epoch 1", "reap check of epoch 1"]);
    assert_eq!(story.epochs(), [0]);
}

/// One that will not die is in nobody's way.
#[test]
fn a_check_that_will_not_die() {
    let mut story = checking();
    story.undying(story.task());
    story.pass(30.0);
    story.receive("HUP");
    story.task_ends(SUCCESS);
    assert_eq!(story.epochs(), [0, 1]);
}

/// A check that cannot be run has not passed.
#[test]
fn a_check_that_cannot_be_run() {
    let mut story = Story::serving(checked(), 1);
    story.world.kernel.run_fails = true;
    story.receive("HUP");
    assert!(story.logged("restart-refused"));
    assert_eq!(story.then(), ["look at epoch 0 [ready]", "run check of epoch 1 [failed]"]);
    assert_eq!(story.epochs(), [0]);
}

/// What a check left in its group goes with it, while the group's number is still its own.
#[test]
fn a_check_leaves_nothing_in_its_group() {
    let mut story = checking();
    story.orphan_of_process(story.task(), false);
    story.task_ends(SUCCESS);
    let done = story.then();
    assert_eq!(done[..2], ["SIGKILL to group of check of epoch 1", "reap check of epoch 1"]);
    assert_eq!(story.epochs(), [0, 1]);
}

/// "A SIGHUP that comes while a check runs is remembered once (ten of them are one) and carried
/// out when its time comes", with a check of its own: what it is about may have come after the
/// first one looked.
#[test]
fn hups_during_a_check_are_one_more() {
    let mut story = checking();
    story.together(&["HUP"; 10], &[]);
    story.change();
    assert_eq!(story.then(), [""; 0], "one check at a time");
    story.task_ends(SUCCESS);
    assert_eq!(story.epochs(), [0, 1]);
    story.ready();
    assert_eq!(story.then().last().expect("it goes on"), "run check of epoch 2");
    story.task_ends(SUCCESS);
    assert_eq!(story.epochs(), [0, 1, 2]);
    story.ready();
    assert_eq!(story.world.supervisor.next_deadline(), None, "and no more than one");
}

/// … whether the first one passes or not.
#[test]
fn a_hup_during_a_check_that_fails() {
    let mut story = checking();
    story.receive("HUP");
    story.task_ends(CRASH);
    assert!(story.logged("restart-refused"));
    assert_eq!(story.then().last().expect("it goes on"), "run check of epoch 1");
    story.task_ends(SUCCESS);
    assert_eq!(story.epochs(), [0, 1]);
}

/// A check is as old as the wait after it, so one that passed before an obstacle is run again,
/// for all that were asked for.
#[test]
fn a_check_that_passed_too_early() {
    let mut story = checking();
    story.receive("HUP");
    story.looks(0, View::Starting);
    story.task_ends(SUCCESS);
    assert_eq!(story.then().last().expect("a look"), "look at epoch 0 [starting]");
    story.looks(0, View::Ready);
    story.pass(0.2);
    assert_eq!(story.then().last().expect("it goes on"), "run check of epoch 1");
    story.task_ends(SUCCESS);
    story.ready();
    assert_eq!(story.epochs(), [0, 1]);
    assert_eq!(story.world.supervisor.next_deadline(), None, "two HUPs before it are one");
}

/// It is run when nothing else is in the way, and not before.
#[test]
fn a_check_waits_for_its_turn() {
    let mut story = Story::serving(Policy { max_epochs: 2, ..checked() }, 2);
    story.receive("HUP");
    assert_eq!(story.then(), [""; 0]);
    story.epoch_ends(0, SUCCESS);
    assert_eq!(story.then().last().expect("its turn"), "run check of epoch 2");
}

/// "A restart whose target cannot be executed changes nothing", checked or not.
#[test]
fn a_check_that_passes_for_nothing() {
    let mut story = checking();
    story.world.kernel.start_fails = Some(Exit::CannotExecute);
    story.receive("HUP");
    story.task_ends(SUCCESS);
    assert!(story.logged("restart-refused"));
    assert_eq!(story.then().last().expect("the second HUP"), "run check of epoch 1");
    story.task_ends(SUCCESS);
    assert_eq!(story.world.supervisor.next_deadline(), None);
}

/// While a check runs everything else goes on.
#[test]
fn a_check_is_in_nobodys_way() {
    let mut story = Story::serving(checked(), 2);
    story.receive("HUP");
    story.forget();
    story.receive("USR1");
    let expected = ["SIGUSR1 to catchers of epoch 0", "SIGUSR1 to catchers of epoch 1"];
    assert_eq!(story.then(), expected);
    story.receive("QUIT");
    let expected = ["SIGQUIT to group of epoch 0", "SIGQUIT to group of epoch 1"];
    assert_eq!(story.then(), expected, "the check is no epoch");
    story.epoch_ends(0, SUCCESS);
    assert_eq!(story.then(), ["reap epoch 0"]);
    let orphan = story.orphan_of(1, true);
    story.ends(orphan, CRASH);
    assert_eq!(story.then().last(), Some(&format!("reap orphan {orphan}")));
    story.task_ends(SUCCESS);
    assert_eq!(story.epochs(), [1, 2]);
}

/// A stop kills the check at once, and never asks it; and waits for its end as for any other.
#[test]
fn a_stop_kills_the_check() {
    let mut story = checking();
    let orphan = story.orphan_of_process(story.task(), false);
    story.undying(orphan);
    story.undying(story.task());
    story.receive("TERM");
    let expected = [
        "SIGKILL to group of check of epoch 1",
        "SIGTERM to group of epoch 0",
        "SIGCONT to group of epoch 0",
        "list orphans [1]",
    ];
    assert_eq!(story.then(), expected);
    story.epoch_ends(0, SUCCESS);
    story.pass(1.0);
    assert_eq!(story.exit_code(), None);
    story.task_ends(SUCCESS);
    story.ends(orphan, CRASH);
    assert!(!story.done().iter().any(|line| line.starts_with("SIGTERM")), "{:?}", story.done());
    assert_eq!(story.exit_code(), Some("0"));
}

/// … and so does an unexpected exit.
#[test]
fn an_unexpected_exit_kills_the_check() {
    let mut story = checking();
    story.epoch_ends(0, CRASH);
    assert!(story.done().contains(&"SIGKILL to group of check of epoch 1"));
    assert_eq!(story.exit_code(), Some("3"));
}

/// The number of a task's leader is free when it is reaped, and not before.
#[test]
fn the_number_of_a_check_is_given_away_again() {
    let reuse = |kernel: &mut crate::kernel::Kernel| kernel.reuses_pids = true;
    let mut story = Story::serving_with(checked(), 1, reuse);
    story.receive("HUP");
    let check = story.task();
    story.task_ends(SUCCESS);
    assert_eq!(story.leader(1), check);
    story.ready();
    story.receive("TERM");
    assert!(story.done().contains(&"SIGTERM to group of epoch 1"));
}
