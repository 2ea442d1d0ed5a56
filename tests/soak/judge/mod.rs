//! Holds what the kernel has recorded, what the restarter said, what its children said, and its exit
//! code against the contract. It is written from the contract, and shares no code with what it judges.

mod census;
mod code;
mod controls;
mod ending;
mod epochs;
mod family;
mod gifts;
mod log;
mod passing;
mod reaping;
mod remembered;
mod rollback;
mod signals;

pub(crate) use census::census;
pub(crate) use controls::trials;
pub(crate) use family::Programs;

use crate::record::{Event, Moment};
use family::{Family, OURSELVES, Process, Role};

/// How much later than by the clock something may be seen, or earlier, in microseconds.
const SLACK: u64 = 50_000;
/// What is done at once is done by then on a machine that is busy: with five times as many threads as
/// processors a walk over the thousand processes of an epoch took 1.3 s.
const PROMPT: u64 = 2_000_000;
/// A span that no machine is too busy for.
const LONG: u64 = 5_000_000;
/// What SIGKILL is given.
const KILL_WAIT: u64 = 2_000_000;
/// When an epoch counts as ready that announces nothing.
const SETTLING: u64 = 1_000_000;

/// How an epoch is found ready in a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// At once.
    None,
    /// By a program.
    Exec,
    /// By the clock.
    Auto,
}

/// What the restarter was told, as far as promises depend on it; times in microseconds.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) term_wait: u64,
    pub(crate) ready: Ready,
    pub(crate) ready_timeout: u64,
    pub(crate) rollback: bool,
    /// There is a check before each restart.
    pub(crate) checks: bool,
    pub(crate) max_epochs: usize,
    pub(crate) min_interval: u64,
    pub(crate) stop_signal: i32,
    /// It has a `/proc` of its own PID namespace.
    pub(crate) sees_processes: bool,
    /// It may signal whoever it has made.
    pub(crate) may_signal: bool,
    /// It tells what is below warnings as well.
    pub(crate) tells_all: bool,
}

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With a code.
    Code(i32),
    /// By a signal, which is never right.
    Signal(i32),
}

/// All that is known of a life.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) terms: Terms,
    pub(crate) programs: Programs<'a>,
    /// The kernel's record, if it is whole.
    pub(crate) record: Option<&'a [Moment]>,
    /// What the restarter has written, as far as somebody could read it.
    pub(crate) log: &'a str,
    /// Nothing was in the way of the log.
    pub(crate) log_is_whole: bool,
    /// What the children have written.
    pub(crate) journal: &'a str,
    pub(crate) end: End,
    /// When it was first asked to stop.
    pub(crate) asked: Option<u64>,
    /// When it was suspended, from and until.
    pub(crate) suspended: &'a [(u64, u64)],
}

/// What has come out.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The promises that were broken, a sentence each.
    pub(crate) broken: Vec<String>,
    /// The kernel has told enough for all of them to be looked at.
    pub(crate) by_record: bool,
    /// It can be held to nothing, not even to what it has left.
    pub(crate) excused: bool,
}

/// Holds a life against the contract.
pub(crate) fn judge(facts: &Facts<'_>) -> Verdict {
    let mut case = Case { facts, broken: Vec::new() };
    let family = facts.record.and_then(|record| Family::of(record, facts.programs));
    if facts.record.is_some() && family.is_none() {
        case.finds("the restarter was never executed");
    }
    if family.as_ref().is_some_and(|family| was_out_of_memory(facts, family)) {
        return Verdict { broken: Vec::new(), by_record: false, excused: true };
    }
    if let End::Signal(signal) = facts.end {
        case.finds(&format!("the restarter was ended by signal {signal}"));
    }
    let family = family.filter(|family| !family.has_gaps);
    log::judge(&mut case, family.as_ref());
    gifts::judge(&mut case);
    if let Some(family) = &family {
        code::judge(&mut case, family);
        epochs::judge(&mut case, family);
        signals::judge(&mut case, family);
        reaping::judge(&mut case, family);
        passing::judge(&mut case, family);
        ending::judge(&mut case, family);
        remembered::judge(&mut case, family);
        rollback::judge(&mut case, family);
    }
    Verdict { broken: case.broken, by_record: family.is_some(), excused: false }
}

/// Whether the out-of-memory killer has taken the restarter itself: among thousands of processes that
/// have next to nothing it may be the largest. Nobody can be held to anything then, and where it
/// comes often too many lives go unjudged.
fn was_out_of_memory(facts: &Facts<'_>, family: &Family) -> bool {
    let own = family.processes[OURSELVES].pid;
    // The kernel's own, for which nobody has asked.
    let killed = |what: &Event| matches!(what, Event::Signal { to, signal: libc::SIGKILL, by_process: false, .. } if *to == own);
    facts.record.into_iter().flatten().any(|moment| killed(&moment.what))
}

/// A life before the judge.
struct Case<'a> {
    facts: &'a Facts<'a>,
    broken: Vec<String>,
}

impl Case<'_> {
    fn finds(&mut self, what: &str) {
        // One that is broken a thousand times is broken.
        if self.broken.len() < 20 {
            self.broken.push(what.to_owned());
        }
    }

    fn demands(&mut self, kept: bool, what: impl FnOnce() -> String) {
        if !kept {
            self.finds(&what());
        }
    }

    /// How long it was suspended between two moments.
    fn suspended(&self, from: u64, until: u64) -> u64 {
        within(self.facts.suspended, from, until)
    }

    /// How long it could do nothing between two moments. On a machine that is busy, or short of memory,
    /// an execution took seconds, for which the kernel suspends who has forked.
    fn held(&self, family: &Family, from: u64, until: u64) -> u64 {
        self.suspended(from, until) + within(&family.making, from, until)
    }
}

/// How much of these spans is between two moments.
fn within(spans: &[(u64, u64)], from: u64, until: u64) -> u64 {
    let parts = spans.iter();
    parts.map(|(begun, ended)| (*ended).min(until).saturating_sub((*begun).max(from))).sum()
}

/// Whether this epoch had been found ready by then, where that can be told.
fn was_ready(case: &Case<'_>, family: &Family, leader: &Process, then: u64) -> Option<bool> {
    match case.facts.terms.ready {
        Ready::None => Some(true),
        Ready::Auto if then < leader.begun + SETTLING - SLACK => Some(false),
        Ready::Auto => None,
        Ready::Exec => {
            let yes = family.processes.iter().filter(|asked| {
                asked.role == Role::Question
                    && asked.begun >= leader.begun
                    && asked.status == Some(family::Status::Exited(0))
                    && asked.ended.is_some_and(|ended| ended <= then)
            });
            let mut known = Some(false);
            for asked in yes {
                if asked.reaped.is_some_and(|reaped| reaped <= then) {
                    return Some(true);
                }
                known = None;
            }
            known
        }
    }
}

/// When this epoch was found ready, where that can be told.
fn ready_at(case: &Case<'_>, family: &Family, leader: &Process) -> Option<u64> {
    match case.facts.terms.ready {
        Ready::None => Some(leader.begun),
        Ready::Auto => None,
        Ready::Exec => {
            let next = family.leaders().find(|(_, other)| other.begun > leader.begun);
            let until = next.map_or(u64::MAX, |(_, next)| next.begun);
            let asked = family.processes.iter().filter(|asked| asked.role == Role::Question);
            let yes = asked.filter(|asked| {
                asked.status == Some(family::Status::Exited(0))
                    && asked.begun >= leader.begun
                    && asked.begun < until
            });
            yes.filter_map(|asked| asked.reaped).min()
        }
    }
}

/// When the restarter was first told to stop by a signal. A client may have told it before.
fn told_to_stop(family: &Family) -> Option<u64> {
    let stops = [libc::SIGTERM, libc::SIGINT];
    family.received.iter().find(|(_, signal)| stops.contains(signal)).map(|(at, _)| *at)
}

/// Whether a process lived at a moment.
fn lived(process: &Process, then: u64) -> bool {
    process.begun < then && process.ended.is_none_or(|ended| ended > then)
}

/// The epoch that a process belongs to: the place of its leader.
fn epoch_of(family: &Family, place: usize) -> Option<usize> {
    let root = family.processes[place].root;
    (root != OURSELVES && family.processes[root].role == Role::Leader).then_some(root)
}
