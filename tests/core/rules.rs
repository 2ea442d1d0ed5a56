//! The contract's sentences, each beside the test that keeps it. The judge of [`crate::ledger`]
//! watches all of them as well.

use std::time::Duration;

use hot_restarter::exit::Exit;
use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{Batch, Policy, Reach, Readiness, Status, View};

use crate::story::{SUCCESS, Story, at_once, defaults, signal};
use crate::world::World;

const CRASH: Status = Status::Exited(3);

fn interrupt() -> Status {
    Status::Signaled(Signal::INT)
}

fn with_terminal(epochs: u32) -> Story {
    Story::serving_with(defaults(), epochs, |kernel| kernel.terminal = true)
}

// Section 3: signals.

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
    let newest = ["SIGTERM to group of epoch 1", "SIGCONT to group of epoch 1", "list orphans [0]"];
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
    assert_eq!(story.done().last(), Some(&"foreground: epoch 0"));
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

// Section 4: stop and exit codes.

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
    assert_eq!(done[..2], ["SIGKILL to group of epoch 1", "reap epoch 1"]);
    assert!(done[2].starts_with("reap orphan"), "{done:?}");
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

// Section 5: ready.

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

// Section 6: one restart at a time.

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
