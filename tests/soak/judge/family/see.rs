//! How the kernel's record is taken in, moment by moment.

use super::{Family, OURSELVES, Role, Sent, Status, Wait};
use crate::judge::Programs;
use crate::record::{Event, Moment};

impl Family {
    pub(super) fn see(&mut self, moment: &Moment, programs: Programs<'_>) {
        let at = moment.at;
        if let Event::Signal { to, signal, taken: true, .. } = moment.what
            && ends(signal)
            && let Some(&to) = self.by_pid.get(&to)
        {
            self.processes[to].last_sent = Some((signal, moment.who));
        }
        if let Event::Signal { to, signal, taken, .. } = moment.what
            && to == self.restarter().pid
        {
            if taken {
                self.received.push((at, signal));
            }
            if [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal) {
                self.told_to_pause.push(at);
            }
        }
        let Some(&who) = self.by_pid.get(&moment.who) else { return };
        let own = &mut self.processes[who];
        if let Event::Signal { signal: libc::SIGCHLD, .. } = moment.what
            && own.ended.is_some()
        {
            own.told_parent.get_or_insert(at);
        }
        let ours = who == OURSELVES && self.restarter().ended.is_none();
        match &moment.what {
            Event::Fork { child } if ours => {
                self.processes[who].last_made =
                    Some(self.born(*child, at, Role::Stillborn, OURSELVES));
            }
            Event::Fork { child } => {
                let made = self.born(*child, at, Role::Member, who);
                self.processes[made].actions = self.processes[who].actions.clone();
                self.processes[who].last_made = Some(made);
            }
            Event::Exec { file } if self.processes[who].role == Role::Stillborn => {
                self.processes[who].role = match file.as_str() {
                    file if file == programs.target => Role::Leader,
                    file if file == programs.check => Role::Check,
                    file if file == programs.question => Role::Question,
                    _ => Role::Member,
                };
                self.processes[who].actions.clear();
            }
            Event::Exit => self.ended(who, at),
            Event::ExitCall { code } => self.processes[who].asked_to_exit = Some(*code),
            Event::Deliver { signal, caught: false } => {
                if ends(*signal) {
                    self.processes[who].struck_by = Some(*signal);
                }
            }
            // The kernel raises SIGPIPE in the name of who writes.
            Event::Signal { to, signal, by_process: true, .. } if ours && *to != moment.who => {
                self.sent(at, *to, *signal);
            }
            Event::Cloned { number } => {
                if let Some(made) = self.processes[who].last_made.take() {
                    self.processes[made].number = Some(*number);
                    if ours {
                        self.making.push((self.processes[made].begun, at));
                    }
                }
            }
            Event::NotCloned if ours => self.refused.push(at),
            Event::Action { signal } => self.processes[who].acting = Some(*signal),
            Event::Acted => {
                if let Some(signal) = self.processes[who].acting.take() {
                    let (times, since) =
                        self.processes[who].actions.entry(signal).or_insert((0, at));
                    (*times, *since) = (*times + 1, at);
                }
            }
            Event::Poll { waits: true } if ours => self.polls.push(at),
            Event::Kill { target: -1 } if ours => self.to_all += 1,
            Event::WaitCall { peek } if ours => self.waits = Wait { peek: *peek, child: 0 },
            Event::WaitFor { child } if ours && *child != 0 => self.waits.child = *child,
            Event::Waited { failed: false } if ours && !self.waits.peek => {
                match self.by_pid.get(&self.waits.child) {
                    Some(&child) if self.processes[child].ended.is_some() => {
                        self.processes[child].reaped = Some(at);
                        self.reaps.push(at);
                    }
                    // Nobody reaps who has not ended.
                    _ => self.has_gaps |= self.waits.child != 0,
                }
            }
            Event::Setsid => self.processes[who].group = who,
            Event::Setpgid { process, group } => {
                if (*process == 0 || *process == *group) && *group == 0 {
                    self.processes[who].group = who;
                }
            }
            Event::Exec { .. } => self.processes[who].actions.clear(),
            Event::Signal { .. }
            | Event::Deliver { .. }
            | Event::NotCloned
            | Event::Poll { .. }
            | Event::Kill { .. }
            | Event::WaitCall { .. }
            | Event::WaitFor { .. }
            | Event::Waited { .. } => {}
        }
    }

    fn ended(&mut self, who: usize, at: u64) {
        let process = &mut self.processes[who];
        process.ended = Some(at);
        let exited = process.asked_to_exit.map(Status::Exited);
        // A signal that ends a process makes the kernel hand it SIGKILL.
        let by = process.struck_by.map(|by| match process.last_sent {
            Some((sent, _)) if by == libc::SIGKILL => sent,
            _ => by,
        });
        process.status = exited.or(by.map(Status::Signaled));
        let from_outside =
            process.last_sent.is_some_and(|(_, by)| by != self.processes[OURSELVES].pid);
        let process = &mut self.processes[who];
        if process.role == Role::Stillborn
            && process.status.is_some_and(Status::is_signal)
            && from_outside
        {
            // It was to lead an epoch, and something struck it down before it was a program.
            process.role = Role::Leader;
        }
        let orphans =
            self.processes.iter_mut().filter(|child| child.parent == who && who != OURSELVES);
        for child in orphans {
            // We are PID 1 or a subreaper, and nobody in between is.
            child.parent = OURSELVES;
            child.parent_since = at;
            child.left_by = Some(who);
        }
    }

    fn sent(&mut self, at: u64, to_pid: i32, signal: i32) {
        let to = self.by_pid.get(&to_pid).copied().filter(|to| *to != OURSELVES);
        let process = to.map(|to| &self.processes[to]);
        let to_child = process.is_some_and(|process| process.parent == OURSELVES);
        let to_group = process.is_some_and(|process| self.is_group_of_ours(process.group));
        self.sent.push(Sent { at, signal, to, to_pid, to_child, to_group });
    }
}

/// Whether a signal ends a process that has no handler for it.
fn ends(signal: i32) -> bool {
    ![
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGURG,
        libc::SIGWINCH,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ]
    .contains(&signal)
}
