//! `status`, `health` and `reopen`: how things stand, whatever is under way.

use std::fs::{self, File};
use std::path::Path;

use libtest_mimic::Trial;
use support::eventually;
use support::processes;
use support::scene::{Restarter, Scene, holds};
use support::server::{Reply, Server};

use super::json::Value;
use super::stranger::{SERVER, Stranger, ask, ask_at, assert_done, serving, status, stop_cleanly};
use crate::needs::{Needs, trial};

/// The trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("control::status::life", Needs::Nothing, life),
        trial("control::status::times", Needs::Nothing, times),
        trial("control::status::failures", Needs::Nothing, failures),
        trial("control::status::as_pid_1", Needs::Namespace, as_pid_1),
        trial("control::status::orphans", Needs::Nothing, orphans),
        trial("control::status::drain", Needs::Nothing, drain),
        trial("control::status::stop", Needs::Nothing, stop),
        trial("control::status::admin_lost", Needs::Nothing, admin_lost),
        trial("control::status::reopen", Needs::Nothing, reopen),
    ]
}

const UNREADY: &str = "unhealthy: no epoch is ready";
const STOPPING: &str = "unhealthy: everything is being stopped";

/// The epochs of a status: number, pid and state.
fn epochs(status: &Value) -> Vec<(i64, i64, &str)> {
    let epochs = status["epochs"].list().iter();
    let told = |epoch: &Value| (epoch["epoch"].number(), epoch["pid"].number());
    epochs.map(|epoch| (told(epoch).0, told(epoch).1, epoch["state"].text())).collect()
}

/// Serving, whether healthily, and nothing else.
fn assert_idle(status: &Value, healthy: bool) {
    assert!(status["phase"] == "serving" && status["healthy"] == healthy, "{status}");
    for key in ["under_way", "queued", "draining", "admin"] {
        assert_eq!(status[key], Value::Null, "{key}: {status}");
    }
}

/// This restart is under way, and what is in service serves on.
fn assert_starting(status: &Value, epoch: i32) {
    let under_way = &status["under_way"];
    assert!(under_way["epoch"] == epoch && under_way["stage"] == "starting", "{status}");
    assert!(status["phase"] == "serving" && status["healthy"] == true, "{status}");
}

/// A restarter whose epochs are ready when we say so.
fn told_ready(scene: &Scene, more: &[&str], steps: &str) -> Restarter {
    let ready = format!("exec:test -e {}", scene.place("ready-$(RESTART_EPOCH)"));
    let options = [&["--ready", &ready][..], more].concat();
    scene.restarter(&options, &scene.probe(steps)).start()
}

fn is_ready(scene: &Scene, epoch: u32) {
    File::create(scene.path(&format!("ready-{epoch}"))).expect("a file in our folder");
}

fn health(restarter: &Restarter, ok: bool, words: &str) {
    let answer = ask(restarter, "health");
    assert_done(&answer, ok, words);
    assert_eq!(answer["message"], words);
}

/// From the first epoch to the third.
fn life() {
    let scene = Scene::new();
    let restarter = told_ready(&scene, &[], SERVER);
    let first = i64::from(scene.journal().await_ready(1)[0]);
    let stands = status(&restarter);
    assert_eq!(epochs(&stands), [(0, first, "starting")]);
    assert_eq!(stands["epochs"][0]["ready_after_ms"], Value::Null);
    assert_idle(&stands, false);
    assert_eq!(stands["last_restart"], Value::Null);
    assert_eq!(stands["pid"], restarter.pid());
    health(&restarter, false, UNREADY);
    is_ready(&scene, 0);
    restarter.says(" ready epoch=0 ");
    let stands = status(&restarter);
    assert_eq!(epochs(&stands), [(0, first, "ready")]);
    assert!(stands["epochs"][0]["ready_after_ms"].number() >= 0, "{stands}");
    assert_idle(&stands, true);
    health(&restarter, true, "healthy");
    // The second starts beside it.
    restarter.signal(libc::SIGHUP);
    let second = i64::from(scene.journal().await_ready(2)[1]);
    let stands = status(&restarter);
    assert_eq!(epochs(&stands), [(0, first, "ready"), (1, second, "starting")]);
    assert_starting(&stands, 1);
    health(&restarter, true, "healthy");
    is_ready(&scene, 1);
    restarter.says(" ready epoch=1 ");
    let stands = status(&restarter);
    assert_eq!(epochs(&stands), [(0, first, "draining"), (1, second, "ready")]);
    let last = &stands["last_restart"];
    assert!(last["ok"] == true && last["epoch"] == 1, "{last}");
    assert_idle(&stands, true);
    // The third, while both are there.
    restarter.signal(libc::SIGHUP);
    let third = i64::from(scene.journal().await_ready(3)[2]);
    let stands = status(&restarter);
    let states = [(0, first, "draining"), (1, second, "ready"), (2, third, "starting")];
    assert_eq!(epochs(&stands), states);
    assert_starting(&stands, 2);
    is_ready(&scene, 2);
    restarter.says(" ready epoch=2 ");
    processes::signal(i32::try_from(first).expect("a pid"), libc::SIGTERM);
    restarter.says(" ended epoch=0 ");
    let stands = status(&restarter);
    assert_eq!(epochs(&stands), [(1, second, "draining"), (2, third, "ready")]);
    assert_eq!(stands["restarts_done"], 2);
    for epoch in stands["epochs"].list() {
        assert!(epoch["ready_after_ms"].number() >= 0, "{stands}");
    }
    stop_cleanly(&scene, restarter);
}

/// Ages grow, and moments stay.
fn times() {
    let scene = Scene::new();
    let restarter = serving(&scene, &[], SERVER);
    let line = Stranger::waits(&restarter, "reload").hears_all().pop().expect("a line");
    assert_done(&line, true, "ready");
    let before = status(&restarter);
    let stands = |status: &Value, place: usize| {
        [status, &status["epochs"][0], &status["last_restart"]][place].clone()
    };
    let age = |status: &Value, place: usize| {
        stands(status, place)[["uptime_ms", "age_ms", "age_ms"][place]].number()
    };
    assert!(age(&before, 0) >= age(&before, 1), "{before}");
    assert!(age(&before, 1) >= 2000, "two that were ready by the clock: {before}");
    assert!(age(&before, 1) >= age(&before, 2) + 1000, "{before}");
    let after = eventually("it is older", || {
        let after = status(&restarter);
        let older = (0..3).all(|place| age(&after, place) > age(&before, place));
        if older { Ok(after) } else { Err(after) }
    });
    for place in 0..3 {
        let [then, now] = [&before, &after].map(|status| stands(status, place)["since"].clone());
        assert_eq!(then, now);
        let since = now.text();
        assert!(since.ends_with('Z') && since.len() == "2026-11-23T07:41:37.000Z".len(), "{since}");
    }
    stop_cleanly(&scene, restarter);
}

/// The last one is told until there is another, whatever has gone well since.
fn failures() {
    let scene = Scene::new();
    let [bad, unchecked] = ["bad", "unchecked"].map(|name| scene.place(name));
    let check = scene.beside(&format!("exists={unchecked} [ exit=3 ]"));
    let steps = format!("exists={bad} [ exit=1 ] {SERVER}");
    let restarter = serving(&scene, &["--rollback", "--check", &check], &steps);
    assert_eq!(status(&restarter)["last_failure"], Value::Null);
    let reload = |ok: bool, words: &str| {
        let line = Stranger::waits(&restarter, "reload").hears_all().pop().expect("a line");
        assert_done(&line, ok, words);
        let stands = status(&restarter);
        assert_eq!(stands["last_restart"]["message"], line["message"], "{stands}");
        (line, stands)
    };
    for (epoch, file, words) in [
        (1, &bad, "epoch 1 failed: exited with 1; epoch 0 still serves"),
        (2, &unchecked, "refused: the check exited with 3"),
    ] {
        File::create(file).expect("a file in our folder");
        let (line, stands) = reload(false, words);
        assert_eq!(stands["last_failure"], stands["last_restart"]);
        fs::remove_file(file).expect("it is ours");
        let text = restarter.send(&["status"]).out;
        assert!(!text.contains("last failure: "), "{text}");
        let (_, after) = reload(true, &format!("epoch {epoch} ready after "));
        let [then, now] = [&stands, &after].map(|status| &status["last_failure"]);
        for key in ["ok", "message", "epoch", "since"] {
            assert_eq!(now[key], then[key], "{key}: {after}");
        }
        assert!(now["ok"] == false && now["epoch"] == line["epoch"], "{after}");
        assert!(now["age_ms"].number() >= after["last_restart"]["age_ms"].number(), "{after}");
        let text = restarter.send(&["status"]).out;
        let lines = format!("(…s ago)\nlast failure: {words}…s ago)\nrestarts: ");
        assert!(holds(&text, &lines), "{text}");
    }
    stop_cleanly(&scene, restarter);
}

/// Numbers are those of its own namespace, where whoever asks is as well.
fn as_pid_1() {
    let scene = Scene::new();
    let options = ["--ready", "none"];
    let wrapper = support::namespace::wrapper();
    let restarter = scene.wrapped_restarter(wrapper, &options, &scene.probe(SERVER)).start();
    let epoch = scene.journal().await_ready(1)[0];
    let stands = status(&restarter);
    assert_eq!(stands["pid"], 1);
    assert_eq!(epochs(&stands), [(0, i64::from(epoch), "ready")]);
    // We are outside, and no process that it can see.
    ask(&restarter, "reopen");
    restarter.says("control: reopen, asked for by process 0 of user ");
    stop_cleanly(&scene, restarter);
}

/// Each that was handed to us and has ended, once; no check, no probe, no epoch.
fn orphans() {
    let scene = Scene::new();
    let check = scene.beside("");
    let leaves = "epoch=1 [ repeat=7 [ fork [ fork [ setsid exit=3 ] ] ] reap ]";
    let probe = format!("exec:{}", scene.beside(""));
    let options = ["--check", &check, "--ready", &probe];
    let restarter = serving(&scene, &options, &format!("{leaves} {SERVER}"));
    assert_eq!(status(&restarter)["orphans_reaped"], 0);
    let line = Stranger::waits(&restarter, "reload").hears_all().pop().expect("a line");
    assert_done(&line, true, "ready");
    eventually("all are reaped", || {
        let reaped = status(&restarter)["orphans_reaped"].clone();
        if reaped == 7 { Ok(()) } else { Err(reaped) }
    });
    restarter.settle();
    assert_eq!(status(&restarter)["orphans_reaped"], 7);
    stop_cleanly(&scene, restarter);
}

/// An admin of epoch 0 with so many requests pending.
fn admin(requests: u64) -> Reply {
    let done = Reply::whole("200 OK", "OK\n");
    Reply::ByPath(vec![
        ("/server_info", Reply::server_info("LIVE", 0, 2)),
        ("/healthcheck/fail", done.clone()),
        ("/drain_listeners", done),
        ("/stats", Reply::pending(requests, 0)),
    ])
}

fn drain() {
    let server = Server::tcp(admin(5));
    let scene = Scene::new();
    let address = format!("127.0.0.1:{}", server.port());
    let options = ["--envoy-admin", &address, "--drain-timeout", "25", "--drain-min", "0.5"];
    let mut restarter = serving(&scene, &options, SERVER);
    let mut stranger = Stranger::waits(&restarter, "stop");
    stranger.is_taken();
    let epoch = i64::from(scene.journal().await_ready(1)[0]);
    let stands = eventually("it is known what is pending", || {
        let stands = status(&restarter);
        if stands["draining"] == "5 requests" { Ok(stands) } else { Err(stands) }
    });
    assert!(stands["phase"] == "draining" && stands["healthy"] == false, "{stands}");
    assert_eq!(epochs(&stands), [(0, epoch, "ready")]);
    health(&restarter, false, STOPPING);
    assert_done(&Stranger::waits(&restarter, "reload").hears_the_end(), false, "refused: ");
    let mut second = Stranger::waits(&restarter, "stop");
    assert_eq!(second.is_taken(), "stopping already");
    assert_eq!(status(&restarter)["phase"], "draining", "it is not cut short");
    server.set(admin(0));
    for stranger in [stranger, second] {
        assert_done(&stranger.hears_the_end(), true, "exit code 0");
    }
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
}

fn stop() {
    let scene = Scene::new();
    let steps = "catch=TERM wait";
    let mut restarter = serving(&scene, &["--ready", "none"], steps);
    ask(&restarter, "reload");
    let pids = scene.journal().await_ready(2);
    restarter.signal(libc::SIGTERM);
    for pid in &pids {
        scene.journal().await_signal(*pid, libc::SIGTERM);
    }
    let stands = status(&restarter);
    assert!(stands["phase"] == "stopping" && stands["healthy"] == false, "{stands}");
    let [first, second] = [pids[0], pids[1]].map(i64::from);
    assert_eq!(epochs(&stands), [(0, first, "stopping"), (1, second, "stopping")]);
    health(&restarter, false, STOPPING);
    for pid in pids {
        processes::signal(pid, libc::SIGKILL);
    }
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
}

/// Until the next good epoch has one.
fn admin_lost() {
    let server = Server::tcp(Reply::server_info("LIVE", 0, 2));
    let port = server.port();
    let scene = Scene::new();
    let bad = scene.place("bad");
    let address = format!("127.0.0.1:{port}");
    let options = ["--rollback", "--envoy-admin", &address];
    let steps = format!("exists={bad} [ exit=1 ] {SERVER}");
    let restarter = serving(&scene, &options, &steps);
    File::create(&bad).expect("a file in our folder");
    // One that answers is not lost.
    let line = Stranger::waits(&restarter, "reload").hears_all().pop().expect("a line");
    assert_done(&line, false, "epoch 1 failed");
    let before = server.requests().len();
    eventually("it is asked, and answers", || {
        let asked = server.requests().len();
        if asked >= before { Ok(()) } else { Err(asked) }
    });
    restarter.settle();
    assert_eq!(status(&restarter)["admin"], Value::Null);
    server.set(Reply::Bytes(Vec::new()));
    let line = Stranger::waits(&restarter, "reload").hears_all().pop().expect("a line");
    assert_done(&line, false, "epoch 1 failed");
    eventually("it is lost", || {
        let stands = status(&restarter);
        if stands["admin"] == "lost" { Ok(()) } else { Err(stands) }
    });
    assert_eq!(ask(&restarter, "health")["ok"], true, "it serves all the same");
    fs::remove_file(&bad).expect("it is ours");
    server.set(Reply::server_info("LIVE", 1, 2));
    let line = Stranger::waits(&restarter, "reload").hears_all().pop().expect("a line");
    assert_done(&line, true, "epoch 1 ready");
    assert_eq!(status(&restarter)["admin"], Value::Null);
    stop_cleanly(&scene, restarter);
}

/// Whether somebody has heard it, and who has not.
fn reopen() {
    let scene = Scene::new();
    let steps = "epoch=0 [ catch=USR1 ] epoch=1 [ ignore=USR1 ] epoch=2 [ catch=USR1 ] \
                 exit-on=TERM:0 wait";
    let restarter = told_ready(&scene, &[], steps);
    let first = scene.journal().await_ready(1)[0];
    let answer = ask(&restarter, "reopen");
    let postponed = "epoch 0: reopen-postponed: SIGUSR1 waits until it is ready";
    assert_done(&answer, true, postponed);
    assert!(scene.journal().signals(first).is_empty());
    is_ready(&scene, 0);
    scene.journal().await_signal(first, libc::SIGUSR1);
    assert_done(&ask(&restarter, "reopen"), true, "epoch 0: reopened: SIGUSR1 sent to 1 process");
    restarter.signal(libc::SIGHUP);
    restarter.says(" started epoch=1 ");
    let answer = ask(&restarter, "reopen");
    assert_done(&answer, true, "epoch 1: reopen-postponed: …; epoch 0: reopened: ");
    is_ready(&scene, 1);
    restarter.says(" ready epoch=1 ");
    processes::signal(first, libc::SIGTERM);
    restarter.says(" ended epoch=0 ");
    let answer = ask(&restarter, "reopen");
    assert_done(&answer, false, "epoch 1: reopen-unheard: SIGUSR1 is dropped");
    let path: &Path = restarter.control().path();
    let same = ask_at(path, r#"{"command":"reopen","wait":false}"#);
    assert_eq!(same, answer);
    stop_cleanly(&scene, restarter);
}
