//! The way out: from the first word of a stop to the exit code.

use std::collections::BTreeSet;
use std::mem;
use std::ops::Range;
use std::time::Duration;

use super::outcome::STOPPED;
use super::{Action, End, Epoch, Moment, Orphan, Phase, Pid, Status, StopReason, Supervisor, What};
use crate::exit::Exit;
use crate::signal::Signal;

/// How long we wait for what has been sent SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(2);

/// The kernel says nothing when it hands us an orphan whose parent was not our own child, so
/// during a stop, and only then, we look for such orphans this often.
const ORPHAN_LOOK: Duration = Duration::from_millis(100);
/// Ends of children make us look for orphans sooner, but not more often than this: with
/// thousands of them each look is long.
const ORPHAN_LOOK_AFTER_END: Duration = Duration::from_millis(10);

/// How long an older one of epochs that announce their readiness is left to the one after it, which
/// tells its parent to end. An Envoy whose parent has gone first may wait for its answer for
/// ever, deaf to SIGTERM (measured: 10 of 400 stops amid a handover, none in this order), or for
/// 10 s and abort (4 of 229 with three epochs, the older two asked together).
const PARENTS_WAIT: Duration = Duration::from_secs(1);

/// What brought us here; it decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// Somebody asked us to stop, or nobody served any more.
    Stopped,
    /// The last epoch ended with 0; what becomes of its orphans changes nothing.
    LastEpochEnded,
    /// The terminal interrupted the newest epoch.
    Interrupted,
    /// An epoch ended in a way that it should not have.
    Unexpected(Status),
    /// There never was an epoch.
    CannotStart(Exit),
}

impl Outcome {
    fn exit(self, killed: bool) -> Exit {
        match self {
            Self::Stopped | Self::Interrupted if killed => Exit::Killed,
            Self::Stopped | Self::LastEpochEnded => Exit::Clean,
            Self::Interrupted => Exit::Interrupted,
            Self::Unexpected(status) => Exit::Epoch(status),
            Self::CannotStart(exit) => exit,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ending {
    outcome: Outcome,
    /// `--term-wait` was not enough.
    killed: bool,
    /// When we stop waiting.
    pub(super) deadline: Moment,
    /// The older epochs that have not been asked to end: each will be when the one after it has.
    held: Option<Held>,
    /// When we look for orphans again.
    next_look: Moment,
    last_look: Moment,
    /// The orphans that have had this phase's signal. They are our children and leave this set
    /// when they are reaped, so none of these numbers can be a stranger's.
    told: BTreeSet<Pid>,
    /// That there are any has been said.
    orphans_said: bool,
    /// The groups that have had it, or will. A group's number is not given away while it has a
    /// member, and an orphan that shows it is one.
    groups: BTreeSet<Pid>,
}

/// Epochs that are left to the one after them, which tells its parent to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Held {
    /// The oldest so many.
    unasked: usize,
    /// Then all of them are asked, whoever lives.
    until: Moment,
}

impl Held {
    fn new(now: Moment, unasked: usize, deadline: Moment) -> Option<Self> {
        // However short the whole wait is, they are asked before they are killed.
        let wait = PARENTS_WAIT.min((deadline - now) / 4);
        Self { unasked, until: now + wait }.or_none()
    }

    fn or_none(self) -> Option<Self> {
        (self.unasked > 0).then_some(self)
    }
}

impl Ending {
    fn new(outcome: Outcome, now: Moment, deadline: Moment) -> Self {
        Self {
            outcome,
            killed: false,
            deadline,
            held: None,
            next_look: now + ORPHAN_LOOK,
            last_look: now,
            told: BTreeSet::new(),
            orphans_said: false,
            groups: BTreeSet::new(),
        }
    }

    pub(super) fn next_deadline(&self) -> Moment {
        let next = self.deadline.min(self.next_look);
        self.held.map_or(next, |held| held.until.min(next))
    }
}

impl Supervisor {
    pub(super) fn stop_asked(&mut self, now: Moment, reason: StopReason) {
        match &self.phase {
            Phase::Serving => self.stop(now, reason, Outcome::Stopped),
            Phase::Draining(_) | Phase::Stopping(_) | Phase::Killing(_) => {
                self.say_already_stopping(now, reason);
            }
            Phase::Ended => {}
        }
    }

    pub(super) fn say_already_stopping(&mut self, now: Moment, reason: StopReason) {
        let deadline = match &self.phase {
            Phase::Draining(draining) => draining.since() + self.policy.term_wait,
            Phase::Stopping(ending) | Phase::Killing(ending) => ending.deadline,
            Phase::Serving | Phase::Ended => return,
        };
        self.say(What::AlreadyStopping { reason, left: deadline - now });
    }

    /// The way out begins, once: with a drain if one is wanted and somebody may be served.
    pub(super) fn stop(&mut self, now: Moment, reason: StopReason, outcome: Outcome) {
        assert_eq!(self.phase, Phase::Serving, "a stop begins once");
        let term_wait = self.policy.term_wait;
        let epochs = self.epochs.len();
        self.say(What::Stopping { reason, epochs, term_wait });
        (self.mending, self.admin_doubt) = (None, None);
        let drain = match reason {
            StopReason::Signal(_) | StopReason::Command => self.policy.drain,
            StopReason::LastEpochEnded
            | StopReason::NobodyServes
            | StopReason::Interrupted
            | StopReason::CannotStart => None,
        };
        if self.restart.is_some() {
            self.say(What::RestartRefused { why: STOPPED.into() });
        }
        // A drain waits for an epoch that starts. Else whoever asked first hears first.
        if drain.is_none() || !self.newest().is_some_and(Epoch::is_starting) {
            self.settle_stopped();
        }
        self.settle_waiting();
        match drain {
            Some(time) => self.begin_drain(now, time),
            None => self.ask_to_end(now, now, outcome),
        }
    }

    /// Asks everything to end, in a stop that began at `since`.
    pub(super) fn ask_to_end(&mut self, now: Moment, since: Moment, outcome: Outcome) {
        let term_wait = self.policy.term_wait;
        let epochs = self.epochs.len();
        self.settle_stopped();
        self.kill_tasks(|_| true);
        let mut ending = Ending::new(outcome, now, since + term_wait);
        ending.groups.extend(self.epochs.iter().map(|epoch| epoch.leader));
        ending.groups.extend(self.tasks.iter().map(|task| task.pid));
        let standing = self.standing();
        let unasked = if self.announces { standing.saturating_sub(1) } else { 0 };
        ending.held = Held::new(now, unasked, ending.deadline);
        self.phase = Phase::Stopping(ending);
        self.ask(unasked..epochs);
        // An older one that is stopped answers nobody, and the one after it waits for its answer.
        for index in 0..unasked {
            let group = self.epochs[index].leader;
            self.act(Action::SignalGroup { group, signal: Signal::CONT });
        }
        self.act(Action::ListOrphans);
    }

    /// Asks these epochs to end.
    fn ask(&mut self, epochs: Range<usize>) {
        let signal = self.policy.stop_signal;
        for index in epochs {
            let group = self.epochs[index].leader;
            self.act(Action::SignalGroup { group, signal });
            // A stopped process acts on nothing but SIGKILL until it goes on.
            if signal != Signal::CONT {
                self.act(Action::SignalGroup { group, signal: Signal::CONT });
            }
        }
    }

    /// Asks all older epochs that have been left to the newest so far.
    fn ask_held(&mut self) {
        if let Phase::Stopping(ending) = &mut self.phase
            && let Some(Held { unasked, .. }) = ending.held.take()
        {
            self.ask(0..unasked);
        }
    }

    /// Asks the next older epoch, when the one after it has ended.
    fn ask_next(&mut self, now: Moment) {
        if let Phase::Stopping(ending) = &mut self.phase
            && let Some(Held { unasked, .. }) = ending.held
        {
            let next = unasked - 1;
            ending.held = Held::new(now, next, ending.deadline);
            self.ask(next..unasked);
        }
    }

    /// An epoch has ended on our way out.
    pub(super) fn ended_in_ending(&mut self, now: Moment, index: usize, end: End) {
        let epoch = self.epochs.remove(index);
        let killed = epoch.has_failed() || matches!(self.phase, Phase::Killing(_));
        let end = if killed { end.by_us() } else { end };
        self.say_of(epoch.number, epoch.leader, What::Ended { end });
        self.act(Action::Reap { pid: epoch.leader });
        if epoch.has_failed() {
            // It has been asked, and tells its parent nothing.
        } else if index == self.standing() {
            self.ask_next(now);
        } else if let Phase::Stopping(ending) = &mut self.phase
            && let Some(held) = &mut ending.held
            && index < held.unasked
        {
            // It has never been asked, so what it left in its group has not been either.
            ending.groups.remove(&epoch.leader);
            ending.held = Held { unasked: held.unasked - 1, ..*held }.or_none();
        }
        self.look_for_orphans(now);
    }

    /// Kills everything; what is in the group of an epoch that has just ended included, before
    /// it is reaped, while the group's number is still its own.
    pub(super) fn kill(&mut self, now: Moment, outcome: Outcome, ended: Option<usize>) {
        self.settle_stopped();
        self.settle_waiting();
        (self.mending, self.admin_doubt) = (None, None);
        self.kill_tasks(|_| true);
        for index in 0..self.epochs.len() {
            let group = self.epochs[index].leader;
            self.act(Action::SignalGroup { group, signal: Signal::KILL });
        }
        if let Some(index) = ended {
            let pid = self.epochs.remove(index).leader;
            self.act(Action::Reap { pid });
        }
        self.phase = Phase::Killing(Ending::new(outcome, now, now + KILL_WAIT));
        self.act(Action::ListOrphans);
    }

    /// Sends the phase's signal to those orphans that have not had it.
    pub(super) fn orphans(&mut self, now: Moment, orphans: &[Orphan]) {
        let stop_signal = self.policy.stop_signal;
        let (ending, signal) = match &mut self.phase {
            Phase::Stopping(ending) => (ending, stop_signal),
            Phase::Killing(ending) => (ending, Signal::KILL),
            Phase::Serving | Phase::Draining(_) | Phase::Ended => return,
        };
        let told_before = ending.told.len();
        for &Orphan { pid, group } in orphans {
            if pid == group {
                // It leads its group, so the epoch of that number has been reaped, and this is
                // another group.
                ending.groups.remove(&group);
            }
            if ending.groups.contains(&group) || !ending.told.insert(pid) {
                continue;
            }
            self.actions.push_back(Action::SignalChild { pid, signal });
            if signal != Signal::KILL && signal != Signal::CONT {
                self.actions.push_back(Action::SignalChild { pid, signal: Signal::CONT });
            }
        }
        let processes = ending.told.len() - told_before;
        // Who wonders what a stop still waits for need be told once; there may be thousands.
        if processes > 0 && signal != Signal::KILL && !mem::replace(&mut ending.orphans_said, true)
        {
            let left = ending.deadline - now;
            self.say(What::OrphansAsked { processes, left });
        }
    }

    pub(super) fn orphan_ended(&mut self, now: Moment, pid: Pid) {
        self.act(Action::Reap { pid });
        match &mut self.phase {
            Phase::Stopping(ending) | Phase::Killing(ending) => {
                ending.told.remove(&pid);
                self.look_for_orphans(now);
            }
            Phase::Serving | Phase::Draining(_) | Phase::Ended => {}
        }
    }

    /// A child has ended, and the kernel may have handed its children to us.
    pub(super) fn look_for_orphans(&mut self, now: Moment) {
        match &mut self.phase {
            Phase::Stopping(ending) | Phase::Killing(ending) => {
                let soon = now.max(ending.last_look + ORPHAN_LOOK_AFTER_END);
                ending.next_look = ending.next_look.min(soon);
            }
            Phase::Serving | Phase::Draining(_) | Phase::Ended => {}
        }
    }

    pub(super) fn tick_ending(&mut self, now: Moment, deadline: Moment) {
        if deadline <= now {
            match &self.phase {
                Phase::Stopping(ending) => {
                    let outcome = ending.outcome;
                    let term_wait = self.policy.term_wait;
                    let epochs = self.epochs.len();
                    self.say(What::TermWaitOver { epochs, term_wait });
                    self.kill(now, outcome, None);
                    if let Phase::Killing(ending) = &mut self.phase {
                        ending.killed = true;
                    }
                }
                Phase::Killing(_) => {
                    self.act(Action::NameSurvivors);
                    self.finish(true);
                }
                Phase::Serving | Phase::Draining(_) | Phase::Ended => {}
            }
            return;
        }
        if let Phase::Stopping(ending) = &self.phase
            && ending.held.is_some_and(|held| held.until <= now)
        {
            self.ask_held();
        }
        match &mut self.phase {
            Phase::Stopping(ending) | Phase::Killing(ending) if ending.next_look <= now => {
                ending.last_look = now;
                ending.next_look = now + ORPHAN_LOOK;
                self.act(Action::ListOrphans);
            }
            Phase::Serving
            | Phase::Draining(_)
            | Phase::Stopping(_)
            | Phase::Killing(_)
            | Phase::Ended => {}
        }
    }

    /// The kernel says that nothing is left.
    pub(super) fn childless(&mut self) {
        match self.phase {
            Phase::Stopping(_) | Phase::Killing(_) => {
                assert!(self.epochs.is_empty(), "a living epoch is a child");
                self.finish(false);
            }
            Phase::Serving | Phase::Draining(_) | Phase::Ended => {}
        }
    }

    fn finish(&mut self, survivors: bool) {
        let exit = match &self.phase {
            Phase::Stopping(ending) | Phase::Killing(ending) => ending.outcome.exit(ending.killed),
            Phase::Serving | Phase::Draining(_) | Phase::Ended => return,
        };
        self.phase = Phase::Ended;
        self.act(Action::Foreground { group: None });
        self.say(What::Exiting { exit, survivors });
        self.act(Action::Exit(exit));
    }
}
