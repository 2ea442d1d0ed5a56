//! What probes have written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::eventually;

/// A file that any number of probes append their lines to.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
}

/// A line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who wrote it, by the number in its own PID namespace.
    pub pid: i32,
    /// What it is about.
    pub word: String,
    /// The rest of the line.
    pub rest: String,
}

/// What a probe was given, by the words of its report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report(BTreeMap<String, String>);

impl Report {
    /// The value of a word.
    pub fn text(&self, word: &str) -> &str {
        self.0.get(word).unwrap_or_else(|| panic!("no {word} in {self:?}"))
    }

    /// The value of a word that is a number.
    pub fn number(&self, word: &str) -> i64 {
        self.text(word).parse().unwrap_or_else(|_| panic!("{word} is no number in {self:?}"))
    }

    /// The value of a word that is a set of signals.
    pub fn set(&self, word: &str) -> u64 {
        u64::from_str_radix(self.text(word), 16).unwrap_or_else(|_| panic!("{word} in {self:?}"))
    }

    /// The open descriptors: number, then flags and place.
    pub fn descriptors(&self) -> BTreeMap<i32, &str> {
        let fds = self.0.iter().filter_map(|(word, value)| {
            Some((word.strip_prefix("fd ")?.parse().ok()?, value.as_str()))
        });
        fds.collect()
    }
}

impl Journal {
    /// The journal in this file.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All whole lines so far.
    pub fn entries(&self) -> Vec<Entry> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        whole
            .map(|line| {
                let mut words = line.splitn(3, ' ');
                let pid = words.next().and_then(|pid| pid.parse().ok());
                Entry {
                    pid: pid.unwrap_or_else(|| panic!("a line of no probe: {line}")),
                    word: words.next().unwrap_or_default().to_owned(),
                    rest: words.next().unwrap_or_default().to_owned(),
                }
            })
            .collect()
    }

    /// Who wrote this word, in the order of the lines.
    pub fn writers(&self, word: &str) -> Vec<i32> {
        let entries = self.entries().into_iter();
        entries.filter(|entry| entry.word == word).map(|entry| entry.pid).collect()
    }

    /// Waits until this word was written so often, and returns who did.
    pub fn await_writers(&self, word: &str, times: usize) -> Vec<i32> {
        eventually(&format!("{times} lines of {word:?} in the journal"), || {
            let writers = self.writers(word);
            if writers.len() >= times { Ok(writers) } else { Err(self.entries()) }
        })
    }

    /// Waits until so many probes wait for signals, and returns their pids, oldest first.
    pub fn await_ready(&self, probes: usize) -> Vec<i32> {
        self.await_writers("ready", probes)
    }

    /// Waits until somebody said this, and returns who.
    pub fn await_said(&self, text: &str) -> i32 {
        eventually(&format!("{text:?} in the journal"), || {
            let entries = self.entries();
            let found = entries.iter().find(|entry| entry.word == "say" && entry.rest == text);
            found.map(|entry| entry.pid).ok_or_else(|| entries.clone())
        })
    }

    /// Waits for the whole report of a probe.
    pub fn await_report(&self, pid: i32) -> Report {
        eventually(&format!("the report of {pid}"), || {
            let entries = self.entries();
            let own = || entries.iter().filter(|entry| entry.pid == pid);
            if !own().any(|entry| entry.word == "reported") {
                return Err(entries);
            }
            let values = own().map(|entry| match entry.word.as_str() {
                "fd" => {
                    let (number, place) = entry.rest.split_once(' ').unwrap_or((&entry.rest, ""));
                    (format!("fd {number}"), place.to_owned())
                }
                word => (word.to_owned(), entry.rest.clone()),
            });
            Ok(Report(values.collect()))
        })
    }

    /// The signals that a probe has caught so far, in their order.
    pub fn signals(&self, pid: i32) -> Vec<i32> {
        let entries = self.entries().into_iter();
        let own = entries.filter(|entry| entry.pid == pid && entry.word == "signal");
        own.map(|entry| {
            let number = entry.rest.split(' ').next().and_then(|number| number.parse().ok());
            number.unwrap_or_else(|| panic!("no signal number in {entry:?}"))
        })
        .collect()
    }

    /// Waits until a probe has caught this signal.
    pub fn await_signal(&self, pid: i32, signal: i32) {
        eventually(&format!("signal {signal} at {pid}"), || {
            if self.signals(pid).contains(&signal) { Ok(()) } else { Err(self.entries()) }
        });
    }
}
