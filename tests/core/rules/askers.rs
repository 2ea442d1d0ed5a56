//! Section 8: "`--wait` returns when it is done, with 0 or 1 and the reason." What whoever asked
//! for a restart is told, from the question to the outcome.

use std::time::Duration;

use hot_restarter::exit::Exit;
use hot_restarter::supervisor::{
    Command, Event, Mended, Peer, Policy, Readiness, Status, StopReason, View, What,
};

use super::{CRASH, fault};
use crate::story::{
    STARTING, SUCCESS, Story, at_once, checked, defaults, drains, rollback, signal,
};
use crate::words;
use crate::world::World;

const STOPPED: &str = "refused: everything is being stopped";
const IN_VAIN: &str = "in vain: refused: everything is being stopped";
const LATE: &str = "epoch 1 failed: not ready after 120 s";

fn checked_with_rollback() -> Policy {
    Policy { check_timeout: Some(Duration::from_secs(30)), ..rollback() }
}

/// A client has asked for a restart of epoch 0.
fn asked(policy: Policy) -> Story {
    let mut story = Story::serving(policy, 1);
    story.command(Command::Reload);
    assert_eq!(story.told(), ["asked", "begins"]);
    story
}

/// … and so has another one meanwhile.
fn asked_twice(policy: Policy) -> Story {
    let mut story = asked(policy);
    story.command(Command::Reload);
    assert_eq!(story.told(), ["asked"]);
    story
}

#[test]
fn ready() {
    let mut story = asked(defaults());
    story.looks(1, View::Starting);
    story.pass(0.131);
    story.looks(1, View::Ready);
    story.pass(0.1);
    let told = story.told();
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("epoch 1 ready after 0.1"), "{told:?}");
}

/// "`--ready none`: at once."
#[test]
fn ready_at_once() {
    let mut story = Story::serving(at_once(), 1);
    story.receive("HUP");
    assert_eq!(story.told(), ["asked", "begins", "epoch 1 ready after 0 s"]);
}

/// "Ten of them are one", whoever asks: they are one that waits, beside the one under way.
#[test]
fn one_waits_and_one_is_under_way() {
    let mut story = asked(defaults());
    story.together(&["HUP"; 10], &[]);
    story.change();
    story.command(Command::Reload);
    assert_eq!(story.told(), ["asked"]);
    story.ready();
    let told = story.told();
    assert_eq!(told[1..], ["begins"], "{told:?}");
    assert!(told[0].starts_with("epoch 1 ready after"), "{told:?}");
    story.ready();
    assert!(story.told()[0].starts_with("epoch 2 ready after"));
}

/// What waits for anything waits, and nothing is under way.
#[test]
fn one_that_has_to_wait() {
    let mut story = Story::begin(defaults());
    story.receive("HUP");
    assert_eq!(story.told(), ["asked"]);
    story.ready();
    assert_eq!(story.told(), ["begins"]);
}

/// "If it fails, the restart is refused and nothing else has changed."
#[test]
fn refused_by_its_check() {
    for (status, sentence) in [
        (Status::Exited(1), "refused: the check exited with 1"),
        (fault(), "refused: the check was ended by SIGSEGV"),
    ] {
        let mut story = asked(checked());
        story.task_ends(status);
        assert_eq!(story.told(), [sentence]);
    }
    let mut story = asked(checked());
    story.pass(30.0);
    assert_eq!(story.told(), ["refused: the check took longer than 30 s (--check-timeout)"]);

    let mut story = Story::serving(checked(), 1);
    story.world.kernel.run_fails = true;
    story.receive("HUP");
    assert_eq!(story.told(), ["asked", "begins", "refused: --check: it cannot be run"]);
}

/// Whoever asked while it ran has asked for another one.
#[test]
fn refused_by_its_check_and_another_waits() {
    let mut story = asked_twice(checked());
    story.task_ends(CRASH);
    assert_eq!(story.told(), ["refused: the check exited with 3", "begins"]);
    story.task_ends(SUCCESS);
    story.ready();
    assert!(story.told()[0].starts_with("epoch 1 ready after"));
}

/// "A restart whose target cannot be forked or executed changes nothing: it is refused."
#[test]
fn refused_since_it_cannot_be_executed() {
    let mut story = Story::serving(defaults(), 1);
    story.world.kernel.start_fails = Some(Exit::CannotExecute);
    story.receive("HUP");
    assert_eq!(story.told(), ["asked", "begins", "refused: it cannot be executed"]);
}

/// The check has passed, and the epoch turns out not to be ready: it waits again, and whoever
/// asked meanwhile waits for the same.
#[test]
fn put_off() {
    for more in [false, true] {
        let mut story = if more { asked_twice(checked()) } else { asked(checked()) };
        story.looks(0, View::Starting);
        story.task_ends(SUCCESS);
        assert_eq!(story.told(), ["put off"]);
        story.command(Command::Reload);
        assert_eq!(story.told(), [""; 0], "one waits already");
        story.looks(0, View::Ready);
        story.pass(0.2);
        assert_eq!(story.told(), ["begins"]);
        story.task_ends(SUCCESS);
        story.ready();
        let told = story.told();
        assert_eq!(told.len(), 1, "one epoch for all of them: {told:?}");
    }
}

/// … which it does in vain when everything is stopped.
#[test]
fn put_off_and_refused() {
    let mut story = asked_twice(checked());
    story.looks(0, View::Starting);
    story.task_ends(SUCCESS);
    assert_eq!(story.told(), ["put off"]);
    story.receive("TERM");
    assert_eq!(story.told(), [IN_VAIN]);
}

/// "Keep the older epoch as the newest": that it serves is told when nothing can change it.
#[test]
fn failed() {
    for (status, how) in
        [(SUCCESS, "exited with 0"), (CRASH, "exited with 3"), (fault(), "was ended by SIGSEGV")]
    {
        let mut story = asked(rollback());
        story.epoch_ends(1, status);
        assert_eq!(story.told(), [format!("epoch 1 failed: {how}; epoch 0 still serves")]);
    }
    let mut story = asked(rollback());
    story.pass(120.0);
    assert_eq!(story.told(), [format!("{LATE}; epoch 0 still serves")]);
}

/// … and so when it has been cleared away, before the next one begins.
#[test]
fn failed_when_it_is_cleared_away() {
    let mut story = asked_twice(rollback());
    let left = story.orphan_of(1, false);
    story.undying(left);
    story.epoch_ends(1, CRASH);
    story.pass(1.0);
    assert_eq!(story.told(), [""; 0], "it may have served");
    story.ends(left, CRASH);
    story.pass(0.1);
    assert_eq!(story.told(), ["epoch 1 failed: exited with 3; epoch 0 still serves", "begins"]);
}

/// What will not go within 2 s is not waited for.
#[test]
fn failed_and_not_cleared_away() {
    let mut story = asked_twice(rollback());
    let left = story.orphan_of(1, false);
    story.undying(left);
    story.epoch_ends(1, CRASH);
    story.pass(1.9);
    assert_eq!(story.told(), [""; 0]);
    story.pass(0.2);
    assert_eq!(story.told(), ["epoch 1 failed: exited with 3; epoch 0 still serves"]);
    story.ends(left, CRASH);
    story.pass(1.0);
    assert_eq!(story.told(), ["begins"]);
}

/// Neither is a repair that is refused.
#[test]
fn failed_and_not_repaired() {
    let mut story = asked(rollback());
    story.world.kernel.mends = Mended::Refused("its version is unknown".into());
    story.epoch_ends(1, CRASH);
    assert_eq!(story.told(), ["epoch 1 failed: exited with 3; epoch 0 still serves"]);
}

/// … nor an epoch that SIGKILL does not end; its end is none of theirs.
#[test]
fn failed_and_not_gone() {
    let mut story = asked(rollback());
    story.undying(story.leader(1));
    story.pass(121.9);
    assert_eq!(story.told(), [""; 0]);
    story.pass(0.1);
    assert_eq!(story.told(), [format!("{LATE}; epoch 0 still serves")]);
    story.receive("HUP");
    assert_eq!(story.told(), ["asked"]);
    story.epoch_ends(1, CRASH);
    assert_eq!(story.told(), ["begins"]);
}

/// "Without the option a failed new epoch is an unexpected exit."
#[test]
fn fatal() {
    let mut story = asked_twice(defaults());
    story.epoch_ends(1, CRASH);
    let expected = ["epoch 1 failed: exited with 3, which ends everything", IN_VAIN];
    assert_eq!(story.told(), expected);
}

/// One that had taken over and ended before that was seen leaves nobody who serves.
#[test]
fn fatal_since_it_had_served() {
    for late in [false, true] {
        let mut story = asked_twice(rollback());
        story.world.kernel.mends = Mended::Served;
        let how = if late {
            story.pass(120.0);
            "was ended by SIGKILL"
        } else {
            story.epoch_ends(1, CRASH);
            "exited with 3"
        };
        let first = format!("epoch 1 failed: {how}, which ends everything");
        assert_eq!(story.told(), [&first, IN_VAIN]);
    }
}

/// … which is no matter of the restart that finds it out: nothing of that has failed.
#[test]
fn a_fatal_end_of_the_one_before() {
    let mut story = asked(checked_with_rollback());
    story.task_ends(SUCCESS);
    story.world.kernel.mends = Mended::Refused("its version is unknown".into());
    story.epoch_ends(1, CRASH);
    story.receive("HUP");
    let expected = ["epoch 1 failed: exited with 3; epoch 0 still serves", "asked", "begins"];
    assert_eq!(story.told(), expected);
    story.world.kernel.mends = Mended::Served;
    story.task_ends(SUCCESS);
    assert_eq!(story.told(), [STOPPED]);
    assert_eq!(story.exit_code(), Some("3"));
}

/// The older epoch has left, and the new one is all that there is.
#[test]
fn fatal_since_it_was_alone() {
    for status in [SUCCESS, CRASH] {
        let mut story = asked(rollback());
        story.epoch_ends(0, SUCCESS);
        story.epoch_ends(1, status);
        let expected = format!("epoch 1 failed: {status}, which ends everything");
        assert_eq!(story.told(), [expected]);
    }
}

/// "Ctrl-C then reaches the newest epoch only: if it ends by it the others are stopped cleanly."
#[test]
fn fatal_by_ctrl_c() {
    let mut story = Story::serving_with(rollback(), 1, |kernel| kernel.terminal = true);
    story.receive("HUP");
    story.told();
    story.epoch_ends(1, Status::Signaled(signal("INT")));
    let expected = "epoch 1 failed: was ended by SIGINT, which ends everything";
    assert_eq!(story.told(), [expected]);
}

/// An older epoch that crashes ends everything, and is not the one that is starting.
#[test]
fn an_older_epoch_crashes() {
    let mut story = asked_twice(rollback());
    story.epoch_ends(0, CRASH);
    let expected = ["epoch 1 was not ready when everything was asked to end", IN_VAIN];
    assert_eq!(story.told(), expected);
}

/// "During a stop it is refused, and said so": those who wait hear it in the order in which they
/// asked.
#[test]
fn a_stop_while_a_check_runs() {
    for policy in [checked(), Policy { check_timeout: checked().check_timeout, ..drains() }] {
        let mut story = asked_twice(policy);
        story.receive("TERM");
        assert_eq!(story.told(), [STOPPED, IN_VAIN]);
    }
}

/// … and so does whoever asks when it has begun, in each of its phases: nobody waits for that.
#[test]
fn asked_in_a_stop() {
    let too_late = |story: &mut Story| {
        story.told();
        for _ in 0..2 {
            story.command(Command::Reload);
            assert!(story.logged("restart-refused"));
            assert_eq!(story.told(), [IN_VAIN]);
        }
        story.together(&["HUP"], &[]);
        assert_eq!(story.told(), [IN_VAIN]);
        story.change();
        assert_eq!(story.told(), [""; 0], "nobody has asked for that");
        assert_eq!(story.report().waiting, None);
    };
    let mut draining = asked(drains());
    draining.receive("TERM");
    too_late(&mut draining);
    draining.ready();
    assert!(draining.told()[0].starts_with("epoch 1 ready after"), "that one was not too late");
    too_late(&mut draining);

    let mut stopping = Story::serving(defaults(), 2);
    let oldest = stopping.leader(0);
    stopping.undying(oldest);
    stopping.receive("TERM");
    too_late(&mut stopping);
    stopping.pass(30.0);
    assert!(stopping.logged("term-wait-over"));
    too_late(&mut stopping);

    let mut killing = Story::serving(defaults(), 2);
    let oldest = killing.leader(0);
    killing.undying(oldest);
    killing.epoch_ends(1, CRASH);
    too_late(&mut killing);

    let mut ended = Story::serving(defaults(), 1);
    ended.epoch_ends(0, CRASH);
    assert_eq!(ended.exit_code(), Some("3"));
    let World { supervisor, kernel, .. } = &mut ended.world;
    supervisor.handle(kernel.now, Event::Command(Command::Reload));
    let said = supervisor.next_action();
    assert!(said.is_some_and(|said| words::is_log(&said, "restart-refused")));
    let told = supervisor.next_action().map(|told| words::action(&told, kernel));
    assert_eq!(told.as_deref(), Some("tell who waits: refused"));
    assert_eq!(supervisor.next_action(), None);
}

#[test]
fn a_stop_while_an_epoch_starts() {
    let mut story = asked_twice(rollback());
    story.receive("TERM");
    let expected = ["epoch 1 was not ready when everything was asked to end", IN_VAIN];
    assert_eq!(story.told(), expected);
}

/// "If a restart is under way, wait, within S, until it is ready or has failed."
#[test]
fn a_drain_while_an_epoch_starts() {
    let draining = || {
        let mut story = asked_twice(drains());
        story.receive("TERM");
        assert_eq!(story.told(), [IN_VAIN], "the other one may still be ready");
        story
    };
    let mut story = draining();
    story.ready();
    let told = story.told();
    assert!(told.len() == 1 && told[0].starts_with("epoch 1 ready after"), "{told:?}");

    let mut story = draining();
    story.epoch_ends(1, CRASH);
    assert_eq!(story.told(), ["epoch 1 failed: exited with 3"], "and nobody serves for long");

    let mut story = draining();
    story.pass(25.0);
    let expected = ["epoch 1 was not ready when everything was asked to end"];
    assert_eq!(story.told(), expected, "--drain-timeout");

    let mut story = draining();
    story.epoch_ends(0, SUCCESS);
    assert_eq!(story.told(), [""; 0]);
    story.answer(Peer::Admin, STARTING);
    assert_eq!(story.told(), expected, "there is nothing to drain");
}

/// … which may also be late while it does.
#[test]
fn a_drain_while_an_epoch_is_late() {
    let mut story = asked(drains());
    story.pass(110.0);
    story.receive("TERM");
    story.undying(story.leader(1));
    story.pass(10.0);
    assert_eq!(story.told(), [""; 0]);
    story.epoch_ends(1, CRASH);
    assert_eq!(story.told(), [LATE]);
}

/// A failed epoch is cleared away, which nobody needs any more.
#[test]
fn a_stop_while_a_failed_epoch_is_cleared_away() {
    for policy in [rollback(), drains()] {
        let mut story = asked(policy.clone());
        let left = story.orphan_of(1, false);
        story.undying(left);
        story.epoch_ends(1, CRASH);
        story.receive("HUP");
        assert_eq!(story.told(), ["asked"]);
        story.receive("TERM");
        assert_eq!(story.told(), ["epoch 1 failed: exited with 3", IN_VAIN]);

        let mut story = asked(policy);
        story.undying(story.leader(1));
        story.pass(120.0);
        story.receive("TERM");
        assert_eq!(story.told(), [LATE]);
    }
}

/// What asks for nothing but epoch 0 waits for no outcome, whatever becomes of it.
#[test]
fn epoch_0_is_no_restart() {
    for status in [SUCCESS, CRASH] {
        let mut story = Story::begin(defaults());
        story.receive("HUP");
        assert_eq!(story.told(), ["asked"]);
        story.epoch_ends(0, status);
        assert_eq!(story.told(), [IN_VAIN]);
    }
    let mut story = Story::begin(defaults());
    story.ready();
    assert_eq!(story.told(), [""; 0]);
}

/// A client's word is a signal's, and said to be a client's.
#[test]
fn a_client_is_named() {
    let mut story = Story::serving(defaults(), 1);
    story.command(Command::Stop);
    story.command(Command::Stop);
    let said = story.world.actions.iter().filter_map(words::logged);
    let reasons: Vec<StopReason> = said
        .filter_map(|what| {
            if let What::Stopping { reason, .. } | What::AlreadyStopping { reason, .. } = what {
                Some(*reason)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(reasons, [StopReason::Command; 2]);
    assert_eq!(story.then()[0], "SIGTERM to group of epoch 0");
    story.epoch_ends(0, SUCCESS);
    assert_eq!(story.exit_code(), Some("0"));
}

/// Logs are reopened for a client as for SIGUSR1.
#[test]
fn a_client_reopens() {
    let mut story = Story::serving(defaults(), 2);
    story.command(Command::Reopen);
    let expected = ["SIGUSR1 to catchers of epoch 0", "SIGUSR1 to catchers of epoch 1"];
    assert_eq!(story.then(), expected);
}

/// Whoever decides whether an epoch is ready, the outcome is the same.
#[test]
fn ready_by_any_probe() {
    for readiness in [Readiness::Admin, Readiness::Command, Readiness::Http] {
        let admin = readiness == Readiness::Admin;
        let mut story = asked(Policy { readiness, admin, ..rollback() });
        story.ready();
        let told = story.told();
        assert!(told.len() == 1 && told[0].starts_with("epoch 1 ready after"), "{told:?}");
    }
}
