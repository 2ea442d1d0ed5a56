//! What happens, and what it means.

use std::mem;

use hot_restarter::signal::{Meaning, Signal};
use hot_restarter::supervisor::{
    Answer, End, Event, Failure, Mended, Moment, Peer, Pid, Reach, Readiness, Status, Task, View,
};

use super::{
    Cause, Check, Epoch, KILL_WAIT, Ledger, Mending, PARENTS_WAIT, PROBE_WAIT, Parents, Phase,
    Running, SETTLING,
};
use crate::words;

impl Ledger {
    /// Takes note of what the core is about to be told.
    pub(crate) fn note(&mut self, now: Moment, event: &Event) {
        match event {
            Event::Begin => self.facts.begun = true,
            Event::Signal(signal) => self.note_signal(now, *signal),
            Event::Command(command) => self.note_signal(now, words::signal_of(*command)),
            Event::Changed { .. } => self.facts.restart_wanted |= !self.is_ending(),
            Event::Exited { pid, status, out_of_memory } => {
                let end = End { status: *status, out_of_memory: *out_of_memory };
                self.note_end(now, *pid, end);
            }
            Event::Tick => self.note_time(now),
            Event::Started { epoch, pid, foreground } => {
                self.note_start(now, *epoch, *pid, *foreground);
            }
            Event::NotStarted { failure, .. } => {
                if self.facts.epochs.is_empty() {
                    self.begin_stop(now, now, Cause::CannotStart(failure.exit));
                } else {
                    self.facts.words_owed.push("restart-refused");
                    self.note_restart_refused();
                }
            }
            Event::Running { task, pid } => {
                let (task, pid, since) = (*task, *pid, now);
                self.facts.tasks.push(Running { task, pid, since, useless: false, killed: false });
            }
            Event::NotRunning { task, .. } => self.note_task_answer(now, *task, false),
            Event::Answered { epoch, peer, answer } => {
                self.note_answer(now, *epoch, *peer, *answer);
            }
            Event::Replied { request, reply } => self.note_reply(now, *request, *reply),
            Event::Mended(outcome) => self.note_mended(now, outcome),
            Event::Seen { epoch, view } => self.note_view(now, *epoch, *view),
            Event::Reached { epoch, signal, reach } => {
                let unknown = *reach == Reach::Unknown && *signal == Signal::USR1;
                if let Some(epoch) = self.epoch_mut(*epoch) {
                    epoch.leader_owed |= unknown;
                }
            }
            Event::Suspended { .. } => self.note_suspended(),
            Event::Childless | Event::Orphans(_) => {}
        }
        self.drain_goes_on(now);
    }

    fn note_start(&mut self, now: Moment, number: u32, leader: Pid, foreground: bool) {
        self.facts.epochs.push(Epoch {
            number,
            leader,
            started: now,
            foreground,
            ready: false,
            failed: false,
            overdue: false,
            complain_at: None,
            last_view: None,
            passed: None,
            probe_asked: false,
            admin_asked: false,
            admin_quiet_since: now,
            alive: None,
            live: None,
            workers: None,
            reopen_owed: false,
            forward_owed: false,
            leader_owed: false,
            late: false,
            probe_failed: false,
        });
        self.note_restart_started(number);
        self.note_no_doubt();
        self.facts.next += 1;
        self.facts.last_start = Some(now);
        // Whatever the last one left, this one found it.
        self.facts.mending = None;
    }

    /// Everything is asked to end, in a stop that began at `since`.
    pub(super) fn begin_stop(&mut self, now: Moment, since: Moment, cause: Cause) {
        self.note_restarts_end(false);
        self.forget_what_is_under_way();
        self.facts.tasks.iter_mut().for_each(|running| running.useless = true);
        let deadline = since + self.policy.term_wait;
        // A child that has failed tells its parent nothing any more.
        let standing = || self.facts.epochs.iter().filter(|epoch| !epoch.failed);
        let several = self.facts.announced && standing().count() > 1;
        let newest = standing().next_back().filter(|_| several).map(|epoch| epoch.leader);
        let wait = PARENTS_WAIT.min((deadline - now) / 4);
        let parents = newest.map(|newest| Parents { newest, until: now + wait });
        self.facts.phase = Phase::Stopping { cause, deadline, parents };
    }

    fn begin_kill(&mut self, now: Moment, cause: Cause, time_ran_out: bool) {
        self.note_restarts_end(false);
        self.forget_what_is_under_way();
        self.facts.tasks.iter_mut().for_each(|running| running.useless = true);
        let deadline = now + KILL_WAIT;
        self.facts.phase = Phase::Killing { cause, deadline, time_ran_out };
    }

    fn forget_what_is_under_way(&mut self) {
        self.note_no_doubt();
        self.facts.restart_wanted = false;
        self.facts.check = Check::None;
        self.facts.mending = None;
    }

    fn note_signal(&mut self, now: Moment, signal: Signal) {
        self.facts.signal = Some(signal);
        let serving = self.facts.phase == Phase::Serving;
        let passes_on = match self.facts.phase {
            Phase::Serving | Phase::Draining(_) | Phase::Stopping { .. } => true,
            Phase::Killing { .. } | Phase::Ended => false,
        };
        let stop_again = self.stopping() == Some(signal);
        let epochs = self.facts.epochs.iter_mut().filter(|epoch| !epoch.failed);
        match signal.meaning() {
            Meaning::Stop if serving && self.policy.drain.is_some() => {
                self.note_restarts_end(true);
                self.forget_what_is_under_way();
                self.begin_drain(now);
            }
            Meaning::Stop if serving => self.begin_stop(now, now, Cause::Asked),
            Meaning::Restart if serving => self.facts.restart_wanted = true,
            Meaning::Restart => self.note_restart_too_late(),
            Meaning::Reopen if passes_on && !stop_again => {
                epochs.for_each(|epoch| epoch.reopen_owed = true);
            }
            Meaning::ToGroups | Meaning::ToCatchers if passes_on && !stop_again => {
                epochs.for_each(|epoch| epoch.forward_owed = true);
            }
            Meaning::Stop
            | Meaning::Reopen
            | Meaning::ToGroups
            | Meaning::ToCatchers
            | Meaning::Reap
            | Meaning::Ignored
            | Meaning::Fault
            | Meaning::Uncatchable => {}
        }
    }

    /// Sections 4 and 6 of the contract: what an end means.
    fn note_end(&mut self, now: Moment, pid: Pid, end: End) {
        let status = end.status;
        self.facts.to_reap = Some(pid);
        if let Some(index) = self.facts.tasks.iter().position(|running| running.pid == pid) {
            let ended = self.facts.tasks.remove(index);
            self.facts.to_kill = Some(pid);
            if !ended.useless {
                self.note_task_answer(now, ended.task, status == Status::Exited(0));
            }
            return;
        }
        let Some(index) = self.facts.epochs.iter().position(|epoch| epoch.leader == pid) else {
            return;
        };
        let epoch = self.facts.epochs.remove(index);
        // What we have killed ourselves is nobody's riddle.
        let out_of_memory = end.out_of_memory.filter(|_| !epoch.failed && !self.is_killing());
        let end = End { status, out_of_memory };
        self.facts.ended = Some((epoch.number, end));
        if let Phase::Stopping { parents: Some(parents), deadline, .. } = &mut self.facts.phase
            && parents.newest == epoch.leader
        {
            // Its parent is the next, and the last one has nobody to wait for.
            let mut standing = self.facts.epochs.iter().filter(|epoch| !epoch.failed);
            let next = standing.next_back().map(|epoch| epoch.leader);
            let wait = PARENTS_WAIT.min((*deadline - now) / 4);
            let older = standing.next_back();
            match next.zip(older) {
                Some((newest, _)) => *parents = Parents { newest, until: now + wait },
                None => parents.until = now,
            }
        }
        if !self.lives_on() {
            return;
        }
        if epoch.failed {
            return self.note_failed_is_gone(now, &epoch, end);
        }
        // One that has failed is none that serves, though it lives.
        let others = self.facts.epochs.iter().filter(|epoch| !epoch.failed).count();
        let newest = index == others;
        let alone = others == 0;
        let usr1 = status == Status::Signaled(Signal::USR1);
        let failure = Failure::Ended(end);
        if self.facts.phase != Phase::Serving {
            if newest && !alone && !epoch.ready {
                self.facts.words_owed.push("restart-failed");
                self.note_restart_failed(epoch.number, failure);
                return self.note_failed_is_gone(now, &epoch, end);
            }
            return self.drain_loses(now, newest);
        }
        let interrupted = epoch.foreground && status == Status::Signaled(Signal::INT);
        if status == Status::Exited(0) && alone {
            self.note_fatal(epoch.number, end);
            self.begin_stop(now, now, Cause::LastEpoch);
        } else if status == Status::Exited(0) && newest && epoch.ready {
            self.begin_stop(now, now, Cause::Asked);
        } else if newest && interrupted {
            self.note_fatal(epoch.number, end);
            self.begin_stop(now, now, Cause::Interrupted);
        } else if newest
            && !alone
            && !epoch.ready
            && (status == Status::Exited(0) || self.policy.rollback)
        {
            self.facts.words_owed.push("restart-failed");
            self.note_restart_failed(epoch.number, failure);
            self.note_failed_is_gone(now, &epoch, end);
        } else if newest || !(status == Status::Exited(0) || usr1) {
            self.facts.words_owed.push("ended-unexpectedly");
            self.note_fatal(epoch.number, end);
            self.begin_kill(now, Cause::Unexpected(status), false);
        }
    }

    fn note_failed_is_gone(&mut self, now: Moment, epoch: &Epoch, end: End) {
        self.facts.to_kill = Some(epoch.leader);
        self.facts.next = epoch.number;
        self.probes_are_useless(epoch.number, epoch.leader);
        if let Some(survivor) = self.facts.epochs.last_mut().filter(|_| epoch.foreground) {
            survivor.foreground = true;
            self.facts.terminal_owed = Some(survivor.leader);
        }
        if self.facts.phase != Phase::Serving {
            // Nobody will start there again.
            return self.note_restart_cleared();
        }
        self.facts.mending = Some(Mending {
            failed: epoch.number,
            end,
            group: epoch.leader,
            since: now,
            tried: None,
            busy: true,
            given_up: false,
        });
    }

    fn probes_are_useless(&mut self, epoch: u32, leader: Pid) {
        let of = Task::Probe { epoch, leader };
        self.facts.tasks.iter_mut().for_each(|running| running.useless |= running.task == of);
    }

    /// A check or a probe has answered, by ending, or by not ending in time.
    fn note_task_answer(&mut self, now: Moment, task: Task, passed: bool) {
        match task {
            Task::Check { .. } if passed => self.facts.check = Check::Passed,
            Task::Check { .. } => {
                self.facts.check = Check::None;
                self.facts.words_owed.push("restart-refused");
                self.note_restart_refused();
            }
            Task::Probe { epoch: number, leader } => {
                let asked = |epoch: &&mut Epoch| (epoch.number, epoch.leader) == (number, leader);
                // The leader's number may be that of a later epoch's by now.
                if let Some(epoch) = self.facts.epochs.iter_mut().find(asked) {
                    epoch.passed = passed.then_some(now);
                }
            }
        }
    }

    fn note_answer(&mut self, now: Moment, number: u32, peer: Peer, answer: Answer) {
        let decides = self.finds_out() && self.decides(peer);
        let lives_on = self.lives_on();
        let Some(index) = self.facts.epochs.iter().position(|epoch| epoch.number == number) else {
            return;
        };
        let before = index.checked_sub(1).and_then(|before| self.facts.epochs[before].workers);
        let epoch = &mut self.facts.epochs[index];
        let expected = match peer {
            Peer::Probe => mem::take(&mut epoch.probe_asked),
            Peer::Admin => mem::take(&mut epoch.admin_asked),
        };
        if !expected || !lives_on {
            return;
        }
        let (ready, own, workers) = match answer {
            Answer::No => (false, false, None),
            Answer::Starting { workers } => (false, true, workers),
            Answer::Ready { workers } => (true, true, workers),
        };
        if decides {
            epoch.passed = ready.then_some(now);
        }
        if peer == Peer::Probe {
            return;
        }
        self.note_doubt(now, index, answer);
        let epoch = &mut self.facts.epochs[index];
        epoch.admin_quiet_since = now;
        if own {
            epoch.alive = Some(now);
        }
        if ready && self.facts.phase != Phase::Serving {
            epoch.live = Some(now);
        }
        if epoch.workers.is_none() {
            epoch.workers = workers;
            if workers.zip(before).is_some_and(|(workers, before)| workers < before) {
                self.facts.words_owed.push("fewer-workers");
            }
        }
        self.note_identity(now, number, answer);
    }

    fn note_mended(&mut self, now: Moment, outcome: &Mended) {
        let Some(mending) = &mut self.facts.mending else {
            return;
        };
        // A group that was found empty once is gone, and its number may be a stranger's.
        mending.busy &= *outcome == Mended::Busy;
        let gives_up = match outcome {
            Mended::Clean => {
                self.note_restart_cleared();
                return self.facts.mending = None;
            }
            Mended::Repaired => {
                self.facts.words_owed.push("repaired");
                self.note_restart_cleared();
                return self.facts.mending = None;
            }
            Mended::Served => {
                let (failed, end) = (mending.failed, mending.end);
                let cause = Cause::Unexpected(end.status);
                self.facts.ended = Some((failed, end));
                self.facts.words_owed.push("ended-unexpectedly");
                self.note_fatal(failed, end);
                return self.begin_kill(now, cause, false);
            }
            Mended::Refused(_) => true,
            Mended::Busy => now - mending.since >= KILL_WAIT,
        };
        if gives_up && !mem::replace(&mut mending.given_up, true) {
            self.facts.words_owed.push("not-repaired");
            self.note_restart_cleared();
        }
    }

    fn note_time(&mut self, now: Moment) {
        match self.facts.phase {
            Phase::Draining(_) => {
                self.note_drain_time(now);
                if self.lives_on() {
                    self.note_late_tasks(now);
                }
                if self.finds_out() {
                    self.note_late_epoch(now);
                }
            }
            Phase::Serving => {
                self.note_late_tasks(now);
                self.note_late_epoch(now);
                self.note_undying_epoch(now);
            }
            Phase::Stopping { cause, deadline, .. } if deadline <= now => {
                self.begin_kill(now, cause, true);
            }
            Phase::Stopping { .. } | Phase::Killing { .. } | Phase::Ended => {}
        }
    }

    fn note_late_tasks(&mut self, now: Moment) {
        let mut late = Vec::new();
        for running in self.facts.tasks.iter_mut().filter(|running| !running.useless) {
            let wait = match running.task {
                Task::Check { .. } => self.policy.check_timeout.expect("it is checked"),
                Task::Probe { .. } => PROBE_WAIT,
            };
            if running.since + wait <= now {
                running.useless = true;
                late.push(running.task);
            }
        }
        for task in late {
            self.note_task_answer(now, task, false);
        }
    }

    fn note_undying_epoch(&mut self, now: Moment) {
        let newest = self.facts.epochs.last_mut();
        let complaint = newest.map(|newest| &mut newest.complain_at);
        if let Some(complaint) = complaint.filter(|at| at.is_some_and(|at| at <= now)) {
            *complaint = None;
            self.facts.words_owed.push("not-gone");
            self.note_restart_cleared();
        }
    }

    fn note_late_epoch(&mut self, now: Moment) {
        if self.fails_at().is_none_or(|fails| now < fails) {
            return;
        }
        self.facts.epochs.last_mut().expect("it is late").overdue = true;
    }

    fn note_view(&mut self, now: Moment, number: u32, view: View) {
        self.facts.announced |= view != View::Silent;
        let Some(epoch) = self.epoch_mut(number) else {
            return;
        };
        epoch.last_view = Some((now, view));
        let (overdue, started) = (mem::take(&mut epoch.overdue), epoch.started);
        if overdue && !self.has_taken_over(view, now - started >= SETTLING) {
            self.note_failed(now);
        }
    }

    /// It serves, whatever its probe says; the epoch before it does not any more.
    fn has_taken_over(&self, view: View, settled: bool) -> bool {
        let auto = self.policy.readiness == Readiness::Auto;
        match view {
            View::Ready => true,
            View::Unreadable => settled || !auto,
            View::Silent => auto && settled && !self.facts.announced,
            View::Starting => false,
        }
    }

    fn note_failed(&mut self, now: Moment) {
        let newest = self.facts.epochs.last_mut().expect("it fails");
        newest.failed = true;
        newest.complain_at = Some(now + KILL_WAIT);
        newest.reopen_owed = false;
        let (number, leader) = (newest.number, newest.leader);
        let failure = Failure::Late { after: now - newest.started };
        self.note_restart_failed(number, failure);
        self.facts.epoch_to_kill = Some(leader);
        self.facts.words_owed.push("restart-failed");
        self.probes_are_useless(number, leader);
    }
}
