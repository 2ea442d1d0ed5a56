//! What becomes of a hot restart, for whoever asked for it.

use std::fmt;
use std::time::Duration;

use super::notice::Seconds;
use super::{Action, End, Failure, RestartStage, RestartStep, Supervisor};

/// Why nothing begins in a stop.
pub(super) const STOPPED: &str = "everything is being stopped";

/// What has become of a hot restart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RestartOutcome {
    /// The new epoch is ready.
    Ready {
        /// Its number.
        epoch: u32,
        /// So long after its start.
        after: Duration,
    },
    /// Nothing was started, and nothing has changed.
    Refused {
        /// Why: one clause.
        why: String,
    },
    /// The new epoch failed, and the one before it serves on.
    Failed {
        /// Its number, which is used again.
        epoch: u32,
        /// How.
        failure: Failure,
        /// The one before it, unless everything ends.
        newest: Option<u32>,
    },
    /// The new epoch failed, which ends everything.
    Fatal {
        /// Its number.
        epoch: u32,
        /// How it ended.
        end: End,
    },
    /// The new epoch was not ready when everything was asked to end.
    Stopped {
        /// Its number.
        epoch: u32,
    },
}

/// One sentence for whoever waits.
impl fmt::Display for RestartOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { epoch, after } => {
                write!(f, "epoch {epoch} ready after {} s", Seconds(*after))
            }
            Self::Refused { why } => write!(f, "refused: {why}"),
            Self::Failed { epoch, failure, newest } => {
                write!(f, "epoch {epoch} failed: ")?;
                match failure {
                    Failure::Ended(end) => end.fmt(f)?,
                    Failure::Late { after } => {
                        write!(f, "not ready after {} s", Seconds(*after))?;
                    }
                }
                match newest {
                    Some(newest) => write!(f, "; epoch {newest} still serves"),
                    None => Ok(()),
                }
            }
            Self::Fatal { epoch, end } => {
                write!(f, "epoch {epoch} failed: {end}, which ends everything")
            }
            Self::Stopped { epoch } => {
                write!(f, "epoch {epoch} was not ready when everything was asked to end")
            }
        }
    }
}

/// A restart that has begun and not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum UnderWay {
    /// It is being checked, or about to be started.
    Checking,
    /// Its epoch is started, and not ready.
    Starting {
        /// The number of the epoch.
        epoch: u32,
    },
    /// Its epoch has failed, and what that left is being cleared away. Only then is it sure that the
    /// one before it serves on.
    Failed {
        /// The number of the epoch.
        epoch: u32,
        /// How it failed.
        failure: Failure,
    },
}

impl Supervisor {
    /// This has become of the restart that is under way, if one is.
    pub(super) fn settle(&mut self, outcome: RestartOutcome) {
        if self.under_way.take().is_some() {
            let stage = RestartStage::UnderWay;
            self.act(Action::Restart(RestartStep::Settled { stage, outcome }));
        }
    }

    /// What the failed epoch of the restart that is under way left is cleared away as far as it can
    /// be, and the one before it serves on.
    pub(super) fn settle_failed(&mut self) {
        let Some(UnderWay::Failed { epoch, failure }) = self.under_way else {
            return;
        };
        let serving = self.epochs.iter().rfind(|epoch| !epoch.has_failed());
        let newest = serving.map(|serving| serving.number).filter(|_| !self.is_ending());
        self.settle(RestartOutcome::Failed { epoch, failure, newest });
        if let Some(newest) = newest.filter(|_| self.policy.admin) {
            self.doubt_admin(newest);
        }
    }

    /// The end of this epoch, which may be the one under way, ends everything.
    pub(super) fn settle_fatal(&mut self, number: u32, end: End) {
        match self.under_way {
            Some(UnderWay::Starting { epoch } | UnderWay::Failed { epoch, .. })
                if epoch == number =>
            {
                self.settle(RestartOutcome::Fatal { epoch, end });
            }
            Some(UnderWay::Checking | UnderWay::Starting { .. } | UnderWay::Failed { .. })
            | None => {}
        }
    }

    /// Everything ends, and with it what is under way.
    pub(super) fn settle_stopped(&mut self) {
        match self.under_way {
            Some(UnderWay::Checking) => {
                self.settle(RestartOutcome::Refused { why: STOPPED.into() });
            }
            Some(UnderWay::Starting { epoch }) => self.settle(RestartOutcome::Stopped { epoch }),
            Some(UnderWay::Failed { epoch, failure }) => {
                self.settle(RestartOutcome::Failed { epoch, failure, newest: None });
            }
            None => {}
        }
    }

    /// Everything ends, and what has been asked for and has not begun comes to nothing.
    pub(super) fn settle_waiting(&mut self) {
        if self.is_waiting() {
            self.refuse_waiting();
        }
        self.restart = None;
    }

    /// What waits, or has been asked for since everything ends, comes to nothing.
    pub(super) fn refuse_waiting(&mut self) {
        let stage = RestartStage::Waiting;
        let outcome = RestartOutcome::Refused { why: STOPPED.into() };
        self.act(Action::Restart(RestartStep::Settled { stage, outcome }));
    }
}
