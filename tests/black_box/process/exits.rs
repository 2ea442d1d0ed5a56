//! Exit codes, and the ends of epochs while others live.

use libtest_mimic::Trial;
use support::scene::Scene;
use support::{namespace, processes};

use super::{restarted, serving};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("process::every_exit_code", Needs::Nothing, || every_exit_code(&[])),
        trial("process::every_deadly_signal", Needs::Nothing, || every_deadly_signal(&[])),
        trial("pid1::every_exit_code", Needs::Namespace, || {
            every_exit_code(namespace::wrapper());
        }),
        trial("pid1::every_deadly_signal", Needs::Namespace, || {
            every_deadly_signal(namespace::wrapper());
        }),
        trial("process::core_dumps", Needs::Nothing, || core_dumps(&[])),
        trial("pid1::core_dumps", Needs::Namespace, || core_dumps(namespace::wrapper())),
        trial("process::newest_fails", Needs::Nothing, newest_fails),
        trial("process::older_fails", Needs::Nothing, older_fails),
        trial("process::newest_ready_ends_with_0", Needs::Nothing, newest_ready_ends_with_0),
        trial("process::last_epoch_leaves_orphans", Needs::Nothing, last_epoch_leaves_orphans),
        trial("process::last_epoch_leaves_stubborn_orphan", Needs::Nothing, stubborn_orphan),
    ]
}

fn ends_with(wrapper: &[&str], steps: &str) -> i32 {
    let scene = Scene::new();
    let (code, _) = scene.wrapped_restarter(wrapper, &[], &scene.probe(steps)).finish();
    scene.assert_empty();
    code
}

fn every_exit_code(wrapper: &[&str]) {
    for code in 0..=255 {
        assert_eq!(ends_with(wrapper, &format!("exit={code}")), code);
    }
}

fn every_deadly_signal(wrapper: &[&str]) {
    let ignored_by_default = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];
    let stopping = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    for signal in
        (1..=64).filter(|signal| !ignored_by_default.contains(signal) && !stopping.contains(signal))
    {
        assert_eq!(ends_with(wrapper, &format!("die={signal}")), 128 + signal);
    }
}

/// The kernel reports a death that leaves a core file, as far as the machine allows one, in
/// another way.
fn core_dumps(wrapper: &[&str]) {
    for signal in [libc::SIGQUIT, libc::SIGILL, libc::SIGABRT, libc::SIGSEGV, libc::SIGSYS] {
        let scene = Scene::new();
        let script = format!("ulimit -S -c $(ulimit -H -c) && kill -{signal} $$");
        let setup = scene.wrapped_restarter(wrapper, &[], &["sh", "-c", &script]);
        let folder = scene.path("");
        let (code, log) = setup
            .with(|command| {
                command.current_dir(folder);
            })
            .finish();
        assert_eq!(code, 128 + signal, "{log}");
        scene.assert_empty();
    }
}

/// Everything else is killed at once, orphans included, and the code is that epoch's own.
fn newest_fails() {
    let scene = Scene::new();
    let stubborn = "ignore=TERM fork [ fork [ setsid wait ] ] fork [ wait ]";
    let steps = format!("{stubborn} epoch=1 [ exit-on=USR2:23 ] wait");
    let (mut restarter, _) = serving(&scene, &["--ready", "none"], &steps);
    scene.journal().await_ready(3);
    restarter.signal(libc::SIGHUP);
    restarter.says(" started epoch=1 ");
    scene.journal().await_ready(6);
    restarter.signal(libc::SIGUSR2);
    assert_eq!(restarter.code(), 23, "{}", restarter.log());
    restarter.says("ended-unexpectedly epoch=1 …exited with 23");
    scene.assert_empty();
}

fn older_fails() {
    let scene = Scene::new();
    let (mut restarter, first) = serving(&scene, &["--ready", "none"], "ignore=TERM wait");
    restarted(&scene, &restarter);
    processes::signal(first, libc::SIGSEGV);
    assert_eq!(restarter.code(), 128 + libc::SIGSEGV, "{}", restarter.log());
    scene.assert_empty();
}

/// Nobody serves any more, so the older epoch is stopped as well, in order.
fn newest_ready_ends_with_0() {
    let scene = Scene::new();
    let steps = "exit-on=TERM:0 epoch=1 [ exit-on=USR2:0 ] wait";
    let (mut restarter, first) = serving(&scene, &["--ready", "none"], steps);
    restarted(&scene, &restarter);
    restarter.signal(libc::SIGUSR2);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert_eq!(scene.journal().signals(first), [libc::SIGTERM]);
    scene.assert_empty();
}

fn last_epoch_leaves_orphans() {
    let scene = Scene::new();
    let orphans = "repeat=3 [ fork [ setsid catch=USR2 exit-on=TERM:0 wait ] ] fork [ wait ]";
    let gate = scene.gate();
    let steps = format!("{orphans} await={gate} exit=0");
    let mut restarter = scene.restarter(&[], &scene.probe(&steps)).start();
    let orphans = scene.journal().await_ready(4);
    gate.open();
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    let told = orphans.iter().filter(|pid| !scene.journal().signals(**pid).is_empty());
    assert_eq!(told.count(), 3, "they end as in a stop");
    scene.assert_empty();
}

fn stubborn_orphan() {
    let scene = Scene::new();
    let gate = scene.gate();
    let steps = format!("fork [ setsid ignore=TERM wait ] await={gate} exit=0");
    let options = ["--term-wait", "0.3"];
    let mut restarter = scene.restarter(&options, &scene.probe(&steps)).start();
    scene.journal().await_ready(1);
    gate.open();
    assert_eq!(restarter.code(), 0, "the code stays that of the last epoch");
    restarter.says("term-wait-over");
    scene.assert_empty();
}
