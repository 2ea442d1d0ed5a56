//! The client's part of the command line.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, value_parser};

use super::flags::{CONTROL, FLAGS};
use super::{Control, PROGRAM, Settings, values};
use crate::control::wire::Command;

pub(super) const SEND: &str = "send";
const WAIT: &str = "wait";
const TIMEOUT: &str = "timeout";
const JSON: &str = "json";

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
    let switch = |name| Arg::new(name).long(name).action(ArgAction::SetTrue);
    [
        Arg::new(SEND)
            .long(SEND)
            .short('s')
            .value_name("COMMAND")
            .help("Ask the restarter that runs here")
            .value_parser(PossibleValuesParser::new(Command::ALL.map(Command::as_str))),
        switch(WAIT).help("With --send reload and stop: return when that is done"),
        Arg::new(TIMEOUT)
            .long(TIMEOUT)
            .value_name("S")
            .help("With --send: seconds to wait at most [default: 5, with --wait no limit]")
            .allow_negative_numbers(true)
            .value_parser(value_parser!(OsString)),
        switch(JSON).help("With --send: print the answer as JSON, an object a line"),
    ]
}

/// What is to be asked for, if the command line is a client's.
pub(super) fn errand(settings: &Settings<'_>) -> Result<Option<Errand>> {
    let matches = settings.matches;
    let (wait, json) = (matches.get_flag(WAIT), matches.get_flag(JSON));
    let timeout = matches.get_one::<OsString>(TIMEOUT);
    let Some(name) = matches.get_one::<String>(SEND) else {
        for (option, given) in [(WAIT, wait), (TIMEOUT, timeout.is_some()), (JSON, json)] {
            ensure!(!given, "--{option} is of no use without --send");
        }
        return Ok(None);
    };
    ensure!(
        !matches.contains_id(PROGRAM),
        "--send asks a restarter that runs, so there is no PROGRAM to be started"
    );
    for flag in FLAGS.iter().filter(|flag| flag.name != CONTROL.name) {
        ensure!(
            !matches.contains_id(flag.name),
            "--{} is for the restarter itself, and --send asks one that runs",
            flag.name
        );
    }
    let Some(command) = Command::ALL.into_iter().find(|command| command.as_str() == name) else {
        bail!("bad value {name:?} for --send");
    };
    ensure!(
        !wait || command.takes_time(),
        "--wait is for reload and stop: {command} is answered when it is done"
    );
    let timeout = timeout.map(|value| {
        values::seconds(&value.to_string_lossy())
            .map_err(|error| error.context(format!("bad value {value:?} for --timeout")))
    });
    let timeout = timeout.transpose()?;
    Ok(Some(Errand { command, wait, timeout, json, control: settings.control()? }))
}
