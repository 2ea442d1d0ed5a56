//! The shell around the core: one thread and one wait.
//!
//! What the kernel says (signals, exits, time) becomes events, the core's actions are performed,
//! and their results are fed back at once. While nothing happens there is no system call.

pub mod capture;
mod control;
mod perform;
mod questions;

use std::ffi::OsString;
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;

use crate::cli::{self, Config, Control, Invocation};
use crate::control::client;
use crate::control::server::Server;
use crate::control::socket;
use crate::control::status::History;
use crate::envoy::Envoys;
use crate::exit::Exit;
use crate::http::{Address, Url};
use crate::log::{self, Log};
use crate::memory;
use crate::notify::Notify;
use crate::program::{Launcher, Program};
use crate::signal::Signal;
use crate::supervisor::{Batch, Event, Level, Moment, Pid, StartFailure, Status, Supervisor};
use crate::sys::{self, Inherited, Peek, SignalFd};
use crate::terminal::Terminal;
use crate::termination::{self, Termination};
use crate::watch::Watch;
use capture::Capture;
use questions::Question;

/// How many children are reaped before signals are looked at again.
const REAPED_A_TURN: usize = 1024;
/// For a wait of this length pages that only work needs are given back.
const A_WHILE: Duration = Duration::from_millis(500);
/// How long a call is left alone that we live on and that has failed.
const HINDERED_PAUSE: Duration = Duration::from_millis(100);

/// The whole program, from the arguments to the exit code.
pub fn run(signals: io::Result<(SignalFd, Inherited)>, arguments: &[OsString]) -> u8 {
    let given = arguments.to_owned();
    // Unwinding would leave PID 1 without a loop; say it and end, and the kernel ends the rest.
    std::panic::set_hook(Box::new(move |panic| {
        say_why(&given, &format!("a bug of ours: {panic}"));
        sys::exit_now(Exit::Failure.code());
    }));
    let exit = try_run(signals, arguments).unwrap_or_else(|StartFailure { exit, why }| {
        say_why(arguments, &why);
        exit
    });
    exit.code()
}

/// Says why we end where no log can, on standard error and in the termination log.
fn say_why(arguments: &[OsString], why: &str) {
    let _ = log::write_if_ready(format!("hot-restarter: {why}\n").as_bytes());
    if cli::is_client(arguments) || socket::is_taken(&cli::control(arguments, std::env::vars_os()))
    {
        // The container goes on, and its termination log is not ours to write.
        return;
    }
    let path = cli::termination_log(arguments, std::env::vars_os());
    // That it is not there, or cannot be written, is no second failure.
    let _ = termination::write(path.as_deref(), why);
}

fn try_run(
    signals: io::Result<(SignalFd, Inherited)>,
    arguments: &[OsString],
) -> Result<Exit, StartFailure> {
    let signals = || {
        signals.map_err(|error| StartFailure {
            exit: Exit::Failure,
            why: format!("cannot take over signals: {error}"),
        })
    };
    let config = match cli::parse(arguments, std::env::vars_os()) {
        Ok(Invocation::Run(config)) => config,
        Ok(Invocation::Send(errand)) => {
            let (signals, inherited) = signals()?;
            return Ok(client::run(&errand, signals, inherited));
        }
        Ok(Invocation::Print(text)) => {
            // Whoever asked for it and does not read it wants no error either.
            let _ = sys::write(libc::STDOUT_FILENO, text.as_bytes());
            return Ok(Exit::Clean);
        }
        Err(usage) => {
            return Err(StartFailure { exit: Exit::Usage, why: format!("{usage:#}") });
        }
    };
    let (signals, inherited) = signals()?;
    // Where we are PID 1 this changes nothing; elsewhere orphans are handed to us by it alone.
    let subreaper = prctl::set_child_subreaper(true).map_err(io::Error::from);
    let launcher = Launcher::new(std::env::vars_os(), inherited)
        .map_err(|error| StartFailure { exit: Exit::Failure, why: format!("{error:#}") })?;
    let programs = Programs::find(&launcher, &config).map_err(|(option, failure)| {
        StartFailure { why: format!("{option}: {}", failure.why), ..failure }
    })?;
    let watch = if config.watch.is_empty() {
        Ok(None)
    } else {
        Watch::new(config.watch, config.watch_jitter).map(Some)
    };
    let mut driver = Driver {
        supervisor: Supervisor::new(config.policy),
        signals,
        launcher,
        programs,
        url: config.url,
        admin: config.admin,
        questions: Vec::new(),
        probe: None,
        capture: Capture::default(),
        refusal: None,
        envoys: Envoys::default(),
        watch: None,
        watch_stirs: false,
        control: config.control,
        listens_at: None,
        server: Server::default(),
        history: History::begin(sys::monotonic(), sys::wall_clock),
        reopened: None,
        log: Log::new(config.log_format, config.log_level),
        termination: Termination::new(config.termination_log),
        notify: Notify::from_environment(),
        batch: Batch::default(),
        oom_kills: None,
        others_killed: 0,
        terminal: Terminal::default(),
        stirred: true,
        hindered: false,
        hindrances: Vec::new(),
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
    match watch {
        Ok(watch) => driver.watch = watch,
        // A proxy that serves is worth more than one that is watched.
        Err(error) => {
            let message = format_args!("changes of files are not noticed: {error:#}");
            driver.log.say(Level::Error, "watch", &message);
        }
    }
    driver.warn_of_watch();
    let exit = driver.serve();
    // The kernel takes all of it back at once, while piece by piece it would be a dozen calls.
    mem::forget(driver);
    Ok(exit)
}

/// Everything that we execute.
struct Programs {
    target: Program,
    check: Option<Program>,
    probe: Option<Program>,
}

impl Programs {
    /// Looks them up. What is missing beside the target is found out now, not at the first
    /// restart; the target says it itself, when it is started.
    fn find(launcher: &Launcher, config: &Config) -> Result<Self, (&'static str, StartFailure)> {
        let program = |option, words: &[OsString]| {
            launcher.program(words.to_vec()).map_err(|error| {
                (option, StartFailure { exit: Exit::Usage, why: format!("{error:#}") })
            })
        };
        let beside = |option, words: &Option<Vec<OsString>>| {
            let found = words.as_ref().map(|words| program(option, words)).transpose()?;
            match found.as_ref().map_or(Ok(()), Program::find) {
                Ok(()) => Ok(found),
                Err(failure) => Err((option, failure)),
            }
        };
        Ok(Self {
            target: program("PROGRAM", &config.words)?,
            check: beside("--check", &config.check)?,
            probe: beside("--ready exec", &config.probe)?,
        })
    }
}

struct Driver {
    supervisor: Supervisor,
    signals: SignalFd,
    launcher: Launcher,
    programs: Programs,
    /// What `--ready http:` asks.
    url: Option<Url>,
    /// Where Envoy's admin is.
    admin: Option<Address>,
    /// The questions that have not been answered, at most one to each peer.
    questions: Vec<Question>,
    /// The process of `--ready exec:` that runs, or ran last.
    probe: Option<Pid>,
    /// What the check prints that runs, or ran last.
    capture: Capture,
    /// Why whoever decides whether an epoch is ready last said that it is not.
    refusal: Option<String>,
    envoys: Envoys,
    watch: Option<Watch>,
    /// The watch has something to be taken in.
    watch_stirs: bool,
    /// Where clients are to be listened to.
    control: Control,
    /// When we try to again, and until when, where a folder is locked.
    listens_at: Option<(Moment, Moment)>,
    server: Server,
    history: History,
    /// What has been said of a request to reopen logs since it came, and whether somebody heard it.
    reopened: Option<Vec<(bool, String)>>,
    log: Log,
    termination: Termination,
    notify: Notify,
    /// Signals that were read and have not been handled.
    batch: Batch,
    /// The out-of-memory kills when the core last asked to record them.
    oom_kills: Option<u64>,
    /// Those that the end of an epoch tells of and that were not its own: another epoch may have died
    /// by them, and its end is told next.
    others_killed: u64,
    terminal: Terminal,
    /// More than the reaping of orphans was done since we were last idle.
    stirred: bool,
    /// A call that we live on has failed in this turn.
    hindered: bool,
    /// What has been said of such calls since all of them worked.
    hindrances: Vec<String>,
    exit: Option<Exit>,
}

impl Driver {
    fn serve(&mut self) -> Exit {
        // The kernel may have had something for us before the first wait. Of an epoch 0 that has
        // ended by then nobody can ask anything.
        let mut more = self.turn();
        if self.exit.is_none() {
            self.listen();
        }
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

    /// Waits for a signal, an answer, a change, a check's output, a client, or the next deadline.
    fn wait(&mut self) {
        let left = self.next_deadline().map(|deadline| deadline - sys::monotonic());
        // Rounded up, so that a deadline has passed when we wake.
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = Vec::with_capacity(6);
        fds.extend(self.watch.iter().map(|watch| PollFd::new(watch.fd(), PollFlags::POLLIN)));
        fds.push(PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
        fds.extend(self.questions.iter().filter_map(|question| question.exchange.poll_fd()));
        fds.extend(self.capture.poll_fd());
        let clients = fds.len();
        fds.extend(self.server.poll_fds());
        if mem::take(&mut self.hindered) {
            // The turn that follows looks at everything, as after any wait that told nothing.
            self.watch_stirs = self.watch.is_some();
            self.server.stir();
            return std::thread::sleep(left.unwrap_or(HINDERED_PAUSE).min(HINDERED_PAUSE));
        }
        // Nothing is under way, and that may be so for months; or not much, for a while. It is the last
        // that is done, since whatever is called after it comes back.
        if left.is_none_or(|left| left >= A_WHILE) && mem::take(&mut self.stirred) {
            sys::give_back_pages();
        }
        // An error (EINTR after SIGSTOP, want of memory) is as good as a spurious wake-up: the
        // turn that follows looks at everything anyway.
        let polled = poll(&mut fds, timeout);
        let stirs = |fd: &PollFd<'_>| polled.is_err() || fd.any().unwrap_or(true);
        self.watch_stirs |= self.watch.is_some() && fds.first().is_some_and(stirs);
        if fds[clients..].iter().any(stirs) {
            self.server.stir();
        }
        match polled {
            Ok(_) => self.hindrances.clear(),
            Err(Errno::EINTR) => {}
            Err(errno) => {
                if errno == Errno::EINVAL {
                    // More descriptors than we may have by now, and without clients there are fewer.
                    self.server.drop_all();
                }
                self.is_hindered("wait", "cannot wait for what happens", &errno.into());
            }
        }
    }

    /// A call has failed without which a turn is blind: says so once, and has the next wait be a
    /// short sleep. What the kernel keeps ready for us would have us run in circles, and of an end
    /// that could not be looked at nobody would tell us again.
    fn is_hindered(&mut self, event: &str, what: &str, error: &io::Error) {
        self.hindered = true;
        let message = format!("{what}, which is tried again and again: {error}");
        if !self.hindrances.contains(&message) {
            self.log.say(Level::Error, event, &message);
            self.hindrances.push(message);
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        let questions = self.questions.iter().map(|question| question.exchange.deadline());
        let watch = self.watch.as_ref().and_then(Watch::deadline);
        let listens = self.listens_at.map(|(next, _)| next);
        let others = [
            watch,
            listens,
            self.notify.deadline(),
            self.server.deadline(),
            self.supervisor.next_deadline(),
        ];
        questions.chain(others.into_iter().flatten()).min()
    }

    /// Takes in what there is; says whether there may be more.
    fn turn(&mut self) -> bool {
        self.take_in_signals();
        let mut more = self.take_in_exits();
        if more && !self.batch.is_empty() {
            self.take_in_ends_of_epochs();
        }
        let mut waiting = self.batch.len();
        while self.exit.is_none()
            && waiting > 0
            && let Some(signal) = self.batch.take()
        {
            if signal == Signal::CHLD {
                self.take_in_suspension();
            }
            self.stirred |= signal != Signal::CHLD;
            self.handle(Event::Signal(signal));
            waiting -= 1;
            // Hundreds may wait, and to pass one on takes long where an epoch has many processes: what
            // goes before the next one, a stop or an exit, does not wait for all of them.
            if self.is_late() {
                break;
            }
            if waiting > 0 && self.exit.is_none() {
                self.take_in_signals();
                more |= self.take_in_exits();
            }
        }
        if let Err(error) = self.capture.take_in(&mut self.log) {
            self.is_hindered("check", "cannot read what the check prints", &error);
        }
        self.take_in_answers();
        self.take_in_changes();
        self.take_in_clients();
        self.notify.retry(sys::monotonic());
        if self.is_late() {
            self.stirred = true;
            self.handle(Event::Tick);
        }
        // Between requests of clients signals are read that are not handled yet.
        more || !self.batch.is_empty()
    }

    /// Whether the core is to be told that time has passed.
    fn is_late(&self) -> bool {
        self.supervisor.next_deadline().is_some_and(|deadline| deadline <= sys::monotonic())
    }

    fn take_in_changes(&mut self) {
        let Some(watch) = &mut self.watch else {
            return;
        };
        let now = sys::monotonic();
        let taken = if mem::take(&mut self.watch_stirs) { watch.take_in(now) } else { Ok(()) };
        let changed = watch.due(now);
        if let Err(error) = taken {
            self.watch_stirs = true;
            self.is_hindered("watch", "cannot read what has changed", &error);
        }
        self.warn_of_watch();
        if let Some(path) = changed {
            self.stirred = true;
            self.handle(Event::Changed { path: path.display().to_string() });
        }
    }

    fn warn_of_watch(&mut self) {
        for warning in self.watch.iter_mut().flat_map(Watch::take_warnings) {
            self.log.say(Level::Warn, "watch", &warning);
        }
    }

    /// Reads the signals that wait, and hands those to the core that go before exits.
    fn take_in_signals(&mut self) {
        if let Err(error) = self.signals.read(&mut self.batch) {
            self.is_hindered("signals", "cannot read signals", &error);
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
                    self.is_hindered("wait", "cannot look for children that have ended", &error);
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
        self.others_killed = if let Event::Exited { out_of_memory: Some(kills), .. } = event {
            kills.saturating_sub(1)
        } else {
            0
        };
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
}
