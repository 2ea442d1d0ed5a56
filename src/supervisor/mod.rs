//! The core: every rule of the contract, and nothing else.
//!
//! [`Supervisor`] is a state machine without a system call, a clock or a file descriptor. It is
//! told what happened ([`Event`], with the time), and says what is to be done ([`Action`]). The
//! shell around it performs each action before the next one is asked for and feeds the answers
//! back, so that between two events nothing is ever half done.
//!
//! ```text
//!            HUP             HUP, ready        another HUP
//! Serving: [0 starting] ──> [0 ready] ──> [0 ready, 1 starting] ──> …
//!     │ TERM, INT, last epoch ended with 0               │ unexpected exit
//!     v                                                  v
//! Stopping (ask, wait --term-wait) ── time is up ──> Killing (SIGKILL, 2 s)
//!     │ no child is left                                 │ none left, or time is up
//!     └───────────────────> Ended <──────────────────────┘
//! ```

mod ending;
mod notice;
mod vocabulary;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use ending::{Ending, Outcome};
pub use notice::{Level, Notice, ReadyBy, StopReason, What};
pub use vocabulary::{
    Action, Event, Moment, Orphan, Pid, Reach, Readiness, StartFailure, Status, View,
};

use crate::signal::{Meaning, Signal};

/// How long a target that does not announce its readiness is given to start.
pub const SETTLING: Duration = Duration::from_secs(1);

/// The shortest and the longest pause between two looks at a starting epoch. An Envoy takes
/// about 100 ms, so an eighth of the epoch's age between them finds it soon and costs little.
const LOOK_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// The pause between looks at an epoch that has outlasted `--ready-timeout`.
const LATE_LOOK_PAUSE: Duration = Duration::from_secs(1);

/// What the core needs to know of the command line.
#[derive(Clone, Debug)]
pub struct Policy {
    /// From the signal that asks us to stop to SIGKILL.
    pub term_wait: Duration,
    /// What asks an epoch to end.
    pub stop_signal: Signal,
    /// How an epoch is found ready.
    pub readiness: Readiness,
    /// After this an epoch that is not ready is warned about and looked at less often.
    pub ready_timeout: Duration,
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
    state: State,
}

impl Epoch {
    /// When it is to be looked at; the look that finds a silent target settled comes when it is.
    fn next_look(&self) -> Option<Moment> {
        let State::Starting(Starting { looks, .. }) = &self.state else {
            return None;
        };
        let settled = self.started + SETTLING;
        Some(if looks.last < settled { looks.next.min(settled) } else { looks.next })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Starting(Starting),
    Ready,
}

/// An epoch that has not taken over yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Starting {
    looks: Looks,
    /// A SIGUSR1 waits for it to be ready.
    reopen_owed: bool,
}

/// When to look at the newest epoch again, while somebody waits for it to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Looks {
    since: Moment,
    last: Moment,
    next: Moment,
    /// `--ready-timeout` has passed and was warned about.
    late: bool,
}

impl Looks {
    fn begin(now: Moment) -> Self {
        Self { since: now, last: now, next: now + LOOK_PAUSE.0, late: false }
    }

    /// Notes that a look begins; says whether the timeout has just been found to be over.
    fn look(&mut self, now: Moment, timeout: Duration) -> bool {
        let newly_late = !self.late && now - self.since >= timeout;
        self.late |= newly_late;
        self.last = now;
        self.next = now + self.pause(now);
        newly_late
    }

    /// Puts the next look off, now that one has been answered: by no less than that one took,
    /// so that looking at a target of many processes does not become our main work.
    fn answered(&mut self, now: Moment) {
        self.next = now + self.pause(now).max(now - self.last);
    }

    fn pause(&self, now: Moment) -> Duration {
        if self.late {
            LATE_LOOK_PAUSE
        } else {
            ((now - self.since) / 8).clamp(LOOK_PAUSE.0, LOOK_PAUSE.1)
        }
    }
}

/// A hot restart that was asked for and has not begun.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Restart {
    /// What it waits for, as last said.
    obstacle: Option<Obstacle>,
    /// The looks at the newest epoch just before it begins: a start script that was ready by
    /// the clock may have become a server that initialises.
    looks: Option<Looks>,
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
                notice::Seconds(*left)
            ),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Epochs run and restarts are taken.
    Serving,
    /// Everything has been asked to end.
    Stopping(Ending),
    /// Everything has been sent SIGKILL.
    Killing(Ending),
    /// The exit code is out; nothing happens any more.
    Ended,
}

/// The state machine; see the module's documentation.
#[derive(Clone, Debug)]
pub struct Supervisor {
    policy: Policy,
    /// The living epochs, oldest first. Only the newest can be starting.
    epochs: Vec<Epoch>,
    /// The number of the next epoch. Envoy's epochs must be consecutive, so the number of one
    /// that never served is used again.
    next: u32,
    restart: Option<Restart>,
    last_start: Option<Moment>,
    /// An epoch of this run announced its readiness, so no later one is ready by the clock.
    announces: bool,
    phase: Phase,
    actions: VecDeque<Action>,
}

/// The signals that have been read and not been handled, whatever order the kernel reports.
///
/// What stops us is taken first, before any exit, so that an exit beside a SIGTERM belongs to the
/// stop; then (by the caller) come the exits, then the rest in the order of [`Meaning`].
#[derive(Clone, Debug, Default)]
pub struct Batch(Vec<Signal>);

impl Batch {
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

impl Supervisor {
    /// A core that has not begun.
    pub fn new(policy: Policy) -> Self {
        assert!(policy.max_epochs >= 2, "a handover needs two epochs");
        Self {
            policy,
            epochs: Vec::new(),
            next: 0,
            restart: None,
            last_start: None,
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

    /// Whether we are on the way out.
    pub fn is_ending(&self) -> bool {
        match self.phase {
            Phase::Serving => false,
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Ended => true,
        }
    }

    /// When [`Event::Tick`] is wanted at the latest; `None` while nothing is under way.
    pub fn next_deadline(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Serving => {
                let look = self.newest().and_then(Epoch::next_look);
                let restart = self.restart.as_ref().and_then(|restart| match restart.obstacle {
                    Some(Obstacle::TooSoon { .. }) => self.interval_over(),
                    Some(Obstacle::NotReady { .. }) => restart.looks.map(|looks| looks.next),
                    // The end of an epoch is an event.
                    Some(Obstacle::TooMany { .. }) | None => None,
                });
                look.into_iter().chain(restart).min()
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
            Event::Exited { pid, status, out_of_memory } => {
                match self.epochs.iter().position(|epoch| epoch.leader == pid) {
                    Some(index) => self.epoch_ended(now, index, status, out_of_memory),
                    None => self.orphan_ended(now, pid),
                }
            }
            Event::Childless => self.childless(),
            Event::Tick => self.tick(now),
            Event::Started { epoch, pid, foreground } => {
                self.started(now, epoch, pid, foreground);
            }
            Event::NotStarted { epoch, failure } => self.not_started(now, epoch, failure),
            Event::Seen { epoch, view } => self.seen(now, epoch, view),
            Event::Reached { epoch, signal, reach } => self.reached(epoch, signal, reach),
            Event::Orphans(orphans) => self.orphans(&orphans),
        }
    }

    fn newest(&self) -> Option<&Epoch> {
        self.epochs.last()
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

/// What a signal to us does.
impl Supervisor {
    fn signal(&mut self, now: Moment, signal: Signal) {
        match signal.meaning() {
            Meaning::Stop => self.stop_asked(now, signal),
            Meaning::Restart => self.restart_asked(now),
            Meaning::Reopen => self.forward(now, signal, Self::reopen),
            Meaning::ToGroups => self.forward(now, signal, Self::forward_to_group),
            Meaning::ToCatchers => self.forward(now, signal, Self::forward_to_catchers),
            // Exits are events of their own, and the others are never told to us.
            Meaning::Reap | Meaning::Ignored | Meaning::Fault | Meaning::Uncatchable => {}
        }
    }

    /// The signals that are passed on go to every living epoch, a stop notwithstanding: an
    /// epoch that drains still writes its log.
    fn forward(&mut self, now: Moment, signal: Signal, deliver: fn(&mut Self, usize, Signal)) {
        match &self.phase {
            // Every epoch has had it, and a second one makes many servers cut their drain.
            Phase::Stopping(ending) if signal == self.policy.stop_signal => {
                let left = ending.deadline - now;
                self.say(What::AlreadyStopping { signal, left });
            }
            Phase::Serving | Phase::Stopping(_) => {
                for index in 0..self.epochs.len() {
                    deliver(self, index, signal);
                }
            }
            Phase::Killing(_) | Phase::Ended => self.say(What::DroppedAtEnd { signal }),
        }
    }

    fn reopen(&mut self, index: usize, signal: Signal) {
        let ending = self.is_ending();
        let epoch = &mut self.epochs[index];
        match &mut epoch.state {
            State::Ready => self.forward_to_catchers(index, signal),
            // It will not become ready any more.
            State::Starting(_) if ending => self.say(What::DroppedAtEnd { signal }),
            State::Starting(starting) => {
                starting.reopen_owed = true;
                let (number, leader) = (epoch.number, epoch.leader);
                self.say_of(number, leader, What::ReopenPostponed);
            }
        }
    }

    fn forward_to_group(&mut self, index: usize, signal: Signal) {
        let Epoch { number, leader, .. } = self.epochs[index];
        self.act(Action::SignalGroup { group: leader, signal });
        self.say_of(number, leader, What::ForwardedToGroup { signal });
    }

    fn forward_to_catchers(&mut self, index: usize, signal: Signal) {
        let Epoch { number, leader, .. } = self.epochs[index];
        self.act(Action::SignalCatchers { epoch: number, leader, signal });
    }

    fn reached(&mut self, number: u32, signal: Signal, reach: Reach) {
        let Some(epoch) = self.epochs.iter().find(|epoch| epoch.number == number) else {
            return;
        };
        let leader = epoch.leader;
        let reopen = signal.meaning() == Meaning::Reopen;
        let what = match (reach, reopen) {
            (Reach::Sent(processes), true) => What::Reopened { processes },
            (Reach::Nobody, true) => What::ReopenUnheard,
            (Reach::Unknown, true) => {
                // The epoch is ready, so the program that it was started as can be trusted to
                // catch what every server catches.
                self.act(Action::SignalChild { pid: leader, signal });
                What::ReopenBlind
            }
            (Reach::Sent(processes), false) => What::Forwarded { signal, processes },
            (Reach::Nobody, false) => What::Dropped { signal },
            (Reach::Unknown, false) => What::DroppedBlind { signal },
        };
        self.say_of(number, leader, what);
    }
}

/// Hot restarts: one at a time, and one remembered.
impl Supervisor {
    fn restart_asked(&mut self, now: Moment) {
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
    fn try_restart(&mut self, now: Moment) {
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
        if said.map(|said| std::mem::discriminant(&said)) != Some(std::mem::discriminant(&obstacle))
        {
            self.say_of(self.next, None, What::RestartQueued { obstacle });
        }
    }

    /// The answer to a look just before a restart.
    fn last_look(&mut self, now: Moment, epoch: u32, view: View) {
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

    fn interval_over(&self) -> Option<Moment> {
        Some(self.last_start? + self.policy.min_restart_interval)
    }

    fn start(&mut self) {
        self.restart = None;
        self.act(Action::Start { epoch: self.next });
    }

    fn started(&mut self, now: Moment, number: u32, leader: Pid, foreground: bool) {
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

    fn not_started(&mut self, now: Moment, number: u32, failure: StartFailure) {
        let StartFailure { exit, why } = failure;
        if self.epochs.is_empty() {
            self.say_of(number, None, What::NotStarted { why });
            self.stop(now, StopReason::CannotStart, Outcome::CannotStart(exit));
        } else {
            self.say_of(number, None, What::RestartRefused { why });
        }
    }
}

/// Readiness of the newest epoch.
impl Supervisor {
    fn seen(&mut self, now: Moment, number: u32, view: View) {
        let Some(newest) = self.epochs.last_mut().filter(|newest| newest.number == number) else {
            return;
        };
        match view {
            View::Starting | View::Ready | View::Unreadable => self.announces = true,
            View::Silent => {}
        }
        let State::Starting(starting) = &mut newest.state else {
            return self.last_look(now, number, view);
        };
        starting.looks.answered(now);
        let settled = now - newest.started >= SETTLING;
        let by = match view {
            View::Ready => ReadyBy::Announcement,
            View::Silent if settled && !self.announces => ReadyBy::Clock,
            View::Unreadable if settled => ReadyBy::ClockUnreadable,
            View::Starting | View::Silent | View::Unreadable => return,
        };
        self.became_ready(now, by);
    }

    fn became_ready(&mut self, now: Moment, by: ReadyBy) {
        let newest = self.epochs.last_mut().expect("an epoch became ready");
        let (number, leader, after) = (newest.number, newest.leader, now - newest.started);
        let State::Starting(starting) = std::mem::replace(&mut newest.state, State::Ready) else {
            return;
        };
        self.say_of(number, leader, What::Ready { after, by });
        self.act(Action::RecordMemory);
        if starting.reopen_owed {
            self.forward_to_catchers(self.epochs.len() - 1, Signal::USR1);
        }
        self.try_restart(now);
    }

    fn tick(&mut self, now: Moment) {
        match &self.phase {
            Phase::Serving => self.tick_serving(now),
            Phase::Stopping(ending) | Phase::Killing(ending) => {
                let deadline = ending.deadline;
                self.tick_ending(now, deadline);
            }
            Phase::Ended => {}
        }
    }

    fn tick_serving(&mut self, now: Moment) {
        let timeout = self.policy.ready_timeout;
        if let Some(newest) = self.epochs.last_mut()
            && newest.next_look().is_some_and(|due| due <= now)
            && let State::Starting(Starting { looks, .. }) = &mut newest.state
        {
            let late = looks.look(now, timeout);
            let (epoch, leader, started) = (newest.number, newest.leader, newest.started);
            if late {
                self.say_of(epoch, leader, What::NotReady { after: now - started });
            }
            self.act(Action::Look { epoch, leader });
        }
        self.try_restart(now);
    }
}

/// Ends of epochs while others live.
impl Supervisor {
    fn epoch_ended(&mut self, now: Moment, index: usize, status: Status, oom: Option<u64>) {
        match self.phase {
            Phase::Serving => {}
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Ended => {
                let epoch = self.epochs.remove(index);
                self.say_of(epoch.number, epoch.leader, What::Ended { status });
                self.act(Action::Reap { pid: epoch.leader });
                return self.look_for_orphans(now);
            }
        }
        let epoch = &self.epochs[index];
        let (number, leader) = (epoch.number, epoch.leader);
        let newest = index + 1 == self.epochs.len();
        let alone = self.epochs.len() == 1;
        let handed_over = !newest
            && match status {
                Status::Exited(code) => code == 0,
                // Envoy drops its handlers just before it exits.
                Status::Signaled(signal) => signal == Signal::USR1,
            };
        let interrupted = newest && epoch.foreground && status == Status::Signaled(Signal::INT);
        let starting = match epoch.state {
            State::Starting(_) => true,
            State::Ready => false,
        };

        if handed_over {
            self.retire(index, status);
            self.try_restart(now);
        } else if newest && status == Status::Exited(0) && alone {
            self.retire(index, status);
            self.stop(now, StopReason::LastEpochEnded, Outcome::LastEpochEnded);
        } else if newest && status == Status::Exited(0) && starting {
            self.restart_failed(index);
            self.try_restart(now);
        } else if newest && status == Status::Exited(0) {
            self.retire(index, status);
            self.stop(now, StopReason::NobodyServes, Outcome::Stopped);
        } else if interrupted {
            self.retire(index, status);
            self.stop(now, StopReason::Interrupted, Outcome::Interrupted);
        } else {
            let what = What::EndedUnexpectedly { status, out_of_memory: oom };
            self.say_of(number, leader, what);
            self.kill(now, Outcome::Unexpected(status), Some(index));
        }
    }

    /// Reaps an epoch whose end is in order. What it left behind lives on.
    fn retire(&mut self, index: usize, status: Status) {
        let epoch = self.epochs.remove(index);
        self.say_of(epoch.number, epoch.leader, What::Ended { status });
        self.act(Action::Reap { pid: epoch.leader });
    }

    /// The newest epoch has left before it served: the one before it is the newest again.
    fn restart_failed(&mut self, index: usize) {
        let failed = self.epochs.remove(index);
        // SIGTERM to a half-started Envoy would end its parent as well (envoy.md, m); and the
        // group is killed before the reap, while its number is still its own.
        self.act(Action::SignalGroup { group: failed.leader, signal: Signal::KILL });
        self.act(Action::Reap { pid: failed.leader });
        self.next = failed.number;
        if let Some(newest) = self.newest() {
            let (number, leader) = (newest.number, newest.leader);
            if failed.foreground {
                self.act(Action::Foreground { group: Some(leader) });
                self.epochs.last_mut().expect("the newest").foreground = true;
            }
            self.say_of(failed.number, failed.leader, What::RestartFailed { newest: number });
        }
    }
}
