//! SIGHUP, readiness and the gate before a restart.

use std::fs;

use libtest_mimic::Trial;
use support::processes;
use support::scene::{Restarter, Scene};

use super::{restarted, serving, stop_cleanly};
use crate::needs::{Needs, trial};

/// A probe that ends cleanly when it is asked to.
const SERVER: &str = "report exit-on=TERM:0 wait";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("process::hup", Needs::Nothing, hup),
        trial("process::two_hups_at_once", Needs::Nothing, two_hups_at_once),
        trial("process::ten_hups_are_one_more", Needs::Nothing, ten_hups_are_one_more),
        trial("process::hup_during_a_stop", Needs::Nothing, hup_during_a_stop),
        trial("process::stop_before_restart", Needs::Nothing, stop_before_restart),
        trial("process::restart_before_reopen", Needs::Nothing, restart_before_reopen),
        trial("process::older_ends_with_0", Needs::Nothing, older_ends_with_0),
        trial("process::number_is_used_again", Needs::Nothing, number_is_used_again),
        trial("process::target_vanished", Needs::Nothing, target_vanished),
        trial("process::max_epochs", Needs::Nothing, max_epochs),
        trial("process::third_epoch_by_default", Needs::Nothing, third_epoch_by_default),
        trial("process::min_restart_interval", Needs::Nothing, min_restart_interval),
        trial("process::storm", Needs::Nothing, storm),
        trial("process::ready_none", Needs::Nothing, ready_none),
        trial("process::ready_by_the_clock", Needs::Nothing, ready_by_the_clock),
    ]
}

fn hup() {
    let scene = Scene::new();
    let (restarter, first) = serving(&scene, &[], SERVER);
    let second = restarted(&scene, &restarter);
    assert_eq!(scene.journal().await_report(second).text("epoch"), "1");
    assert!(processes::process(first).is_some(), "the older epoch lives on");
    assert!(scene.journal().signals(first).is_empty(), "and was not signalled");
    stop_cleanly(&scene, restarter);
}

/// The kernel keeps one of each signal, and so do we.
fn two_hups_at_once() {
    let scene = Scene::new();
    let (restarter, _) = serving(&scene, &["--ready", "none"], SERVER);
    restarter.signal(libc::SIGSTOP);
    restarter.signal(libc::SIGHUP);
    restarter.signal(libc::SIGHUP);
    restarter.signal(libc::SIGCONT);
    scene.journal().await_ready(2);
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 2, "{}", restarter.log());
    stop_cleanly(&scene, restarter);
}

fn ten_hups_are_one_more() {
    let scene = Scene::new();
    let (restarter, _) = serving(&scene, &[], SERVER);
    restarter.says(" ready epoch=0 ");
    restarter.signal(libc::SIGHUP);
    restarter.says(" started epoch=1 ");
    for _ in 0..9 {
        restarter.signal(libc::SIGHUP);
        restarter.settle();
    }
    restarter.says(" ready epoch=2 ");
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 3, "{}", restarter.log());
    stop_cleanly(&scene, restarter);
}

fn hup_during_a_stop() {
    let scene = Scene::new();
    let (mut restarter, probe) = serving(&scene, &["--ready", "none"], "catch=TERM wait");
    restarter.signal(libc::SIGTERM);
    scene.journal().await_signal(probe, libc::SIGTERM);
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-refused…everything is being stopped");
    processes::signal(probe, libc::SIGKILL);
    assert_eq!(restarter.code(), 0, "the end of an epoch belongs to the stop");
    assert_eq!(restarter.lines(" started "), 1, "{}", restarter.log());
    scene.assert_empty();
}

/// Signals that arrive together have a fixed order.
fn stop_before_restart() {
    let scene = Scene::new();
    let (mut restarter, _) = serving(&scene, &["--ready", "none"], SERVER);
    restarter.signal(libc::SIGSTOP);
    restarter.signal(libc::SIGHUP);
    restarter.signal(libc::SIGTERM);
    restarter.signal(libc::SIGCONT);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert_eq!(restarter.lines(" started "), 1, "{}", restarter.log());
    scene.assert_empty();
}

/// After the exits comes the restart, then the reopening of logs, then the rest.
fn restart_before_reopen() {
    let scene = Scene::new();
    let steps = "catch=USR1 exit-on=TERM:0 wait";
    let (restarter, _) = serving(&scene, &["--ready", "none"], steps);
    restarter.signal(libc::SIGSTOP);
    for signal in [libc::SIGALRM, libc::SIGUSR1, libc::SIGHUP] {
        restarter.signal(signal);
    }
    restarter.signal(libc::SIGCONT);
    scene.journal().await_ready(2);
    restarter.settle();
    let log = restarter.log();
    let place = |what| log.find(what).unwrap_or_else(|| panic!("no {what} in {log}"));
    assert!(place(" started epoch=1 ") < place(" reopened epoch=0 "), "{log}");
    assert!(place(" reopened epoch=0 ") < place("SIGALRM"), "{log}");
    stop_cleanly(&scene, restarter);
}

fn older_ends_with_0() {
    let scene = Scene::new();
    let (restarter, first) = serving(&scene, &["--ready", "none"], SERVER);
    let second = restarted(&scene, &restarter);
    processes::signal(first, libc::SIGTERM);
    restarter.says(" ended epoch=0 ");
    restarter.settle();
    assert!(scene.journal().signals(second).is_empty(), "the newest epoch serves on");
    let third = restarted(&scene, &restarter);
    assert_eq!(scene.journal().await_report(third).text("epoch"), "2");
    stop_cleanly(&scene, restarter);
}

/// A new epoch that ends with 0 before it is ready never was one, and what it left in its group
/// goes with it.
fn number_is_used_again() {
    let scene = Scene::new();
    let leaves_at_once = scene.probe_line("fork [ ignore=TERM wait ] exit=0");
    let serves = scene.probe_line(SERVER);
    let folder = scene.place("was-here");
    let target = scene.script(
        "target",
        &format!(
            "#!/bin/sh\nif [ $RESTART_EPOCH = 1 ] && mkdir {folder} 2>/dev/null; then\n  \
             {leaves_at_once} &\n  wait $!\n  exit 0\nfi\nexec {serves}\n"
        ),
    );
    let restarter = scene.restarter(&[], &[target]).start();
    let first = scene.journal().await_ready(1)[0];
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-failed epoch=1");
    restarter.says("epoch 0 goes on");
    assert!(scene.journal().signals(first).is_empty());
    restarter.signal(libc::SIGHUP);
    restarter.says_times(" started epoch=1 ", 2);
    support::eventually("only the two epochs live", || {
        let living = scene.processes();
        // With the restarter.
        if living.len() == 3 { Ok(()) } else { Err(living) }
    });
    restarter.says(" ready epoch=1 ");
    stop_cleanly(&scene, restarter);
}

fn target_vanished() {
    let scene = Scene::new();
    let serves = format!("#!/bin/sh\nexec {}\n", scene.probe_line(SERVER));
    let target = scene.script("target", &serves);
    let restarter = scene.restarter(&["--ready", "none"], &[&target]).start();
    let first = scene.journal().await_ready(1)[0];
    fs::remove_file(&target).expect("the script is ours");
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-refused…does not exist");
    restarter.settle();
    assert!(scene.journal().signals(first).is_empty(), "the epoch in service is left alone");
    scene.script("target", &serves);
    let second = restarted(&scene, &restarter);
    assert_eq!(scene.journal().await_report(second).text("epoch"), "1");
    stop_cleanly(&scene, restarter);
}

fn max_epochs() {
    let scene = Scene::new();
    let options = ["--ready", "none", "--max-epochs", "2"];
    let (restarter, first) = serving(&scene, &options, SERVER);
    restarted(&scene, &restarter);
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-queued…--max-epochs");
    restarter.signal(libc::SIGHUP);
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 2, "{}", restarter.log());
    processes::signal(first, libc::SIGTERM);
    scene.journal().await_ready(3);
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 3, "{}", restarter.log());
    stop_cleanly(&scene, restarter);
}

fn third_epoch_by_default() {
    let scene = Scene::new();
    let (restarter, _) = serving(&scene, &["--ready", "none"], SERVER);
    restarted(&scene, &restarter);
    restarted(&scene, &restarter);
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-queued epoch=3…--max-epochs");
    stop_cleanly(&scene, restarter);
}

fn min_restart_interval() {
    let scene = Scene::new();
    let options = ["--ready", "none", "--min-restart-interval", "3600"];
    let (restarter, _) = serving(&scene, &options, SERVER);
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-queued…--min-restart-interval");
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 1, "{}", restarter.log());
    stop_cleanly(&scene, restarter);

    // What was remembered is carried out when its time comes.
    let scene = Scene::new();
    let options = ["--ready", "none", "--min-restart-interval", "2"];
    let (restarter, _) = serving(&scene, &options, SERVER);
    restarted(&scene, &restarter);
    restarted(&scene, &restarter);
    stop_cleanly(&scene, restarter);
}

/// Restarts, reopens, forwarded signals and ends of older epochs in any order and at any pace: the
/// service survives, numbers are consecutive, and no more than three epochs live.
fn storm() {
    let seed = u64::from(std::process::id()) << 20 | 1;
    let mut random = seed;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let scene = Scene::new();
    let steps = "catch=USR1,41 exit-on=TERM:0 wait";
    let (mut restarter, _) = serving(&scene, &["--ready", "none"], steps);
    let pid = restarter.pid();
    let mut retired = 0;
    for _ in 0..300 {
        match next(4) {
            0 => restarter.signal(libc::SIGHUP),
            1 => restarter.signal(libc::SIGUSR1),
            2 => restarter.signal(40 + i32::from(next(2) == 0)),
            _ => retired += usize::from(retire_oldest(&scene, &restarter, retired)),
        }
        // The kernel may leave out a child while another one is being reaped, but adds none.
        let living = processes::children(pid).iter().filter(|child| child.state != 'Z').count();
        assert!(living <= 3, "{living} epochs, seed {seed}: {}", restarter.log());
        assert!(restarter.ended().is_none(), "seed {seed}: {}", restarter.log());
    }
    restarter.settle();
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "seed {seed}: {}", restarter.log());
    scene.assert_empty();
    let log = restarter.log();
    for (epoch, line) in log.lines().filter(|line| line.contains(" started ")).enumerate() {
        assert!(line.contains(&format!(" epoch={epoch} ")), "seed {seed}: {log}");
    }
    assert!(restarter.lines(" started ") > 3, "it did restart: {log}");
}

/// Ends the oldest epoch, which has this number, when it catches SIGTERM and another one has
/// been started since; says whether.
fn retire_oldest(scene: &Scene, restarter: &Restarter, number: usize) -> bool {
    let log = restarter.log();
    let started: Vec<&str> = log.lines().filter(|line| line.contains(" started ")).collect();
    let ready = scene.journal().writers("ready").into_iter();
    // It may serve before we have said so.
    let line = started.get(number).copied().unwrap_or_default();
    let is_it = |pid: &i32| line.ends_with(&format!(" epoch={number} pid={pid}"));
    let oldest = ready.into_iter().find(is_it).filter(|_| number + 1 < started.len());
    oldest.is_some_and(|pid| processes::signal(pid, libc::SIGTERM))
}

fn ready_none() {
    let scene = Scene::new();
    let (restarter, _) = serving(&scene, &["--ready", "none"], SERVER);
    restarter.says(" ready epoch=0 …--ready none");
    restarted(&scene, &restarter);
    restarter.says(" ready epoch=1 …--ready none");
    stop_cleanly(&scene, restarter);
}

/// A target that announces nothing is ready when a second has passed; a restart waits for it.
fn ready_by_the_clock() {
    let scene = Scene::new();
    let (restarter, _) = serving(&scene, &[], SERVER);
    restarted(&scene, &restarter);
    restarter.says(" ready epoch=0 …by the clock");
    restarter.says(" started epoch=1 ");
    let log = restarter.log();
    let place = |what| log.find(what).unwrap_or_else(|| panic!("no {what} in {log}"));
    assert!(place(" ready epoch=0 ") < place(" started epoch=1 "), "{log}");
    stop_cleanly(&scene, restarter);
}
