//! Bad input: each has its one clear sentence and its exit code, and leaves nothing running.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use libtest_mimic::Trial;
use support::inherit::Inherit;
use support::namespace;
use support::scene::{Scene, holds};

use crate::needs::{Needs, trial};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("input::bad_usage", Needs::Nothing, bad_usage),
        trial("input::bad_variables", Needs::Nothing, bad_variables),
        trial("input::switches", Needs::Nothing, switches),
        trial("input::programs_beside", Needs::Nothing, programs_beside),
        trial("input::variables_that_are_not_ours", Needs::Nothing, variables_that_are_not_ours),
        trial("input::not_utf_8", Needs::Nothing, not_utf_8),
        trial("input::help_and_version", Needs::Nothing, help_and_version),
        trial("input::words_of_the_program", Needs::Nothing, words_of_the_program),
        trial("input::target_that_cannot_start", Needs::Nothing, target_that_cannot_start),
        trial("input::unreachable_target", Needs::Root, unreachable_target),
        trial("input::target_of_a_restart", Needs::Nothing, target_of_a_restart),
        trial("input::program_in_path", Needs::Nothing, program_in_path),
        trial("input::no_descriptors_left", Needs::Nothing, no_descriptors_left),
        trial("input::closed_descriptors", Needs::Nothing, || closed_descriptors(&[])),
        trial("pid1::closed_descriptors", Needs::Namespace, || {
            closed_descriptors(namespace::wrapper());
        }),
    ]
}

/// Runs it, and checks that it has refused with 2 and one line that holds this, and that no
/// target has begun.
fn assert_bad_usage(options: &[&str], variables: &[(&str, &str)], expected: &str) {
    let scene = Scene::new();
    assert_refuses(&scene, 2, options, variables, expected);
}

/// The same with another exit code.
fn assert_refuses(
    scene: &Scene,
    refusal: i32,
    options: &[&str],
    variables: &[(&str, &str)],
    expected: &str,
) {
    let setup = scene.restarter(options, &[] as &[&str]).with(|command| {
        command.envs(variables.iter().copied());
    });
    let (code, log) = setup.finish();
    assert_eq!(code, refusal, "{options:?} {variables:?}: {log}");
    assert_eq!(log.lines().count(), 1, "{options:?} {variables:?}: {log}");
    assert!(log.starts_with("hot-restarter: "), "{log}");
    assert!(holds(&log, expected), "{expected:?} for {options:?} {variables:?}: {log}");
    scene.assert_empty();
}

fn bad_usage() {
    // None of these is executed; if one were, there would be an exit code of 0.
    let cases: &[(&[&str], &str)] = &[
        (&[], "no program"),
        (&["--"], "no program"),
        (&["--term-wait", "3"], "no program"),
        (&[""], "PROGRAM is empty"),
        (&["--bogus", "true"], "--bogus"),
        (&["-x", "true"], "-x"),
        (&["--term-wait"], "--term-wait"),
        (&["--term-wait", "soon", "true"], "soon…--term-wait"),
        (&["--term-wait", "", "true"], "--term-wait"),
        (&["--term-wait=-1", "true"], "-1…--term-wait"),
        (&["--term-wait", "nan", "true"], "nan…--term-wait"),
        (&["--term-wait", "inf", "true"], "inf…--term-wait"),
        (&["--term-wait", "1e300", "true"], "1e300…--term-wait"),
        (&["--term-wait", "99999999999999999999999", "true"], "--term-wait"),
        (&["--min-restart-interval", "x", "true"], "--min-restart-interval"),
        (&["--ready-timeout=-0.1", "true"], "-0.1…--ready-timeout"),
        (&["--term-wait", "-1", "true"], "-1"),
        (&["--stop-signal", "KILL", "true"], "--stop-signal…SIGKILL"),
        (&["--stop-signal", "STOP", "true"], "--stop-signal…SIGSTOP"),
        (&["--stop-signal", "SIGFOO", "true"], "SIGFOO…--stop-signal"),
        (&["--stop-signal", "65", "true"], "65…--stop-signal"),
        (&["--max-epochs", "1", "true"], "--max-epochs"),
        (&["--max-epochs", "4", "true"], "--max-epochs"),
        (&["--ready", "maybe", "true"], "maybe…--ready"),
        (&["--ready", "", "true"], "--ready"),
        (&["--ready", "ftp://localhost/", "true"], "ftp:…--ready"),
        (&["--ready", "exec:", "true"], "exec:…--ready: no program"),
        (&["--ready", "exec:''", "true"], "--ready: no program"),
        (&["--ready", "exec:test \"x", "true"], "--ready: missing closing quote"),
        (&["--ready", "http://", "true"], "--ready"),
        (&["--ready", "http:localhost", "true"], "http:localhost…--ready…http://"),
        (&["--ready", "http://localhost:0/", "true"], "--ready…port"),
        (&["--ready", "http://localhost:65536/", "true"], "--ready…port"),
        (&["--ready", "http://envoy.example/", "true"], "--ready…not looked up"),
        (&["--ready", "http://me:word@localhost/", "true"], "--ready…password"),
        (&["--ready", "http://localhost/a b", "true"], "--ready…%-escaped"),
        (&["--ready", "https://localhost/", "true"], "--ready…TLS…exec:"),
        (&["--envoy-admin", "", "true"], "--envoy-admin"),
        (&["--envoy-admin", "9901", "true"], "9901…--envoy-admin…HOST:PORT"),
        (&["--envoy-admin", "localhost:0", "true"], "--envoy-admin…port"),
        (&["--envoy-admin", "envoy.example:9901", "true"], "--envoy-admin…not looked up"),
        (&["--envoy-admin", "::1:9901", "true"], "--envoy-admin…brackets"),
        (&["--envoy-admin", "unix:admin.sock", "true"], "--envoy-admin…slash"),
        (&["--check", "", "true"], "--check: no program"),
        (&["--check", "  ", "true"], "--check: no program"),
        (&["--check", "'' x", "true"], "--check: no program"),
        (&["--check", "sh -c 'exit", "true"], "--check: missing closing quote"),
        (&["--check", "true", "--check", "true", "true"], "--check"),
        (&["--check-timeout", "soon", "true"], "soon…--check-timeout"),
        (&["--check-timeout=-1", "true"], "-1…--check-timeout"),
        (&["--check-timeout", "604801", "true"], "--check-timeout…week"),
        (&["--check-timeout", "0", "--check", "true", "true"], "--check-timeout"),
        (&["--watch", "", "true"], "--watch"),
        (&["--watch", "/a", "--watch", "", "true"], "--watch"),
        (&["--watch-jitter", "x", "true"], "x…--watch-jitter"),
        (&["--rollback=maybe", "true"], "maybe…--rollback"),
        (&["--rollback=2", "true"], "2…--rollback"),
        (&["--rollback=", "true"], "--rollback"),
        (&["--rollback", "--ready-timeout", "1", "true"], "--rollback…--ready-timeout"),
        (&["--rollback", "--ready-timeout", "0", "true"], "--rollback…--ready-timeout"),
        (&["--termination-log", "", "true"], "--termination-log"),
        (&["--log-level", "loud", "true"], "loud…--log-level"),
        (&["--log-format", "xml", "true"], "xml…--log-format"),
    ];
    for (options, expected) in cases {
        assert_bad_usage(options, &[], expected);
    }
}

fn bad_variables() {
    let cases = [
        ("HOT_RESTARTER_TERM_WAIT", "soon"),
        ("HOT_RESTARTER_READY_TIMEOUT", "-1"),
        ("HOT_RESTARTER_MIN_RESTART_INTERVAL", "1e300"),
        ("HOT_RESTARTER_STOP_SIGNAL", "KILL"),
        ("HOT_RESTARTER_MAX_EPOCHS", "1"),
        ("HOT_RESTARTER_READY", "maybe"),
        ("HOT_RESTARTER_READY", "exec:"),
        ("HOT_RESTARTER_READY", "http://envoy.example/"),
        ("HOT_RESTARTER_ENVOY_ADMIN", "envoy.example:9901"),
        ("HOT_RESTARTER_CHECK", "envoy '--mode"),
        ("HOT_RESTARTER_CHECK_TIMEOUT", "soon"),
        ("HOT_RESTARTER_ROLLBACK", "2"),
        ("HOT_RESTARTER_ROLLBACK", "maybe"),
        ("HOT_RESTARTER_WATCH_JITTER", "x"),
        ("HOT_RESTARTER_LOG_LEVEL", "loud"),
        ("HOT_RESTARTER_LOG_FORMAT", "xml"),
    ];
    for (name, value) in cases {
        assert_bad_usage(&["true"], &[(name, value)], &format!("{value}…{name}"));
    }
    for paths in [":", "/a:", ":/a", "/a::/b"] {
        let variable = ("HOT_RESTARTER_WATCH", paths);
        assert_bad_usage(&["true"], &[variable], "an empty path…HOT_RESTARTER_WATCH");
    }
    let both = [("HOT_RESTARTER_ROLLBACK", "1"), ("HOT_RESTARTER_READY_TIMEOUT", "1")];
    assert_bad_usage(&["true"], &both, "--rollback…HOT_RESTARTER_READY_TIMEOUT=1");
}

/// A switch alone is on, and its value wins over a variable's. Whether it is on shows where it
/// cannot work.
fn switches() {
    let timeout = ["--ready-timeout", "1"];
    for variable in ["", "0", "false", "1", "true"] {
        for option in [&[][..], &["--rollback"], &["--rollback=1"], &["--rollback=0"]] {
            let on = match option {
                [] => ["1", "true"].contains(&variable),
                option => option != ["--rollback=0"],
            };
            let scene = Scene::new();
            let setup = scene.restarter(&[option, &timeout].concat(), &["true"]);
            let setup = setup.with(|command| {
                command.env("HOT_RESTARTER_ROLLBACK", variable);
            });
            let (code, log) = setup.finish();
            assert_eq!(code, if on { 2 } else { 0 }, "{variable:?} {option:?}: {log}");
        }
    }
}

/// What could never run is found out at the start, and nothing is started.
fn programs_beside() {
    let scene = Scene::new();
    let plain = scene.place("plain");
    std::fs::write(&plain, "#!/bin/sh\n").expect("a file in our folder");
    let missing = scene.place("missing");
    let cases = [
        (missing.as_str(), 127, "missing does not exist"),
        ("no-such-program", 127, "no-such-program does not exist in PATH"),
        (&plain, 126, "plain is not executable"),
        ("/", 126, "/ is a directory"),
    ];
    for (program, code, sentence) in cases {
        let target = scene.probe("say=begun");
        let target: Vec<&str> = target.iter().map(String::as_str).collect();
        let command = format!("{program} --mode validate");
        let probe = format!("exec:{command}");
        for (option, variable, value, name) in [
            ("--check", "HOT_RESTARTER_CHECK", &command, "--check: "),
            ("--ready", "HOT_RESTARTER_READY", &probe, "--ready exec: "),
        ] {
            let expected = format!("{name}…{sentence}");
            let words = [&[option, value][..], &target].concat();
            assert_refuses(&scene, code, &words, &[], &expected);
            assert_refuses(&scene, code, &target, &[(variable, value)], &expected);
        }
    }
    assert!(scene.journal().entries().is_empty(), "no target has begun");
}

/// A misspelt variable is warned about; those that Kubernetes sets for a Service are not.
fn variables_that_are_not_ours() {
    let scene = Scene::new();
    let setup = scene.restarter(&[], &scene.probe("exit=3")).with(|command| {
        command
            .env("HOT_RESTARTER_TERMWAIT", "3")
            .env("HOT_RESTARTER_PORT", "tcp://10.0.0.1:80")
            .env("HOT_RESTARTER_SERVICE_HOST", "10.0.0.1")
            .env("HOT_RESTARTER_LOG_LEVEL", "");
    });
    let (code, log) = setup.finish();
    assert_eq!(code, 3, "{log}");
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains(" warn ")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].contains("HOT_RESTARTER_TERMWAIT"), "{log}");
}

fn not_utf_8() {
    let scene = Scene::new();
    let setup = scene.restarter(&["--term-wait"], &[] as &[&str]).with(|command| {
        command.arg(OsStr::from_bytes(b"3\xff")).arg("true");
    });
    let (code, log) = setup.finish();
    assert_eq!(code, 2, "{log}");
    assert!(holds(&log, "--term-wait…UTF-8"), "{log}");

    // A program and its arguments are bytes.
    let scene = Scene::new();
    let setup = scene.restarter(&[], &["sh", "-c", "test $(printf %s \"$0\" | wc -c) = 2"]);
    let setup = setup.with(|command| {
        command.arg(OsStr::from_bytes(b"\xff\xfe"));
    });
    let (code, log) = setup.finish();
    assert_eq!(code, 0, "{log}");
}

fn help_and_version() {
    for (option, expected) in [("--help", "--term-wait"), ("--version", "hot-restarter ")] {
        let scene = Scene::new();
        let mut restarter = scene
            .restarter(&[option], &[] as &[&str])
            .with(|command| {
                command.stdout(Stdio::piped());
            })
            .start();
        let output = std::io::read_to_string(restarter.child().stdout.take().expect("a pipe"));
        assert_eq!(restarter.code(), 0);
        assert!(output.expect("text").contains(expected));
        assert_eq!(restarter.log(), "");

        let closed = scene.restarter(&[option], &[] as &[&str]).with(|command| {
            command.without_descriptor(1);
        });
        assert_eq!(closed.finish().0, 0);
    }
}

/// What follows the program is its own, dashes included.
fn words_of_the_program() {
    let words = ["--term-wait", "x", "--", "-", "--help", "", "a b", "$(RESTART_EPOCH)"];
    let script = "printf '<%s>' \"$0\" \"$@\" > \"$OUT\"";
    for options in [&[][..], &["--"]] {
        let scene = Scene::new();
        let target = [&["sh", "-c", script][..], &words].concat();
        let setup = scene.restarter(options, &target).with(|command| {
            command.env("OUT", scene.path("out"));
        });
        let (code, log) = setup.finish();
        assert_eq!(code, 0, "{log}");
        let out = std::fs::read_to_string(scene.path("out")).expect("the target has run");
        assert_eq!(out, "<--term-wait><x><--><-><--help><><a b><0>");
    }
}

/// Each way in which a target cannot be executed: its name, what is there, and what is said.
fn spoilt_targets(scene: &Scene) -> Vec<(String, i32, String)> {
    let script = |name: &str, text: &str| scene.script(name, text);
    let folder = scene.path("folder");
    std::fs::create_dir(&folder).expect("a folder in our folder");
    let plain = scene.place("plain");
    std::fs::write(&plain, "#!/bin/sh\n").expect("a file in our folder");
    let dangling = scene.place("dangling");
    std::os::unix::fs::symlink("/no/such/file", &dangling).expect("a link in our folder");
    vec![
        (scene.place("missing"), 127, "missing does not exist".to_owned()),
        ("no-such-program".to_owned(), 127, "no-such-program does not exist…PATH".to_owned()),
        (format!("{plain}/below"), 127, "plain/below does not exist".to_owned()),
        (scene.place("folder"), 126, "folder is a directory".to_owned()),
        (plain, 126, "plain is not executable".to_owned()),
        (script("text", "exit 0\n"), 126, "text…no #! line".to_owned()),
        (script("empty", ""), 126, "empty is empty".to_owned()),
        (script("elf", "\x7fELF\x02\x01\x01 and no more"), 126, "elf is damaged, or".to_owned()),
        (dangling, 127, "dangling is a link to /no/such/file, which".to_owned()),
        (script("orphaned", "#!/no/such/sh -e\n"), 126, "/no/such/sh, which does not".to_owned()),
        (script("windows", "#!/bin/sh\r\nexit 0\r\n"), 126, "/bin/sh\\r, which".to_owned()),
    ]
}

fn target_that_cannot_start() {
    let scene = Scene::new();
    for (target, expected, sentence) in spoilt_targets(&scene) {
        let (code, log) = scene.restarter(&[], &[&target]).finish();
        assert_eq!(code, expected, "{target}: {log}");
        let said: Vec<&str> = log.lines().filter(|line| holds(line, &sentence)).collect();
        assert_eq!(said.len(), 1, "{sentence:?} for {target}: {log}");
        assert!(holds(said[0], "error not-started epoch=0: "), "{log}");
        scene.assert_empty();
    }
}

/// What a user may not reach is not the same as what does not exist.
fn unreachable_target() {
    let scene = Scene::new();
    let folder = scene.path("closed");
    std::fs::create_dir(&folder).expect("a folder in our folder");
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    std::fs::set_permissions(&folder, closed).expect("it is ours");
    // The restarter must be where another user can execute it.
    let program = scene.place("hot-restarter");
    std::fs::copy(support::restarter(), &program).expect("a copy in our folder");
    let inside = format!("{}/target", folder.display());
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let words: Vec<&str> = nobody.into_iter().chain([program.as_str(), &inside]).collect();
    let output = scene.command(&words).output().expect("setpriv is installed");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(126), "{log}");
    assert!(log.contains("this user may not enter its folder"), "{log}");
}

/// The same when epochs are in service: refused, and nothing has changed.
fn target_of_a_restart() {
    let scene = Scene::new();
    let serves = format!("#!/bin/sh\nexec {}\n", scene.probe_line("exit-on=TERM:0 wait"));
    let spoilt = spoilt_targets(&scene);
    let target = scene.script("target", &serves);
    let mut restarter = scene.restarter(&["--ready", "none"], &[&target]).start();
    let first = scene.journal().await_ready(1)[0];
    let files = spoilt.iter().filter(|(path, ..)| std::path::Path::new(path).is_file());
    for (times, (path, _, _)) in files.enumerate() {
        std::fs::rename(path, &target).expect("both are ours");
        restarter.signal(libc::SIGHUP);
        restarter.says_times("restart-refused epoch=1", times + 1);
    }
    assert!(scene.journal().signals(first).is_empty());
    scene.script("target", &serves);
    restarter.signal(libc::SIGHUP);
    scene.journal().await_ready(2);
    restarter.says(" started epoch=1 ");
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    scene.assert_empty();
}

/// A program without a slash is looked up; one that may not be executed hides none behind it.
fn program_in_path() {
    let scene = Scene::new();
    for folder in ["first", "second"] {
        std::fs::create_dir(scene.path(folder)).expect("a folder in our folder");
    }
    std::fs::write(scene.path("first/server"), "not executable").expect("a file in our folder");
    scene.script("second/server", "#!/bin/sh\nexit 17\n");
    let path = format!("{}:{}:/usr/bin:/bin", scene.place("first"), scene.place("second"));
    let setup = scene.restarter(&[], &["server"]).with(|command| {
        command.env("PATH", path);
    });
    let (code, log) = setup.finish();
    assert_eq!(code, 17, "{log}");
}

/// Our own failure has a code of its own.
fn no_descriptors_left() {
    let scene = Scene::new();
    let wrapper = ["prlimit", "--nofile=3:3", "--"];
    let (code, log) = scene.wrapped_restarter(&wrapper, &[], &scene.probe("exit=0")).finish();
    assert_eq!(code, 125, "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(scene.journal().entries().is_empty(), "no target has begun");
}

/// Without standard input, output or error, or any of them, everything works, and no descriptor
/// of ours takes their place.
fn closed_descriptors(wrapper: &[&str]) {
    // A probe that is run at this level writes to our standard error.
    let by_a_probe = ["--log-level", "debug", "--ready", "exec:true"];
    let both = [&["--ready", "none"][..], &by_a_probe];
    let each = [&[0][..], &[1], &[2], &[1, 2], &[0, 1, 2]];
    for (options, closed) in both.iter().flat_map(|options| each.map(|closed| (options, closed))) {
        let scene = Scene::new();
        let target = scene.probe("report exit-on=TERM:0 catch=USR1 wait");
        let mut restarter = scene
            .wrapped_restarter(wrapper, options, &target)
            .with(|command| {
                for number in closed {
                    command.without_descriptor(*number);
                }
            })
            .start();
        let journal = scene.journal();
        let first = journal.await_ready(1)[0];
        restarter.signal(libc::SIGHUP);
        let second = journal.await_ready(2)[1];
        restarter.signal(libc::SIGUSR1);
        for probe in [first, second] {
            journal.await_signal(probe, libc::SIGUSR1);
            let report = journal.await_report(probe);
            // The probe's own journal takes the lowest number that is free.
            let taken: Vec<i32> = report
                .descriptors()
                .into_keys()
                .filter(|number| closed[1..].contains(number))
                .collect();
            assert!(taken.is_empty(), "{closed:?}: {report:?}");
        }
        restarter.signal(libc::SIGTERM);
        assert_eq!(restarter.code(), 0, "{closed:?}");
        scene.assert_empty();
    }
}
