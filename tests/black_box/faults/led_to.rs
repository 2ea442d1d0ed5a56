//! Calls that only a fault leads to, and the faults of those.

use super::cases::{self, Case, Times};
use super::healthy;
use super::lives::{Life, Phase};
use super::tracer::Call;
use super::tries::{Tried, try_all};

/// The faults of the calls that no life makes without one, each after the first that leads to it.
///
/// What a fault leads to, it leads to again; a call that is made once and not again is chance's: a
/// process that was gone before its files could be read.
pub(super) fn of(life: &Life, phase: Phase, first: &[Case], tried: &[Tried]) -> Vec<Case> {
    let mut leaders: Vec<(&Case, Vec<Call>)> = Vec::new();
    for (case, (_, calls)) in first.iter().zip(tried).filter(|(case, _)| case.is_new) {
        let calls: Vec<Call> =
            calls.iter().filter(|call| !healthy::is_made(call)).cloned().collect();
        if !calls.is_empty() {
            leaders.push((case, calls));
        }
    }
    // What a single failure leads to is plainer.
    leaders.sort_by_key(|(case, _)| case.fails.times == Times::Ever);
    let mut found: Vec<Call> = Vec::new();
    let mut led_to = Vec::new();
    loop {
        // The first of them that promises each call is tried again.
        let mut promised = found.clone();
        let (again, others): (Vec<_>, Vec<_>) = leaders.into_iter().partition(|(_, calls)| {
            let before = promised.len();
            promised.extend(calls.iter().filter(|call| !found.contains(call)).cloned());
            promised.sort();
            promised.dedup();
            promised.len() > before
        });
        if again.is_empty() {
            return led_to;
        }
        leaders = others;
        let cases: Vec<Case> = again.iter().map(|(case, _)| (*case).clone()).collect();
        for ((case, calls), (_, made)) in again.iter().zip(try_all(life, phase, &cases)) {
            for call in calls.iter().filter(|call| made.contains(call)) {
                if !found.contains(call) {
                    led_to.extend(cases::after(&case.fails, call));
                    found.push(call.clone());
                }
            }
        }
    }
}
