//! What has happened so far, for whoever asks how things stand.

use std::time::Duration;

use crate::supervisor::{Moment, RestartOutcome};

/// What has happened so far.
#[derive(Debug)]
pub(super) struct History {
    /// When we began.
    pub(super) began: Moment,
    /// How many restarts became an epoch that was ready, began nothing, failed.
    pub(super) done: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
    /// How many orphans have been reaped.
    pub(super) orphans: u64,
    /// What has become of the last restart, and when.
    pub(super) last: Option<(RestartOutcome, Moment)>,
    /// After which time the living epochs were ready.
    ready_after: Vec<(u32, Duration)>,
}

impl History {
    pub(super) fn begin(now: Moment) -> Self {
        Self {
            began: now,
            done: 0,
            refused: 0,
            failed: 0,
            orphans: 0,
            last: None,
            ready_after: Vec::new(),
        }
    }

    pub(super) fn settled(&mut self, now: Moment, outcome: &RestartOutcome) {
        let count = match outcome {
            RestartOutcome::Ready { .. } => &mut self.done,
            RestartOutcome::Refused { .. } => &mut self.refused,
            RestartOutcome::Failed { .. }
            | RestartOutcome::Fatal { .. }
            | RestartOutcome::Stopped { .. } => &mut self.failed,
        };
        *count += 1;
        self.last = Some((outcome.clone(), now));
    }

    /// An epoch became ready; those of the living are kept.
    pub(super) fn ready(&mut self, epoch: u32, after: Duration, living: impl Fn(u32) -> bool) {
        self.ready_after.retain(|(other, _)| *other != epoch && living(*other));
        self.ready_after.push((epoch, after));
    }

    pub(super) fn ready_after(&self, epoch: u32) -> Option<Duration> {
        let mut known = self.ready_after.iter();
        known.find(|(number, _)| *number == epoch).map(|(_, after)| *after)
    }
}
