//! What the contract forbids.

use std::mem;

use hot_restarter::exit::Exit;
use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{
    Action, Moment, Notice, Peer, Pid, Readiness, ReadyBy, Status, Task, View, What,
};

use super::{Cause, Check, Facts, Ledger, Phase, SETTLING, Verdict, ensure};
use crate::kernel::{Kernel, OURSELVES};
use crate::words;

/// What is said when there is reason to, and never else.
const OWED_WORDS: [&str; 9] = [
    "ended-unexpectedly",
    "admin-lost",
    "restart-failed",
    "repaired",
    "not-repaired",
    "not-gone",
    "fewer-workers",
    "drained",
    "drain-unheard",
];

impl Ledger {
    /// Judges one action before it is performed.
    pub(crate) fn judge(&mut self, now: Moment, action: &Action, kernel: &Kernel) -> Verdict {
        if self.has_ended() {
            return ensure(words::logged(action).is_some(), || "an action after the exit".into());
        }
        match action {
            Action::Start { epoch } => self.judge_start(now, *epoch),
            Action::Look { epoch, leader } => self.judge_look(*epoch, *leader),
            Action::Run { task: Task::Check { epoch } } => self.judge_check(now, *epoch),
            Action::Run { task: Task::Probe { epoch, leader } } => {
                self.judge_probe(*epoch, *leader)
            }
            Action::Ask { epoch, peer } => self.judge_ask(now, *epoch, *peer, kernel),
            Action::Request { request } => self.judge_request(*request, kernel),
            Action::KillEpoch { leader } => {
                ensure(self.facts.epoch_to_kill.take() == Some(*leader), || {
                    format!("the epoch of {leader} killed, which has not failed")
                })
            }
            Action::Mend { failed, group, epoch, leader } => {
                self.judge_mend(now, (*failed, *group), (*epoch, *leader))
            }
            Action::SignalGroup { group, signal } => self.judge_group(now, *group, *signal, kernel),
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
                    format!("{pid} reaped before its group was killed")
                })
            }
            Action::Foreground { group } => {
                if self.facts.terminal_owed == *group {
                    self.facts.terminal_owed = None;
                }
                ensure(group.is_some() || self.is_ending(), || "the terminal taken away".into())?;
                group.map_or(Ok(()), |group| Self::ensure_owned(group, "the terminal", kernel))
            }
            Action::Log(notice) => self.judge_words(now, notice),
            Action::NameSurvivors | Action::ListOrphans => {
                ensure(!self.lives_on(), || "a look at orphans outside a stop".into())
            }
            Action::RecordMemory { .. } => Ok(()),
            Action::Restart(step) => self.judge_step(step),
            Action::Suspend { group } => Self::ensure_owned(*group, "a suspension", kernel),
            Action::Exit(exit) => self.judge_exit(now, *exit, kernel),
        }
    }

    fn judge_start(&mut self, now: Moment, number: u32) -> Verdict {
        let Facts { epochs, next, phase, last_start, .. } = &self.facts;
        ensure(self.facts.begun, || "a start before the beginning".into())?;
        ensure(*phase == Phase::Serving, || format!("epoch {number} started during a stop"))?;
        ensure(number == *next, || format!("epoch {number} started, and {next} was due"))?;
        if epochs.is_empty() {
            return ensure(last_start.is_none(), || "epoch 0 started twice".into());
        }
        if self.policy.check_timeout.is_some() {
            let check = mem::replace(&mut self.facts.check, Check::None);
            ensure(check == Check::Passed, || "a restart that no check has passed".into())?;
        } else {
            let wanted = mem::take(&mut self.facts.restart_wanted);
            ensure(wanted, || "a restart that nobody asked for".into())?;
        }
        self.ensure_begun()?;
        self.ensure_way_is_free(now)
    }

    /// Section 6: what a restart waits for.
    fn ensure_way_is_free(&self, now: Moment) -> Verdict {
        let Facts { epochs, last_start, mending, .. } = &self.facts;
        let newest = epochs.last().expect("an epoch lives");
        ensure(epochs.len() < self.policy.max_epochs, || "more than --max-epochs".into())?;
        ensure(newest.ready, || "a restart while the newest epoch is not ready".into())?;
        if self.policy.readiness != Readiness::None {
            let looked =
                newest.last_view.is_some_and(|(when, view)| when == now && view != View::Starting);
            ensure(looked, || "a restart without a last look".into())?;
        }
        if let Some(mending) = mending {
            ensure(mending.tried == Some(now), || "a restart and nothing repaired".into())?;
            ensure(!mending.busy, || "a restart beside what a failed epoch left".into())?;
        }
        let interval_over =
            last_start.is_none_or(|last| last + self.policy.min_restart_interval <= now);
        ensure(interval_over, || "a restart within --min-restart-interval".into())
    }

    fn judge_check(&mut self, now: Moment, number: u32) -> Verdict {
        ensure(!self.is_ending(), || "a check in a stop".into())?;
        ensure(self.policy.check_timeout.is_some(), || "a check that nobody asked for".into())?;
        ensure(self.facts.check == Check::None, || "a check beside another".into())?;
        let next = self.facts.next;
        ensure(number == next, || format!("a check of epoch {number}, and {next} is due"))?;
        let wanted = mem::take(&mut self.facts.restart_wanted);
        ensure(wanted, || "a check, and no restart was asked for".into())?;
        self.ensure_begun()?;
        self.facts.check = Check::Runs;
        self.ensure_way_is_free(now)
    }

    /// Only about the newest epoch is there a question, and only while we serve.
    fn judge_look(&self, number: u32, leader: Pid) -> Verdict {
        ensure(self.finds_out(), || "a look in a stop".into())?;
        let newest = self.facts.epochs.last().filter(|newest| !newest.failed);
        let is_newest = newest.is_some_and(|it| (it.number, it.leader) == (number, leader));
        ensure(is_newest, || format!("a look at {number}, which is not the newest epoch"))
    }

    fn ensure_starting(&self, number: u32) -> Verdict {
        ensure(self.finds_out(), || "a question in a stop".into())?;
        let newest = self.facts.epochs.last();
        let starting = newest.is_some_and(|it| it.number == number && !it.ready && !it.failed);
        ensure(starting, || format!("a question about epoch {number}, which does not start"))
    }

    fn judge_probe(&self, number: u32, leader: Pid) -> Verdict {
        self.ensure_starting(number)?;
        ensure(self.living().last() == Some((number, leader)), || "another's leader".into())?;
        ensure(self.policy.readiness == Readiness::Command, || "an unknown probe".into())?;
        let beside = self.facts.tasks.iter().any(|running| match running.task {
            Task::Probe { .. } => !running.useless,
            Task::Check { .. } => false,
        });
        ensure(!beside, || "a probe beside another".into())
    }

    fn judge_ask(&mut self, now: Moment, number: u32, peer: Peer, kernel: &Kernel) -> Verdict {
        if peer == Peer::Admin && self.is_doubted(number) {
            return self.judge_doubt(now, number);
        }
        if peer == Peer::Admin && self.is_to_be_identified(number) {
            ensure(!kernel.is_requested(), || "asked who it is before it has replied".into())?;
            let mut again = false;
            for epoch in &mut self.facts.epochs {
                let asked = mem::replace(&mut epoch.admin_asked, epoch.number == number);
                again |= asked && epoch.number == number;
            }
            return ensure(!again, || "asked who it is before it has answered".into());
        }
        self.ensure_starting(number)?;
        let known = match peer {
            Peer::Probe => self.policy.readiness == Readiness::Http,
            Peer::Admin => {
                let older = self.facts.epochs.iter_mut().rev().skip(1);
                older.for_each(|older| older.admin_asked = false);
                self.policy.admin
            }
        };
        ensure(known, || format!("a question to {peer:?}, which there is not"))?;
        let newest = self.facts.epochs.last_mut().expect("it starts");
        let asked = match peer {
            Peer::Probe => &mut newest.probe_asked,
            Peer::Admin => &mut newest.admin_asked,
        };
        ensure(!mem::replace(asked, true), || format!("{peer:?} asked before it has answered"))
    }

    fn judge_mend(&mut self, now: Moment, failed: (u32, Pid), newest: (u32, Pid)) -> Verdict {
        ensure(!self.is_ending(), || "a repair in a stop".into())?;
        ensure(self.facts.to_reap.is_none(), || "a repair before its leader is reaped".into())?;
        ensure(self.living().last() == Some(newest), || "a repair for another epoch".into())?;
        let mending = self.facts.mending.as_mut();
        let Some(mending) = mending.filter(|it| (it.failed, it.group) == failed) else {
            return Err("a repair, and nothing has failed".into());
        };
        mending.tried = Some(now);
        Ok(())
    }

    fn judge_group(&mut self, now: Moment, group: Pid, signal: Signal, kernel: &Kernel) -> Verdict {
        Self::ensure_owned(group, &signal.to_string(), kernel)?;
        let epoch = self.facts.epochs.iter().find(|epoch| epoch.leader == group);
        if let Some(epoch) = epoch.filter(|epoch| epoch.failed && self.lives_on()) {
            let number = epoch.number;
            return Err(format!("{signal} to the group of epoch {number}, which has failed"));
        }
        for process in kernel.processes.iter().filter(|process| process.group == group) {
            self.judge_signal(now, process.pid, signal, kernel)?;
        }
        if signal == Signal::KILL {
            self.facts.to_kill.take_if(|to_kill| *to_kill == group);
            let mut tasks = self.facts.tasks.iter_mut();
            if let Some(running) = tasks.find(|running| running.pid == group) {
                running.killed = true;
            }
        }
        Ok(())
    }

    /// A group is signalled only while it has a leader that is ours and not reaped.
    fn ensure_owned(group: Pid, what: &str, kernel: &Kernel) -> Verdict {
        let owned = kernel.process(group).is_some_and(|leader| {
            leader.parent == OURSELVES && !leader.is_orphan() && leader.group == group
        });
        ensure(owned, || format!("{what} to group {group}, whose leader was reaped"))
    }

    /// Single children are signalled in a stop, or are leaders that SIGUSR1 could only be
    /// trusted to.
    fn judge_child(&mut self, pid: Pid, signal: Signal) -> Verdict {
        ensure(self.task_of(pid).is_none(), || format!("{signal} to a task alone"))?;
        let owed = self.facts.epochs.iter_mut().find(|epoch| epoch.leader == pid);
        if let Some(epoch) = owed {
            let asked_for = signal == Signal::USR1 && mem::take(&mut epoch.leader_owed);
            return ensure(asked_for, || format!("{signal} to a leader alone"));
        }
        ensure(!self.lives_on(), || format!("{signal} to an orphan outside a stop"))
    }

    /// May this process be sent this signal now?
    fn judge_signal(&mut self, now: Moment, pid: Pid, signal: Signal, kernel: &Kernel) -> Verdict {
        let Some(process) = kernel.process(pid) else {
            return Err(format!("{signal} to {pid}, which is gone"));
        };
        if process.epoch().is_some()
            && let Some(epoch) = self.facts.epochs.iter_mut().find(|epoch| epoch.leader == pid)
            && self.facts.signal == Some(signal)
        {
            epoch.forward_owed = false;
        }
        if let Some(running) = self.task_of(process.group) {
            let task = running.task;
            ensure(signal == Signal::KILL, || format!("{signal} to {task:?}"))?;
            return ensure(running.useless, || format!("{task:?} killed before its time"));
        }
        if self.facts.to_kill == Some(process.group) {
            return ensure(signal == Signal::KILL, || {
                format!("{signal} to {pid}, whose end has come")
            });
        }
        match self.facts.phase {
            Phase::Serving | Phase::Draining(_) => {
                ensure(signal != Signal::KILL, || format!("SIGKILL to {pid} outside a stop"))?;
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

    fn judge_catchers(&mut self, number: u32, leader: Pid, signal: Signal) -> Verdict {
        let Some(epoch) = self.facts.epochs.iter_mut().find(|epoch| epoch.number == number) else {
            return Err(format!("{signal} to epoch {number}, which has ended"));
        };
        ensure(epoch.leader == leader, || format!("{leader} does not lead epoch {number}"))?;
        if signal != Signal::USR1 {
            return ensure(epoch.forward_owed, || format!("{signal} that nobody sent"));
        }
        ensure(epoch.ready, || format!("SIGUSR1 to epoch {number}, which is not ready"))?;
        let owed = mem::take(&mut epoch.reopen_owed);
        ensure(owed, || "SIGUSR1 that nobody sent".into())
    }

    fn judge_words(&mut self, now: Moment, notice: &Notice) -> Verdict {
        let (_, kind) = notice.what.kind();
        let owed = self.facts.words_owed.iter().position(|words| *words == kind);
        if let Some(index) = owed {
            self.facts.words_owed.remove(index);
        }
        ensure(owed.is_some() || !OWED_WORDS.contains(&kind), || format!("{kind} without cause"))?;
        if let What::ProbeFailed { .. } = &notice.what {
            let newest = self.facts.epochs.last_mut().expect("an epoch is probed");
            let again = mem::replace(&mut newest.probe_failed, true);
            ensure(!again, || "a probe that cannot be run, and said so twice".into())
        } else if let What::Ready { by, .. } = &notice.what {
            self.judge_ready(now, notice.epoch, *by)
        } else if let What::NotReady { .. } = &notice.what {
            self.judge_late(now, notice.epoch)
        } else if let What::RestartRefused { why } = &notice.what {
            self.note_refusal(why);
            Ok(())
        } else if let What::Ended { end }
        | What::EndedEarly { end }
        | What::EndedUnexpectedly { end }
        | What::EndedServing { end } = &notice.what
        {
            let ended = self.facts.ended;
            ensure(notice.epoch.map(|epoch| (epoch, *end)) == ended, || {
                format!("{end:?} said of {ended:?}")
            })
        } else if let What::RestartFailed { failure, newest } = &notice.what {
            self.judge_failure(notice, *failure, *newest)
        } else {
            Ok(())
        }
    }

    /// Section 5 of the contract: what counts as ready.
    fn judge_ready(&mut self, now: Moment, number: Option<u32>, by: ReadyBy) -> Verdict {
        ensure(self.lives_on(), || "an epoch ready in a stop".into())?;
        let newest = self.facts.epochs.last();
        let Some(epoch) = newest.filter(|newest| Some(newest.number) == number) else {
            return Err("an epoch ready that is not the newest".into());
        };
        ensure(!epoch.ready, || "an epoch ready twice".into())?;
        ensure(!epoch.failed, || "an epoch ready that has failed".into())?;
        let readiness = self.policy.readiness;
        let announced = self.facts.announced;
        let view = epoch.last_view.and_then(|(when, view)| (when == now).then_some(view));
        let settled = now - epoch.started >= SETTLING;
        let passed = epoch.passed == Some(now) && view.is_some_and(|view| !self.initialises(view));
        let true_claim = match by {
            ReadyBy::Announcement => readiness == Readiness::Auto && view == Some(View::Ready),
            ReadyBy::Clock => {
                let silent = view == Some(View::Silent) && !announced;
                readiness == Readiness::Auto && silent && settled
            }
            ReadyBy::ClockUnreadable => {
                readiness == Readiness::Auto && view == Some(View::Unreadable) && settled
            }
            ReadyBy::Option => readiness == Readiness::None && now == epoch.started,
            ReadyBy::Admin if self.is_ending() => epoch.live == Some(now),
            ReadyBy::Admin => readiness == Readiness::Admin && passed,
            ReadyBy::Command => readiness == Readiness::Command && passed,
            ReadyBy::Http => readiness == Readiness::Http && passed,
            ReadyBy::Takeover => {
                let late = epoch.started + self.policy.ready_timeout <= now;
                late && view.is_some_and(|view| self.serves_unprobed(view))
            }
        };
        let epoch = self.facts.epochs.last_mut().expect("it is ready");
        epoch.ready = true;
        let (number, started) = (epoch.number, epoch.started);
        self.note_restart_ready(now, number, started);
        self.note_admin_is_back();
        self.drain_goes_on(now);
        ensure(true_claim, || format!("epoch {number:?} is not ready by {by:?}"))
    }

    fn judge_late(&mut self, now: Moment, number: Option<u32>) -> Verdict {
        let newest = self.facts.epochs.last_mut();
        let Some(epoch) = newest.filter(|newest| Some(newest.number) == number) else {
            return Err("a warning about an epoch that is not the newest".into());
        };
        ensure(epoch.started + self.policy.ready_timeout <= now, || "a warning too soon".into())?;
        let initialises =
            epoch.last_view.is_some_and(|(_, view)| view == View::Starting) || !epoch.ready;
        // One that was ready by the clock may turn out to be starting, and is a new matter.
        ensure(initialises, || "--ready-timeout warned about though it is ready".into())?;
        ensure(epoch.ready || !epoch.late, || "--ready-timeout warned about twice".into())?;
        epoch.late = true;
        Ok(())
    }

    fn judge_exit(&mut self, now: Moment, exit: Exit, kernel: &Kernel) -> Verdict {
        let nothing_left = kernel.processes.is_empty();
        let (cause, killed) = match self.facts.phase {
            Phase::Serving | Phase::Draining(_) | Phase::Ended => {
                return Err("an exit outside a stop".into());
            }
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
}
