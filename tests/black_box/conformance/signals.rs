//! Every signal, sent to an init: what becomes of it and of its target.

use libtest_mimic::Trial;
use support::scene::Scene;
use support::{eventually, processes};

use super::inits::{Init, Running};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("conformance::every_signal_to_a_catcher", Needs::Inits, every_signal_to_a_catcher),
        trial("conformance::every_signal_uncaught", Needs::Inits, every_signal_uncaught),
        trial("conformance::suspend_and_resume", Needs::Inits, suspend_and_resume),
        trial("conformance::another_stop_signal", Needs::Inits, another_stop_signal),
    ]
}

/// What a signal has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The target has heard it.
    Heard,
    /// Nothing has happened.
    Nothing,
    /// The init has ended with this code, its target with it.
    Ended(i32),
    /// The init is dead by it.
    Dead,
    /// The init is stopped, and its target as well.
    Suspended,
    /// The target is stopped, its init is not.
    TargetStopped,
    /// The target was started anew.
    Restarted,
}

/// Signals whose default is no end.
const HARMLESS: [i32; 4] = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];
/// Signals that stop a process by default.
const STOPPING: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
/// Faults of the init itself.
const FAULTS: [i32; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];
/// What the kernel raises for the init's own terminal and files.
const FOR_ITSELF: [i32; 4] = [libc::SIGTTIN, libc::SIGTTOU, libc::SIGPIPE, libc::SIGXFSZ];

/// Everything that can be sent, but for what nobody can catch.
fn all() -> impl Iterator<Item = i32> {
    (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal))
}

/// Sends a signal to an init over such a target, and looks.
fn outcome(init: Init, steps: &str, signal: i32) -> Outcome {
    let scene = Scene::new();
    let (mut running, probe) = init.serving(&scene, &format!("{steps} catch=26"));
    running.signal(signal);
    let state = |pid: i32| processes::process(pid).map(|process| process.state);
    let heard = |signal: &i32| scene.journal().signals(probe).contains(signal);
    // What comes of it comes before what comes of a later one.
    let _ = processes::signal(running.pid(), libc::SIGVTALRM);
    eventually(&format!("{signal} has come to something"), || {
        if let Some(code) = running.ended() {
            return Ok(if code < 0 { Outcome::Dead } else { Outcome::Ended(code) });
        }
        if scene.journal().writers("ready").len() > 1 {
            return Ok(Outcome::Restarted);
        }
        // That is not all that comes of them with us.
        if init == Init::Ours && [libc::SIGHUP, libc::SIGINT, libc::SIGTERM].contains(&signal) {
            return Err(running.state());
        }
        match (running.state(), state(probe)) {
            (Some('T'), Some('T')) => return Ok(Outcome::Suspended),
            (Some('S'), Some('T')) => return Ok(Outcome::TargetStopped),
            _ => {}
        }
        if signal == libc::SIGVTALRM || !heard(&libc::SIGVTALRM) {
            // The one that was looked for, or nothing yet.
            return if heard(&signal) { Ok(Outcome::Heard) } else { Err(running.state()) };
        }
        Ok(if heard(&signal) { Outcome::Heard } else { Outcome::Nothing })
    })
}

/// Of each signal, what it does by each init's own rules.
fn every_signal_to_a_catcher() {
    for init in Init::PROGRAMS {
        let expected = |signal: i32| match (init, signal) {
            (Init::Ours, libc::SIGHUP) => Outcome::Restarted,
            // A stop, by one signal whichever came.
            (Init::Ours, libc::SIGINT | libc::SIGTERM) => Outcome::Ended(0),
            (_, libc::SIGCHLD)
            | (Init::Ours, 32 | 33)
            | (Init::TiniSubreaper, libc::SIGTTIN | libc::SIGTTOU) => Outcome::Nothing,
            (Init::Ours, signal) if FOR_ITSELF.contains(&signal) => Outcome::Nothing,
            (Init::Catatonit, signal) if STOPPING.contains(&signal) => Outcome::Nothing,
            // It sends SIGSTOP instead, and stops itself.
            (Init::DumbInit, signal) if STOPPING.contains(&signal) => Outcome::Suspended,
            // The probe does not catch these.
            (Init::DumbInit, libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE) => {
                Outcome::Ended(128 + signal)
            }
            // The C libraries leave these out of every set.
            (_, 32 | 33) => Outcome::Dead,
            (_, signal) if init != Init::DumbInit && FAULTS.contains(&signal) => Outcome::Dead,
            _ => Outcome::Heard,
        };
        for signal in all() {
            let steps = "catch=all exit-on=INT:0 exit-on=TERM:0";
            let steps = if init == Init::Ours { steps } else { "catch=all" };
            assert_eq!(outcome(init, steps, signal), expected(signal), "{init:?}: {signal}");
        }
    }
}

/// A target that does not catch a signal dies of it, and the container ends: with others. Ours
/// forwards to those that catch, and is ended by what is meant to end it.
fn every_signal_uncaught() {
    for init in Init::PROGRAMS {
        let expected = |signal: i32| match (init, signal) {
            (Init::Ours, libc::SIGHUP) => Outcome::Restarted,
            (Init::Ours, libc::SIGINT | libc::SIGTERM) => Outcome::Ended(0),
            (Init::Ours, libc::SIGQUIT) => Outcome::Ended(128 + signal),
            (Init::Ours, signal) if FAULTS.contains(&signal) => Outcome::Dead,
            // The target of this trial catches that one, to tell what has come before.
            (_, libc::SIGVTALRM) => Outcome::Heard,
            (Init::Ours, _) => Outcome::Nothing,
            (_, 32 | 33) => Outcome::Dead,
            (Init::TiniSubreaper, libc::SIGTSTP) => Outcome::TargetStopped,
            (Init::DumbInit, signal) if STOPPING.contains(&signal) => Outcome::Suspended,
            (_, signal) if HARMLESS.contains(&signal) || STOPPING.contains(&signal) => {
                Outcome::Nothing
            }
            (Init::DumbInit, signal) => Outcome::Ended(128 + signal),
            (_, signal) if FAULTS.contains(&signal) => Outcome::Dead,
            _ => Outcome::Ended(128 + signal),
        };
        for signal in all() {
            assert_eq!(outcome(init, "", signal), expected(signal), "{init:?}: {signal}");
        }
    }
}

/// dumb-init stops with its session and goes on with it, for a shell whose job it is. We are
/// suspended by Ctrl-Z at a terminal alone; a server that somebody else stops goes on.
fn suspend_and_resume() {
    for signal in STOPPING {
        let scene = Scene::new();
        let (mut dumb_init, probe) = Init::DumbInit.serving(&scene, "catch=CONT");
        dumb_init.signal(signal);
        await_state(&dumb_init, probe, 'T');
        processes::signal(dumb_init.pid(), libc::SIGCONT);
        scene.journal().await_signal(probe, libc::SIGCONT);
        await_state(&dumb_init, probe, 'S');

        let scene = Scene::new();
        let (mut ours, probe) = Init::Ours.serving(&scene, "catch=CONT");
        ours.signal(signal);
        ours.signal(libc::SIGCONT);
        scene.journal().await_signal(probe, libc::SIGCONT);
        await_state(&ours, probe, 'S');
        // Stopped by what nobody can catch, we go on where we were.
        processes::signal(ours.pid(), libc::SIGSTOP);
        eventually("we are stopped", || if ours.state() == Some('T') { Ok(()) } else { Err(()) });
        processes::signal(ours.pid(), libc::SIGTERM);
        processes::signal(ours.pid(), libc::SIGCONT);
        assert_eq!(ours.code(), 0);
        scene.assert_empty();
    }
}

fn await_state(init: &Running, target: i32, expected: char) {
    eventually(&format!("both are in state {expected}"), || {
        let target = processes::process(target).map(|process| process.state);
        let states = [init.state(), target];
        if states == [Some(expected); 2] { Ok(()) } else { Err(states) }
    });
}

/// `dumb-init --rewrite 15:3`, for servers that want another signal for a clean end.
fn another_stop_signal() {
    let cases = [(Init::DumbInit, "--rewrite", "15:3"), (Init::Ours, "--stop-signal", "QUIT")];
    for (init, option, value) in cases {
        let scene = Scene::new();
        let steps = "catch=TERM exit-on=QUIT:0 wait";
        let words: Vec<String> =
            [option, value].map(str::to_owned).into_iter().chain(scene.probe(steps)).collect();
        let mut running = Running::of(init.command(&scene, &[], &words));
        let probe = scene.journal().await_ready(1)[0];
        running.signal(libc::SIGTERM);
        assert_eq!(running.code(), 0, "{init:?}");
        assert_eq!(scene.journal().signals(probe), [libc::SIGQUIT], "{init:?}");
    }
}
