//! Proof that the judge can find a core guilty: each way of spoiling what the core does must be
//! found out, in the lives of the simulation, and for the right reason.

#![expect(clippy::wildcard_enum_match_arm, reason = "each crime is about one kind of action")]

mod askers;

use hot_restarter::exit::Exit;
use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{
    Action, Answer, End, Event, Mended, Notice, Peer, Pid, Readiness, Reply, Request, Status, Task,
    View, What,
};

use crate::kernel::Process;
use crate::simulate::Life;
use crate::story::counted;
use crate::words;
use crate::world::{Sabotage, World};

/// A crime that no life of so many commits goes unpunished, or the judge is blind.
const LIVES: u64 = 20_000;

/// The core is found out when this is done in the place of what it wants.
fn is_found_out(expected: &str, instead: fn(Action, &World) -> Vec<Action>) {
    is_guilty(expected, Sabotage::Does(instead));
}

/// The core is found out when it hears this in the place of what happens.
fn is_found_out_when_it_hears(expected: &str, instead: fn(Event, &World) -> Option<Event>) {
    is_guilty(expected, Sabotage::Hears(instead));
}

/// Some life shows the crime, and the first crime shown is this one.
fn is_guilty(expected: &str, sabotage: Sabotage) {
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
        | Action::Run { .. }
        | Action::Ask { .. }
        | Action::Request { .. }
        | Action::KillEpoch { .. }
        | Action::Mend { .. }
        | Action::ListOrphans
        | Action::Reap { .. }
        | Action::Foreground { .. }
        | Action::RecordMemory { .. }
        | Action::Restart(_)
        | Action::Suspend { .. }
        | Action::Log(_)
        | Action::NameSurvivors
        | Action::Exit(_) => false,
    }
}

fn unless(left_out: bool, action: Action) -> Vec<Action> {
    if left_out { Vec::new() } else { vec![action] }
}

/// This process is a check or a probe.
fn is_task(pid: Pid, world: &World) -> bool {
    world.kernel.process(pid).is_some_and(|process| process.task().is_some())
}

/// This process is a check.
fn is_check(pid: Pid, world: &World) -> bool {
    let task = world.kernel.process(pid).and_then(Process::task);
    matches!(task, Some(Task::Check { .. }))
}

fn is_living_check(pid: Pid, world: &World) -> bool {
    is_check(pid, world) && world.kernel.process(pid).is_some_and(Process::is_alive)
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
        Action::Reap { pid }
            if world.kernel.process(pid).is_some_and(|it| it.epoch().is_some()) =>
        {
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
                && world.kernel.process(pid).is_some_and(|process| process.epoch().is_some()) =>
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
        Action::Log(_)
            if world.policy.check_timeout.is_none()
                && world.ledger.newest().is_some()
                && !world.ledger.is_ending() =>
        {
            vec![Action::Start { epoch: world.ledger.next_number() }]
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
            vec![Action::Start { epoch: world.ledger.next_number() }]
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

/// What a failed epoch is sent must be SIGKILL alone: SIGTERM ends its parent as well.
#[test]
fn a_stop_signal_to_a_failed_epoch() {
    is_found_out("which has failed", |action, _| match action {
        Action::KillEpoch { leader } => {
            vec![Action::SignalGroup { group: leader, signal: Signal::TERM }, action]
        }
        other => vec![other],
    });
}

#[test]
fn a_survivor_that_is_asked_to_end() {
    is_found_out("outside a stop", |action, world| beside_mending(action, world, Signal::TERM));
}

#[test]
fn a_survivor_that_is_killed() {
    is_found_out("outside a stop", |action, world| beside_mending(action, world, Signal::KILL));
}

fn beside_mending(action: Action, world: &World, signal: Signal) -> Vec<Action> {
    match (&action, world.ledger.living().last()) {
        (Action::Mend { .. }, Some((_, group))) => {
            vec![action, Action::SignalGroup { group, signal }]
        }
        _ => vec![action],
    }
}

#[test]
fn a_failed_epoch_that_is_not_killed() {
    is_found_out("a failed epoch not killed", |action, _| {
        unless(matches!(action, Action::KillEpoch { .. }), action)
    });
}

#[test]
fn an_epoch_that_is_killed_though_it_has_not_failed() {
    is_found_out("which has not failed", |action, world| {
        match (&action, world.ledger.living().last()) {
            (Action::Look { .. } | Action::Ask { .. }, Some((_, leader))) => {
                vec![action, Action::KillEpoch { leader }]
            }
            _ => vec![action],
        }
    });
}

#[test]
fn what_a_failed_epoch_left_in_its_group() {
    is_found_out("before its group was killed", |action, world| match action {
        Action::SignalGroup { group, signal: Signal::KILL }
            if !world.ledger.is_ending() && !is_task(group, world) =>
        {
            Vec::new()
        }
        other => vec![other],
    });
}

#[test]
fn no_repair() {
    is_found_out("nothing repaired after a failure", |action, _| {
        unless(matches!(action, Action::Mend { .. }), action)
    });
}

#[test]
fn a_repair_that_is_not_tried_again() {
    is_found_out_when_it_hears("a repair that is not tried again", |event, world| match event {
        Event::Mended(Mended::Busy) if !world.said.contains_key("not-repaired") => None,
        other => Some(other),
    });
}

#[test]
fn a_start_beside_what_a_failed_epoch_left() {
    is_found_out_when_it_hears("beside what a failed epoch left", |event, world| match event {
        Event::Mended(Mended::Busy)
            if world.ledger.is_restart_wanted() && world.ledger.has_given_up_repairing() =>
        {
            Some(Event::Mended(Mended::Clean))
        }
        other => Some(other),
    });
}

#[test]
fn a_number_that_is_not_used_again() {
    is_found_out("was due", |action, world| match action {
        Action::Start { epoch } if world.said.contains_key("restart-failed") => {
            vec![Action::Start { epoch: epoch + 1 }]
        }
        other => vec![other],
    });
}

#[test]
fn a_failure_that_is_not_said() {
    is_found_out("[\"restart-failed\"]", |action, _| {
        unless(words::is_log(&action, "restart-failed"), action)
    });
}

#[test]
fn an_end_by_our_own_hand_that_is_said_to_be_a_riddle() {
    is_found_out("said of", |action, _| match action {
        Action::Log(Notice { epoch, pid, what: What::Ended { end } }) => {
            let what = What::Ended { end: End { out_of_memory: Some(0), ..end } };
            vec![Action::Log(Notice { epoch, pid, what })]
        }
        other => vec![other],
    });
}

#[test]
fn a_restart_without_its_check() {
    is_found_out("that no check has passed", |action, _| match action {
        Action::Run { task: Task::Check { epoch } } => vec![Action::Start { epoch }],
        other => vec![other],
    });
}

#[test]
fn a_check_of_another_epoch() {
    is_found_out("is due", |action, _| match action {
        Action::Run { task: Task::Check { epoch } } => {
            vec![Action::Run { task: Task::Check { epoch: epoch + 1 } }]
        }
        other => vec![other],
    });
}

#[test]
fn a_check_whose_failure_is_ignored() {
    is_found_out_when_it_hears("that no check has passed", |event, world| match event {
        Event::Exited { pid, out_of_memory, .. } if is_check(pid, world) => {
            Some(Event::Exited { pid, status: Status::Exited(0), out_of_memory })
        }
        other => Some(other),
    });
}

#[test]
fn a_check_that_may_take_for_ever() {
    is_found_out("was not killed", |action, world| match action {
        Action::SignalGroup { group, signal: Signal::KILL }
            if is_living_check(group, world) && !world.ledger.is_ending() =>
        {
            Vec::new()
        }
        other => vec![other],
    });
}

#[test]
fn a_hup_during_a_check_that_is_lost() {
    is_found_out_when_it_hears("nobody was told that it was asked for", |event, world| {
        let lost = event == Event::Signal(Signal::HUP) && world.ledger.is_checking();
        (!lost).then_some(event)
    });
}

#[test]
fn a_change_that_nobody_notices() {
    is_found_out_when_it_hears("a restart ", |event, _| match event {
        Event::Changed { .. } => None,
        other => Some(other),
    });
}

#[test]
fn a_task_that_outlives_the_beginning_of_a_stop() {
    is_found_out("was not killed", |action, world| match action {
        Action::SignalGroup { group, .. } if is_task(group, world) && world.ledger.is_ending() => {
            Vec::new()
        }
        other => vec![other],
    });
}

#[test]
fn a_task_that_is_asked_to_end() {
    is_found_out("SIGTERM to Check", |action, world| match action {
        Action::SignalGroup { group, .. } if is_living_check(group, world) => {
            vec![Action::SignalGroup { group, signal: Signal::TERM }, action]
        }
        other => vec![other],
    });
}

#[test]
fn a_task_that_leaves_something() {
    is_found_out("before its group was killed", |action, world| match action {
        Action::SignalGroup { group, .. }
            if world.kernel.process(group).is_some_and(|it| !it.is_alive() && !it.killed)
                && is_task(group, world) =>
        {
            Vec::new()
        }
        other => vec![other],
    });
}

#[test]
fn a_probe_of_another_epoch() {
    is_found_out("which does not start", |action, world| match action {
        Action::Ask { epoch, peer } if epoch > 0 && !world.ledger.is_ending() => {
            vec![Action::Ask { epoch: epoch - 1, peer }]
        }
        other => vec![other],
    });
}

#[test]
fn an_answer_that_is_invented() {
    is_found_out_when_it_hears("is not ready by", |event, _| match event {
        Event::Answered { epoch, peer: peer @ Peer::Probe, .. } => {
            Some(Event::Answered { epoch, peer, answer: Answer::Ready { workers: None } })
        }
        other => Some(other),
    });
}

#[test]
fn an_answer_that_is_believed_while_the_epoch_initialises() {
    is_found_out_when_it_hears("is not ready by", |event, world| match event {
        Event::Seen { epoch, view: View::Starting }
            if world.policy.readiness == Readiness::Http
                && !world.policy.rollback
                && !world.ledger.is_ready(epoch) =>
        {
            Some(Event::Seen { epoch, view: View::Ready })
        }
        other => Some(other),
    });
}

#[test]
fn an_answer_that_nobody_believes() {
    is_found_out("and nobody says so", |action, world| match action {
        Action::Look { .. } if world.policy.readiness == Readiness::Http => Vec::new(),
        other => vec![other],
    });
}

#[test]
fn an_admin_that_nobody_asks() {
    is_found_out("nobody asks its admin", |action, world| match action {
        Action::Ask { peer: Peer::Admin, .. } if world.policy.readiness == Readiness::Http => {
            Vec::new()
        }
        other => vec![other],
    });
}

/// The judge itself is no obstacle: the lives that find all of these are led to their end by
/// the core as it is.
fn is_request(action: &Action, wanted: Request) -> bool {
    matches!(action, Action::Request { request } if *request == wanted)
}

#[test]
fn a_stop_signal_in_a_drain() {
    is_found_out("outside a stop", |action, world| match world.ledger.living().last() {
        Some((_, group)) if is_request(&action, Request::CountPending) => {
            vec![Action::SignalGroup { group, signal: world.policy.stop_signal }, action]
        }
        _ => vec![action],
    });
}

#[test]
fn a_drain_that_asks_nobody() {
    is_found_out("a drain that asks nobody", |action, _| {
        unless(matches!(action, Action::Request { .. }), action)
    });
}

#[test]
fn a_drain_without_its_first_step() {
    is_found_out("FailHealthCheck)", |action, _| {
        if is_request(&action, Request::FailHealthCheck) {
            return vec![Action::Request { request: Request::DrainListeners }];
        }
        vec![action]
    });
}

#[test]
fn an_admin_that_is_asked_again_before_it_has_replied() {
    is_found_out("before the admin has answered", |action, _| match action {
        Action::Request { .. } => vec![action.clone(), action],
        other => vec![other],
    });
}

#[test]
fn a_drain_that_trusts_a_stranger() {
    is_found_out_when_it_hears("FailHealthCheck", |event, world| match event {
        Event::Answered { epoch, peer: peer @ Peer::Admin, .. }
            if world.ledger.is_ready(epoch) && !world.ledger.finds_out() =>
        {
            Some(Event::Answered { epoch, peer, answer: Answer::Ready { workers: None } })
        }
        other => Some(other),
    });
}

#[test]
fn a_drain_that_cuts_off_what_is_pending() {
    is_found_out_when_it_hears("drained without cause", |event, _| match event {
        Event::Replied { request: request @ Request::CountPending, reply: Reply::Counted(_) } => {
            Some(Event::Replied { request, reply: counted(0, None) })
        }
        other => Some(other),
    });
}

#[test]
fn a_drain_that_does_not_hear_that_nothing_is_pending() {
    is_found_out_when_it_hears("not said: [\"drained\"]", |event, _| {
        let request = Request::CountPending;
        match event {
            Event::Replied { request: of, reply: Reply::Counted(_) } if of == request => {
                Some(Event::Replied { request, reply: counted(1, None) })
            }
            other => Some(other),
        }
    });
}

#[test]
fn a_handover_that_a_drain_does_not_wait_for() {
    is_found_out("FailHealthCheck at Handover", |action, world| match action {
        Action::Look { .. } if world.ledger.is_ending() && world.ledger.finds_out() => {
            vec![Action::Request { request: Request::FailHealthCheck }, action]
        }
        other => vec![other],
    });
}

#[test]
fn no_crime() {
    for seed in 0..100 {
        let mut life = Life::new(seed, None);
        life.live();
        let World { violation, .. } = &life.world;
        assert_eq!(*violation, None, "seed {seed}");
    }
}
