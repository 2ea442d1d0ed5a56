//! Children that end, those that epochs leave to us, and those that stay.

use super::Driver;
use crate::log::Record;
use crate::procfs::{self, Procfs};
use crate::signal::Signal;
use crate::supervisor::{Event, Level, Orphan, Pid, Status};
use crate::sys::{self, Peek};

/// How many children are reaped before signals are looked at again.
const REAPED_A_TURN: usize = 1024;
/// How many of those that did not end, or would not die, are named.
const NAMED_AT_ONCE: usize = 16;

impl Driver {
    /// Hands exits to the core, which has them reaped one by one; says whether there are more.
    pub(super) fn take_in_exits(&mut self) -> bool {
        for _ in 0..REAPED_A_TURN {
            match sys::peek() {
                Ok(Peek::Ended(pid, status)) => {
                    if !self.supervisor.is_known(pid) {
                        self.history.reaped_orphan();
                    }
                    if self.supervisor.is_leader(pid) {
                        self.stirred = true;
                        // A SIGTERM that was sent to all of us at once may have come since.
                        self.take_in_signals();
                    }
                    if self.probe == Some(pid) && status != Status::Exited(0) {
                        self.probe_refused(status);
                    }
                    let out_of_memory = self.out_of_memory(pid, status);
                    self.handle(Event::Exited { pid, status, out_of_memory });
                    if self.exit.is_some() {
                        return false;
                    }
                }
                Ok(Peek::Nothing) => return false,
                Ok(Peek::Childless) => {
                    self.handle(Event::Childless);
                    return false;
                }
                Err(error) => {
                    self.hinder("wait", "cannot look for children that have ended", &error);
                    return false;
                }
            }
        }
        true
    }

    /// Tells the core when the terminal has stopped the epoch that has it from us.
    pub(super) fn take_in_suspension(&mut self) {
        if let Some(pid) = self.terminal.borrower()
            && self.supervisor.is_leader(pid)
            && sys::was_suspended(pid)
        {
            self.handle(Event::Suspended { pid });
        }
    }

    /// Hands the ends of epochs to the core that thousands of orphans hide from it: whatever the
    /// number of exits, those of epochs go before a restart.
    pub(super) fn take_in_ends_of_epochs(&mut self) {
        let leaders: Vec<Pid> = self.supervisor.leaders().map(|(_, leader)| leader).collect();
        for pid in leaders {
            if let Ok(Some(status)) = sys::peek_at(pid)
                && self.exit.is_none()
                && self.supervisor.is_leader(pid)
            {
                let out_of_memory = self.out_of_memory(pid, status);
                self.handle(Event::Exited { pid, status, out_of_memory });
            }
        }
    }

    /// How often the out-of-memory killer has struck, when an epoch died as if by it.
    fn out_of_memory(&self, pid: Pid, status: Status) -> Option<u64> {
        let killed = status == Status::Signaled(Signal::KILL) && self.supervisor.is_leader(pid);
        killed.then_some(self.oom_kills.as_ref()?)?.since(sys::monotonic())
    }

    pub(super) fn list_orphans(&mut self) -> Vec<Orphan> {
        // Most epochs leave nobody behind, and the kernel says so in one call.
        if matches!(sys::peek(), Ok(Peek::Childless)) {
            return Vec::new();
        }
        let Some(procfs) = Procfs::ours() else {
            return Vec::new();
        };
        let children = procfs.own_children().into_iter();
        children
            .filter(|pid| !self.supervisor.is_known(*pid))
            // A child exists until it is reaped, so its group is hidden rather than gone: better the
            // signal twice than never.
            .map(|pid| Orphan { pid, group: procfs::process_group(pid).unwrap_or(pid) })
            .collect()
    }

    /// Names our children: what is left when we stop waiting for it.
    pub(super) fn name_children(&mut self, level: Level, event: &str, why: &str) {
        let procfs = Procfs::ours();
        let children = match &procfs {
            Some(procfs) => procfs.own_children(),
            None => self.supervisor.leaders().map(|(_, leader)| leader).collect(),
        };
        let mut names = Vec::new();
        for pid in children.iter().copied().take(NAMED_AT_ONCE) {
            let known = procfs.as_ref().and_then(|procfs| procfs.name_and_state(pid));
            let (name, state) = known.unwrap_or_else(|| ("?".to_owned(), '?'));
            let message = &format_args!("{name} (state {state}) {why}");
            self.log.write(&Record { level, event, epoch: None, pid: Some(pid), message });
            names.push(format!("{name} (pid {pid}, state {state})"));
        }
        if children.len() > NAMED_AT_ONCE {
            let more = format!("and {} more", children.len() - NAMED_AT_ONCE);
            self.log.say(level, event, &more);
            names.push(more);
        }
        if names.is_empty() {
            // The kernel says that there are some.
            self.log.say(level, event, &"/proc does not tell who is left");
        } else {
            self.termination.add(&format!("; {why}: {}", names.join(", ")));
        }
    }
}
