//! What all arenas together have done and found, counted by name.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many broken promises are kept in their own words; of the others there is the number.
const KEPT: usize = 10;

/// The counters, shared by all threads.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Mutex<BTreeMap<String, u64>>,
    broken: Mutex<Vec<String>>,
    any_broken: AtomicBool,
    is_aloud: bool,
}

impl Tally {
    /// One that tells of a broken promise at once, on standard error.
    pub(crate) fn aloud() -> Self {
        Self { is_aloud: true, ..Self::default() }
    }

    /// Counts so many more of something.
    pub(crate) fn add(&self, name: &str, number: u64) {
        let mut counts = whole(self.counts.lock());
        if let Some(count) = counts.get_mut(name) {
            *count += number;
        } else {
            counts.insert(name.to_owned(), number);
        }
    }

    /// A promise was broken: which, and everything that is needed to understand how and to play it
    /// again.
    pub(crate) fn broken(&self, why: String) {
        if self.is_aloud {
            eprintln!("A BROKEN PROMISE: {why}");
        }
        self.any_broken.store(true, Ordering::Relaxed);
        self.add("broken promises", 1);
        let mut broken = whole(self.broken.lock());
        if broken.len() < KEPT {
            broken.push(why);
        }
    }

    /// Whether a promise was broken, so that nobody need begin anything new.
    pub(crate) fn is_broken(&self) -> bool {
        self.any_broken.load(Ordering::Relaxed)
    }

    /// The broken promises, the first one first.
    pub(crate) fn all_broken(&self) -> Vec<String> {
        whole(self.broken.lock()).clone()
    }

    /// A line for each name.
    pub(crate) fn summary(&self) -> String {
        let counts = whole(self.counts.lock());
        let lines = counts.iter().map(|(name, number)| format!("{number:>12}  {name}"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// What a thread that panicked has counted stands.
fn whole<'a, T>(
    locked: Result<MutexGuard<'a, T>, PoisonError<MutexGuard<'a, T>>>,
) -> MutexGuard<'a, T> {
    locked.unwrap_or_else(PoisonError::into_inner)
}
