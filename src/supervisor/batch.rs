//! The order of signals that arrive together.

use crate::signal::{Meaning, Signal};

/// How many signals may wait before no more are read ahead: the kernel keeps the others.
const FULL: usize = 64;

/// The signals that have been read and not been handled, whatever order the kernel reports.
///
/// What stops us is taken first, before any exit, so that an exit beside a SIGTERM belongs to the
/// stop; then (by the caller) come the exits, then the rest in the order of [`Meaning`].
#[derive(Clone, Debug, Default)]
pub struct Batch(Vec<Signal>);

impl Batch {
    /// Whether so many wait that none is to be read but what goes before them.
    pub fn is_full(&self) -> bool {
        self.0.len() >= FULL
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes out a signal that goes before exits.
    pub fn take_before_exits(&mut self) -> Option<Signal> {
        let at = self.0.iter().position(|signal| signal.meaning() < Meaning::Reap)?;
        Some(self.0.remove(at))
    }

    /// Takes out the signal that is next in order.
    pub fn take(&mut self) -> Option<Signal> {
        let next = self.0.iter().enumerate().min_by_key(|(_, signal)| signal.meaning());
        let at = next.map(|(index, _)| index)?;
        Some(self.0.remove(at))
    }
}

impl Extend<Signal> for Batch {
    fn extend<T: IntoIterator<Item = Signal>>(&mut self, signals: T) {
        self.0.extend(signals);
    }
}
