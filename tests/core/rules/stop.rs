//! Section 4: stop and exit codes.

use hot_restarter::exit::Exit;
use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{Policy, Status, View};

use super::CRASH;
use crate::kernel::Kernel;
use crate::story::{SUCCESS, Story, defaults, signal};
use crate::world::World;

/// "Orphans that the kernel hands to us get it too, one by one as they come, unless their group
/// has had it."
#[test]
fn orphans_are_asked_once() {
    let mut story = Story::serving(defaults(), 1);
    story.orphan_of(0, false);
    let stranger = story.orphan_of(0, true);
    story.forget();
    story.receive("TERM");
    let expected = [
        "SIGTERM to group of epoch 0".into(),
        "SIGCONT to group of epoch 0".into(),
        "list orphans [2]".into(),
        format!("SIGTERM to orphan {stranger}"),
        format!("SIGCONT to orphan {stranger}"),
    ];
    assert_eq!(story.then(), expected);
    let late = story.orphan_of(0, true);
    story.pass(0.1);
    let asked = format!("SIGTERM to orphan {late}");
    assert!(story.then().contains(&asked), "silently handed to us");
    story.pass(1.0);
    assert!(story.then().iter().all(|line| line == "list orphans [3]"), "nobody is asked twice");
}

/// "When `--term-wait`, counted from the moment the signal was read, has run out: SIGKILL to the
/// rest."
#[test]
fn what_does_not_end_in_time_is_killed() {
    let mut story = Story::serving(defaults(), 2);
    story.receive("TERM");
    story.pass(29.9);
    assert_eq!(story.epochs(), [0, 1]);
    story.epoch_ends(0, SUCCESS);
    story.forget();
    story.pass(0.1);
    assert!(story.done().contains(&"SIGKILL to group of epoch 1"));
    assert_eq!(story.exit_code(), Some("1"));
}

/// "At most 2 s to reap it, name what will not die, exit."
#[test]
fn what_will_not_die_is_named() {
    let mut story = Story::serving(defaults(), 1);
    let leader = story.leader(0);
    story.world.kernel.process_mut(leader).expect("it lives").undying = true;
    story.receive("TERM");
    story.pass(31.9);
    assert_eq!(story.exit_code(), None);
    story.forget();
    story.pass(0.1);
    assert_eq!(story.done(), ["name survivors", "foreground: ourselves", "EXIT 1"]);
}

/// "When the last process is gone, we are gone." "0: a stop in which everything ended in time",
/// with whatever status.
#[test]
fn a_clean_stop_ends_with_its_last_process() {
    let mut story = Story::serving(defaults(), 2);
    let orphan = story.orphan_of(0, true);
    story.receive("TERM");
    story.epoch_ends(0, CRASH);
    story.epoch_ends(1, Status::Signaled(Signal::TERM));
    assert_eq!(story.exit_code(), None, "the orphan is still there");
    story.ends(orphan, CRASH);
    assert_eq!(story.exit_code(), Some("0"));
}

/// "N, or 128 + signal: an unexpected exit; every other process was killed at once and reaped."
#[test]
fn an_unexpected_exit_ends_everything() {
    let real_time = Status::Signaled(signal("RTMIN"));
    for (status, code) in [(Status::Exited(255), "255"), (real_time, "162")] {
        for epoch in [0, 1] {
            let mut story = Story::serving(defaults(), 2);
            story.orphan_of(0, true);
            story.forget();
            story.epoch_ends(epoch, status);
            let done = story.done();
            assert_eq!(done[0], "SIGKILL to group of epoch 0");
            assert_eq!(done[1], "SIGKILL to group of epoch 1");
            assert_eq!(done[2], format!("reap epoch {epoch}"), "after its group was killed");
            assert_eq!(story.exit_code(), Some(code));
            assert!(story.world.kernel.processes.is_empty());
        }
    }
}

/// "125: our own failure; 126, 127: epoch 0's target cannot be executed; does not exist."
#[test]
fn an_epoch_0_that_cannot_start() {
    let exits = [(Exit::Failure, "125"), (Exit::CannotExecute, "126"), (Exit::NotFound, "127")];
    for (exit, code) in exits {
        let story = Story::begin_with(defaults(), |kernel| kernel.start_fails = Some(exit));
        assert_eq!(story.exit_code(), Some(code));
    }
}

/// "An older epoch that ends with 0 is the normal end of a handover."
#[test]
fn an_older_epoch_leaves() {
    let mut story = Story::serving(defaults(), 2);
    story.epoch_ends(0, SUCCESS);
    assert_eq!(story.then(), ["reap epoch 0"]);
    assert_eq!(story.epochs(), [1]);
    assert_eq!(story.world.supervisor.next_deadline(), None, "and nobody wakes up for it");
}

/// "The newest, ready epoch ending with 0 while older ones live: nobody serves any more, so stop
/// the others cleanly, exit 0."
#[test]
fn nobody_serves_any_more() {
    let mut story = Story::serving(defaults(), 2);
    story.epoch_ends(1, SUCCESS);
    assert!(story.done().contains(&"SIGTERM to group of epoch 0"));
    story.epoch_ends(0, SUCCESS);
    assert_eq!(story.exit_code(), Some("0"));
}

/// "A new epoch that ends with 0 before it is ready, while an older one lives: that restart did
/// not happen. Kill what is left of its group; the older epoch is the newest again, and the next
/// attempt uses the same number."
#[test]
fn a_restart_that_did_not_happen() {
    let mut story = Story::serving(defaults(), 1);
    story.receive("HUP");
    story.orphan_of(1, false);
    story.forget();
    story.epoch_ends(1, SUCCESS);
    let done = story.then();
    let mended = "mend what epoch 1 left to epoch 0 [repaired]";
    assert_eq!(done[..3], ["SIGKILL to group of epoch 1", "reap epoch 1", mended]);
    assert!(done[3].starts_with("reap orphan"), "{done:?}");
    assert_eq!(story.epochs(), [0]);
    story.receive("HUP");
    assert_eq!(story.epochs(), [0, 1]);
}

/// … and a restart that waited for it goes on from the older one.
#[test]
fn the_next_restart_follows_one_that_did_not_happen() {
    let mut story = Story::serving(defaults(), 1);
    story.receive("HUP");
    story.receive("HUP");
    story.forget();
    story.epoch_ends(1, SUCCESS);
    assert_eq!(story.done().last(), Some(&"start epoch 1"));
}

/// "A restart whose target cannot be forked or executed changes nothing: it is refused, logged,
/// and the epochs in service are left alone."
#[test]
fn a_restart_that_cannot_start() {
    let mut story = Story::serving(defaults(), 2);
    story.world.kernel.start_fails = Some(Exit::CannotExecute);
    story.receive("HUP");
    assert_eq!(story.then(), ["look at epoch 1 [ready]", "start epoch 2 [failed]"]);
    assert_eq!(story.epochs(), [0, 1]);
    story.world.kernel.start_fails = None;
    story.receive("HUP");
    assert_eq!(story.epochs(), [0, 1, 2]);
}

/// "When the last epoch has ended with 0, orphans are stopped as in a stop, and the code stays
/// 0", even if they have to be killed.
#[test]
fn orphans_of_the_last_epoch() {
    let mut story = Story::serving(defaults(), 1);
    let orphan = story.orphan_of(0, false);
    story.forget();
    story.epoch_ends(0, SUCCESS);
    assert!(story.then().contains(&format!("SIGTERM to orphan {orphan}")));
    story.pass(30.0);
    assert!(story.done().contains(&format!("SIGKILL to orphan {orphan}").as_str()));
    assert_eq!(story.exit_code(), Some("0"));
}

/// "Each process gets the stop signal at most once", though it may be one that is passed on.
#[test]
fn a_stop_signal_is_not_passed_on_in_a_stop() {
    for name in ["QUIT", "USR1", "WINCH"] {
        let mut story = Story::serving(Policy { stop_signal: signal(name), ..defaults() }, 1);
        story.receive("TERM");
        story.forget();
        story.receive(name);
        assert_eq!(story.done(), [""; 0]);
    }
}

/// After the exit there is nothing more to be done, whatever may still be told.
#[test]
fn nothing_comes_after_the_exit() {
    let mut story = Story::serving(defaults(), 1);
    story.together(&["TERM", "HUP", "USR1"], &[(story.leader(0), SUCCESS)]);
    assert_eq!(story.exit_code(), Some("0"));
    let World { supervisor, .. } = &story.world;
    assert_eq!(supervisor.next_deadline(), None);
}

/// Each epoch is asked to end by the one after it, or when that has ended: all at once, an older
/// one may find its parent gone.
#[test]
fn epochs_are_asked_one_after_the_other() {
    let announces = |kernel: &mut Kernel| kernel.first_view = View::Ready;
    let mut story = Story::serving_with(defaults(), 3, announces);
    story.receive("TERM");
    assert_eq!(story.then()[..2], told_to_end(2));
    story.epoch_ends(2, SUCCESS);
    assert_eq!(story.then()[1..], told_to_end(1));
    story.pass(0.9);
    assert!(!story.done().contains(&"SIGTERM to group of epoch 0"));
    story.pass(0.1);
    assert!(story.done().contains(&"SIGTERM to group of epoch 0"), "a second is enough");
}

fn told_to_end(epoch: u32) -> [String; 2] {
    ["TERM", "CONT"].map(|name| format!("SIG{name} to group of epoch {epoch}"))
}
