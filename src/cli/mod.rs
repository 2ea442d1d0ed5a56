//! The command line and the environment, parsed into a configuration that can work.

mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

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

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Run a target.
    Run(Box<Config>),
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
    kind: Kind,
    help: &'static str,
}

/// What an option takes.
enum Kind {
    /// One value, which help calls so.
    Value(&'static str),
    /// Nothing; its variable takes `1`, `true`, `0` and `false`, and so does `--name=`.
    Switch,
    /// A value each time that it is given; its variable separates them with colons.
    List(&'static str),
}

const TERM_WAIT: Flag = Flag {
    name: "term-wait",
    kind: Kind::Value("S"),
    help: "Seconds from SIGTERM or SIGINT to SIGKILL [default: 30]",
};
const STOP_SIGNAL: Flag = Flag {
    name: "stop-signal",
    kind: Kind::Value("NAME"),
    help: "The signal that asks the target to end [default: TERM]",
};
const READY: Flag = Flag {
    name: "ready",
    kind: Kind::Value("PROBE"),
    help: "How an epoch is found ready: auto, none (at once), exec:COMMAND, \
           http://HOST:PORT/PATH [default: auto]",
};
const READY_TIMEOUT: Flag = Flag {
    name: "ready-timeout",
    kind: Kind::Value("S"),
    help: "Seconds after which an epoch that is not ready is warned about, or with --rollback has \
           failed [default: 120]",
};
const CHECK: Flag = Flag {
    name: "check",
    kind: Kind::Value("COMMAND"),
    help: "Run before every hot restart, which is refused unless COMMAND exits with 0",
};
const CHECK_TIMEOUT: Flag = Flag {
    name: "check-timeout",
    kind: Kind::Value("S"),
    help: "Seconds that the check may take [default: 30]",
};
const ROLLBACK: Flag = Flag {
    name: "rollback",
    kind: Kind::Switch,
    help: "A new epoch that fails before it is ready is killed, and the one before it goes on",
};
const WATCH: Flag = Flag {
    name: "watch",
    kind: Kind::List("PATH"),
    help: "A change of this file or folder is a hot restart; may be repeated",
};
const WATCH_JITTER: Flag = Flag {
    name: "watch-jitter",
    kind: Kind::Value("S"),
    help: "Seconds of random waiting at most after such a change [default: 0]",
};
const ENVOY_ADMIN: Flag = Flag {
    name: "envoy-admin",
    kind: Kind::Value("ADDR"),
    help: "Envoy's admin, HOST:PORT or unix:/path, which then says when an epoch is ready",
};
const DRAIN_TIMEOUT: Flag = Flag {
    name: "drain-timeout",
    kind: Kind::Value("S"),
    help: "Seconds that a stop may drain before it asks Envoy to end; needs --envoy-admin \
           [default: 0, no drain]",
};
const DRAIN_MIN: Flag = Flag {
    name: "drain-min",
    kind: Kind::Value("S"),
    help: "Seconds that a draining Envoy goes on serving at least [default: 6]",
};
const MIN_RESTART_INTERVAL: Flag = Flag {
    name: "min-restart-interval",
    kind: Kind::Value("S"),
    help: "Seconds from one start to the next at least [default: 0]",
};
const MAX_EPOCHS: Flag = Flag {
    name: "max-epochs",
    kind: Kind::Value("N"),
    help: "Epochs that may live at once, 2 or 3; with 2 no drain is ever cut short [default: 3]",
};
const LOG_FORMAT: Flag =
    Flag { name: "log-format", kind: Kind::Value("FORMAT"), help: "text or json [default: text]" };
const LOG_LEVEL: Flag = Flag {
    name: "log-level",
    kind: Kind::Value("LEVEL"),
    help: "error, warn, info or debug [default: info]",
};

const FLAGS: [&Flag; 16] = [
    &TERM_WAIT,
    &STOP_SIGNAL,
    &READY,
    &READY_TIMEOUT,
    &CHECK,
    &CHECK_TIMEOUT,
    &ROLLBACK,
    &MIN_RESTART_INTERVAL,
    &MAX_EPOCHS,
    &WATCH,
    &WATCH_JITTER,
    &ENVOY_ADMIN,
    &DRAIN_TIMEOUT,
    &DRAIN_MIN,
    &LOG_FORMAT,
    &LOG_LEVEL,
];

const PROGRAM: &str = "PROGRAM";

const AFTER_HELP: &str = "\
Every option can be set by a variable, HOT_RESTARTER_ and its name in capitals:
HOT_RESTARTER_TERM_WAIT=25. The command line wins.

$(RESTART_EPOCH) in an argument of PROGRAM or COMMAND becomes the number of the epoch,
which both also find in the variable RESTART_EPOCH. COMMAND is one string, split like a
shell's words and run without a shell.

Signals: TERM, INT stop cleanly; HUP hot restarts; USR1 reopens logs.
Exit codes: 0 clean; 1 something had to be killed; 2 bad usage; N or 128 + signal, an epoch's
own, when it ended unexpectedly; 125 our failure; 126, 127 PROGRAM cannot be executed, does
not exist; 130 Ctrl-C ended it.";

/// The definition of the command line, which man page and completions are made from.
pub fn command() -> Command {
    let flags = FLAGS.map(|Flag { name, kind, help }| {
        let flag = Arg::new(*name).long(*name).help(*help).value_parser(value_parser!(OsString));
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
        "--rollback has to know when an epoch is ready, and with --ready none each is at once"
    );
    let least = if policy.readiness == Readiness::Auto { SETTLING } else { Duration::ZERO };
    ensure!(
        !policy.rollback || policy.ready_timeout > least,
        "--rollback leaves a new epoch no time: it needs a --ready-timeout of more than {} s",
        least.as_secs()
    );
    ensure!(
        policy.check_timeout.is_none_or(|timeout| !timeout.is_zero()),
        "--check leaves no time for the check: it needs a --check-timeout of more than 0 s"
    );
    let watch = settings.list(&WATCH)?;
    let watch_jitter = settings.read(&WATCH_JITTER, values::seconds)?.unwrap_or_default();
    let log_format = settings.read(&LOG_FORMAT, values::log_format)?.unwrap_or(Format::Text);
    let log_level = settings.read(&LOG_LEVEL, values::log_level)?.unwrap_or(Level::Info);
    let words: Vec<OsString> =
        matches.get_many(PROGRAM).map(|words| words.cloned().collect()).unwrap_or_default();
    ensure!(words.first().is_some_and(|program| !program.is_empty()), "PROGRAM is empty");
    Ok(Invocation::Run(Box::new(Config {
        words,
        policy,
        check,
        probe,
        url,
        admin,
        watch,
        watch_jitter,
        log_format,
        log_level,
        warnings,
    })))
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

    /// How long a stop drains, if it does.
    fn drain(&self, term_wait: Duration, admin: bool) -> Result<Option<DrainTime>> {
        let timeout = self.read(&DRAIN_TIMEOUT, values::seconds)?;
        let min = self.read(&DRAIN_MIN, values::seconds)?;
        let Some(timeout) = timeout else {
            ensure!(min.is_none(), "--drain-min without a drain: it needs a --drain-timeout");
            return Ok(None);
        };
        if timeout.is_zero() {
            return Ok(None);
        }
        ensure!(admin, "--drain-timeout needs an --envoy-admin that can be told to drain");
        ensure!(
            timeout + AFTER_DRAIN <= term_wait,
            "--drain-timeout counts towards --term-wait, and leaves Envoy no time to end: it may \
             be --term-wait less {} s at most",
            AFTER_DRAIN.as_secs()
        );
        let least = min.unwrap_or(DRAIN_LEAST.min(timeout));
        ensure!(least <= timeout, "--drain-min is more than --drain-timeout");
        Ok(Some(DrainTime { timeout, min: least }))
    }

    /// The paths of an option that may be repeated.
    fn list(&self, flag: &Flag) -> Result<Vec<PathBuf>> {
        let given = self.matches.get_many::<OsString>(flag.name);
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
mod tests {
    use std::path::Path;

    use super::*;

    fn parsed(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Invocation> {
        let program = std::iter::once(OsString::from("hot-restarter"));
        let arguments = program.chain(arguments.iter().map(OsString::from)).collect();
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        parse(arguments, variables)
    }

    fn config(arguments: &[&str], variables: &[(&str, &str)]) -> Config {
        match parsed(arguments, variables).expect("it is good usage") {
            Invocation::Run(config) => *config,
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
    fn commands_are_split_like_a_shells_words() {
        let options = ["--check", r#"a 'b  c' d\ e "$(RESTART_EPOCH)" """#, "--ready", "exec:f g"];
        let config = config(&[&options[..], &["x"]].concat(), &[]);
        assert_eq!(config.check.expect("a check"), ["a", "b  c", "d e", "$(RESTART_EPOCH)", ""]);
        assert_eq!(config.probe.expect("a probe"), ["f", "g"]);
        assert_eq!(config.policy.readiness, Readiness::Command);
        assert_eq!(config.policy.check_timeout, Some(Duration::from_secs(30)));
    }

    #[test]
    fn without_a_check_there_is_nothing_to_time() {
        assert_eq!(config(&["--check-timeout", "0", "x"], &[]).policy.check_timeout, None);
    }

    #[test]
    fn a_switch_is_on_by_its_name_alone() {
        let rollback = |arguments: &[&str], value: &str| {
            config(arguments, &[("HOT_RESTARTER_ROLLBACK", value)]).policy.rollback
        };
        assert!(rollback(&["--rollback", "x"], "0"));
        assert!(rollback(&["--rollback=1", "x"], "0"));
        assert!(!rollback(&["--rollback=0", "x"], "1"));
        assert!(!rollback(&["x"], "false"));
        assert!(!rollback(&["x"], ""));
        // What follows is the program, and no value.
        assert_eq!(config(&["--rollback", "true"], &[]).words, ["true"]);
    }

    #[test]
    fn paths_come_from_either() {
        let variables = [("HOT_RESTARTER_WATCH", "/a:b")];
        assert_eq!(config(&["x"], &variables).watch, [Path::new("/a"), Path::new("b")]);
        let repeated = ["--watch", "/c:d", "--watch=e", "x"];
        assert_eq!(config(&repeated, &variables).watch, [Path::new("/c:d"), Path::new("e")]);
    }

    #[test]
    fn an_admin_decides_unless_another_probe_is_named() {
        let admin = ["--envoy-admin", "localhost:9901"];
        for (ready, expected) in [
            ("auto", Readiness::Admin),
            ("none", Readiness::None),
            ("exec:true", Readiness::Command),
            ("http://localhost/", Readiness::Http),
        ] {
            let policy = config(&[&admin[..], &["--ready", ready, "x"]].concat(), &[]).policy;
            assert_eq!((policy.readiness, policy.admin), (expected, true));
        }
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
            (vec!["--ready", "maybe", "x"], "--ready: none of auto, none, exec:"),
            (vec!["--ready", "exec:", "x"], "--ready: no program in it"),
            (vec!["--ready", "http://envoy/", "x"], "--ready: \"envoy\" is neither an IP"),
            (vec!["--envoy-admin", "9901", "x"], "--envoy-admin: neither HOST:PORT"),
            (vec!["--check", "a 'b", "x"], "--check: missing closing quote"),
            (vec!["--check", "''", "x"], "--check: no program in it"),
            (vec!["--check", "a", "--check-timeout", "0.0", "x"], "a --check-timeout of more"),
            (vec!["--rollback=maybe", "x"], "--rollback: none of 1, true, 0"),
            (vec!["--rollback", "--ready-timeout", "1.0", "x"], "a --ready-timeout of more"),
            (
                vec!["--rollback", "--ready", "exec:a", "--ready-timeout", "0", "x"],
                "a --ready-timeout of more than 0 s",
            ),
            (vec!["--rollback", "--ready", "none", "x"], "with --ready none each is at once"),
            (vec!["--watch", "", "x"], "an empty path for --watch"),
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
