//! A stop that drains, over servers that play Envoy's admin: well-behaved, slow, lying, gone.
//!
//! A least time or a timeout is over when the log says so: no trial measures one.

use std::io;

use libtest_mimic::Trial;
use support::eventually;
use support::scene::{Restarter, Scene};
use support::server::{Reply, Server};

use super::{restarted, serving};
use crate::needs::{Needs, trial};

const SERVER: &str = "report catch=USR1,41 exit-on=TERM:0 wait";
/// What a stop asks an admin for, in this order, the count again and again.
const STEPS: [&str; 4] = [
    "GET /server_info HTTP/1.1",
    "POST /healthcheck/fail HTTP/1.1",
    "POST /drain_listeners?graceful&skip_exit HTTP/1.1",
    "GET /stats?",
];

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("process::drain_step_by_step", Needs::Nothing, || {
            let server = Server::tcp(idle(0));
            let address = format!("127.0.0.1:{}", server.port());
            step_by_step(&Scene::new(), &server, &address);
        }),
        trial("process::drain_over_a_unix_socket", Needs::Nothing, || {
            let scene = Scene::new();
            let server = Server::unix(&scene.path("admin"), idle(0));
            step_by_step(&scene, &server, &format!("unix:{}", scene.place("admin")));
        }),
        trial("process::drain_waits_for_what_is_pending", Needs::Nothing, waits_for_pending),
        trial("process::drain_has_an_end", Needs::Nothing, has_an_end),
        trial("process::drain_by_an_admin_that_is_hostile", Needs::Nothing, hostile),
        trial("process::drain_by_the_admin_of_another", Needs::Nothing, another),
        trial("process::drain_by_an_admin_that_is_gone", Needs::Nothing, gone),
        trial("process::drain_by_an_admin_that_refuses", Needs::Nothing, refuses),
        trial("process::signals_in_a_drain", Needs::Nothing, signals),
        trial("process::drain_amid_a_handover", Needs::Nothing, amid_a_handover),
        trial("process::drain_amid_a_handover_without_end", Needs::Nothing, handover_lasts),
        trial("process::drain_amid_a_handover_that_fails", Needs::Nothing, handover_fails),
        trial("process::drain_of_an_epoch_that_ends", Needs::Nothing, ends_itself),
        trial("process::drain_before_anybody_serves", Needs::Nothing, before_it_serves),
        trial("process::without_a_drain_no_admin_is_asked", Needs::Nothing, without_a_drain),
    ]
}

/// An admin of this epoch, which is LIVE and has so many requests.
fn admin(epoch: u32, pending: Reply) -> Reply {
    let done = Reply::whole("200 OK", "OK\n");
    Reply::ByPath(vec![
        ("/server_info", Reply::server_info("LIVE", epoch, 2)),
        ("/healthcheck/fail", done.clone()),
        ("/drain_listeners", done),
        ("/stats", pending),
    ])
}

fn idle(epoch: u32) -> Reply {
    admin(epoch, Reply::pending(0, 0))
}

fn busy() -> Reply {
    admin(0, Reply::pending(12, 1))
}

/// A restarter whose stops drain for half a second at least, and so many seconds at most.
fn draining(scene: &Scene, server: &Server, timeout: &str) -> (Restarter, i32) {
    let address = format!("127.0.0.1:{}", server.port());
    draining_at(scene, &address, timeout)
}

fn draining_at(scene: &Scene, address: &str, timeout: &str) -> (Restarter, i32) {
    let options = ["--envoy-admin", address, "--drain-timeout", timeout, "--drain-min", "0.5"];
    let (restarter, probe) = serving(scene, &options, SERVER);
    restarter.says(" ready epoch=0 ");
    (restarter, probe)
}

/// The requests since this many, by their first words.
fn asked(server: &Server, since: usize) -> Vec<String> {
    let requests = server.requests();
    let first_line = |head: &String| head.lines().next().unwrap_or_default().to_owned();
    requests.iter().skip(since).map(first_line).collect()
}

/// Waits until Envoy is told and what is pending is counted.
fn await_counts(server: &Server, since: usize) {
    eventually("the admin counts", || {
        let asked = asked(server, since);
        let counts = asked.iter().filter(|line| line.starts_with(STEPS[3])).count();
        if counts >= 3 { Ok(()) } else { Err(asked) }
    });
}

fn has_term(scene: &Scene, probe: i32) -> bool {
    scene.journal().signals(probe).contains(&libc::SIGTERM)
}

fn step_by_step(scene: &Scene, server: &Server, address: &str) {
    let (mut restarter, probe) = draining_at(scene, address, "20");
    let before = server.requests().len();
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert_eq!(scene.journal().signals(probe), [libc::SIGTERM]);
    let asked = asked(server, before);
    assert!(asked.len() > STEPS.len(), "two counts at least: {asked:?}");
    for (index, line) in asked.iter().enumerate() {
        let expected = STEPS[index.min(STEPS.len() - 1)];
        assert!(line.starts_with(expected), "{index}: {asked:?}");
    }
    let posts = server.requests();
    let posts: Vec<_> = posts.iter().filter(|head| head.starts_with("POST")).collect();
    assert!(posts.iter().all(|head| head.contains("Content-Length: 0\r\n")), "{posts:?}");
    restarter.says("info…draining: serving on …for 0.500 s at least…20 s at most");
    restarter.says("info…drained: nothing is pending after ");
    scene.assert_empty();
}

fn waits_for_pending() {
    let server = Server::tcp(busy());
    let scene = Scene::new();
    let (mut restarter, probe) = draining(&scene, &server, "25");
    let before = server.requests().len();
    restarter.signal(libc::SIGTERM);
    await_counts(&server, before);
    restarter.says("draining: 12 requests and 1 other connection, 3 s of 25 s");
    assert!(!has_term(&scene, probe), "{}", restarter.log());
    server.set(idle(0));
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    restarter.says("drained: nothing is pending after ");
}

/// What would be pending for ever is cut off, and that is no failure.
fn has_an_end() {
    let server = Server::tcp(busy());
    let scene = Scene::new();
    let (mut restarter, probe) = draining(&scene, &server, "2");
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert!(has_term(&scene, probe));
    restarter.says(
        "warn…drained: --drain-timeout is over, which cuts off 12 requests and 1 other connection",
    );
}

/// Nothing that it says is taken for "nothing is pending", and nothing that it does delays the end.
fn hostile() {
    let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n".to_vec();
    let chunks = [chunks, vec![b'a'; 1 << 16], b"\r\n".to_vec()].concat();
    let own = "http.admin.downstream_rq_active: 1\n";
    let counts = [
        Reply::Silence,
        Reply::Endless(chunks),
        Reply::Bytes(Vec::new()),
        Reply::whole("200 OK", ""),
        Reply::whole("200 OK", "OK\n"),
        Reply::whole("200 OK", &own.repeat(100_000)),
        Reply::whole("200 OK", &format!("{own}http.a.downstream_rq_active: none\n")),
        Reply::whole("403 Forbidden", own),
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nhttp.admin".to_vec()),
    ];
    for count in counts {
        let server = Server::tcp(admin(0, count.clone()));
        let scene = Scene::new();
        let (mut restarter, probe) = draining(&scene, &server, "3");
        restarter.signal(libc::SIGTERM);
        assert_eq!(restarter.code(), 0, "{}", restarter.log());
        assert!(has_term(&scene, probe));
        restarter.says("drained: --drain-timeout is over, and the admin does not tell");
        scene.assert_empty();
    }
}

/// Another Envoy may listen where ours should, and is not ours to drain.
fn another() {
    let server = Server::tcp(idle(0));
    let scene = Scene::new();
    let (mut restarter, _) = draining(&scene, &server, "20");
    server.set(idle(7));
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    restarter.says("warn…drain-unheard: ");
    restarter.says("warn…probed: last, --envoy-admin …: epoch 7 of base id 0 answered");
    restarter.says("warn…drained: no admin has answered for the newest epoch");
    let posts = asked(&server, 0).into_iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(posts, 0);
}

fn gone() {
    let server = Server::tcp(idle(0));
    let scene = Scene::new();
    let (mut restarter, probe) = draining(&scene, &server, "20");
    drop(server);
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert!(has_term(&scene, probe));
    restarter.says("last, --envoy-admin 127.0.0.1:");
    restarter.says("drained: no admin has answered for the newest epoch");
}

/// What it does do is made use of.
fn refuses() {
    let no = Reply::whole("405 Method Not Allowed", "");
    let Reply::ByPath(mut replies) = busy() else { unreachable!("it goes by path") };
    replies[1].1 = no;
    let server = Server::tcp(Reply::ByPath(replies));
    let scene = Scene::new();
    let (mut restarter, probe) = draining(&scene, &server, "25");
    let before = server.requests().len();
    restarter.signal(libc::SIGTERM);
    await_counts(&server, before);
    restarter.says("last, --envoy-admin …: answered with status 405, to /healthcheck/fail");
    assert!(!has_term(&scene, probe));
    server.set(idle(0));
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    restarter.says("drained: nothing is pending after ");
}

/// None cuts it short, and a restart is refused.
fn signals() {
    let server = Server::tcp(busy());
    let scene = Scene::new();
    let (mut restarter, probe) = draining(&scene, &server, "25");
    restarter.signal(libc::SIGTERM);
    restarter.says(" draining: ");
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1, 41] {
        restarter.signal(signal);
    }
    restarter.says("stopping: SIGTERM received, stopping already; ");
    restarter.says("stopping: SIGINT received, stopping already; ");
    restarter.says("restart-refused: ");
    scene.journal().await_signal(probe, libc::SIGUSR1);
    scene.journal().await_signal(probe, 41);
    let before = server.requests().len();
    await_counts(&server, before);
    assert!(!has_term(&scene, probe));
    server.set(idle(0));
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert_eq!(restarter.lines(" started "), 1);
}

/// An Envoy that initialises drains nothing, though it answers.
fn amid_a_handover() {
    let server = Server::tcp(idle(0));
    let scene = Scene::new();
    let (mut restarter, first) = draining(&scene, &server, "25");
    let second = restarted(&scene, &restarter);
    let before = server.requests().len();
    restarter.signal(libc::SIGTERM);
    restarter.says("draining: the newest epoch is not ready, 3 s of 25 s");
    let initialises = asked(&server, before);
    assert!(initialises.iter().all(|line| line.starts_with(STEPS[0])), "{initialises:?}");
    server.set(idle(1));
    await_counts(&server, before);
    // The older one drains.
    scene.journal().await_ready(2);
    assert!(!has_term(&scene, first) && !has_term(&scene, second), "{}", restarter.log());
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    restarter.says(" ready epoch=1 ");
    restarter.says("drained: nothing is pending after ");
}

/// It delays nothing either, and the log does not say that anything was drained.
fn handover_lasts() {
    let server = Server::tcp(idle(0));
    let scene = Scene::new();
    let (mut restarter, _) = draining(&scene, &server, "2");
    restarted(&scene, &restarter);
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    restarter.says(
        "warn…drained: --drain-timeout is over and the newest epoch is not ready, so nothing was",
    );
    scene.assert_empty();
}

/// The one before it serves, and is drained.
fn handover_fails() {
    let server = Server::tcp(idle(0));
    let scene = Scene::new();
    let address = format!("127.0.0.1:{}", server.port());
    let options = ["--envoy-admin", &address, "--drain-timeout", "25", "--drain-min", "0.5"];
    let dies = format!("{SERVER} exit-on=USR2:3");
    let (mut restarter, _) = serving(&scene, &options, &dies);
    restarter.says(" ready epoch=0 ");
    let second = restarted(&scene, &restarter);
    let before = server.requests().len();
    restarter.signal(libc::SIGTERM);
    restarter.says(" draining: ");
    kill(second, libc::SIGKILL);
    restarter.says("restart-failed epoch=1 ");
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    restarter.says("drained: nothing is pending after ");
    let posts = asked(&server, before).into_iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(posts, 2);
    scene.assert_empty();
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: the call takes two numbers, and the process is one of this trial's.
    let result = unsafe { libc::kill(pid, signal) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Then nobody serves any more, and whatever its end was, it belongs to the stop.
fn ends_itself() {
    let server = Server::tcp(busy());
    let scene = Scene::new();
    let (mut restarter, probe) = draining(&scene, &server, "25");
    restarter.signal(libc::SIGTERM);
    restarter.says(" draining: ");
    kill(probe, libc::SIGKILL);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    restarter.says("drained: the newest epoch has ended, so nobody serves any more");
}

/// Whoever has never served cuts nobody off.
fn before_it_serves() {
    let server = Server::tcp(Reply::server_info("INITIALIZING", 0, 2));
    let scene = Scene::new();
    let address = format!("127.0.0.1:{}", server.port());
    let options = ["--envoy-admin", &address, "--drain-timeout", "25"];
    let (mut restarter, _) = serving(&scene, &options, SERVER);
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    restarter.says("info…drained: there is nothing to drain before Envoy serves");
}

/// The negative control: an admin alone, or a timeout of nothing, is no drain.
fn without_a_drain() {
    for options in [&[][..], &["--drain-timeout", "0"]] {
        let server = Server::tcp(busy());
        let scene = Scene::new();
        let address = format!("127.0.0.1:{}", server.port());
        let options = [&["--envoy-admin", &address], options].concat();
        let (mut restarter, _) = serving(&scene, &options, SERVER);
        restarter.says(" ready epoch=0 ");
        let before = server.requests().len();
        restarter.signal(libc::SIGTERM);
        assert_eq!(restarter.code(), 0, "{}", restarter.log());
        assert_eq!(server.requests().len(), before);
        assert_eq!(restarter.lines("drain"), 0, "{}", restarter.log());
    }
}
