//! What completes after which option, and what a shell's script needs beyond clap's own.

use clap::builder::{PossibleValue, PossibleValuesParser, Str};
use clap::{Arg, ArgAction, Command, ValueHint};
use clap_complete::aot::{self, Generator};
use hot_restarter::control::wire;
use hot_restarter::signal::{Meaning, Signal};

use crate::{NAME, definition};

/// A shell's script.
pub(crate) fn script(shell: impl Generator) -> String {
    let mut script = Vec::new();
    aot::generate(shell, &mut command(), NAME, &mut script);
    String::from_utf8(script).expect("help is UTF-8")
}

/// The definition, with what each option's value may be.
pub fn command() -> Command {
    let mut command = definition().mut_args(|option| {
        let id = option.get_id().as_str().to_owned();
        let value = option.get_value_names().and_then(|names| names.first()).map(Str::to_string);
        match (id.as_str(), value.as_deref()) {
            (_, None) => option,
            ("send", _) => one_of(option, wire::Command::ALL.map(wire::Command::as_str)),
            (_, Some("S" | "ADDR")) => option.value_hint(ValueHint::Other),
            (_, Some("N")) => one_of(option, ["2", "3"]),
            (_, Some("NAME")) => one_of(option, stop_signals()),
            (_, Some("PROBE")) => one_of(option, ["auto", "none"]),
            (_, Some("FORMAT")) => one_of(option, ["text", "json"]),
            (_, Some("LEVEL")) => one_of(option, ["error", "warn", "info", "debug"]),
            (_, Some("COMMAND")) => option.value_hint(ValueHint::CommandString),
            (_, Some("PATH")) => option.value_hint(ValueHint::AnyPath),
            // What follows its name is no value but the next word: to most it is a switch.
            (_, Some("BOOL")) => Arg::new(id.clone())
                .long(id)
                .help(option.get_help().cloned().unwrap_or_default())
                .action(ArgAction::SetTrue),
            (_, Some("PROGRAM [ARG]")) => option.value_hint(ValueHint::CommandWithArguments),
            (_, value) => panic!("nobody has said yet what completes --{id} {value:?}"),
        }
    });
    command.build();
    command
}

/// Whether something follows the option's name, in a command that is built.
pub(crate) fn takes_value(option: &Arg) -> bool {
    option.get_num_args().is_some_and(|values| values.takes_values())
}

fn one_of(option: Arg, values: impl IntoIterator<Item = impl Into<Str>>) -> Arg {
    option.value_parser(PossibleValuesParser::new(values.into_iter().map(PossibleValue::new)))
}

/// The signals that a target may be asked by, as far as they have a name of their own.
fn stop_signals() -> impl Iterator<Item = String> {
    Signal::all()
        .filter(|signal| signal.meaning() != Meaning::Uncatchable && signal.number() < 32)
        .map(|signal| signal.to_string().trim_start_matches("SIG").to_owned())
}

/// fish: our options up to PROGRAM, then PROGRAM, and then what completes PROGRAM's own arguments.
pub(crate) fn fish(script: &str) -> String {
    let line = format!("complete -c {NAME} ");
    assert!(script.starts_with(&line), "clap_complete writes fish's lines in another way by now");
    let options: Vec<String> = command()
        .get_arguments()
        .filter(|option| !option.is_positional())
        .map(|option| {
            let long = option.get_long().expect("each has a long name");
            let short = option.get_short().map(|short| format!("{short}/")).unwrap_or_default();
            format!("{short}{long}{}", if takes_value(option) { "=" } else { "" })
        })
        .collect();
    include_str!("fish.fish").replace("@OPTIONS@", &options.join(" "))
        + &script.replace(&line, &format!("{line}-n __hot_restarter_before_program "))
}
