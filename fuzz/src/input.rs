//! What people write: the command line, variables, scripts.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use hot_restarter::cli::{self, Control, Invocation};
use hot_restarter::program::interpreter;
use hot_restarter::signal::{Meaning, Signal};

/// Words separated by zero bytes, those with `=` behind an empty one being variables: what is
/// taken is a configuration that can work.
pub fn command_line(data: &[u8]) {
    let word = |word: &[u8]| OsString::from_vec(word.to_vec());
    let mut words = data.split(|byte| *byte == 0);
    let arguments: Vec<OsString> = ["hot-restarter".into()]
        .into_iter()
        .chain(words.by_ref().take_while(|word| *word != b"\x01").map(word))
        .collect();
    let environment: Vec<(OsString, OsString)> = words
        .filter_map(|word| {
            let at = word.iter().position(|byte| *byte == b'=')?;
            Some((&word[..at], &word[at + 1..]))
        })
        .map(|(name, value)| (word(name), word(value)))
        .collect();
    let environment = || environment.iter().cloned();
    let client = cli::is_client(&arguments);
    // Read of whatever there is, also where it makes no sense.
    let log = cli::termination_log(&arguments, environment());
    let control = cli::control(&arguments, environment());
    // A command line without options is read by a way of its own, and means the same.
    if arguments.get(1).is_some_and(|word| !word.as_encoded_bytes().starts_with(b"-")) {
        let mut marked = arguments.clone();
        marked.insert(1, "--".into());
        let [bare, behind] = [&arguments, &marked].map(|words| {
            let meant = cli::parse(words, environment());
            meant.map_or_else(|why| format!("{why:#}"), |meant| format!("{meant:?}"))
        });
        assert_eq!(bare, behind);
    }
    match cli::parse(&arguments, environment()) {
        Ok(Invocation::Run(config)) => {
            assert!(!client, "{arguments:?}");
            assert_eq!((config.termination_log, config.control), (log, control));
            assert!(config.words.first().is_some_and(|program| !program.is_empty()));
            let policy = config.policy;
            assert!(policy.stop_signal.meaning() != Meaning::Uncatchable);
            assert!([2, 3].contains(&policy.max_epochs));
            let week = Duration::from_secs(7 * 24 * 60 * 60);
            assert!(policy.term_wait <= week && policy.ready_timeout <= week);
            if let Some(drain) = policy.drain {
                assert!(policy.admin && drain.min <= drain.timeout);
                assert!(drain.timeout + Duration::from_secs(5) <= policy.term_wait);
            }
            for words in [config.check, config.probe].into_iter().flatten() {
                assert!(words.first().is_some_and(|program| !program.is_empty()));
            }
        }
        Ok(Invocation::Send(_)) => assert!(client, "{arguments:?}"),
        Ok(Invocation::Print(text)) => assert!(text.contains("hot-restarter"), "{text}"),
        Err(error) => {
            let why = format!("{error:#}");
            assert!(!why.is_empty());
            // What leads nowhere is not listened at either.
            if let Control::At(path) = control {
                assert!(path.as_os_str().len() <= 107);
            }
        }
    }
    // Signals have more names than the others of these values.
    let text = String::from_utf8_lossy(data);
    if let Ok(signal) = text.parse::<Signal>() {
        assert_eq!(signal.to_string().parse(), Ok(signal));
        assert_eq!(Signal::from_number(signal.number()), Some(signal));
    }
}

/// How a script begins: what it names is shown in one line, fit for a terminal.
pub fn script(data: &[u8]) {
    if let Some(name) = interpreter(data) {
        assert!(data.starts_with(b"#!"));
        assert!(name.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name:?}");
    }
}
