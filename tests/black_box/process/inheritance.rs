//! What an epoch is given.

use std::fs::File;

use libtest_mimic::Trial;
use support::inherit::Inherit;
use support::journal::Report;
use support::processes;
use support::scene::Scene;

use super::{restarted, serving, stop_cleanly};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("process::fresh_epoch", Needs::Nothing, fresh_epoch),
        trial("process::inherited_mask", Needs::Nothing, inherited_mask),
        trial("process::inherited_dispositions", Needs::Nothing, inherited_dispositions),
        trial("process::inherited_child_ignored", Needs::Nothing, inherited_child_ignored),
        trial("process::inherited_descriptor", Needs::Nothing, inherited_descriptor),
        trial("process::orphans_are_adopted", Needs::Nothing, orphans_are_adopted),
    ]
}

/// Every signal that can be blocked or ignored.
fn all_signals() -> Vec<i32> {
    (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)).collect()
}

/// What a probe reports that no restarter stands above.
fn direct_report(scene: &Scene, change: impl FnOnce(&mut std::process::Command)) -> Report {
    let mut command = scene.command(&scene.probe("report"));
    command.current_dir(scene.path("")).stderr(File::create(scene.path("direct")).expect("ours"));
    change(&mut command);
    let mut child = command.spawn().expect("a probe");
    let report = scene.journal().await_report(i32::try_from(child.id()).expect("a pid"));
    child.wait().expect("it is our child");
    report
}

fn assert_same(under_restarter: &Report, direct: &Report) {
    for word in ["mask", "ignored", "cwd", "sid", "uid", "gid", "foreground"] {
        assert_eq!(under_restarter.text(word), direct.text(word), "{word}");
    }
    let descriptors = |report: &Report| -> Vec<(i32, String)> {
        // Each has a log of its own.
        let fds = report.descriptors().into_iter().filter(|(number, _)| *number != 2);
        fds.map(|(number, place)| (number, place.to_owned())).collect()
    };
    assert_eq!(descriptors(under_restarter), descriptors(direct));
}

fn fresh_epoch() {
    let scene = Scene::new();
    let direct = direct_report(&scene, |_| {});
    let steps = "report say=argument-$(RESTART_EPOCH) exit-on=TERM:0 wait";
    let restarter = scene
        .restarter(&["--ready", "none"], &scene.probe(steps))
        .with(|command| {
            command.current_dir(scene.path("")).env("RESTART_EPOCH", "77");
        })
        .start();
    for epoch in 0..3_usize {
        if epoch > 0 {
            restarter.signal(libc::SIGHUP);
        }
        let probe = scene.journal().await_ready(epoch + 1)[epoch];
        let report = scene.journal().await_report(probe);
        assert_same(&report, &direct);
        assert_eq!(report.text("epoch"), epoch.to_string());
        assert_eq!(scene.journal().await_said(&format!("argument-{epoch}")), probe);
        assert_eq!(report.number("pid"), i64::from(probe));
        assert_eq!(report.number("pgid"), i64::from(probe), "a process group of its own");
        assert_eq!(report.number("ppid"), i64::from(restarter.pid()));
        assert_eq!(report.number("deathsig"), i64::from(libc::SIGTERM));
    }
    stop_cleanly(&scene, restarter);
}

/// What is blocked goes on to the epochs, and we hear it all the same.
fn inherited_mask() {
    let scene = Scene::new();
    let direct = direct_report(&scene, |command| {
        command.blocking(&all_signals());
    });
    assert_ne!(direct.set("mask"), 0, "the trial blocks something");
    let steps = "report exit-on=TERM:0 unblock=TERM wait";
    let restarter = scene
        .restarter(&["--ready", "none"], &scene.probe(steps))
        .with(|command| {
            command.current_dir(scene.path("")).blocking(&all_signals());
        })
        .start();
    let probe = scene.journal().await_ready(1)[0];
    assert_same(&scene.journal().await_report(probe), &direct);
    let probe = restarted(&scene, &restarter);
    assert_same(&scene.journal().await_report(probe), &direct);
    stop_cleanly(&scene, restarter);
}

/// What is ignored goes on to the epochs, and we hear it all the same.
fn inherited_dispositions() {
    let few = [libc::SIGPIPE, libc::SIGCHLD, libc::SIGHUP];
    for ignored in [&few[..], &all_signals(), &[]] {
        let scene = Scene::new();
        let direct = direct_report(&scene, |command| {
            command.ignoring(ignored);
        });
        let steps = "report exit-on=TERM:0 wait";
        let restarter = scene
            .restarter(&["--ready", "none"], &scene.probe(steps))
            .with(|command| {
                command.current_dir(scene.path("")).ignoring(ignored);
            })
            .start();
        let probe = scene.journal().await_ready(1)[0];
        assert_same(&scene.journal().await_report(probe), &direct);
        let probe = restarted(&scene, &restarter);
        assert_same(&scene.journal().await_report(probe), &direct);
        stop_cleanly(&scene, restarter);
    }
}

/// While SIGCHLD is ignored the kernel forgets how a child has ended.
fn inherited_child_ignored() {
    for (steps, expected) in [("exit=7", 7), ("die=TERM", 128 + libc::SIGTERM), ("exit=0", 0)] {
        let scene = Scene::new();
        let setup = scene.restarter(&[], &scene.probe(steps));
        let setup = setup.with(|command| {
            command.ignoring(&[libc::SIGCHLD]).blocking(&[libc::SIGCHLD]);
        });
        let (code, log) = setup.finish();
        assert_eq!(code, expected, "{steps}: {log}");
        scene.assert_empty();
    }
}

fn inherited_descriptor() {
    let scene = Scene::new();
    let file = File::create(scene.path("inherited")).expect("a file in our folder");
    let restarter = scene
        .restarter(&["--ready", "none"], &scene.probe("report exit-on=TERM:0 wait"))
        .with(|command| {
            command.with_descriptor(42, file);
        })
        .start();
    let first = scene.journal().await_ready(1)[0];
    let second = restarted(&scene, &restarter);
    for probe in [first, second] {
        let report = scene.journal().await_report(probe);
        let place = report.descriptors().get(&42).map(|place| (*place).to_owned());
        let place = place.unwrap_or_else(|| panic!("no descriptor 42 in {report:?}"));
        assert!(place.ends_with(&scene.place("inherited")), "{place}");
    }
    stop_cleanly(&scene, restarter);
}

/// Outside a container we are no PID 1, and are handed orphans all the same.
fn orphans_are_adopted() {
    // The middle one is reaped before the leader is ready, so the orphan has its new parent.
    let orphaning =
        "fork [ fork [ setsid exit-on=TERM:0 say=orphan wait ] ] exit-on=TERM:0 reap wait";
    let parent_of_orphan = |scene: &Scene| {
        scene.journal().await_ready(2);
        let orphan = scene.journal().await_said("orphan");
        processes::process(orphan).expect("it waits for signals").parent
    };

    // The control: whoever does not ask for orphans is not handed them.
    let control = Scene::new();
    let shell = ["sh", "-c", "\"$@\" & wait", "sh"].map(str::to_owned);
    let words = [&shell[..], &control.probe(orphaning)].concat();
    let mut shell = control.command(&words).spawn().expect("a shell");
    assert_ne!(parent_of_orphan(&control), i32::try_from(shell.id()).expect("a pid"));
    for probe in control.journal().await_ready(2) {
        assert!(processes::signal(probe, libc::SIGTERM));
    }
    shell.wait().expect("it is our child");

    let scene = Scene::new();
    let (restarter, _) = serving(&scene, &[], orphaning);
    assert_eq!(parent_of_orphan(&scene), restarter.pid());
    stop_cleanly(&scene, restarter);
}
