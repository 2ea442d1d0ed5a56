//! Many clients at once: nothing that they do delays what matters, and nothing of them is left.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use libtest_mimic::Trial;
use support::eventually;
use support::scene::Scene;

use super::stranger::{
    SERVER, Stranger, ask, ask_at, assert_done, assert_error, await_descriptors, descriptors,
    serving, status, stop_cleanly,
};
use crate::needs::{Needs, trial};

/// How many have a place.
const PLACES: usize = 64;
/// And so many of them may wait.
const WAITING: usize = 48;

/// The trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("control::crowd::of_the_silent", Needs::Nothing, of_the_silent),
        trial("control::crowd::of_the_loud", Needs::Nothing, of_the_loud),
        trial("control::crowd::of_those_who_wait", Needs::Nothing, of_those_who_wait),
        trial("control::crowd::leaves_nothing", Needs::Nothing, leaves_nothing),
    ]
}

/// Connects so many who say nothing, and keeps them.
fn silent(path: &Path, number: usize) -> Vec<UnixStream> {
    let connect = |_| UnixStream::connect(path).expect("somebody listens");
    (0..number).map(connect).collect()
}

fn of_the_silent() {
    let scene = Scene::new();
    let mut restarter = serving(&scene, &["--ready", "none"], SERVER);
    let path = restarter.control().path().to_owned();
    let crowd = silent(&path, 1000);
    assert!(descriptors(restarter.pid()).len() <= PLACES + 20);
    restarter.signal(libc::SIGHUP);
    restarter.says(" ready epoch=1 ");
    assert_eq!(status(&restarter)["restarts_done"], 1);
    assert_done(&Stranger::waits(&restarter, "reload").hears_the_end(), true, "epoch 2 ready");
    // Whoever has made room is told so.
    let mut first = crowd.into_iter();
    for _ in 0..PLACES {
        let line = Stranger::from(first.next().expect("a thousand")).hears_the_end();
        assert_error(&line, "others have come since");
    }
    let others = silent(&path, 1000);
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    scene.assert_empty();
    drop((first, others));
}

/// Who talk without an end.
fn of_the_loud() {
    let scene = Scene::new();
    let mut restarter = serving(&scene, &["--ready", "none"], SERVER);
    let path = restarter.control().path().to_owned();
    let over = AtomicBool::new(false);
    let loud = |flood: &[u8]| {
        while !over.load(Ordering::Relaxed) {
            if let Ok(stream) = UnixStream::connect(&path) {
                let _ = Stranger::from(stream).says(flood);
            }
        }
    };
    thread::scope(|scope| {
        let _ends = Ends(&over);
        for flood in [&b"nonsense\n"[..], &[b'['; 1 << 13], b"{\"command\":\"status\"}\n"] {
            let loud = &loud;
            scope.spawn(move || loud(flood));
        }
        for epoch in 1..3 {
            restarter.signal(libc::SIGHUP);
            restarter.says(&format!(" ready epoch={epoch} "));
            assert_eq!(status(&restarter)["phase"], "serving");
        }
        restarter.signal(libc::SIGTERM);
        assert_eq!(restarter.code(), 0, "{}", restarter.log());
    });
    scene.assert_empty();
}

/// Has them be quiet, also when the trial fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// As many as may wait for the same; nobody takes their places from them, which are theirs no longer
/// than they are there, and they keep nobody out who does not wait.
fn of_those_who_wait() {
    let scene = Scene::new();
    let gate = scene.gate();
    let check = scene.beside(&format!("say=checks await={gate}"));
    let restarter = serving(&scene, &["--check", &check], SERVER);
    let path = restarter.control().path();
    let mut waiting: Vec<Stranger> = Vec::new();
    for _ in 0..WAITING {
        let mut stranger = Stranger::waits(&restarter, "reload");
        stranger.is_taken();
        waiting.push(stranger);
    }
    let line = Stranger::waits(&restarter, "reload").hears_the_end();
    assert_error(&line, "too many clients wait already, so nothing is done");
    let crowd = silent(path, 2 * PLACES);
    let mut stranger = Stranger::at(path);
    let _ = stranger.says(b"{\"command\":\"health\"}\n");
    assert_eq!(stranger.hears_the_end()["ok"], true);
    drop(crowd);
    restarter.signal(libc::SIGWINCH);
    // When one goes there is room for one.
    drop(waiting.remove(0));
    let another = eventually("there is room", || {
        let mut another = Stranger::waits(&restarter, "reload");
        let line = another.hears_a_line();
        if line["reply"] == "taken" { Ok(another) } else { Err(line) }
    });
    waiting.push(another);
    scene.journal_beside().await_said("checks");
    gate.open();
    let mut answers: Vec<String> = Vec::new();
    for stranger in waiting {
        let line = stranger.hears_the_end();
        assert!(line["reply"] == "done" && line["ok"] == true, "{line}");
        answers.push(line["message"].text().to_owned());
    }
    // The first of them has gone, and those who came later have another restart.
    assert!(answers.iter().all(|line| line.starts_with("epoch 2 ready")), "{answers:?}");
    assert_eq!(status(&restarter)["restarts_done"], 2);
    stop_cleanly(&scene, restarter);
}

/// Neither a descriptor nor work.
fn leaves_nothing() {
    let scene = Scene::new();
    let restarter = serving(&scene, &[], SERVER);
    let path = restarter.control().path().to_owned();
    restarter.await_idle();
    let before = descriptors(restarter.pid());
    let crowd = silent(&path, 300);
    let mut waits = Stranger::waits(&restarter, "reload");
    waits.is_taken();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..50 {
                    let mut stranger = Stranger::at(&path);
                    let request = ["nonsense", r#"{"command":"status"}"#][round % 2];
                    let _ = stranger.says(format!("{request}\n").as_bytes());
                    stranger.hears_all();
                }
            });
        }
    });
    assert_done(&waits.hears_the_end(), true, "epoch 1 ready");
    drop(crowd);
    assert_done(&ask(&restarter, "health"), true, "healthy");
    await_descriptors(restarter.pid(), &before);
    assert_eq!(descriptors(restarter.pid()), before);
    restarter.await_idle();
    // It listens all the same, with no time to look again.
    assert_done(&ask_at(&path, r#"{"command":"health"}"#), true, "healthy");
    stop_cleanly(&scene, restarter);
}
