//! The programs that run beside the epochs: the check before a restart, the probe of one that
//! starts. Nothing of them outlives their answer.

use std::time::Duration;

use super::notice::Seconds;
use super::{Action, Moment, Pid, Status, Supervisor, Task, What};
use crate::signal::Signal;

/// A probe that takes longer is no answer.
const PROBE_WAIT: Duration = Duration::from_secs(10);

/// One that was started and not reaped. It leads a process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Running {
    task: Task,
    pub(super) pid: Pid,
    since: Moment,
    deadline: Moment,
    /// It has been sent SIGKILL, and its end says nothing any more.
    killed: bool,
}

impl Running {
    /// When it is late.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        (!self.killed).then_some(self.deadline)
    }
}

impl Supervisor {
    pub(super) fn running(&mut self, now: Moment, task: Task, pid: Pid) {
        let wait = match task {
            Task::Check { epoch } => {
                self.say_of(epoch, pid, What::Checking);
                self.policy.check_timeout.expect("there is a check")
            }
            Task::Probe { .. } => PROBE_WAIT,
        };
        self.tasks.push(Running { task, pid, since: now, deadline: now + wait, killed: false });
    }

    /// Runs the probe, unless the one before it will not die.
    pub(super) fn run_probe(&mut self, now: Moment, epoch: u32, leader: Pid) {
        let is_probe = |running: &Running| match running.task {
            Task::Probe { .. } => true,
            Task::Check { .. } => false,
        };
        if self.tasks.iter().any(is_probe) {
            return self.probed(now, epoch, false);
        }
        self.act(Action::Run { task: Task::Probe { epoch, leader } });
    }

    pub(super) fn not_running(&mut self, now: Moment, task: Task, why: &str) {
        match task {
            Task::Check { .. } => self.check_failed(now, format!("--check: {why}")),
            Task::Probe { epoch, .. } => self.probe_failed(now, epoch, why),
        }
    }

    /// One has ended. What it left in its group goes with it, while the group's number is still
    /// its own.
    pub(super) fn task_ended(&mut self, now: Moment, index: usize, status: Status) {
        let Running { task, pid, since, killed, .. } = self.tasks.remove(index);
        self.act(Action::SignalGroup { group: pid, signal: Signal::KILL });
        self.act(Action::Reap { pid });
        self.look_for_orphans(now);
        if killed {
            return;
        }
        let passed = status == Status::Exited(0);
        match task {
            Task::Check { .. } if passed => self.check_passed(now, now - since),
            Task::Check { .. } => {
                self.check_failed(now, format!("the check {status}"));
            }
            Task::Probe { epoch, .. } => self.probed(now, epoch, passed),
        }
    }

    pub(super) fn tick_tasks(&mut self, now: Moment) {
        let is_late = |running: &&Running| running.next_deadline().is_some_and(|due| due <= now);
        while let Some(Running { task: late, since, deadline, .. }) =
            self.tasks.iter().find(is_late).copied()
        {
            self.kill_tasks(|task| task == late);
            match late {
                Task::Check { .. } => {
                    let seconds = Seconds(deadline - since);
                    let why = format!("the check took longer than {seconds} s (--check-timeout)");
                    self.check_failed(now, why);
                }
                Task::Probe { epoch, .. } => self.probed(now, epoch, false),
            }
        }
    }

    /// Kills those of which this is true.
    pub(super) fn kill_tasks(&mut self, which: impl Fn(Task) -> bool) {
        let mut groups = Vec::new();
        for running in self.tasks.iter_mut().filter(|task| !task.killed && which(task.task)) {
            running.killed = true;
            groups.push(running.pid);
        }
        for group in groups {
            self.act(Action::SignalGroup { group, signal: Signal::KILL });
        }
    }
}
