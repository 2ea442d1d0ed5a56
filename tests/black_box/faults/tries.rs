//! Faults are tried, and what came of each is held against the page.

use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

use super::cases::{self, Case, Times};
use super::healthy;
use super::judge;
use super::led_to;
use super::lives::{Life, Phase};
use super::play::{Seen, play};
use super::table::{self, Row, Spared};
use super::tracer::{Aim, Call};
use super::turns::{self, TURNS};

/// How often a life is played in which the call was not made that was to fail.
const PLAYS: usize = 4;

/// What came of a fault, and how the log ends; or which promise was broken.
type Outcome = Result<(String, String), String>;
/// That, and the calls that were made.
pub(super) type Tried = (Outcome, Vec<Call>);

/// Plays a life with each fault that fits it, and holds what came of it against the page.
pub(super) fn run(life: &'static Life, phase: Phase) {
    let first = cases::of(life, phase);
    let tried = try_all(life, phase, &first);
    let second = led_to::of(life, phase, &first, &tried);
    let tried_after = try_all(life, phase, &second);
    let mut rows = Vec::new();
    let mut complaints = Vec::new();
    let mut logs = Vec::new();
    let all = first.iter().zip(tried).chain(second.iter().zip(tried_after));
    for (case, (outcome, _)) in all {
        let key = case.key(life, phase);
        match outcome {
            Ok((outcome, log)) => {
                logs.push((key.join(" "), log));
                rows.push(Row { key, outcome });
            }
            Err(why) => complaints.push(format!("{}: {why}", key.join(" "))),
        }
    }
    rows.sort();
    complaints.sort();
    let differs = |difference: String| {
        let log = logs.iter().find(|(key, _)| difference.starts_with(&format!("{key}:")));
        log.map_or(difference.clone(), |(_, log)| format!("{difference}\n{log}"))
    };
    complaints.extend(table::compare(life.name, phase.name(), &rows).into_iter().map(differs));
    assert!(
        complaints.is_empty(),
        "{} of {} faults:\n{}",
        complaints.len(),
        first.len() + second.len(),
        complaints.join("\n")
    );
}

/// Plays a life with each of these faults.
pub(super) fn try_all(life: &Life, phase: Phase, cases: &[Case]) -> Vec<Tried> {
    // What lasts takes longest.
    let mut order: Vec<usize> = (0..cases.len()).collect();
    order.sort_by_key(|at| cases[*at].fails.times == Times::Once);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut results = Vec::new();
        while let Some(at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            results.push((*at, try_case(life, phase, &cases[*at])));
        }
        results
    };
    let mut results: Vec<(usize, Tried)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..TURNS.min(cases.len())).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(ScopedJoinHandle::join);
        joined.flat_map(|done| done.unwrap_or_else(|why| panic::resume_unwind(why))).collect()
    });
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Plays a life with a fault.
fn try_case(life: &Life, phase: Phase, case: &Case) -> Tried {
    let aims: Vec<Aim> = case.all().map(cases::Fails::aim).collect();
    for _ in 0..PLAYS {
        let seen = turns::take(|| play(life, phase, &aims));
        if seen.hit {
            let outcome = outcome(life, phase, case, &seen);
            return (outcome, seen.calls.into_iter().flatten().collect());
        }
    }
    (Err(format!("no such call was made in {PLAYS} lives")), Vec::new())
}

fn outcome(life: &Life, phase: Phase, case: &Case, seen: &Seen) -> Outcome {
    let of = |it: &cases::Fails| table::spared(&it.call, &it.about, it.times == Times::Ever);
    let spared = case.all().map(of).fold(Spared::default(), |all, it| all.and(&it));
    let errnos: Vec<&str> = case.all().map(|it| it.errno).collect();
    let broken = judge::broken(seen, life.code, &errnos, &spared);
    let outcome = judge::outcome(seen, life.code, &healthy::of(life, phase).usual);
    if !broken.is_empty() {
        return Err(format!("{}; {outcome}\n{}", broken.join("; "), tail(&seen.log)));
    }
    let why = if spared.why.is_empty() { String::new() } else { format!(" ({})", spared.why) };
    Ok((outcome + &why, tail(&seen.log)))
}

/// The end of a log that may be long.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
