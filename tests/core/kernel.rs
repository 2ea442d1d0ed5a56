//! The kernel as the core sees it through its shell: processes, groups, zombies, a clock.
//!
//! Nothing happens here by itself. Processes do what the tests make them do, and servers answer
//! when the tests let them; only SIGKILL acts at once, and not even that on one that will not die.

use std::time::Duration;

use hot_restarter::exit::Exit;
use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{
    Action, Answer, Event, Mended, Moment, Orphan, Peer, Pid, Reach, Reply, Request, StartFailure,
    Status, Task, View,
};

/// Our own process.
pub(crate) const OURSELVES: Pid = Pid(1);

/// What a process is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// It leads this epoch.
    Epoch(u32),
    /// It is a check or a probe.
    Task(Task),
    /// Nothing that we started: an orphan, or another process's child.
    Other,
}

/// A server that has been asked about an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) epoch: u32,
    pub(crate) peer: Peer,
}

/// A process that we started, or that descends from one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) parent: Pid,
    pub(crate) group: Pid,
    pub(crate) role: Role,
    /// How it ended; it is a zombie then.
    pub(crate) ended: Option<Status>,
    /// Since when it is our own child.
    pub(crate) ours_since: Moment,
    /// SIGKILL does not end it: it hangs in the kernel, or is another user's.
    pub(crate) undying: bool,
    /// What a look at it finds, if it is a leader.
    pub(crate) view: View,
    /// How often it got the stop signal while we stop.
    pub(crate) stop_signals: u8,
    /// It got it because it was in an epoch's group.
    pub(crate) told_by_group: bool,
    /// It got SIGCONT after the stop signal.
    pub(crate) continued: bool,
    /// It got SIGKILL.
    pub(crate) killed: bool,
}

impl Process {
    /// The epoch that it leads.
    pub(crate) fn epoch(&self) -> Option<u32> {
        match self.role {
            Role::Epoch(epoch) => Some(epoch),
            Role::Task(_) | Role::Other => None,
        }
    }

    /// What it was run for, beside the epochs.
    pub(crate) fn task(&self) -> Option<Task> {
        match self.role {
            Role::Task(task) => Some(task),
            Role::Epoch(_) | Role::Other => None,
        }
    }

    /// It is nothing that we started.
    pub(crate) fn is_orphan(&self) -> bool {
        self.role == Role::Other
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.ended.is_none()
    }
}

/// What a wait for children says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peek {
    Ended(Pid, Status),
    Nothing,
    Childless,
}

/// What servers answer at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Says {
    pub(crate) probe: Option<Answer>,
    pub(crate) admin: Option<Answer>,
}

/// The processes and the clock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub(crate) struct Kernel {
    pub(crate) now: Moment,
    /// Oldest first; those that were reaped are gone.
    pub(crate) processes: Vec<Process>,
    next_pid: i32,
    /// Whether the numbers of reaped processes are given away again, the lowest first.
    pub(crate) reuses_pids: bool,
    /// Why the target cannot be started, while it cannot.
    pub(crate) start_fails: Option<Exit>,
    /// Whether checks and probes can be run.
    pub(crate) run_fails: bool,
    /// The questions that have not been answered, at most one to each peer.
    pub(crate) questions: Vec<Question>,
    /// The answers that have come and that we have not read.
    pub(crate) arrived: Vec<(Question, Answer)>,
    /// What the admin was asked for and has not done, while a stop drains.
    pub(crate) request: Option<Request>,
    /// What it has replied and we have not read.
    pub(crate) replied: Option<(Request, Reply)>,
    /// What a peer answers at once; where there is nothing its questions stay open.
    pub(crate) says: Says,
    /// What a repair comes to, when no process of the failed epoch is left.
    pub(crate) mends: Mended,
    /// Whether new epochs become the terminal's foreground group.
    pub(crate) terminal: bool,
    /// How far a signal to those that catch it comes.
    pub(crate) reach: Reach,
    /// Without /proc no orphan can be listed.
    pub(crate) lists_orphans: bool,
    /// Which of several zombies a wait finds.
    pub(crate) newest_zombie_first: bool,
    /// What new epochs look like.
    pub(crate) first_view: View,
    /// The processes that were forked since this was last emptied.
    pub(crate) born: Vec<Pid>,
    /// The signals that were received since this was last emptied.
    pub(crate) received: Vec<(Pid, Signal)>,
    /// The questions that were asked since this was last emptied.
    pub(crate) asked: Vec<Question>,
    /// The requests, likewise.
    pub(crate) requested: Vec<Request>,
}

impl Kernel {
    pub(crate) fn new() -> Self {
        Self {
            now: Moment(Duration::from_secs(1000)),
            processes: Vec::new(),
            next_pid: 100,
            reuses_pids: false,
            start_fails: None,
            run_fails: false,
            questions: Vec::new(),
            arrived: Vec::new(),
            request: None,
            replied: None,
            says: Says::default(),
            mends: Mended::Repaired,
            terminal: false,
            reach: Reach::Sent(1),
            lists_orphans: true,
            newest_zombie_first: false,
            first_view: View::Silent,
            born: Vec::new(),
            received: Vec::new(),
            asked: Vec::new(),
            requested: Vec::new(),
        }
    }

    pub(crate) fn process(&self, pid: Pid) -> Option<&Process> {
        self.processes.iter().find(|process| process.pid == pid)
    }

    pub(crate) fn process_mut(&mut self, pid: Pid) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.pid == pid)
    }

    /// The leader of an epoch, until it is reaped.
    pub(crate) fn leader(&self, epoch: u32) -> Option<&Process> {
        self.processes.iter().find(|process| process.epoch() == Some(epoch))
    }

    /// The checks and probes that have not been reaped, in the order of their starts.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.task().is_some())
    }

    /// Our own children, zombies included.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.parent == OURSELVES)
    }

    /// A process forks. Its child stays in its group, or (`setsid`) begins one of its own.
    pub(crate) fn fork(&mut self, parent: Pid, own_group: bool) -> Pid {
        let pid = self.free_pid();
        let model = self.process(parent).expect("a living parent");
        let told = !own_group && model.told_by_group;
        let child = Process {
            pid,
            parent,
            group: if own_group { pid } else { model.group },
            role: Role::Other,
            ended: None,
            // "Unless their group has had it": to a group that has been told, its later members
            // are told as well.
            stop_signals: if told { model.stop_signals } else { 0 },
            continued: told && model.continued,
            told_by_group: told,
            killed: !own_group && model.killed,
            ..model.clone()
        };
        self.processes.push(child);
        self.born.push(pid);
        pid
    }

    /// A process ends, and its children become ours, without a word.
    pub(crate) fn end(&mut self, pid: Pid, status: Status) {
        let now = self.now;
        for process in &mut self.processes {
            if process.parent == pid {
                process.parent = OURSELVES;
                process.ours_since = now;
            }
        }
        let process = self.process_mut(pid).expect("a process that can end");
        process.ended = Some(status);
        if process.parent != OURSELVES {
            // Its parent reaps it.
            self.processes.retain(|process| process.pid != pid);
        }
    }

    /// A child that has ended and was not reaped.
    pub(crate) fn peek(&self) -> Peek {
        let mut zombies = self.children().filter_map(|child| Some((child.pid, child.ended?)));
        let found = if self.newest_zombie_first { zombies.last() } else { zombies.next() };
        match found {
            Some((pid, status)) => Peek::Ended(pid, status),
            None if self.children().next().is_some() => Peek::Nothing,
            None => Peek::Childless,
        }
    }

    /// Performs an action, as the shell does; its answer, where it has one. `stopping` is
    /// whether a stop signal counts as one, and which signal that is.
    pub(crate) fn perform(&mut self, action: &Action, stopping: Option<Signal>) -> Option<Event> {
        match action {
            Action::Start { epoch } => return Some(self.start(*epoch)),
            Action::Look { epoch, leader } => {
                let view = self.process(*leader).map_or(View::Silent, |leader| {
                    if leader.is_alive() { leader.view } else { View::Silent }
                });
                return Some(Event::Seen { epoch: *epoch, view });
            }
            Action::Run { task } if self.run_fails => {
                return Some(Event::NotRunning { task: *task, why: "it cannot be run".into() });
            }
            Action::Run { task } => {
                let (task, pid) = (*task, self.add_child(Role::Task(*task)));
                return Some(Event::Running { task, pid });
            }
            Action::Ask { epoch, peer } => self.ask(Question { epoch: *epoch, peer: *peer }),
            Action::Request { request } => {
                // The admin has one place for whatever it is asked.
                self.questions.retain(|other| other.peer != Peer::Admin);
                self.arrived.retain(|(other, _)| other.peer != Peer::Admin);
                (self.request, self.replied) = (Some(*request), None);
                self.requested.push(*request);
            }
            Action::KillEpoch { leader } => {
                let members: Vec<Pid> = self
                    .processes
                    .iter()
                    .filter(|process| self.belongs(process, *leader))
                    .map(|process| process.pid)
                    .collect();
                for pid in members {
                    self.deliver(pid, Signal::KILL, stopping);
                }
            }
            Action::Mend { group, .. } => return Some(Event::Mended(self.mend(*group))),
            Action::SignalGroup { group, signal } => {
                let members: Vec<Pid> = self
                    .processes
                    .iter()
                    .filter(|process| process.group == *group)
                    .map(|process| process.pid)
                    .collect();
                for pid in members {
                    self.deliver(pid, *signal, stopping);
                    if let Some(told) = self.process_mut(pid) {
                        told.told_by_group |= stopping == Some(*signal);
                    }
                }
                // The kernel goes round all numbers before it gives one away again, and a stop
                // is over before that. The core relies on it for the groups that it has told.
                self.reuses_pids &= stopping.is_none();
            }
            Action::SignalChild { pid, signal } => self.deliver(*pid, *signal, stopping),
            Action::SignalCatchers { epoch, leader, signal } => {
                if let Reach::Sent(_) = self.reach {
                    self.deliver(*leader, *signal, stopping);
                }
                let (epoch, signal, reach) = (*epoch, *signal, self.reach);
                return Some(Event::Reached { epoch, signal, reach });
            }
            Action::ListOrphans => return Some(Event::Orphans(self.orphans())),
            Action::Reap { pid } => self.processes.retain(|process| process.pid != *pid),
            Action::Foreground { .. }
            | Action::RecordMemory { .. }
            | Action::Restart(_)
            | Action::Suspend { .. }
            | Action::Log(_)
            | Action::NameSurvivors
            | Action::Exit(_) => {}
        }
        None
    }

    fn orphans(&self) -> Vec<Orphan> {
        if !self.lists_orphans {
            return Vec::new();
        }
        self.children()
            .filter(|child| child.is_orphan())
            .map(|child| Orphan { pid: child.pid, group: child.group })
            .collect()
    }

    fn start(&mut self, epoch: u32) -> Event {
        if let Some(exit) = self.start_fails {
            let failure = StartFailure { exit, why: "it cannot be executed".into() };
            return Event::NotStarted { epoch, failure };
        }
        let pid = self.add_child(Role::Epoch(epoch));
        Event::Started { epoch, pid, foreground: self.terminal }
    }

    /// A child that whoever was here before us, and executed us, has left.
    pub(crate) fn inherit_child(&mut self) {
        self.add_child(Role::Other);
    }

    /// It is in the epoch's group, or descends from its leader.
    pub(crate) fn belongs(&self, process: &Process, leader: Pid) -> bool {
        let parent = |process: &Process| self.process(process.parent);
        let line = std::iter::successors(Some(process), |process| parent(process));
        process.group == leader || line.into_iter().any(|process| process.pid == leader)
    }

    fn ask(&mut self, question: Question) {
        self.questions.retain(|other| other.peer != question.peer);
        self.arrived.retain(|(other, _)| other.peer != question.peer);
        if question.peer == Peer::Admin {
            (self.request, self.replied) = (None, None);
        }
        self.questions.push(question);
        self.asked.push(question);
        let says = match question.peer {
            Peer::Probe => self.says.probe,
            Peer::Admin => self.says.admin,
        };
        if let Some(answer) = says {
            self.answer(question, answer);
        }
    }

    /// Whether we wait for this server's answer, or have not read it.
    pub(crate) fn is_asked(&self, peer: Peer) -> bool {
        let arrived = self.arrived.iter().map(|(question, _)| question);
        self.questions.iter().chain(arrived).any(|question| question.peer == peer)
    }

    /// A server answers, if the question still stands.
    pub(crate) fn answer(&mut self, question: Question, answer: Answer) {
        let open = self.questions.len();
        self.questions.retain(|other| *other != question);
        if self.questions.len() < open {
            self.arrived.push((question, answer));
        }
    }

    /// The admin replies to what it was asked for, if it still is.
    pub(crate) fn reply(&mut self, request: Request, reply: Reply) {
        if self.request.take_if(|open| *open == request).is_some() {
            self.replied = Some((request, reply));
        }
    }

    /// Whether we wait for a reply of the admin, or have not read it.
    pub(crate) fn is_requested(&self) -> bool {
        self.request.is_some() || self.replied.is_some()
    }

    fn mend(&self, group: Pid) -> Mended {
        let busy = self.processes.iter().any(|other| other.group == group && other.is_alive());
        if busy { Mended::Busy } else { self.mends.clone() }
    }

    fn add_child(&mut self, role: Role) -> Pid {
        let pid = self.free_pid();
        self.processes.push(Process {
            pid,
            parent: OURSELVES,
            group: pid,
            role,
            ended: None,
            ours_since: self.now,
            undying: false,
            view: self.first_view,
            stop_signals: 0,
            told_by_group: false,
            continued: false,
            killed: false,
        });
        self.born.push(pid);
        pid
    }

    fn deliver(&mut self, pid: Pid, signal: Signal, stopping: Option<Signal>) {
        let Some(process) = self.process_mut(pid) else {
            return;
        };
        if stopping == Some(signal) {
            process.stop_signals = process.stop_signals.saturating_add(1);
        }
        process.continued |= signal == Signal::CONT && process.stop_signals > 0;
        process.killed |= signal == Signal::KILL;
        if !process.is_alive() {
            return;
        }
        if signal == Signal::KILL && !process.undying {
            self.end(pid, Status::Signaled(signal));
        } else {
            self.received.push((pid, signal));
        }
    }

    /// As in Linux, a number stays taken while it is a group's.
    fn free_pid(&mut self) -> Pid {
        if self.reuses_pids {
            let taken = |number: i32| {
                let number = Pid(number);
                self.processes.iter().any(|taken| taken.pid == number || taken.group == number)
            };
            let free = (100..1000).find(|number| !taken(*number)).expect("a free number");
            self.next_pid = self.next_pid.max(free + 1);
            return Pid(free);
        }
        self.next_pid += 1;
        Pid(self.next_pid - 1)
    }
}
