//! What epochs leave behind, and PID 1 is handed.

use std::process::Stdio;

use libtest_mimic::Trial;
use support::scene::{Gate, Restarter, Scene};
use support::{eventually, namespace, processes};

use super::{init, stop_cleanly};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("pid1::unreaped_orphans_stay", Needs::Namespace, unreaped_orphans_stay),
        trial("pid1::thousand_orphans", Needs::Namespace, thousand_orphans),
        trial("pid1::stream_of_orphans", Needs::Namespace, stream_of_orphans),
        trial("pid1::double_fork", Needs::Namespace, double_fork),
        trial("pid1::orphan_dies_by_any_signal", Needs::Namespace, orphan_dies_by_any_signal),
        trial("pid1::orphan_in_a_session_is_told_once", Needs::Namespace, told_once),
        trial("pid1::stubborn_orphan_is_killed", Needs::Namespace, stubborn_orphan_is_killed),
    ]
}

/// Waits until PID 1 has just this one child, and no zombie.
fn await_one_child(restarter: &Restarter) {
    eventually("all orphans are reaped", || {
        let children = processes::children(restarter.pid());
        if children.len() == 1 { Ok(()) } else { Err((children.len(), restarter.zombies())) }
    });
}

/// A leader whose grandchildren are all handed to PID 1, and end when the gate opens.
fn burst(gate: &Gate, orphans: usize) -> String {
    let burst = format!("fork [ repeat={orphans} [ fork [ say=born await={gate} ] ] ]");
    format!("{burst} exit-on=TERM:0 reap wait")
}

/// A PID 1 that does not reap keeps them as zombies.
fn unreaped_orphans_stay() {
    let scene = Scene::new();
    let gate = scene.gate();
    let idle = scene.probe(&format!("fork [ {} ] wait", burst(&gate, 10)));
    let words = namespace::wrapper().iter().map(|word| (*word).to_owned());
    let mut command = scene.command(&words.chain(idle).collect::<Vec<_>>());
    // It complains of its child's death.
    let mut unshare = command.stderr(Stdio::null()).spawn().expect("unshare");
    scene.journal().await_ready(2);
    scene.journal().await_writers("say", 10);
    gate.open();
    let init = processes::children(i32::try_from(unshare.id()).expect("a pid"))[0].pid;
    eventually("zombies stay", || {
        let children = processes::children(init);
        match children.iter().filter(|child| child.state == 'Z').count() {
            10 => Ok(()),
            _ => Err(children),
        }
    });
    processes::signal(init, libc::SIGKILL);
    let _ = unshare.wait();
}

fn thousand_orphans() {
    let scene = Scene::new();
    let gate = scene.gate();
    let restarter = init(&scene, &[], &scene.probe(&burst(&gate, 1000))).start();
    scene.journal().await_ready(1);
    scene.journal().await_writers("say", 1000);
    assert_eq!(processes::children(restarter.pid()).len(), 1001);
    gate.open();
    await_one_child(&restarter);
    stop_cleanly(&scene, restarter);
}

/// They must not stack up while more of them come, nor keep signals waiting.
fn stream_of_orphans() {
    let scene = Scene::new();
    let steps = "exit-on=TERM:0 \
                 repeat=20 [ repeat=1000 [ fork [ fork [ ] ] reap ] say=thousand ] wait";
    let restarter = init(&scene, &[], &scene.probe(steps)).start();
    for thousands in 1..=20 {
        scene.journal().await_writers("say", thousands);
        restarter.settle();
    }
    scene.journal().await_ready(1);
    await_one_child(&restarter);
    stop_cleanly(&scene, restarter);
}

/// A daemon lives on as a child of PID 1, and its end is nobody's failure.
fn double_fork() {
    let scene = Scene::new();
    let daemon = "fork [ setsid fork [ report exit-on=TERM:0 exit-on=USR2:9 wait ] ] reap";
    let steps = format!("{daemon} exit-on=TERM:0 wait");
    let restarter = init(&scene, &["--ready", "none"], &scene.probe(&steps)).start();
    scene.journal().await_ready(2);
    let daemon = scene.journal().await_writers("reported", 1)[0];
    let outside = processes::children(restarter.pid());
    let daemon_outside =
        outside.iter().find(|child| processes::numbers(child.pid).last() == Some(&daemon));
    let daemon_outside = daemon_outside.unwrap_or_else(|| panic!("{daemon} in {outside:?}")).pid;
    processes::signal(daemon_outside, libc::SIGUSR2);
    await_one_child(&restarter);
    restarter.settle();
    stop_cleanly(&scene, restarter);
}

/// Some libraries lose a child that a real-time signal ended.
fn orphan_dies_by_any_signal() {
    let scene = Scene::new();
    let gate = scene.gate();
    let dying = [libc::SIGKILL, libc::SIGSEGV, libc::SIGUSR1, 32, 33, 34, 50, 64]
        .map(|signal| format!("fork [ fork [ setsid await={gate} die={signal} ] ]"));
    let steps = format!("{} exit-on=TERM:0 wait", dying.join(" "));
    let restarter = init(&scene, &[], &scene.probe(&steps)).start();
    scene.journal().await_ready(1);
    gate.open();
    await_one_child(&restarter);
    stop_cleanly(&scene, restarter);
}

/// SIGTERM once and no more, also while others come and go.
fn told_once() {
    let scene = Scene::new();
    let gate = scene.gate();
    let orphan = format!("fork [ setsid catch=TERM say=orphan await={gate} ]");
    // The last ones are handed to PID 1 only when their parents end, which are told first.
    let late = format!("fork [ setsid {orphan} exit-on=TERM:0 say=parent wait ]");
    let steps = format!("fork [ repeat=5 [ {orphan} ] ] repeat=5 [ {late} ] exit-on=TERM:0 wait");
    let mut restarter = init(&scene, &[], &scene.probe(&steps)).start();
    let journal = scene.journal();
    journal.await_writers("say", 15);
    journal.await_ready(6);
    restarter.signal(libc::SIGTERM);
    let entries = journal.entries().into_iter();
    let orphans = entries.filter(|entry| entry.rest == "orphan").map(|entry| entry.pid);
    let orphans: Vec<i32> = orphans.collect();
    for orphan in &orphans {
        journal.await_signal(*orphan, libc::SIGTERM);
    }
    restarter.signal(libc::SIGTERM);
    restarter.says("stopping already");
    gate.open();
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert_eq!(orphans.len(), 10);
    for orphan in orphans {
        assert_eq!(journal.signals(orphan), [libc::SIGTERM]);
    }
    scene.assert_empty();
}

fn stubborn_orphan_is_killed() {
    let scene = Scene::new();
    let steps = "fork [ fork [ setsid ignore=TERM wait ] ] exit-on=TERM:0 reap wait";
    let mut restarter = init(&scene, &["--term-wait", "0.5"], &scene.probe(steps)).start();
    scene.journal().await_ready(2);
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 1, "{}", restarter.log());
    restarter.says("term-wait-over");
    scene.assert_empty();
}
