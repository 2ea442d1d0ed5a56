//! Who descends from the restarter, and what became of each, as the kernel's record tells it.

use std::collections::BTreeMap;

use crate::record::{Event, Moment};

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// With this code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

impl Status {
    fn is_signal(self) -> bool {
        matches!(self, Self::Signaled(_))
    }

    /// As an exit code of ours.
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The restarter itself.
    Restarter,
    /// It leads an epoch.
    Leader,
    /// The check before a restart.
    Check,
    /// Asks whether an epoch is ready.
    Question,
    /// A child that the restarter made and that never became a program.
    Stillborn,
    /// A descendant of one of those.
    Member,
}

/// A process, from its beginning to its end.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Its number in its own PID namespace, of those that the restarter made.
    pub(crate) number: Option<i32>,
    pub(crate) role: Role,
    /// Who was made by the restarter and has this one among its descendants: by its place.
    pub(crate) root: usize,
    /// Its parent now.
    pub(crate) parent: usize,
    /// Since when.
    pub(crate) parent_since: u64,
    /// Its group, by the place of its leader.
    pub(crate) group: usize,
    pub(crate) begun: u64,
    pub(crate) ended: Option<u64>,
    pub(crate) status: Option<Status>,
    pub(crate) reaped: Option<u64>,
    asked_to_exit: Option<i32>,
    struck_by: Option<i32>,
    /// The last signal that was sent to it and that could end it, and by whom.
    last_sent: Option<(i32, i32)>,
}

/// A signal that the restarter has sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) at: u64,
    pub(crate) signal: i32,
    /// To whom, by its place; `None` for a stranger.
    pub(crate) to: Option<usize>,
    pub(crate) to_pid: i32,
    /// It was a child of ours then.
    pub(crate) to_child: bool,
    /// It was in the group of somebody whom we had made.
    pub(crate) to_group: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) processes: Vec<Process>,
    pub(crate) sent: Vec<Sent>,
    /// The system calls that ask to signal everybody.
    pub(crate) to_all: usize,
    /// The kernel has not told everything: its list of whom to record takes no more for a moment
    /// where many are forked at once.
    pub(crate) has_gaps: bool,
    by_pid: BTreeMap<i32, usize>,
    last_made: Option<usize>,
    waits: Wait,
}

#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    peek: bool,
    child: i32,
}

/// The programs of a life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Programs<'a> {
    pub(crate) restarter: &'a str,
    pub(crate) target: &'a str,
    pub(crate) check: &'a str,
    pub(crate) question: &'a str,
}

/// How long a fork may take, in microseconds, on a machine that does other things meanwhile.
const FORKING: u64 = 1_000_000;

/// The restarter's own place.
pub(crate) const OURSELVES: usize = 0;

impl Family {
    /// What the record tells; `None` where the restarter was never executed.
    pub(crate) fn of(record: &[Moment], programs: Programs<'_>) -> Option<Self> {
        let is_ours = |moment: &Moment| matches!(&moment.what, Event::Exec { file } if file == programs.restarter);
        let begin = record.iter().position(is_ours)?;
        let mut family = Self::default();
        let first = &record[begin];
        family.born(first.who, first.at, Role::Restarter, OURSELVES);
        for moment in &record[begin + 1..] {
            family.see(moment, programs);
        }
        // A life is judged when it is over.
        family.has_gaps |= family.restarter().ended.is_none();
        Some(family)
    }

    /// The restarter.
    pub(crate) fn restarter(&self) -> &Process {
        &self.processes[OURSELVES]
    }

    /// The signal of the restarter's by which a process was ended.
    pub(crate) fn ended_by_ours(&self, process: &Process) -> Option<i32> {
        let (signal, by) = process.last_sent?;
        let was = process.status == Some(Status::Signaled(signal));
        (was && by == self.restarter().pid).then_some(signal)
    }

    /// The leaders of epochs, in the order of their starts.
    pub(crate) fn leaders(&self) -> impl Iterator<Item = (usize, &Process)> {
        self.processes.iter().enumerate().filter(|(_, process)| process.role == Role::Leader)
    }

    fn born(&mut self, pid: i32, at: u64, role: Role, parent: usize) -> usize {
        let place = self.processes.len();
        let by_us = parent == OURSELVES && place != OURSELVES;
        let root = if by_us || place == OURSELVES { place } else { self.processes[parent].root };
        let group = if place == OURSELVES || by_us { place } else { self.processes[parent].group };
        self.processes.push(Process {
            pid,
            number: None,
            role,
            root,
            parent,
            parent_since: at,
            group,
            begun: at,
            ended: None,
            status: None,
            reaped: None,
            asked_to_exit: None,
            struck_by: None,
            last_sent: None,
        });
        self.by_pid.insert(pid, place);
        self.sent_before_birth(place);
        place
    }

    /// The kernel tells of a process when others could already signal it.
    fn sent_before_birth(&mut self, place: usize) {
        let Process { pid, begun, parent, group, .. } = self.processes[place];
        let to_group = self.is_group_of_ours(group);
        let recent = self.sent.iter_mut().rev().take_while(|sent| begun - sent.at < FORKING);
        for sent in recent.filter(|sent| sent.to.is_none() && sent.to_pid == pid) {
            sent.to = Some(place);
            (sent.to_child, sent.to_group) = (parent == OURSELVES, to_group);
        }
    }

    /// Whether a group is led by somebody whom the restarter has made.
    fn is_group_of_ours(&self, group: usize) -> bool {
        let leader = &self.processes[group];
        leader.root == group && leader.role != Role::Restarter
    }

    fn see(&mut self, moment: &Moment, programs: Programs<'_>) {
        let at = moment.at;
        if let Event::Signal { to, signal, taken: true, .. } = moment.what
            && ends(signal)
            && let Some(&to) = self.by_pid.get(&to)
        {
            self.processes[to].last_sent = Some((signal, moment.who));
        }
        let Some(&who) = self.by_pid.get(&moment.who) else { return };
        let ours = who == OURSELVES && self.restarter().ended.is_none();
        match &moment.what {
            Event::Fork { child } if ours => {
                self.last_made = Some(self.born(*child, at, Role::Stillborn, OURSELVES));
            }
            Event::Fork { child } => {
                self.born(*child, at, Role::Member, who);
            }
            Event::Exec { file } if self.processes[who].role == Role::Stillborn => {
                self.processes[who].role = match file.as_str() {
                    file if file == programs.target => Role::Leader,
                    file if file == programs.check => Role::Check,
                    file if file == programs.question => Role::Question,
                    _ => Role::Member,
                };
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
            Event::Cloned { number } if ours => {
                if let Some(made) = self.last_made.take() {
                    self.processes[made].number = Some(*number);
                }
            }
            Event::Kill { target: -1 } if ours => self.to_all += 1,
            Event::WaitCall { peek } if ours => self.waits = Wait { peek: *peek, child: 0 },
            Event::WaitFor { child } if ours && *child != 0 => self.waits.child = *child,
            Event::Waited { failed: false } if ours && !self.waits.peek => {
                match self.by_pid.get(&self.waits.child) {
                    Some(&child) if self.processes[child].ended.is_some() => {
                        self.processes[child].reaped = Some(at);
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
            Event::Exec { .. }
            | Event::Signal { .. }
            | Event::Deliver { .. }
            | Event::Cloned { .. }
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
