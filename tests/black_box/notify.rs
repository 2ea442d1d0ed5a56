//! What systemd is told, over a socket that takes its place.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Command;

use libtest_mimic::Trial;
use support::manager::Manager;
use support::processes;
use support::scene::{Restarter, Scene, Setup};
use support::server::{Reply, Server};

use crate::needs::{Needs, trial};

/// What an epoch does that serves.
const SERVES: &str = "exit-on=TERM:0 wait";

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("notify::restart_by_path", Needs::Nothing, || {
            let scene = Scene::new();
            let manager = Manager::at(&scene.path("notify"));
            restart(&scene, &manager, &scene.place("notify"));
        }),
        trial("notify::restart_by_abstract_name", Needs::Nothing, || {
            let scene = Scene::new();
            let name = scene.place("notify");
            restart(&scene, &Manager::abstract_at(&name), &format!("@{name}"));
        }),
        trial("notify::restart_that_is_refused", Needs::Nothing, refused),
        trial("notify::restart_that_fails", Needs::Nothing, fails),
        trial("notify::restart_whose_program_is_gone", Needs::Nothing, gone),
        trial("notify::restart_after_restart", Needs::Nothing, one_after_the_other),
        trial("notify::restart_asked_for_again", Needs::Nothing, asked_again),
        trial("notify::restart_before_we_are_ready", Needs::Nothing, before_we_are_ready),
        trial("notify::restart_cut_short_by_a_stop", Needs::Nothing, cut_short),
        trial("notify::bad_end", Needs::Nothing, bad_end),
        trial("notify::drain", Needs::Nothing, drain),
        trial("notify::nobody_reads", Needs::Nothing, nobody_reads),
        trial("notify::nobody_is_there", Needs::Nothing, nobody_is_there),
        trial("notify::is_ours_alone", Needs::Nothing, ours_alone),
    ]
}

/// Now, by the clock that systemd compares.
fn monotonic_micros() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` of our own.
    let got = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(got, 0, "{}", io::Error::last_os_error());
    u64::try_from(time.tv_sec * 1_000_000 + time.tv_nsec / 1000).expect("after the boot")
}

/// A restarter that is to tell this socket.
fn telling(scene: &Scene, socket: &str, options: &[&str], steps: &str) -> Setup {
    scene.restarter(options, &scene.probe(steps)).with(|command| {
        command.env("NOTIFY_SOCKET", socket);
    })
}

/// A manager, and a restarter of which it has heard that epoch 0 serves.
fn told(scene: &Scene, options: &[&str], steps: &str) -> (Manager, Restarter) {
    let manager = Manager::at(&scene.path("notify"));
    let restarter = telling(scene, &scene.place("notify"), options, steps).start();
    scene.journal().await_ready(1);
    manager.await_states(&["READY"]);
    (manager, restarter)
}

/// The probe by which an epoch is ready when it may be.
fn when_allowed(scene: &Scene) -> String {
    format!("exec:test -e {}", scene.place("ready-$(RESTART_EPOCH)"))
}

fn allow(scene: &Scene, epoch: u32) {
    File::create(scene.path(&format!("ready-{epoch}"))).expect("a file in our folder");
}

fn stop(restarter: &mut Restarter) {
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
}

/// From the start to the end, with a restart.
fn restart(scene: &Scene, manager: &Manager, socket: &str) {
    let ready = when_allowed(scene);
    let mut restarter = telling(scene, socket, &["--ready", &ready], SERVES).start();
    manager.await_status("epoch 0 is starting");
    restarter.settle();
    assert_eq!(manager.states(), [""; 0], "it is not ready");
    allow(scene, 0);
    manager.await_states(&["READY"]);
    manager.await_status("epoch 0 serves");
    let before = monotonic_micros();
    restarter.signal(libc::SIGHUP);
    manager.await_states(&["READY", "RELOADING"]);
    let after = monotonic_micros();
    let asked: u64 = manager.values("MONOTONIC_USEC")[0].parse().expect("a number");
    assert!((before..=after).contains(&asked), "{before} {asked} {after}");
    manager.await_status("epoch 1 is starting; epoch 0 serves");
    restarter.settle();
    assert_eq!(manager.states(), ["READY", "RELOADING"], "it is not ready");
    allow(scene, 1);
    manager.await_states(&["READY", "RELOADING", "READY"]);
    stop(&mut restarter);
    assert_eq!(manager.states(), ["READY", "RELOADING", "READY", "STOPPING"]);
    let statuses = manager.values("STATUS");
    let [.., serves, stopping, exiting] = &statuses[..] else { panic!("{statuses:?}") };
    assert_eq!(serves, "epoch 1 serves");
    assert!(stopping.starts_with("stopping: SIGTERM received; 2 epochs "), "{stopping}");
    assert!(restarter.log().contains(&format!("exit code 0: {exiting}")), "{exiting}");
    assert_eq!(restarter.lines(" notify: "), 0, "{}", restarter.log());
}

fn refused() {
    let scene = Scene::new();
    let (manager, mut restarter) = told(&scene, &["--ready=none", "--check=false"], SERVES);
    restarter.signal(libc::SIGHUP);
    manager.await_states(&["READY", "RELOADING", "READY"]);
    let status = "restart refused: the check exited with 1; epoch 0 serves";
    assert_eq!(manager.values("STATUS").last().map(String::as_str), Some(status));
    stop(&mut restarter);
}

fn fails() {
    let scene = Scene::new();
    let steps = format!("epoch=1 [ exit=3 ] {SERVES}");
    let options = ["--rollback", "--ready", &when_allowed(&scene)];
    allow(&scene, 0);
    let (manager, mut restarter) = told(&scene, &options, &steps);
    for times in 1..4 {
        restarter.signal(libc::SIGHUP);
        let again = ["RELOADING", "READY"].repeat(times);
        manager.await_states(&[&["READY"], &again[..]].concat());
        let status = "epoch 1 failed: exited with 3; epoch 0 still serves";
        assert_eq!(manager.values("STATUS").last().map(String::as_str), Some(status));
    }
    stop(&mut restarter);
}

fn gone() {
    let scene = Scene::new();
    let target = scene.script("target", &format!("#!/bin/sh\nexec {}\n", scene.probe_line(SERVES)));
    let manager = Manager::at(&scene.path("notify"));
    let setup = scene.restarter(&["--ready=none"], &[&target]);
    let setup = setup.with(|command| {
        command.env("NOTIFY_SOCKET", scene.path("notify"));
    });
    let mut restarter = setup.start();
    scene.journal().await_ready(1);
    fs::remove_file(&target).expect("it is ours");
    restarter.signal(libc::SIGHUP);
    manager.await_states(&["READY", "RELOADING", "READY"]);
    let status = format!("restart refused: {target} does not exist; epoch 0 serves");
    assert_eq!(manager.values("STATUS").last(), Some(&status));
    stop(&mut restarter);
}

/// A restart that waits for another is told of when that one has settled.
fn one_after_the_other() {
    let scene = Scene::new();
    let ready = when_allowed(&scene);
    allow(&scene, 0);
    let (manager, mut restarter) = told(&scene, &["--ready", &ready], SERVES);
    restarter.signal(libc::SIGHUP);
    scene.journal().await_ready(2);
    restarter.signal(libc::SIGHUP);
    manager.await_status("a restart waits because epoch 1 is not ready yet; epoch 0 serves");
    restarter.signal(libc::SIGHUP);
    restarter.settle();
    assert_eq!(manager.states(), ["READY", "RELOADING"]);
    let before = monotonic_micros();
    allow(&scene, 1);
    scene.journal().await_ready(3);
    manager.await_states(&["READY", "RELOADING", "READY", "RELOADING"]);
    let asked: u64 = manager.values("MONOTONIC_USEC")[1].parse().expect("a number");
    assert!(asked >= before, "younger than every question before it: {asked} {before}");
    allow(&scene, 2);
    manager.await_states(&["READY", "RELOADING", "READY", "RELOADING", "READY"]);
    stop(&mut restarter);
}

/// Whoever asks for what waits already has to hear a word that is younger than his question, or
/// systemd would go on waiting for it.
fn asked_again() {
    let scene = Scene::new();
    let options = ["--ready=none", "--min-restart-interval=3600"];
    let (manager, mut restarter) = told(&scene, &options, SERVES);
    restarter.signal(libc::SIGHUP);
    manager.await_states(&["READY", "RELOADING"]);
    let before = monotonic_micros();
    restarter.signal(libc::SIGHUP);
    manager.await_states(&["READY", "RELOADING", "RELOADING"]);
    let asked: u64 = manager.values("MONOTONIC_USEC")[1].parse().expect("a number");
    assert!(asked >= before, "{asked} {before}");
    stop(&mut restarter);
    assert_eq!(manager.states(), ["READY", "RELOADING", "RELOADING", "STOPPING"]);
}

fn before_we_are_ready() {
    let scene = Scene::new();
    let ready = when_allowed(&scene);
    let manager = Manager::at(&scene.path("notify"));
    let options = ["--ready", &ready];
    let mut restarter = telling(&scene, &scene.place("notify"), &options, SERVES).start();
    scene.journal().await_ready(1);
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-queued epoch=1: ");
    assert_eq!(manager.states(), [""; 0]);
    allow(&scene, 0);
    manager.await_states(&["READY", "RELOADING"]);
    allow(&scene, 1);
    manager.await_states(&["READY", "RELOADING", "READY"]);
    stop(&mut restarter);
}

/// A stop is the last word.
fn cut_short() {
    let scene = Scene::new();
    let ready = when_allowed(&scene);
    allow(&scene, 0);
    let (manager, mut restarter) = told(&scene, &["--ready", &ready], SERVES);
    restarter.signal(libc::SIGHUP);
    scene.journal().await_ready(2);
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-queued epoch=2: ");
    stop(&mut restarter);
    assert_eq!(manager.states(), ["READY", "RELOADING", "STOPPING"]);
}

/// What systemd makes of our exit is its own business, so the status says why.
fn bad_end() {
    let scene = Scene::new();
    let steps = "epoch=1 [ exit=23 ] ignore=TERM wait";
    let (manager, mut restarter) = told(&scene, &["--ready=exec:true"], steps);
    restarter.signal(libc::SIGHUP);
    assert_eq!(restarter.code(), 23, "{}", restarter.log());
    assert_eq!(manager.states(), ["READY", "RELOADING"]);
    let statuses = manager.values("STATUS");
    let last = statuses.last().expect("a status");
    assert!(last.starts_with("epoch 1 (pid "), "{last}");
    assert!(last.ends_with(") ended unexpectedly: exited with 23"), "{last}");
    scene.assert_empty();
}

/// What a drain waits for can be seen.
fn drain() {
    let done = Reply::whole("200 OK", "OK\n");
    let server = Server::tcp(Reply::ByPath(vec![
        ("/server_info", Reply::server_info("LIVE", 0, 2)),
        ("/healthcheck/fail", done.clone()),
        ("/drain_listeners", done),
        ("/stats", Reply::pending(12, 1)),
    ]));
    let scene = Scene::new();
    let admin = format!("127.0.0.1:{}", server.port());
    let options =
        ["--envoy-admin", &admin, "--drain-timeout=4", "--drain-min=0.5", "--term-wait=30"];
    let (manager, mut restarter) = told(&scene, &options, SERVES);
    stop(&mut restarter);
    assert_eq!(manager.states(), ["READY", "STOPPING"]);
    let statuses = manager.values("STATUS");
    for beginning in [
        "stopping: SIGTERM received; ",
        "draining: serving on until nothing is pending, ",
        "draining: 12 requests and 1 other connection, ",
        "stopping: --drain-timeout is over, which cuts off 12 requests and 1 other connection",
    ] {
        let told = statuses.iter().any(|status| status.starts_with(beginning));
        assert!(told, "{beginning}: {statuses:#?}");
    }
}

/// The socket is full from the beginning, and stays so.
fn nobody_reads() {
    let scene = Scene::new();
    let manager = UnixDatagram::bind(scene.path("notify")).expect("a socket in our folder");
    let clog = UnixDatagram::unbound().expect("a socket");
    clog.connect(scene.path("notify")).expect("somebody listens");
    clog.set_nonblocking(true).expect("a socket of ours");
    let full = loop {
        if let Err(error) = clog.send(b"STATUS=nobody reads this") {
            break error;
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    let options = ["--ready=none"];
    let mut restarter = telling(&scene, &scene.place("notify"), &options, SERVES).start();
    for epochs in 1..3 {
        scene.journal().await_ready(epochs);
        restarter.signal(libc::SIGHUP);
    }
    restarter.says(" ready epoch=2 ");
    restarter.await_idle();
    stop(&mut restarter);
    assert_eq!(restarter.lines("warn…notify: systemd cannot be told "), 1, "{}", restarter.log());
    drop(manager);
    scene.assert_empty();
}

/// However it leads nowhere, that is one warning.
fn nobody_is_there() {
    let scene = Scene::new();
    File::create(scene.path("file")).expect("a file in our folder");
    let _stream = UnixListener::bind(scene.path("stream")).expect("a socket in our folder");
    drop(UnixDatagram::bind(scene.path("gone")).expect("a socket in our folder"));
    let mut places =
        ["file", "stream", "gone", "missing", ""].map(|name| scene.place(name)).to_vec();
    let too_long = format!("/{}", "x".repeat(200));
    places.extend(
        ["@no-such-name", "@", "relative", "vsock:2:1234", "/\n", &too_long].map(Into::into),
    );
    for place in places {
        let scene = Scene::new();
        let mut restarter = telling(&scene, &place, &["--ready=none"], SERVES).start();
        scene.journal().await_ready(1);
        restarter.signal(libc::SIGHUP);
        scene.journal().await_ready(2);
        stop(&mut restarter);
        let warnings = restarter.lines("warn…notify: …NOTIFY_SOCKET=");
        assert_eq!(warnings, 1, "{place}: {}", restarter.log());
        assert_eq!(restarter.lines(" notify: "), 1, "{place}: {}", restarter.log());
    }
    // The controls: nobody who does not ask is told of trouble.
    for socket in [None, Some("")] {
        let scene = Scene::new();
        let setup = scene.restarter(&["--ready=none"], &scene.probe("exit=0"));
        let setup = setup.with(|command| match socket {
            Some(socket) => drop(command.env("NOTIFY_SOCKET", socket)),
            None => drop(command.env_remove("NOTIFY_SOCKET")),
        });
        let (code, log) = setup.finish();
        assert!(code == 0 && !log.contains("notify"), "{log}");
    }
}

/// A target that knew the socket could say in our name whatever it likes.
fn ours_alone() {
    let names = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
    let scene = Scene::new();
    let manager = Manager::at(&scene.path("notify"));
    let dump = |name: &str| format!("sh -c 'env >{}'", scene.place(name));
    let target = format!("env >{}; exec {}", scene.place("target"), scene.probe_line(SERVES));
    let probe = format!("exec:{}", dump("probe"));
    let options = ["--ready", &probe, "--check", &dump("check")];
    let setup = scene.restarter(&options, &["sh", "-c", &target]).with(|command: &mut Command| {
        command.env("NOTIFY_SOCKET", scene.path("notify"));
        command.env("WATCHDOG_USEC", "1000000").env("WATCHDOG_PID", "1").env("KEPT", "kept");
    });
    let mut restarter = setup.start();
    manager.await_states(&["READY"]);
    restarter.signal(libc::SIGHUP);
    manager.await_states(&["READY", "RELOADING", "READY"]);
    for name in ["target", "probe", "check"] {
        let variables = fs::read_to_string(scene.path(name)).expect("it has run");
        assert!(variables.lines().any(|line| line == "KEPT=kept"), "{name}: {variables}");
        for ours in names {
            let found = variables.lines().any(|line| line.starts_with(&format!("{ours}=")));
            assert!(!found, "{name} has {ours}: {variables}");
        }
    }
    assert!(processes::has_variable(restarter.pid(), "WATCHDOG_PID=1"), "the trial sets it");
    stop(&mut restarter);
}
