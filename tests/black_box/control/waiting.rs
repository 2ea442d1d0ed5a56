//! `reload` and `stop` with `wait`: each client is told the truth about what it has asked for.

use std::fs::{self, File};

use libtest_mimic::Trial;
use support::processes;
use support::scene::{Restarter, Scene};

use super::held::Held;
use super::json::Value;
use super::stranger::{SERVER, Stranger, ask, assert_done, serving, status, stop_cleanly};
use crate::needs::{Needs, trial};

const STOPPED: &str = "refused: everything is being stopped";

/// The trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("control::waiting::success", Needs::Nothing, success),
        trial("control::waiting::ready_none", Needs::Nothing, ready_none),
        trial("control::waiting::refused_by_a_check", Needs::Nothing, refused_by_a_check),
        trial("control::waiting::cannot_start", Needs::Nothing, cannot_start),
        trial("control::waiting::rolled_back", Needs::Nothing, rolled_back),
        trial("control::waiting::fatal", Needs::Nothing, fatal),
        trial("control::waiting::queued", Needs::Nothing, queued),
        trial("control::waiting::too_many_epochs", Needs::Nothing, too_many_epochs),
        trial("control::waiting::during_a_check", Needs::Nothing, during_a_check),
        trial("control::waiting::one_after_the_other", Needs::Nothing, one_after_the_other),
        trial("control::waiting::several", Needs::Nothing, several),
        trial("control::waiting::with_a_signal", Needs::Nothing, with_a_signal),
        trial("control::waiting::cleared_away", Needs::Strace, cleared_away),
        trial("control::waiting::stop_between", Needs::Nothing, stop_between),
        trial("control::waiting::stop_while_clearing", Needs::Strace, stop_while_clearing),
        trial("control::waiting::end_between", Needs::Nothing, end_between),
        trial("control::waiting::reload_during_a_stop", Needs::Nothing, reload_during_a_stop),
        trial("control::waiting::stop", Needs::Nothing, stop),
        trial("control::waiting::stop_that_kills", Needs::Nothing, stop_that_kills),
        trial("control::waiting::stop_by_others", Needs::Nothing, stop_by_others),
    ]
}

/// One that waits for a restart, and how that was taken.
fn reloads(restarter: &Restarter) -> (Stranger, String) {
    let mut stranger = Stranger::waits(restarter, "reload");
    let taken = stranger.is_taken();
    (stranger, taken)
}

/// What has become of the last restart, as the status tells it to whoever has not waited.
fn assert_last(restarter: &Restarter, line: &Value, counts: [i64; 3]) {
    let status = status(restarter);
    let last = &status["last_restart"];
    for key in ["ok", "message", "epoch"] {
        assert_eq!(last[key], line[key], "{key}: {status}");
    }
    let told = ["restarts_done", "restarts_refused", "restarts_failed"];
    assert_eq!(told.map(|key| status[key].number()), counts, "{status}");
}

fn events(lines: &[Value]) -> Vec<&str> {
    let told = lines.iter().filter(|line| line["reply"] == "progress");
    told.map(|line| line["event"].text()).collect()
}

fn success() {
    let scene = Scene::new();
    let restarter = serving(&scene, &[], SERVER);
    let (stranger, taken) = reloads(&restarter);
    assert_eq!(taken, "epoch 1 is starting");
    let lines = stranger.hears_all();
    assert_eq!(events(&lines), ["ready"], "{lines:?}");
    let last = lines.last().expect("a line");
    assert_done(last, true, "epoch 1 ready after 1");
    assert_eq!(last["epoch"], 1);
    assert!(last["ready_after_ms"].number() >= 1000, "{last}");
    assert_eq!([&last["exit_code"], &last["output"]], [&Value::Null; 2]);
    assert_last(&restarter, last, [1, 0, 0]);
    // Not before it is true.
    assert_eq!(restarter.lines(" ready epoch=1 "), 1);
    stop_cleanly(&scene, restarter);
}

/// It is done before it can be said that it is taken.
fn ready_none() {
    let scene = Scene::new();
    let restarter = serving(&scene, &["--ready", "none"], SERVER);
    for epoch in 1..3 {
        let mut stranger = Stranger::waits(&restarter, "reload");
        let line = stranger.hears_a_line();
        assert_done(&line, true, &format!("epoch {epoch} ready after 0"));
        assert!(line["epoch"] == epoch && line["ready_after_ms"] == 0, "{line}");
        assert_eq!(stranger.hears(), None);
    }
    stop_cleanly(&scene, restarter);
}

fn refused_by_a_check() {
    let scene = Scene::new();
    let gate = scene.gate();
    let check = format!("sh -c 'flock --shared {gate} true; echo why it is bad; exit 3'");
    let restarter = serving(&scene, &["--check", &check], SERVER);
    let (stranger, taken) = reloads(&restarter);
    assert_eq!(taken, "epoch 1 is being checked");
    assert_eq!(status(&restarter)["under_way"]["stage"], "checking");
    gate.open();
    let line = stranger.hears_the_end();
    assert_done(&line, false, "refused: the check exited with 3");
    assert_eq!(line["epoch"], Value::Null);
    assert_eq!(line["output"].list(), ["why it is bad"]);
    assert_last(&restarter, &line, [0, 1, 0]);
    stop_cleanly(&scene, restarter);
}

fn cannot_start() {
    let scene = Scene::new();
    let words = scene.probe(SERVER);
    let target = scene.script("target", &format!("#!/bin/sh\nexec {}\n", words.join(" ")));
    let restarter = scene.restarter(&[], &[&target]).start();
    restarter.says(" ready epoch=0 ");
    fs::remove_file(&target).expect("it is ours");
    for times in 1..3 {
        let line = Stranger::waits(&restarter, "reload").hears_the_end();
        assert_done(&line, false, "refused: …/target does not exist");
        assert_last(&restarter, &line, [0, times, 0]);
    }
    assert_eq!(ask(&restarter, "health")["ok"], true);
    stop_cleanly(&scene, restarter);
}

fn rolled_back() {
    let scene = Scene::new();
    let gate = scene.gate();
    let bad = scene.place("bad");
    let ready = format!("exec:test ! -e {bad}");
    let steps = format!("epoch=1 [ exists={bad} [ await={gate} exit=7 ] ] {SERVER}");
    let options = ["--rollback", "--ready-timeout", "1.1", "--ready", &ready];
    let restarter = serving(&scene, &options, &steps);
    File::create(&bad).expect("a file in our folder");
    // Too late, since the gate is closed.
    let (stranger, taken) = reloads(&restarter);
    assert_eq!(taken, "epoch 1 is starting");
    let line = stranger.hears_the_end();
    assert_done(&line, false, "epoch 1 failed: not ready after 1.1…s; epoch 0 still serves");
    assert_eq!(line["epoch"], 1);
    assert_last(&restarter, &line, [0, 0, 1]);
    gate.open();
    let line = Stranger::waits(&restarter, "reload").hears_all().pop().expect("a line");
    assert_done(&line, false, "epoch 1 failed: exited with 7; epoch 0 still serves");
    assert_last(&restarter, &line, [0, 0, 2]);
    fs::remove_file(&bad).expect("it is ours");
    let line = Stranger::waits(&restarter, "reload").hears_all().pop().expect("a line");
    assert_done(&line, true, "epoch 1 ready after");
    assert_last(&restarter, &line, [1, 0, 2]);
    stop_cleanly(&scene, restarter);
}

/// Told before we are gone.
fn fatal() {
    let scene = Scene::new();
    let gate = scene.gate();
    let steps = format!("epoch=1 [ await={gate} exit=9 ] {SERVER}");
    let mut restarter = serving(&scene, &[], &steps);
    let (stranger, _) = reloads(&restarter);
    // Waits for another one.
    let (second, taken) = reloads(&restarter);
    assert_eq!(taken, "queued: epoch 1 is not ready yet");
    gate.open();
    let line = stranger.hears_the_end();
    assert_done(&line, false, "epoch 1 failed: exited with 9, which ends everything");
    assert_eq!(line["epoch"], 1);
    assert_done(&second.hears_the_end(), false, STOPPED);
    assert_eq!(restarter.code(), 9, "{}", restarter.log());
    scene.assert_empty();
}

/// Behind an epoch that is not ready.
fn queued() {
    let scene = Scene::new();
    let ready = format!("exec:test -e {}", scene.place("ready-$(RESTART_EPOCH)"));
    let restarter = scene.restarter(&["--ready", &ready], &scene.probe(SERVER)).start();
    scene.journal().await_ready(1);
    let (stranger, taken) = reloads(&restarter);
    assert_eq!(taken, "queued: epoch 0 is not ready yet");
    let waits = "epoch 0 is not ready yet";
    assert_eq!(status(&restarter)["queued"], waits);
    assert_eq!(status(&restarter)["under_way"], Value::Null);
    File::create(scene.path("ready-0")).expect("a file in our folder");
    restarter.says(" started epoch=1 ");
    let second = status(&restarter);
    assert_eq!(second["queued"], Value::Null, "{second}");
    assert_eq!(second["under_way"]["stage"], "starting", "{second}");
    File::create(scene.path("ready-1")).expect("a file in our folder");
    let lines = stranger.hears_all();
    assert!(events(&lines).starts_with(&["ready", "started", "ready"]), "{lines:?}");
    assert_done(lines.last().expect("a line"), true, "epoch 1 ready after");
    stop_cleanly(&scene, restarter);
}

/// Behind one that has not left.
fn too_many_epochs() {
    let scene = Scene::new();
    let restarter = serving(&scene, &["--max-epochs", "2", "--ready", "none"], SERVER);
    let first = scene.journal().await_ready(1)[0];
    ask(&restarter, "reload");
    scene.journal().await_ready(2);
    let (stranger, taken) = reloads(&restarter);
    assert!(taken.starts_with("queued: 2 epochs live (--max-epochs)"), "{taken}");
    processes::signal(first, libc::SIGTERM);
    assert_done(&stranger.hears_the_end(), true, "epoch 2 ready after 0");
    stop_cleanly(&scene, restarter);
}

/// What the check has not seen is another restart, and another answer.
fn during_a_check() {
    let scene = Scene::new();
    let gate = scene.gate();
    let bad = scene.place("bad");
    File::create(&bad).expect("a file in our folder");
    let steps = format!("say=checks exists={bad} [ remove={bad} await={gate} exit=1 ]");
    let check = scene.beside(&steps);
    let restarter = serving(&scene, &["--check", &check], SERVER);
    let (first, taken) = reloads(&restarter);
    assert_eq!(taken, "epoch 1 is being checked");
    scene.journal_beside().await_said("checks");
    let waits = "queued: the one before it is being checked (--check)";
    let others = [(); 3].map(|()| {
        let (stranger, taken) = reloads(&restarter);
        assert_eq!(taken, waits);
        stranger
    });
    assert_eq!(format!("queued: {}", status(&restarter)["queued"].text()), waits);
    gate.open();
    assert_done(&first.hears_the_end(), false, "refused: the check exited with 1");
    for stranger in others {
        assert_done(&stranger.hears_the_end(), true, "epoch 1 ready after");
    }
    assert_eq!(restarter.lines(" started "), 2, "{}", restarter.log());
    assert_eq!(scene.journal_beside().writers("say").len(), 2);
    stop_cleanly(&scene, restarter);
}

/// Those who have asked before a restart began wait for that one, those who have asked since for
/// the next, which has to wait itself.
fn one_after_the_other() {
    let scene = Scene::new();
    let gate = scene.gate();
    let ready = format!("exec:test -e {}", scene.place("ready-$(RESTART_EPOCH)"));
    for epoch in 0..3 {
        File::create(scene.path(&format!("ready-{epoch}"))).expect("a file in our folder");
    }
    let check = scene.beside(&format!("epoch=2 [ say=checks await={gate} ]"));
    let options = ["--ready", &ready, "--check", &check, "--max-epochs", "2"];
    let restarter = serving(&scene, &options, SERVER);
    let line = Stranger::waits(&restarter, "reload").hears_all().pop().expect("a line");
    assert_done(&line, true, "epoch 1 ready");
    let (first, taken) = reloads(&restarter);
    assert!(taken.starts_with("queued: 2 epochs live"), "{taken}");
    let (second, _) = reloads(&restarter);
    let oldest = scene.journal().await_ready(2)[0];
    processes::signal(oldest, libc::SIGTERM);
    scene.journal_beside().await_said("checks");
    let (third, taken) = reloads(&restarter);
    assert!(taken.starts_with("queued: the one before it is being checked"), "{taken}");
    gate.open();
    for stranger in [first, second] {
        assert_done(&stranger.hears_the_end(), true, "epoch 2 ready");
    }
    // That of the third waits, since there are two again.
    eventually_queued(&restarter, "2 epochs live");
    let next = scene.journal().await_ready(3)[1];
    processes::signal(next, libc::SIGTERM);
    File::create(scene.path("ready-3")).expect("a file in our folder");
    assert_done(&third.hears_the_end(), true, "epoch 3 ready");
    stop_cleanly(&scene, restarter);
}

fn eventually_queued(restarter: &Restarter, why: &str) {
    support::eventually("a restart waits", || {
        let status = status(restarter);
        let queued = matches!(&status["queued"], Value::Text(queued) if queued.starts_with(why));
        if queued { Ok(()) } else { Err(status) }
    });
}

/// Each of them has the same answer.
fn several() {
    let scene = Scene::new();
    let gate = scene.gate();
    let ready = format!("exec:flock --shared {gate} true");
    let restarter = scene.restarter(&["--ready", &ready], &scene.probe(SERVER)).start();
    scene.journal().await_ready(1);
    let all: Vec<Stranger> = (0..20).map(|_| reloads(&restarter).0).collect();
    // Nobody waits behind whoever does not listen.
    gate.open();
    let mut lines: Vec<Value> = all.into_iter().map(Stranger::hears_the_end).collect();
    lines.dedup();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_done(&lines[0], true, "epoch 1 ready after");
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 2, "{}", restarter.log());
    stop_cleanly(&scene, restarter);
}

/// Whoever asks after a SIGHUP waits for that restart; one that a SIGHUP has begun is not the one
/// of whoever asks later.
fn with_a_signal() {
    let scene = Scene::new();
    let ready = format!("exec:test -e {}", scene.place("ready-$(RESTART_EPOCH)"));
    for epoch in [0, 2] {
        File::create(scene.path(&format!("ready-{epoch}"))).expect("a file in our folder");
    }
    let restarter = serving(&scene, &["--ready", &ready], SERVER);
    restarter.signal(libc::SIGHUP);
    restarter.says(" started epoch=1 ");
    restarter.signal(libc::SIGHUP);
    restarter.says(" restart-queued epoch=2");
    let (stranger, taken) = reloads(&restarter);
    assert_eq!(taken, "queued: epoch 1 is not ready yet");
    File::create(scene.path("ready-1")).expect("a file in our folder");
    let line = stranger.hears_the_end();
    assert_done(&line, true, "epoch 2 ready after");
    assert_eq!(restarter.lines(" started "), 3, "{}", restarter.log());
    assert_last(&restarter, &line, [2, 0, 0]);
    stop_cleanly(&scene, restarter);
}

/// A restarter whose epoch 1 is late, killed and held by us, and one who waits for it.
fn clearing(scene: &Scene) -> (Restarter, Stranger, Held) {
    let ready = format!("exec:test -e {}", scene.place("ready-$(RESTART_EPOCH)"));
    File::create(scene.path("ready-0")).expect("a file in our folder");
    let options = ["--rollback", "--ready-timeout", "1.1", "--ready", &ready];
    let restarter = serving(scene, &options, SERVER);
    let (stranger, _) = reloads(&restarter);
    let held = Held::hold(scene.journal().await_ready(2)[1]);
    restarter.says("restart-failed epoch=1 ");
    (restarter, stranger, held)
}

/// Only when it is sure that the older one serves on, and what has failed is gone.
fn cleared_away() {
    let scene = Scene::new();
    let (restarter, stranger, held) = clearing(&scene);
    let stands = status(&restarter);
    assert_eq!(
        stands["under_way"],
        Value::parse(r#"{"epoch":1,"stage":"clearing"}"#).expect("it is")
    );
    assert_eq!(stands["epochs"][0]["state"], "ready", "{stands}");
    assert_eq!(stands["epochs"][1]["state"], "failed", "{stands}");
    assert_eq!(stands["last_restart"], Value::Null, "{stands}");
    assert_eq!(ask(&restarter, "health")["ok"], true);
    let (second, taken) = reloads(&restarter);
    assert_eq!(taken, "queued: what the failed epoch 1 left is being cleared away");
    for epoch in [1, 2] {
        File::create(scene.path(&format!("ready-{epoch}"))).expect("a file in our folder");
    }
    held.release();
    let line = stranger.hears_the_end();
    assert_done(&line, false, "epoch 1 failed: not ready after …epoch 0 still serves");
    assert_done(&second.hears_the_end(), true, "epoch 1 ready after");
    stop_cleanly(&scene, restarter);
}

fn stop_while_clearing() {
    let scene = Scene::new();
    let (mut restarter, stranger, held) = clearing(&scene);
    let (second, _) = reloads(&restarter);
    let stops = Stranger::waits(&restarter, "stop");
    restarter.says(" stopping: ");
    held.release();
    let line = stranger.hears_the_end();
    assert_done(&line, false, "epoch 1 failed: not ready after");
    assert!(!line["message"].text().contains("still serves"), "{line}");
    assert_done(&second.hears_the_end(), false, STOPPED);
    let lines = stops.hears_all();
    assert_done(lines.last().expect("a line"), true, "exit code 0");
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
}

/// Whatever the restart was at.
fn stop_between() {
    // While it is checked, with another one behind it.
    let scene = Scene::new();
    let check = scene.beside("say=checks wait");
    let mut restarter = serving(&scene, &["--check", &check], SERVER);
    let (first, _) = reloads(&restarter);
    scene.journal_beside().await_said("checks");
    let (second, _) = reloads(&restarter);
    restarter.signal(libc::SIGTERM);
    for stranger in [first, second] {
        assert_done(&stranger.hears_the_end(), false, STOPPED);
    }
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    scene.assert_empty();
    // While it starts, with another one behind it.
    let scene = Scene::new();
    let ready = format!("exec:test -e {}", scene.place("ready-$(RESTART_EPOCH)"));
    File::create(scene.path("ready-0")).expect("a file in our folder");
    let mut restarter = serving(&scene, &["--ready", &ready], SERVER);
    let (first, _) = reloads(&restarter);
    scene.journal().await_ready(2);
    let (second, _) = reloads(&restarter);
    let mut stops = Stranger::waits(&restarter, "stop");
    assert_eq!(stops.is_taken(), "stopping");
    let line = first.hears_the_end();
    assert_done(&line, false, "epoch 1 was not ready when everything was asked to end");
    assert_eq!(line["epoch"], 1);
    assert_done(&second.hears_the_end(), false, STOPPED);
    assert_done(&stops.hears_the_end(), true, "stopped with exit code 0");
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    scene.assert_empty();
}

/// The last epoch ends while a restart waits, or is checked.
fn end_between() {
    for (steps, code) in [("exit-on=USR2:0 wait", 0), ("exit-on=USR2:5 wait", 5)] {
        let scene = Scene::new();
        let check = scene.beside("say=checks wait");
        let mut restarter = serving(&scene, &["--check", &check], steps);
        let epoch = scene.journal().await_ready(1)[0];
        let (first, _) = reloads(&restarter);
        scene.journal_beside().await_said("checks");
        let (second, _) = reloads(&restarter);
        processes::signal(epoch, libc::SIGUSR2);
        for stranger in [first, second] {
            assert_done(&stranger.hears_the_end(), false, STOPPED);
        }
        assert_eq!(restarter.code(), code, "{}", restarter.log());
        scene.assert_empty();
    }
}

fn reload_during_a_stop() {
    let scene = Scene::new();
    let mut restarter = serving(&scene, &[], "catch=TERM wait");
    let epoch = scene.journal().await_ready(1)[0];
    restarter.signal(libc::SIGTERM);
    scene.journal().await_signal(epoch, libc::SIGTERM);
    for wait in [true, false] {
        let mut stranger = Stranger::of(&restarter);
        stranger.asks(&format!(r#"{{"command":"reload","wait":{wait}}}"#));
        let line = stranger.hears_a_line();
        assert_done(&line, false, STOPPED);
        assert_eq!(stranger.hears(), None);
    }
    restarter.says_times("restart-refused: everything is being stopped", 2);
    assert_eq!(status(&restarter)["last_restart"]["message"], STOPPED);
    assert_eq!(status(&restarter)["restarts_refused"], 2);
    processes::signal(epoch, libc::SIGKILL);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert_eq!(restarter.lines(" started "), 1, "{}", restarter.log());
}

/// Everybody who waits for it, however late they have come, and only when everything has ended.
fn stop() {
    let scene = Scene::new();
    let gate = scene.gate();
    let steps = format!("fork [ setsid ignore=TERM say=stays await={gate} ] catch=TERM wait");
    let mut restarter = serving(&scene, &[], &steps);
    scene.journal().await_said("stays");
    let epoch = scene.journal().await_ready(1)[0];
    let mut first = Stranger::waits(&restarter, "stop");
    assert_eq!(first.is_taken(), "stopping");
    let mut second = Stranger::waits(&restarter, "stop");
    assert_eq!(second.is_taken(), "stopping already");
    // Does not wait.
    let answer = ask(&restarter, "stop");
    assert!(answer["reply"] == "taken" && answer["message"] == "stopping already", "{answer}");
    scene.journal().await_signal(epoch, libc::SIGTERM);
    processes::signal(epoch, libc::SIGKILL);
    restarter.says(" ended epoch=0 ");
    assert_eq!(ask(&restarter, "health")["ok"], false);
    assert!(restarter.ended().is_none(), "an orphan is left");
    gate.open();
    for stranger in [first, second] {
        let lines = stranger.hears_all();
        let last = lines.last().expect("a line");
        assert_done(last, true, "stopped with exit code 0");
        assert_eq!(last["exit_code"], 0);
        assert!(events(&lines).ends_with(&["ended", "exiting"]), "{lines:?}");
    }
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
}

fn stop_that_kills() {
    let scene = Scene::new();
    let mut restarter = serving(&scene, &["--term-wait", "0.3"], "ignore=TERM wait");
    let mut stranger = Stranger::waits(&restarter, "stop");
    stranger.is_taken();
    let line = stranger.hears_the_end();
    assert_done(&line, false, "stopped with exit code 1");
    assert_eq!(line["exit_code"], 1);
    assert_eq!(restarter.code(), 1, "{}", restarter.log());
    scene.assert_empty();
}

/// Whoever waits for our end is told of it, whoever has asked for that first, and however it comes.
fn stop_by_others() {
    let scene = Scene::new();
    let mut restarter = serving(&scene, &[], "catch=TERM exit-on=USR2:4 wait");
    let epoch = scene.journal().await_ready(1)[0];
    restarter.signal(libc::SIGINT);
    scene.journal().await_signal(epoch, libc::SIGTERM);
    let mut stranger = Stranger::waits(&restarter, "stop");
    assert_eq!(stranger.is_taken(), "stopping already");
    // Its status does not matter any more.
    processes::signal(epoch, libc::SIGUSR2);
    let line = stranger.hears_the_end();
    assert_done(&line, true, "stopped with exit code 0");
    assert_eq!(line["exit_code"], 0);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
}
