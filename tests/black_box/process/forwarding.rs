//! The signals that are passed on, and to whom.

use libtest_mimic::Trial;
use support::eventually;
use support::processes;
use support::scene::{Restarter, Scene};

use super::{restarted, serving, stop_cleanly};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("process::usr1_to_catchers_only", Needs::Nothing, usr1_to_catchers_only),
        trial("process::usr1_that_forks", Needs::Nothing, usr1_that_forks),
        trial("process::signal_that_ends_the_leader", Needs::Nothing, signal_that_ends_the_leader),
        trial("process::usr1_to_every_epoch", Needs::Nothing, usr1_to_every_epoch),
        trial("process::usr1_unheard", Needs::Nothing, usr1_unheard),
        trial("process::usr1_waits_for_ready", Needs::Nothing, usr1_waits_for_ready),
        trial("process::older_dies_of_usr1", Needs::Nothing, older_dies_of_usr1),
        trial("process::exit_amid_many_signals", Needs::Nothing, exit_amid_many_signals),
        trial("process::client_amid_many_signals", Needs::Nothing, client_amid_many_signals),
        trial("process::stop_amid_many_signals", Needs::Nothing, stop_amid_many_signals),
        trial("process::stop_and_exit_amid_many_signals", Needs::Nothing, stop_and_exit_amid_many),
        trial("process::every_signal", Needs::Nothing, every_signal),
        trial("process::uncaught_signals_kill_nobody", Needs::Nothing, uncaught_kill_nobody),
    ]
}

/// To pass one on takes long where an epoch has many processes, and many may wait. What goes before
/// them, an exit or a stop, does not wait for all of them.
fn exit_amid_many_signals() {
    /// As many as are read at once.
    const SIGNALS: usize = 60;
    // Where the machine is busy the leader may not come to its end in time.
    let noticed_in_time = (0..50).any(|_| {
        let scene = Scene::new();
        let (mut restarter, _) = serving(&scene, &["--ready", "none"], "exit-on=40:0 wait");
        restarter.signal(libc::SIGSTOP);
        (0..SIGNALS).for_each(|_| restarter.signal(40));
        restarter.signal(libc::SIGCONT);
        assert_eq!(restarter.code(), 0, "{}", restarter.log());
        let log = restarter.log();
        let before = log.lines().take_while(|line| !line.contains("ended epoch=0"));
        before.filter(|line| line.contains("SIGRTMIN+6")).count() < SIGNALS
    });
    assert!(noticed_in_time, "an exit waits for every signal that is to be passed on");
}

/// How many signals an epoch of a hundred processes is [`flooded`] with.
const FLOOD: usize = 1000;

/// A restarter that passes many signals on, has begun to, and has not come to the end.
fn flooded(scene: &Scene) -> Restarter {
    let server = "catch=40 exit-on=TERM:0 exit-on=USR2:7 wait";
    let steps = format!("repeat=100 [ fork [ {server} ] ] {server}");
    let restarter = scene.restarter(&["--ready", "none"], &scene.probe(&steps)).start();
    scene.journal().await_ready(101);
    restarter.listens();
    restarter.signal(libc::SIGSTOP);
    (0..FLOOD).for_each(|_| restarter.signal(40));
    restarter.signal(libc::SIGCONT);
    // Those that are read first, 64 at most, are dealt with.
    restarter.says_times("SIGRTMIN+6", 100);
    restarter
}

/// Nor does a client: a probe of kubelet's, say, would have us killed.
fn client_amid_many_signals() {
    // Where the machine is busy the client may not come to its question in time.
    let answered_in_time = (0..10).any(|_| {
        let scene = Scene::new();
        let restarter = flooded(&scene);
        let answer = restarter.send(&["health"]);
        let passed_on = restarter.lines("SIGRTMIN+6");
        assert_eq!(answer.code, 0, "{answer:?}");
        stop_cleanly(&scene, restarter);
        passed_on < FLOOD
    });
    assert!(answered_in_time, "a client waits for every signal that is to be passed on");
}

/// Nor does a stop.
fn stop_amid_many_signals() {
    let begun_in_time = (0..10).any(|_| {
        let scene = Scene::new();
        let mut restarter = flooded(&scene);
        restarter.signal(libc::SIGTERM);
        assert_eq!(restarter.code(), 0, "{}", restarter.log());
        scene.assert_empty();
        let log = restarter.log();
        let before = log.lines().take_while(|line| !line.contains(" stopping: "));
        before.filter(|line| line.contains("SIGRTMIN+6")).count() < FLOOD
    });
    assert!(begun_in_time, "a stop waits for every signal that is to be passed on");
}

/// Whatever waits, an exit beside a stop belongs to the stop.
fn stop_and_exit_amid_many() {
    for _ in 0..5 {
        let scene = Scene::new();
        let mut restarter = flooded(&scene);
        restarter.signal(libc::SIGSTOP);
        let [leader] = &processes::children(restarter.pid())[..] else { panic!("one epoch") };
        processes::signal(leader.pid, libc::SIGUSR2);
        eventually("it has ended", || match processes::process(leader.pid) {
            Some(leader) if leader.state == 'Z' => Ok(()),
            leader => Err(leader),
        });
        restarter.signal(libc::SIGTERM);
        restarter.signal(libc::SIGCONT);
        assert_eq!(restarter.code(), 0, "{}", restarter.log());
        scene.assert_empty();
    }
}

/// A shell that waits for the real server would die of SIGUSR1.
fn usr1_to_catchers_only() {
    let scene = Scene::new();
    let steps = "fork [ catch=USR1 exit-on=TERM:0 say=member wait ] \
                 fork [ fork [ setsid catch=USR1 exit-on=TERM:0 say=strayed wait ] reap ] \
                 fork [ exit-on=TERM:0 say=bystander wait ] \
                 exit-on=TERM:0 say=leader wait";
    let restarter = scene.restarter(&["--ready", "none"], &scene.probe(steps)).start();
    let journal = scene.journal();
    journal.await_ready(4);
    restarter.signal(libc::SIGUSR1);
    for name in ["member", "strayed"] {
        journal.await_signal(journal.await_said(name), libc::SIGUSR1);
    }
    restarter.says("reopened…2 processes");
    for name in ["leader", "bystander"] {
        let pid = journal.await_said(name);
        assert!(processes::process(pid).is_some_and(|it| it.state != 'Z'), "{name} was killed");
    }
    stop_cleanly(&scene, restarter);
}

/// What a handler starts, a program that has the log rotated say, does not catch it yet.
fn usr1_that_forks() {
    let scene = Scene::new();
    let steps = "exit-on=TERM:0 fork-on=USR1 wait";
    let (restarter, _) = serving(&scene, &["--ready", "none"], steps);
    // Whether it is there when the epoch is looked at is a matter of moments.
    for times in 1..=50 {
        restarter.signal(libc::SIGUSR1);
        let forked = scene.journal().await_writers("say", times);
        restarter.says_times("reopened epoch=0", times);
        let last = processes::process(forked[times - 1]);
        assert!(last.is_some_and(|it| it.state != 'Z'), "it was killed");
    }
    stop_cleanly(&scene, restarter);
}

/// What it leaves in a session of its own was of the epoch when the signal came.
fn signal_that_ends_the_leader() {
    let scene = Scene::new();
    // The SIGTERM of the end that follows may be delivered before.
    let steps = "fork [ setsid catch=TERM exit-on=40:0 say=strayed wait ] exit-on=40:0 wait";
    let mut restarter = scene.restarter(&["--ready", "none"], &scene.probe(steps)).start();
    let journal = scene.journal();
    journal.await_ready(2);
    restarter.signal(40);
    journal.await_signal(journal.await_said("strayed"), 40);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    scene.assert_empty();
}

fn usr1_to_every_epoch() {
    let scene = Scene::new();
    let steps = "catch=USR1 exit-on=TERM:0 wait";
    let (restarter, first) = serving(&scene, &["--ready", "none"], steps);
    let second = restarted(&scene, &restarter);
    restarter.signal(libc::SIGUSR1);
    for probe in [first, second] {
        scene.journal().await_signal(probe, libc::SIGUSR1);
    }
    restarter.settle();
    for probe in [first, second] {
        assert_eq!(scene.journal().signals(probe), [libc::SIGUSR1]);
    }
    stop_cleanly(&scene, restarter);
}

fn usr1_unheard() {
    let scene = Scene::new();
    let (restarter, _) = serving(&scene, &["--ready", "none"], "exit-on=TERM:0 wait");
    restarter.signal(libc::SIGUSR1);
    restarter.says("warn…reopen-unheard epoch=0");
    stop_cleanly(&scene, restarter);
}

/// A server that is just starting does not catch it yet.
fn usr1_waits_for_ready() {
    let scene = Scene::new();
    let steps = "sleep=200 catch=USR1 exit-on=TERM:0 wait";
    let restarter = scene.restarter(&[], &scene.probe(steps)).start();
    restarter.says(" started epoch=0 ");
    restarter.signal(libc::SIGUSR1);
    restarter.says("reopen-postponed epoch=0");
    let probe = scene.journal().await_ready(1)[0];
    scene.journal().await_signal(probe, libc::SIGUSR1);
    restarter.says("reopened epoch=0");
    let log = restarter.log();
    let place = |what| log.find(what).unwrap_or_else(|| panic!("no {what} in {log}"));
    assert!(place(" ready ") < place(" reopened "), "{log}");
    restarter.settle();
    assert_eq!(scene.journal().signals(probe), [libc::SIGUSR1], "once");
    stop_cleanly(&scene, restarter);
}

/// Envoy drops its handlers just before it exits.
fn older_dies_of_usr1() {
    let scene = Scene::new();
    let steps = "exit-on=TERM:0 epoch=0 [ die-on=USR1 ] epoch=1 [ catch=USR1 ] wait";
    let (restarter, _) = serving(&scene, &["--ready", "none"], steps);
    let second = restarted(&scene, &restarter);
    restarter.signal(libc::SIGUSR1);
    restarter.says(" ended epoch=0 …SIGUSR1");
    scene.journal().await_signal(second, libc::SIGUSR1);
    restarter.settle();
    stop_cleanly(&scene, restarter);
}

/// What the contract says of each signal that can be sent to us and neither stops nor restarts.
enum Forwarding {
    Group,
    Catchers,
    Nobody,
}

fn forwarding(signal: i32) -> Option<Forwarding> {
    match signal {
        libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGKILL | libc::SIGSTOP
        // Faults of our own, which end us.
        | libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGABRT
        | libc::SIGTRAP | libc::SIGSYS => None,
        libc::SIGQUIT | libc::SIGCONT => Some(Forwarding::Group),
        // The kernel's words to us; and 32 and 33, which are the C libraries' own.
        libc::SIGTTIN | libc::SIGTTOU | libc::SIGPIPE | libc::SIGXFSZ | libc::SIGCHLD | 32 | 33 => {
            Some(Forwarding::Nobody)
        }
        _ => Some(Forwarding::Catchers),
    }
}

fn every_signal() {
    let scene = Scene::new();
    let all = "catch=all exit-on=TERM:0";
    let steps = format!(
        "{all} fork [ say=member wait ] fork [ setsid say=strayed wait ] \
         fork [ default=all ignore=QUIT say=bystander exit-on=TERM:0 wait ] say=leader wait"
    );
    let restarter = scene.restarter(&["--ready", "none"], &scene.probe(&steps)).start();
    let journal = scene.journal();
    journal.await_ready(4);
    let [leader, member, strayed, bystander] =
        ["leader", "member", "strayed", "bystander"].map(|name| journal.await_said(name));

    let times = |pid: i32, signal: i32| {
        journal.signals(pid).into_iter().filter(|caught| *caught == signal).count()
    };
    for signal in 1..=64 {
        let Some(expected) = forwarding(signal) else { continue };
        if signal == libc::SIGWINCH {
            // `settle` sends it, more than once.
            continue;
        }
        restarter.signal(signal);
        match expected {
            Forwarding::Group => {
                journal.await_signal(leader, signal);
                journal.await_signal(member, signal);
            }
            Forwarding::Catchers => {
                journal.await_signal(leader, signal);
                journal.await_signal(member, signal);
                journal.await_signal(strayed, signal);
            }
            Forwarding::Nobody => {}
        }
        restarter.settle();
        let of_strayed = match expected {
            Forwarding::Group | Forwarding::Nobody => 0,
            Forwarding::Catchers => 1,
        };
        let of_others = match expected {
            Forwarding::Nobody => 0,
            Forwarding::Group | Forwarding::Catchers => 1,
        };
        let heard = [leader, member, strayed].map(|pid| times(pid, signal));
        assert_eq!(heard, [of_others, of_others, of_strayed], "signal {signal}");
        assert!(processes::process(bystander).is_some_and(|it| it.state == 'S'), "{signal}");
    }
    journal.await_signal(strayed, libc::SIGWINCH);
    stop_cleanly(&scene, restarter);
}

/// Other inits forward blindly, and `kill -USR2 1` ends the server.
fn uncaught_kill_nobody() {
    let scene = Scene::new();
    let (restarter, probe) = serving(&scene, &["--ready", "none"], "exit-on=TERM:0 wait");
    for signal in (1..=64).filter(|signal| {
        let to_groups = [libc::SIGQUIT, libc::SIGCONT].contains(signal);
        forwarding(*signal).is_some() && !to_groups
    }) {
        restarter.signal(signal);
        restarter.settle();
        assert!(processes::process(probe).is_some_and(|it| it.state == 'S'), "signal {signal}");
    }
    restarter.says("dropped epoch=0…SIGUSR2");
    // The control: such a signal is deadly where it arrives.
    let mut control = scene.command(&scene.probe("wait")).spawn().expect("a probe");
    let pid = i32::try_from(control.id()).expect("a pid");
    processes::signal(pid, libc::SIGUSR2);
    assert!(!control.wait().expect("it is our child").success());
    stop_cleanly(&scene, restarter);
}
