//! Hot restarts: one at a time, and one remembered.

use std::fmt;
use std::mem;
use std::time::Duration;

use super::looks::Looks;
use super::notice::Seconds;
use super::outcome::{STOPPED, UnderWay};
use super::readiness::Starting;
use super::{
    Action, Epoch, Moment, Outcome, Phase, Pid, Readiness, ReadyBy, RestartOutcome, RestartStep,
    StartFailure, State, StopReason, Supervisor, Task, View, What,
};

/// A hot restart that was asked for and has not begun.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Restart {
    stage: Stage,
    /// What it waits for, as last said.
    obstacle: Option<Obstacle>,
    /// The looks at the newest epoch just before it begins: a start script that was ready by
    /// the clock may have become a server that initialises.
    looks: Option<Looks>,
    /// Another one was asked for while this one was checked, perhaps with what the check has not
    /// seen.
    again: bool,
}

/// How far a restart has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// Something is in its way.
    Waiting,
    /// `--check` runs.
    Checking,
    /// The check has passed.
    Checked,
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
    /// Another restart is being checked.
    Checking,
    /// An epoch has failed, and what it left is being cleared away.
    Clearing {
        /// The failed epoch.
        epoch: u32,
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
            Self::Checking => f.write_str("the one before it is being checked (--check)"),
            Self::Clearing { epoch } => {
                write!(f, "what the failed epoch {epoch} left is being cleared away")
            }
        }
    }
}

impl Restart {
    fn new() -> Self {
        Self { stage: Stage::Waiting, obstacle: None, looks: None, again: false }
    }
}

impl Supervisor {
    /// A watched path has changed.
    pub(super) fn changed(&mut self, now: Moment, path: String) {
        if !self.is_ending() {
            self.say(What::Changed { path });
            self.restart_asked(now);
        }
    }

    pub(super) fn restart_asked(&mut self, now: Moment) {
        match self.phase {
            Phase::Serving => {}
            Phase::Draining(_) | Phase::Stopping(_) | Phase::Killing(_) | Phase::Ended => {
                self.say(What::RestartRefused { why: STOPPED.into() });
                return self.refuse_waiting();
            }
        }
        let Some(restart) = &mut self.restart else {
            self.restart = Some(Restart::new());
            self.act(Action::Restart(RestartStep::Asked));
            return self.try_restart(now);
        };
        let checking = restart.stage == Stage::Checking;
        if checking && !mem::replace(&mut restart.again, true) {
            let obstacle = Obstacle::Checking;
            self.act(Action::Restart(RestartStep::Asked));
            return self.say_of(self.next + 1, None, What::RestartQueued { obstacle });
        }
        self.say_of(self.next, None, What::RestartAlreadyQueued);
    }

    /// When the restart that waits is to be tried again. The end of an epoch or of the check is an
    /// event.
    pub(super) fn restart_due(&self) -> Option<Moment> {
        let restart = self.restart.as_ref()?;
        match restart.obstacle {
            Some(Obstacle::TooSoon { .. }) => self.interval_over(),
            Some(
                Obstacle::NotReady { .. }
                | Obstacle::TooMany { .. }
                | Obstacle::Checking
                | Obstacle::Clearing { .. },
            )
            | None => restart.looks.and_then(|looks| looks.next()),
        }
    }

    /// Takes the restart that waits, if one does, as far as it comes.
    pub(super) fn try_restart(&mut self, now: Moment) {
        let obstacle = self.obstacle(now);
        let ending = self.is_ending();
        let Some(restart) = self.restart.as_mut().filter(|_| !ending) else {
            return;
        };
        if restart.stage == Stage::Checking {
            return;
        }
        if let Some(obstacle) = obstacle {
            // What looks have seen may be old when this is over.
            restart.looks = None;
            return self.wait_for(obstacle);
        }
        // No epoch fails before it is ready, so there is nothing to repair either.
        if self.policy.readiness == Readiness::None {
            return self.nothing_hinders();
        }
        let newest = self.newest().map(|newest| (newest.number, newest.leader));
        let (Some(restart), Some((epoch, leader))) = (&mut self.restart, newest) else {
            return;
        };
        let looks = restart.looks.get_or_insert_with(|| Looks::begin_now(now));
        if !looks.is_due(now) {
            return;
        }
        looks.look(now);
        if self.mending.is_some() {
            // What was given up before may be possible now; the look follows.
            return self.mend(now);
        }
        self.act(Action::Look { epoch, leader });
    }

    /// Asks for the look just before a restart, if it waits for an attempt to mend; says whether it
    /// did.
    pub(super) fn look_after_mending(&mut self) -> bool {
        let looks = self.restart.as_ref().and_then(|restart| restart.looks);
        let newest = self.newest().map(|newest| (newest.number, newest.leader));
        match newest.filter(|_| looks.is_some_and(|looks| looks.is_asked())) {
            Some((epoch, leader)) => {
                self.act(Action::Look { epoch, leader });
                true
            }
            None => false,
        }
    }

    /// Notes what the restart waits for, and says it when it is something new.
    fn wait_for(&mut self, obstacle: Obstacle) {
        let Some(restart) = &mut self.restart else {
            return;
        };
        // What the check has seen may be old when this is over. It will be run again, for whoever
        // asked meanwhile as well.
        if mem::replace(&mut restart.stage, Stage::Waiting) != Stage::Waiting {
            restart.again = false;
            self.under_way = None;
            self.actions.push_back(Action::Restart(RestartStep::PutOff));
        }
        let said = restart.obstacle.replace(obstacle);
        // The rest of an interval differs each time; it is said once.
        if said.map(|said| mem::discriminant(&said)) != Some(mem::discriminant(&obstacle)) {
            let number = match obstacle {
                // Its number is used again.
                Obstacle::Clearing { epoch } => epoch,
                Obstacle::NotReady { .. }
                | Obstacle::TooMany { .. }
                | Obstacle::TooSoon { .. }
                | Obstacle::Checking => self.next,
            };
            self.say_of(number, None, What::RestartQueued { obstacle });
        }
    }

    /// The answer to a look just before a restart.
    pub(super) fn last_look(&mut self, now: Moment, epoch: u32, view: View) {
        let (lingering, unmended) = (self.lingering(), self.unmended());
        let timeout = self.policy.ready_timeout;
        let Some(Restart { looks: Some(looks), .. }) = &mut self.restart else {
            return;
        };
        let (late, after) = (looks.becomes_late(now, timeout), looks.age(now));
        if !looks.answered(now) {
            return;
        }
        let obstacle = match (view, unmended) {
            // The flag that makes it look so was left by another, and could not be lowered.
            (View::Starting, Some(failed)) => Obstacle::Clearing { epoch: failed },
            (View::Starting, None) => Obstacle::NotReady { epoch },
            (View::Ready | View::Silent | View::Unreadable, _) => match lingering {
                Some(failed) => Obstacle::Clearing { epoch: failed },
                None => return self.nothing_hinders(),
            },
        };
        if let Obstacle::NotReady { .. } = obstacle
            && late
        {
            let leader = self.newest().map(|newest| newest.leader);
            self.say_of(epoch, leader, What::NotReady { after });
        }
        self.wait_for(obstacle);
    }

    /// The restart begins: with its check, if there is one that has not passed.
    fn nothing_hinders(&mut self) {
        let Some(restart) = &mut self.restart else {
            return;
        };
        let begins = restart.stage == Stage::Waiting;
        if begins {
            self.under_way = Some(UnderWay::Checking);
            self.actions.push_back(Action::Restart(RestartStep::Begins));
        }
        if self.policy.check_timeout.is_some() && begins {
            restart.stage = Stage::Checking;
            restart.obstacle = None;
            restart.looks = None;
            return self.act(Action::Run { task: Task::Check { epoch: self.next } });
        }
        // One that was asked for meanwhile waits from now on.
        self.restart = restart.again.then(Restart::new);
        self.start();
    }

    pub(super) fn check_passed(&mut self, now: Moment, after: Duration) {
        self.say_of(self.next, None, What::Checked { after });
        if let Some(restart) = &mut self.restart {
            restart.stage = Stage::Checked;
        }
        self.try_restart(now);
    }

    /// The restart is refused, and nothing else has changed.
    pub(super) fn check_failed(&mut self, now: Moment, why: String) {
        self.say_of(self.next, None, What::RestartRefused { why: why.clone() });
        self.settle(RestartOutcome::Refused { why });
        self.restart = self.restart.take().filter(|restart| restart.again).map(|_| Restart::new());
        self.try_restart(now);
    }

    /// Whether a restart that was asked for waits.
    pub(super) fn is_waiting(&self) -> bool {
        self.restart.as_ref().is_some_and(|restart| match restart.stage {
            Stage::Waiting => true,
            Stage::Checking | Stage::Checked => restart.again,
        })
    }

    /// What it waits for, if that is known.
    pub(super) fn waits_for(&self, now: Moment) -> Option<Obstacle> {
        let restart = self.restart.as_ref()?;
        match restart.stage {
            Stage::Waiting => self.obstacle(now).or_else(|| match restart.obstacle? {
                // That was the rest when it was said.
                Obstacle::TooSoon { .. } => None,
                // A look has found it.
                found @ (Obstacle::NotReady { .. }
                | Obstacle::TooMany { .. }
                | Obstacle::Checking
                | Obstacle::Clearing { .. }) => Some(found),
            }),
            Stage::Checking | Stage::Checked => Some(Obstacle::Checking),
        }
    }

    fn obstacle(&self, now: Moment) -> Option<Obstacle> {
        let newest = self.newest()?;
        if let Some(epoch) = self.clearing() {
            return Some(Obstacle::Clearing { epoch });
        }
        match newest.state {
            State::Starting(_) => return Some(Obstacle::NotReady { epoch: newest.number }),
            State::Failed { .. } => return Some(Obstacle::Clearing { epoch: newest.number }),
            State::Ready => {}
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
        self.act(Action::Start { epoch: self.next });
    }

    pub(super) fn started(&mut self, now: Moment, number: u32, leader: Pid, foreground: bool) {
        assert_eq!(number, self.next, "an epoch that was not asked for");
        let first = self.epochs.is_empty();
        let state = State::Starting(Starting::begin(now));
        let (workers, admin_asked) = (None, false);
        let started = now;
        let epoch = Epoch { number, leader, started, foreground, workers, admin_asked, state };
        self.epochs.push(epoch);
        self.next = number + 1;
        self.last_start = Some(now);
        self.under_way = self.under_way.map(|_| UnderWay::Starting { epoch: number });
        // Whatever the last failed epoch left, this one has found it.
        self.mending = None;
        // It may have the admin before it closed any moment; should it fail, we ask anew.
        self.admin_doubt = None;
        self.say_of(number, leader, What::Started);
        if first {
            self.act(Action::RecordMemory { untold: 0 });
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
            self.say_of(number, None, What::RestartRefused { why: why.clone() });
            self.settle(RestartOutcome::Refused { why });
            self.try_restart(now);
        }
    }
}
