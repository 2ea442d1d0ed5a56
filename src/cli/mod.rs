//! The command line and the environment, parsed into a configuration that can work.

mod flags;
mod send;
mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use self::flags::{
    CHECK, CHECK_TIMEOUT, CONTROL, DRAIN_MIN, DRAIN_TIMEOUT, ENVOY_ADMIN, FLAGS, Flag, Kind,
    LOG_FORMAT, LOG_LEVEL, MAX_EPOCHS, MIN_RESTART_INTERVAL, READY, READY_TIMEOUT, ROLLBACK,
    STOP_SIGNAL, TERM_WAIT, TERMINATION_LOG, WATCH, WATCH_JITTER,
};
pub use self::send::Errand;
pub use self::values::Control;
use self::values::Probe;
use crate::http::{Address, Url};
use crate::log::Format;
use crate::signal::Signal;
use crate::supervisor::{DrainTime, Level, Policy, Readiness, SETTLING};

/// Every option has a variable of this prefix and its name in capitals.
const PREFIX: &str = "HOT_RESTARTER_";

/// What `--term-wait` has at least for what comes after a drain.
const AFTER_DRAIN: Duration = Duration::from_secs(5);
/// `--drain-min`, unless it is given: an Envoy that was told closes a connection 5 s after its next
/// answer (measured with 1.40.0).
const DRAIN_LEAST: Duration = Duration::from_secs(6);

/// The longest path of a Unix socket: `sun_path` holds 108 bytes, a zero included (unix(7)).
const CONTROL_LIMIT: usize = 107;

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Run a target.
    Run(Box<Config>),
    /// Ask a restarter that runs for something.
    Send(Errand),
    /// Print this text and end: `--help`, `--version`.
    Print(String),
}

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// PROGRAM and its arguments.
    pub words: Vec<OsString>,
    /// What the core is to do.
    pub policy: Policy,
    /// The words of `--check`.
    pub check: Option<Vec<OsString>>,
    /// The words of `--ready exec:`.
    pub probe: Option<Vec<OsString>>,
    /// What `--ready http:` asks.
    pub url: Option<Url>,
    /// Where Envoy's admin is.
    pub admin: Option<Address>,
    /// What is watched.
    pub watch: Vec<PathBuf>,
    /// At most so long is waited after a change.
    pub watch_jitter: Duration,
    /// Where clients are listened to.
    pub control: Control,
    /// Where the reason of a bad end goes, if not to the usual place.
    pub termination_log: Option<PathBuf>,
    /// How lines are written.
    pub log_format: Format,
    /// Which lines are written.
    pub log_level: Level,
    /// What is odd and does not keep us from working.
    pub warnings: Vec<String>,
}

const PROGRAM: &str = "PROGRAM";

const USAGE: &str = "\
hot-restarter [OPTIONS] [--] PROGRAM [ARG]...
       hot-restarter --send COMMAND [--wait] [--timeout S] [--json] [--control PATH]";

const AFTER_HELP: &str = "\
Every option can be set by a variable, HOT_RESTARTER_ and its name in capitals:
HOT_RESTARTER_TERM_WAIT=25. The command line wins.

$(RESTART_EPOCH) in an argument of PROGRAM or COMMAND becomes the number of the epoch,
which both also find in the variable RESTART_EPOCH. COMMAND is one string, split like a
shell's words and run without a shell.

Signals: TERM, INT stop cleanly; HUP hot restarts; USR1 reopens logs.
Exit codes: 0 clean; 1 something had to be killed; 2 bad usage; N or 128 + signal, an epoch's
own, when it ended unexpectedly; 125 our failure; 126, 127 PROGRAM cannot be executed, does
not exist; 130 Ctrl-C ended it.
With --send: 0 done; 1 refused, failed, unhealthy, or not done in time; 2 bad usage; 3 no
restarter answers.";

/// How wide help may be, and how far from the left it says what an option does.
const HELP_WIDTH: usize = 100;
const HELP_INDENT: usize = 34;

/// The definition of the command line, which man page and completions are made from.
pub fn command() -> Command {
    let flags = FLAGS.map(|Flag { name, kind, help }| {
        let flag =
            Arg::new(*name).long(*name).help(wrapped(help)).value_parser(value_parser!(OsString));
        match kind {
            Kind::Value(value) => flag.value_name(*value).allow_negative_numbers(true),
            Kind::List(value) => flag.value_name(*value).action(ArgAction::Append),
            Kind::Switch => flag
                .value_name("BOOL")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true"),
        }
    });
    Command::new("hot-restarter")
        .version(env!("CARGO_PKG_VERSION"))
        .about("PID 1 for Envoy: hot restarts it on SIGHUP, reaps orphans, stops cleanly")
        .override_usage(USAGE)
        .after_help(AFTER_HELP)
        .args(flags)
        .args(send::arguments())
        .arg(
            Arg::new(PROGRAM)
                .value_name("PROGRAM [ARG]")
                .help("The target, usually a start script that ends in `exec envoy ...`")
                .num_args(1..)
                .required_unless_present_any(send::NAMES)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString)),
        )
}

/// What an option does, in lines that fit. clap's own way would be a crate that asks the terminal.
fn wrapped(help: &str) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in help.split(' ') {
        if width + word.len() > HELP_WIDTH - HELP_INDENT {
            lines.push('\n');
            width = 0;
        } else if width > 0 {
            lines.push(' ');
        }
        lines.push_str(word);
        width += word.len() + 1;
    }
    lines
}

/// Parses what we were started with. An error is bad usage, told in one sentence.
pub fn parse(
    arguments: &[OsString],
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Invocation> {
    let (variables, warnings) = variables(environment);
    if let Some(words) = without_options(arguments) {
        let settings = Settings { matches: None, variables };
        return config(&settings, words.to_vec(), warnings);
    }
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return Ok(Invocation::Print(error.to_string())),
        Err(error) => return Err(usage(&error)),
    };
    let settings = Settings { matches: Some(&matches), variables };
    if let Some(errand) = send::errand(&matches, &settings)? {
        return Ok(Invocation::Send(errand));
    }
    let words: Vec<OsString> =
        matches.get_many(PROGRAM).map(|words| words.cloned().collect()).unwrap_or_default();
    ensure!(words.first().is_some_and(|program| !program.is_empty()), "PROGRAM is empty");
    config(&settings, words, warnings)
}

/// PROGRAM and its arguments, where no option stands before them, as in most images: a parser is
/// not even set up then, which would take as long as half of all that we do before the first fork.
fn without_options(arguments: &[OsString]) -> Option<&[OsString]> {
    let words = arguments.get(1..)?;
    let program = words.first()?.as_encoded_bytes();
    (!program.is_empty() && !program.starts_with(b"-")).then_some(words)
}

/// What was set, checked as a whole.
fn config(
    settings: &Settings<'_>,
    words: Vec<OsString>,
    warnings: Vec<String>,
) -> Result<Invocation> {
    let (readiness, probe, url) = match settings.read(&READY, values::probe)?.unwrap_or(Probe::Auto)
    {
        Probe::Auto => (Readiness::Auto, None, None),
        Probe::None => (Readiness::None, None, None),
        Probe::Command(words) => (Readiness::Command, Some(words), None),
        Probe::Http(url) => (Readiness::Http, None, Some(url)),
    };
    let admin = settings.read(&ENVOY_ADMIN, str::parse)?;
    let check = settings.read(&CHECK, values::command_words)?;
    let check_timeout =
        settings.read(&CHECK_TIMEOUT, values::seconds)?.unwrap_or(Duration::from_secs(30));
    let term_wait = settings.read(&TERM_WAIT, values::seconds)?.unwrap_or(Duration::from_secs(30));
    let policy = Policy {
        term_wait,
        drain: settings.drain(term_wait, admin.is_some())?,
        stop_signal: settings.read(&STOP_SIGNAL, values::stop_signal)?.unwrap_or(Signal::TERM),
        readiness: if readiness == Readiness::Auto && admin.is_some() {
            Readiness::Admin
        } else {
            readiness
        },
        admin: admin.is_some(),
        ready_timeout: settings
            .read(&READY_TIMEOUT, values::seconds)?
            .unwrap_or(Duration::from_secs(120)),
        check_timeout: check.is_some().then_some(check_timeout),
        rollback: settings.read(&ROLLBACK, values::switch)?.unwrap_or(false),
        min_restart_interval: settings
            .read(&MIN_RESTART_INTERVAL, values::seconds)?
            .unwrap_or_default(),
        max_epochs: settings.read(&MAX_EPOCHS, values::max_epochs)?.unwrap_or(3),
    };
    ensure!(
        !policy.rollback || policy.readiness != Readiness::None,
        "--rollback has to know when an epoch is ready, and with {} each is at once",
        settings.given(&READY)
    );
    let least = if policy.readiness == Readiness::Auto { SETTLING } else { Duration::ZERO };
    ensure!(
        !policy.rollback || policy.ready_timeout > least,
        "--rollback leaves a new epoch no time: {} must be more than {} s",
        settings.given(&READY_TIMEOUT),
        least.as_secs()
    );
    ensure!(
        policy.check_timeout.is_none_or(|timeout| !timeout.is_zero()),
        "{} leaves the check no time",
        settings.given(&CHECK_TIMEOUT)
    );
    let watch = settings.list(&WATCH)?;
    let watch_jitter = settings.read(&WATCH_JITTER, values::seconds)?.unwrap_or_default();
    let control = settings.control()?;
    let termination_log = settings.path(&TERMINATION_LOG)?;
    let log_format = settings.read(&LOG_FORMAT, values::log_format)?.unwrap_or(Format::Text);
    let log_level = settings.read(&LOG_LEVEL, values::log_level)?.unwrap_or(Level::Info);
    Ok(Invocation::Run(Box::new(Config {
        words,
        policy,
        check,
        probe,
        url,
        admin,
        watch,
        watch_jitter,
        control,
        termination_log,
        log_format,
        log_level,
        warnings,
    })))
}

/// `--termination-log`, also of a command line that makes no sense: as far as it can be read, and
/// its variable otherwise.
pub fn termination_log(
    arguments: &[OsString],
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Option<PathBuf> {
    let matches = as_far_as_possible(arguments);
    let settings = Settings { matches: matches.as_ref(), variables: variables(environment).0 };
    settings.path(&TERMINATION_LOG).ok().flatten()
}

/// `--control`, likewise: where a restarter that runs here is likely to listen.
pub fn control(
    arguments: &[OsString],
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Control {
    let matches = as_far_as_possible(arguments);
    let settings = Settings { matches: matches.as_ref(), variables: variables(environment).0 };
    settings.control().unwrap_or(Control::Usual)
}

/// What a command line says before its mistake. A `--help` behind that is none, or it would be all.
fn as_far_as_possible(arguments: &[OsString]) -> Option<ArgMatches> {
    let command = command().ignore_errors(true);
    let command = command.disable_help_flag(true).disable_version_flag(true);
    command.try_get_matches_from(arguments).ok()
}

/// Whether this is the command line of a client, also one that makes no sense.
pub fn is_client(arguments: &[OsString]) -> bool {
    send::is_meant(arguments)
}

/// clap's own sentence, without its decoration.
fn usage(error: &clap::Error) -> anyhow::Error {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    if error.kind() == clap::error::ErrorKind::MissingRequiredArgument {
        return anyhow!("no program to run; usage: hot-restarter [OPTIONS] [--] PROGRAM [ARG]...");
    }
    anyhow!("{first}; hot-restarter --help lists the options")
}

/// The variables that are ours, by the name of their option, and warnings about those that look
/// as if they were.
fn variables(
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> (BTreeMap<&'static str, OsString>, Vec<String>) {
    let mut variables = BTreeMap::new();
    let mut warnings = Vec::new();
    for (name, value) in environment {
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let flag = FLAGS.iter().find(|flag| variable_name(flag) == rest);
        match flag {
            // As an image or a template writes one that is not set.
            Some(_) if value.is_empty() => {}
            Some(flag) => {
                variables.insert(flag.name, value);
            }
            None if is_of_kubernetes(rest) => {}
            None => warnings.push(format!("{PREFIX}{rest} is no variable of ours; it is ignored")),
        }
    }
    (variables, warnings)
}

fn variable_name(flag: &Flag) -> String {
    flag.name.to_ascii_uppercase().replace('-', "_")
}

/// A Service whose name begins with ours makes kubelet set such variables in every pod.
fn is_of_kubernetes(rest: &str) -> bool {
    let rest = format!("_{rest}");
    rest.contains("_PORT") || rest.contains("_SERVICE_")
}

/// What was set, wherever it was.
struct Settings<'a> {
    /// `None` where the command line sets nothing, or nothing of it can be read.
    matches: Option<&'a ArgMatches>,
    variables: BTreeMap<&'static str, OsString>,
}

impl Settings<'_> {
    /// The value that the command line gives to an option.
    fn option(&self, flag: &Flag) -> Option<&OsString> {
        self.matches?.get_one(flag.name)
    }

    /// The value of an option: the command line's, else the environment's. Errors name the one
    /// that is at fault.
    fn read<T>(&self, flag: &Flag, parse: impl Fn(&str) -> Result<T>) -> Result<Option<T>> {
        let (value, place) = if let Some(value) = self.option(flag) {
            (value, format!("--{}", flag.name))
        } else if let Some(value) = self.variables.get(flag.name) {
            (value, format!("{PREFIX}{}", variable_name(flag)))
        } else {
            return Ok(None);
        };
        let bad = || format!("bad value {:?} for {place}", value.to_string_lossy());
        let text = value.to_str().context("it is not UTF-8").with_context(bad)?;
        parse(text).with_context(bad).map(Some)
    }

    /// An option as it was given, for an error that is about its value.
    fn given(&self, flag: &Flag) -> String {
        if let Some(value) = self.option(flag) {
            format!("--{} {}", flag.name, value.display())
        } else if let Some(value) = self.variables.get(flag.name) {
            format!("{PREFIX}{}={}", variable_name(flag), value.display())
        } else {
            format!("the default of --{}", flag.name)
        }
    }

    /// How long a stop drains, if it does.
    fn drain(&self, term_wait: Duration, admin: bool) -> Result<Option<DrainTime>> {
        let timeout = self.read(&DRAIN_TIMEOUT, values::seconds)?;
        let min = self.read(&DRAIN_MIN, values::seconds)?;
        let Some(timeout) = timeout else {
            ensure!(
                min.is_none(),
                "{} is of no use without a --drain-timeout",
                self.given(&DRAIN_MIN)
            );
            return Ok(None);
        };
        if timeout.is_zero() {
            return Ok(None);
        }
        let [drains, waits] = [&DRAIN_TIMEOUT, &TERM_WAIT].map(|flag| self.given(flag));
        ensure!(admin, "{drains} needs an --envoy-admin, which is told to drain");
        ensure!(
            timeout + AFTER_DRAIN <= term_wait,
            "{drains} counts towards {waits}, which must be {} s at least for Envoy to end",
            (timeout + AFTER_DRAIN).as_millis().div_ceil(1000)
        );
        let least = min.unwrap_or(DRAIN_LEAST.min(timeout));
        ensure!(least <= timeout, "{} is more than {drains}", self.given(&DRAIN_MIN));
        Ok(Some(DrainTime { timeout, min: least }))
    }

    /// The path of an option.
    fn path(&self, flag: &Flag) -> Result<Option<PathBuf>> {
        let given = self.option(flag);
        ensure!(given.is_none_or(|path| !path.is_empty()), "an empty path for --{}", flag.name);
        Ok(given.or_else(|| self.variables.get(flag.name)).map(PathBuf::from))
    }

    /// Where the control socket is.
    fn control(&self) -> Result<Control> {
        let Some(path) = self.path(&CONTROL)? else {
            return Ok(Control::Usual);
        };
        if path.as_os_str() == "none" {
            return Ok(Control::None);
        }
        ensure!(
            path.as_os_str().len() <= CONTROL_LIMIT,
            "{} is too long: the path of a socket has {CONTROL_LIMIT} bytes at most",
            self.given(&CONTROL)
        );
        Ok(Control::At(path))
    }

    /// The paths of an option that may be repeated.
    fn list(&self, flag: &Flag) -> Result<Vec<PathBuf>> {
        let given = self.matches.and_then(|matches| matches.get_many::<OsString>(flag.name));
        let paths: Vec<PathBuf> = match (given, self.variables.get(flag.name)) {
            (Some(given), _) => given.map(PathBuf::from).collect(),
            (None, Some(variable)) => std::env::split_paths(variable).collect(),
            (None, None) => Vec::new(),
        };
        ensure!(
            paths.iter().all(|path| !path.as_os_str().is_empty()),
            "an empty path for --{} or {PREFIX}{}",
            flag.name,
            variable_name(flag)
        );
        Ok(paths)
    }
}

#[cfg(test)]
mod tests;
