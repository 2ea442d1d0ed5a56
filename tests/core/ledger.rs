//! The contract, written a second time: a judge that sees every event and every action and
//! knows nothing of how the core decides.
//!
//! What the contract forbids is judged action by action ([`Ledger::judge`]); what it demands is
//! judged when an event has been dealt with ([`Ledger::settle`]), since what was not done then
//! will not be done at all.

use std::time::Duration;

use hot_restarter::exit::Exit;
use hot_restarter::signal::{Meaning, Signal};
use hot_restarter::supervisor::{
    Action, Event, Moment, Pid, Policy, Reach, Readiness, ReadyBy, Status, View, What,
};

use crate::kernel::{Kernel, OURSELVES};
use crate::words;

/// At most so long do we wait for what was sent SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// At most so long does an orphan stay unnoticed.
const ORPHAN_WAIT: Duration = Duration::from_millis(100);
/// At most so long are older epochs that announce readiness left to the newest in a stop.
const PARENTS_WAIT: Duration = Duration::from_secs(1);
/// A target that announces nothing is given so long.
const SETTLING: Duration = Duration::from_secs(1);

/// A living epoch: started, and its end not told yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Epoch {
    number: u32,
    leader: Pid,
    started: Moment,
    foreground: bool,
    ready: bool,
    last_view: Option<(Moment, View)>,
    /// SIGUSR1 came, and has not been passed on.
    reopen_owed: bool,
    /// A signal of this event must still be passed on.
    forward_owed: bool,
    /// Nobody can tell who catches SIGUSR1, so the leader gets it.
    leader_owed: bool,
    late: bool,
}

/// Why everything ends, which decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cause {
    Asked,
    LastEpoch,
    Interrupted,
    Unexpected(Status),
    CannotStart(Exit),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Serving,
    Stopping { cause: Cause, deadline: Moment, parents: Option<Parents> },
    Killing { cause: Cause, deadline: Moment, time_ran_out: bool },
    Ended,
}

/// Older epochs that are not asked to end before this one has ended, or this moment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Parents {
    newest: Pid,
    until: Moment,
}

/// The judge.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    policy: Policy,
    facts: Facts,
}

/// What the judge knows; all that its verdicts depend on, besides the policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    epochs: Vec<Epoch>,
    next: u32,
    begun: bool,
    phase: Phase,
    last_start: Option<Moment>,
    /// A restart was asked for and has not begun.
    restart_wanted: bool,
    announced: bool,
    /// The signal that is being dealt with.
    signal: Option<Signal>,
    /// The end that is being dealt with; it must be reaped.
    to_reap: Option<Pid>,
    /// The group of a restart that did not happen; it must be killed.
    to_kill: Option<Pid>,
    /// The survivor of a failed restart, to whom the terminal must be given back.
    terminal_owed: Option<Pid>,
}

type Verdict = Result<(), String>;

fn ensure(holds: bool, rule: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(rule()) }
}

impl Ledger {
    pub(crate) fn new(policy: Policy) -> Self {
        let facts = Facts {
            epochs: Vec::new(),
            next: 0,
            begun: false,
            phase: Phase::Serving,
            last_start: None,
            restart_wanted: false,
            announced: false,
            signal: None,
            to_reap: None,
            to_kill: None,
            terminal_owed: None,
        };
        Self { policy, facts }
    }

    /// All that the next verdicts depend on.
    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The exit has been ordered.
    pub(crate) fn has_ended(&self) -> bool {
        self.facts.phase == Phase::Ended
    }

    /// Everything is on its way out.
    pub(crate) fn is_ending(&self) -> bool {
        self.facts.phase != Phase::Serving
    }

    /// The stop signal, while it is one.
    pub(crate) fn stopping(&self) -> Option<Signal> {
        self.is_ending().then_some(self.policy.stop_signal)
    }

    /// The newest epoch's number.
    pub(crate) fn newest(&self) -> Option<u32> {
        self.facts.epochs.last().map(|newest| newest.number)
    }

    /// The living epochs' numbers and leaders, oldest first.
    pub(crate) fn living(&self) -> impl Iterator<Item = (u32, Pid)> {
        self.facts.epochs.iter().map(|epoch| (epoch.number, epoch.leader))
    }

    /// How many epochs have been started.
    pub(crate) fn has_started(&self) -> u32 {
        self.facts.next
    }

    /// Whether this epoch has taken over.
    pub(crate) fn is_ready(&self, number: u32) -> bool {
        self.facts.epochs.iter().any(|epoch| epoch.number == number && epoch.ready)
    }

    /// Takes note of what the core is about to be told.
    pub(crate) fn note(&mut self, now: Moment, event: &Event) {
        match event {
            Event::Begin => self.facts.begun = true,
            Event::Signal(signal) => self.note_signal(now, *signal),
            Event::Exited { pid, status, .. } => self.note_end(now, *pid, *status),
            Event::Tick => self.note_time(now),
            Event::Started { epoch, pid, foreground } => {
                self.facts.epochs.push(Epoch {
                    number: *epoch,
                    leader: *pid,
                    started: now,
                    foreground: *foreground,
                    ready: false,
                    last_view: None,
                    reopen_owed: false,
                    forward_owed: false,
                    leader_owed: false,
                    late: false,
                });
                self.facts.next += 1;
                self.facts.last_start = Some(now);
            }
            Event::NotStarted { failure, .. } => {
                if self.facts.epochs.is_empty() {
                    self.begin_stop(now, Cause::CannotStart(failure.exit));
                }
            }
            Event::Seen { epoch, view } => {
                self.facts.announced |= *view != View::Silent;
                if let Some(epoch) = self.epoch_mut(*epoch) {
                    epoch.last_view = Some((now, *view));
                }
            }
            Event::Reached { epoch, signal, reach } => {
                let unknown = *reach == Reach::Unknown && *signal == Signal::USR1;
                if let Some(epoch) = self.epoch_mut(*epoch) {
                    epoch.leader_owed |= unknown;
                }
            }
            Event::Childless | Event::Orphans(_) | Event::Suspended { .. } => {}
        }
    }

    fn epoch_mut(&mut self, number: u32) -> Option<&mut Epoch> {
        self.facts.epochs.iter_mut().find(|epoch| epoch.number == number)
    }

    fn begin_stop(&mut self, now: Moment, cause: Cause) {
        self.facts.restart_wanted = false;
        let deadline = now + self.policy.term_wait;
        let several = self.facts.announced && self.facts.epochs.len() > 1;
        let newest = self.facts.epochs.last().filter(|_| several).map(|epoch| epoch.leader);
        let wait = PARENTS_WAIT.min(self.policy.term_wait / 2);
        let parents = newest.map(|newest| Parents { newest, until: now + wait });
        self.facts.phase = Phase::Stopping { cause, deadline, parents };
    }

    fn note_signal(&mut self, now: Moment, signal: Signal) {
        self.facts.signal = Some(signal);
        let serving = self.facts.phase == Phase::Serving;
        let passes_on = match self.facts.phase {
            Phase::Serving | Phase::Stopping { .. } => true,
            Phase::Killing { .. } | Phase::Ended => false,
        };
        let stop_again = self.stopping() == Some(signal);
        match signal.meaning() {
            Meaning::Stop if serving => self.begin_stop(now, Cause::Asked),
            Meaning::Restart if serving => self.facts.restart_wanted = true,
            Meaning::Reopen if passes_on && !stop_again => {
                self.facts.epochs.iter_mut().for_each(|epoch| epoch.reopen_owed = true);
            }
            Meaning::ToGroups | Meaning::ToCatchers if passes_on && !stop_again => {
                self.facts.epochs.iter_mut().for_each(|epoch| epoch.forward_owed = true);
            }
            Meaning::Stop
            | Meaning::Restart
            | Meaning::Reopen
            | Meaning::ToGroups
            | Meaning::ToCatchers
            | Meaning::Reap
            | Meaning::Ignored
            | Meaning::Fault
            | Meaning::Uncatchable => {}
        }
    }

    /// Section 4 of the contract: what an end means.
    fn note_end(&mut self, now: Moment, pid: Pid, status: Status) {
        self.facts.to_reap = Some(pid);
        let Some(index) = self.facts.epochs.iter().position(|epoch| epoch.leader == pid) else {
            return;
        };
        let epoch = self.facts.epochs.remove(index);
        if self.facts.phase != Phase::Serving {
            return;
        }
        let newest = index == self.facts.epochs.len();
        let alone = self.facts.epochs.is_empty();
        let usr1 = status == Status::Signaled(Signal::USR1);
        let interrupted = epoch.foreground && status == Status::Signaled(Signal::INT);
        if status == Status::Exited(0) && alone {
            self.begin_stop(now, Cause::LastEpoch);
        } else if status == Status::Exited(0) && newest && epoch.ready {
            self.begin_stop(now, Cause::Asked);
        } else if status == Status::Exited(0) && newest {
            self.facts.to_kill = Some(epoch.leader);
            self.facts.next = epoch.number;
            if let Some(survivor) = self.facts.epochs.last_mut().filter(|_| epoch.foreground) {
                survivor.foreground = true;
                self.facts.terminal_owed = Some(survivor.leader);
            }
        } else if newest && interrupted {
            self.begin_stop(now, Cause::Interrupted);
        } else if newest || !(status == Status::Exited(0) || usr1) {
            self.facts.restart_wanted = false;
            let (cause, deadline) = (Cause::Unexpected(status), now + KILL_WAIT);
            self.facts.phase = Phase::Killing { cause, deadline, time_ran_out: false };
        }
    }

    fn note_time(&mut self, now: Moment) {
        if let Phase::Stopping { cause, deadline, .. } = self.facts.phase
            && deadline <= now
        {
            let deadline = now + KILL_WAIT;
            self.facts.phase = Phase::Killing { cause, deadline, time_ran_out: true };
        }
    }

    /// Judges one action before it is performed.
    pub(crate) fn judge(&mut self, now: Moment, action: &Action, kernel: &Kernel) -> Verdict {
        if self.has_ended() {
            return ensure(words::logged(action).is_some(), || "an action after the exit".into());
        }
        match action {
            Action::Start { epoch } => self.judge_start(now, *epoch),
            Action::Look { epoch, leader } => {
                ensure(self.living().last() == Some((*epoch, *leader)), || {
                    format!("a look at {epoch}, which is not the newest epoch")
                })
            }
            Action::SignalGroup { group, signal } => {
                Self::judge_group(*group, *signal, kernel)?;
                for process in kernel.processes.iter().filter(|process| process.group == *group) {
                    self.judge_signal(now, process.pid, *signal, kernel)?;
                }
                if *signal == Signal::KILL && self.facts.to_kill == Some(*group) {
                    self.facts.to_kill = None;
                }
                Ok(())
            }
            Action::SignalChild { pid, signal } => {
                ensure(kernel.children().any(|child| child.pid == *pid), || {
                    format!("{signal} to {pid}, which is no child of ours, or was reaped")
                })?;
                self.judge_child(*pid, *signal)?;
                self.judge_signal(now, *pid, *signal, kernel)
            }
            Action::SignalCatchers { epoch, leader, signal } => {
                self.judge_catchers(*epoch, *leader, *signal)?;
                self.judge_signal(now, *leader, *signal, kernel)
            }
            Action::Reap { pid } => {
                ensure(self.facts.to_reap == Some(*pid), || {
                    format!("{pid} reaped, whose end was not told or is reaped already")
                })?;
                self.facts.to_reap = None;
                ensure(self.facts.to_kill != Some(*pid), || {
                    "a failed epoch reaped before its group was killed".into()
                })
            }
            Action::Foreground { group } => {
                if self.facts.terminal_owed == *group {
                    self.facts.terminal_owed = None;
                }
                ensure(group.is_some() || self.is_ending(), || "the terminal taken away".into())?;
                match group {
                    Some(group) => Self::judge_group(*group, Signal::CONT, kernel),
                    None => Ok(()),
                }
            }
            Action::Log(notice) => {
                if let What::Ready { by, .. } = &notice.what {
                    self.judge_ready(now, notice.epoch, *by)
                } else if let What::NotReady { .. } = &notice.what {
                    self.judge_late(notice.epoch)
                } else {
                    Ok(())
                }
            }
            Action::NameSurvivors | Action::ListOrphans => {
                ensure(self.is_ending(), || "a look at orphans outside a stop".into())
            }
            Action::RecordMemory => Ok(()),
            Action::Suspend { group } => Self::judge_group(*group, Signal::CONT, kernel),
            Action::Exit(exit) => self.judge_exit(now, *exit, kernel),
        }
    }

    fn judge_start(&mut self, now: Moment, number: u32) -> Verdict {
        let Facts { epochs, next, phase, restart_wanted, last_start, .. } = &self.facts;
        ensure(self.facts.begun, || "a start before the beginning".into())?;
        ensure(*phase == Phase::Serving, || format!("epoch {number} started during a stop"))?;
        ensure(number == *next, || format!("epoch {number} started, and {next} was due"))?;
        ensure(epochs.len() < self.policy.max_epochs, || "more than --max-epochs".into())?;
        let Some(newest) = epochs.last() else {
            return ensure(last_start.is_none(), || "epoch 0 started twice".into());
        };
        ensure(*restart_wanted, || "a restart that nobody asked for".into())?;
        ensure(newest.ready, || "a restart while the newest epoch is not ready".into())?;
        if self.policy.readiness == Readiness::Auto {
            let looked =
                newest.last_view.is_some_and(|(when, view)| when == now && view != View::Starting);
            ensure(looked, || "a restart without a last look".into())?;
        }
        let interval_over =
            last_start.is_none_or(|last| last + self.policy.min_restart_interval <= now);
        ensure(interval_over, || "a restart within --min-restart-interval".into())?;
        self.facts.restart_wanted = false;
        Ok(())
    }

    /// A group is signalled only while it has a leader that is ours and not reaped.
    fn judge_group(group: Pid, signal: Signal, kernel: &Kernel) -> Verdict {
        let owned = kernel.process(group).is_some_and(|leader| {
            leader.parent == OURSELVES && leader.epoch.is_some() && leader.group == group
        });
        ensure(owned, || format!("{signal} to group {group}, whose leader was reaped"))
    }

    /// Single children are signalled in a stop, or are leaders that SIGUSR1 could only be
    /// trusted to.
    fn judge_child(&mut self, pid: Pid, signal: Signal) -> Verdict {
        let owed = self.facts.epochs.iter_mut().find(|epoch| epoch.leader == pid);
        if let Some(epoch) = owed {
            let asked_for = signal == Signal::USR1 && std::mem::take(&mut epoch.leader_owed);
            return ensure(asked_for, || format!("{signal} to a leader alone"));
        }
        ensure(self.is_ending(), || format!("{signal} to an orphan outside a stop"))
    }

    /// May this process be sent this signal now?
    fn judge_signal(&mut self, now: Moment, pid: Pid, signal: Signal, kernel: &Kernel) -> Verdict {
        let Some(process) = kernel.process(pid) else {
            return Err(format!("{signal} to {pid}, which is gone"));
        };
        if process.epoch.is_some()
            && let Some(epoch) = self.facts.epochs.iter_mut().find(|epoch| epoch.leader == pid)
            && self.facts.signal == Some(signal)
        {
            epoch.forward_owed = false;
        }
        match self.facts.phase {
            Phase::Serving if signal == Signal::KILL => {
                ensure(self.facts.to_kill == Some(process.group), || {
                    format!("SIGKILL to {pid} outside a stop")
                })
            }
            Phase::Serving => {
                // What SIGUSR1 needs was judged before, and it may have waited for this moment.
                let passed_on = self.facts.signal == Some(signal) || signal == Signal::USR1;
                ensure(passed_on, || format!("{signal} to {pid} outside a stop"))
            }
            Phase::Stopping { .. } => {
                ensure(signal != Signal::KILL, || format!("SIGKILL to {pid} before its time"))?;
                if signal == self.policy.stop_signal {
                    ensure(!self.is_left_to_its_child(now, process.group), || {
                        format!("{signal} to {pid} before its child has ended")
                    })?;
                    return ensure(process.stop_signals == 0, || {
                        format!("{signal} a second time to {pid} in one stop")
                    });
                }
                let passed_on = self.facts.signal == Some(signal) || signal == Signal::CONT;
                ensure(passed_on, || format!("{signal} to {pid} in a stop"))
            }
            Phase::Killing { .. } | Phase::Ended => {
                ensure(signal == Signal::KILL, || format!("{signal} to {pid} after SIGKILL"))
            }
        }
    }

    /// An Envoy is asked to end by its child, as long as that may take.
    fn is_left_to_its_child(&self, now: Moment, group: Pid) -> bool {
        let Phase::Stopping { parents: Some(parents), .. } = self.facts.phase else {
            return false;
        };
        now < parents.until
            && group != parents.newest
            && !self.is_dead(parents.newest)
            && !self.is_dead(group)
    }

    /// No living epoch has this leader.
    fn is_dead(&self, leader: Pid) -> bool {
        !self.facts.epochs.iter().any(|epoch| epoch.leader == leader)
    }

    fn judge_catchers(&mut self, number: u32, leader: Pid, signal: Signal) -> Verdict {
        let Some(epoch) = self.facts.epochs.iter_mut().find(|epoch| epoch.number == number) else {
            return Err(format!("{signal} to epoch {number}, which has ended"));
        };
        ensure(epoch.leader == leader, || format!("{leader} does not lead epoch {number}"))?;
        if signal != Signal::USR1 {
            return ensure(epoch.forward_owed, || format!("{signal} that nobody sent"));
        }
        ensure(epoch.ready, || format!("SIGUSR1 to epoch {number}, which is not ready"))?;
        let owed = std::mem::take(&mut epoch.reopen_owed);
        ensure(owed, || "SIGUSR1 that nobody sent".into())
    }

    /// Section 5 of the contract: what counts as ready.
    fn judge_ready(&mut self, now: Moment, number: Option<u32>, by: ReadyBy) -> Verdict {
        let announced = self.facts.announced;
        let auto = self.policy.readiness == Readiness::Auto;
        let newest = self.facts.epochs.last_mut();
        let Some(epoch) = newest.filter(|newest| Some(newest.number) == number) else {
            return Err("an epoch ready that is not the newest".into());
        };
        ensure(!epoch.ready, || "an epoch ready twice".into())?;
        epoch.ready = true;
        let view = epoch.last_view.and_then(|(when, view)| (when == now).then_some(view));
        let settled = now - epoch.started >= SETTLING;
        let true_claim = match by {
            ReadyBy::Announcement => auto && view == Some(View::Ready),
            ReadyBy::Clock => auto && view == Some(View::Silent) && settled && !announced,
            ReadyBy::ClockUnreadable => auto && view == Some(View::Unreadable) && settled,
            ReadyBy::Option => !auto && now == epoch.started,
        };
        ensure(true_claim, || format!("epoch {number:?} is not ready by {by:?}"))
    }

    fn judge_late(&mut self, number: Option<u32>) -> Verdict {
        let newest = self.facts.epochs.last_mut();
        let Some(epoch) = newest.filter(|newest| Some(newest.number) == number) else {
            return Err("a warning about an epoch that is not the newest".into());
        };
        // One that was ready by the clock may turn out to be starting, and is a new matter.
        ensure(epoch.ready || !epoch.late, || "--ready-timeout warned about twice".into())?;
        epoch.late = true;
        Ok(())
    }

    fn judge_exit(&mut self, now: Moment, exit: Exit, kernel: &Kernel) -> Verdict {
        let nothing_left = kernel.processes.is_empty();
        let (cause, killed) = match self.facts.phase {
            Phase::Serving | Phase::Ended => return Err("an exit outside a stop".into()),
            Phase::Stopping { cause, .. } => {
                ensure(nothing_left, || "an exit while something is left".into())?;
                (cause, false)
            }
            Phase::Killing { cause, deadline, time_ran_out } => {
                ensure(nothing_left || deadline <= now, || {
                    "an exit while something is left, and time as well".into()
                })?;
                (cause, time_ran_out)
            }
        };
        self.facts.phase = Phase::Ended;
        ensure(self.facts.terminal_owed.is_none(), || "the terminal not given back".into())?;
        let expected = match cause {
            Cause::Asked | Cause::Interrupted if killed => 1,
            Cause::Asked | Cause::LastEpoch => 0,
            Cause::Interrupted => 130,
            Cause::Unexpected(Status::Exited(code)) => i32::from(code),
            Cause::Unexpected(Status::Signaled(signal)) => 128 + signal.number(),
            Cause::CannotStart(exit) => i32::from(exit.code()),
        };
        let code = i32::from(exit.code());
        ensure(code == expected, || format!("exit code {code}, not {expected}"))
    }

    /// Judges what an event led to, when there is nothing more to be done.
    pub(crate) fn settle(
        &mut self,
        now: Moment,
        event: &Event,
        kernel: &Kernel,
        deadline: Option<Moment>,
    ) -> Verdict {
        self.facts.signal = None;
        if let Some(pid) = self.facts.to_reap {
            return Err(format!("{pid} was not reaped"));
        }
        ensure(self.facts.to_kill.is_none(), || "a failed epoch's group not killed".into())?;
        ensure(self.facts.terminal_owed.is_none(), || "the terminal not given back".into())?;
        for epoch in &self.facts.epochs {
            let number = epoch.number;
            ensure(!epoch.forward_owed, || format!("a signal not passed on to epoch {number}"))?;
            ensure(!epoch.leader_owed, || format!("SIGUSR1 kept from epoch {number}'s leader"))?;
            ensure(!(epoch.ready && epoch.reopen_owed) || self.is_killing(), || {
                format!("epoch {number} is ready and was not told to reopen its logs")
            })?;
        }
        let starting = self.facts.epochs.iter().filter(|epoch| !epoch.ready).count();
        ensure(starting <= 1, || format!("{starting} epochs starting at once"))?;
        if *event == Event::Tick {
            ensure(deadline.is_none_or(|deadline| deadline > now), || {
                "a deadline that is over and stays so".into()
            })?;
        }
        match self.facts.phase {
            Phase::Serving => self.settle_serving(now, deadline),
            Phase::Stopping { deadline: end, .. } | Phase::Killing { deadline: end, .. } => {
                ensure(*event != Event::Childless, || "nothing is left, and no exit".into())?;
                ensure(deadline.is_some_and(|deadline| deadline <= end), || {
                    "a stop that nobody wakes us for".into()
                })?;
                ensure(now < end || *event != Event::Tick, || "a stop without an end".into())?;
                // The moment has come, and the tick of this very turn is still to be told.
                if *event != Event::Tick && deadline.is_some_and(|deadline| deadline <= now) {
                    return Ok(());
                }
                self.settle_ending(now, event, kernel)
            }
            Phase::Ended => ensure(deadline.is_none(), || "a deadline after the exit".into()),
        }
    }

    fn is_killing(&self) -> bool {
        matches!(self.facts.phase, Phase::Killing { .. } | Phase::Ended)
    }

    /// A restart that nothing hinders has begun, and one that waits is woken for.
    fn settle_serving(&self, now: Moment, deadline: Option<Moment>) -> Verdict {
        let Some(newest) = self.facts.epochs.last() else {
            return Err("nothing runs, and nothing ends".into());
        };
        if !newest.ready {
            return ensure(deadline.is_some(), || "nobody looks whether it is ready".into());
        }
        if !self.facts.restart_wanted {
            return ensure(deadline.is_none(), || "a wake-up for nothing".into());
        }
        if self.facts.epochs.len() >= self.policy.max_epochs {
            return Ok(());
        }
        let last_start = self.facts.last_start.expect("an epoch lives");
        let interval_over = last_start + self.policy.min_restart_interval <= now;
        let starting = newest.last_view.is_some_and(|(_, view)| view == View::Starting);
        // The moment has come, and the tick of this very turn is still to be told.
        let due = deadline.is_some_and(|deadline| deadline <= now);
        ensure(!interval_over || starting || due, || "a restart waits for nothing".into())?;
        ensure(deadline.is_some(), || "a restart that waits for ever".into())
    }

    /// Everything that can be told to end has been told, orphans within their time.
    fn settle_ending(&self, now: Moment, event: &Event, kernel: &Kernel) -> Verdict {
        let killing = self.is_killing();
        for process in &kernel.processes {
            if process.ended.is_some() {
                continue;
            }
            let known = kernel.lists_orphans
                && process.parent == OURSELVES
                && *event == Event::Tick
                && process.ours_since + ORPHAN_WAIT < now;
            let in_epoch = !self.is_dead(process.group);
            if !known && !in_epoch || self.is_left_to_its_child(now, process.group) {
                continue;
            }
            let told = if killing {
                process.killed
            } else {
                process.stop_signals > 0
                    && (process.continued || self.policy.stop_signal == Signal::CONT)
            };
            ensure(told, || format!("{} was not told to end", process.pid))?;
        }
        Ok(())
    }
}
