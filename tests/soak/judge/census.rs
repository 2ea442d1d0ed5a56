//! What a life was like, in numbers.

use super::family::{Family, OURSELVES, Role};
use super::{Facts, was_out_of_memory};

/// What the kernel has seen, counted.
pub(crate) fn census(facts: &Facts<'_>) -> Vec<(&'static str, u64)> {
    let family = facts.record.and_then(|record| Family::of(record, facts.programs));
    let Some(family) = family else {
        let started = facts.log.lines().filter(|line| line.contains("started")).count();
        return vec![("hot restarts", started.saturating_sub(1) as u64)];
    };
    let number =
        |role: Role| family.processes.iter().filter(|process| process.role == role).count();
    let orphans = family.processes.iter().filter(|process| {
        process.role == Role::Member && process.parent == OURSELVES && process.reaped.is_some()
    });
    let kills = family.sent.iter().filter(|sent| sent.signal == libc::SIGKILL);
    let counts = [
        ("records with gaps", usize::from(family.has_gaps)),
        ("restarters out of memory", usize::from(was_out_of_memory(facts, &family))),
        ("hot restarts", number(Role::Leader).saturating_sub(1)),
        ("checks", number(Role::Check)),
        ("readiness probes", number(Role::Question)),
        ("starts that failed in the child", number(Role::Stillborn)),
        ("orphans reaped", orphans.count()),
        ("processes recorded", family.processes.len()),
        ("signals that the restarter sent", family.sent.len()),
        ("of these SIGKILL", kills.count()),
    ];
    counts.into_iter().map(|(name, count)| (name, count as u64)).collect()
}
