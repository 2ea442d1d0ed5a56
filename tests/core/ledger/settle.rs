//! What the contract demands.

use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{Event, Moment, Peer, Readiness, Task, View};

use super::{
    Check, Epoch, Facts, LOOK_WAIT, Ledger, MEND_WAIT, ORPHAN_WAIT, PROBE_WAIT, Phase, Verdict,
    ensure,
};
use crate::kernel::{Kernel, OURSELVES};

impl Ledger {
    /// Judges what an event led to, when there is nothing more to be done.
    pub(crate) fn settle(
        &mut self,
        now: Moment,
        event: &Event,
        kernel: &Kernel,
        deadline: Option<Moment>,
    ) -> Verdict {
        (self.facts.signal, self.facts.ended) = (None, None);
        // What has been checked and not begun waits again, whoever has been told.
        self.facts.restart_wanted |= self.facts.check == Check::Passed;
        self.settle_debts()?;
        if *event == Event::Tick && deadline.is_some_and(|deadline| deadline <= now) {
            // Something that has just begun may have no time at all.
            let again = self.facts.overdue.replace(now) == Some(now);
            ensure(!again, || "a deadline that is over and stays so".into())?;
        }
        self.settle_phase(now, event, kernel, deadline)?;
        self.settle_askers()?;
        self.settle_admin()
    }

    fn settle_phase(
        &self,
        now: Moment,
        event: &Event,
        kernel: &Kernel,
        deadline: Option<Moment>,
    ) -> Verdict {
        match self.facts.phase {
            Phase::Serving => {
                self.settle_attended(deadline)?;
                self.settle_serving(now, kernel, deadline)
            }
            Phase::Draining(_) => {
                self.settle_attended(deadline)?;
                self.settle_drain(now, kernel, deadline)
            }
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

    /// What had to be done at once has been done.
    fn settle_debts(&self) -> Verdict {
        let Facts { epochs, tasks, to_reap, words_owed, .. } = &self.facts;
        if let Some(pid) = to_reap {
            return Err(format!("{pid} was not reaped"));
        }
        ensure(self.facts.to_kill.is_none(), || "a group not killed with its leader".into())?;
        ensure(self.facts.epoch_to_kill.is_none(), || "a failed epoch not killed".into())?;
        ensure(self.facts.terminal_owed.is_none(), || "the terminal not given back".into())?;
        ensure(words_owed.is_empty() || self.has_ended(), || format!("not said: {words_owed:?}"))?;
        for running in tasks.iter().filter(|_| !self.has_ended()) {
            let task = running.task;
            ensure(running.killed || !running.useless, || format!("{task:?} was not killed"))?;
        }
        for epoch in epochs {
            let number = epoch.number;
            ensure(!epoch.forward_owed, || format!("a signal not passed on to epoch {number}"))?;
            ensure(!epoch.leader_owed, || format!("SIGUSR1 kept from epoch {number}'s leader"))?;
            ensure(!(epoch.ready && epoch.reopen_owed) || self.is_killing(), || {
                format!("epoch {number} is ready and was not told to reopen its logs")
            })?;
        }
        let newest = epochs.len().saturating_sub(1);
        let unready = epochs.iter().take(newest).filter(|epoch| !epoch.ready).count();
        ensure(unready == 0, || "an older epoch that is not ready".into())
    }

    pub(super) fn is_killing(&self) -> bool {
        matches!(self.facts.phase, Phase::Killing { .. } | Phase::Ended)
    }

    /// As long as nobody has been asked to end, whatever is under way is woken for in time.
    fn settle_attended(&self, deadline: Option<Moment>) -> Verdict {
        let Some(newest) = self.facts.epochs.last() else {
            return Err("nothing runs, and nothing ends".into());
        };
        let wakes_by = |moment: Moment, rule: &str| {
            ensure(deadline.is_some_and(|deadline| deadline <= moment), || rule.into())
        };
        for running in self.facts.tasks.iter().filter(|running| !running.useless) {
            let wait = match running.task {
                Task::Check { .. } => self.policy.check_timeout.expect("it is checked"),
                Task::Probe { .. } => PROBE_WAIT,
            };
            wakes_by(running.since + wait, "a task that may run for ever")?;
        }
        ensure(!newest.overdue, || "its time is over, and nobody looks".into())?;
        if let Some(fails) = self.fails_at().filter(|_| self.finds_out()) {
            wakes_by(fails, "an epoch that never fails")?;
        }
        Ok(())
    }

    /// For nothing else are we woken.
    fn settle_serving(&self, now: Moment, kernel: &Kernel, deadline: Option<Moment>) -> Verdict {
        let newest = self.facts.epochs.last().expect("somebody serves");
        let wakes_by = |moment: Moment, rule: &str| {
            ensure(deadline.is_some_and(|deadline| deadline <= moment), || rule.into())
        };
        if let Some(complaint) = newest.complain_at {
            wakes_by(complaint, "an epoch that will not die, and nobody says so")?;
        }
        let mending = self.facts.mending.filter(|mending| !mending.given_up);
        if let Some(mending) = mending {
            ensure(mending.tried.is_some(), || "nothing repaired after a failure".into())?;
            wakes_by(now + MEND_WAIT, "a repair that is not tried again")?;
        }
        let doubts = self.doubts_at();
        if let Some(doubts) = doubts {
            wakes_by(doubts, "an admin that is not asked again")?;
        }
        if !newest.ready && !newest.failed {
            return self.settle_starting(now, newest, kernel, deadline);
        }
        let waits_for_nothing = !self.facts.restart_wanted
            || newest.failed
            || self.facts.check == Check::Runs
            || self.facts.epochs.len() >= self.policy.max_epochs
            || mending.is_some();
        if waits_for_nothing {
            let mends = mending.is_some() || newest.complain_at.is_some();
            let busy = mends
                || doubts.is_some()
                || self.facts.tasks.iter().any(|running| !running.useless);
            return ensure(busy || deadline.is_none(), || "a wake-up for nothing".into());
        }
        self.settle_restart(now, newest, deadline)
    }

    /// Somebody asks whether it is ready, and believes a yes.
    pub(super) fn settle_starting(
        &self,
        now: Moment,
        newest: &Epoch,
        kernel: &Kernel,
        deadline: Option<Moment>,
    ) -> Verdict {
        let open = |peer| kernel.is_asked(peer);
        let probed = self.facts.tasks.iter().any(|running| match running.task {
            Task::Probe { .. } => !running.useless,
            Task::Check { .. } => false,
        });
        let view = newest.last_view.and_then(|(when, view)| (when == now).then_some(view));
        let (asked, believed) = match self.policy.readiness {
            Readiness::None => return Err("not ready at once".into()),
            Readiness::Auto => (false, view != Some(View::Ready)),
            Readiness::Admin | Readiness::Command | Readiness::Http => {
                let passed = newest.passed == Some(now);
                let initialises = view.is_some_and(|view| self.initialises(view));
                let asked = match self.policy.readiness {
                    Readiness::Admin => open(Peer::Admin),
                    Readiness::Http => open(Peer::Probe),
                    Readiness::Command => probed,
                    Readiness::Auto | Readiness::None => false,
                };
                let serves = view.is_some_and(|view| self.serves_unprobed(view));
                (asked, (!passed || initialises) && !(newest.late && serves))
            }
        };
        ensure(believed, || format!("epoch {} is ready, and nobody says so", newest.number))?;
        let soon = |moment: Moment| deadline.is_some_and(|deadline| deadline <= moment);
        ensure(asked || soon(now + LOOK_WAIT), || "nobody looks whether it is ready".into())?;
        let answers_in_time = !self.policy.admin
            || open(Peer::Admin)
            || soon((newest.admin_quiet_since + LOOK_WAIT).max(now));
        ensure(answers_in_time, || "nobody asks its admin how it is".into())
    }

    /// A restart that nothing hinders has begun, and one that waits is woken for.
    fn settle_restart(&self, now: Moment, newest: &Epoch, deadline: Option<Moment>) -> Verdict {
        let last_start = self.facts.last_start.expect("an epoch lives");
        let interval_over = last_start + self.policy.min_restart_interval <= now;
        let starting = newest.last_view.is_some_and(|(_, view)| view == View::Starting);
        let haunted = self.facts.mending.is_some_and(|mending| mending.busy);
        // The moment has come, and the tick of this very turn is still to be told.
        let due = deadline.is_some_and(|deadline| deadline <= now);
        ensure(!interval_over || starting || haunted || due, || {
            "a restart waits for nothing".into()
        })?;
        ensure(deadline.is_some(), || "a restart that waits for ever".into())
    }

    /// Everything that can be told to end has been told, orphans within their time.
    fn settle_ending(&self, now: Moment, event: &Event, kernel: &Kernel) -> Verdict {
        let killing = self.is_killing();
        for process in kernel.processes.iter().filter(|process| process.is_alive()) {
            let known = kernel.lists_orphans
                && process.parent == OURSELVES
                && *event == Event::Tick
                && process.ours_since + ORPHAN_WAIT < now;
            let in_group = !self.is_dead(process.group) || self.task_of(process.group).is_some();
            if !known && !in_group || self.is_left_to_its_child(now, process.group) {
                continue;
            }
            let asked = process.stop_signals > 0
                && (process.continued || self.policy.stop_signal == Signal::CONT);
            ensure(process.killed || !killing && asked, || {
                format!("{} was not told to end", process.pid)
            })?;
        }
        Ok(())
    }
}
