//! What completions offer as an option's value: what the parser takes.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::Arg;
use hot_restarter::cli;
use libtest_mimic::Trial;
use pages::completions::command;

use crate::needs::trial;

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("values::are_taken", None, are_taken),
        trial("values::are_all_of_them", None, are_all_of_them),
    ]
}

/// Every option of which values are offered, and those.
fn offered() -> Vec<(Arg, BTreeSet<String>)> {
    let command = command();
    let mut offered = Vec::new();
    for option in command.get_arguments().filter(|option| option.get_value_names().is_some()) {
        let values = option.get_possible_values();
        let names: BTreeSet<_> = values.iter().map(|value| value.get_name().to_owned()).collect();
        if !names.is_empty() {
            offered.push((option.clone(), names));
        }
    }
    offered
}

/// Why a value is refused, if it is.
fn refusal(option: &Arg, value: &str) -> Option<String> {
    let long = option.get_long().expect("each has a long name");
    let mut words = vec!["hot-restarter".to_owned(), format!("--{long}"), value.to_owned()];
    if long != "send" {
        words.push("start_envoy.sh".to_owned());
    }
    let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
    cli::parse(&words, std::iter::empty()).err().map(|error| format!("{error:#}"))
}

fn are_taken() {
    let offered = offered();
    let options: BTreeSet<_> = offered.iter().filter_map(|(option, _)| option.get_long()).collect();
    let expected = ["log-format", "log-level", "max-epochs", "ready", "send", "stop-signal"];
    assert_eq!(options, BTreeSet::from(expected));
    for (option, values) in offered {
        for value in values {
            assert_eq!(refusal(&option, &value), None, "{option} {value}");
        }
    }
}

/// A refusal names what would be taken, so that what it names and is not offered was forgotten.
fn are_all_of_them() {
    for (option, values) in offered() {
        // A signal has several names.
        if option.get_long() == Some("stop-signal") {
            continue;
        }
        let refused = refusal(&option, "?").expect("it is a value of nothing");
        let words = refused.split(|char: char| !char.is_alphanumeric()).filter(|w| !w.is_empty());
        let taken: BTreeSet<String> =
            words.filter(|word| refusal(&option, word).is_none()).map(str::to_owned).collect();
        assert_eq!(taken, values, "{option}: {refused}");
    }
}
