//! Section 3: signals.

use std::time::Duration;

use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{Batch, Policy, Reach, Status};

use super::CRASH;
use crate::story::{SUCCESS, Story, at_once, defaults, signal};

fn interrupt() -> Status {
    Status::Signaled(Signal::INT)
}

fn with_terminal(epochs: u32) -> Story {
    Story::serving_with(defaults(), epochs, |kernel| kernel.terminal = true)
}

/// "SIGTERM, SIGINT: stop cleanly." "Send SIGTERM and SIGCONT, so that a stopped process can
/// act on it, to the process group of every living epoch."
#[test]
fn a_stop_asks_every_group_once() {
    for name in ["TERM", "INT"] {
        let mut story = Story::serving(at_once(), 2);
        story.receive(name);
        let expected = [
            "SIGTERM to group of epoch 0",
            "SIGCONT to group of epoch 0",
            "SIGTERM to group of epoch 1",
            "SIGCONT to group of epoch 1",
            "list orphans [0]",
        ];
        assert_eq!(story.then(), expected);
    }
}

/// An Envoy that is asked to end tells its parent to; one whose parent has gone first may wait for
/// it for ever.
#[test]
fn a_parent_is_asked_when_its_child_has_ended() {
    let mut story = Story::serving(defaults(), 2);
    story.receive("TERM");
    // One that is stopped could not tell its child what that asks of it.
    let newest = [
        "SIGTERM to group of epoch 1",
        "SIGCONT to group of epoch 1",
        "SIGCONT to group of epoch 0",
        "list orphans [0]",
    ];
    assert_eq!(story.then(), newest);
    story.forget();
    story.epoch_ends(1, SUCCESS);
    let older = ["reap epoch 1", "SIGTERM to group of epoch 0", "SIGCONT to group of epoch 0"];
    assert_eq!(story.then(), older);
}

/// However short `--term-wait` is, nobody is killed who was not asked.
#[test]
fn a_parent_is_asked_before_it_is_killed() {
    let mut story = Story::serving(Policy { term_wait: Duration::from_secs(1), ..defaults() }, 2);
    story.receive("TERM");
    story.forget();
    story.pass(0.9);
    assert!(story.done().contains(&"SIGTERM to group of epoch 0"));
    story.forget();
    story.pass(0.1);
    assert!(story.done().contains(&"SIGKILL to group of epoch 0"));
}

/// The same, where the child takes its time.
#[test]
fn a_parent_is_asked_after_a_second() {
    let mut story = Story::serving(defaults(), 2);
    story.receive("TERM");
    story.forget();
    story.pass(0.9);
    assert!(!story.done().contains(&"SIGTERM to group of epoch 0"));
    story.pass(0.2);
    assert!(story.done().contains(&"SIGTERM to group of epoch 0"));
}

/// "`--stop-signal`, for targets that want another."
#[test]
fn a_stop_uses_the_stop_signal() {
    let policy = Policy { stop_signal: signal("QUIT"), ..defaults() };
    let mut story = Story::serving(policy, 1);
    story.receive("TERM");
    assert_eq!(story.then()[0], "SIGQUIT to group of epoch 0");
}

/// "A second one neither restarts nor extends the wait."
#[test]
fn a_second_term_changes_nothing() {
    let mut story = Story::serving(defaults(), 1);
    story.receive("TERM");
    story.pass(29.0);
    story.forget();
    story.receive("TERM");
    story.receive("INT");
    assert_eq!(story.done(), [""; 0]);
    assert!(story.logged("stopping"));
    story.pass(1.0);
    assert_eq!(story.exit_code(), Some("1"));
}

/// "SIGHUP: start the target again with `RESTART_EPOCH` one higher."
#[test]
fn a_hup_starts_the_next_epoch() {
    let mut story = Story::serving(defaults(), 1);
    for number in 1..=2 {
        story.receive("HUP");
        assert_eq!(story.done().last(), Some(&format!("start epoch {number}").as_str()));
        story.ready();
    }
}

/// "During a stop it is refused, and said so."
#[test]
fn a_hup_during_a_stop_is_refused() {
    let mut story = Story::serving(defaults(), 1);
    story.receive("TERM");
    story.forget();
    story.receive("HUP");
    assert_eq!(story.done(), [""; 0]);
    assert!(story.logged("restart-refused"));
}

/// "SIGUSR1: every living epoch, newest and older."
#[test]
fn a_usr1_reaches_all_ready_epochs() {
    let mut story = Story::serving(defaults(), 2);
    story.receive("USR1");
    let expected = ["SIGUSR1 to catchers of epoch 0", "SIGUSR1 to catchers of epoch 1"];
    assert_eq!(story.then(), expected);
}

/// "An epoch that is not ready gets it when it becomes ready."
#[test]
fn a_usr1_waits_for_readiness() {
    let mut story = Story::serving(defaults(), 1);
    story.receive("HUP");
    story.forget();
    story.receive("USR1");
    story.receive("USR1");
    assert_eq!(story.then(), ["SIGUSR1 to catchers of epoch 0"; 2]);
    story.ready();
    let expected = ["look at epoch 1 [ready]", "SIGUSR1 to catchers of epoch 1"];
    assert_eq!(story.then(), expected);
}

/// "Where nothing catches it, a warning; where /proc cannot tell, the leaders of the ready
/// epochs get it."
#[test]
fn a_usr1_that_nobody_catches() {
    let mut story = Story::serving(defaults(), 1);
    story.world.kernel.reach = Reach::Nobody;
    story.receive("USR1");
    assert!(story.logged("reopen-unheard"));
    assert_eq!(story.then(), ["SIGUSR1 to catchers of epoch 0 [nobody]"]);
    story.world.kernel.reach = Reach::Unknown;
    story.receive("USR1");
    let expected = ["SIGUSR1 to catchers of epoch 0 [unknown]", "SIGUSR1 to epoch 0"];
    assert_eq!(story.then(), expected);
}

/// "An older epoch that dies of SIGUSR1 was on its way out: a normal end."
#[test]
fn an_older_epoch_may_die_of_usr1() {
    let mut story = Story::serving(defaults(), 2);
    story.epoch_ends(0, Status::Signaled(Signal::USR1));
    assert_eq!(story.then(), ["reap epoch 0"]);
    assert_eq!(story.epochs(), [1]);
}

/// … and the newest one is none.
#[test]
fn the_newest_epoch_must_not_die_of_usr1() {
    let mut story = Story::serving(defaults(), 2);
    story.epoch_ends(1, Status::Signaled(Signal::USR1));
    assert_eq!(story.exit_code(), Some("138"));
}

/// "SIGCHLD: reap everything there is to reap, orphans included."
#[test]
fn everything_is_reaped() {
    let mut story = Story::serving(defaults(), 1);
    let orphans = [story.orphan_of(0, false), story.orphan_of(0, true)];
    story.forget();
    story.together(&["CHLD"], &[(orphans[0], SUCCESS), (orphans[1], CRASH)]);
    assert_eq!(story.done().len(), 2);
    assert_eq!(story.world.kernel.processes.len(), 1);
}

/// "SIGTTIN, SIGTTOU, SIGPIPE, SIGXFSZ: ignored and never forwarded."
#[test]
fn what_the_kernel_raises_for_us_is_ignored() {
    let mut story = Story::serving(defaults(), 1);
    for name in ["TTIN", "TTOU", "PIPE", "XFSZ"] {
        story.receive(name);
    }
    assert_eq!(story.done(), [""; 0]);
}

/// "SIGQUIT, SIGCONT: forwarded to the process group of every living epoch." An epoch that is
/// not ready is a living one.
#[test]
fn quit_and_cont_go_to_groups() {
    for name in ["QUIT", "CONT"] {
        let mut story = Story::serving(defaults(), 1);
        story.receive("HUP");
        story.forget();
        story.receive(name);
        let expected =
            [format!("SIG{name} to group of epoch 0"), format!("SIG{name} to group of epoch 1")];
        assert_eq!(story.then(), expected);
    }
}

/// "All others that can be caught: forwarded to the members of every living epoch that catch
/// them; where none does, dropped with a log line."
#[test]
fn all_others_go_to_those_that_catch_them() {
    for name in ["USR2", "WINCH", "ALRM", "TSTP", "RTMIN", "RTMAX"] {
        let mut story = Story::serving(defaults(), 1);
        story.receive(name);
        assert_eq!(story.then(), [format!("{} to catchers of epoch 0", signal(name))]);
        for reach in [Reach::Nobody, Reach::Unknown] {
            story.world.kernel.reach = reach;
            story.forget();
            story.receive(name);
            assert_eq!(story.done().len(), 1, "no leader is trusted to catch {name}");
            assert!(story.logged("dropped"));
        }
    }
}

/// "Signals that arrive together are handled in a fixed order: stop first, then exits, then
/// restart, then reopen, then the rest."
#[test]
fn signals_that_arrive_together_have_an_order() {
    let names = ["RTMIN", "CONT", "USR1", "HUP", "CHLD", "INT", "TERM"];
    let mut batch = Batch::default();
    batch.extend(names.map(signal));
    let before: Vec<_> = std::iter::from_fn(|| batch.take_before_exits()).collect();
    assert_eq!(before, ["INT", "TERM"].map(signal));
    let after: Vec<_> = std::iter::from_fn(|| batch.take()).collect();
    assert_eq!(after, ["CHLD", "HUP", "USR1", "CONT", "RTMIN"].map(signal));
}

/// "An exit beside a SIGTERM belongs to the stop."
#[test]
fn an_exit_beside_a_term_belongs_to_the_stop() {
    let mut story = Story::serving(defaults(), 1);
    story.together(&["CHLD", "TERM"], &[(story.leader(0), CRASH)]);
    assert_eq!(story.exit_code(), Some("0"));
}

/// "Then exits, then restart": the number of an epoch that has just failed is used again.
#[test]
fn a_hup_beside_an_exit_comes_after_it() {
    let mut story = Story::serving(defaults(), 1);
    story.receive("HUP");
    story.forget();
    story.together(&["HUP"], &[(story.leader(1), SUCCESS)]);
    assert_eq!(story.epochs(), [0, 1]);
}

/// Ctrl-Z stops the newest epoch alone; the shell that we are a job of must hear of it.
#[test]
fn we_are_suspended_with_the_foreground() {
    let mut story = with_terminal(2);
    story.forget();
    story.suspend(0);
    assert!(story.done().is_empty(), "an older epoch is none of the terminal's");
    story.suspend(1);
    assert_eq!(story.then(), ["suspend with epoch 1"]);
}

/// "It goes back to the older epoch after a failed restart, and to our own group when we exit."
#[test]
fn the_terminal_goes_back() {
    let mut story = with_terminal(1);
    story.receive("HUP");
    story.forget();
    story.epoch_ends(1, SUCCESS);
    assert!(story.done().contains(&"foreground: epoch 0"), "{:?}", story.done());
    story.epoch_ends(0, SUCCESS);
    assert!(story.done().contains(&"foreground: ourselves"));
}

/// "Ctrl-C then reaches the newest epoch only: if it ends by it, with 0 or by SIGINT, the others
/// are stopped cleanly, and we exit with 0 or 130."
#[test]
fn a_ctrl_c_is_no_crash() {
    for (status, code) in [(SUCCESS, "0"), (interrupt(), "130")] {
        let mut story = with_terminal(2);
        story.epoch_ends(1, status);
        assert!(story.done().contains(&"SIGTERM to group of epoch 0"), "{:?}", story.done());
        story.epoch_ends(0, SUCCESS);
        assert_eq!(story.exit_code(), Some(code));

        let mut alone = with_terminal(1);
        alone.epoch_ends(0, status);
        assert_eq!(alone.exit_code(), Some(code));
    }
}

/// … which holds for a terminal's Ctrl-C, and not for a SIGINT from anywhere.
#[test]
fn a_death_by_int_without_a_terminal_is_a_crash() {
    let mut story = Story::serving(defaults(), 2);
    story.epoch_ends(1, interrupt());
    assert!(story.done().contains(&"SIGKILL to group of epoch 0"));
    assert_eq!(story.exit_code(), Some("130"));
}
