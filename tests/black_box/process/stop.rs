//! From SIGTERM to our own exit.

use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use support::inherit::Inherit;
use support::scene::Scene;
use support::{eventually, namespace, processes};

use super::{restarted, serving, stop_cleanly};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("process::signal_before_the_start", Needs::Nothing, signal_before_the_start),
        trial("process::term_at_the_start", Needs::Nothing, term_at_the_start),
        trial("process::term_and_int_stop", Needs::Nothing, term_and_int_stop),
        trial("process::second_term_extends_nothing", Needs::Nothing, second_term_extends_nothing),
        trial("process::term_wait_is_over", Needs::Nothing, term_wait_is_over),
        trial("process::stopped_child_can_end", Needs::Nothing, stopped_child_can_end),
        trial("process::any_end_is_clean_in_a_stop", Needs::Nothing, any_end_is_clean_in_a_stop),
        trial("process::exit_beside_a_term", Needs::Nothing, || exit_beside_a_term(&[])),
        trial("pid1::exit_beside_a_term", Needs::Namespace, || {
            exit_beside_a_term(namespace::wrapper());
        }),
        trial("process::orphans_are_stopped_once", Needs::Nothing, orphans_are_stopped_once),
        trial("process::killed_restarter_takes_leaders", Needs::Nothing, killed_takes_leaders),
    ]
}

/// What was sent when we had not even been executed, and waits because it is blocked.
fn signal_before_the_start() {
    for _ in 0..20 {
        let scene = Scene::new();
        let target = scene.probe("exit-on=TERM:0 unblock=TERM wait");
        let (code, log) = scene
            .restarter(&[], &target)
            .with(|command| {
                command.blocking(&[libc::SIGTERM]).after(libc::SIGTERM);
            })
            .finish();
        assert_eq!(code, 0, "{log}");
        scene.assert_empty();
    }
}

/// No signal that arrives after our first system calls is lost, and none of them ends us.
fn term_at_the_start() {
    for _ in 0..100 {
        let scene = Scene::new();
        let mut restarter = scene.restarter(&[], &scene.probe("exit-on=TERM:0 wait")).start();
        eventually("signals are blocked", || match processes::blocked(restarter.pid()) {
            0 => Err(restarter.log()),
            _ => Ok(()),
        });
        restarter.signal(libc::SIGTERM);
        assert_eq!(restarter.code(), 0, "{}", restarter.log());
        scene.assert_empty();
    }
}

fn term_and_int_stop() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let scene = Scene::new();
        let steps = "exit-on=TERM:0 catch=INT wait";
        let (mut restarter, first) = serving(&scene, &["--ready", "none"], steps);
        let second = restarted(&scene, &restarter);
        restarter.signal(signal);
        assert_eq!(restarter.code(), 0, "{}", restarter.log());
        scene.assert_empty();
        for probe in [first, second] {
            assert_eq!(scene.journal().signals(probe), [libc::SIGTERM], "once, and as TERM");
        }
    }
}

/// If it did, this would never end.
fn second_term_extends_nothing() {
    let scene = Scene::new();
    let (mut restarter, probe) = serving(&scene, &["--term-wait", "1"], "catch=TERM,INT wait");
    let pid = restarter.pid();
    restarter.signal(libc::SIGTERM);
    restarter.says(" stopping");
    eventually("the restarter has ended", || {
        if restarter.ended().is_some() {
            return Ok(());
        }
        processes::signal(pid, libc::SIGTERM);
        processes::signal(pid, libc::SIGINT);
        thread::sleep(Duration::from_millis(20));
        Err(restarter.log())
    });
    assert_eq!(restarter.code(), 1, "{}", restarter.log());
    restarter.says("stopping already");
    assert_eq!(scene.journal().signals(probe), [libc::SIGTERM], "each process gets it once");
    scene.assert_empty();
}

fn term_wait_is_over() {
    let scene = Scene::new();
    // In the group, in a session of its own, and an orphan in a session of its own.
    let steps = "ignore=TERM fork [ wait ] fork [ setsid wait ] \
                 fork [ fork [ setsid wait ] ] wait";
    let (mut restarter, _) = serving(&scene, &["--term-wait", "0.5"], steps);
    scene.journal().await_ready(4);
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 1, "{}", restarter.log());
    assert_eq!(restarter.lines("term-wait-over"), 1, "{}", restarter.log());
    scene.assert_empty();
}

/// A stopped process acts on SIGTERM when it goes on.
fn stopped_child_can_end() {
    let scene = Scene::new();
    let orphan = "fork [ fork [ setsid exit-on=TERM:0 say=orphan raise=STOP wait ] ] reap";
    let steps = format!("{orphan} exit-on=TERM:0 say=leader raise=STOP wait");
    let restarter = scene.restarter(&[], &scene.probe(&steps)).start();
    for name in ["orphan", "leader"] {
        let pid = scene.journal().await_said(name);
        eventually("it is stopped", || match processes::process(pid) {
            Some(process) if process.state == 'T' => Ok(()),
            seen => Err(seen),
        });
    }
    stop_cleanly(&scene, restarter);
}

fn any_end_is_clean_in_a_stop() {
    for steps in ["exit-on=TERM:3 wait", "die-on=TERM wait", "wait"] {
        let scene = Scene::new();
        let (restarter, _) = serving(&scene, &[], steps);
        stop_cleanly(&scene, restarter);
    }
}

/// Whoever stops us and sees an epoch fail at the same time has stopped us.
fn exit_beside_a_term(wrapper: &[&str]) {
    let scene = Scene::new();
    let target = scene.probe("exit-on=USR2:5 wait");
    let mut restarter = scene.wrapped_restarter(wrapper, &[], &target).start();
    scene.journal().await_ready(1);
    // By its number in our own namespace.
    let probe = processes::children(restarter.pid())[0].pid;
    restarter.signal(libc::SIGSTOP);
    processes::signal(probe, libc::SIGUSR2);
    eventually("the probe has ended", || match processes::process(probe) {
        Some(process) if process.state == 'Z' => Ok(()),
        seen => Err(seen),
    });
    restarter.signal(libc::SIGTERM);
    restarter.signal(libc::SIGCONT);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    scene.assert_empty();
}

/// Orphans have a session of their own or the group of an epoch that is told; each gets the stop
/// signal, and none of them twice.
fn orphans_are_stopped_once() {
    let scene = Scene::new();
    // Whoever is told ends only when the file is there, so that a second signal would be seen.
    let orphan = "catch=TERM say=orphan-ready await=GATE exit=0";
    let gate = scene.gate();
    let steps = format!("fork [ fork [ setsid {orphan} ] ] fork [ fork [ {orphan} ] ] {orphan}");
    let steps = steps.replace("GATE", &gate.to_string());
    let mut restarter = scene.restarter(&[], &scene.probe(&steps)).start();
    let journal = scene.journal();
    let said = || journal.entries().into_iter().filter(|entry| entry.rest == "orphan-ready");
    eventually("all three are there", || match said().count() {
        3 => Ok(()),
        _ => Err(journal.entries()),
    });
    restarter.signal(libc::SIGTERM);
    for entry in said() {
        journal.await_signal(entry.pid, libc::SIGTERM);
    }
    // Its next looks for orphans come while these still live; a second stop is no second signal.
    restarter.signal(libc::SIGTERM);
    restarter.says("stopping already");
    gate.open();
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    for entry in said() {
        assert_eq!(journal.signals(entry.pid), [libc::SIGTERM], "once");
    }
    scene.assert_empty();
}

/// Outside a container nobody else would end what we leave behind.
fn killed_takes_leaders() {
    let scene = Scene::new();
    let (mut restarter, first) = serving(&scene, &["--ready", "none"], "exit-on=TERM:0 wait");
    let second = restarted(&scene, &restarter);
    restarter.signal(libc::SIGKILL);
    assert_eq!(restarter.code(), 128 + libc::SIGKILL);
    for probe in [first, second] {
        scene.journal().await_signal(probe, libc::SIGTERM);
    }
    eventually("the leaders have ended", || {
        let left = scene.processes();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}
