//! What the core says is done.

use std::os::fd::AsFd;

use super::Driver;
use crate::control::socket;
use crate::envoy::{self, Epoch};
use crate::exit::Exit;
use crate::memory::OomKills;
use crate::notify::Notify;
use crate::procfs::Procfs;
use crate::program::Output;
use crate::signal::Signal;
use crate::supervisor::{
    Action, Event, Level, Mended, Moment, Notice, Pid, StartFailure, Task, View, What,
};
use crate::sys;

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
            Action::RecordMemory { untold } => {
                self.oom_kills = OomKills::record(sys::monotonic(), untold);
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

    fn mend(&self, failed: Epoch, survivor: Epoch) -> Mended {
        let leaders = self.supervisor.leaders().map(|(_, leader)| leader);
        let older: Vec<Pid> = leaders.filter(|leader| *leader != survivor.leader).collect();
        let target = self.programs.target.words();
        self.envoys.mend(Procfs::ours().as_ref(), failed, survivor, &older, target)
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
}
