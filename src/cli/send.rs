//! The client's part of the command line.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::flags::{CONTROL, FLAGS, Kind};
use super::{Control, PROGRAM, Settings, values};
use crate::control::wire::Command;

pub(super) const SEND: &str = "send";
const WAIT: &str = "wait";
const TIMEOUT: &str = "timeout";
const JSON: &str = "json";
/// All of them.
pub(super) const NAMES: [&str; 4] = [SEND, WAIT, TIMEOUT, JSON];

/// What a restarter that runs is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// For what.
    pub command: Command,
    /// Whether to return only when it is done.
    pub wait: bool,
    /// After which we do not wait for the answer any more.
    pub timeout: Option<Duration>,
    /// Whether to print the lines of the answer as they are.
    pub json: bool,
    /// Where the restarter listens.
    pub control: Control,
}

/// The options of the client. They have no variables: those are set in the container, and would
/// turn its PID 1 into a client.
pub(super) fn arguments() -> [Arg; 4] {
    let option =
        |name| Arg::new(name).long(name).help_heading("To ask the restarter that runs here");
    let switch = |name| option(name).action(ArgAction::SetTrue);
    // Looked at in `errand`, since a value that clap refuses is as if it had not been given.
    let value = |name| option(name).value_parser(value_parser!(OsString));
    [
        value(SEND)
            .short('s')
            .value_name("COMMAND")
            .help("For one of reload, reopen, stop, status and health"),
        switch(WAIT).help("Return when the reload or stop is done, with what came of it"),
        value(TIMEOUT)
            .value_name("S")
            .help(super::wrapped(
                "Seconds to wait at most [default: 5; with --wait 5 until it is heard, and no limit \
                 from then on]",
            ))
            .allow_negative_numbers(true),
        switch(JSON).help("Print the answer as JSON, an object a line"),
    ]
}

/// Whether a command line is a client's, also one that makes no sense: as far as it can be read.
pub(super) fn is_meant(arguments: &[OsString]) -> bool {
    let mut words = arguments.iter().skip(1).map(|word| word.to_string_lossy());
    // Of an option that we do not know nobody can say whether it has a value.
    let mut may_be_value = false;
    while let Some(word) = words.next() {
        let Some(rest) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            if may_be_value {
                may_be_value = false;
                continue;
            }
            return false;
        };
        may_be_value = false;
        let Some(long) = rest.strip_prefix('-') else {
            if rest.starts_with('s') {
                return true;
            }
            continue;
        };
        let (name, value) = long.split_once('=').map_or((long, None), |(name, v)| (name, Some(v)));
        if name.is_empty() || NAMES.contains(&name) {
            return !name.is_empty();
        }
        match FLAGS.iter().find(|flag| flag.name == name).map(|flag| &flag.kind) {
            Some(Kind::Value(_) | Kind::List(_)) if value.is_none() => {
                words.next();
            }
            Some(_) => {}
            None => may_be_value = value.is_none(),
        }
    }
    false
}

/// What is to be asked for, if the command line is a client's.
pub(super) fn errand(matches: &ArgMatches, settings: &Settings<'_>) -> Result<Option<Errand>> {
    let (wait, json) = (matches.get_flag(WAIT), matches.get_flag(JSON));
    let timeout = matches.get_one::<OsString>(TIMEOUT);
    let Some(name) = matches.get_one::<OsString>(SEND) else {
        for (option, given) in [(WAIT, wait), (TIMEOUT, timeout.is_some()), (JSON, json)] {
            ensure!(!given, "--{option} is of no use without --send");
        }
        return Ok(None);
    };
    let known = Command::ALL.into_iter().find(|command| name.as_os_str() == command.as_str());
    let Some(command) = known else {
        bail!(
            "bad value {:?} for --send: none of reload, reopen, stop, status and health",
            name.to_string_lossy()
        );
    };
    if let Some(word) = matches.get_one::<OsString>(PROGRAM) {
        bail!(
            "{:?} has no meaning: --send asks a restarter that runs, and starts no PROGRAM",
            word.to_string_lossy()
        );
    }
    for flag in FLAGS.iter().filter(|flag| flag.name != CONTROL.name) {
        ensure!(
            !matches.contains_id(flag.name),
            "--{} is for the restarter itself, and --send asks one that runs",
            flag.name
        );
    }
    ensure!(
        !wait || command.takes_time(),
        "--wait is for reload and stop: {command} is answered when it is done"
    );
    let timeout = timeout.map(|value| {
        let text = value.to_string_lossy();
        let timeout = values::seconds(&text)
            .map_err(|error| error.context(format!("bad value {text:?} for --timeout")))?;
        ensure!(!timeout.is_zero(), "--timeout {text} leaves the answer no time");
        Ok(timeout)
    });
    let timeout = timeout.transpose()?;
    let control = settings.control()?;
    ensure!(
        control != Control::None || !matches.contains_id(CONTROL.name),
        "--control none leaves nobody whom --send could ask"
    );
    Ok(Some(Errand { command, wait, timeout, json, control }))
}
