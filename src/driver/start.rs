//! The way in: from the arguments to a loop that runs, or to one clear sentence.

use std::ffi::OsString;
use std::io;
use std::mem;

use nix::sys::prctl;

use super::Driver;
use super::capture::Capture;
use crate::cli::{self, Config, Invocation};
use crate::control::client;
use crate::control::server::Server;
use crate::control::socket;
use crate::control::status::History;
use crate::envoy::Envoys;
use crate::exit::Exit;
use crate::log::{self, Log};
use crate::notify::Notify;
use crate::program::{Launcher, Program};
use crate::supervisor::{Batch, Event, Level, StartFailure, Supervisor};
use crate::sys::{self, Inherited, SignalFd};
use crate::terminal::Terminal;
use crate::termination::{self, Termination};
use crate::watch::Watch;

/// The whole program, from the arguments to the exit code.
pub fn run(signals: io::Result<(SignalFd, Inherited)>, arguments: &[OsString]) -> u8 {
    // Unwinding would leave PID 1 without a loop; say it and end, and the kernel ends the rest.
    let given = arguments.to_owned();
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
    let path = config.termination_log.clone();
    sys::set_last_words(move |line| drop(termination::put(path.as_deref(), line)));
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
pub(super) struct Programs {
    pub(super) target: Program,
    pub(super) check: Option<Program>,
    pub(super) probe: Option<Program>,
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
