//! Exit codes, what cannot be started, and the words of a command line.

use std::process::Stdio;

use libtest_mimic::Trial;
use support::scene::Scene;

use super::inits::{Init, Running};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("conformance::every_exit_code", Needs::Inits, every_exit_code),
        trial("conformance::every_deadly_signal", Needs::Inits, every_deadly_signal),
        trial("conformance::asked_to_end", Needs::Inits, asked_to_end),
        trial("conformance::exit_code_made_0", Needs::Inits, exit_code_made_0),
        trial("conformance::no_such_program", Needs::Inits, no_such_program),
        trial("conformance::usage", Needs::Inits, usage),
        trial("conformance::words", Needs::Inits, words),
    ]
}

fn every_exit_code() {
    for init in Init::PROGRAMS {
        for code in 0..=255 {
            assert_eq!(init.code(&format!("exit={code}")), code, "{init:?}");
        }
    }
}

fn every_deadly_signal() {
    let harmless = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];
    let stopping = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    for init in Init::PROGRAMS {
        for signal in (1..=64).filter(|it| !harmless.contains(it) && !stopping.contains(it)) {
            assert_eq!(init.code(&format!("die={signal}")), 128 + signal, "{init:?}");
        }
    }
}

/// A stop that everybody survives as they should is no failure: that they die of SIGTERM, or exit
/// with what they like, is their business.
fn asked_to_end() {
    for (steps, code) in [("", 128 + libc::SIGTERM), ("exit-on=TERM:7", 7), ("exit-on=TERM:0", 0)] {
        for init in Init::PROGRAMS {
            let scene = Scene::new();
            let (mut running, _) = init.serving(&scene, steps);
            running.signal(libc::SIGTERM);
            let expected = if init == Init::Ours { 0 } else { code };
            assert_eq!(running.code(), expected, "{init:?}: {steps}");
        }
    }
}

/// What `tini -e 143` is used for, needs no option; and nobody makes a failure a success.
fn exit_code_made_0() {
    let scene = Scene::new();
    let words = ["-e", "143", "--"].map(str::to_owned).into_iter();
    let words: Vec<String> = words.chain(scene.probe("wait")).collect();
    let mut tini = Running::of(Init::Tini.command(&scene, &[], &words));
    scene.journal().await_ready(1);
    tini.signal(libc::SIGTERM);
    assert_eq!(tini.code(), 0);

    let scene = Scene::new();
    let (mut ours, probe) = Init::Ours.serving(&scene, "");
    ours.signal(libc::SIGTERM);
    assert_eq!(ours.code(), 0);
    assert!(support::processes::process(probe).is_none());
    assert_eq!(Init::Ours.code("exit=143"), 143, "of itself, and not because it was asked to");
}

fn no_such_program() {
    let scene = Scene::new();
    let plain = scene.place("plain");
    std::fs::write(&plain, "#!/bin/sh\n").expect("a file in our folder");
    let cases = [("/no/such", 127), ("no-such-program", 127), (&plain, 126), ("/", 126)];
    for (program, code) in cases {
        for init in Init::PROGRAMS {
            let theirs = [(Init::DumbInit, 2), (Init::Catatonit, 1)];
            let theirs = theirs.iter().find(|(of, _)| *of == init);
            let expected = theirs.map_or(code, |(_, code)| *code);
            let mut running = Running::of(init.command(&scene, &[], &["--", program]));
            assert_eq!(running.code(), expected, "{init:?}: {program}");
            let log = std::fs::read_to_string(scene.path("log")).expect("a log");
            assert!(!log.is_empty(), "{init:?} says nothing");
            assert!(init == Init::Catatonit || log.contains(program), "{init:?}: {log}");
        }
    }
}

fn usage() {
    // Without an option that would stand before ours.
    const PROGRAMS: [Init; 4] = [Init::Ours, Init::Tini, Init::DumbInit, Init::Catatonit];
    let scene = Scene::new();
    let code = |init: Init, words: &[&str]| {
        let mut command = init.command(&scene, &[], words);
        command.stdout(Stdio::null());
        Running::of(command).code()
    };
    for words in [&[][..], &["--"], &["--no-such-option"], &["--no-such-option", "true"]] {
        for init in PROGRAMS {
            let expected = if init == Init::Ours { 2 } else { 1 };
            assert_eq!(code(init, words), expected, "{init:?}: {words:?}");
        }
    }
    for init in PROGRAMS {
        assert_eq!(code(init, &["-h"]), 0, "{init:?}");
        assert_eq!(code(init, &["--version"]), 0, "{init:?}");
    }
}

/// Words go to the target as they are, empty ones included, and its name is its own.
fn words() {
    let shown = |mut command: std::process::Command| {
        String::from_utf8(command.output().expect("a program").stdout).expect("text")
    };
    let words = ["sh", "-c", "tr '\\0' '|' < /proc/$$/cmdline; :"];
    let words = [&words[..], &["", "a b", "--", "-x", "$(X) *", ""]].concat();
    let scene = Scene::new();
    let direct = shown(scene.command(&words));
    assert!(direct.contains("||a b|--|-x|$(X) *||"), "{direct}");
    for init in Init::PROGRAMS {
        // Others take the target's options for their own.
        let ends_itself = [Init::Ours, Init::DumbInit].contains(&init);
        let bare = if ends_itself { &[][..] } else { &["--"] };
        for before in [bare, &["--"]] {
            let command = init.command(&scene, &[], &[before, &words].concat());
            assert_eq!(shown(command), direct, "{init:?}");
        }
    }
}
