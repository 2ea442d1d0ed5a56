//! `--ready exec:` and `--ready http:`, and what `--envoy-admin` adds: an epoch is ready when
//! somebody says so.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libtest_mimic::Trial;
use support::scene::{Restarter, Scene};
use support::server::{Reply, Reserved, Server};
use support::{eventually, namespace, processes};

use super::{restarted, serving, stop_cleanly};
use crate::needs::{Needs, trial};

const SERVER: &str = "report catch=USR1,41 exit-on=TERM:0 wait";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("process::probe_is_asked_until_it_passes", Needs::Nothing, || probe_passes(&[])),
        trial("pid1::probe_is_asked_until_it_passes", Needs::Namespace, || {
            probe_passes(namespace::wrapper());
        }),
        trial("process::probe_hangs", Needs::Nothing, probe_hangs),
        trial("process::life_during_a_probe", Needs::Nothing, life_during_a_probe),
        trial("process::end_during_a_probe", Needs::Nothing, end_during_a_probe),
        trial("process::probe_vanishes", Needs::Nothing, probe_vanishes),
        trial("process::output_of_a_probe", Needs::Nothing, output_of_a_probe),
        trial("process::http_on_ipv4", Needs::Nothing, || http(Ipv4Addr::LOCALHOST.into())),
        trial("process::http_on_ipv6", Needs::Ipv6, || http(Ipv6Addr::LOCALHOST.into())),
        trial("process::http_status", Needs::Nothing, http_status),
        trial("process::http_of_a_new_epoch", Needs::Nothing, http_of_a_new_epoch),
        trial("process::http_that_hangs", Needs::Nothing, http_that_hangs),
        trial("process::http_garbage", Needs::Nothing, http_garbage),
        trial("process::http_endless_body", Needs::Nothing, http_endless_body),
        trial("process::http_nobody_listens", Needs::Nothing, http_nobody_listens),
        trial("process::admin_over_tcp", Needs::Nothing, || {
            let server = Server::tcp(nothing());
            let address = format!("127.0.0.1:{}", server.port());
            admin(&Scene::new(), &server, &address);
        }),
        trial("process::admin_over_a_unix_socket", Needs::Nothing, || {
            let scene = Scene::new();
            let server = Server::unix(&scene.path("admin"), nothing());
            admin(&scene, &server, &format!("unix:{}", scene.place("admin")));
        }),
        trial("process::admin_over_an_abstract_socket", Needs::Nothing, || {
            let scene = Scene::new();
            let name = scene.place("admin");
            let server = Server::abstract_unix(&name, nothing());
            admin(&scene, &server, &format!("unix:@{name}"));
        }),
        trial("process::admin_of_a_new_epoch", Needs::Nothing, admin_of_a_new_epoch),
        trial("process::admin_that_is_hostile", Needs::Nothing, admin_that_is_hostile),
        trial("process::fewer_workers", Needs::Nothing, fewer_workers),
    ]
}

/// A probe that passes as soon as the epoch's file is there.
fn gated(scene: &Scene) -> String {
    let file = scene.place("ready-$(RESTART_EPOCH)");
    format!("exec:{}", scene.beside(&format!("report exists={file} [ exit=0 ] exit=1")))
}

fn let_through(scene: &Scene, epoch: usize) {
    File::create(scene.path(&format!("ready-{epoch}"))).expect("a file in our folder");
}

/// Everything that has come to it is handled, and no epoch of this number is ready.
fn assert_not_ready(restarter: &Restarter, epoch: u32) {
    restarter.settle();
    let ready = format!(" ready epoch={epoch} ");
    assert_eq!(restarter.lines(&ready), 0, "{}", restarter.log());
}

/// Again and again, about the epoch that starts.
fn probe_passes(wrapper: &[&str]) {
    let scene = Scene::new();
    let options = ["--ready", &gated(&scene)];
    let input = File::create(scene.path("input")).expect("a file in our folder");
    let setup = scene.wrapped_restarter(wrapper, &options, &scene.probe(SERVER)).with(|command| {
        command.stdin(input);
    });
    let restarter = setup.start();
    for epoch in 0..2_usize {
        if epoch > 0 {
            restarter.signal(libc::SIGHUP);
        }
        let leader = scene.journal().await_ready(epoch + 1)[epoch];
        let probes = scene.journal_beside();
        let before = probes.writers("reported").len();
        let probe = probes.await_writers("reported", before + 3)[before + 1];
        let report = probes.await_report(probe);
        assert_eq!(report.text("epoch"), epoch.to_string());
        assert_eq!(report.text("about"), leader.to_string());
        assert_eq!(report.number("pgid"), i64::from(probe), "a process group of its own");
        let descriptors = report.descriptors();
        assert!((0..3).all(|fd| descriptors[&fd].ends_with("/dev/null")), "{descriptors:?}");
        let of_epoch = scene.journal().await_report(leader);
        assert!(descriptors.keys().eq(of_epoch.descriptors().keys()), "none of ours: {report:?}");
        assert_not_ready(&restarter, u32::try_from(epoch).expect("it is small"));
        restarter.signal(libc::SIGHUP);
        restarter.says(&format!("restart-queued…epoch {epoch} is not ready yet"));
        let_through(&scene, epoch);
        restarter.says(&format!(" ready epoch={epoch} …--ready exec:"));
    }
    // The one that waited.
    scene.journal().await_ready(3);
    let_through(&scene, 2);
    restarter.says(" ready epoch=2 ");
    stop_cleanly(&scene, restarter);
}

/// One that gives no answer is killed with its children, and is no answer.
fn probe_hangs() {
    let scene = Scene::new();
    let stays = "catch=all fork [ ignore=TERM wait ] wait";
    let probe = format!("exec:{}", scene.beside(stays));
    let (restarter, _) = serving(&scene, &["--ready", &probe], SERVER);
    let before = scene.journal_beside().await_ready(2);
    scene.journal_beside().await_ready(4);
    for pid in before {
        assert!(processes::process(pid).is_none_or(|process| process.state == 'Z'), "{pid} lives");
    }
    assert!(scene.journal_beside().writers("signal").is_empty(), "killed and not asked");
    assert_not_ready(&restarter, 0);
    stop_cleanly(&scene, restarter);
}

/// Nothing waits for a probe: not what is forwarded, and not a stop, which takes it with it.
fn life_during_a_probe() {
    let scene = Scene::new();
    let stays = "catch=all fork [ ignore=TERM wait ] wait";
    let probe = format!("exec:{}", scene.beside(stays));
    let (restarter, first) = serving(&scene, &["--ready", &probe], SERVER);
    scene.journal_beside().await_ready(2);
    restarter.signal(41);
    scene.journal().await_signal(first, 41);
    restarter.signal(libc::SIGUSR1);
    restarter.says("reopen-postponed epoch=0");
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-queued epoch=1");
    stop_cleanly(&scene, restarter);
    assert!(scene.journal_beside().writers("signal").is_empty(), "killed and not asked");
}

fn end_during_a_probe() {
    let scene = Scene::new();
    let probe = format!("exec:{}", scene.beside("catch=all fork [ ignore=TERM wait ] wait"));
    let (mut restarter, _) = serving(&scene, &["--ready", &probe], "exit-on=USR2:9 wait");
    scene.journal_beside().await_ready(2);
    restarter.signal(libc::SIGUSR2);
    assert_eq!(restarter.code(), 9, "{}", restarter.log());
    scene.assert_empty();
}

/// It is asked again when it comes back, and said to be missing once.
fn probe_vanishes() {
    let scene = Scene::new();
    let script = scene.script("probe", "#!/bin/sh\nexit 1\n");
    let (restarter, _) = serving(&scene, &["--ready", &format!("exec:{script}")], SERVER);
    fs::remove_file(&script).expect("it is ours");
    restarter.says("warn…probe-failed epoch=0 …does not exist");
    let before = processes::switches(restarter.pid());
    eventually("it is tried again", || match processes::switches(restarter.pid()) {
        now if now > before + 10 => Ok(()),
        now => Err(now),
    });
    assert_not_ready(&restarter, 0);
    scene.script("probe", "#!/bin/sh\nexit 0\n");
    restarter.says(" ready epoch=0 ");
    assert_eq!(restarter.lines("probe-failed"), 1, "{}", restarter.log());
    stop_cleanly(&scene, restarter);
}

/// It would say the same again and again.
fn output_of_a_probe() {
    for (level, heard) in [("info", 0), ("debug", 2)] {
        let scene = Scene::new();
        let probe = "exec:sh -c 'echo to output; echo to error >&2'";
        let options = ["--ready", probe, "--log-level", level];
        let (restarter, _) = serving(&scene, &options, SERVER);
        restarter.says(" ready epoch=0 ");
        let log = restarter.log();
        let said = log.lines().filter(|line| ["to output", "to error"].contains(line));
        assert_eq!(said.count(), heard, "{log}");
        stop_cleanly(&scene, restarter);
    }
}

/// By its address and by `localhost`, which may be either.
fn http(address: IpAddr) {
    let literal = match address {
        IpAddr::V4(_) => address.to_string(),
        IpAddr::V6(_) => format!("[{address}]"),
    };
    for host in [literal.as_str(), "localhost"] {
        let server = Server::at(address, Reply::whole("200 OK", "yes"));
        let scene = Scene::new();
        let host = format!("{host}:{}", server.port());
        let url = format!("http://{host}/ready/now?at=once");
        let (restarter, _) = serving(&scene, &["--ready", &url], SERVER);
        restarter.says(" ready epoch=0 …as --ready http: found");
        let requests = server.requests();
        assert!(requests[0].starts_with("GET /ready/now?at=once HTTP/1.1\r\n"), "{requests:?}");
        assert!(requests[0].contains(&format!("\r\nHost: {host}\r\n")), "{requests:?}");
        stop_cleanly(&scene, restarter);
        assert_eq!(server.requests(), requests, "nobody asks about an epoch that is ready");
    }
}

/// Starts a restarter that asks this server.
fn asking(scene: &Scene, port: u16) -> (Restarter, i32) {
    serving(scene, &["--ready", &format!("http://127.0.0.1:{port}/")], SERVER)
}

/// A 2xx is an answer, and nothing else is.
fn http_status() {
    let refusals = ["503 No", "302 Found", "199 Interim", "300 Choices", "404 Not Found", "999 x"];
    for (refusal, passing) in
        refusals.iter().zip(["200 OK", "204 No Content", "299 x"].iter().cycle())
    {
        let server = Server::tcp(Reply::whole(refusal, "not yet"));
        let scene = Scene::new();
        let (restarter, _) = asking(&scene, server.port());
        server.await_more(3);
        assert_not_ready(&restarter, 0);
        server.set(Reply::whole(passing, ""));
        restarter.says(" ready epoch=0 ");
        stop_cleanly(&scene, restarter);
    }
}

/// Each epoch is asked about anew.
fn http_of_a_new_epoch() {
    let server = Server::tcp(Reply::whole("200 OK", ""));
    let scene = Scene::new();
    let (restarter, _) = asking(&scene, server.port());
    restarter.says(" ready epoch=0 ");
    server.set(Reply::whole("503 No", ""));
    restarted(&scene, &restarter);
    server.await_more(3);
    assert_not_ready(&restarter, 1);
    server.set(Reply::whole("200 OK", ""));
    restarter.says(" ready epoch=1 ");
    stop_cleanly(&scene, restarter);
}

/// A server that says nothing delays nobody, and is asked again.
fn http_that_hangs() {
    let server = Server::tcp(Reply::Silence);
    let scene = Scene::new();
    let (restarter, first) = asking(&scene, server.port());
    server.await_more(1);
    restarter.signal(41);
    scene.journal().await_signal(first, 41);
    restarter.signal(libc::SIGUSR1);
    restarter.says("reopen-postponed epoch=0");
    server.set(Reply::whole("200 OK", ""));
    restarter.says(" ready epoch=0 ");
    scene.journal().await_signal(first, libc::SIGUSR1);
    server.set(Reply::Silence);
    restarted(&scene, &restarter);
    server.await_more(1);
    stop_cleanly(&scene, restarter);
}

/// Whoever answers, it is never trusted.
fn http_garbage() {
    let head = b"HTTP/1.1 200 OK".to_vec();
    let replies = [
        Reply::Bytes(Vec::new()),
        Reply::Bytes(head.clone()),
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nA: b\r\n".to_vec()),
        Reply::Bytes(b"HTTP/1.1 20\r\n\r\n".to_vec()),
        Reply::Bytes(b"HTTP/2.0 200 OK\r\n\r\n".to_vec()),
        Reply::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        Reply::Bytes(b"ready\r\n\r\n200 OK\r\n\r\n".to_vec()),
        Reply::Bytes(vec![0; 1 << 16]),
        Reply::Bytes(vec![0xff; 1 << 21]),
        Reply::Endless(vec![b'x'; 1 << 16]),
        Reply::Endless(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        Reply::Endless(b"\r\n".to_vec()),
    ];
    let server = Server::tcp(replies[0].clone());
    let scene = Scene::new();
    let (restarter, _) = asking(&scene, server.port());
    for reply in replies {
        server.set(reply);
        server.await_more(3);
        assert_not_ready(&restarter, 0);
    }
    server.set(Reply::whole("200 OK", ""));
    restarter.says(" ready epoch=0 ");
    stop_cleanly(&scene, restarter);
}

/// The status is enough.
fn http_endless_body() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let body = [head, vec![b'x'; 1 << 20]].concat();
    let server = Server::tcp(Reply::Endless(body));
    let scene = Scene::new();
    let (restarter, _) = asking(&scene, server.port());
    restarter.says(" ready epoch=0 ");
    stop_cleanly(&scene, restarter);
}

fn http_nobody_listens() {
    let reserved = Reserved::at(Ipv4Addr::LOCALHOST.into());
    let scene = Scene::new();
    let (restarter, _) = asking(&scene, reserved.port());
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-queued epoch=1");
    assert_not_ready(&restarter, 0);
    let server = reserved.listen(Reply::whole("200 OK", ""));
    restarter.says(" ready epoch=0 ");
    restarter.says(" ready epoch=1 ");
    drop(server);
    stop_cleanly(&scene, restarter);
}

/// What says nothing of any epoch.
fn nothing() -> Reply {
    Reply::whole("404 Not Found", "")
}

/// It must be LIVE, and the epoch itself.
fn admin(scene: &Scene, server: &Server, address: &str) {
    let (restarter, first) = serving(scene, &["--envoy-admin", address], SERVER);
    let refusals = [
        Reply::whole("503 Service Unavailable", ""),
        Reply::server_info("LIVE", 7, 2),
        Reply::server_info("PRE_INITIALIZING", 0, 2),
        Reply::server_info("INITIALIZING", 0, 2),
    ];
    for reply in refusals {
        server.set(reply);
        // The first of them may have been answered as before.
        server.await_more(2);
        restarter.signal(41);
        assert_not_ready(&restarter, 0);
    }
    scene.journal().await_signal(first, 41);
    server.set(Reply::server_info("LIVE", 0, 2));
    restarter.says(" ready epoch=0 …as its admin says");
    assert!(server.requests()[0].starts_with("GET /server_info HTTP/1.1\r\n"));
    stop_cleanly(scene, restarter);
}

fn with_admin(scene: &Scene, server: &Server) -> Restarter {
    let address = format!("127.0.0.1:{}", server.port());
    let (restarter, _) = serving(scene, &["--envoy-admin", &address], SERVER);
    restarter
}

/// The one before it answers until it has taken over.
fn admin_of_a_new_epoch() {
    let server = Server::tcp(Reply::server_info("LIVE", 0, 2));
    let scene = Scene::new();
    let restarter = with_admin(&scene, &server);
    restarter.says(" ready epoch=0 ");
    restarted(&scene, &restarter);
    server.await_more(3);
    assert_not_ready(&restarter, 1);
    server.set(Reply::server_info("DRAINING", 1, 2));
    restarter.says(" ready epoch=1 …as its admin says");
    stop_cleanly(&scene, restarter);
}

/// Nothing that it says can harm us, and none of it is an answer.
fn admin_that_is_hostile() {
    let long = "x".repeat(2 << 20);
    let options = |epoch: &str| {
        let options = format!("{{\"restart_epoch\": {epoch}}}");
        format!("{{\"state\": \"LIVE\", \"command_line_options\": {options}}}")
    };
    let mut replies: Vec<Reply> = [
        "",
        "OK",
        "null",
        "{}",
        "[0, 1]",
        "{\"state\": \"LIVE\"}",
        "{\"state\": \"LIVE\", \"command_line_options\": [0]}",
        &options("-1"),
        &options("0.0"),
        &options("4294967296"),
        &options("\"0\""),
        &options("0")[1..],
        &"[".repeat(1 << 19),
        &format!("{{\"a\":{}", "[".repeat(1 << 19)),
        &format!("{}{}", options("0"), long),
        "\u{fffd}\u{0}",
    ]
    .map(|body| Reply::whole("200 OK", body))
    .into();
    let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n".to_vec();
    let chunks = [chunks, vec![b' '; 1 << 16], b"\r\n".to_vec()].concat();
    replies.extend([
        Reply::Silence,
        Reply::Endless(chunks),
        Reply::Endless(b"HTTP/1.1 200 OK\r\n\r\n{".to_vec()),
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n".to_vec()),
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}".to_vec()),
    ]);
    let server = Server::tcp(Reply::Silence);
    let scene = Scene::new();
    let restarter = with_admin(&scene, &server);
    for reply in replies {
        server.set(reply);
        server.await_more(2);
        assert_not_ready(&restarter, 0);
    }
    server.set(Reply::whole("200 OK", &options("0")));
    restarter.says(" ready epoch=0 ");
    stop_cleanly(&scene, restarter);
}

/// Connections of those that the new epoch lacks are reset.
fn fewer_workers() {
    let server = Server::tcp(Reply::server_info("LIVE", 0, 4));
    let scene = Scene::new();
    let restarter = with_admin(&scene, &server);
    restarter.says(" ready epoch=0 ");
    for (epoch, workers) in [(1, 2), (2, 2)] {
        server.set(Reply::server_info("INITIALIZING", epoch, workers));
        restarted(&scene, &restarter);
        server.await_more(3);
        server.set(Reply::server_info("LIVE", epoch, workers));
        restarter.says(&format!(" ready epoch={epoch} "));
        assert_eq!(restarter.lines("fewer-workers"), 1, "{}", restarter.log());
    }
    restarter.says("warn…fewer-workers epoch=1 …has 2 worker threads…4, ");
    stop_cleanly(&scene, restarter);
}
