//! Start scripts that do not `exec`, pipelines, sessions, and neighbours.

use libtest_mimic::Trial;
use support::namespace;
use support::scene::Scene;

use super::{init, stop_cleanly};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("pid1::script_without_exec", Needs::Namespace, script_without_exec),
        trial("pid1::pipe_to_tee", Needs::Namespace, pipe_to_tee),
        trial("pid1::setsid", Needs::Namespace, setsid),
        trial("pid1::neighbour", Needs::Namespace, || neighbour("exit-on=TERM:0", 0)),
        trial("pid1::neighbour_of_a_failure", Needs::Namespace, || {
            neighbour("ignore=TERM exit-on=USR2:3", 3);
        }),
    ]
}

/// The shell dies of the SIGTERM to its group, and the server, which has had it as well, must
/// not get it again as an orphan.
fn script_without_exec() {
    let scene = Scene::new();
    let gate = scene.gate();
    let server = scene.probe_line(&format!("catch=TERM,USR1 say=server await={gate}"));
    // Is an orphan from the same moment on, and has not had the signal by then.
    let witness = scene.probe_line(&format!("catch=TERM say=witness await={gate}"));
    let line = format!("setsid {witness} & {server}; true");
    let mut restarter = init(&scene, &["--ready", "none"], &["sh", "-c", &line]).start();
    let journal = scene.journal();
    let server = journal.await_said("server");
    let witness = journal.await_said("witness");
    restarter.signal(libc::SIGUSR1);
    journal.await_signal(server, libc::SIGUSR1);
    restarter.says("reopened…1 process");
    restarter.signal(libc::SIGTERM);
    // All orphans have been looked at, and whoever was to be told has been.
    journal.await_signal(witness, libc::SIGTERM);
    restarter.signal(libc::SIGTERM);
    restarter.says("stopping already");
    gate.open();
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert_eq!(journal.signals(server), [libc::SIGUSR1, libc::SIGTERM], "once");
    assert_eq!(journal.signals(witness), [libc::SIGTERM], "once");
    scene.assert_empty();
}

fn pipe_to_tee() {
    let scene = Scene::new();
    let server = scene.probe_line("catch=USR1 exit-on=TERM:0 wait");
    let line = format!("{server} | tee {}", scene.place("log-of-server"));
    let restarter = init(&scene, &["--ready", "none"], &["sh", "-c", &line]).start();
    let journal = scene.journal();
    let first = journal.await_ready(1)[0];
    restarter.signal(libc::SIGUSR1);
    journal.await_signal(first, libc::SIGUSR1);
    restarter.signal(libc::SIGHUP);
    let second = journal.await_ready(2)[1];
    restarter.signal(libc::SIGUSR1);
    journal.await_signal(second, libc::SIGUSR1);
    stop_cleanly(&scene, restarter);
}

fn setsid() {
    for line in ["setsid --wait SERVER; true", "setsid SERVER & wait"] {
        let scene = Scene::new();
        let server = scene.probe_line("catch=USR1 exit-on=TERM:0 wait");
        let line = line.replace("SERVER", &server);
        let restarter = init(&scene, &["--ready", "none"], &["sh", "-c", &line]).start();
        let journal = scene.journal();
        let server = journal.await_ready(1)[0];
        restarter.signal(libc::SIGUSR1);
        journal.await_signal(server, libc::SIGUSR1);
        stop_cleanly(&scene, restarter);
        let expected = [libc::SIGUSR1, libc::SIGTERM];
        assert_eq!(journal.signals(server), expected, "{line}");
    }
}

/// In a pod that shares its PID namespace another init is PID 1, and its other processes are
/// none of our business, whatever happens to ours.
fn neighbour(server: &str, expected: i32) {
    let scene = Scene::new();
    let neighbour =
        "catch=all fork [ catch=all wait ] fork [ fork [ setsid catch=all wait ] ] wait";
    let script = format!("{} & \"$@\"; exit $?", scene.probe_line(neighbour));
    let wrapper = [namespace::wrapper(), &["sh", "-c", &script, "sh"]].concat();
    let steps = format!("{server} fork [ fork [ setsid ] ] report say=ours wait");
    let target = scene.probe(&steps);
    let mut restarter = scene.wrapped_restarter(&wrapper, &[], &target).start();
    let journal = scene.journal();
    journal.await_ready(4);
    let ours = journal.await_said("ours");
    assert_ne!(journal.await_report(ours).number("ppid"), 1, "another is PID 1");
    let neighbours: Vec<i32> =
        journal.await_ready(4).into_iter().filter(|pid| *pid != ours).collect();
    assert_eq!(neighbours.len(), 3);
    restarter.settle();
    restarter.signal(if expected == 0 { libc::SIGTERM } else { libc::SIGUSR2 });
    assert_eq!(restarter.code(), expected, "{}", restarter.log());
    for neighbour in neighbours {
        let signals = journal.signals(neighbour);
        // Its own child has ended; that is the kernel's word and not ours.
        let ours = signals.iter().filter(|signal| **signal != libc::SIGCHLD);
        assert_eq!(ours.count(), 0, "{neighbour}: {signals:?}");
    }
    scene.assert_empty();
}
