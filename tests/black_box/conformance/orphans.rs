//! Who is reaped, by whom, and what happens to those who stay behind.

use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::Trial;
use support::scene::Scene;
use support::{eventually, namespace, processes};

use super::inits::{Init, Running};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("conformance::idle", Needs::Inits, idle),
        trial("conformance::subreaper", Needs::Inits, subreaper),
        trial("conformance::as_pid_1", Needs::InitsAsPid1, as_pid_1),
        trial("conformance::shell_that_backgrounds", Needs::Inits, shell_that_backgrounds),
        trial("conformance::whole_group", Needs::Inits, whole_group),
        trial("conformance::death_of_the_init", Needs::Inits, death_of_the_init),
        trial("conformance::death_of_its_parent", Needs::Inits, death_of_its_parent),
    ]
}

/// Who waits is not woken by a clock. tini looks for orphans every second, which shows that it would
/// be seen.
fn idle() {
    for init in Init::PROGRAMS {
        let scene = Scene::new();
        let (running, _) = init.serving(&scene, "");
        let wakes = eventually("it is past its start", || {
            let before = processes::switches(running.pid());
            std::thread::sleep(Duration::from_millis(2500));
            let wakes = processes::switches(running.pid()) - before;
            // The start of a busy machine may take that long.
            if wakes == 0 || init == Init::TiniSubreaper { Ok(wakes) } else { Err(wakes) }
        });
        assert_eq!(wakes > 0, init == Init::TiniSubreaper, "{init:?}: {wakes}");
    }
}

/// Outside a PID namespace of its own an init is handed orphans only if it asks for them. The
/// controls do not, and there the case must fail.
fn subreaper() {
    let cases = [
        (Init::Ours, true),
        (Init::TiniSubreaper, true),
        (Init::Catatonit, true),
        (Init::Tini, false),
        (Init::DumbInit, false),
    ];
    for (init, expected) in cases {
        let scene = Scene::new();
        let gate = scene.gate();
        let orphan = format!("fork [ fork [ setsid say=orphan await={gate} ] ] reap");
        let (running, probe) = init.serving(&scene, &orphan);
        let orphan = scene.journal().await_said("orphan");
        let parent = processes::process(orphan).expect("it waits").parent;
        assert_eq!(parent == running.pid(), expected, "{init:?} has {orphan}");
        gate.open();
        if expected {
            eventually("the orphan is reaped", || {
                let children = processes::children(running.pid());
                let own = children.iter().map(|child| child.pid).collect::<Vec<_>>();
                if own == [probe] { Ok(()) } else { Err(children) }
            });
        }
        // Nobody complains of not being PID 1, except tini where it does not reap.
        let log = std::fs::read_to_string(scene.path("log")).expect("a log");
        assert_eq!(log.contains("zombie reaping won't work"), init == Init::Tini, "{log}");
    }
}

/// Everybody reaps as PID 1; that somebody who does not leaves zombies shows
/// `pid1::unreaped_orphans_stay`.
fn as_pid_1() {
    const ORPHANS: usize = 100;
    for init in Init::PROGRAMS {
        let scene = Scene::new();
        let gate = scene.gate();
        let burst = format!("fork [ repeat={ORPHANS} [ fork [ say=born await={gate} ] ] ] reap");
        let mut command =
            init.command(&scene, namespace::wrapper(), &scene.probe(&format!("{burst} wait")));
        // `unshare` is killed by the trial, and complains.
        command.stderr(Stdio::null());
        let unshare = Running::of(command);
        scene.journal().await_ready(1);
        scene.journal().await_writers("say", ORPHANS);
        let pid_1 = processes::children(unshare.pid())[0].pid;
        eventually("all orphans are its children", || {
            let children = processes::children(pid_1).len();
            if children == ORPHANS + 1 { Ok(()) } else { Err(children) }
        });
        gate.open();
        eventually("all orphans are reaped", || {
            let children = processes::children(pid_1).len();
            if children == 1 { Ok(()) } else { Err(children) }
        });
        processes::signal(pid_1, libc::SIGKILL);
    }
}

/// A script whose last line is `server &` ends, and what it has started is not left running. Who
/// signals nothing but its child leaves it, outside a namespace of its own.
fn shell_that_backgrounds() {
    let cases = [
        (Init::Ours, true),
        (Init::DumbInit, true),
        (Init::DumbInitSingle, false),
        (Init::Tini, false),
        (Init::Catatonit, false),
    ];
    for (init, expected) in cases {
        let scene = Scene::new();
        let gate = scene.gate();
        let server = scene.probe_line("catch=TERM exit-on=TERM:0 wait");
        let script = format!("{server} & flock -s {gate} true");
        let mut running = Running::of(init.over(&scene, &["sh", "-c", &script]));
        let server = scene.journal().await_ready(1)[0];
        gate.open();
        assert_eq!(running.code(), 0, "{init:?}");
        if expected {
            scene.journal().await_signal(server, libc::SIGTERM);
        } else {
            assert!(processes::process(server).is_some(), "{init:?}");
            assert!(scene.journal().signals(server).is_empty(), "{init:?}");
        }
        if init == Init::Ours {
            scene.assert_empty();
        }
    }
}

/// A shell that waits for its child hears a signal and does nothing; its child, which would end,
/// hears it only where the whole group does.
fn whole_group() {
    let cases = [
        (Init::Ours, true),
        (Init::TiniGroup, true),
        (Init::DumbInit, true),
        (Init::CatatonitGroup, true),
        (Init::TiniSubreaper, false),
        (Init::DumbInitSingle, false),
        (Init::Catatonit, false),
    ];
    for (init, expected) in cases {
        let scene = Scene::new();
        let steps = "fork [ exit-on=TERM:0 say=child wait ] catch=TERM,USR1 say=shell reap";
        let mut running = init.start(&scene, steps);
        scene.journal().await_ready(1);
        let [child, shell] = ["child", "shell"].map(|name| scene.journal().await_said(name));
        running.signal(libc::SIGTERM);
        scene.journal().await_signal(shell, libc::SIGTERM);
        if expected {
            scene.journal().await_signal(child, libc::SIGTERM);
            assert_eq!(running.code(), 0, "{init:?}");
            continue;
        }
        // What was sent later has come, and the child has heard nothing.
        running.signal(libc::SIGUSR1);
        scene.journal().await_signal(shell, libc::SIGUSR1);
        assert!(scene.journal().signals(child).is_empty(), "{init:?}");
        assert_eq!(running.ended(), None, "{init:?}");
    }
}

/// Outside a PID namespace the death of an init need not be that of its target. Ours is asked to
/// end, so that the next start finds no ports taken.
fn death_of_the_init() {
    for init in Init::PROGRAMS {
        let scene = Scene::new();
        let (mut running, probe) = init.serving(&scene, "report catch=USR1 exit-on=TERM:0");
        let expected = init == Init::Ours;
        let signal = scene.journal().await_report(probe).number("deathsig");
        assert_eq!(signal, if expected { libc::SIGTERM.into() } else { 0 }, "{init:?}");
        processes::signal(running.pid(), libc::SIGKILL);
        assert_eq!(running.code(), -libc::SIGKILL);
        if expected {
            scene.journal().await_signal(probe, libc::SIGTERM);
            continue;
        }
        processes::signal(probe, libc::SIGUSR1);
        scene.journal().await_signal(probe, libc::SIGUSR1);
        assert_eq!(scene.journal().signals(probe), [libc::SIGUSR1], "{init:?}");
    }
}

/// `tini -p SIGTERM`; with us the program that is for that does it, and without it we live on.
fn death_of_its_parent() {
    let setpriv = ["setpriv", "--pdeathsig", "TERM"];
    let cases: [(Init, &[&str], &[&str], bool); 4] = [
        (Init::Ours, &setpriv, &[], true),
        (Init::Ours, &[], &[], false),
        (Init::TiniSubreaper, &[], &["-p", "SIGTERM"], true),
        (Init::TiniSubreaper, &[], &[], false),
    ];
    for (init, before, options, expected) in cases {
        let scene = Scene::new();
        // The parent of the init, which the trial ends; it must not become it by `exec`.
        let parent = ["sh", "-c", "\"$@\" & wait", "sh"];
        let words = scene.probe("catch=USR1 exit-on=TERM:0 wait");
        let words: Vec<String> =
            [options, &["--"]].concat().into_iter().map(str::to_owned).chain(words).collect();
        let command = init.command(&scene, &[&parent[..], before].concat(), &words);
        let mut parent = Running::of(command);
        let probe = scene.journal().await_ready(1)[0];
        processes::signal(parent.pid(), libc::SIGKILL);
        parent.code();
        if expected {
            scene.journal().await_signal(probe, libc::SIGTERM);
            scene.await_processes(0);
            continue;
        }
        let init = processes::process(probe).expect("it waits").parent;
        processes::signal(init, libc::SIGUSR1);
        scene.journal().await_signal(probe, libc::SIGUSR1);
        assert_eq!(scene.journal().signals(probe), [libc::SIGUSR1]);
    }
}
