//! The core: every rule of the contract, and nothing else.
//!
//! [`Supervisor`] is a state machine without a system call, a clock or a file descriptor. It is
//! told what happened ([`Event`], with the time), and says what is to be done ([`Action`]). The
//! shell around it performs each action before the next one is asked for and feeds the answers
//! back, so that between two events nothing is ever half done.
//!
//! ```text
//!                                           HUP, checked
//! Serving: [0 starting] ──> [0 ready] ────────────────────> [0 ready, 1 starting] ──> …
//!     │                         ^    failed before it was ready: │      │ unexpected exit
//!     │                         └──── killed, reaped, mended <───┘      │
//!     │ TERM, INT ──> Draining (--drain-timeout), if one is wanted      │
//!     │ last epoch ended with 0 │                                       │
//!     v                         v                                       v
//! Stopping (ask, wait --term-wait) ────── time is up ─────> Killing (SIGKILL, 2 s)
//!     │ no child is left                                        │ none left, or time is up
//!     └───────────────────────> Ended <─────────────────────────┘
//! ```

mod admin;
mod batch;
mod drain;
mod ending;
mod ends;
mod forwarding;
mod looks;
mod notice;
mod outcome;
mod readiness;
mod report;
mod restart;
mod rollback;
mod tasks;
mod vocabulary;

use std::collections::VecDeque;
use std::time::Duration;

use admin::Doubt;
pub use batch::Batch;
pub use drain::DrainTime;
use drain::Draining;
use ending::{Ending, Outcome};
pub use notice::{
    Drained, End, Failure, Level, Notice, ReadyBy, Seconds, StopReason, WaitsFor, What,
};
pub use outcome::RestartOutcome;
use outcome::UnderWay;
pub use readiness::SETTLING;
use readiness::Starting;
pub use report::{EpochReport, EpochState, PhaseReport, Report, RestartReport};
pub use restart::Obstacle;
use restart::Restart;
use rollback::Mending;
use tasks::Running;
pub use vocabulary::{
    Action, Answer, Command, Count, Event, Mended, Moment, Orphan, Peer, Pending, Pid, Reach,
    Readiness, Reply, Request, RestartStage, RestartStep, StartFailure, Task, View,
};

pub use crate::exit::Status;
use crate::signal::Signal;

/// What the core needs to know of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// From the signal that asks us to stop to SIGKILL.
    pub term_wait: Duration,
    /// Before epochs are asked to end they go on serving for this long.
    pub drain: Option<DrainTime>,
    /// What asks an epoch to end.
    pub stop_signal: Signal,
    /// How an epoch is found ready.
    pub readiness: Readiness,
    /// Epochs have an admin that can be asked how they are.
    pub admin: bool,
    /// After this an epoch that is not ready is warned about and looked at less often, or has
    /// failed.
    pub ready_timeout: Duration,
    /// Restarts are checked before they begin, and the check may take so long.
    pub check_timeout: Option<Duration>,
    /// A new epoch that fails before it is ready is a restart that failed, and no more.
    pub rollback: bool,
    /// From one start to the next at least.
    pub min_restart_interval: Duration,
    /// How many epochs may live at once, at least 2.
    pub max_epochs: usize,
}

/// One run of the target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Epoch {
    number: u32,
    /// Its leader, and the number of its process group. A direct child, so until we reap it
    /// neither number can be a stranger's.
    leader: Pid,
    started: Moment,
    /// Whether our terminal's signals reach it.
    foreground: bool,
    /// How many worker threads it has, as far as its admin has told.
    workers: Option<u32>,
    /// Its admin has been asked, and has not answered.
    admin_asked: bool,
    state: State,
}

impl Epoch {
    fn is_starting(&self) -> bool {
        match self.state {
            State::Starting(_) => true,
            State::Ready | State::Failed { .. } => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Starting(Starting),
    Ready,
    /// It was not ready in time and has been sent SIGKILL.
    Failed {
        /// When it is to be said that it would not die, until it has been.
        complain_at: Option<Moment>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Epochs run and restarts are taken.
    Serving,
    /// Everything is to end, and the newest epoch goes on serving what is pending.
    Draining(Draining),
    /// Everything has been asked to end.
    Stopping(Ending),
    /// Everything has been sent SIGKILL.
    Killing(Ending),
    /// The exit code is out; nothing happens any more.
    Ended,
}

/// The state machine; see the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervisor {
    policy: Policy,
    /// The living epochs, oldest first. Only the newest can be starting, or have failed.
    epochs: Vec<Epoch>,
    /// The programs that run beside them.
    tasks: Vec<Running>,
    /// The number of the next epoch. Envoy's epochs must be consecutive, so the number of one
    /// that never served is used again.
    next: u32,
    restart: Option<Restart>,
    /// The restart that is being checked, or whose epoch is started or cleared away, until it has
    /// settled.
    under_way: Option<UnderWay>,
    /// What the last failed epoch left has not been cleared away.
    mending: Option<Mending>,
    last_start: Option<Moment>,
    /// A restart has failed, and the admin of the newest epoch has not answered since.
    admin_lost: bool,
    /// It is being asked, and nothing is said of it yet.
    admin_doubt: Option<Doubt>,
    /// An epoch of this run announced its readiness, so no later one is ready by the clock.
    announces: bool,
    phase: Phase,
    actions: VecDeque<Action>,
}

impl Supervisor {
    /// A core that has not begun.
    pub fn new(policy: Policy) -> Self {
        assert!(policy.max_epochs >= 2, "a handover needs two epochs");
        Self {
            policy,
            epochs: Vec::new(),
            tasks: Vec::new(),
            next: 0,
            restart: None,
            under_way: None,
            mending: None,
            last_start: None,
            admin_lost: false,
            admin_doubt: None,
            announces: false,
            phase: Phase::Serving,
            actions: VecDeque::new(),
        }
    }

    /// The next thing to be done.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The living epochs' leaders, oldest first.
    pub fn leaders(&self) -> impl Iterator<Item = (u32, Pid)> {
        self.epochs.iter().map(|epoch| (epoch.number, epoch.leader))
    }

    /// Whether this child leads a living epoch.
    pub fn is_leader(&self, pid: Pid) -> bool {
        self.epochs.iter().any(|epoch| epoch.leader == pid)
    }

    /// Whether this child leads a living epoch, or is a program that we run beside them; any other
    /// is an orphan.
    pub fn is_known(&self, pid: Pid) -> bool {
        self.is_leader(pid) || self.tasks.iter().any(|running| running.pid == pid)
    }

    /// Whether we are on the way out.
    pub fn is_ending(&self) -> bool {
        match self.phase {
            Phase::Serving => false,
            Phase::Draining(_) | Phase::Stopping(_) | Phase::Killing(_) | Phase::Ended => true,
        }
    }

    /// When [`Event::Tick`] is wanted at the latest; `None` while nothing is under way.
    pub fn next_deadline(&self) -> Option<Moment> {
        let tasks = || self.tasks.iter().filter_map(Running::next_deadline);
        match &self.phase {
            Phase::Serving => {
                let (starting, restart) = (self.starting_due(), self.restart_due());
                let moments = [starting, restart, self.mending_due(), self.doubt_due()];
                tasks().chain(moments.into_iter().flatten()).min()
            }
            Phase::Draining(draining) => {
                let starting = self.starting_due().filter(|_| self.drains_after_handover());
                tasks().chain(starting).chain([draining.due()]).min()
            }
            Phase::Stopping(ending) | Phase::Killing(ending) => Some(ending.next_deadline()),
            Phase::Ended => None,
        }
    }

    /// Takes in what happened at `now`; [`Self::next_action`] then says what is to be done.
    pub fn handle(&mut self, now: Moment, event: Event) {
        match event {
            Event::Begin => {
                assert!(self.epochs.is_empty() && self.next == 0, "begun twice");
                self.start();
            }
            Event::Signal(signal) => self.signal(now, signal),
            Event::Command(command) => self.command(now, command),
            Event::Exited { pid, status, out_of_memory } => {
                if let Some(index) = self.epochs.iter().position(|epoch| epoch.leader == pid) {
                    self.epoch_ended(now, index, End { status, out_of_memory });
                } else if let Some(index) = self.tasks.iter().position(|task| task.pid == pid) {
                    self.task_ended(now, index, status);
                } else {
                    self.orphan_ended(now, pid);
                }
            }
            Event::Suspended { pid } => self.suspended(pid),
            Event::Childless => self.childless(),
            Event::Tick => self.tick(now),
            Event::Started { epoch, pid, foreground } => {
                self.started(now, epoch, pid, foreground);
            }
            Event::NotStarted { epoch, failure } => self.not_started(now, epoch, failure),
            Event::Running { task, pid } => self.running(now, task, pid),
            Event::NotRunning { task, why } => self.not_running(now, task, &why),
            Event::Seen { epoch, view } => self.seen(now, epoch, view),
            Event::Answered { epoch, peer, answer } => self.answered(now, epoch, peer, answer),
            Event::Mended(outcome) => self.mended(now, outcome),
            Event::Changed { path } => self.changed(now, path),
            Event::Replied { request, reply } => self.replied(now, request, reply),
            Event::Reached { epoch, signal, reach } => self.reached(epoch, signal, reach),
            Event::Orphans(orphans) => self.orphans(now, &orphans),
        }
        // Whatever has happened may be what a drain waited for.
        self.drain(now);
    }

    fn tick(&mut self, now: Moment) {
        match &self.phase {
            Phase::Serving => {
                self.tick_tasks(now);
                self.tick_starting(now);
                self.tick_mending(now);
                self.tick_doubt(now);
                self.try_restart(now);
            }
            Phase::Draining(_) => {
                if self.tick_drain(now) {
                    return;
                }
                self.tick_tasks(now);
                if self.drains_after_handover() {
                    self.tick_starting(now);
                }
            }
            Phase::Stopping(ending) | Phase::Killing(ending) => {
                let deadline = ending.deadline;
                self.tick_ending(now, deadline);
            }
            Phase::Ended => {}
        }
    }

    fn newest(&self) -> Option<&Epoch> {
        self.epochs.last()
    }

    /// How many of the living epochs count: one that has failed and been sent SIGKILL does not.
    fn standing(&self) -> usize {
        self.epochs.iter().filter(|epoch| !epoch.has_failed()).count()
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn say(&mut self, what: What) {
        self.act(Action::Log(Notice { epoch: None, pid: None, what }));
    }

    fn say_of(&mut self, epoch: u32, pid: impl Into<Option<Pid>>, what: What) {
        let pid = pid.into();
        self.act(Action::Log(Notice { epoch: Some(epoch), pid, what }));
    }
}
