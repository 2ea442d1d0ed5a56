//! The command line and the environment, parsed into a configuration that can work.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::log::Format;
use crate::signal::{Meaning, Signal};
use crate::supervisor::{Level, Policy, Readiness};

/// Every option has a variable of this prefix and its name in capitals.
const PREFIX: &str = "HOT_RESTARTER_";

/// The longest time that an option takes: a week. What is longer was meant to be something else.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Run a target.
    Run(Config),
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
    /// How lines are written.
    pub log_format: Format,
    /// Which lines are written.
    pub log_level: Level,
    /// What is odd and does not keep us from working.
    pub warnings: Vec<String>,
}

/// One option: everything that help, environment and errors need to know of it.
struct Flag {
    name: &'static str,
    value: &'static str,
    help: &'static str,
}

const TERM_WAIT: Flag = Flag {
    name: "term-wait",
    value: "S",
    help: "Seconds from SIGTERM or SIGINT to SIGKILL [default: 30]",
};
const STOP_SIGNAL: Flag = Flag {
    name: "stop-signal",
    value: "NAME",
    help: "The signal that asks the target to end [default: TERM]",
};
const READY: Flag = Flag {
    name: "ready",
    value: "PROBE",
    help: "How an epoch is found ready: auto, or none (at once) [default: auto]",
};
const READY_TIMEOUT: Flag = Flag {
    name: "ready-timeout",
    value: "S",
    help: "Seconds after which an epoch that is not ready is warned about [default: 120]",
};
const MIN_RESTART_INTERVAL: Flag = Flag {
    name: "min-restart-interval",
    value: "S",
    help: "Seconds from one start to the next at least [default: 0]",
};
const MAX_EPOCHS: Flag = Flag {
    name: "max-epochs",
    value: "N",
    help: "Epochs that may live at once, 2 or 3; with 2 no drain is ever cut short [default: 3]",
};
const LOG_FORMAT: Flag =
    Flag { name: "log-format", value: "FORMAT", help: "text or json [default: text]" };
const LOG_LEVEL: Flag =
    Flag { name: "log-level", value: "LEVEL", help: "error, warn, info or debug [default: info]" };

const FLAGS: [&Flag; 8] = [
    &TERM_WAIT,
    &STOP_SIGNAL,
    &READY,
    &READY_TIMEOUT,
    &MIN_RESTART_INTERVAL,
    &MAX_EPOCHS,
    &LOG_FORMAT,
    &LOG_LEVEL,
];

const PROGRAM: &str = "PROGRAM";

const AFTER_HELP: &str = "\
Every option can be set by a variable, HOT_RESTARTER_ and its name in capitals:
HOT_RESTARTER_TERM_WAIT=25. The command line wins.

$(RESTART_EPOCH) in an argument of PROGRAM becomes the number of the epoch, which
PROGRAM also finds in the variable RESTART_EPOCH.

Signals: TERM, INT stop cleanly; HUP hot restarts; USR1 reopens logs.
Exit codes: 0 clean; 1 something had to be killed; 2 bad usage; N or 128 + signal, an epoch's
own, when it ended unexpectedly; 125 our failure; 126, 127 PROGRAM cannot be executed, does
not exist; 130 Ctrl-C ended it.";

/// The definition of the command line, which man page and completions are made from.
pub fn command() -> Command {
    let flags = FLAGS.map(|Flag { name, value, help }| {
        Arg::new(*name)
            .long(*name)
            .value_name(*value)
            .help(*help)
            .allow_negative_numbers(true)
            .value_parser(value_parser!(OsString))
    });
    Command::new("hot-restarter")
        .version(env!("CARGO_PKG_VERSION"))
        .about("PID 1 for Envoy: hot restarts it on SIGHUP, reaps orphans, stops cleanly")
        .override_usage("hot-restarter [OPTIONS] [--] PROGRAM [ARG]...")
        .after_help(AFTER_HELP)
        .args(flags)
        .arg(
            Arg::new(PROGRAM)
                .value_name("PROGRAM [ARG]")
                .help("The target, usually a start script that ends in `exec envoy ...`")
                .num_args(1..)
                .required(true)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString)),
        )
}

/// Parses what we were started with. An error is bad usage, told in one sentence.
pub fn parse(
    arguments: Vec<OsString>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Invocation> {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return Ok(Invocation::Print(error.to_string())),
        Err(error) => return Err(usage(&error)),
    };
    let (variables, warnings) = variables(environment);
    let settings = Settings { matches: &matches, variables };
    let policy = Policy {
        term_wait: settings.read(&TERM_WAIT, seconds)?.unwrap_or(Duration::from_secs(30)),
        stop_signal: settings.read(&STOP_SIGNAL, stop_signal)?.unwrap_or(Signal::TERM),
        readiness: settings.read(&READY, readiness)?.unwrap_or(Readiness::Auto),
        ready_timeout: settings.read(&READY_TIMEOUT, seconds)?.unwrap_or(Duration::from_secs(120)),
        min_restart_interval: settings.read(&MIN_RESTART_INTERVAL, seconds)?.unwrap_or_default(),
        max_epochs: settings.read(&MAX_EPOCHS, max_epochs)?.unwrap_or(3),
    };
    let log_format = settings.read(&LOG_FORMAT, log_format)?.unwrap_or(Format::Text);
    let log_level = settings.read(&LOG_LEVEL, log_level)?.unwrap_or(Level::Info);
    let words: Vec<OsString> =
        matches.get_many(PROGRAM).map(|words| words.cloned().collect()).unwrap_or_default();
    ensure!(words.first().is_some_and(|program| !program.is_empty()), "PROGRAM is empty");
    Ok(Invocation::Run(Config { words, policy, log_format, log_level, warnings }))
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
    matches: &'a ArgMatches,
    variables: BTreeMap<&'static str, OsString>,
}

impl Settings<'_> {
    /// The value of an option: the command line's, else the environment's. Errors name the one
    /// that is at fault.
    fn read<T>(&self, flag: &Flag, parse: impl Fn(&str) -> Result<T>) -> Result<Option<T>> {
        let (value, place) = if let Some(value) = self.matches.get_one::<OsString>(flag.name) {
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
}

/// Seconds, with a fraction of up to nine digits. By hand, since the conversion of floating-point
/// numbers would be a thirtieth of the binary.
fn seconds(text: &str) -> Result<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    ensure!(digits(whole) && digits(fraction), "not a number of seconds, as 30 or 0.5 is");
    ensure!(fraction.len() <= 9, "finer than a nanosecond");
    // What is too long for a number is too long for us.
    let seconds = whole.parse().unwrap_or(u64::MAX);
    let nanos = format!("{fraction:0<9}").parse().expect("nine digits");
    let time = Duration::new(seconds, nanos);
    ensure!(time <= LONGEST, "more than a week ({} s)", LONGEST.as_secs());
    Ok(time)
}

fn stop_signal(text: &str) -> Result<Signal> {
    let signal: Signal = text.parse()?;
    ensure!(signal.meaning() != Meaning::Uncatchable, "{signal} cannot be caught by the target");
    Ok(signal)
}

fn readiness(text: &str) -> Result<Readiness> {
    match text {
        "auto" => Ok(Readiness::Auto),
        "none" => Ok(Readiness::None),
        later if later.starts_with("exec:") || later.starts_with("http:") => {
            bail!("exec: and http: probes are not in this version yet; auto and none are")
        }
        _ => bail!("neither auto nor none"),
    }
}

fn max_epochs(text: &str) -> Result<usize> {
    match text {
        "2" => Ok(2),
        "3" => Ok(3),
        _ => bail!("neither 2 nor 3, and Envoy allows no more"),
    }
}

fn log_format(text: &str) -> Result<Format> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => bail!("neither text nor json"),
    }
}

fn log_level(text: &str) -> Result<Level> {
    [Level::Error, Level::Warn, Level::Info, Level::Debug]
        .into_iter()
        .find(|level| level.as_str() == text)
        .context("none of error, warn, info and debug")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Invocation> {
        let program = std::iter::once(OsString::from("hot-restarter"));
        let arguments = program.chain(arguments.iter().map(OsString::from)).collect();
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        parse(arguments, variables)
    }

    fn config(arguments: &[&str], variables: &[(&str, &str)]) -> Config {
        match parsed(arguments, variables).expect("it is good usage") {
            Invocation::Run(config) => config,
            Invocation::Print(text) => panic!("it printed {text}"),
        }
    }

    fn refusal(arguments: &[&str], variables: &[(&str, &str)]) -> String {
        format!("{:#}", parsed(arguments, variables).expect_err("it is bad usage"))
    }

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_program_alone_is_enough() {
        let config = config(&["start_envoy.sh"], &[]);
        assert_eq!(config.words, ["start_envoy.sh"]);
        assert_eq!(config.policy.term_wait, Duration::from_secs(30));
        assert_eq!(config.policy.max_epochs, 3);
        assert!(config.warnings.is_empty());
    }

    #[test]
    fn what_follows_the_program_is_its_own() {
        let words = ["envoy", "--term-wait", "1", "--", "-c", "x", "--help"];
        assert_eq!(config(&words, &[]).words, words);
        let with_dashes = ["--term-wait=2.5", "--", "envoy", "--version"];
        let config = config(&with_dashes, &[]);
        assert_eq!(config.words, ["envoy", "--version"]);
        assert_eq!(config.policy.term_wait, Duration::from_millis(2500));
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let variables = [("HOT_RESTARTER_TERM_WAIT", "7"), ("HOT_RESTARTER_LOG_FORMAT", "json")];
        let config = config(&["--term-wait", "3", "x"], &variables);
        assert_eq!(config.policy.term_wait, Duration::from_secs(3));
        assert_eq!(config.log_format, Format::Json);
    }

    #[test]
    fn an_empty_variable_is_one_that_is_not_set() {
        let config = config(&["x"], &[("HOT_RESTARTER_TERM_WAIT", "")]);
        assert_eq!(config.policy.term_wait, Duration::from_secs(30));
    }

    #[test]
    fn unknown_variables_are_warned_about_unless_kubernetes_sets_them() {
        let variables = [
            ("HOT_RESTARTER_TERMWAIT", "7"),
            ("HOT_RESTARTER_SERVICE_HOST", "10.0.0.1"),
            ("HOT_RESTARTER_PORT_10000_TCP", "tcp://10.0.0.1:10000"),
            ("HOT_RESTARTER_ADMIN_SERVICE_PORT", "80"),
        ];
        let warnings = config(&["x"], &variables).warnings;
        assert_eq!(warnings, ["HOT_RESTARTER_TERMWAIT is no variable of ours; it is ignored"]);
    }

    #[test]
    fn refusals_name_what_is_at_fault() {
        let cases = [
            (vec![], "no program to run"),
            (vec![""], "PROGRAM is empty"),
            (vec!["--bogus", "x"], "'--bogus'"),
            (vec!["--term-wait"], "--term-wait"),
            (vec!["--term-wait", "soon", "x"], "--term-wait: not a number"),
            (vec!["--term-wait=-1", "x"], "--term-wait: not a number"),
            (vec!["--term-wait", "-1", "x"], "--term-wait: not a number"),
            (vec!["--term-wait", "nan", "x"], "--term-wait: not a number"),
            (vec!["--term-wait", "1.", "x"], "--term-wait: not a number"),
            (vec!["--term-wait", "1e3", "x"], "--term-wait: not a number"),
            (vec!["--term-wait", "0.0000000001", "x"], "--term-wait: finer than"),
            (vec!["--term-wait", "604800.1", "x"], "--term-wait: more than a week"),
            (vec!["--term-wait", "99999999999999999999", "x"], "--term-wait: more than a week"),
            (vec!["--stop-signal", "KILL", "x"], "SIGKILL cannot be caught"),
            (vec!["--stop-signal", "SIGFOO", "x"], "no such signal"),
            (vec!["--ready", "exec:true", "x"], "not in this version yet"),
            (vec!["--ready", "maybe", "x"], "neither auto nor none"),
            (vec!["--max-epochs", "4", "x"], "neither 2 nor 3"),
            (vec!["--log-level", "loud", "x"], "none of error, warn"),
        ];
        for (arguments, expected) in cases {
            let refusal = refusal(&arguments, &[]);
            assert!(refusal.contains(expected), "{arguments:?}: {refusal}");
            assert_eq!(refusal.lines().count(), 1, "{refusal}");
        }
        let variable = refusal(&["x"], &[("HOT_RESTARTER_MAX_EPOCHS", "1")]);
        assert!(variable.contains("\"1\" for HOT_RESTARTER_MAX_EPOCHS"), "{variable}");
    }
}
