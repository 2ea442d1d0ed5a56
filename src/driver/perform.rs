//! What the core says is done.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

use super::Driver;
use crate::control::socket;
use crate::envoy::{self, Epoch};
use crate::exit::Exit;
use crate::log::Record;
use crate::memory;
use crate::notify::Notify;
use crate::procfs::{self, Procfs};
use crate::program::Output;
use crate::signal::Signal;
use crate::supervisor::{
    Action, Event, Level, Mended, Moment, Notice, Orphan, Pid, Reach, StartFailure, Task, View,
    What,
};
use crate::sys::{self, Peek, PidFd};

/// How many processes are held at once, by a descriptor each.
const HELD_AT_ONCE: usize = 256;
/// How many of those that did not end, or would not die, are named.
const NAMED_AT_ONCE: usize = 16;

impl Driver {
    /// Performs an action; its answer, where it has one.
    pub(super) fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Start { epoch } => return Some(self.start(epoch)),
            Action::Look { epoch, leader } => {
                let view = self.look(leader, epoch);
                return Some(Event::Seen { epoch, view });
            }
            Action::Run { task } => return Some(self.run(task)),
            Action::Ask { epoch, peer } => self.ask(epoch, peer),
            Action::Request { request } => self.request(request),
            Action::KillEpoch { leader } => self.kill_epoch(leader),
            Action::Mend { failed, group, epoch, leader } => {
                let failed = Epoch { number: failed, leader: group };
                let survivor = Epoch { number: epoch, leader };
                return Some(Event::Mended(self.mend(failed, survivor)));
            }
            Action::SignalGroup { group, signal } => {
                let sent = sys::signal_group(group, signal);
                self.complain("process group", group, signal, sent);
                // However a check ends, what is left of its group is killed, and only then is it
                // said what became of it.
                if signal == Signal::KILL {
                    self.capture.end(group, &mut self.log);
                }
            }
            Action::SignalChild { pid, signal } => {
                let sent = sys::signal_child(pid, signal);
                self.complain("process", pid, signal, sent);
            }
            Action::SignalCatchers { epoch, leader, signal } => {
                let reach = self.signal_catchers(leader, signal);
                return Some(Event::Reached { epoch, signal, reach });
            }
            Action::ListOrphans => return Some(Event::Orphans(self.list_orphans())),
            Action::Reap { pid } => {
                if let Err(error) = sys::reap(pid) {
                    let message = format_args!("cannot reap {pid}: {error}");
                    self.log.say(Level::Error, "wait", &message);
                }
            }
            Action::Foreground { group } => self.terminal.give(group),
            Action::Suspend { group } => {
                // The SIGCONT that resumes us is forwarded like any other.
                if !self.terminal.suspend(group) {
                    let resumed = sys::signal_group(group, Signal::CONT);
                    self.complain("process group", group, Signal::CONT, resumed);
                    let message = "resumed, since nobody at this terminal could do it";
                    self.log.say(Level::Warn, "resumed", &message);
                }
            }
            Action::Restart(step) => {
                self.tell(|notify, now| notify.step(now, &step));
                self.restart_step(&step);
            }
            Action::RecordMemory => {
                let kills = memory::oom_kills();
                self.oom_kills = kills.map(|kills| kills.saturating_sub(self.others_killed));
            }
            Action::Log(notice) => self.say(&notice),
            Action::NameSurvivors => {
                let why = "would not die of SIGKILL";
                self.name_children(Level::Error, "survivor", why);
            }
            Action::Exit(exit) => {
                self.end_control(exit);
                self.exit = Some(exit);
            }
        }
        None
    }

    fn start(&mut self, epoch: u32) -> Event {
        let terminal = self.terminal.to_lend(self.supervisor.leaders().map(|(_, group)| group));
        match self.launcher.start(&self.programs.target, epoch, terminal) {
            Ok(pid) => {
                self.envoys.started(pid);
                self.refusal = None;
                if terminal.is_some() {
                    self.terminal.lent(pid);
                }
                Event::Started { epoch, pid, foreground: terminal.is_some() }
            }
            Err(failure) => {
                // A child that could not execute may have taken the foreground with it.
                let newest = self.supervisor.leaders().last().map(|(_, group)| group);
                self.terminal.give(newest);
                Event::NotStarted { epoch, failure }
            }
        }
    }

    fn look(&mut self, leader: Pid, number: u32) -> View {
        let epoch = Epoch { number, leader };
        self.envoys.look(Procfs::ours().as_ref(), epoch, self.programs.target.words())
    }

    /// The base id of an epoch's Envoy, where it can be known.
    pub(super) fn base_id(&self, number: u32) -> Option<u64> {
        let (_, leader) = self.supervisor.leaders().find(|(epoch, _)| *epoch == number)?;
        envoy::base_id(Procfs::ours().as_ref(), Epoch { number, leader })
    }

    /// Looks beside a question, so that an epoch that dies before it is found ready has been seen.
    pub(super) fn look_beside(&mut self, epoch: u32) {
        let leader = self.supervisor.leaders().find(|(number, _)| *number == epoch);
        if let Some((_, leader)) = leader {
            self.look(leader, epoch);
        }
    }

    fn run(&mut self, task: Task) -> Event {
        let pipe = match task {
            Task::Check { .. } => self.capture.begin(&mut self.log),
            Task::Probe { .. } => None,
        };
        let (program, epoch, leader, output) = match task {
            Task::Check { epoch } => {
                let output = pipe.as_ref().map_or(Output::Log, |pipe| Output::Pipe(pipe.as_fd()));
                (&self.programs.check, epoch, None, output)
            }
            // It says the same again and again.
            Task::Probe { epoch, leader } => {
                let output =
                    if self.log.tells(Level::Debug) { Output::Log } else { Output::Nowhere };
                (&self.programs.probe, epoch, Some(leader), output)
            }
        };
        let program = program.as_ref().expect("the core runs what it was told of");
        match self.launcher.run(program, epoch, leader, output) {
            Ok(pid) => {
                if leader.is_some() {
                    self.probe = Some(pid);
                    self.look_beside(epoch);
                } else {
                    self.capture.started(pid);
                }
                Event::Running { task, pid }
            }
            Err(StartFailure { why, .. }) => Event::NotRunning { task, why },
        }
    }

    /// Kills every process of an epoch whose leader lives: by that it can be told who they are.
    ///
    /// They are stopped first, so that nobody starts another one when a child of its dies. What is
    /// in other groups than the leader's then goes children first: an Envoy has the kernel send it
    /// SIGTERM when its parent dies, and while it initialises it passes that on to the epoch in
    /// service. They are held before one is killed, since what descends from it is handed to us then,
    /// and is told from no other orphan; of very many, those that are farthest from the leader go
    /// first. The leader's group goes at one stroke.
    fn kill_epoch(&mut self, leader: Pid) {
        // An error means the same as that of SIGKILL, which is told.
        let _ = sys::signal_group(leader, Signal::STOP);
        let elsewhere = |pid: &Pid| procfs::process_group(*pid) != Some(leader);
        let mut strayed = members(leader);
        strayed.retain(elsewhere);
        for strayed in strayed.rchunks(HELD_AT_ONCE) {
            let held = hold_members(leader, strayed);
            for (_, held) in &held {
                let _ = held.signal(Signal::STOP);
            }
            for (pid, held) in held.iter().rev() {
                let sent = held.signal(Signal::KILL);
                self.complain("process", *pid, Signal::KILL, sent);
            }
        }
        let sent = sys::signal_group(leader, Signal::KILL);
        self.complain("process group", leader, Signal::KILL, sent);
    }

    fn mend(&self, failed: Epoch, survivor: Epoch) -> Mended {
        let leaders = self.supervisor.leaders().map(|(_, leader)| leader);
        let older: Vec<Pid> = leaders.filter(|leader| *leader != survivor.leader).collect();
        let target = self.programs.target.words();
        self.envoys.mend(Procfs::ours().as_ref(), failed, survivor, &older, target)
    }

    fn signal_catchers(&mut self, leader: Pid, signal: Signal) -> Reach {
        let Some(procfs) = Procfs::ours() else {
            return Reach::Unknown;
        };
        // It is our child and keeps its number until we reap it, so it need not be held; and mostly it
        // is the one that serves.
        let lead =
            self.signal_if_caught(&procfs, leader, signal, || sys::signal_child(leader, signal));
        // One that we have not reaped exists, so it is hidden rather than gone.
        let unknown = lead.is_err();
        let mut sent = u32::from(lead.unwrap_or(false));
        let mut others = procfs.members(leader, usize::MAX);
        others.retain(|pid| *pid != leader);
        for others in others.chunks(HELD_AT_ONCE) {
            for (pid, held) in hold_members(leader, others) {
                let told = self.signal_if_caught(&procfs, pid, signal, || held.signal(signal));
                sent += u32::from(told.unwrap_or(false));
            }
        }
        match sent {
            0 if unknown => Reach::Unknown,
            0 => Reach::Nobody,
            sent => Reach::Sent(sent),
        }
    }

    /// Sends a process a signal if it catches it; whether it was sent. An error means that it cannot
    /// be told whether it does.
    fn signal_if_caught(
        &mut self,
        procfs: &Procfs,
        pid: Pid,
        signal: Signal,
        send: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<bool> {
        let caught = procfs.catches(pid, signal);
        if !caught.inspect_err(|error| self.complain_blind(pid, signal, error))? {
            return Ok(false);
        }
        let result = send();
        let was_sent = result.is_ok();
        self.complain("process", pid, signal, result);
        Ok(was_sent)
    }

    /// Says why a signal could not be sent. That its receiver is gone needs no words.
    fn complain(&mut self, what: &str, pid: Pid, signal: Signal, sent: io::Result<()>) {
        let Err(error) = sent else { return };
        if error.raw_os_error() == Some(libc::ESRCH) {
            return;
        }
        let hint = match error.raw_os_error() {
            Some(libc::EPERM) => "; it runs as another user and we lack CAP_KILL",
            _ => "",
        };
        let message = &format_args!("cannot send {signal} to {what} {pid}: {error}{hint}");
        self.log.write(&Record {
            level: Level::Warn,
            event: "not-signalled",
            epoch: None,
            pid: Some(pid),
            message,
        });
    }

    /// Says why it cannot be told whether a process catches a signal. That it is gone or hidden
    /// needs no words: what is hidden is told of its epoch.
    fn complain_blind(&mut self, pid: Pid, signal: Signal, error: &io::Error) {
        if matches!(
            error.raw_os_error(),
            Some(libc::ENOENT | libc::ESRCH | libc::EACCES | libc::EPERM)
        ) {
            return;
        }
        let message = &format_args!(
            "process {pid} gets no {signal}: whether it catches it is unknown: {error}"
        );
        self.log.write(&Record {
            level: Level::Warn,
            event: "not-signalled",
            epoch: None,
            pid: Some(pid),
            message,
        });
    }

    fn list_orphans(&mut self) -> Vec<Orphan> {
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

    /// Whether we were started by mistake where a restarter runs, which goes on: in a container that
    /// somebody has entered, say. The termination log is its own.
    fn is_beside_another(&self, exit: Exit) -> bool {
        let never_began = matches!(exit, Exit::CannotExecute | Exit::NotFound | Exit::Failure);
        never_began && socket::is_taken(&self.control)
    }

    /// Says what the core says, and what only we can tell beside it.
    fn say(&mut self, notice: &Notice) {
        self.termination.notice(notice);
        if let What::Exiting { exit, .. } = notice.what
            && !exit.is_clean()
            && !self.is_beside_another(exit)
            && let Err(error) = self.termination.write(&exit.to_string())
        {
            // Before the last line, which tells the exit code.
            let path = self.termination.path().display();
            let message = format_args!("the reason cannot be written to {path}: {error}");
            self.log.say(Level::Warn, "termination-log", &message);
        }
        if let What::Exiting { exit, .. } = notice.what {
            let why = self.termination.reason().map_or_else(|| exit.to_string(), str::to_owned);
            self.tell(|notify, _| notify.exiting(&why));
        }
        self.tell(|notify, now| notify.notice(now, notice));
        self.log.notice(notice);
        self.tell_clients(notice);
        self.say_why_not(notice);
        if let What::TermWaitOver { .. } = notice.what {
            self.name_children(Level::Warn, "killing", "did not end in time");
        }
    }

    /// Tells a service manager, if there is one to be told.
    fn tell(&mut self, tell: impl FnOnce(&mut Notify, Moment)) {
        tell(&mut self.notify, sys::monotonic());
        if let Some(trouble) = self.notify.take_trouble() {
            self.log.say(Level::Warn, "notify", &trouble);
        }
    }

    /// Names our children: what is left when we stop waiting for it.
    fn name_children(&mut self, level: Level, event: &str, why: &str) {
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

/// The members of an epoch whose leader lives, as they are now.
fn members(leader: Pid) -> Vec<Pid> {
    Procfs::ours().iter().flat_map(|procfs| procfs.members(leader, usize::MAX)).collect()
}

/// Holds those of these processes that are members of the epoch. Each is held first and looked up
/// then: before it is held its number may pass to a stranger, a neighbour in our PID namespace
/// perhaps, and a stranger is no member.
fn hold_members(leader: Pid, pids: &[Pid]) -> Vec<(Pid, PidFd)> {
    let open = |pid: &Pid| Some((*pid, PidFd::open(*pid).ok()?));
    let mut held: Vec<(Pid, PidFd)> = pids.iter().filter_map(open).collect();
    let members: BTreeSet<Pid> = members(leader).into_iter().collect();
    held.retain(|(pid, _)| members.contains(pid));
    held
}
