//! `--rollback`: a new epoch that fails leaves the older one in service.

use std::fs::{self, File};

use libtest_mimic::Trial;
use support::scene::{Restarter, Scene};
use support::server::{Reply, Server};
use support::{eventually, namespace, processes};

use super::{restarted, serving, stop_cleanly};
use crate::needs::{Needs, trial};

/// What an epoch in service does: it hears everything, and ends when it is told.
const SERVES: &str = "catch=all exit-on=TERM:0 wait";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("process::rollback_of_every_end", Needs::Nothing, || every_end(&[])),
        trial("pid1::rollback_of_every_end", Needs::Namespace, || every_end(namespace::wrapper())),
        trial("process::rollback_by_the_clock", Needs::Nothing, by_the_clock),
        trial("process::rollback_of_a_late_epoch", Needs::Nothing, || late(&[])),
        trial("pid1::rollback_of_a_late_epoch", Needs::Namespace, || late(namespace::wrapper())),
        trial("process::rollback_of_a_probed_epoch", Needs::Nothing, late_and_its_probe),
        trial("process::rollback_of_a_respawning_epoch", Needs::Nothing, late_and_respawning),
        trial("process::rollback_kills_what_is_left", Needs::Nothing, what_is_left),
        trial("process::rollback_and_a_queued_hup", Needs::Nothing, queued_hup),
        trial("process::rollback_keeps_an_older_end", Needs::Nothing, older_end),
        trial("process::rollback_cannot_save_the_survivor", Needs::Nothing, survivor_dies),
        trial("process::rollback_when_both_die", Needs::Nothing, both_die),
        trial("process::rollback_of_epoch_0", Needs::Nothing, epoch_0),
        trial("process::rollback_of_a_ready_epoch", Needs::Nothing, ready_epoch),
        trial("process::rollback_beside_a_stop", Needs::Nothing, beside_a_stop),
        trial("process::stop_while_it_is_cleared_away", Needs::Nothing, stop_while_clearing),
        trial("process::without_rollback", Needs::Nothing, without_rollback),
        trial("process::late_without_rollback", Needs::Nothing, late_without_rollback),
        trial("process::rollback_spares_who_answers", Needs::Nothing, spares_who_answers),
    ]
}

/// A probe by which an epoch is ready once it has begun to serve.
fn ready_when_served(scene: &Scene) -> String {
    format!("exec:test -e {}", scene.place("serves-$(RESTART_EPOCH)"))
}

/// The steps of a target that serves, except that epoch 1 does these while `bad` is there.
fn target(scene: &Scene, bad: &str) -> String {
    let serves = scene.place("serves-");
    let serving = [0, 1, 2].map(|epoch| format!("epoch={epoch} [ touch={serves}{epoch} ]"));
    format!("epoch=1 [ exists={} [ {bad} ] ] {} {SERVES}", scene.place("bad"), serving.join(" "))
}

fn spoil(scene: &Scene) {
    File::create(scene.path("bad")).expect("a file in our folder");
}

fn mend(scene: &Scene) {
    fs::remove_file(scene.path("bad")).expect("it is ours");
}

/// A restarter with these options whose epoch 0 serves.
fn rolling_back(scene: &Scene, options: &[&str], bad: &str) -> (Restarter, i32) {
    let ready = ready_when_served(scene);
    let options = [&["--ready", ready.as_str()], options].concat();
    let (restarter, first) = serving(scene, &options, &target(scene, bad));
    restarter.says(" ready epoch=0 ");
    spoil(scene);
    (restarter, first)
}

/// What a probe was told by others; of its children the kernel tells.
fn told(scene: &Scene, probe: i32) -> Vec<i32> {
    let signals = scene.journal().signals(probe);
    signals.into_iter().filter(|signal| ![libc::SIGCHLD, libc::SIGWINCH].contains(signal)).collect()
}

/// However the new one ends, three times; then a good one with the same number.
fn every_end(wrapper: &[&str]) {
    let cases = [
        ("exit=0", "exited with 0"),
        ("exit=1", "exited with 1"),
        ("exit=255", "exited with 255"),
        ("die=SEGV", "was ended by SIGSEGV"),
        ("die=KILL", "was ended by SIGKILL"),
        ("die=TERM", "was ended by SIGTERM"),
        ("die=INT", "was ended by SIGINT"),
        ("die=USR1", "was ended by SIGUSR1"),
        ("die=64", "was ended by SIGRTMIN+30"),
    ];
    for (end, sentence) in cases {
        let scene = Scene::new();
        let ready = ready_when_served(&scene);
        let options = ["--rollback", "--ready", &ready];
        let target = scene.probe(&target(&scene, end));
        let restarter = scene.wrapped_restarter(wrapper, &options, &target).start();
        let first = scene.journal().await_ready(1)[0];
        restarter.says(" ready epoch=0 ");
        spoil(&scene);
        let before = scene.processes().len();
        for times in 1..4 {
            restarter.signal(libc::SIGHUP);
            let line = format!("warn…restart-failed epoch=1 …{sentence}…epoch 0 goes on");
            restarter.says_times(&line, times);
        }
        restarter.settle();
        assert_eq!(told(&scene, first), [], "{end}: the survivor was not signalled");
        scene.await_processes(before);
        mend(&scene);
        restarted(&scene, &restarter);
        restarter.says(" ready epoch=1 ");
        assert_eq!(restarter.lines(" started epoch=1 "), 4, "{}", restarter.log());
        stop_cleanly(&scene, restarter);
    }
}

/// The same where nothing but the clock tells that an epoch is ready.
fn by_the_clock() {
    let scene = Scene::new();
    let (restarter, first) = serving(&scene, &["--rollback"], &target(&scene, "exit=3"));
    restarter.says(" ready epoch=0 …by the clock");
    spoil(&scene);
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-failed epoch=1 …exited with 3");
    mend(&scene);
    restarted(&scene, &restarter);
    restarter.says(" ready epoch=1 …by the clock");
    assert_eq!(told(&scene, first), []);
    stop_cleanly(&scene, restarter);
}

/// Killed with everything that descends from it, and told nothing first: SIGTERM to an Envoy that
/// initialises ends its parent as well.
fn late(wrapper: &[&str]) {
    let scene = Scene::new();
    let ready = ready_when_served(&scene);
    let options = ["--rollback", "--ready-timeout", "3", "--ready", &ready];
    let deep = "fork [ setsid fork [ wait ] fork [ setsid fork [ wait ] wait ] wait ]";
    let stays = format!("catch=all fork [ wait ] {deep} wait");
    let target = scene.probe(&target(&scene, &stays));
    let restarter = scene.wrapped_restarter(wrapper, &options, &target).start();
    let first = scene.journal().await_ready(1)[0];
    restarter.says(" ready epoch=0 ");
    spoil(&scene);
    let before = scene.processes().len();
    restarter.signal(libc::SIGHUP);
    let late = scene.journal().await_ready(7);
    restarter.says("restart-failed epoch=1 …(--ready-timeout)…epoch 0 goes on");
    scene.await_processes(before);
    for probe in late {
        assert_eq!(told(&scene, probe), [], "{probe} was told something");
    }
    eventually("all are reaped", || match restarter.zombies() {
        0 => Ok(()),
        zombies => Err(zombies),
    });
    assert_eq!(told(&scene, first), []);
    assert_eq!(restarter.lines("not-ready"), 0, "{}", restarter.log());
    mend(&scene);
    restarted(&scene, &restarter);
    restarter.says(" ready epoch=1 ");
    stop_cleanly(&scene, restarter);
}

/// A member that replaces what it has lost does not get the time to.
fn late_and_respawning() {
    let scene = Scene::new();
    let respawns = scene.script("respawns", "#!/bin/sh\nwhile :; do sleep 3600; done\n");
    let stays = format!("repeat=8 [ fork [ setsid exec {respawns} ] ] say=late wait");
    let (restarter, first) = rolling_back(&scene, &["--rollback", "--ready-timeout", "3"], &stays);
    let before = scene.processes().len();
    restarter.signal(libc::SIGHUP);
    scene.journal().await_said("late");
    // With the sleeping children of the eight.
    scene.await_processes(before + 17);
    restarter.says("restart-failed epoch=1 …(--ready-timeout)");
    scene.await_processes(before);
    assert_eq!(told(&scene, first), []);
    stop_cleanly(&scene, restarter);
}

/// What was asking whether it is ready goes with it, long before it would have to by itself.
fn late_and_its_probe() {
    let scene = Scene::new();
    let stays = "epoch=1 [ catch=all fork [ ignore=TERM wait ] wait ]";
    let probe = format!("exec:{}", scene.beside(stays));
    let options = ["--rollback", "--ready-timeout", "3", "--ready", &probe];
    let (restarter, first) = serving(&scene, &options, SERVES);
    restarter.says(" ready epoch=0 ");
    let before = scene.processes().len();
    restarted(&scene, &restarter);
    let probes = scene.journal_beside().await_ready(2);
    restarter.says("restart-failed epoch=1 …(--ready-timeout)");
    // The next one fails when a probe of the first would still have time.
    restarted(&scene, &restarter);
    restarter.says_times("restart-failed epoch=1 …(--ready-timeout)", 2);
    for pid in probes {
        assert!(processes::process(pid).is_none_or(|process| process.state == 'Z'), "{pid} lives");
    }
    scene.await_processes(before);
    assert_eq!(scene.journal_beside().writers("signal"), [], "killed and not asked");
    assert_eq!(told(&scene, first), []);
    stop_cleanly(&scene, restarter);
}

/// Members of its group go with a leader that has ended by itself.
fn what_is_left() {
    let scene = Scene::new();
    let gate = scene.gate();
    let fails = format!("fork [ ignore=TERM wait ] fork [ catch=all wait ] await={gate} exit=1");
    let (restarter, _) = rolling_back(&scene, &["--rollback"], &fails);
    let before = scene.processes().len();
    restarter.signal(libc::SIGHUP);
    let left = scene.journal().await_ready(3);
    gate.open();
    restarter.says("restart-failed epoch=1 …exited with 1");
    scene.await_processes(before);
    for probe in left {
        assert_eq!(told(&scene, probe), [], "{probe} was told something");
    }
    mend(&scene);
    restarted(&scene, &restarter);
    stop_cleanly(&scene, restarter);
}

/// A restart that waits for one that fails is carried out.
fn queued_hup() {
    for end in ["exit=1", "exit=0", "wait"] {
        let scene = Scene::new();
        let gate = scene.gate();
        let fails = format!("say=failing await={gate} {end}");
        let (restarter, first) =
            rolling_back(&scene, &["--rollback", "--ready-timeout", "3"], &fails);
        restarter.signal(libc::SIGHUP);
        scene.journal().await_said("failing");
        for _ in 0..3 {
            restarter.signal(libc::SIGHUP);
            restarter.settle();
        }
        restarter.says("restart-queued epoch=2: …epoch 1 is not ready yet");
        mend(&scene);
        gate.open();
        restarter.says("restart-failed epoch=1 ");
        restarter.says(" ready epoch=1 ");
        restarter.settle();
        assert_eq!(restarter.lines(" started "), 3, "{end}: {}", restarter.log());
        assert_eq!(told(&scene, first), []);
        stop_cleanly(&scene, restarter);
    }
}

/// While a new epoch starts an older one may leave in order. The newest of those that are left
/// serves on when the new one fails.
fn older_end() {
    let scene = Scene::new();
    let gate = scene.gate();
    let ready = ready_when_served(&scene);
    let serves = scene.place("serves-");
    let steps = format!(
        "epoch=0 [ touch={serves}0 ] epoch=1 [ touch={serves}1 ] \
         epoch=2 [ say=failing await={gate} exit=1 ] {SERVES}"
    );
    let (restarter, first) = serving(&scene, &["--rollback", "--ready", &ready], &steps);
    let second = restarted(&scene, &restarter);
    restarter.says(" ready epoch=1 ");
    restarter.signal(libc::SIGHUP);
    scene.journal().await_said("failing");
    processes::signal(first, libc::SIGTERM);
    restarter.says(" ended epoch=0 ");
    gate.open();
    restarter.says("restart-failed epoch=2 …epoch 1 goes on");
    restarter.settle();
    assert_eq!(told(&scene, second), []);
    stop_cleanly(&scene, restarter);
}

/// Nobody serves when the older one has died, so its status is ours.
fn survivor_dies() {
    let scene = Scene::new();
    let stays = "fork [ setsid ignore=TERM wait ] catch=all wait";
    let (mut restarter, first) = rolling_back(&scene, &["--rollback"], stays);
    restarter.signal(libc::SIGHUP);
    scene.journal().await_ready(3);
    processes::signal(first, libc::SIGKILL);
    assert_eq!(restarter.code(), 128 + libc::SIGKILL, "{}", restarter.log());
    restarter.says("ended-unexpectedly epoch=0 ");
    scene.assert_empty();
}

/// In whatever order we hear of it.
fn both_die() {
    let scene = Scene::new();
    let gate = scene.gate();
    let fails = format!("say=failing await={gate} exit=3");
    let (mut restarter, first) = rolling_back(&scene, &["--rollback"], &fails);
    restarter.signal(libc::SIGHUP);
    let second = scene.journal().await_said("failing");
    restarter.signal(libc::SIGSTOP);
    gate.open();
    processes::signal(first, libc::SIGKILL);
    await_zombies(&[first, second]);
    restarter.signal(libc::SIGCONT);
    assert_eq!(restarter.code(), 128 + libc::SIGKILL, "{}", restarter.log());
    scene.assert_empty();
}

fn await_zombies(pids: &[i32]) {
    eventually("they have ended", || {
        let states = pids.iter().map(|pid| processes::process(*pid).map(|it| it.state));
        let states: Vec<_> = states.collect();
        if states.iter().all(|state| *state == Some('Z')) { Ok(()) } else { Err(states) }
    });
}

/// It has nobody to go back to.
fn epoch_0() {
    for (steps, code) in [("exit=7", 7), ("die=SEGV", 128 + libc::SIGSEGV), ("exit=0", 0)] {
        let scene = Scene::new();
        let (ended, log) = scene.restarter(&["--rollback"], &scene.probe(steps)).finish();
        assert_eq!(ended, code, "{log}");
        scene.assert_empty();
    }
    // Nor is it killed for taking long.
    let scene = Scene::new();
    let options = ["--rollback", "--ready-timeout", "1.1", "--ready", "exec:false"];
    let (restarter, first) = serving(&scene, &options, SERVES);
    restarter.says("warn…not-ready epoch=0 ");
    restarter.settle();
    assert_eq!(told(&scene, first), []);
    stop_cleanly(&scene, restarter);
}

/// The older one is leaving already.
fn ready_epoch() {
    let scene = Scene::new();
    let steps = "epoch=1 [ exit-on=USR2:5 ] exit-on=TERM:0 wait";
    let (mut restarter, _) = serving(&scene, &["--rollback", "--ready", "exec:true"], steps);
    restarted(&scene, &restarter);
    restarter.says(" ready epoch=1 ");
    restarter.signal(libc::SIGUSR2);
    assert_eq!(restarter.code(), 5, "{}", restarter.log());
    scene.assert_empty();
}

/// Whoever stops us while a restart fails has stopped us.
fn beside_a_stop() {
    for end in ["exit=0", "exit=5", "die=SEGV"] {
        let scene = Scene::new();
        let gate = scene.gate();
        let fails = format!("say=failing await={gate} {end}");
        let (mut restarter, first) = rolling_back(&scene, &["--rollback"], &fails);
        restarter.signal(libc::SIGHUP);
        let second = scene.journal().await_said("failing");
        restarter.signal(libc::SIGSTOP);
        gate.open();
        await_zombies(&[second]);
        restarter.signal(libc::SIGTERM);
        restarter.signal(libc::SIGCONT);
        assert_eq!(restarter.code(), 0, "{end}: {}", restarter.log());
        assert_eq!(told(&scene, first), [libc::SIGTERM], "{end}");
        scene.assert_empty();
    }
}

/// A stop just after a failure, whatever is still to be cleared away.
fn stop_while_clearing() {
    let scene = Scene::new();
    let (mut restarter, first) = rolling_back(&scene, &["--rollback"], "fork [ wait ] exit=1");
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-failed epoch=1 ");
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert_eq!(told(&scene, first), [libc::SIGTERM]);
    scene.assert_empty();
}

/// The control: without the option, or with it switched off, a new epoch that fails ends
/// everything; one that exits with 0 never took over.
fn without_rollback() {
    for options in [&[][..], &["--rollback=0"], &["--rollback=false"]] {
        for (end, code) in [("exit=1", 1), ("die=SEGV", 128 + libc::SIGSEGV)] {
            let scene = Scene::new();
            let (mut restarter, _) = rolling_back(&scene, options, end);
            restarter.signal(libc::SIGHUP);
            assert_eq!(restarter.code(), code, "{}", restarter.log());
            restarter.says("ended-unexpectedly epoch=1 ");
            scene.assert_empty();
        }
        let scene = Scene::new();
        let (restarter, first) = rolling_back(&scene, options, "exit=0");
        restarter.signal(libc::SIGHUP);
        restarter.says("restart-failed epoch=1 …epoch 0 goes on");
        restarter.settle();
        assert_eq!(told(&scene, first), []);
        stop_cleanly(&scene, restarter);
    }
}

fn late_without_rollback() {
    let scene = Scene::new();
    let (restarter, _) = rolling_back(&scene, &["--ready-timeout", "1"], "catch=all wait");
    restarter.signal(libc::SIGHUP);
    let second = scene.journal().await_ready(2)[1];
    restarter.says("warn…not-ready epoch=1 …(--ready-timeout); restarts wait for it");
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-queued epoch=2: …epoch 1 is not ready yet");
    assert_eq!(told(&scene, second), []);
    assert!(processes::process(second).is_some_and(|process| process.state == 'S'));
    restarter.signal(libc::SIGTERM);
    scene.journal().await_signal(second, libc::SIGTERM);
    processes::signal(second, libc::SIGKILL);
    let mut restarter = restarter;
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    scene.assert_empty();
}

/// An epoch whose own admin answers waits for something and does not hang.
fn spares_who_answers() {
    let server = Server::tcp(Reply::server_info("LIVE", 0, 2));
    let scene = Scene::new();
    let address = format!("127.0.0.1:{}", server.port());
    let options = ["--rollback", "--ready-timeout", "3", "--envoy-admin", &address];
    let (restarter, first) = serving(&scene, &options, SERVES);
    restarter.says(" ready epoch=0 ");
    server.set(Reply::server_info("INITIALIZING", 1, 2));
    let second = restarted(&scene, &restarter);
    restarter.says("warn…not-ready epoch=1 ");
    server.await_more(2);
    restarter.settle();
    assert_eq!(restarter.lines("restart-failed"), 0, "{}", restarter.log());
    let state = processes::process(second).map(|process| process.state);
    // It catches what `settle` sends.
    assert!(matches!(state, Some('S' | 'R')), "{state:?}: {}", restarter.log());
    // The one before it speaks for itself alone.
    server.set(Reply::server_info("LIVE", 0, 2));
    restarter.says("restart-failed epoch=1 …(--ready-timeout)");
    restarter.settle();
    assert_eq!((told(&scene, first), told(&scene, second)), (vec![], vec![]));
    server.set(Reply::server_info("LIVE", 1, 2));
    restarted(&scene, &restarter);
    restarter.says(" ready epoch=1 ");
    stop_cleanly(&scene, restarter);
}
