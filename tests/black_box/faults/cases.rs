//! The faults of a life in one phase: which there are is found out by a life without one.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::calls::{FAULTS, Fault, KNOWN, SPARED, passes, subject};
use super::judge;
use super::lives::{Life, Phase};
use super::play::{Seen, play};
use super::strace::Call;
use super::table::{self, Row};

/// How many lives are played at once: most of each is waiting.
const AT_ONCE: usize = 12;
/// How often a fault is aimed anew when it has hit another call of the same name.
const AIMS: usize = 28;

/// How often a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    Once,
    Ever,
}

/// A fault to be tried.
#[derive(Clone, Debug)]
struct Case {
    call: &'static str,
    /// What the call is about; empty where it does not matter.
    subject: String,
    errno: &'static str,
    times: Times,
    /// strace's words for it; of one that is aimed, which call of that name fails first.
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// The first that names this file.
    Path(String),
    /// Whichever call has this number among those of its name.
    At(usize),
    /// Every one of this file.
    File(&'static str),
    /// Every one.
    All,
}

impl Case {
    fn key(&self, life: &Life, phase: Phase) -> Vec<String> {
        let times = match (self.times, phase) {
            (Times::Once, Phase::Child) => "in each child",
            (Times::Once, _) => "once",
            (Times::Ever, _) => "for ever",
        };
        let call = match self.subject.as_str() {
            "" => format!("`{}`", self.call),
            subject => format!("`{}`: {subject}", self.call),
        };
        [life.name, phase.name(), &call, self.errno, times].map(str::to_owned).to_vec()
    }

    fn arguments(&self) -> Vec<String> {
        let (when, file) = match &self.place {
            Place::Path(path) => ("1".to_owned(), Some(path.as_str())),
            Place::At(at) => (at.to_string(), None),
            Place::File(file) => ("1+".to_owned(), Some(*file)),
            Place::All => ("1+".to_owned(), None),
        };
        let fault = format!("inject={}:error={}:when={when}", self.call, self.errno);
        let mut words = vec!["-e".to_owned(), fault];
        words.extend(file.into_iter().flat_map(|file| ["-P".to_owned(), file.to_owned()]));
        words
    }
}

/// The calls of a phase by their name and their place among those of that name, which is what
/// strace counts, each with what it is about.
fn calls_of(seen: &Seen, phase: Phase) -> Vec<(&Call, usize, String)> {
    let mut counts: BTreeMap<(i32, &str), usize> = BTreeMap::new();
    let mut executed: Vec<i32> = Vec::new();
    let mut calls = Vec::new();
    let (mut is_ready, mut waits) = (false, false);
    for (call, own) in &seen.calls {
        let count = counts.entry((call.pid, &call.name)).or_default();
        *count += 1;
        let at = *count;
        let begun = executed.contains(&call.pid);
        let is_of = match phase {
            // Before that it is the probe that waits at the door.
            Phase::Start => *own && begun && !waits,
            Phase::Service => *own,
            Phase::Child => !own && !begun,
        };
        is_ready |= *own && call.line.contains(" ready epoch=0 ");
        waits |= *own && is_ready && call.name == "poll";
        if call.name == "execve" && call.line.ends_with(" = 0") {
            executed.push(call.pid);
        }
        if is_of {
            calls.push((call, at, subject(&call.name, &call.line, &seen.folder)));
        }
    }
    calls
}

/// Plays a life with each fault that fits it, and holds what came of it against the table.
pub(super) fn run(life: &'static Life, phase: Phase) {
    let healthy = play(life, phase, &[]);
    let broken = judge::broken(&healthy, life.code, "EPERM", &table::spared("", "", false));
    assert!(
        broken.is_empty() && healthy.missing.is_empty(),
        "without a fault: {broken:?} {:?}\n{}",
        healthy.missing,
        healthy.log
    );
    let usual = judge::complaints(&healthy);
    let cases = cases(life, phase, &healthy);
    assert!(!cases.is_empty(), "no call is made in this phase");
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = try_case(life, phase, case, &usual);
                    results
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push((case, result));
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut rows = Vec::new();
    let mut complaints = Vec::new();
    for (case, result) in results {
        let key = case.key(life, phase);
        match result {
            Ok(outcome) => rows.push(Row { key, outcome }),
            Err(why) => complaints.push(format!("{}: {why}", key.join(" "))),
        }
    }
    rows.sort();
    complaints.sort();
    let differences = table::compare(life.name, phase.name(), &rows);
    complaints.extend(differences);
    assert!(
        complaints.is_empty(),
        "{} of {} faults:\n{}",
        complaints.len(),
        cases.len(),
        complaints.join("\n")
    );
}

/// The faults that fit what a life without one has called. A call that nobody has thought about
/// fails the trial.
fn cases(life: &Life, phase: Phase, healthy: &Seen) -> Vec<Case> {
    let calls = calls_of(healthy, phase);
    let mut cases: Vec<Case> = Vec::new();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (call, at, subject) in &calls {
        if SPARED.iter().any(|(name, _)| call.name == *name) {
            continue;
        }
        let fault = known(call);
        if seen.contains(&(fault.call, subject)) {
            continue;
        }
        let first_of_name = seen.iter().all(|(name, _)| *name != fault.call);
        seen.push((fault.call, subject));
        let errnos = if life.thorough { fault.errnos } else { &fault.errnos[..1] };
        // To a client they mean that the answer, or the end of the connection, is there already.
        let answered = |errno: &&&str| {
            life.acts.is_empty()
                && fault.call == "sendto"
                && matches!(**errno, "EPIPE" | "ECONNRESET")
        };
        for errno in errnos.iter().filter(|errno| !answered(errno)) {
            let case = |subject: &str, times, place| Case {
                call: fault.call,
                subject: subject.to_owned(),
                errno,
                times,
                place,
            };
            let path = path_in(&call.line).filter(|_| phase == Phase::Service);
            let place = path.map_or(Place::At(*at), Place::Path);
            cases.push(case(subject, Times::Once, place));
            if phase == Phase::Child || passes(fault.call, errno) {
                continue;
            }
            if first_of_name && phase == Phase::Service {
                cases.push(case("", Times::Ever, Place::All));
            }
            if phase == Phase::Service
                && let Some((_, file)) = KNOWN.iter().find(|(name, _)| name == subject)
            {
                cases.push(case(subject, Times::Ever, Place::File(file)));
            }
        }
    }
    cases
}

/// The file that a call names, where it is the same each time.
fn path_in(line: &str) -> Option<String> {
    let path = line.split_once("(\"")?.1.split('"').next()?;
    let is_same = path.starts_with('/') && !path.contains(|it: char| it.is_ascii_digit());
    is_same.then(|| path.to_owned())
}

/// How a call may fail.
pub(super) fn known(call: &Call) -> &'static Fault {
    FAULTS.iter().find(|fault| call.name == fault.call).unwrap_or_else(|| {
        panic!("nobody has said how {} may fail, or why it cannot: {}", call.name, call.line)
    })
}

/// Plays a life with a fault; what came of it, or which promise was broken.
fn try_case(life: &Life, phase: Phase, case: &Case, usual: &[String]) -> Result<String, String> {
    let mut case = case.clone();
    let healthy_at = if let Place::At(at) = case.place { at } else { 1 };
    let mut missed = Vec::new();
    for _ in 0..AIMS {
        let seen = play(life, phase, &case.arguments());
        let calls = calls_of(&seen, phase);
        let of_case = |subject: &str| case.subject.is_empty() || subject == case.subject;
        let hits = |(call, _, subject): &&(&Call, usize, String)| {
            call.injected && call.name == case.call && of_case(subject)
        };
        if !calls.iter().any(|call| hits(&call)) {
            let meant =
                calls.iter().find(|(call, _, subject)| call.name == case.call && of_case(subject));
            missed.push(
                calls.iter().find(|(call, ..)| call.injected).map(|(call, ..)| call.line.clone()),
            );
            let Some((_, at, _)) = meant else { continue };
            if let Place::At(place) = &mut case.place {
                // Lives differ by a turn or two, what has failed in vain is tried again, and what
                // has failed for good is not gone on with: each of both places, and beside them.
                let offset = [0, 1, -1, 2, -2, 3, -3][missed.len() / 2 % 7];
                let from = if missed.len() % 2 == 0 { *at } else { healthy_at };
                *place = from.saturating_add_signed(offset).max(1);
            }
            continue;
        }
        let spared = table::spared(case.call, &case.subject, case.times == Times::Ever);
        let broken = judge::broken(&seen, life.code, case.errno, &spared);
        let outcome = judge::outcome(&seen, life.code, usual);
        if broken.is_empty() {
            return Ok(if spared.why.is_empty() {
                outcome
            } else {
                format!("{outcome} ({})", spared.why)
            });
        }
        return Err(format!("{}; {outcome}\n{}", broken.join("; "), tail(&seen.log)));
    }
    Err(format!("no such call was hit: {missed:?}"))
}

/// The end of a log that may be long.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
