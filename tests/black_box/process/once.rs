//! The stop signal, whichever it is, reaches every process of ours once: a second one makes many
//! servers cut their drain.

use libtest_mimic::Trial;
use support::scene::{Restarter, Scene};
use support::{eventually, namespace, processes};

use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, number) in STOP_SIGNALS {
        let run = move |wrapper| move || stop_signal(wrapper, name, number);
        trials.push(trial(format!("process::stop_signal_{name}"), Needs::Nothing, run(&[])));
        let in_namespace = run(namespace::wrapper());
        trials.push(trial(format!("pid1::stop_signal_{name}"), Needs::Namespace, in_namespace));
    }
    for (name, line, at_once) in WRAPPERS {
        let run = move |wrapper| move || drains(wrapper, line, at_once);
        trials.push(trial(format!("process::drains_{name}"), Needs::Nothing, run(&[])));
        let in_namespace = run(namespace::wrapper());
        trials.push(trial(format!("pid1::drains_{name}"), Needs::Namespace, in_namespace));
    }
    trials
}

/// Those that ask servers to end somewhere, and some that would be forwarded but for the option.
const STOP_SIGNALS: [(&str, i32); 7] = [
    ("QUIT", libc::SIGQUIT),
    ("INT", libc::SIGINT),
    ("RTMIN+3", 37),
    ("SIGUSR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("WINCH", libc::SIGWINCH),
    ("HUP", libc::SIGHUP),
];

/// Ways to start a server, and whether the shell ends before anybody asks it to, with 0.
const WRAPPERS: [(&str, &str, bool); 7] = [
    ("behind_a_shell", "SERVER; true", false),
    ("behind_a_subshell", "(SERVER; true); true", false),
    ("behind_a_shell_that_waits", "SERVER & wait", false),
    ("behind_a_trap", "trap 'exit 0' TERM; SERVER & wait", false),
    ("in_a_pipeline", "SERVER | tee LOG", false),
    ("in_a_session", "setsid SERVER & wait", false),
    ("when_its_shell_has_gone", "SERVER & until test -e BEGUN; do sleep 0.01; done", true),
];

/// Every kind of process of an epoch, and of an orphan; the late one is handed to us when its
/// parent has been asked to end.
const KINDS: &str = "fork [ MANNERS fork [ setsid MANNERS say=late wait ] ENDS say=parent reap ] \
                     fork [ fork [ setsid MANNERS say=daemon wait ] ] \
                     fork [ fork [ MANNERS say=orphan-in-the-group wait ] ] \
                     MANNERS say=leader wait";

/// Waits until it has looked for orphans again: it wakes for that, and a few times at most for
/// what came before.
fn await_looks(restarter: &Restarter) {
    let pid = restarter.pid();
    let before = processes::switches(pid);
    eventually("it looks for orphans again", || {
        let now = processes::switches(pid);
        if now >= before + 10 { Ok(()) } else { Err((now, restarter.log())) }
    });
}

fn stop_signal(wrapper: &[&str], name: &str, number: i32) {
    let scene = Scene::new();
    // What it does otherwise must not come with it.
    let all = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1];
    let all = all.map(|signal| signal.to_string()).join(",");
    let gate = scene.gate();
    let steps = KINDS
        .replace("MANNERS", &format!("catch={all},{number}"))
        .replace("ENDS", &format!("exit-on={number}:0"))
        .replace("wait", &format!("await={gate} exit=0"));
    let options = ["--ready", "none", "--stop-signal", name];
    let mut restarter = scene.wrapped_restarter(wrapper, &options, &scene.probe(&steps)).start();
    let journal = scene.journal();
    let all = ["leader", "orphan-in-the-group", "daemon", "parent", "late"];
    let all = all.map(|name| (name, journal.await_said(name)));
    restarter.signal(libc::SIGTERM);
    for (_, pid) in &all {
        journal.await_signal(*pid, number);
    }
    // A second stop, by either signal, is not passed on.
    restarter.signal(libc::SIGTERM);
    restarter.says("stopping already");
    if number != libc::SIGHUP {
        restarter.signal(number);
    }
    await_looks(&restarter);
    gate.open();
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    for (name, pid) in all {
        assert_eq!(journal.signals(pid), [number], "{name}: once, and nothing else");
    }
    scene.assert_empty();
}

/// A server that takes its time to end must have it.
fn drains(wrapper: &[&str], line: &str, at_once: bool) {
    let scene = Scene::new();
    let gate = scene.gate();
    let begun = scene.place("begun");
    let server =
        scene.probe_line(&format!("catch=TERM say=server touch={begun} await={gate} say=drained"));
    let line = line.replace("SERVER", &server).replace("LOG", &scene.place("log-of-server"));
    let line = line.replace("BEGUN", &begun);
    let target = ["sh", "-c", &line];
    let mut restarter = scene.wrapped_restarter(wrapper, &["--ready", "none"], &target).start();
    let journal = scene.journal();
    let server = journal.await_said("server");
    if !at_once {
        restarter.signal(libc::SIGTERM);
    }
    journal.await_signal(server, libc::SIGTERM);
    restarter.signal(libc::SIGTERM);
    restarter.says("stopping already");
    await_looks(&restarter);
    gate.open();
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert_eq!(journal.await_said("drained"), server);
    assert_eq!(journal.signals(server), [libc::SIGTERM], "once");
    scene.assert_empty();
}
