//! The manual page.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::process::{Command, Stdio};

use hot_restarter::cli;
use libtest_mimic::Trial;
use pages::manual::{EXAMPLES, VALUES};

use crate::needs::trial;
use crate::{options, page, typed};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("manual::tells_what_a_value_is", None, tells_what_a_value_is),
        trial("manual::examples_are_good_usage", None, examples_are_good_usage),
        trial("manual::is_well_formed", Some("mandoc"), is_well_formed),
        trial("manual::reads_as_it_is_meant", Some("mandoc"), reads_as_it_is_meant),
        trial("manual::names_every_option", Some("mandoc"), names_every_option),
    ]
}

/// What mandoc makes of a page, and whether it had nothing to say against it.
fn mandoc(arguments: &[&str], page: &str) -> (bool, String) {
    let mut mandoc = Command::new("mandoc")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("mandoc runs");
    // It reads all of it before it writes.
    let mut stdin = mandoc.stdin.take().expect("it is piped");
    stdin.write_all(page.as_bytes()).expect("mandoc reads");
    drop(stdin);
    let output = mandoc.wait_with_output().expect("mandoc ends");
    (output.status.success(), String::from_utf8(output.stdout).expect("it is UTF-8"))
}

/// The page on a terminal, without bold and underlining: what they overstrike.
fn rendered() -> String {
    let (_, text) = mandoc(&["-Tutf8"], &page("hot-restarter.1"));
    let mut plain = String::new();
    for char in text.chars() {
        if char == '\u{8}' {
            plain.pop();
        } else {
            plain.push(char);
        }
    }
    plain
}

fn is_well_formed() {
    let page = page("hot-restarter.1");
    let lint = ["-Tlint", "-Wwarning"];
    let (good, said) = mandoc(&lint, &page);
    assert!(good, "{said}");
    let broken = page.replace(".SS Stop", ".SS Stop\n.RE");
    assert!(!mandoc(&lint, &broken).0, "a page that is broken passes");
}

fn reads_as_it_is_meant() {
    let page = rendered();
    let headings: Vec<&str> =
        page.lines().filter(|line| line.starts_with(|char: char| char.is_alphabetic())).collect();
    let expected = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "SIGNALS",
        "EXIT STATUS",
        "ENVIRONMENT",
        "FILES",
        "EXAMPLES",
        "SEE ALSO",
    ];
    // The first line and the last one name the page.
    let Some((first, [sections @ .., last])) = headings.split_first() else {
        panic!("no headings:\n{page}");
    };
    assert_eq!(sections, expected);
    assert!(
        first.starts_with("HOT-RESTARTER(1)") && last.contains("2026-01-31"),
        "{first}\n{last}"
    );
    for text in [
        "hot-restarter - PID 1",
        "hot-restarter [OPTIONS] [--] PROGRAM [ARG]...",
        "hot-restarter --send COMMAND [--wait]",
        "$(RESTART_EPOCH) in an argument",
        "'$(RESTART_EPOCH)'\n",
        "--max-epochs 2 \\\n",
        "--rollback[=BOOL]\n",
        "-s, --send COMMAND\n",
        "Default: 30. Variable: HOT_RESTARTER_TERM_WAIT.",
        "SIGINT, SIGTERM\n",
        "SIGPIPE, SIGTTIN, SIGTTOU, SIGXFSZ\n",
        "/dev/shm/hot-restarter-UID.sock",
    ] {
        let unspaced = page.replace(".  ", ". ");
        assert!(unspaced.contains(text), "{text:?} is not in\n{page}");
    }
}

fn names_every_option() {
    let page = rendered();
    let (_, page) = page.split_once("\nOPTIONS\n").expect("it has options");
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for (option, typed) in options().iter().zip(typed()) {
        let short = option.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
        let head = format!("       {short}{typed}");
        let found = page.lines().filter(|line| begins_with(line, &head)).count();
        assert_eq!(found, 1, "{typed} in\n{page}");
        let variable = pages::variable(option);
        let has_none = ["send", "wait", "timeout", "json", "help", "version"];
        assert_eq!(variable.is_none(), has_none.contains(&option.get_id().as_str()), "{typed}");
        if let Some(variable) = variable {
            let variable = format!("Variable: {variable}.");
            assert!(words.contains(&variable), "{variable} is not in\n{page}");
        }
    }
}

/// Whether a line begins with this option, and not with one whose name goes on.
fn begins_with(line: &str, head: &str) -> bool {
    let rest = line.strip_prefix(head);
    rest.is_some_and(|rest| !rest.starts_with(|char: char| char.is_alphanumeric() || char == '-'))
}

fn tells_what_a_value_is() {
    // Whose help names every value.
    let told_there = ["N", "FORMAT", "LEVEL"];
    for option in options() {
        let Some(value) = option.get_value_names().and_then(|names| names.first()) else {
            continue;
        };
        let told = VALUES.iter().any(|(name, _)| *name == format!("<{value}>"));
        assert!(told || told_there.contains(&value.as_str()), "{value} of {option}");
    }
}

fn examples_are_good_usage() {
    // The shell's words, without a program of that name.
    let script = |lines: &str| {
        let lines = lines.replace("hot-restarter --", "words hot-restarter --");
        format!("words() {{ printf '%s\\0' \"$@\"; printf '\\0'; }}\n{lines}\n")
    };
    for (said, lines) in EXAMPLES {
        let output = Command::new("sh").arg("-c").arg(script(lines)).output().expect("sh runs");
        assert!(output.status.success() && output.stderr.is_empty(), "{lines}");
        let text = output.stdout.strip_suffix(b"\0\0").expect("each ends with an empty word");
        let mut commands = vec![Vec::new()];
        for word in text.split(|byte| *byte == 0) {
            if word.is_empty() {
                commands.push(Vec::new());
            } else if let Some(command) = commands.last_mut() {
                command.push(OsString::from_vec(word.to_vec()));
            }
        }
        for words in commands {
            let usage = cli::parse(&words, std::iter::empty());
            assert!(usage.is_ok(), "{said} {words:?}: {usage:?}");
        }
    }
}
