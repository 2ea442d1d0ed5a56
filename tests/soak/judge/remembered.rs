//! No restart that was asked for is forgotten.

use super::family::{Family, Process, Role};
use super::{Case, lived, ready_at, told_to_stop, was_ready};

/// When nothing happens, what is due has begun by then.
const IN_PEACE: u64 = 1_000_000;

pub(super) fn judge(case: &mut Case<'_>, family: &Family) {
    let Some(our_end) = family.restarter().ended else { return };
    let ended = nobody_serves(case, family);
    let asked = case.facts.asked.into_iter().chain(told_to_stop(family)).chain(ended).min();
    let until = asked.unwrap_or(our_end).min(our_end);
    let begins: Vec<u64> = {
        let begun = family.processes.iter().filter(|process| match process.role {
            Role::Check | Role::Stillborn => true,
            // The check for a start that it came beside was before it.
            Role::Leader => !case.facts.terms.checks,
            Role::Restarter | Role::Question | Role::Member => false,
        });
        let mut begins: Vec<u64> = begun.map(|process| process.begun).collect();
        begins.extend(&family.refused);
        begins.sort_unstable();
        begins
    };
    for &(at, _) in family.received.iter().filter(|(_, signal)| *signal == libc::SIGHUP) {
        let next = begins[begins.partition_point(|begun| *begun <= at)..].first();
        let until = next.map_or(until, |next| until.min(*next));
        let Some(free) = nothing_hinders(case, family, at, until) else { continue };
        let limit = free + IN_PEACE + case.suspended(free, until);
        if until > limit {
            case.finds(&format!(
                "SIGHUP at {at} is forgotten: nothing hindered it from {free} to {until}"
            ));
            return;
        }
    }
}

/// When the newest epoch ended that may have been ready, which is the end of everything.
fn nobody_serves(case: &Case<'_>, family: &Family) -> Option<u64> {
    let leaders: Vec<&Process> = family.leaders().map(|(_, leader)| leader).collect();
    let next = leaders.iter().skip(1).map(|next| next.begun).chain([u64::MAX]);
    let ends = leaders.iter().zip(next).filter_map(|(leader, next)| {
        let ended = leader.ended.filter(|ended| *ended < next)?;
        (was_ready(case, family, leader, ended) != Some(false)).then_some(ended)
    });
    ends.min()
}

/// From when on, until this moment, a restart could have begun that was asked for at another.
fn nothing_hinders(case: &Case<'_>, family: &Family, at: u64, until: u64) -> Option<u64> {
    let terms = case.facts.terms;
    // What a failed epoch has left may be in the way if it cannot be killed.
    if at >= until || !terms.may_signal {
        return None;
    }
    let last = family.leaders().filter(|(_, leader)| leader.begun < until).last()?.1.begun;
    let living = || family.leaders().filter(|(_, leader)| lived(leader, until));
    let (_, newest) = living().last()?;
    let ready = ready_at(case, family, newest)?;
    if living().count() >= terms.max_epochs {
        return None;
    }
    // A check is over, and who makes way has gone.
    let programs = family.processes.iter().filter(|process| {
        [Role::Leader, Role::Check].contains(&process.role) && process.begun < until
    });
    let mut free = at.max(ready).max(last + terms.min_interval);
    for program in programs {
        let serves = program.role == Role::Leader && program.outlives(until);
        match program.reaped.filter(|reaped| *reaped < until) {
            Some(reaped) => free = free.max(reaped),
            None if serves => {}
            None => return None,
        }
    }
    Some(free)
}
