use std::path::Path;

use super::*;
use crate::control::wire::Command as Asked;

fn parsed(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Invocation> {
    let program = std::iter::once(OsString::from("hot-restarter"));
    let arguments: Vec<_> = program.chain(arguments.iter().map(OsString::from)).collect();
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    parse(&arguments, variables)
}

fn config(arguments: &[&str], variables: &[(&str, &str)]) -> Config {
    match parsed(arguments, variables).expect("it is good usage") {
        Invocation::Run(config) => *config,
        other @ (Invocation::Print(_) | Invocation::Send(_)) => {
            panic!("it runs nothing: {other:?}")
        }
    }
}

fn refusal(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    format!("{:#}", parsed(arguments, variables).expect_err("it is bad usage"))
}

fn errand(arguments: &[&str], variables: &[(&str, &str)]) -> Errand {
    match parsed(arguments, variables).expect("it is good usage") {
        Invocation::Send(errand) => errand,
        other @ (Invocation::Print(_) | Invocation::Run(_)) => panic!("no errand: {other:?}"),
    }
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

/// What is read without a parser is what the parser would have read.
#[test]
fn without_options_nothing_is_different() {
    let variables = [
        ("HOT_RESTARTER_TERM_WAIT", "7"),
        ("HOT_RESTARTER_CHECK", "envoy --mode validate"),
        ("HOT_RESTARTER_WATCH", "/a:/b"),
        ("HOT_RESTARTER_CONTROL", "/c"),
        ("HOT_RESTARTER_TYPO", "1"),
    ];
    for words in [&["x"][..], &["x", "-y", "--", "--help", ""], &["x", "--send", "stop"]] {
        let after_dashes: Vec<&str> = [&["--"], words].concat();
        let [plain, parsed] = [words, &after_dashes].map(|words| config(words, &variables));
        assert_eq!(format!("{plain:?}"), format!("{parsed:?}"));
        assert_eq!(plain.words, words);
    }
    let bad = [("HOT_RESTARTER_MAX_EPOCHS", "4")];
    assert_eq!(refusal(&["x"], &bad), refusal(&["--", "x"], &bad));
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
fn the_termination_log_is_known_of_a_bad_command_line() {
    let variable = [("HOT_RESTARTER_TERMINATION_LOG", "/v")];
    let cases = [
        (&["--termination-log", "/o", "--bogus", "x"][..], "/o"),
        (&["--termination-log=/o"], "/o"),
        (&["--term-wait", "soon", "--termination-log", "/o", "x"], "/o"),
        (&["--termination-log", "/o", "--bogus", "--help"], "/o"),
        (&["--termination-log", "/o", "--bogus", "-V"], "/o"),
        (&["--bogus", "x", "--termination-log", "/of-the-program"], "/v"),
        (&["x", "--termination-log", "/of-the-program"], "/v"),
        (&["--termination-log"], "/v"),
        (&[], "/v"),
    ];
    for (arguments, expected) in cases {
        let arguments = ["hot-restarter"].iter().chain(arguments).map(OsString::from);
        let variables = variable.iter().map(|(name, value)| (name.into(), value.into()));
        let path = termination_log(&arguments.collect::<Vec<_>>(), variables);
        assert_eq!(path.as_deref(), Some(Path::new(expected)));
    }
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
fn a_drain_has_a_least_time_that_fits() {
    let drain = |options: &[&str], variables: &[(&str, &str)]| {
        let words = [&["--envoy-admin", "localhost:9901"], options, &["x"]].concat();
        config(&words, variables).policy.drain.map(|drain| (drain.min, drain.timeout))
    };
    let seconds = |min, timeout| Some((Duration::from_secs(min), Duration::from_secs(timeout)));
    assert_eq!(drain(&[], &[]), None);
    assert_eq!(drain(&["--drain-timeout", "25"], &[]), seconds(6, 25));
    assert_eq!(drain(&["--drain-timeout", "3"], &[]), seconds(3, 3));
    assert_eq!(drain(&["--drain-timeout", "9", "--drain-min", "9"], &[]), seconds(9, 9));
    assert_eq!(drain(&["--drain-timeout", "9", "--drain-min", "0"], &[]), seconds(0, 9));
    let variables = [("HOT_RESTARTER_DRAIN_TIMEOUT", "20"), ("HOT_RESTARTER_DRAIN_MIN", "8")];
    assert_eq!(drain(&[], &variables), seconds(8, 20));
    // What an image sets is switched off by one word.
    assert_eq!(drain(&["--drain-timeout", "0"], &variables), None);
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
        (
            vec!["--check", "a", "--check-timeout", "0.0", "x"],
            "--check-timeout 0.0 leaves the check no time",
        ),
        (vec!["--rollback=maybe", "x"], "--rollback: none of 1, true, 0"),
        (
            vec!["--rollback", "--ready-timeout", "1.0", "x"],
            "--ready-timeout 1.0 must be more than 1 s",
        ),
        (
            vec!["--rollback", "--ready", "exec:a", "--ready-timeout", "0", "x"],
            "--ready-timeout 0 must be more than 0 s",
        ),
        (vec!["--rollback", "--ready", "none", "x"], "with --ready none each is at once"),
        (vec!["--watch", "", "x"], "an empty path for --watch"),
        (vec!["--termination-log", "", "x"], "an empty path for --termination-log"),
        (vec!["--max-epochs", "4", "x"], "neither 2 nor 3"),
        (vec!["--log-level", "loud", "x"], "none of error, warn"),
    ];
    for (arguments, expected) in cases {
        let refusal = refusal(&arguments, &[]);
        assert!(refusal.contains(expected), "{arguments:?}: {refusal}");
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
    let drain = ["--envoy-admin", "unix:/a", "--drain-timeout", "25", "x"];
    let variable = refusal(&drain, &[("HOT_RESTARTER_TERM_WAIT", "25")]);
    assert!(
        variable.contains("towards HOT_RESTARTER_TERM_WAIT=25, which must be 30 s"),
        "{variable}"
    );
    let variable = refusal(&["x"], &[("HOT_RESTARTER_MAX_EPOCHS", "1")]);
    assert!(variable.contains("\"1\" for HOT_RESTARTER_MAX_EPOCHS"), "{variable}");
}

#[test]
fn a_client_asks_for_one_thing() {
    let asks = |command| Errand {
        command,
        wait: false,
        timeout: None,
        json: false,
        control: Control::Usual,
    };
    for command in Asked::ALL {
        assert_eq!(errand(&["--send", command.as_str()], &[]), asks(command));
    }
    for words in [&["-s", "status"][..], &["-sstatus"], &["--send=status"]] {
        assert_eq!(errand(words, &[]), asks(Asked::Status));
    }
    for words in [
        &["--send", "reload", "--wait", "--timeout", "2.5", "--json", "--control", "/a"][..],
        &["--json", "--control=/a", "--wait", "--timeout=2.5", "--send=reload"],
    ] {
        let expected = Errand {
            wait: true,
            timeout: Some(Duration::from_millis(2500)),
            json: true,
            control: Control::At("/a".into()),
            ..asks(Asked::Reload)
        };
        assert_eq!(errand(words, &[]), expected);
    }
}

/// The container's variables are for its restarter, and a client there must work whatever they say.
#[test]
fn a_client_takes_only_the_socket_from_the_environment() {
    let variables = [
        ("HOT_RESTARTER_TERM_WAIT", "soon"),
        ("HOT_RESTARTER_ROLLBACK", "1"),
        ("HOT_RESTARTER_CONTROL", "/a"),
    ];
    let control = |arguments: &[&str], variables: &[(&str, &str)]| {
        errand(&[&["-s", "status"], arguments].concat(), variables).control
    };
    assert_eq!(control(&[], &variables), Control::At("/a".into()));
    assert_eq!(control(&["--control", "b"], &variables), Control::At("b".into()));
    assert_eq!(control(&[], &[("HOT_RESTARTER_CONTROL", "")]), Control::Usual);
    assert_eq!(control(&[], &[("HOT_RESTARTER_CONTROL", "none")]), Control::None);
}

#[test]
fn no_variable_makes_a_client() {
    let variables = [
        ("HOT_RESTARTER_SEND", "reload"),
        ("HOT_RESTARTER_WAIT", "1"),
        ("HOT_RESTARTER_TIMEOUT", "3"),
        ("HOT_RESTARTER_JSON", "1"),
    ];
    let warnings = config(&["x"], &variables).warnings;
    let expected =
        variables.map(|(name, _)| format!("{name} is no variable of ours; it is ignored"));
    assert_eq!(warnings, expected);
    assert!(refusal(&[], &variables).contains("no program to run"));
}

#[test]
fn a_restarter_has_a_socket_or_none() {
    let control = |arguments: &[&str], value: &str| {
        config(&[arguments, &["x"]].concat(), &[("HOT_RESTARTER_CONTROL", value)]).control
    };
    assert_eq!(control(&[], ""), Control::Usual);
    assert_eq!(control(&[], "/a"), Control::At("/a".into()));
    assert_eq!(control(&[], "none"), Control::None);
    assert_eq!(control(&["--control", "/b"], "none"), Control::At("/b".into()));
    let longest = format!("/{}", "x".repeat(CONTROL_LIMIT - 1));
    assert_eq!(control(&[], &longest), Control::At(longest.into()));
}

#[test]
fn refusals_of_a_client_name_what_is_at_fault() {
    let long = format!("/{}", "x".repeat(CONTROL_LIMIT));
    let cases = [
        (vec!["--send"], "a value is required for '--send <COMMAND>'"),
        (vec!["--send", "restart"], "bad value \"restart\" for --send: none of reload, reopen,"),
        (vec!["--send", ""], "bad value \"\" for --send"),
        (
            vec!["--send", "status", "--send", "health"],
            "'--send <COMMAND>' cannot be used multiple",
        ),
        (vec!["--send", "reload", "envoy", "-c", "x"], "\"envoy\" has no meaning: --send asks a"),
        (
            vec!["--send", "reload", "--wait", "30"],
            "\"30\" has no meaning: --send asks a restarter",
        ),
        (vec!["--send", "reload", "--rollback"], "--rollback is for the restarter itself"),
        (vec!["--send", "reload", "--term-wait", "3"], "--term-wait is for the restarter itself"),
        (vec!["--send", "status", "--wait"], "--wait is for reload and stop: status is answered"),
        (vec!["--send", "health", "--wait"], "--wait is for reload and stop"),
        (vec!["--send", "reopen", "--wait"], "--wait is for reload and stop"),
        (vec!["--send", "reload", "--wait=1"], "unexpected value '1' for '--wait'"),
        (vec!["--send", "stop", "--timeout"], "a value is required for '--timeout <S>'"),
        (vec!["--send", "stop", "--timeout", "soon"], "\"soon\" for --timeout: not a number of"),
        (vec!["--send", "stop", "--timeout", "-1"], "\"-1\" for --timeout: not a number of"),
        (vec!["--send", "stop", "--timeout", "0.0"], "--timeout 0.0 leaves the answer no time"),
        (vec!["--send", "status", "--control", ""], "an empty path for --control"),
        (vec!["--send", "status", "--control", "none"], "leaves nobody whom --send could ask"),
        (
            vec!["--send", "status", "--control", &long],
            "the path of a socket has 107 bytes at most",
        ),
        (vec!["--wait"], "--wait is of no use without --send"),
        (vec!["--timeout", "3", "x"], "--timeout is of no use without --send"),
        (vec!["--json", "x"], "--json is of no use without --send"),
    ];
    for (arguments, expected) in cases {
        let refusal = refusal(&arguments, &[]);
        assert!(refusal.contains(expected), "{arguments:?}: {refusal}");
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
    for arguments in [&["--send", "status"][..], &["x"]] {
        let refusal = refusal(arguments, &[("HOT_RESTARTER_CONTROL", &long)]);
        assert!(refusal.starts_with("HOT_RESTARTER_CONTROL=/xxx"), "{refusal}");
    }
}

/// Where its usage is bad the container's termination log is not written.
#[test]
fn a_client_is_known_of_a_bad_command_line() {
    for (client, arguments) in [
        (true, &["--send", "status"][..]),
        (true, &["--send", "restart"]),
        (true, &["--send"]),
        (true, &["--send="]),
        (true, &["-s"]),
        (true, &["-sfoo"]),
        (true, &["--wait"]),
        (true, &["--timeout", "3", "x"]),
        (true, &["--json=1"]),
        (true, &["--bogus", "--send", "status"]),
        (true, &["--bogus", "3", "--send", "status"]),
        (true, &["--bogus=3", "--send", "status"]),
        (true, &["-x", "--send", "status"]),
        (true, &["--rollback", "--control", "/a", "--term-wait=3", "--send", "status"]),
        (false, &[]),
        (false, &["nginx", "-s", "reload"]),
        (false, &["--", "-s"]),
        (false, &["-", "-s"]),
        (false, &["", "-s"]),
        (false, &["--bogus=3", "nginx", "-s", "reload"]),
        (false, &["--control", "--send"]),
        (false, &["--term-wait", "soon", "x", "--send"]),
        (false, &["--rollback", "x", "--wait"]),
        (false, &["--bogus"]),
    ] {
        let words = ["hot-restarter"].iter().chain(arguments).map(OsString::from);
        assert_eq!(is_client(&words.collect::<Vec<_>>()), client, "{arguments:?}");
    }
}

#[test]
fn help_fits_into_a_hundred_columns() {
    let Ok(Invocation::Print(help)) = parsed(&["--help"], &[]) else {
        panic!("help is printed");
    };
    for line in help.lines() {
        assert!(line.chars().count() <= HELP_WIDTH, "{line}");
    }
    for flag in FLAGS {
        assert!(help.contains(&format!(" --{}", flag.name)), "{help}");
    }
    for command in Asked::ALL {
        assert!(help.contains(command.as_str()), "{help}");
    }
}
