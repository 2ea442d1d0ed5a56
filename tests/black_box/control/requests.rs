//! What clients may say, and how little harm is in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use support::eventually;
use support::scene::Scene;

use super::stranger::{
    SERVER, Stranger, ask, ask_at, assert_done, assert_error, await_descriptors, descriptors,
    message, serving, status, stop_cleanly,
};
use crate::needs::{Needs, trial};

const HEALTH: &str = r#"{"command":"health"}"#;

/// The trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("control::requests::each", Needs::Nothing, each),
        trial("control::requests::bad", Needs::Nothing, bad),
        trial("control::requests::length", Needs::Nothing, length),
        trial("control::requests::floods", Needs::Nothing, floods),
        trial("control::requests::two_at_once", Needs::Nothing, two_at_once),
        trial("control::requests::byte_by_byte", Needs::Nothing, byte_by_byte),
        trial("control::requests::without_an_end", Needs::Nothing, without_an_end),
        trial("control::requests::silence", Needs::Nothing, silence),
        trial("control::requests::unread", Needs::Nothing, unread),
        trial("control::requests::gone_without_a_word", Needs::Nothing, gone_without_a_word),
        trial("control::requests::gone_while_waiting", Needs::Nothing, gone_while_waiting),
        trial("control::requests::of_another_user", Needs::Root, of_another_user),
        trial("control::requests::descriptors_for_epochs", Needs::Nothing, descriptors_for_epochs),
        trial("control::requests::few_descriptors", Needs::Nothing, few_descriptors),
    ]
}

/// One line each, whatever else the request says of what it does not have to say.
fn each() {
    let scene = Scene::new();
    let mut restarter = serving(&scene, &[], SERVER);
    let path = restarter.control().path().to_owned();
    for request in [HEALTH, r#" {"wait":false,"version":1,"command":"health"} "#] {
        let answer = ask_at(&path, request);
        assert_done(&answer, true, "healthy");
        assert_eq!(answer.keys(), ["message", "ok", "reply", "version"]);
    }
    let answer = ask(&restarter, "status");
    assert_done(&answer, true, "serving");
    assert_eq!(answer.keys(), ["message", "ok", "reply", "status", "version"]);
    let told = [
        "admin",
        "draining",
        "epochs",
        "healthy",
        "last_failure",
        "last_restart",
        "orphans_reaped",
        "phase",
        "pid",
        "queued",
        "restarter",
        "restarts_done",
        "restarts_failed",
        "restarts_refused",
        "since",
        "under_way",
        "uptime_ms",
    ];
    assert_eq!(answer["status"].keys(), told);
    let told = ["age_ms", "epoch", "pid", "ready_after_ms", "since", "state"];
    assert_eq!(answer["status"]["epochs"][0].keys(), told);
    assert_done(&ask(&restarter, "reopen"), true, "epoch 0: reopened: SIGUSR1 sent to 1 process");
    for (request, words) in [
        (r#"{"command":"reload"}"#, "epoch 1 is starting"),
        (r#"{"command":"reload","wait":false}"#, "queued: epoch 1 is not ready yet"),
    ] {
        let mut stranger = Stranger::of(&restarter);
        stranger.asks(request);
        assert_eq!(stranger.is_taken(), words);
        assert_eq!(stranger.hears(), None);
    }
    restarter.says(" ready epoch=2 ");
    assert_eq!(restarter.lines(" started "), 3, "{}", restarter.log());
    let mut stranger = Stranger::of(&restarter);
    stranger.asks(r#"{"command":"stop"}"#);
    assert_eq!(stranger.is_taken(), "stopping");
    assert_eq!(stranger.hears(), None);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    // Whoever had something done is told of, and nobody else.
    let us = format!("asked for by process {} of user ", process::id());
    for (command, times) in [("reload", 2), ("reopen", 1), ("stop", 1), ("", 4)] {
        let line = format!("info  control: {command}…{us}");
        assert_eq!(restarter.lines(&line), times, "{}", restarter.log());
    }
    assert_eq!(restarter.lines(" control: "), 4, "{}", restarter.log());
}

/// Nothing comes of them but an answer, and the log does not fill with them.
fn bad() {
    let scene = Scene::new();
    let restarter = serving(&scene, &[], SERVER);
    let path = restarter.control().path();
    let before = restarter.log();
    let cases = [
        ("", "not a request: EOF"),
        (" ", "not a request: EOF"),
        ("stop", "not a request: expected value"),
        ("\"stop\"", "not a request: invalid type"),
        ("[\"stop\"]", ""),
        ("[1,\"stop\",false]", ""),
        ("null", "not a request: invalid type"),
        ("{}", "missing field `command`"),
        (r#"{"command":"stop""#, "not a request: EOF"),
        (r#"{"command":"stop"} x"#, "trailing characters"),
        (r#"{"command":"stop"}{"command":"stop"}"#, "trailing characters"),
        (r#"{"command":"restart"}"#, "unknown variant `restart`"),
        (r#"{"command":"STOP"}"#, "unknown variant `STOP`"),
        (r#"{"command":["stop"]}"#, ""),
        (r#"{"command":{"stop":1}}"#, ""),
        (r#"{"command":null}"#, ""),
        (r#"{"command":"stop","command":"stop"}"#, "duplicate field"),
        (r#"{"command":"stop","force":true}"#, "unknown field `force`"),
        (r#"{"command":"stop","version":2}"#, "version 2 is not spoken here, 1 is"),
        (r#"{"command":"stop","version":0}"#, "version 0 is not spoken here, 1 is"),
        (r#"{"version":2,"order":"stop"}"#, "version 2 is not spoken here, 1 is"),
        (r#"{"command":"stop","version":"1"}"#, "invalid type"),
        (r#"{"command":"stop","version":-1}"#, "invalid value"),
        (r#"{"command":"stop","version":99999999999}"#, "invalid value"),
        (r#"{"command":"stop","wait":1}"#, "expected a boolean"),
        (r#"{"command":"reopen","wait":true}"#, "answered at once"),
        (r#"{"command":"status","wait":true}"#, "answered at once"),
        ("{\"command\":\"stop\"\0}", "not a request"),
        ("\u{1b}[2J", "not a request"),
    ];
    for (request, why) in cases {
        assert_error(&ask_at(path, request), why);
    }
    // Deeper than any stack.
    assert_error(&ask_at(path, &"[".repeat(1024)), "not a request");
    let mut stranger = Stranger::of(&restarter);
    stranger.says(b"{\"command\":\"\xff\xfe\"}\n").expect("it is listened to");
    assert_error(&stranger.hears_the_end(), "not a request");
    restarter.settle();
    let log = restarter.log();
    let more = log.strip_prefix(&before).expect("it grows").lines();
    assert_eq!(more.filter(|line| !line.contains("SIGWINCH")).count(), 0, "{log}");
    assert_eq!(ask(&restarter, "health")["ok"], true);
    stop_cleanly(&scene, restarter);
}

/// A request of so many bytes.
fn padded(length: usize) -> String {
    let request = r#"{"command":"health"}"#;
    format!("{request}{}", " ".repeat(length - request.len()))
}

/// To the byte, in however many pieces it comes.
fn length() {
    let scene = Scene::new();
    let restarter = serving(&scene, &[], SERVER);
    let path = restarter.control().path();
    let too_long = "a request has 1024 bytes at most";
    assert_done(&ask_at(path, &padded(1024)), true, "healthy");
    assert_error(&ask_at(path, &padded(1025)), too_long);
    for (length, ends) in [(1024, true), (1024, false), (1025, true), (1025, false)] {
        for piece in [1, 7, 512, 1023, 1024] {
            let mut stranger = Stranger::at(path);
            let mut request = padded(length).into_bytes();
            if ends {
                request.push(b'\n');
            }
            for piece in request.chunks(piece) {
                // It may have been dropped before it has said all.
                let said = stranger.says(piece);
                assert!(said.is_ok() || length > 1024, "{said:?}");
                // What was said before has been read.
                if piece.len() > 500 {
                    ask(&restarter, "health");
                }
            }
            if !ends && length == 1024 {
                stranger.ends();
            }
            let answer = stranger.hears_the_end();
            if length > 1024 {
                assert_error(&answer, too_long);
            } else {
                assert_done(&answer, true, "healthy");
            }
        }
    }
    stop_cleanly(&scene, restarter);
}

/// They are told before they have said it all, or find nobody who listens.
fn floods() {
    let scene = Scene::new();
    let restarter = serving(&scene, &[], SERVER);
    let before = descriptors(restarter.pid());
    let binary: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').cycle().take(1 << 20).collect();
    let lines = b"{\"command\":\"health\"\n".repeat(1 << 15);
    let newlines = vec![b'\n'; 1 << 20];
    let why = ["a request has 1024 bytes at most", "not a request", "not a request"];
    for (flood, why) in [binary, lines, newlines].iter().zip(why) {
        let mut stranger = Stranger::of(&restarter);
        let _ = stranger.says(flood);
        assert_error(&stranger.hears_the_end(), why);
    }
    await_descriptors(restarter.pid(), &before);
    assert_eq!(status(&restarter)["phase"], "serving");
    stop_cleanly(&scene, restarter);
}

/// The first counts.
fn two_at_once() {
    let scene = Scene::new();
    let restarter = serving(&scene, &[], SERVER);
    let stop = r#"{"command":"stop"}"#;
    let mut stranger = Stranger::of(&restarter);
    stranger.asks(&format!("{HEALTH}\n{stop}"));
    assert_done(&stranger.hears_the_end(), true, "healthy");
    // What is bad is no reason to look at what follows either.
    let mut stranger = Stranger::of(&restarter);
    stranger.asks(&format!("nonsense\n{stop}"));
    assert_error(&stranger.hears_the_end(), "not a request");
    // Nor is what comes while it waits, however much that is.
    let mut stranger = Stranger::of(&restarter);
    stranger.asks(&format!("{}\n{stop}", r#"{"command":"reload","wait":true}"#));
    stranger.is_taken();
    for _ in 0..1000 {
        if stranger.says(format!("{stop}\n").as_bytes()).is_err() {
            break;
        }
    }
    assert_done(&stranger.hears_the_end(), true, "epoch 1 ready after");
    assert_eq!(status(&restarter)["phase"], "serving");
    stop_cleanly(&scene, restarter);
}

fn byte_by_byte() {
    let scene = Scene::new();
    let restarter = serving(&scene, &[], SERVER);
    let mut stranger = Stranger::of(&restarter);
    for byte in format!("{HEALTH}\n").into_bytes() {
        stranger.says(&[byte]).expect("it is listened to");
        // By then that byte has been read.
        assert_done(&ask(&restarter, "health"), true, "healthy");
    }
    assert_done(&stranger.hears_the_end(), true, "healthy");
    stop_cleanly(&scene, restarter);
}

/// As `socat` says it: the end of what is said is the end of the line, and the answer is waited for.
fn without_an_end() {
    let scene = Scene::new();
    let restarter = serving(&scene, &[], SERVER);
    for (said, why) in [(r#"{"command":"#, "EOF"), (r#"{"command":"stop""#, "EOF"), (" ", "EOF")] {
        let mut stranger = Stranger::of(&restarter);
        stranger.says(said.as_bytes()).expect("it is listened to");
        stranger.ends();
        assert_error(&stranger.hears_the_end(), why);
    }
    let mut stranger = Stranger::of(&restarter);
    stranger.says(HEALTH.as_bytes()).expect("it is listened to");
    stranger.ends();
    assert_done(&stranger.hears_the_end(), true, "healthy");
    // Whoever has nothing to say gets no answer.
    let mut stranger = Stranger::of(&restarter);
    stranger.ends();
    assert_eq!(stranger.hears(), None);
    for end in ["", "\n"] {
        let mut stranger = Stranger::of(&restarter);
        stranger
            .says(format!("{}{end}", r#"{"command":"reload","wait":true}"#).as_bytes())
            .expect("heard");
        stranger.ends();
        stranger.is_taken();
        assert_done(&stranger.hears_the_end(), true, "ready after");
    }
    stop_cleanly(&scene, restarter);
}

/// Whoever says nothing, or never comes to an end, is told after five seconds; whoever waits is
/// not.
fn silence() {
    let scene = Scene::new();
    let gate = scene.gate();
    let check = scene.beside(&format!("await={gate}"));
    let restarter = serving(&scene, &["--ready", "none", "--check", &check], SERVER);
    let before = descriptors(restarter.pid()).len();
    let mut waits = Stranger::waits(&restarter, "reload");
    waits.is_taken();
    let since = Instant::now();
    let silent = Stranger::of(&restarter);
    let mut half = Stranger::of(&restarter);
    half.says(br#"{"command":"#).expect("it is listened to");
    let mut drips = Stranger::of(&restarter);
    let listens = thread::spawn(move || {
        let answers = [silent.hears_all(), half.hears_all()];
        (answers, since.elapsed())
    });
    // Each byte is no new beginning.
    while drips.says(b" ").is_ok() {
        assert!(since.elapsed() < support::BOUND, "it is listened to for ever");
        thread::sleep(Duration::from_millis(50));
    }
    assert_error(&drips.hears_the_end(), "no request has come in time");
    let (answers, after) = listens.join().expect("they are told");
    assert!(after >= Duration::from_secs(4), "told after {after:?} already");
    for answer in answers {
        assert_eq!(answer.len(), 1, "{answer:?}");
        assert_error(&answer[0], "no request has come in time");
    }
    assert_done(&ask(&restarter, "health"), true, "healthy");
    assert!(descriptors(restarter.pid()).len() > before, "whoever waits is still there");
    gate.open();
    assert_done(&waits.hears_the_end(), true, "epoch 1 ready after");
    stop_cleanly(&scene, restarter);
}

/// Who does not read what happens is dropped; nobody else waits for that, nor does the restart.
fn unread() {
    let scene = Scene::new();
    let gate = scene.gate();
    let check = scene.beside(&format!("await={gate}"));
    let restarter = serving(&scene, &["--check", &check], SERVER);
    let before = descriptors(restarter.pid());
    let mut reads = Stranger::waits(&restarter, "reload");
    reads.is_taken();
    let never = Stranger::waits(&restarter, "reload");
    eventually("both are there", || {
        let now = descriptors(restarter.pid());
        // With our end of the check's output.
        if now.len() == before.len() + 3 { Ok(()) } else { Err(now) }
    });
    let reader = thread::spawn(move || reads.hears_all());
    let both = descriptors(restarter.pid()).len();
    // What nobody catches is told of, a line for each signal and epoch.
    eventually("who does not read is dropped", || {
        for signal in (34..=64).chain([libc::SIGUSR2, libc::SIGALRM]) {
            restarter.signal(signal);
        }
        restarter.settle();
        let now = descriptors(restarter.pid());
        if now.len() < both { Ok(()) } else { Err(now.len()) }
    });
    gate.open();
    let lines = reader.join().expect("it reads");
    assert!(lines.len() > 100, "{}", lines.len());
    assert_done(lines.last().expect("a line"), true, "epoch 1 ready after");
    // What it could have read is still there, and ends.
    let unread = never.hears_what_was_sent().len();
    assert!(unread > 0 && unread < lines.len(), "{unread} of {}", lines.len());
    await_descriptors(restarter.pid(), &before);
    stop_cleanly(&scene, restarter);
}

fn gone_without_a_word() {
    let scene = Scene::new();
    let restarter = serving(&scene, &[], SERVER);
    let before = descriptors(restarter.pid());
    for round in 0..300 {
        let mut stranger = Stranger::of(&restarter);
        match round % 4 {
            0 => {}
            1 => stranger.says(b"{\"comm").expect("it is listened to"),
            2 => stranger.ends(),
            // And does not want to know.
            _ => stranger.asks(r#"{"command":"status"}"#),
        }
    }
    await_descriptors(restarter.pid(), &before);
    assert_done(&ask(&restarter, "health"), true, "healthy");
    restarter.await_idle();
    stop_cleanly(&scene, restarter);
}

/// What they have asked for goes on without them.
fn gone_while_waiting() {
    let scene = Scene::new();
    let gate = scene.gate();
    let check = scene.beside(&format!("say=checks await={gate}"));
    let restarter = serving(&scene, &["--check", &check], SERVER);
    let mut stays = Stranger::waits(&restarter, "reload");
    stays.is_taken();
    scene.journal_beside().await_said("checks");
    let before = descriptors(restarter.pid());
    for round in 0..100 {
        let mut stranger = Stranger::waits(&restarter, "reload");
        match round % 3 {
            0 => drop(stranger.is_taken()),
            1 => {
                stranger.is_taken();
                stranger.ends();
            }
            // Before it is told.
            _ => {}
        }
    }
    await_descriptors(restarter.pid(), &before);
    gate.open();
    assert_done(&stays.hears_the_end(), true, "epoch 1 ready after");
    // The one that the others have asked for.
    restarter.says(" ready epoch=2 ");
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 3, "{}", restarter.log());
    assert_eq!(status(&restarter)["restarts_done"], 2);
    stop_cleanly(&scene, restarter);
}

/// Does this as another user, in a thread that is not one of root's any more.
fn as_user<T: Send + 'static>(user: u32, act: impl FnOnce() -> T + Send + 'static) -> T {
    let changed = thread::spawn(move || {
        // SAFETY: the calls take integers; as system calls they change this thread alone.
        let changed = unsafe {
            [
                libc::syscall(libc::SYS_setresgid, user, user, user),
                libc::syscall(libc::SYS_setresuid, user, user, user),
            ]
        };
        assert_eq!(changed, [0, 0], "we are root");
        act()
    });
    changed.join().expect("no panic")
}

/// They are told so, whatever the file would allow; and nothing is done.
fn of_another_user() {
    let scene = Scene::new();
    let restarter = serving(&scene, &[], SERVER);
    let path = restarter.control().path().to_owned();
    let user = 1_000_000_000 + process::id();
    let at = path.clone();
    let connected = as_user(user, move || std::os::unix::net::UnixStream::connect(at).is_ok());
    assert!(!connected, "the file is for us alone");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("it is ours");
    let before = restarter.log();
    let fds = descriptors(restarter.pid());
    for request in ["", "nonsense\n", "{\"command\":\"stop\"}\n", "{\"command\":\"status\"}\n"] {
        let at = path.clone();
        let lines = as_user(user, move || {
            let mut stranger = Stranger::at(&at);
            // It may have been dropped already.
            let _ = stranger.says(request.as_bytes());
            stranger.hears_all()
        });
        assert_eq!(lines.len(), 1, "{request}: {lines:?}");
        assert_error(&lines[0], &format!("user {user} may not; root and our own user may"));
        assert!(!message(&lines[0]).contains('\n'));
    }
    assert_eq!(status(&restarter)["phase"], "serving");
    assert_eq!(restarter.log(), before);
    // Many of them take nobody's place.
    let mut waits = Stranger::waits(&restarter, "reload");
    waits.is_taken();
    let at = path.clone();
    let all = as_user(user, move || {
        let crowd: Vec<Stranger> = (0..200).map(|_| Stranger::at(&at)).collect();
        crowd.into_iter().all(|stranger| stranger.hears_the_end()["reply"] == "error")
    });
    assert!(all);
    assert_done(&waits.hears_the_end(), true, "epoch 1 ready after");
    await_descriptors(restarter.pid(), &fds);
    stop_cleanly(&scene, restarter);
}

/// A crowd leaves enough descriptors for what the epochs need: whom a signal is for is still known.
fn descriptors_for_epochs() {
    let scene = Scene::new();
    let wrapper = ["prlimit", "--nofile=20:20"];
    let restarter = scene.wrapped_restarter(&wrapper, &[], &scene.probe(SERVER)).start();
    restarter.says(" ready epoch=0 ");
    let crowd: Vec<Stranger> = (0..30).map(|_| Stranger::of(&restarter)).collect();
    assert_done(&ask(&restarter, "health"), true, "healthy");
    restarter.signal(libc::SIGUSR2);
    restarter.says(" dropped epoch=0 … since no process of this epoch catches it");
    assert_done(&ask(&restarter, "reopen"), true, "1 process that catches it");
    drop(crowd);
    stop_cleanly(&scene, restarter);
}

/// Where no descriptor is left who says nothing makes room, and signals are acted on meanwhile.
fn few_descriptors() {
    let scene = Scene::new();
    let wrapper = ["prlimit", "--nofile=8:8"];
    let options = ["--ready", "none"];
    let setup = scene.wrapped_restarter(&wrapper, &options, &scene.probe(SERVER));
    let restarter = setup.start();
    restarter.says(" ready epoch=0 ");
    let mut crowd = (0..30).map(|_| Stranger::of(&restarter)).collect::<Vec<_>>().into_iter();
    restarter.signal(libc::SIGHUP);
    restarter.says(" ready epoch=1 ");
    let first = crowd.next().expect("the first of them").hears_the_end();
    assert_error(&first, "others have come since");
    let rest: Vec<Stranger> = crowd.collect();
    // More come than there is room for, and whoever stays is let in.
    let mut late = Stranger::of(&restarter);
    late.asks(HEALTH);
    drop(rest);
    assert_done(&late.hears_the_end(), true, "healthy");
    assert_done(&ask(&restarter, "health"), true, "healthy");
    stop_cleanly(&scene, restarter);
}
