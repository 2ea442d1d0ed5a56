//! How things stand, as clients are told it: what the core reports, and what has happened so far.

use std::time::Duration;

use super::wire::{Epoch, LastRestart, Status, UnderWay};
use crate::log;
use crate::supervisor::{
    EpochReport, EpochState, Moment, PhaseReport, Report, RestartOutcome, RestartReport,
};

/// What has happened so far. When that was by the clock on the wall is written down as it happens:
/// somebody may set that clock later, which changes nothing of the past.
#[derive(Debug)]
pub struct History {
    /// The clock on the wall.
    wall: fn() -> Duration,
    began: Stamp,
    /// How many restarts became an epoch that was ready, began nothing, failed.
    done: u64,
    refused: u64,
    failed: u64,
    /// How many orphans have been reaped.
    orphans: u64,
    /// The last restart that has settled, and the last one that came to nothing.
    last: Option<Settled>,
    last_failure: Option<Settled>,
    /// The living epochs, and those that have ended since the last start.
    epochs: Vec<Life>,
}

/// When something happened.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    /// By the clock that ages are told by.
    at: Moment,
    /// By the clock on the wall: the time since 1970.
    wall: Duration,
}

/// What has become of a restart.
#[derive(Clone, Debug)]
struct Settled {
    outcome: RestartOutcome,
    since: Stamp,
}

/// What is known of an epoch beside what the core reports.
#[derive(Debug)]
struct Life {
    number: u32,
    /// When it was started, by the clock on the wall.
    started: Duration,
    /// After which time it was ready.
    ready_after: Option<Duration>,
}

impl History {
    /// Begins `now`, with this clock on the wall.
    pub fn begin(now: Moment, wall: fn() -> Duration) -> Self {
        Self {
            wall,
            began: Stamp { at: now, wall: wall() },
            done: 0,
            refused: 0,
            failed: 0,
            orphans: 0,
            last: None,
            last_failure: None,
            epochs: Vec::new(),
        }
    }

    /// A restart has settled.
    pub fn settled(&mut self, now: Moment, outcome: &RestartOutcome) {
        let count = match outcome {
            RestartOutcome::Ready { .. } => &mut self.done,
            RestartOutcome::Refused { .. } => &mut self.refused,
            RestartOutcome::Failed { .. }
            | RestartOutcome::Fatal { .. }
            | RestartOutcome::Stopped { .. } => &mut self.failed,
        };
        *count += 1;
        let since = Stamp { at: now, wall: (self.wall)() };
        let settled = Settled { outcome: outcome.clone(), since };
        let (ok, _, _) = facts(outcome);
        if !ok {
            self.last_failure = Some(settled.clone());
        }
        self.last = Some(settled);
    }

    /// An epoch has been started; what is known of others is kept while they live.
    pub fn started(&mut self, number: u32, living: impl Fn(u32) -> bool) {
        // The number of one that failed is used again.
        self.epochs.retain(|other| other.number != number && living(other.number));
        self.epochs.push(Life { number, started: (self.wall)(), ready_after: None });
    }

    /// An epoch became ready.
    pub fn ready(&mut self, number: u32, after: Duration) {
        if let Some(life) = self.epochs.iter_mut().find(|life| life.number == number) {
            life.ready_after = Some(after);
        }
    }

    /// An orphan has ended, and is reaped.
    pub fn reaped_orphan(&mut self) {
        self.orphans += 1;
    }
}

/// How things stand `now`.
pub fn status(report: Report, history: &History, now: Moment) -> Status {
    let (phase, draining) = match report.phase {
        PhaseReport::Serving => ("serving", None),
        PhaseReport::Draining(waits_for) => ("draining", Some(waits_for.to_string())),
        PhaseReport::Stopping => ("stopping", None),
        PhaseReport::Killing => ("killing", None),
    };
    let epoch = |EpochReport { number, leader, started, state }: EpochReport| {
        let life = history.epochs.iter().find(|life| life.number == number);
        Epoch {
            epoch: number,
            pid: leader.0,
            state: state_name(state).to_owned(),
            age_ms: millis(now - started),
            since: life.map(|life| log::timestamp(life.started)).unwrap_or_default(),
            ready_after_ms: life.and_then(|life| life.ready_after).map(millis),
        }
    };
    let under_way = report.under_way.map(|under_way| {
        let (epoch, stage) = match under_way {
            RestartReport::Checking { epoch } => (epoch, "checking"),
            RestartReport::Starting { epoch } => (epoch, "starting"),
            RestartReport::Clearing { epoch } => (epoch, "clearing"),
        };
        UnderWay { epoch, stage: stage.to_owned() }
    });
    let queued = report.waiting.map(|obstacle| match obstacle {
        Some(obstacle) => obstacle.to_string(),
        None => "it is about to begin".to_owned(),
    });
    let restart = |Settled { outcome, since }: &Settled| {
        let (ok, epoch, _) = facts(outcome);
        let message = outcome.to_string();
        let (age_ms, since) = (millis(now - since.at), log::timestamp(since.wall));
        LastRestart { ok, message, epoch, age_ms, since }
    };
    Status {
        restarter: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        phase: phase.to_owned(),
        healthy: report.healthy,
        uptime_ms: millis(now - history.began.at),
        since: log::timestamp(history.began.wall),
        epochs: report.epochs.into_iter().map(epoch).collect(),
        under_way,
        queued,
        last_restart: history.last.as_ref().map(restart),
        last_failure: history.last_failure.as_ref().map(restart),
        draining,
        admin: report.admin_lost.then(|| "lost".to_owned()),
        restarts_done: history.done,
        restarts_refused: history.refused,
        restarts_failed: history.failed,
        orphans_reaped: history.orphans,
    }
}

/// Whether a restart has succeeded, which epoch it was, and after which time that was ready.
pub fn facts(outcome: &RestartOutcome) -> (bool, Option<u32>, Option<Duration>) {
    match outcome {
        RestartOutcome::Ready { epoch, after } => (true, Some(*epoch), Some(*after)),
        RestartOutcome::Refused { .. } => (false, None, None),
        RestartOutcome::Failed { epoch, .. }
        | RestartOutcome::Fatal { epoch, .. }
        | RestartOutcome::Stopped { epoch } => (false, Some(*epoch), None),
    }
}

fn state_name(state: EpochState) -> &'static str {
    match state {
        EpochState::Starting => "starting",
        EpochState::Ready => "ready",
        EpochState::Draining => "draining",
        EpochState::Failed => "failed",
        EpochState::Stopping => "stopping",
    }
}

/// A time in milliseconds, as answers tell it.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
