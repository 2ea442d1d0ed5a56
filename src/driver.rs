//! The shell around the core: one thread and one wait.
//!
//! What the kernel says (signals, exits, time) becomes events, the core's actions are performed,
//! and their results are fed back at once. While nothing happens there is no system call.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;

use crate::cli::{self, Invocation};
use crate::exit::Exit;
use crate::log::{self, Log, Record};
use crate::procfs::{self, Procfs};
use crate::signal::Signal;
use crate::supervisor::{Action, Batch, Event, Level, Orphan, Pid, Reach, Status, Supervisor};
use crate::sys::{self, Inherited, Peek, PidFd, SignalFd};
use crate::target::Target;
use crate::terminal::Terminal;
use crate::{envoy, memory};

/// How many children are reaped before signals are looked at again.
const REAPED_A_TURN: usize = 1024;
/// How many of those that would not die are named.
const NAMED_SURVIVORS: usize = 16;

/// The whole program, from the arguments to the exit code.
pub fn run(signals: io::Result<(SignalFd, Inherited)>, arguments: Vec<OsString>) -> u8 {
    // Unwinding would leave PID 1 without a loop; say it and end, and the kernel ends the rest.
    std::panic::set_hook(Box::new(|panic| {
        let message = format!("hot-restarter: a bug of ours: {panic}\n");
        let _ = log::write_if_ready(message.as_bytes());
        sys::exit_now(Exit::Failure.code());
    }));
    let exit = try_run(signals, arguments).unwrap_or_else(|error| {
        let message = format!("hot-restarter: {error:#}\n");
        let _ = log::write_if_ready(message.as_bytes());
        Exit::Failure
    });
    exit.code()
}

fn try_run(
    signals: io::Result<(SignalFd, Inherited)>,
    arguments: Vec<OsString>,
) -> anyhow::Result<Exit> {
    let config = match cli::parse(arguments, std::env::vars_os()) {
        Ok(Invocation::Run(config)) => config,
        Ok(Invocation::Print(text)) => {
            // Whoever asked for it and does not read it wants no error either.
            let _ = sys::write(libc::STDOUT_FILENO, text.as_bytes());
            return Ok(Exit::Clean);
        }
        Err(usage) => {
            let _ = log::write_if_ready(format!("hot-restarter: {usage:#}\n").as_bytes());
            return Ok(Exit::Usage);
        }
    };
    let context = "cannot take over signals";
    let (signals, inherited) =
        signals.map_err(|error| anyhow::Error::new(error).context(context))?;
    // Where we are PID 1 this changes nothing; elsewhere orphans are handed to us by it alone.
    let subreaper = prctl::set_child_subreaper(true);
    let mut driver = Driver {
        supervisor: Supervisor::new(config.policy),
        signals,
        target: Target::new(config.words, std::env::vars_os(), inherited)?,
        log: Log::new(config.log_format, config.log_level),
        batch: Batch::default(),
        oom_kills: None,
        terminal: Terminal::default(),
        stirred: true,
        exit: None,
    };
    driver.handle(Event::Begin);
    for warning in config.warnings {
        driver.log.say(Level::Warn, "configuration", &warning);
    }
    if let Err(error) = subreaper
        && std::process::id() != 1
    {
        // QEMU's user emulation has no such call.
        let message = format_args!("orphans are not handed to us, and outlive us: {error}");
        driver.log.say(Level::Warn, "subreaper", &message);
    }
    Ok(driver.serve())
}

struct Driver {
    supervisor: Supervisor,
    signals: SignalFd,
    target: Target,
    log: Log,
    /// Signals that were read and have not been handled.
    batch: Batch,
    /// The out-of-memory kills when the core last asked to record them.
    oom_kills: Option<u64>,
    terminal: Terminal,
    /// More than the reaping of orphans was done since we were last idle.
    stirred: bool,
    exit: Option<Exit>,
}

impl Driver {
    fn serve(&mut self) -> Exit {
        // The kernel may have had something for us before the first wait.
        let mut more = true;
        loop {
            if let Some(exit) = self.exit {
                return exit;
            }
            if !more {
                self.wait();
            }
            more = self.turn();
        }
    }

    /// Waits for a signal or the core's deadline.
    fn wait(&mut self) {
        let timeout = self.supervisor.next_deadline().map(|deadline| deadline - sys::monotonic());
        let timeout = match timeout {
            None => {
                // Nothing is under way, and that may be so for months.
                if std::mem::take(&mut self.stirred) {
                    sys::give_back_pages();
                }
                PollTimeout::NONE
            }
            // Rounded up, so that a deadline has passed when we wake.
            Some(left) => {
                PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
            }
        };
        // An error (EINTR after SIGSTOP, want of memory) is as good as a spurious wake-up: the
        // turn that follows looks at everything anyway.
        let _ = poll(&mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)], timeout);
    }

    /// Takes in what there is; says whether there may be more.
    fn turn(&mut self) -> bool {
        self.take_in_signals();
        let more = self.take_in_exits();
        if more && !self.batch.is_empty() {
            self.take_in_ends_of_epochs();
        }
        while self.exit.is_none()
            && let Some(signal) = self.batch.take()
        {
            if signal == Signal::CHLD {
                self.take_in_suspension();
            }
            self.stirred |= signal != Signal::CHLD;
            self.handle(Event::Signal(signal));
        }
        if self.supervisor.next_deadline().is_some_and(|deadline| deadline <= sys::monotonic()) {
            self.stirred = true;
            self.handle(Event::Tick);
        }
        more
    }

    /// Reads the signals that wait, and hands those to the core that go before exits.
    fn take_in_signals(&mut self) {
        if let Err(error) = self.signals.read(&mut self.batch) {
            self.log.say(Level::Error, "signals", &format_args!("cannot read signals: {error}"));
        }
        while let Some(signal) = self.batch.take_before_exits() {
            self.handle(Event::Signal(signal));
        }
    }

    /// Hands exits to the core, which has them reaped one by one; says whether there are more.
    fn take_in_exits(&mut self) -> bool {
        for _ in 0..REAPED_A_TURN {
            match sys::peek() {
                Ok(Peek::Ended(pid, status)) => {
                    if self.supervisor.is_leader(pid) {
                        self.stirred = true;
                        // A SIGTERM that was sent to all of us at once may have come since.
                        self.take_in_signals();
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
                    let message = format_args!("cannot wait for children: {error}");
                    self.log.say(Level::Error, "wait", &message);
                    return false;
                }
            }
        }
        true
    }

    /// Tells the core when the terminal has stopped the epoch that has it from us.
    fn take_in_suspension(&mut self) {
        if let Some(pid) = self.terminal.borrower()
            && self.supervisor.is_leader(pid)
            && sys::was_suspended(pid)
        {
            self.handle(Event::Suspended { pid });
        }
    }

    /// Hands the ends of epochs to the core that thousands of orphans hide from it: whatever the
    /// number of exits, those of epochs go before a restart.
    fn take_in_ends_of_epochs(&mut self) {
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
        let now = killed.then(memory::oom_kills)??;
        Some(now.saturating_sub(self.oom_kills?))
    }

    /// Tells the core, and does what it says until it says no more.
    fn handle(&mut self, event: Event) {
        let mut event = Some(event);
        loop {
            if let Some(event) = event.take() {
                self.supervisor.handle(sys::monotonic(), event);
            }
            match self.supervisor.next_action() {
                Some(action) => event = self.perform(action),
                None => return,
            }
        }
    }

    /// Performs an action; its answer, where it has one.
    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Start { epoch } => return Some(self.start(epoch)),
            Action::Look { epoch, leader } => {
                let view = envoy::view(Procfs::ours().as_ref(), leader, epoch, self.target.words());
                return Some(Event::Seen { epoch, view });
            }
            Action::SignalGroup { group, signal } => {
                let sent = sys::signal_group(group, signal);
                self.complain("process group", group, signal, sent);
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
            Action::RecordMemory => self.oom_kills = memory::oom_kills(),
            Action::Log(notice) => self.log.notice(&notice),
            Action::NameSurvivors => self.name_survivors(),
            Action::Exit(exit) => self.exit = Some(exit),
        }
        None
    }

    fn start(&mut self, epoch: u32) -> Event {
        let terminal = self.terminal.to_lend(self.supervisor.leaders().map(|(_, group)| group));
        match self.target.start(epoch, terminal) {
            Ok(pid) => {
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

    fn signal_catchers(&mut self, leader: Pid, signal: Signal) -> Reach {
        let Some(procfs) = Procfs::ours() else {
            return Reach::Unknown;
        };
        let mut sent = 0;
        let mut unknown = false;
        for pid in procfs.members(leader, usize::MAX) {
            // Held before its status is read: its number may pass to a stranger, it may not.
            let Ok(held) = PidFd::open(pid) else {
                continue;
            };
            match procfs.catches(pid, signal) {
                Ok(true) => match held.signal(signal) {
                    Ok(()) => sent += 1,
                    Err(error) => self.complain("process", pid, signal, Err(error)),
                },
                Ok(false) => {}
                // A leader that we have not reaped exists, so it is hidden rather than gone.
                Err(_) => unknown |= pid == leader,
            }
        }
        match sent {
            0 if unknown => Reach::Unknown,
            0 => Reach::Nobody,
            sent => Reach::Sent(sent),
        }
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

    fn list_orphans(&mut self) -> Vec<Orphan> {
        let Some(procfs) = Procfs::ours() else {
            return Vec::new();
        };
        let children = procfs.own_children().into_iter();
        children
            .filter(|pid| !self.supervisor.is_leader(*pid))
            .filter_map(|pid| Some(Orphan { pid, group: procfs::process_group(pid)? }))
            .collect()
    }

    fn name_survivors(&mut self) {
        let procfs = Procfs::ours();
        let children = match &procfs {
            Some(procfs) => procfs.own_children(),
            None => self.supervisor.leaders().map(|(_, leader)| leader).collect(),
        };
        for pid in children.iter().copied().take(NAMED_SURVIVORS) {
            let known = procfs.as_ref().and_then(|procfs| procfs.name_and_state(pid));
            let (name, state) = known.unwrap_or_else(|| ("?".to_owned(), '?'));
            let message = &format_args!("{name} (state {state}) would not die of SIGKILL");
            self.log.write(&Record {
                level: Level::Error,
                event: "survivor",
                epoch: None,
                pid: Some(pid),
                message,
            });
        }
        if children.len() > NAMED_SURVIVORS {
            let more = children.len() - NAMED_SURVIVORS;
            self.log.say(Level::Error, "survivor", &format_args!("and {more} more"));
        }
    }
}
