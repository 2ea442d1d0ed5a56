//! bash: a script of our own, since clap's knows no word that begins another command's line.

use std::io::Write;

use clap::builder::PossibleValue;
use clap::{Arg, Command, ValueHint};
use clap_complete::aot::Generator;

use crate::completions::takes_value;

/// Generates bash's script.
pub(crate) struct Bash;

impl Generator for Bash {
    fn file_name(&self, name: &str) -> String {
        format!("{name}.bash")
    }

    fn generate(&self, command: &Command, script: &mut dyn Write) {
        let options = || command.get_arguments().filter(|option| !option.is_positional());
        let valued = || options().filter(|option| takes_value(option));
        let all: Vec<String> = options().flat_map(names).collect();
        let with_value: Vec<String> = valued().flat_map(names).collect();
        let arms: Vec<String> = valued()
            .filter_map(|option| {
                values(option)
                    .map(|value| format!("    {}) {value} ;;\n", names(option).join(" | ")))
            })
            .collect();
        let text = include_str!("bash.bash")
            .replace("@OPTIONS@", &all.join(" "))
            .replace("@WITH_VALUE@", &with_value.join(" | "))
            .replace("    @VALUES@) ;;\n", &arms.concat());
        script.write_all(text.as_bytes()).expect("a script is written to memory");
    }
}

/// `-s` and `--send`.
fn names(option: &Arg) -> Vec<String> {
    let short = option.get_short().map(|short| format!("-{short}"));
    let long = option.get_long().map(|long| format!("--{long}"));
    short.into_iter().chain(long).collect()
}

/// What completes an option's value, if anything does.
fn values(option: &Arg) -> Option<String> {
    let known = option.get_possible_values();
    if !known.is_empty() {
        let known: Vec<&str> = known.iter().map(PossibleValue::get_name).collect();
        return Some(format!("__hot_restarter_words \"{}\"", known.join(" ")));
    }
    let hint = option.get_value_hint();
    let function = if hint == ValueHint::AnyPath {
        "__hot_restarter_files"
    } else if hint == ValueHint::CommandString {
        "__hot_restarter_commands"
    } else {
        assert_eq!(hint, ValueHint::Other, "bash has nothing yet for {option}");
        return None;
    };
    Some(function.to_owned())
}
