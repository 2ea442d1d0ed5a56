//! A stop asks everybody, kills in time who is left, and is over when nobody is.

use super::family::{Family, OURSELVES};
use super::{Case, KILL_WAIT, PROMPT, SLACK, epoch_of, lived, log, told_to_stop};

/// An orphan is found by a look, and looks are not farther apart.
const LOOK: u64 = 200_000;

pub(super) fn judge(case: &mut Case<'_>, family: &Family) {
    if let Some(told) = told_to_stop(family) {
        if log::tells_of_a_stop(case) {
            asked(case, family, told);
        }
        killed_in_time(case, family, told);
    }
    over_at_once(case, family);
}

/// Nobody is left unasked, let alone killed so.
fn asked(case: &mut Case<'_>, family: &Family, told: u64) {
    let stop_signal = case.facts.terms.stop_signal;
    for (place, process) in family.processes.iter().enumerate().skip(1) {
        let Some(root) = epoch_of(family, place) else { continue };
        let killed = family.sent_from(place, libc::SIGKILL, 0);
        // One that has failed has been killed before.
        if killed.is_some_and(|killed| killed < told) || !process.outlives(told) {
            continue;
        }
        let leader = &family.processes[root];
        let of_a_living_epoch = process.group == root && lived(leader, told);
        let since = if of_a_living_epoch && process.begun < told {
            told
        } else if process.parent == OURSELVES && process.group != root && may_be_found(case) {
            told.max(process.parent_since) + LOOK
        } else {
            continue;
        };
        let idle = family.idle_after(since);
        let due = if since == told { idle.into_iter().chain(killed).min() } else { idle };
        let Some(due) = due.filter(|due| process.outlives(*due)) else { continue };
        if killed.is_some_and(|killed| killed < due) {
            continue;
        }
        let sent = family.sent_from(place, stop_signal, 0).is_some_and(|sent| sent <= due);
        case.demands(sent || !case.facts.terms.may_signal, || {
            format!("pid {} was never asked to end, from {told} to {due}", process.pid)
        });
    }
}

/// Whether an orphan in a group of its own can be seen.
fn may_be_found(case: &Case<'_>) -> bool {
    case.facts.terms.sees_processes
}

/// What outlives the time that it is given is sent SIGKILL then.
fn killed_in_time(case: &mut Case<'_>, family: &Family, told: u64) {
    if !case.facts.terms.may_signal {
        return;
    }
    // The time is counted from when it was read, which was before it was passed on.
    let stop_signal = case.facts.terms.stop_signal;
    let passed_on = family.sent.iter().find(|sent| sent.at >= told && sent.signal == stop_signal);
    let over = passed_on.map_or(told, |sent| sent.at) + case.facts.terms.term_wait;
    let clock = over + PROMPT + case.held(family, told, u64::MAX);
    let limit = family.idle_after(over + SLACK).map_or(clock, |idle| idle.min(clock));
    for (place, process) in family.processes.iter().enumerate().skip(1) {
        let Some(root) = epoch_of(family, place) else { continue };
        // Without /proc a group is lost with its leader.
        let led = process.group == root && family.processes[root].outlives(limit);
        let reachable = led || case.facts.terms.sees_processes;
        if !reachable || process.begun > over || !process.outlives(limit) {
            continue;
        }
        let killed = family.sent_from(place, libc::SIGKILL, 0).is_some_and(|at| at <= limit);
        case.demands(killed, || {
            format!("pid {} lives at {limit}, --term-wait ended at {over}", process.pid)
        });
    }
}

/// When the last process is gone, we are; and SIGKILL is not waited for for ever.
fn over_at_once(case: &mut Case<'_>, family: &Family) {
    let Some(end) = family.restarter().ended else { return };
    let late = |case: &Case<'_>, from: u64| {
        end.saturating_sub(from) > PROMPT + case.held(family, from, end)
    };
    let survived = family.processes.iter().skip(1).any(|process| process.outlives(end));
    match family.reaps.last() {
        Some(&last) if !survived => case.demands(!late(case, last), || {
            format!("the last child was reaped at {last}, and we end at {end}")
        }),
        _ => {}
    }
    let terms = case.facts.terms;
    if let Some(told) = told_to_stop(family) {
        let over = told + terms.term_wait + KILL_WAIT;
        case.demands(!late(case, over), || {
            format!("all time was over at {over}, and we end at {end}")
        });
    }
}
