//! How things stand, for whoever asks.

use super::{Moment, Obstacle, Phase, Pid, State, Supervisor, UnderWay, WaitsFor};

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What we are doing.
    pub phase: PhaseReport,
    /// A ready epoch serves, and no stop is under way.
    pub healthy: bool,
    /// The living epochs, oldest first.
    pub epochs: Vec<EpochReport>,
    /// The restart that is under way.
    pub under_way: Option<RestartReport>,
    /// A restart has been asked for and waits, for this if it is known.
    pub waiting: Option<Option<Obstacle>>,
    /// A restart has failed, and the admin of the newest epoch has not answered since, though it was
    /// asked several times.
    pub admin_lost: bool,
}

/// What we are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseReport {
    /// Epochs run and restarts are taken.
    Serving,
    /// A stop has begun; the newest epoch serves what is pending, which waits for this.
    Draining(WaitsFor),
    /// Everything has been asked to end.
    Stopping,
    /// Everything has been sent SIGKILL.
    Killing,
}

/// How far the restart that is under way has come, and the number of its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above says it")]
pub enum RestartReport {
    /// `--check` runs.
    Checking { epoch: u32 },
    /// The epoch is not ready yet.
    Starting { epoch: u32 },
    /// It has failed, and is being cleared away.
    Clearing { epoch: u32 },
}

/// A living epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochReport {
    /// Its number.
    pub number: u32,
    /// Its leader.
    pub leader: Pid,
    /// When it was started.
    pub started: Moment,
    /// How it is.
    pub state: EpochState,
}

/// How an epoch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochState {
    /// It has not taken over yet.
    Starting,
    /// It serves.
    Ready,
    /// A newer one has taken over.
    Draining,
    /// It has failed, and is being cleared away.
    Failed,
    /// It has been asked to end, or killed.
    Stopping,
}

impl Supervisor {
    /// How things stand at `now`.
    pub fn report(&self, now: Moment) -> Report {
        let phase = match &self.phase {
            Phase::Serving => PhaseReport::Serving,
            Phase::Draining(draining) => {
                PhaseReport::Draining(draining.waits_for(now, self.standing() == 1))
            }
            Phase::Stopping(_) => PhaseReport::Stopping,
            Phase::Killing(_) | Phase::Ended => PhaseReport::Killing,
        };
        let asked_to_end = match phase {
            PhaseReport::Serving | PhaseReport::Draining(_) => false,
            PhaseReport::Stopping | PhaseReport::Killing => true,
        };
        let newest_ready = self.epochs.iter().rposition(|epoch| epoch.state == State::Ready);
        let epochs = self.epochs.iter().enumerate().map(|(index, epoch)| EpochReport {
            number: epoch.number,
            leader: epoch.leader,
            started: epoch.started,
            state: match epoch.state {
                State::Failed { .. } => EpochState::Failed,
                State::Starting(_) | State::Ready if asked_to_end => EpochState::Stopping,
                State::Starting(_) => EpochState::Starting,
                State::Ready if Some(index) == newest_ready => EpochState::Ready,
                State::Ready => EpochState::Draining,
            },
        });
        Report {
            phase,
            healthy: self.phase == Phase::Serving && newest_ready.is_some(),
            epochs: epochs.collect(),
            under_way: self.under_way.map(|under_way| match under_way {
                UnderWay::Checking => RestartReport::Checking { epoch: self.next },
                UnderWay::Starting { epoch } => RestartReport::Starting { epoch },
                UnderWay::Failed { epoch, .. } => RestartReport::Clearing { epoch },
            }),
            waiting: self.is_waiting().then(|| self.waits_for(now)),
            admin_lost: self.admin_lost,
        }
    }
}
