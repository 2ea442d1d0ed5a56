//! Hot restarts: one at a time, and one remembered.

use std::fmt;
use std::mem;
use std::time::Duration;

use super::notice::Seconds;
use super::readiness::{Looks, Starting};
use super::{
    Action, Epoch, Moment, Outcome, Phase, Pid, Readiness, ReadyBy, StartFailure, State,
    StopReason, Supervisor, View, What,
};

/// A hot restart that was asked for and has not begun.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Restart {
    /// What it waits for, as last said.
    pub(super) obstacle: Option<Obstacle>,
    /// The looks at the newest epoch just before it begins: a start script that was ready by
    /// the clock may have become a server that initialises.
    pub(super) looks: Option<Looks>,
    /// One of them has not been answered.
    looking: bool,
}

/// What a hot restart waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// The newest epoch is not ready.
    NotReady {
        /// The newest epoch.
        epoch: u32,
    },
    /// `--max-epochs` live already.
    TooMany {
        /// How many live.
        epochs: usize,
    },
    /// `--min-restart-interval` is not over.
    TooSoon {
        /// The rest of it.
        left: Duration,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady { epoch } => write!(f, "epoch {epoch} is not ready yet"),
            Self::TooMany { epochs } => {
                write!(f, "{epochs} epochs live (--max-epochs) and the oldest has not left")
            }
            Self::TooSoon { left } => write!(
                f,
                "the last start was a moment ago (--min-restart-interval, {} s left)",
                Seconds(*left)
            ),
        }
    }
}

impl Supervisor {
    pub(super) fn restart_asked(&mut self, now: Moment) {
        match self.phase {
            Phase::Serving => {}
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Ended => {
                let why = "everything is being stopped".into();
                return self.say(What::RestartRefused { why });
            }
        }
        if self.restart.is_some() {
            return self.say_of(self.next, None, What::RestartAlreadyQueued);
        }
        self.restart = Some(Restart { obstacle: None, looks: None, looking: false });
        self.try_restart(now);
    }

    /// Begins the restart that waits, if one does and nothing is in its way.
    pub(super) fn try_restart(&mut self, now: Moment) {
        if self.is_ending() || self.restart.is_none() {
            return;
        }
        if let Some(obstacle) = self.obstacle(now) {
            return self.wait_for(obstacle);
        }
        if self.policy.readiness == Readiness::None {
            return self.start();
        }
        let newest = self.newest().map(|newest| (newest.number, newest.leader, newest.started));
        let (Some(restart), Some((epoch, leader, started))) = (&mut self.restart, newest) else {
            return;
        };
        if restart.looking || restart.looks.is_some_and(|looks| looks.next > now) {
            return;
        }
        restart.looking = true;
        let looks = restart.looks.get_or_insert_with(|| Looks::begin(now));
        if looks.look(now, self.policy.ready_timeout) {
            self.say_of(epoch, leader, What::NotReady { after: now - started });
        }
        self.act(Action::Look { epoch, leader });
    }

    /// Notes what the restart waits for, and says it when it is something new.
    fn wait_for(&mut self, obstacle: Obstacle) {
        let Some(restart) = &mut self.restart else {
            return;
        };
        let said = restart.obstacle.replace(obstacle);
        // The rest of an interval differs each time; it is said once.
        if said.map(|said| mem::discriminant(&said)) != Some(mem::discriminant(&obstacle)) {
            self.say_of(self.next, None, What::RestartQueued { obstacle });
        }
    }

    /// The answer to a look just before a restart.
    pub(super) fn last_look(&mut self, now: Moment, epoch: u32, view: View) {
        let Some(restart) = self.restart.as_mut().filter(|restart| restart.looking) else {
            return;
        };
        restart.looking = false;
        match view {
            View::Starting => {
                if let Some(looks) = &mut restart.looks {
                    looks.answered(now);
                }
                self.wait_for(Obstacle::NotReady { epoch });
            }
            View::Ready | View::Silent | View::Unreadable => self.start(),
        }
    }

    fn obstacle(&self, now: Moment) -> Option<Obstacle> {
        let newest = self.newest()?;
        if let State::Starting(_) = newest.state {
            return Some(Obstacle::NotReady { epoch: newest.number });
        }
        if self.epochs.len() >= self.policy.max_epochs {
            return Some(Obstacle::TooMany { epochs: self.epochs.len() });
        }
        match self.interval_over()? - now {
            Duration::ZERO => None,
            left => Some(Obstacle::TooSoon { left }),
        }
    }

    pub(super) fn interval_over(&self) -> Option<Moment> {
        Some(self.last_start? + self.policy.min_restart_interval)
    }

    pub(super) fn start(&mut self) {
        self.restart = None;
        self.act(Action::Start { epoch: self.next });
    }

    pub(super) fn started(&mut self, now: Moment, number: u32, leader: Pid, foreground: bool) {
        assert_eq!(number, self.next, "an epoch that was not asked for");
        let first = self.epochs.is_empty();
        let starting = Starting { looks: Looks::begin(now), reopen_owed: false };
        let state = State::Starting(starting);
        self.epochs.push(Epoch { number, leader, started: now, foreground, state });
        self.next = number + 1;
        self.last_start = Some(now);
        self.say_of(number, leader, What::Started);
        if first {
            self.act(Action::RecordMemory);
        }
        if self.policy.readiness == Readiness::None {
            self.became_ready(now, ReadyBy::Option);
        }
    }

    pub(super) fn not_started(&mut self, now: Moment, number: u32, failure: StartFailure) {
        let StartFailure { exit, why } = failure;
        if self.epochs.is_empty() {
            self.say_of(number, None, What::NotStarted { why });
            self.stop(now, StopReason::CannotStart, Outcome::CannotStart(exit));
        } else {
            self.say_of(number, None, What::RestartRefused { why });
        }
    }
}
