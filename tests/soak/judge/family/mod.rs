//! Who descends from the restarter, and what became of each, as the kernel's record tells it.

mod see;

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
    /// When it told its parent of its end: what it had to give back may have taken it long, and its
    /// children pass on just before.
    told_parent: Option<u64>,
    /// Who was its parent, if it was handed to the restarter.
    left_by: Option<usize>,
    pub(crate) reaped: Option<u64>,
    asked_to_exit: Option<i32>,
    struck_by: Option<i32>,
    /// The last signal that was sent to it and that could end it, and by whom.
    last_sent: Option<(i32, i32)>,
    /// What it has told the kernel to do with signals: how often, and when last. Our children set
    /// a handler first, and the default, if ever, just before they end by it.
    actions: BTreeMap<i32, (usize, u64)>,
    /// The signal that it is telling of.
    acting: Option<i32>,
    /// It has just made this one, whose own number is still to come.
    last_made: Option<usize>,
}

impl Process {
    /// Since when it has a handler for a signal, if it has one.
    pub(crate) fn catches(&self, signal: i32) -> Option<u64> {
        self.actions.get(&signal).filter(|(times, _)| times % 2 == 1).map(|(_, since)| *since)
    }

    /// Whether it lives at a moment, and has for as long as that matters.
    pub(crate) fn outlives(&self, then: u64) -> bool {
        self.ended.is_none_or(|ended| ended > then)
    }
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
    /// The signals that the restarter was sent, and when; not those that had just been sent.
    pub(crate) received: Vec<(u64, i32)>,
    /// When it was sent one that stops a process, taken or not.
    pub(crate) told_to_pause: Vec<u64>,
    /// When the restarter has begun to wait for what happens.
    pub(crate) polls: Vec<u64>,
    /// When it was refused a process.
    pub(crate) refused: Vec<u64>,
    /// While it has made a process, which the kernel lets it do nothing beside (`vfork`).
    pub(crate) making: Vec<(u64, u64)>,
    /// When it has reaped somebody.
    pub(crate) reaps: Vec<u64>,
    /// When somebody was sent a signal.
    sent_to: BTreeMap<(usize, i32), Vec<u64>>,
    by_pid: BTreeMap<i32, usize>,
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

/// Who waits for what happens has done all that it knows of. It may know of a part only, of
/// hundreds of signals for one, but not so often.
const TURNS: usize = 6;

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
        for Sent { at, signal, to, .. } in &family.sent {
            if let Some(to) = to {
                family.sent_to.entry((*to, *signal)).or_default().push(*at);
            }
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

    /// When the restarter has sent a process a signal: the first time from a moment on.
    pub(crate) fn sent_from(&self, to: usize, signal: i32, from: u64) -> Option<u64> {
        self.sent_to.get(&(to, signal))?.iter().copied().find(|at| *at >= from)
    }

    /// Since when a process could have been reaped by the restarter.
    pub(crate) fn zombie_since(&self, process: &Process) -> Option<u64> {
        let ended = process.told_parent.or(process.ended)?;
        let left = process.left_by.and_then(|parent| self.processes[parent].told_parent);
        Some(ended.max(left.unwrap_or(process.parent_since)))
    }

    /// When the restarter had, since then, begun so often to wait for what happens that it has
    /// done everything that was to be done.
    pub(crate) fn idle_after(&self, then: u64) -> Option<u64> {
        let begin = self.polls.partition_point(|poll| *poll <= then);
        self.polls.get(begin + TURNS - 1).copied()
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
            told_parent: None,
            left_by: None,
            reaped: None,
            asked_to_exit: None,
            struck_by: None,
            last_sent: None,
            actions: BTreeMap::new(),
            acting: None,
            last_made: None,
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
}
