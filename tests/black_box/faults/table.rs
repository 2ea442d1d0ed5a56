//! The page that lists every fault with what came of it.
//!
//! `UPDATE_TABLE=1 cargo test --test black_box faults::` writes the page anew; the difference is
//! then part of the change that is reviewed.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::sync::{Mutex, PoisonError};

use super::calls::SPARED;
use super::lives::LIVES;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/black_box/faults/table.md");

const HEAD: &str = "\
# System calls that fail

Every system call that the restarter makes fails in turn, in the finished binary, and its life then
goes on to its end. The kernel asks before each call (`seccomp_unotify(2)`) and is told to fail it:
*once* is the first such call, *for ever* every one from then on, *in each child* the one that each
new child makes before it executes, and *after* another fault a call that only this leads to. No
fault makes us hang, lose a child or run in circles, and what it changes is said with its cause;
\"no change\" is a life like any other. The first life that makes a call tries every errno that is
plausible, and those of the calls that only a fault leads to; a later one tries the likeliest; memory, `close` and plain reads of the kernel's files are
tried only in the first.

This page is written by `UPDATE_TABLE=1 cargo test --test black_box faults::` and compared by the
trials of that name; the trial of a life fails as soon as that makes a call which the page does not
know.

";

/// A fault and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    /// Life, phase, call, errno, how often.
    pub(super) key: Vec<String>,
    pub(super) outcome: String,
}

/// Where a promise ends, and why.
#[derive(Clone, Default)]
pub(super) struct Spared {
    /// Nothing is said of it.
    pub(super) silent: bool,
    /// It lasts for as long as the fault does.
    pub(super) lasts: bool,
    /// Processes are left behind.
    pub(super) leaves: bool,
    pub(super) why: &'static str,
}

impl Spared {
    /// What either spares.
    pub(super) fn and(self, other: &Self) -> Self {
        Self {
            silent: self.silent || other.silent,
            lasts: self.lasts || other.lasts,
            leaves: self.leaves || other.leaves,
            why: if self.why.is_empty() { other.why } else { self.why },
        }
    }
}

/// What nobody can keep: without the call there is no way.
pub(super) fn spared(call: &str, subject: &str, ever: bool) -> Spared {
    let none = Spared::default();
    match (call, subject, ever) {
        ("read", "" | "signals", true) => {
            Spared { lasts: true, why: "deaf for as long as it lasts; what serves goes on", ..none }
        }
        ("waitid", _, true) => Spared {
            lasts: true,
            why: "blind for as long as it lasts; a stop has its bounds all the same",
            ..none
        },
        ("kill", _, true) => Spared {
            leaves: true,
            why: "nobody can be ended, so we exit and name who is left",
            ..none
        },
        ("mmap", _, true) => Spared {
            leaves: true,
            why: "leaders have SIGTERM from the kernel; as PID 1 nobody is left",
            ..none
        },
        ("recvfrom", _, _) => Spared {
            silent: true,
            why: "a client that cannot be read from is let go, and hears that",
            ..none
        },
        ("write", "" | "the log", true) | ("pwritev2", "the log", _) => {
            Spared { silent: true, why: "there is no other place for a log", ..none }
        }
        _ => none,
    }
}

type Sections = BTreeMap<(String, String), Vec<Row>>;

static FILE: Mutex<()> = Mutex::new(());

/// Compares the rows of a life and phase with the page, or writes them; each difference as a line.
pub(super) fn compare(life: &str, phase: &str, rows: &[Row]) -> Vec<String> {
    let _alone = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut sections = read();
    let place = (life.to_owned(), phase.to_owned());
    if env::var_os("UPDATE_TABLE").is_some() {
        sections.insert(place.clone(), rows.to_vec());
        fs::write(PAGE, written(&sections)).expect("the page can be written");
    }
    let known = sections.remove(&place).unwrap_or_default();
    differences(&known, rows)
}

/// Where two lists of rows differ, each difference as a line.
pub(super) fn differences(known: &[Row], found: &[Row]) -> Vec<String> {
    let by_key = |rows: &[Row]| -> BTreeMap<String, String> {
        rows.iter().map(|row| (row.key.join(" "), row.outcome.clone())).collect()
    };
    let (known, found) = (by_key(known), by_key(found));
    let mut differences = Vec::new();
    for (key, outcome) in &found {
        match known.get(key) {
            Some(before) if before == outcome => {}
            Some(before) => {
                differences.push(format!("{key}: {outcome}\n    the page: {before}"));
            }
            None => differences.push(format!("{key} is not on the page: {outcome}")),
        }
    }
    let gone = known.keys().filter(|key| !found.contains_key(*key));
    differences.extend(gone.map(|key| format!("{key} is on the page and was not tried")));
    differences
}

/// The page has every section and nothing else.
pub(super) fn page() {
    let _alone = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let file = fs::read_to_string(PAGE).expect("the page can be read");
    let sections = read();
    for life in &LIVES {
        for phase in life.phases {
            let place = (life.name.to_owned(), phase.name().to_owned());
            assert!(sections.contains_key(&place), "{place:?} is not on the page");
        }
    }
    let page = written(&sections);
    for (is, was) in page.lines().zip(file.lines()) {
        assert_eq!(is, was, "differs from {PAGE}; UPDATE_TABLE=1 writes it anew");
    }
    assert_eq!(page.lines().count(), file.lines().count(), "{PAGE} has lines of its own");
}

fn read() -> Sections {
    let text = fs::read_to_string(PAGE).unwrap_or_default();
    let mut sections = Sections::new();
    let mut place = None;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            place = title.split_once(", ").map(|(life, phase)| (life.to_owned(), phase.to_owned()));
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if let (Some(place), [call, errno, times, outcome]) = (&place, &cells[..])
            && call.starts_with('`')
        {
            let key = [&place.0, &place.1, *call, errno, times].map(str::to_owned).to_vec();
            let row = Row { key, outcome: (*outcome).to_owned() };
            sections.entry(place.clone()).or_default().push(row);
        }
    }
    sections
}

fn written(sections: &Sections) -> String {
    let mut page = HEAD.to_owned();
    // Writing to a text cannot fail.
    let _ = writeln!(page, "## Calls that are spared\n\n| call | why |\n| --- | --- |");
    for (call, _, why) in &SPARED {
        let _ = writeln!(page, "| `{call}` | {why} |");
    }
    for life in &LIVES {
        let _ = writeln!(page, "\n## {}\n\n{}.", life.name, life.what);
        for phase in life.phases {
            let _ = writeln!(page, "\n### {}, {}\n", life.name, phase.name());
            let _ = writeln!(page, "| call | errno | when | what comes of it |");
            let _ = writeln!(page, "| --- | --- | --- | --- |");
            let place = (life.name.to_owned(), phase.name().to_owned());
            for Row { key, outcome } in sections.get(&place).into_iter().flatten() {
                let _ = writeln!(page, "| {} | {outcome} |", key[2..].join(" | "));
            }
        }
    }
    page
}
