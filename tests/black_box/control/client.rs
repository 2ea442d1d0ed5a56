//! The client: what it prints, how it ends, and how little it takes to be told no.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use support::control::{Answer, Place, client};
use support::inherit::Inherit;
use support::scene::{Restarter, Scene, holds};
use support::terminal::{CTRL_C, Terminal};
use support::{BOUND, eventually, namespace, processes, restarter};

use crate::needs::{Needs, trial};

/// The trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("control::client::restarts", Needs::Nothing, restarts),
        trial("control::client::refusals", Needs::Nothing, refusals),
        trial("control::client::stop", Needs::Nothing, stop),
        trial("control::client::stop_from_inside", Needs::Root, stop_from_inside),
        trial("control::client::health", Needs::Nothing, health),
        trial("control::client::status", Needs::Nothing, status),
        trial("control::client::nobody_there", Needs::Nothing, nobody_there),
        trial("control::client::usual_places", Needs::Root, usual_places),
        trial("control::client::somebody_elses", Needs::Root, somebody_elses),
        trial("control::client::stranger", Needs::Root, stranger),
        trial("control::client::strange_answers", Needs::Nothing, strange_answers),
        trial("control::client::errors", Needs::Nothing, errors),
        trial("control::client::silence", Needs::Nothing, silence),
        trial("control::client::flood", Needs::Nothing, flood),
        trial("control::client::suspended", Needs::Nothing, suspended),
        trial("control::client::full_queue", Needs::Nothing, full_queue),
        trial("control::client::full_queue_suspended", Needs::Nothing, full_queue_suspended),
        trial("control::client::patience", Needs::Nothing, patience),
        trial("control::client::json", Needs::Nothing, json),
        trial("control::client::output", Needs::Nothing, output),
        trial("control::client::no_output", Needs::Nothing, no_output),
        trial("control::client::progress", Needs::Nothing, progress),
        trial("control::client::progress_nowhere", Needs::Nothing, progress_nowhere),
        trial("control::client::signals", Needs::Nothing, signals),
        trial("control::client::as_pid_1", Needs::Namespace, as_pid_1),
        trial("control::client::bad_usage", Needs::Nothing, bad_usage),
    ]
}

const SERVER: &str = "exit-on=TERM:0 catch=USR1 wait";
const TAKEN: &str = r#"{"version":1,"reply":"taken","ok":true,"message":"epoch 1 is starting"}"#;
const DONE: &str = r#"{"version":1,"reply":"done","ok":true,"message":"done as asked"}"#;

/// Listens at a place, takes one client in and its request, and does this with it.
fn fake(place: &Place, play: impl FnOnce(&mut UnixStream) + Send + 'static) {
    let listener = UnixListener::bind(place.path()).expect("a socket of ours");
    thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else {
            return;
        };
        let mut request = String::new();
        let _ = BufReader::new(&stream).read_line(&mut request);
        assert!(request.starts_with(r#"{"version":1,"command":""#), "{request}");
        play(&mut stream);
    });
}

/// One that sends these bytes and closes the connection.
fn says(place: &Place, bytes: impl Into<Vec<u8>>) {
    let bytes = bytes.into();
    fake(place, move |stream| {
        let _ = stream.write_all(&bytes);
    });
}

/// One that sends these bytes, and nothing more until the client has gone.
fn says_and_waits(place: &Place, bytes: impl Into<Vec<u8>>) {
    let bytes = bytes.into();
    fake(place, move |stream| {
        let _ = stream.write_all(&bytes);
        let _ = stream.read_to_end(&mut Vec::new());
    });
}

/// An error of the client's own: this code, one line on standard error, and nothing else.
fn assert_fails(answer: &Answer, code: i32, sentence: &str) {
    assert_eq!((answer.code, &answer.out[..]), (code, ""), "{answer:?}");
    assert!(answer.err.starts_with("hot-restarter: "), "{answer:?}");
    assert!(answer.err.ends_with('\n') && answer.err.lines().count() == 1, "{answer:?}");
    assert!(holds(&answer.err, sentence), "not {sentence:?}: {answer:?}");
}

fn assert_prints(answer: &Answer, code: i32, out: &str) {
    assert_eq!((answer.code, &answer.out[..], &answer.err[..]), (code, out, ""), "{answer:?}");
}

fn serving(scene: &Scene, options: &[&str]) -> Restarter {
    let restarter = scene.restarter(options, &scene.probe(SERVER)).start();
    restarter.says(" ready epoch=0 ");
    restarter.listens();
    restarter
}

fn restarts() {
    let scene = Scene::new();
    let mut restarter = serving(&scene, &[]);
    let answer = restarter.send(&["reload", "--wait"]);
    assert!(holds(&answer.out, "epoch 1 ready after 1…s\n"), "{answer:?}");
    assert_prints(&answer, 0, &answer.out);
    assert_prints(&restarter.send(&["reload"]), 0, "epoch 2 is starting\n");
    assert_prints(
        &restarter.send(&["reload", "--timeout=20"]),
        0,
        "queued: epoch 2 is not ready yet\n",
    );
    restarter.says(" ready epoch=2 ");
    let answer = restarter.send(&["reload", "--wait", "--timeout", "0.2"]);
    assert_fails(&answer, 1, "the reload is not done within 0.200 s (--timeout); it goes on");
    let answer = restarter.send(&["reopen"]);
    assert!(holds(&answer.out, "SIGUSR1 sent to 1 process"), "{answer:?}");
    assert_prints(&answer, 0, &answer.out);
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
}

/// What was to be done is not: an error, and told as one.
fn refusals() {
    let scene = Scene::new();
    let check = scene.beside("exit=1");
    let mut restarter = serving(&scene, &["--check", &check]);
    let answer = restarter.send(&["reload", "--wait"]);
    assert_eq!((answer.code, &answer.out[..]), (1, ""), "{answer:?}");
    assert!(answer.err.starts_with("refused: the check exited with 1"), "{answer:?}");
    let answer = restarter.send(&["reload", "--wait", "--json"]);
    assert_eq!((answer.code, &answer.err[..]), (1, ""), "{answer:?}");
    assert!(holds(&answer.out, r#"{"version":1,"reply":"done","ok":false,"#), "{answer:?}");
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
}

fn stop() {
    let scene = Scene::new();
    let mut restarter = serving(&scene, &[]);
    let answer = restarter.send(&["stop", "--wait"]);
    assert_prints(&answer, 0, "stopped with exit code 0: everything has ended\n");
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert_fails(&restarter.send(&["stop"]), 3, "no restarter answers: …is not there");
    let target = scene.probe("ignore=TERM wait");
    let mut restarter = scene.restarter(&["--term-wait", "0.3"], &target).start();
    restarter.says(" ready epoch=0 ");
    let answer = restarter.send(&["stop", "--wait"]);
    assert_eq!((answer.code, &answer.out[..]), (1, ""), "{answer:?}");
    assert!(answer.err.starts_with("stopped with exit code 1: "), "{answer:?}");
    assert_eq!(restarter.code(), 1, "{}", restarter.log());
    // Killed while somebody waits for it.
    let mut restarter = scene.restarter(&[], &target).start();
    restarter.says(" ready epoch=0 ");
    let mut command = restarter.control().client(&["stop", "--wait"]);
    let waits = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a client");
    restarter.says(" stopping: asked for");
    restarter.signal(libc::SIGKILL);
    assert_eq!(restarter.code(), 137);
    let answer = Answer::from(waits.wait_with_output().expect("it is our child"));
    assert_fails(&answer, 1, "closed the connection before it said what became of the stop");
    // What it has left.
    assert_fails(&restarter.send(&["status"]), 3, "is there, but nobody listens any more");
}

/// The end of PID 1 is that of everybody in its namespace, and a client that somebody has executed
/// there says what came of it nevertheless, unless it is suspended.
fn stop_from_inside() {
    let inside = |restarter: &Restarter, words: &[&str]| {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", restarter.pid())).arg("--pid");
        command.arg(support::restarter()).arg("--send").args(words);
        command.env("HOT_RESTARTER_CONTROL", restarter.control().path()).stdin(Stdio::null());
        command
    };
    let start = |scene: &Scene, steps: &str| {
        let target = scene.probe(steps);
        let restarter = scene.wrapped_restarter(namespace::wrapper(), &[], &target).start();
        restarter.says(" ready epoch=0 ");
        restarter
    };
    for _ in 0..10 {
        let scene = Scene::new();
        let mut restarter = start(&scene, SERVER);
        let answer = Answer::of(&mut inside(&restarter, &["stop", "--wait"]));
        assert_prints(&answer, 0, "stopped with exit code 0: everything has ended\n");
        assert_eq!(restarter.code(), 0, "{}", restarter.log());
    }
    let scene = Scene::new();
    let gate = scene.gate();
    let mut restarter = start(&scene, &format!("ignore=TERM await={gate} exit=0"));
    let waits = inside(&restarter, &["stop", "--wait"]).spawn().expect("nsenter runs");
    restarter.says(" stopping: asked for");
    let wrapper = i32::try_from(waits.id()).expect("a pid");
    let client = eventually("the client runs", || {
        processes::children(wrapper).first().map(|child| child.pid).ok_or(())
    });
    processes::signal(client, libc::SIGSTOP);
    gate.open();
    eventually("the kernel has killed the client", || {
        let state = processes::process(client).map(|process| process.state);
        if state == Some('Z') { Ok(()) } else { Err(state) }
    });
    // nsenter stops itself with what it has executed, and the kernel waits until that is reaped.
    processes::signal(wrapper, libc::SIGCONT);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    let answer = Answer::from(waits.wait_with_output().expect("it is our child"));
    assert_eq!(answer.code, 128 + libc::SIGKILL);
}

/// As a health check wants it: one line, and 0 or 1.
fn health() {
    let scene = Scene::new();
    let ready = format!("exec:test -e {}", scene.place("is-ready"));
    let target = scene.probe("ignore=TERM wait");
    let mut restarter = scene.restarter(&["--ready", &ready], &target).start();
    restarter.says(" started epoch=0 ");
    restarter.listens();
    assert_prints(&restarter.send(&["health"]), 1, "unhealthy: no epoch is ready\n");
    File::create(scene.path("is-ready")).expect("a file in our folder");
    restarter.says(" ready epoch=0 ");
    assert_prints(&restarter.send(&["health"]), 0, "healthy\n");
    restarter.signal(libc::SIGTERM);
    restarter.says(" stopping: ");
    assert_prints(&restarter.send(&["health"]), 1, "unhealthy: everything is being stopped\n");
    restarter.signal(libc::SIGKILL);
    restarter.code();
}

fn status() {
    let scene = Scene::new();
    let mut restarter = serving(&scene, &["--ready", "none"]);
    assert_eq!(restarter.send(&["reload", "--wait"]).code, 0);
    let answer = restarter.send(&["status"]);
    assert_prints(&answer, 0, &answer.out);
    let pid = restarter.pid();
    for (line, expected) in answer.out.lines().zip([
        &format!(
            "hot-restarter {} (pid {pid}), up …s since 2…Z: serving",
            env!("CARGO_PKG_VERSION")
        )[..],
        "EPOCH  PID…STATE     AGE  READY-AFTER  SINCE",
        "0      …  draining  …s   0 s          2…Z",
        "1      …  ready     …s   0 s          2…Z",
        "last restart: epoch 1 ready after 0 s (…s ago)",
        "restarts: 1 done, 0 refused, 0 failed; orphans reaped: 0",
    ]) {
        assert!(holds(line, expected), "{expected}: {}", answer.out);
    }
    assert_eq!(answer.out.lines().count(), 6, "{}", answer.out);
    let json = restarter.send(&["status", "--json"]);
    assert!(json.out.ends_with("}\n") && json.out.lines().count() == 1, "{json:?}");
    assert!(holds(&json.out, &format!("\"pid\":{pid},\"phase\":\"serving\",\"healthy\":true")));
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
}

fn nobody_there() {
    let place = Place::new();
    for words in [&["status"][..], &["reload", "--wait"], &["health", "--json"]] {
        let expected = format!("no restarter answers: {} is not there", place.place());
        assert_fails(&place.send(words), 3, &expected);
    }
    // The option wins over the variable.
    let other = Place::new();
    let answer = place.send(&["status", "--control", other.place()]);
    assert_fails(&answer, 3, &format!("{} is not there", other.place()));
    assert_fails(
        &place.send(&["status", "--control", "/etc/passwd/x"]),
        3,
        "passwd/x is not there",
    );
    drop(UnixListener::bind(place.path()).expect("a socket of ours"));
    assert_fails(&place.send(&["status"]), 3, "is there, but nobody listens any more");
    let answer = place.send(&["status", "--control", "/etc/passwd"]);
    assert_fails(&answer, 3, "/etc/passwd is there, but nobody listens any more");
    let datagrams = std::os::unix::net::UnixDatagram::bind(other.path()).expect("a socket of ours");
    assert_fails(&other.send(&["status"]), 3, "is no socket of a restarter");
    drop(datagrams);
    let mut none = client(&["status"]);
    none.env("HOT_RESTARTER_CONTROL", "none");
    assert_fails(
        &Answer::of(&mut none),
        3,
        "HOT_RESTARTER_CONTROL=none, so the one that runs here",
    );
}

/// A shell, in a mount namespace with a `/run` and a `/dev/shm` of its own and this script; `$HR` is
/// the program, and no variable says where the socket is.
fn alone(script: &str) -> Answer {
    let mount = "mount -t tmpfs -o mode=755 none /run && mount -t tmpfs -o mode=1777 none /dev/shm";
    let script = format!("{mount} && {{ {script}\n}}");
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "sh",
        "-c",
        &script,
    ]);
    let command = command.env("HR", restarter()).env_remove("HOT_RESTARTER_CONTROL");
    Answer::of(command.stdin(Stdio::null()))
}

/// Waits in a script until this holds.
fn until(condition: &str) -> String {
    format!("i=0; until {condition} || [ $i = 1000 ]; do i=$((i+1)); sleep 0.02; done")
}

fn usual_places() {
    let answer = alone("\"$HR\" --send status");
    assert_fails(
        &answer,
        3,
        "no restarter answers: /run/hot-restarter.sock is not there; /dev/shm/hot-restarter-0.sock \
         is not there; one elsewhere is named by --control or HOT_RESTARTER_CONTROL",
    );
    // The first of them, the second where the first cannot be, or is dead.
    let healthy = until("\"$HR\" -s health >/dev/null 2>&1");
    for make in ["", "mount -o remount,ro /run;"] {
        let script = format!("{make} \"$HR\" sleep 99 2>/dev/null & {healthy}; \"$HR\" -s health");
        assert_prints(&alone(&script), 0, "healthy\n");
    }
    let second = format!(
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/run/hot-restarter.sock\")' \
         && HOT_RESTARTER_CONTROL=/dev/shm/hot-restarter-0.sock \"$HR\" sleep 99 2>/dev/null & \
         {healthy}; test -S /run/hot-restarter.sock && \"$HR\" -s health"
    );
    assert_prints(&alone(&second), 0, "healthy\n");
}

/// A restarter of another user: its own user and root may ask it, and root must say where it is.
fn somebody_elses() {
    let as_user = "setpriv --reuid=64001 --clear-groups \"$HR\"";
    let healthy = until(&format!("{as_user} -s health >/dev/null 2>&1"));
    let ask =
        |client: &str| alone(&format!("{as_user} sleep 99 2>/dev/null & {healthy}; {client}"));
    assert_prints(&ask(&format!("{as_user} -s health")), 0, "healthy\n");
    assert_fails(&ask("\"$HR\" -s health"), 3, "; try --control /dev/shm/hot-restarter-64001.sock");
    // What anybody may have made is not proposed: no socket, another's, a way to another's.
    let shm = "/dev/shm/hot-restarter-";
    let bind = "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])";
    let made = format!(
        "bind() {{ python3 -c '{bind}' \"$1\" && chown \"$2\" \"$1\"; }}; \
         touch {shm}64003.sock && chown 64003 {shm}64003.sock && bind {shm}64004.sock 64005 && \
         bind {shm}+64006.sock 64006 && bind /dev/shm/another 64007 && \
         ln -s another {shm}64007.sock && chown -h 64007 {shm}64007.sock"
    );
    let elsewhere = "is not there; one elsewhere is named by --control or HOT_RESTARTER_CONTROL";
    assert_fails(&alone(&format!("{made} && \"$HR\" -s health")), 3, elsewhere);
    let proposed = "; try --control /dev/shm/hot-restarter-64001.sock";
    assert_fails(&ask(&format!("{made} && \"$HR\" -s health")), 3, proposed);
    let named = ask("\"$HR\" -s health --control /dev/shm/hot-restarter-64001.sock");
    assert_prints(&named, 0, "healthy\n");
    let other = "setpriv --reuid=64002 --clear-groups \"$HR\"";
    let named = ask(&format!("{other} -s health --control /dev/shm/hot-restarter-64001.sock"));
    assert_fails(&named, 3, "64001.sock is for root and its restarter's own user only");
}

/// Anybody may have made a file at the usual place in `/dev/shm`.
fn stranger() {
    let place = "/dev/shm/hot-restarter-0.sock";
    let listens = until(&format!("\"$HR\" -s health --control {place} >/dev/null 2>&1"));
    let script = format!(
        "HOT_RESTARTER_CONTROL={place} setpriv --reuid=64001 --clear-groups \"$HR\" sleep 99 \
         2>/dev/null & {listens}; \"$HR\" -s reload --wait"
    );
    assert_fails(&alone(&script), 3, "belongs to user 64001, who is neither root nor we");
}

fn strange_answers() {
    let endless = vec![b'x'; 300 * 1024];
    let cases: [(&[u8], &str); 8] = [
        (b"", "closed the connection without an answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is none of a restarter: expected value"),
        (b"\n", "is none of a restarter: EOF while parsing"),
        (b"\xff\x00\x1b[2J\n", "is none of a restarter: expected value"),
        (b"{\"version\":1,\"reply\":\"done\"", "broke off in the middle of a line"),
        (b"{\"version\":1}\n", "is none of a restarter: it has no `reply`"),
        (
            b"{\"version\":2,\"verdict\":\"good\"}\n",
            "is of version 2, and version 1 is spoken here",
        ),
        (&endless, "is none of a restarter: a line of more than 262144 bytes"),
    ];
    for (bytes, sentence) in cases {
        for words in [&["status"][..], &["reload", "--wait"], &["stop", "--json"]] {
            let place = Place::new();
            says(&place, bytes);
            assert_fails(&place.send(words), 3, sentence);
        }
    }
    // It has taken the request before.
    for (bytes, sentence) in &cases[..7] {
        let place = Place::new();
        says(&place, [TAKEN.as_bytes(), b"\n", *bytes].concat());
        let expected =
            if bytes.is_empty() { "before it said what became of the reload" } else { *sentence };
        assert_fails(&place.send(&["reload", "--wait"]), 1, expected);
    }
    // Before the request is read, as a restarter does that is full.
    let place = Place::new();
    let listener = UnixListener::bind(place.path()).expect("a socket of ours");
    thread::spawn(move || drop(listener.accept()));
    assert_fails(&place.send(&["status"]), 3, "closed the connection without an answer");
    // What it does not know of version 1 does not trouble it.
    let place = Place::new();
    says(&place, DONE.replace("\"ok\"", "\"mood\":{\"good\":[1]},\"ok\"") + "\nand more");
    assert_prints(&place.send(&["stop", "--wait"]), 0, "done as asked\n");
}

/// A restarter says why it does not hear us.
fn errors() {
    let place = Place::new();
    let error = r#"{"version":1,"reply":"error","ok":false,"message":"user 7 may not\u001b[2J"}"#;
    let listener = UnixListener::bind(place.path()).expect("a socket of ours");
    let line = format!("{error}\n");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = (&stream).write_all(line.as_bytes());
        }
    });
    for words in [&["status"][..], &["reload", "--wait"]] {
        assert_fails(&place.send(words), 1, "hot-restarter: user 7 may not\\u001b[2J\n");
    }
    assert_prints(&place.send(&["status", "--json"]), 1, &format!("{error}\n"));
}

fn silence() {
    for (words, sentence) in [
        (
            &["status", "--timeout", "0.2"][..],
            "does not answer within 0.200 s, so it hangs or is suspended\n",
        ),
        (&["reload", "--timeout=0.2"], "or is suspended; it may still reload\n"),
        (&["stop", "--wait", "--timeout=0.2"], "or is suspended; it may still stop\n"),
    ] {
        let place = Place::new();
        says_and_waits(&place, "");
        assert_fails(&place.send(words), 3, sentence);
        // As good as silence.
        let place = Place::new();
        says_and_waits(&place, &DONE[..20]);
        assert_fails(&place.send(words), 3, sentence);
    }
}

/// Progress without an end, as fast as it can be read.
fn flood() {
    let line = r#"{"version":1,"reply":"progress","ok":true,"message":"on and on"}"#;
    for words in [&["reload", "--wait", "--timeout=0.3"][..], &["status", "--timeout=0.3"]] {
        let place = Place::new();
        fake(&place, move |stream| {
            let lines = format!("{line}\n").repeat(100);
            while stream.write_all(lines.as_bytes()).is_ok() {}
        });
        assert_fails(&place.send(words), 1, "is not done within 0.300 s (--timeout); it goes on");
    }
}

fn suspended() {
    let scene = Scene::new();
    let mut restarter = serving(&scene, &["--ready", "none"]);
    restarter.signal(libc::SIGSTOP);
    let pid = restarter.pid();
    eventually("it is suspended", || {
        let state = processes::process(pid).map(|process| process.state);
        if state == Some('T') { Ok(()) } else { Err(state) }
    });
    let answer = restarter.send(&["reload", "--timeout", "0.2"]);
    assert_fails(&answer, 3, "does not answer within 0.200 s, so it hangs or is suspended");
    restarter.signal(libc::SIGCONT);
    // It was said that it may.
    restarter.says(" ready epoch=1 ");
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
}

/// It lets nobody in any more, and connecting would wait for ever.
fn full_queue() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path()).expect("a socket of ours");
    // SAFETY: the call takes integers.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let _first = UnixStream::connect(place.path()).expect("there is room for one");
    let since = Instant::now();
    for words in [&["status", "--timeout=0.3"][..], &["stop", "--wait", "--timeout=0.3"]] {
        assert_fails(&place.send(words), 3, "does not take our connection, as if it hung");
    }
    assert!(since.elapsed() >= Duration::from_millis(600) && since.elapsed() < BOUND);
}

/// However often it is suspended meanwhile, it does not begin to wait anew.
fn full_queue_suspended() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path()).expect("a socket of ours");
    // SAFETY: the call takes integers.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let _first = UnixStream::connect(place.path()).expect("there is room for one");
    let mut command = place.client(&["reload", "--timeout=1"]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = command.spawn().expect("the client runs");
    let pid = i32::try_from(client.id()).expect("a pid");
    eventually("it gives up", || {
        if client.try_wait().expect("it is our child").is_some() {
            return Ok(());
        }
        processes::signal(pid, libc::SIGSTOP);
        processes::signal(pid, libc::SIGCONT);
        Err(())
    });
    let answer = Answer::from(client.wait_with_output().expect("it is our child"));
    assert_fails(&answer, 3, "does not take our connection, as if it hung");
}

/// What is given up after five seconds unless somebody says otherwise, and what never.
fn patience() {
    let timed = |words: &[&str], bytes: &str, play: fn(&Place, Vec<u8>)| {
        let place = Place::new();
        play(&place, bytes.as_bytes().to_vec());
        let since = Instant::now();
        let answer = place.send(words);
        (answer, since.elapsed())
    };
    let silent: Vec<_> = [&["health"][..], &["reload", "--wait"]]
        .map(|words| thread::spawn(move || timed(words, "", says_and_waits)))
        .into_iter()
        .collect();
    let late = thread::spawn(move || {
        timed(&["reload", "--wait"], TAKEN, |place, bytes| {
            fake(place, move |stream| {
                let _ = stream.write_all(&[&bytes[..], b"\n"].concat());
                thread::sleep(Duration::from_secs(6));
                let _ = stream.write_all(format!("{DONE}\n").as_bytes());
            });
        })
    });
    for silent in silent {
        let (answer, waited) = silent.join().expect("it has ended");
        assert_fails(&answer, 3, "does not answer within 5 s, so it hangs or is suspended");
        assert!((Duration::from_secs(5)..BOUND).contains(&waited), "{waited:?}");
    }
    let (answer, waited) = late.join().expect("it has ended");
    assert_prints(&answer, 0, "done as asked\n");
    assert!(waited >= Duration::from_secs(6), "{waited:?}");
}

/// Every line as it came, down to its spaces.
fn json() {
    let place = Place::new();
    let progress =
        "{ \"version\": 1, \"reply\":\"progress\",\"ok\":false,\"message\":\"é\\n\" , \"new\":1}";
    let lines = format!("{TAKEN}\n{progress}\n{DONE}\n");
    says(&place, lines.clone() + "{\"version\":1}\n");
    assert_prints(&place.send(&["reload", "--wait", "--json"]), 0, &lines);
    let place = Place::new();
    says(&place, lines);
    assert_prints(&place.send(&["reload", "--json"]), 0, &format!("{TAKEN}\n"));
}

/// The last lines of a check that failed, from which nothing reaches a terminal but text.
fn output() {
    let place = Place::new();
    let line = r#"{"version":1,"reply":"done","ok":false,"message":"refused: the check exited with 1","output":["\u001b[31mbad\u0007","","\tline 3"]}"#;
    says(&place, format!("{TAKEN}\n{line}\n"));
    let answer = place.send(&["reload", "--wait"]);
    assert_eq!((answer.code, &answer.out[..]), (1, ""), "{answer:?}");
    let expected = "refused: the check exited with 1:\n  \\u001b[31mbad\\u0007\n  \n  \tline 3\n";
    assert_eq!(answer.err, expected);
}

/// What was done is done, whoever reads of it. A status is nothing but what is read.
fn no_output() {
    for (words, expected) in [(&["reload", "--wait"][..], 0), (&["health"], 0), (&["status"], 1)] {
        let attempts: [fn(&mut Command); 2] = [
            |command| {
                let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
                command.stdout(full);
            },
            |command| {
                command.without_descriptor(1);
            },
        ];
        for json in [false, true] {
            for attempt in attempts {
                let place = Place::new();
                says(&place, format!("{DONE}\n"));
                let mut command = place.client(words);
                command.args(json.then_some("--json"));
                command.stdout(Stdio::null()).stderr(Stdio::piped());
                attempt(&mut command);
                let client = command.spawn().expect("the client runs");
                let answer = Answer::from(client.wait_with_output().expect("it is our child"));
                assert_fails(&answer, expected, "cannot write the answer: ");
            }
        }
    }
    // A pipe whose reader has gone ends it, as it does any program.
    let place = Place::new();
    says(&place, format!("{DONE}\n"));
    let mut command = place.client(&["status"]);
    let mut ends = [0; 2];
    // SAFETY: the pointer is to an array of two.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    // SAFETY: the kernel has just made them and nobody else has them.
    let [reader, writer] = ends
        .map(|end| unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(end) });
    drop(reader);
    command.stdout(writer).stderr(Stdio::piped());
    let client = command.spawn().expect("the client runs");
    let answer = Answer::from(client.wait_with_output().expect("it is our child"));
    assert_eq!((answer.code, &answer.err[..]), (128 + libc::SIGPIPE, ""));
}

/// A client on a terminal, all of it.
fn on_terminal(place: &Place, words: &[&str], columns: u16) -> (Terminal, std::process::Child) {
    let (terminal, programs) = Terminal::open();
    terminal.resize(24, columns);
    let mut command = place.client(words);
    command.env("TERM", "xterm").stderr(programs.try_clone().expect("a second descriptor"));
    command.on_terminal(programs);
    (terminal, command.spawn().expect("the client runs"))
}

/// One line, that goes with time and what happens, fits, and is gone in the end.
fn progress() {
    let place = Place::new();
    let long = format!("epoch 1: checking: \\u001b[2J{}", "日本語".repeat(100));
    let line = format!(r#"{{"version":1,"reply":"progress","ok":true,"message":"{long}"}}"#);
    let (done, is_seen) = std::sync::mpsc::channel::<()>();
    fake(&place, move |stream| {
        let _ = stream.write_all(format!("{TAKEN}\n{line}\n").as_bytes());
        let _ = is_seen.recv();
        let _ = stream.write_all(format!("{DONE}\n").as_bytes());
    });
    let (terminal, mut client) = on_terminal(&place, &["reload", "--wait"], 40);
    let screen = terminal.watched();
    screen.await_times("2 s: epoch 1: checking", 1);
    done.send(()).expect("the server waits for it");
    assert!(client.wait().expect("it is our child").success());
    screen.await_times("done as asked", 1);
    let shown = screen.text();
    let (drawn, result) = shown.rsplit_once("\r\x1b[K").expect("it is removed");
    assert_eq!(result, "done as asked\r\n");
    assert!(drawn.contains("\r0 s: epoch 1 is starting\x1b[K"), "{shown:?}");
    assert!(drawn.contains("\r1 s: epoch 1: checking: \\u001b[2J日本"), "{shown:?}");
    for line in drawn.split("\x1b[K") {
        let columns: usize = line.chars().map(|c| if c > '\u{1100}' { 2 } else { 1 }).sum();
        // Less the return of the carriage.
        assert!(columns <= 40 && !line.contains(['\n', '\x1b']), "{line:?}");
    }
}

/// No line without a terminal, on one that cannot clear it, nor for a program that reads.
fn progress_nowhere() {
    let progress = r#"{"version":1,"reply":"progress","ok":true,"message":"in between"}"#;
    let lines = format!("{TAKEN}\n{progress}\n{DONE}\n");
    let place = Place::new();
    says(&place, lines.clone());
    assert_prints(&place.send(&["reload", "--wait"]), 0, "done as asked\n");
    for (words, name, expected) in [
        (&["reload", "--wait"][..], "dumb", "done as asked\n"),
        (&["reload", "--wait", "--json"], "xterm", &lines),
    ] {
        let place = Place::new();
        says(&place, lines.clone());
        let (terminal, programs) = Terminal::open();
        let screen = terminal.watched();
        let mut command = place.client(words);
        command.env("TERM", name).stderr(programs).stdout(Stdio::piped());
        let client = command.spawn().expect("the client runs");
        drop(command);
        assert_prints(&client.wait_with_output().expect("our child").into(), 0, expected);
        assert_eq!(screen.text(), "");
    }
}

/// Every one that ends a program ends it, whatever it waits for.
fn signals() {
    let place = Place::new();
    says_and_waits(&place, format!("{TAKEN}\n"));
    let (mut terminal, client) = on_terminal(&place, &["reload", "--wait"], 80);
    let screen = terminal.watched();
    screen.await_times("0 s: epoch 1 is starting", 1);
    terminal.press(CTRL_C);
    let answer = Answer::from(client.wait_with_output().expect("it is our child"));
    assert_eq!(answer.code, 128 + libc::SIGINT);
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGALRM] {
        let place = Place::new();
        says_and_waits(&place, format!("{TAKEN}\n"));
        let mut command = place.client(&["stop", "--wait", "--json"]);
        let mut client = command.stdout(Stdio::piped()).spawn().expect("the client runs");
        let mut taken = String::new();
        let out = client.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut taken).expect("text");
        assert_eq!(taken.trim_end(), TAKEN);
        processes::signal(i32::try_from(client.id()).expect("a pid"), signal);
        let answer = Answer::from(client.wait_with_output().expect("it is our child"));
        assert_eq!(answer.code, 128 + signal);
    }
}

/// By somebody's mistake, where the kernel lets no signal end it.
fn as_pid_1() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let place = Place::new();
        says_and_waits(&place, format!("{TAKEN}\n"));
        let program = restarter();
        let mut command = Command::new(namespace::wrapper()[0]);
        command.args(&namespace::wrapper()[1..]).arg(&program);
        command.args(["--send", "reload", "--wait", "--json", "--control", place.place()]);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = command.spawn().expect("unshare runs");
        let mut taken = String::new();
        let out = client.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut taken).expect("text");
        let wrapper = i32::try_from(client.id()).expect("a pid");
        let inner = processes::children(wrapper).first().expect("it runs").pid;
        processes::signal(inner, signal);
        let answer = Answer::from(client.wait_with_output().expect("it is our child"));
        let expected = if signal == libc::SIGTERM { "SIGTERM" } else { "SIGINT" };
        assert_fails(
            &answer,
            1,
            &format!("{expected} came before the reload was done; it goes on"),
        );
    }
}

/// It is told, and leaves the termination log of the container alone.
fn bad_usage() {
    let scene = Scene::new();
    let log = scene.path("termination-log");
    fs::write(&log, "of the container").expect("a file in our folder");
    let cases: [(&[&str], &str); 7] = [
        (&["--send", "restart"], "bad value \"restart\" for --send"),
        (&["--send"], "a value is required for '--send"),
        (&["-s", "status", "--bogus"], "unexpected argument '--bogus'"),
        (&["--bogus", "3", "-s", "status"], "unexpected argument '--bogus'"),
        (&["--send", "status", "--wait"], "--wait is for reload and stop"),
        (&["--send", "reload", "envoy"], "\"envoy\" has no meaning"),
        (&["--wait", "reload"], "--wait is of no use without --send"),
    ];
    for (words, sentence) in cases {
        let mut command = scene.command(&[restarter().to_str().expect("text")]);
        command.args(words).env("HOT_RESTARTER_TERMINATION_LOG", &log);
        assert_fails(&Answer::of(&mut command), 2, sentence);
        assert_eq!(fs::read_to_string(&log).expect("it is there"), "of the container", "{words:?}");
    }
}
