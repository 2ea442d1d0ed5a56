//! Proof that the judge can find a core guilty: each way of spoiling what the core does must be
//! found out, in the lives of the simulation, and for the right reason.

#![expect(clippy::wildcard_enum_match_arm, reason = "each crime is about one kind of action")]

use hot_restarter::exit::Exit;
use hot_restarter::signal::Signal;
use hot_restarter::supervisor::Action;

use crate::simulate::Life;
use crate::world::{Sabotage, World};

/// A crime that no life of so many commits goes unpunished, or the judge is blind.
const LIVES: u64 = 2_000;

/// Some life shows the crime, and the first crime shown is this one.
fn is_found_out(expected: &str, sabotage: Sabotage) {
    for seed in 0..LIVES {
        let mut life = Life::new(seed, Some(sabotage));
        life.live();
        if let Some(violation) = &life.world.violation {
            assert!(violation.contains(expected), "seed {seed}: {violation:?}, not {expected:?}");
            return;
        }
    }
    panic!("{LIVES} lives, and nobody noticed: {expected:?}");
}

fn is_signal(action: &Action, wanted: Signal) -> bool {
    match action {
        Action::SignalGroup { signal, .. }
        | Action::SignalCatchers { signal, .. }
        | Action::SignalChild { signal, .. } => *signal == wanted,
        Action::Start { .. }
        | Action::Look { .. }
        | Action::ListOrphans
        | Action::Reap { .. }
        | Action::Foreground { .. }
        | Action::RecordMemory
        | Action::Suspend { .. }
        | Action::Log(_)
        | Action::NameSurvivors
        | Action::Exit(_) => false,
    }
}

fn unless(left_out: bool, action: Action) -> Vec<Action> {
    if left_out { Vec::new() } else { vec![action] }
}

#[test]
fn a_zombie_that_is_left() {
    is_found_out("was not reaped", |action, _| {
        unless(matches!(action, Action::Reap { .. }), action)
    });
}

#[test]
fn a_second_reap() {
    is_found_out("is reaped already", |action, _| match action {
        Action::Reap { .. } => vec![action.clone(), action],
        other => vec![other],
    });
}

#[test]
fn a_signal_to_a_group_after_its_reap() {
    is_found_out("whose leader was reaped", |action, world| match action {
        Action::Reap { pid } if world.supervisor.is_leader(pid) => vec![action],
        Action::Reap { pid } if world.kernel.process(pid).is_some_and(|it| it.epoch.is_some()) => {
            vec![action, Action::SignalGroup { group: pid, signal: Signal::CONT }]
        }
        other => vec![other],
    });
}

#[test]
fn a_signal_to_an_orphan_after_its_reap() {
    is_found_out("no child of ours, or was reaped", |action, _| match action {
        Action::Reap { pid } => vec![action, Action::SignalChild { pid, signal: Signal::KILL }],
        other => vec![other],
    });
}

#[test]
fn the_stop_signal_twice() {
    is_found_out("a second time", |action, world| {
        if world.ledger.is_ending() && is_signal(&action, world.policy.stop_signal) {
            return vec![action.clone(), action];
        }
        vec![action]
    });
}

#[test]
fn the_stop_signal_to_an_older_epoch_at_a_restart() {
    is_found_out("outside a stop", |action, world| match (&action, world.ledger.living().next()) {
        (Action::Start { .. }, Some((_, group))) => {
            vec![Action::SignalGroup { group, signal: Signal::TERM }, action]
        }
        _ => vec![action],
    });
}

#[test]
fn the_kill_of_an_epoch_that_left_in_peace() {
    is_found_out("outside a stop", |action, world| match action {
        Action::Reap { pid }
            if !world.ledger.is_ending()
                && world.kernel.process(pid).is_some_and(|process| process.epoch.is_some()) =>
        {
            vec![Action::SignalGroup { group: pid, signal: Signal::KILL }, action]
        }
        other => vec![other],
    });
}

#[test]
fn no_stop_signal() {
    is_found_out("was not told to end", |action, world| {
        let of_the_stop = world.ledger.is_ending() && is_signal(&action, world.policy.stop_signal);
        unless(of_the_stop, action)
    });
}

#[test]
fn a_stop_that_leaves_stopped_processes_asleep() {
    is_found_out("was not told to end", |action, world| {
        unless(world.ledger.is_ending() && is_signal(&action, Signal::CONT), action)
    });
}

#[test]
fn no_kill() {
    is_found_out("was not told to end", |action, world| {
        unless(world.ledger.is_ending() && is_signal(&action, Signal::KILL), action)
    });
}

#[test]
fn orphans_that_are_forgotten() {
    is_found_out("was not told to end", |action, _| {
        unless(matches!(action, Action::ListOrphans), action)
    });
}

#[test]
fn an_exit_that_leaves_somebody_behind() {
    is_found_out("an exit while something is left", |action, world| match action {
        Action::ListOrphans if !world.kernel.processes.is_empty() => {
            vec![Action::Exit(Exit::Clean)]
        }
        other => vec![other],
    });
}

#[test]
fn a_wrong_exit_code() {
    is_found_out("exit code 2, not", |action, _| match action {
        Action::Exit(_) => vec![Action::Exit(Exit::Usage)],
        other => vec![other],
    });
}

#[test]
fn no_exit() {
    is_found_out("nothing is left, and no exit", |action, _| {
        unless(matches!(action, Action::Exit(_)), action)
    });
}

#[test]
fn a_second_exit() {
    is_found_out("an action after the exit", |action, _| match action {
        Action::Exit(exit) => vec![action, Action::Exit(exit)],
        other => vec![other],
    });
}

#[test]
fn a_restart_that_is_lost() {
    is_found_out("a restart waits for nothing", |action, _| {
        unless(matches!(action, Action::Start { epoch } if epoch > 0), action)
    });
}

#[test]
fn a_start_that_nobody_asked_for() {
    is_found_out("a restart that nobody asked for", |action, world| match action {
        Action::Log(_) if world.ledger.newest().is_some() && !world.ledger.is_ending() => {
            vec![Action::Start { epoch: world.ledger.has_started() }]
        }
        other => vec![other],
    });
}

#[test]
fn a_number_that_is_skipped() {
    is_found_out("was due", |action, _| match action {
        Action::Start { epoch } if epoch > 0 => vec![Action::Start { epoch: epoch + 1 }],
        other => vec![other],
    });
}

#[test]
fn a_start_during_a_stop() {
    is_found_out("started during a stop", |action, world| match action {
        Action::Log(_) if world.ledger.is_ending() && !world.ledger.has_ended() => {
            vec![Action::Start { epoch: world.ledger.has_started() }]
        }
        other => vec![other],
    });
}

#[test]
fn a_restart_without_a_last_look() {
    is_found_out("a restart waits for nothing", |action, world| {
        let ready = world.ledger.newest().is_some_and(|newest| world.ledger.is_ready(newest));
        unless(ready && matches!(action, Action::Look { .. }), action)
    });
}

#[test]
fn logs_that_are_not_reopened() {
    is_found_out("not told to reopen", |action, world| {
        unless(!world.ledger.is_ending() && is_signal(&action, Signal::USR1), action)
    });
}

#[test]
fn a_reopen_before_it_is_ready() {
    is_found_out("which is not ready", |action, _| match action {
        Action::Look { epoch, leader } => {
            vec![Action::SignalCatchers { epoch, leader, signal: Signal::USR1 }]
        }
        other => vec![other],
    });
}

#[test]
fn a_terminal_that_is_not_given_back() {
    is_found_out("the terminal not given back", |action, _| {
        unless(matches!(action, Action::Foreground { group: Some(_) }), action)
    });
}

/// The judge itself is no obstacle: the lives that find all of these are led to their end by
/// the core as it is.
#[test]
fn no_crime() {
    for seed in 0..100 {
        let mut life = Life::new(seed, None);
        life.live();
        let World { violation, .. } = &life.world;
        assert_eq!(*violation, None, "seed {seed}");
    }
}
