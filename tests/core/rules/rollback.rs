//! Section 6: `--rollback`, and the repair after a failure.

use std::time::Duration;

use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{Answer, Mended, Peer, Pid, Policy, Readiness, Status, View};

use super::{CRASH, fault};
use crate::story::{READY, STARTING, SUCCESS, Story, by_admin, defaults, rollback, signal};

const REPAIRED: &str = "mend what epoch 1 left to epoch 0 [repaired]";

/// Epoch 0 serves and epoch 1 is starting.
fn restarting(policy: Policy) -> Story {
    let mut story = Story::serving(policy, 1);
    story.receive("HUP");
    story.forget();
    story
}

/// Epoch 1 was not ready in time and has been sent SIGKILL, which does not end it.
fn failed_and_dying() -> Story {
    let mut story = restarting(rollback());
    story.undying(story.leader(1));
    story.pass(120.0);
    assert_eq!(story.done().last(), Some(&"kill all of epoch 1"));
    story.forget();
    story
}

/// Epoch 1 has failed and left a process in its group that does not die.
fn haunted(mends: Mended) -> Story {
    let mut story = Story::serving(rollback(), 1);
    story.world.kernel.mends = mends;
    story.receive("HUP");
    let left = story.orphan_of(1, false);
    story.undying(left);
    story.forget();
    story.epoch_ends(1, CRASH);
    assert_eq!(story.then().last().expect("a try"), "mend what epoch 1 left to epoch 0 [busy]");
    story
}

fn refused() -> Mended {
    Mended::Refused("its version is unknown".into())
}

/// What is left of epoch 1.
fn left(story: &Story) -> Pid {
    let mut orphans = story.world.kernel.children().filter(|child| child.is_orphan());
    orphans.next().expect("it is left").pid
}

/// "A new epoch that ends before it is ready is a failed restart rather than an unexpected exit:
/// kill what is left of it, repair, keep the older epoch as the newest, and use the same epoch
/// number for the next attempt."
#[test]
fn a_new_epoch_that_ends_is_a_failed_restart() {
    let signals = ["SEGV", "KILL", "USR1", "TERM", "INT"];
    let signaled = signals.map(|name| Status::Signaled(signal(name))).into_iter();
    for status in signaled.chain([SUCCESS, Status::Exited(1), Status::Exited(255)]) {
        let mut story = restarting(rollback());
        story.epoch_ends(1, status);
        assert!(story.logged("restart-failed") && story.logged("repaired"), "{status}");
        assert_eq!(story.then(), ["SIGKILL to group of epoch 1", "reap epoch 1", REPAIRED]);
        assert_eq!(story.epochs(), [0]);
        assert_eq!(story.world.supervisor.next_deadline(), None);
        story.receive("HUP");
        story.ready();
        assert_eq!(story.epochs(), [0, 1], "the same number");
    }
}

/// "Without the option a failed new epoch is an unexpected exit, as in the original."
#[test]
fn without_rollback_it_is_an_unexpected_exit() {
    for (status, code) in [(Status::Exited(1), "1"), (fault(), "139")] {
        let mut story = restarting(defaults());
        story.epoch_ends(1, status);
        assert!(story.done().contains(&"SIGKILL to group of epoch 0"));
        assert_eq!(story.exit_code(), Some(code));
    }
}

/// "It is done whenever a new epoch is gone before it was ready and an older one lives on, with
/// or without `--rollback`": a start script with `|| exit 0` asks for it.
#[test]
fn without_rollback_an_end_with_0_is_repaired() {
    let mut story = restarting(defaults());
    story.epoch_ends(1, SUCCESS);
    assert!(story.logged("repaired"));
    assert_eq!(story.then(), ["SIGKILL to group of epoch 1", "reap epoch 1", REPAIRED]);
}

/// "… and is not ready within `--ready-timeout`": "SIGKILL only", to all of it, and what is left
/// in its group as soon as its leader is gone.
#[test]
fn a_new_epoch_that_takes_too_long_is_killed() {
    let mut story = restarting(rollback());
    let stranger = story.world.kernel.fork(story.leader(1), true);
    story.pass(119.999);
    assert_eq!(story.epochs(), [0, 1]);
    story.forget();
    story.pass(0.001);
    assert!(story.logged("restart-failed") && !story.logged("not-ready"));
    let done = story.then();
    let expected = [
        "look at epoch 1 [silent]",
        "kill all of epoch 1",
        "SIGKILL to group of epoch 1",
        "reap epoch 1",
        REPAIRED,
    ];
    assert_eq!(done[..5], expected);
    assert!(story.world.kernel.process(stranger).is_none(), "a group of its own is no refuge");
    story.receive("HUP");
    assert_eq!(story.epochs(), [0, 1]);
}

/// … and not before it is gone does anything follow.
#[test]
fn a_failed_epoch_that_dies_slowly() {
    let mut story = failed_and_dying();
    story.receive("HUP");
    story.receive("USR1");
    story.receive("QUIT");
    let expected = ["SIGUSR1 to catchers of epoch 0", "SIGQUIT to group of epoch 0"];
    assert_eq!(story.then(), expected, "it gets no signal any more");
    assert!(!story.logged("not-gone"));
    story.pass(2.0);
    assert!(story.logged("not-gone"), "that it will not die is said");
    story.forget();
    story.pass(60.0);
    assert_eq!(story.world.actions, [], "once");
    assert_eq!(story.world.supervisor.next_deadline(), None);
    story.epoch_ends(1, CRASH);
    let expected = [
        "SIGKILL to group of epoch 1",
        "reap epoch 1",
        REPAIRED,
        "look at epoch 0 [ready]",
        "start epoch 1",
    ];
    assert_eq!(story.then(), expected);
}

/// An epoch that is found ready in the last moment has not failed.
#[test]
fn ready_in_the_last_moment() {
    let mut story = restarting(rollback());
    story.pass(119.8);
    story.looks(1, View::Ready);
    story.pass(0.15);
    assert!(story.world.ledger.is_ready(1));
}

/// "Without it: warned about", and not killed.
#[test]
fn without_rollback_it_is_waited_for() {
    let mut story = restarting(defaults());
    story.pass(600.0);
    assert!(story.logged("not-ready"));
    assert_eq!(story.epochs(), [0, 1]);
    story.ready();
    assert!(story.world.ledger.is_ready(1));
}

/// An epoch that is alone never fails: nobody would serve.
#[test]
fn an_epoch_that_is_alone_never_fails() {
    let mut story = Story::begin(by_admin());
    story.world.kernel.says.admin = Some(Answer::No);
    story.pass(600.0);
    assert!(story.logged("not-ready"));
    assert_eq!(story.epochs(), [0]);
    story.epoch_ends(0, CRASH);
    assert_eq!(story.exit_code(), Some("3"));
}

/// "An Envoy whose admin answers with its own epoch is waiting, for its xDS perhaps, not hung,
/// and is not killed for taking long."
#[test]
fn an_epoch_that_waits_is_not_killed() {
    let mut story = restarting(by_admin());
    story.world.kernel.says.admin = Some(STARTING);
    story.pass(3600.0);
    assert_eq!(story.epochs(), [0, 1]);
    assert!(story.logged("not-ready"));
    story.forget();
    story.world.kernel.says.admin = Some(Answer::No);
    story.pass(4.0);
    assert_eq!(story.epochs(), [0, 1], "it has answered a moment ago");
    story.pass(2.0);
    assert_eq!(story.epochs(), [0], "and hangs since then");
}

/// … however slowly it answers.
#[test]
fn an_epoch_that_answers_slowly_is_not_killed() {
    let mut story = restarting(by_admin());
    for _ in 0..60 {
        story.pass(1.0);
        story.pass(3.0);
        story.answer(Peer::Admin, STARTING);
    }
    assert_eq!(story.epochs(), [0, 1]);
}

/// … and however its probe hangs.
#[test]
fn an_epoch_that_waits_is_not_killed_though_its_probe_hangs() {
    for readiness in [Readiness::Command, Readiness::Http] {
        let mut story = restarting(Policy { readiness, ..by_admin() });
        story.world.kernel.says.admin = Some(STARTING);
        story.pass(300.0);
        assert_eq!(story.epochs(), [0, 1], "{readiness:?}");
        story.world.kernel.says.admin = Some(Answer::No);
        story.pass(6.0);
        assert_eq!(story.epochs(), [0], "{readiness:?}");
    }
}

/// One whose admin never answers hangs.
#[test]
fn an_epoch_that_hangs_is_killed() {
    for answer in [None, Some(Answer::No)] {
        let mut story = restarting(by_admin());
        story.world.kernel.says.admin = answer;
        story.pass(120.0);
        assert_eq!(story.epochs(), [0]);
    }
}

/// The probe of an epoch that has failed goes with it.
#[test]
fn a_probe_goes_with_its_epoch() {
    let mut story = restarting(Policy { readiness: Readiness::Command, ..rollback() });
    story.pass(119.9);
    story.undying(story.leader(1));
    story.forget();
    story.pass(0.1);
    let done = story.then();
    let expected = ["SIGKILL to group of probe of epoch 1", "kill all of epoch 1"];
    assert!(expected.iter().all(|line| done.contains(&(*line).to_owned())), "{done:?}");
    assert!(story.world.kernel.tasks().next().is_none());
}

/// What was asked about a failed epoch says nothing about the next one, which has its number.
#[test]
fn an_answer_about_the_failed_epoch() {
    for readiness in [Readiness::Admin, Readiness::Http] {
        let mut story = restarting(Policy { readiness, ..by_admin() });
        story.pass(0.005);
        story.epoch_ends(1, CRASH);
        story.receive("HUP");
        story.looks(1, View::Ready);
        let peer = if readiness == Readiness::Admin { Peer::Admin } else { Peer::Probe };
        story.answer(peer, READY);
        assert!(!story.world.ledger.is_ready(1), "{readiness:?}");
        story.ready();
        assert!(story.world.ledger.is_ready(1), "{readiness:?}");
    }
}

/// … and a probe that has passed for it neither, however slowly it dies.
#[test]
fn a_probe_of_the_failed_epoch() {
    let mut story = restarting(Policy { readiness: Readiness::Command, ..rollback() });
    story.pass(0.005);
    let probe = story.task();
    story.undying(probe);
    story.epoch_ends(1, CRASH);
    story.receive("HUP");
    story.looks(1, View::Ready);
    story.pass(0.005);
    assert_eq!(story.task(), probe, "no other is run beside it");
    story.ends(probe, SUCCESS);
    assert!(!story.world.ledger.is_ready(1));
    story.pass(1.0);
    story.task_ends(SUCCESS);
    assert!(story.world.ledger.is_ready(1));
}

/// A Ctrl-C is no failed restart: it asks for a stop.
#[test]
fn a_ctrl_c_of_a_new_epoch_is_a_stop() {
    let mut story = Story::serving_with(rollback(), 1, |kernel| kernel.terminal = true);
    story.receive("HUP");
    story.epoch_ends(1, Status::Signaled(Signal::INT));
    assert!(story.done().contains(&"SIGTERM to group of epoch 0"));
    story.epoch_ends(0, SUCCESS);
    assert_eq!(story.exit_code(), Some("130"));
}

/// "It goes back to the older epoch after a failed restart", however that failed.
#[test]
fn the_terminal_goes_back_after_a_failure() {
    for late in [false, true] {
        let mut story = Story::serving_with(rollback(), 1, |kernel| kernel.terminal = true);
        story.receive("HUP");
        story.forget();
        if late {
            story.pass(120.0);
        } else {
            story.epoch_ends(1, CRASH);
        }
        assert!(story.done().contains(&"foreground: epoch 0"), "{:?}", story.done());
        story.forget();
        story.suspend(0);
        assert_eq!(story.then(), ["suspend with epoch 0"]);
    }
}

/// The older epoch leaves while the new one starts: then the new one is all that there is.
#[test]
fn the_survivor_leaves_in_peace() {
    let mut story = restarting(rollback());
    story.epoch_ends(0, SUCCESS);
    story.pass(600.0);
    assert_eq!(story.epochs(), [1], "it is alone and never fails");
    assert!(story.logged("not-ready"));
    story.epoch_ends(1, CRASH);
    assert_eq!(story.exit_code(), Some("3"));
}

/// The end of the epoch in service is what it always was: rollback is about new ones.
#[test]
fn the_survivor_dies() {
    let mut story = restarting(rollback());
    story.epoch_ends(0, CRASH);
    assert_eq!(story.exit_code(), Some("3"));

    for (status, code) in [(CRASH, "3"), (SUCCESS, "0")] {
        let mut story = failed_and_dying();
        let failed = story.leader(1);
        story.epoch_ends(0, status);
        assert_eq!(story.exit_code(), None, "the failed one is still there");
        story.ends(failed, CRASH);
        assert_eq!(story.exit_code(), Some(code));
    }
}

/// … and an older one that leaves beside it is a normal end still.
#[test]
fn an_older_epoch_leaves_while_the_newest_dies() {
    let mut story = Story::serving(rollback(), 2);
    story.receive("HUP");
    story.undying(story.leader(2));
    story.pass(120.0);
    story.epoch_ends(0, SUCCESS);
    assert_eq!(story.epochs(), [1, 2]);
    story.epoch_ends(2, CRASH);
    assert_eq!(story.epochs(), [1]);
    assert!(story.done().contains(&"mend what epoch 2 left to epoch 1 [repaired]"));
}

/// "Use the same epoch number for the next attempt", as often as it takes.
#[test]
fn three_failures_and_a_good_one() {
    let mut story = Story::serving(rollback(), 1);
    for status in [CRASH, SUCCESS, fault()] {
        story.receive("HUP");
        assert_eq!(story.then().last().expect("a start"), "start epoch 1");
        story.epoch_ends(1, status);
        assert_eq!(story.epochs(), [0]);
        story.forget();
    }
    story.receive("HUP");
    story.ready();
    story.epoch_ends(0, SUCCESS);
    assert_eq!(story.epochs(), [1]);
    story.receive("HUP");
    assert_eq!(story.epochs(), [1, 2]);
}

/// "Ten of them are one": in the middle of a slow start they are one more restart, and if that
/// start fails it is the next attempt.
#[test]
fn ten_hups_in_a_slow_start() {
    for fails in [false, true] {
        let mut story = restarting(rollback());
        story.pass(10.0);
        story.together(&["HUP"; 10], &[]);
        if fails {
            story.epoch_ends(1, CRASH);
            assert_eq!(story.epochs(), [0, 1], "again");
        }
        story.ready();
        if !fails {
            assert_eq!(story.epochs(), [0, 1, 2], "one more");
            story.ready();
        }
        assert_eq!(story.world.supervisor.next_deadline(), None, "and no more than one");
    }
}

/// A SIGUSR1 that waited for a failed epoch is forgotten with it.
#[test]
fn a_usr1_for_a_failed_epoch() {
    let mut story = restarting(rollback());
    story.receive("USR1");
    story.forget();
    story.epoch_ends(1, CRASH);
    assert!(!story.done().iter().any(|line| line.starts_with("SIGUSR1")));
}

/// A repair waits for the processes that the failed epoch left, and a restart for the repair.
#[test]
fn a_repair_that_is_busy_at_first() {
    let mut story = haunted(Mended::Clean);
    story.receive("HUP");
    story.pass(1.0);
    let done = story.then();
    assert!(done.iter().all(|line| line.ends_with("[busy]")), "{done:?}");
    story.ends(left(&story), CRASH);
    story.pass(0.1);
    let expected =
        ["mend what epoch 1 left to epoch 0 [clean]", "look at epoch 0 [ready]", "start epoch 1"];
    assert!(story.done().windows(3).any(|lines| lines == expected), "{:?}", story.done());
    assert!(!story.logged("repaired"), "there was nothing to repair");
}

/// "… anything else means hands off and a warning": what will not go within 2 s is said once, and
/// nobody is woken for it.
#[test]
fn a_repair_that_is_busy_for_too_long() {
    let mut story = haunted(Mended::Clean);
    story.pass(1.9);
    assert!(!story.logged("not-repaired"));
    story.pass(0.2);
    assert!(story.logged("not-repaired"));
    assert_eq!(story.world.supervisor.next_deadline(), None);
    story.forget();
    // The next restart tries it again, and waits: the next epoch would have the number of those.
    story.receive("HUP");
    story.pass(300.0);
    assert!(!story.logged("not-repaired"), "once");
    assert!(!story.logged("not-ready"), "epoch 0 is ready");
    assert_eq!(story.epochs(), [0]);
    story.ends(left(&story), CRASH);
    story.pass(1.0);
    assert_eq!(story.epochs(), [0, 1]);
}

/// A refused repair is warned about; the next restart tries it again, and goes on.
#[test]
fn a_repair_that_is_refused() {
    for then in [refused(), Mended::Repaired] {
        let mut story = Story::serving(rollback(), 1);
        story.world.kernel.mends = refused();
        story.receive("HUP");
        story.epoch_ends(1, CRASH);
        assert!(story.logged("not-repaired"));
        assert_eq!(story.world.supervisor.next_deadline(), None);
        story.forget();
        story.world.kernel.mends = then.clone();
        story.receive("HUP");
        assert!(story.done()[0].starts_with("mend what epoch 1 left"), "{:?}", story.done());
        assert_eq!(story.logged("repaired"), then == Mended::Repaired);
        assert!(!story.logged("not-repaired"), "once");
        assert_eq!(story.epochs(), [0, 1]);
        story.ready();
        story.forget();
        story.receive("HUP");
        assert_eq!(story.then(), ["look at epoch 1 [ready]", "start epoch 2"], "long forgotten");
    }
}

/// The number of a failed epoch's group may pass to another process once the group was empty.
#[test]
fn a_stranger_with_the_number_of_the_failed_group() {
    let mut story = Story::serving_with(rollback(), 1, |kernel| {
        kernel.reuses_pids = true;
        kernel.mends = refused();
    });
    story.receive("HUP");
    let failed = story.leader(1);
    story.epoch_ends(1, CRASH);
    let stranger = story.world.kernel.fork(story.leader(0), true);
    assert_eq!(stranger, failed);
    story.receive("HUP");
    assert_eq!(story.epochs(), [0, 1], "nothing of the failed epoch is left");
}

/// A check comes after the repair was tried, and both come before each start.
#[test]
fn a_repair_comes_before_the_check() {
    let check_timeout = Some(Duration::from_secs(30));
    let mut story = Story::serving(Policy { check_timeout, ..rollback() }, 1);
    story.world.kernel.mends = refused();
    story.receive("HUP");
    story.task_ends(SUCCESS);
    story.epoch_ends(1, CRASH);
    story.forget();
    story.receive("HUP");
    let mend = "mend what epoch 1 left to epoch 0 [refused]";
    let look = "look at epoch 0 [ready]";
    assert_eq!(story.then(), [mend, look, "run check of epoch 1"]);
    story.task_ends(SUCCESS);
    assert_eq!(story.then()[2..], [mend, look, "start epoch 1"]);
}

/// A stop has no time for repairs, and asks what a failed epoch left like everything else.
#[test]
fn a_stop_while_a_repair_is_busy() {
    let mut story = haunted(Mended::Clean);
    story.receive("TERM");
    let ghost = left(&story);
    assert!(story.done().contains(&format!("SIGTERM to orphan {ghost}").as_str()));
    story.forget();
    story.pass(5.0);
    assert!(!story.done().iter().any(|line| line.starts_with("mend")));
    story.ends(ghost, CRASH);
    story.epoch_ends(0, SUCCESS);
    assert_eq!(story.exit_code(), Some("0"));
}

/// A stop waits for a failed epoch that is dying, and nobody else does: it tells its parent
/// nothing.
#[test]
fn a_stop_while_a_failed_epoch_dies() {
    let mut story = failed_and_dying();
    let failed = story.leader(1);
    story.receive("TERM");
    assert_eq!(story.done()[0], "SIGTERM to group of epoch 0");
    story.epoch_ends(0, SUCCESS);
    assert_eq!(story.exit_code(), None);
    story.ends(failed, CRASH);
    assert_eq!(story.exit_code(), Some("0"));
}

/// … though older ones are still left to the newest that stands.
#[test]
fn a_stop_of_two_while_a_failed_epoch_dies() {
    for failed_first in [false, true] {
        let mut story = Story::serving(rollback(), 2);
        story.receive("HUP");
        let failed = story.leader(2);
        let child = story.orphan_of(2, false);
        story.undying(failed);
        story.undying(child);
        story.pass(120.0);
        story.forget();
        story.receive("TERM");
        let to_0 = "SIGTERM to group of epoch 0";
        assert_eq!(story.done()[0], "SIGTERM to group of epoch 1");
        if failed_first {
            story.ends(failed, CRASH);
            story.pass(0.2);
            let again = format!("SIGTERM to orphan {child}");
            assert!(!story.done().contains(&again.as_str()), "it was asked with its group");
        }
        assert!(!story.done().contains(&to_0), "{:?}", story.done());
        story.epoch_ends(1, SUCCESS);
        assert!(story.done().contains(&to_0), "{:?}", story.done());
    }
}

/// "`--min-restart-interval`": an attempt that failed was a start as well.
#[test]
fn an_interval_after_a_failure() {
    let min_restart_interval = Duration::from_secs(10);
    let mut story = Story::serving(Policy { min_restart_interval, ..rollback() }, 1);
    story.pass(10.0);
    story.receive("HUP");
    story.receive("HUP");
    story.epoch_ends(1, CRASH);
    story.pass(9.0);
    assert_eq!(story.epochs(), [0]);
    story.pass(1.0);
    assert_eq!(story.epochs(), [0, 1]);
}

/// An Envoy that has taken over is all that accepts: whatever its probe says, it is not killed.
#[test]
fn an_epoch_that_has_taken_over_is_not_killed() {
    for readiness in [Readiness::Admin, Readiness::Http, Readiness::Command] {
        let admin = readiness == Readiness::Admin;
        let mut story = restarting(Policy { readiness, admin, ..rollback() });
        let says = &mut story.world.kernel.says;
        (says.admin, says.probe) = (Some(Answer::No), Some(Answer::No));
        story.looks(1, View::Ready);
        story.pass(119.0);
        assert!(!story.world.ledger.is_ready(1), "{readiness:?}");
        story.pass(61.0);
        assert_eq!(story.epochs(), [0, 1], "{readiness:?}");
        assert!(story.world.ledger.is_ready(1) && !story.logged("restart-failed"), "{readiness:?}");
        story.receive("HUP");
        assert_eq!(story.epochs(), [0, 1, 2], "{readiness:?}: and can be replaced");
    }
}

/// One that had taken over and ended before that was seen leaves nobody who serves.
#[test]
fn an_epoch_that_ended_serving_is_an_unexpected_exit() {
    let mut story = restarting(rollback());
    story.world.kernel.mends = Mended::Served;
    story.epoch_ends(1, CRASH);
    assert!(story.done().contains(&"SIGKILL to group of epoch 0"));
    assert_eq!(story.exit_code(), Some("3"));
}
