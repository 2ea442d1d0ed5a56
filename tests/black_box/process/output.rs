//! What a check prints: on our standard error line by line, whatever it is, and never in our way.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use libtest_mimic::Trial;
use support::inherit::Inherit;
use support::scene::{Restarter, Scene};
use support::terminal::Terminal;
use support::{eventually, processes};

use super::{restarted, serving, stop_cleanly};
use crate::log::clogged_pipe;
use crate::needs::{Needs, trial};

const SERVER: &str = "exit-on=TERM:0 wait";
/// Three that write for ever, so that the pipe is never found empty.
const FLOOD: &str = "yes & yes & exec yes";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("process::check_writes_to_our_log", Needs::Nothing, writes_to_our_log),
        trial("process::check_writes_much", Needs::Nothing, writes_much),
        trial("process::check_writes_anything", Needs::Nothing, writes_anything),
        trial("process::check_writes_and_hangs", Needs::Nothing, writes_and_hangs),
        trial("process::check_closes_its_output", Needs::Nothing, closes_its_output),
        trial("process::check_leaves_its_output_open", Needs::Nothing, leaves_its_output_open),
        trial("process::check_leaves_a_flood", Needs::Nothing, leaves_a_flood),
        trial("process::check_floods_to_its_timeout", Needs::Nothing, floods_to_its_timeout),
        trial("process::stop_during_a_flood", Needs::Nothing, stop_during_a_flood),
        trial("process::check_over_a_clogged_log", Needs::Nothing, clogged_log),
        trial("process::check_without_a_log", Needs::Nothing, without_a_log),
        trial("process::check_without_a_pipe", Needs::Nothing, without_a_pipe),
        trial("process::check_on_a_terminal_of_another", Needs::Root, terminal_of_another),
    ]
}

/// A check that is a line for a shell.
fn shell(line: &str) -> String {
    format!("sh -c '{line}'")
}

/// And reads nothing, whatever we could read.
fn writes_to_our_log() {
    let scene = Scene::new();
    fs::write(scene.path("input"), "our input").expect("a file in our folder");
    let input = File::open(scene.path("input")).expect("it is ours");
    let check = shell("echo to output; echo to error >&2; cat; echo nothing to read");
    let options = ["--ready", "none", "--check", &check];
    let setup = scene.restarter(&options, &scene.probe(SERVER)).with(|command| {
        command.stdin(input);
    });
    let restarter = setup.start();
    scene.journal().await_ready(1);
    restarted(&scene, &restarter);
    let lines = ["to output", "to error", "nothing to read", " checked "];
    assert_in_order(&restarter, &lines.map(str::to_owned));
    stop_cleanly(&scene, restarter);
}

/// These lines are in the log, one after the other, and nothing is between those of a check.
fn assert_in_order(restarter: &Restarter, lines: &[String]) {
    let log = restarter.log();
    let mut rest = log.lines().skip_while(|line| !line.contains(&lines[0]));
    for line in lines {
        assert!(rest.next().is_some_and(|found| found.contains(line)), "{line}: {log}");
    }
}

/// More than a pipe holds, each line once and in its order, before what became of it.
fn writes_much() {
    let scene = Scene::new();
    let check = shell("seq 1000000 1040000; printf \"the last\"; exit 3");
    let (restarter, _) = serving(&scene, &["--ready", "none", "--check", &check], SERVER);
    for times in 1..=3 {
        restarter.signal(libc::SIGHUP);
        restarter.says_times("restart-refused epoch=1: the check exited with 3", times);
    }
    let numbers = (1_000_000..=1_040_000).map(|number| number.to_string());
    let ends = ["the last", "restart-refused"].map(str::to_owned);
    let once: Vec<String> = numbers.chain(ends).collect();
    assert_in_order(&restarter, &once);
    assert_eq!(restarter.log().lines().filter(|line| line.starts_with("10")).count(), 3 * 40_001);
    stop_cleanly(&scene, restarter);
}

/// Not a byte is changed, but that a line which is too long, and one without an end, get one.
fn writes_anything() {
    let scene = Scene::new();
    let all: Vec<u8> = (0..=255).collect();
    let output = [&all[..], b"\n\x1b[2J\r\n\n", &b"x".repeat(10_000), b"\nend"].concat();
    fs::write(scene.path("output"), &output).expect("a file in our folder");
    let check = format!("cat {}", scene.place("output"));
    let options = ["--ready", "none", "--check", &check];
    let log = File::create(scene.path("bytes")).expect("a file in our folder");
    let setup = scene.restarter(&options, &scene.probe(SERVER)).unlogged().with(|command| {
        command.stderr(log);
    });
    let restarter = setup.start();
    scene.journal().await_ready(1);
    restarted(&scene, &restarter);
    stop_cleanly(&scene, restarter);
    let log = fs::read(scene.path("bytes")).expect("it is ours");
    let begin = position(&log, &all).expect("it is in the log");
    let end = begin + position(&log[begin..], b"end\n").expect("it is in the log to its end");
    let without_newlines =
        |bytes: &[u8]| -> Vec<u8> { bytes.iter().copied().filter(|byte| *byte != b'\n').collect() };
    assert_eq!(without_newlines(&log[begin..end + 3]), without_newlines(&output));
    let lines = log[begin..end].split(|byte| *byte == b'\n').map(<[u8]>::len);
    let lines: Vec<usize> = lines.collect();
    assert_eq!(lines, [10, 245, 5, 0, 4095, 4095, 1810, 0], "where lines end");
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// What it said before it was killed stands before that.
fn writes_and_hangs() {
    let scene = Scene::new();
    let check = shell("printf \"first\\nunfinished\"; exec sleep 1000");
    let options = ["--ready", "none", "--check-timeout", "2", "--check", &check];
    let (restarter, _) = serving(&scene, &options, SERVER);
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-refused epoch=1: …(--check-timeout)");
    let lines = ["first", "unfinished", "restart-refused"];
    assert_in_order(&restarter, &lines.map(str::to_owned));
    stop_cleanly(&scene, restarter);
}

/// That there will be no more to read does not keep us awake.
fn closes_its_output() {
    let scene = Scene::new();
    let gate = scene.gate();
    let check = scene.beside(&format!("close=1 close=2 say=closed await={gate}"));
    let (restarter, _) = serving(&scene, &["--ready", "none", "--check", &check], SERVER);
    let before = descriptors(&restarter);
    restarter.signal(libc::SIGHUP);
    scene.journal_beside().await_said("closed");
    eventually("our end is closed", || match descriptors(&restarter) {
        now if now == before => Ok(()),
        now => Err((before, now)),
    });
    restarter.await_idle();
    gate.open();
    scene.journal().await_ready(2);
    stop_cleanly(&scene, restarter);
}

fn descriptors(restarter: &Restarter) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", restarter.pid())).expect("it lives");
    open.count()
}

/// Makes a check that leaves a daemon, and fails as long as a file is there. It ends when the daemon
/// has left its process group and does this.
fn leaving(scene: &Scene, daemon: &str) -> String {
    let (begun, bad) = (scene.place("begun"), scene.place("bad"));
    let daemon = daemon.replace("BEGUN", &begun);
    let script = format!(
        "#!/bin/sh\nsetsid {daemon} &\n\
         until test -e {begun}; do sleep 0.01; done\nrm {begun}\ntest ! -e {bad}\n"
    );
    scene.script("check", &script)
}

/// Daemons of a check hold the pipe for as long as they live; nothing waits for them, and nothing
/// of ours is left behind.
fn leaves_its_output_open() {
    const CHECKS: usize = 50;
    let scene = Scene::new();
    let bad = scene.place("bad");
    File::create(&bad).expect("a file in our folder");
    let check = leaving(&scene, &scene.beside("exit-on=TERM:0 touch=BEGUN wait"));
    let (restarter, _) = serving(&scene, &["--ready", "none", "--check", &check], SERVER);
    let before = descriptors(&restarter);
    for times in 1..=CHECKS {
        restarter.signal(libc::SIGHUP);
        restarter.says_times("restart-refused", times);
    }
    let daemons = scene.journal_beside().await_ready(CHECKS);
    assert_eq!(descriptors(&restarter), before);
    restarter.await_idle();
    fs::remove_file(&bad).expect("it is ours");
    restarted(&scene, &restarter);
    for daemon in daemons {
        let parent = processes::process(daemon).map(|daemon| daemon.parent);
        assert_eq!(parent, Some(restarter.pid()), "it lives");
    }
    stop_cleanly(&scene, restarter);
}

/// A daemon that goes on writing is heard no more, and has nobody to write to.
fn leaves_a_flood() {
    let scene = Scene::new();
    File::create(scene.path("bad")).expect("a file in our folder");
    let check = leaving(&scene, "sh -c \"echo daemon; touch BEGUN; exec yes daemon\"");
    let (restarter, _) = serving(&scene, &["--ready", "none", "--check", &check], SERVER);
    let before = scene.processes().len();
    for times in 1..=5 {
        restarter.signal(libc::SIGHUP);
        restarter.says_times("restart-refused epoch=1: the check exited with 1", times);
        scene.await_processes(before);
        let log = restarter.log();
        let (checked, after) = log.rsplit_once("restart-refused").expect("it is there");
        assert!(checked.lines().any(|line| line == "daemon"), "it was heard before: {log}");
        assert!(!after.lines().any(|line| line == "daemon"), "{after}");
    }
    stop_cleanly(&scene, restarter);
}

/// A restarter whose check floods the log, as long as a file is there; it has begun to.
fn flooding(scene: &Scene, timeout: &str, target: &str) -> Restarter {
    const A_FLOOD: u64 = 10_000_000;
    let flood = scene.place("flood");
    File::create(&flood).expect("a file in our folder");
    let check = shell(&format!("test -e {flood} || exit 0; {FLOOD}"));
    let options = ["--ready", "none", "--check-timeout", timeout, "--check", &check];
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let setup = scene.restarter(&options, &scene.probe(target)).unlogged().with(|command| {
        command.stderr(writer);
    });
    let restarter = setup.start();
    scene.journal().await_ready(1);
    restarter.signal(libc::SIGHUP);
    let read = Arc::new(AtomicU64::new(0));
    let reading = Arc::clone(&read);
    // It ends when the restarter does.
    thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = reader.read(&mut bytes) {
            reading.fetch_add(count as u64, Ordering::Relaxed);
        }
    });
    eventually("it floods", || match read.load(Ordering::Relaxed) {
        A_FLOOD.. => Ok(()),
        read => Err(read),
    });
    restarter
}

/// Time passes for one that never lets us come to an end.
fn floods_to_its_timeout() {
    let scene = Scene::new();
    let restarter = flooding(&scene, "1", SERVER);
    fs::remove_file(scene.path("flood")).expect("it is ours");
    // Kept until the flood is over.
    restarter.signal(libc::SIGHUP);
    scene.journal().await_ready(2);
    stop_cleanly(&scene, restarter);
}

/// Signals are forwarded as ever, and a stop is one.
fn stop_during_a_flood() {
    let scene = Scene::new();
    let restarter = flooding(&scene, "3600", "catch=USR1 exit-on=TERM:0 wait");
    let first = scene.journal().writers("ready")[0];
    restarter.signal(libc::SIGUSR1);
    scene.journal().await_signal(first, libc::SIGUSR1);
    stop_cleanly(&scene, restarter);
    assert_eq!(scene.journal().writers("ready").len(), 1, "the check has not passed");
}

/// Nobody reads our standard error: the check does not wait for that, and what is lost is counted.
fn clogged_log() {
    const LINES: u64 = 20_000;
    let scene = Scene::new();
    let check = format!("seq 1000000 {}", 999_999 + LINES);
    let (reader, writer) = clogged_pipe();
    let options = ["--ready", "none", "--check", &check];
    let setup = scene.restarter(&options, &scene.probe(SERVER)).unlogged().with(|command| {
        command.stderr(writer);
    });
    let restarter = setup.start();
    scene.journal().await_ready(1);
    restarted(&scene, &restarter);
    let (sender, said) = mpsc::channel();
    let reading = thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            // Whoever listens may have seen enough.
            let _ = sender.send(line);
        }
    });
    let mut seen: Vec<String> = Vec::new();
    let lost = eventually("the lost lines are told", || {
        restarter.signal(libc::SIGWINCH);
        seen.extend(said.try_iter().filter(|line| !line.is_empty()));
        let lost = seen.iter().find_map(|line| {
            let (before, _) = line.split_once(" lines before this one were lost")?;
            before.rsplit(' ').next()?.parse::<u64>().ok()
        });
        lost.ok_or_else(|| seen.clone())
    });
    // Each line of the check, and all that we have said ourselves.
    assert!(lost > LINES, "{lost}: {seen:?}");
    stop_cleanly(&scene, restarter);
    reading.join().expect("it only reads");
}

/// We were started without standard error; what a check has in its place is no descriptor of ours.
fn without_a_log() {
    for closed in [&[2][..], &[0, 1, 2]] {
        let scene = Scene::new();
        let check = scene.beside("report");
        let options = ["--ready", "none", "--check", &check];
        let target = scene.probe("report exit-on=TERM:0 wait");
        let setup = scene.restarter(&options, &target).with(|command| {
            for number in closed {
                command.without_descriptor(*number);
            }
        });
        let mut restarter = setup.start();
        scene.journal().await_ready(1);
        restarter.signal(libc::SIGHUP);
        let second = scene.journal().await_ready(2)[1];
        let check = scene.journal_beside().await_writers("reported", 1)[0];
        let check = scene.journal_beside().await_report(check);
        let epoch = scene.journal().await_report(second);
        let (mut of_check, mut of_epoch) = (check.descriptors(), epoch.descriptors());
        assert!(of_check[&1].starts_with("1 pipe:"), "{of_check:?}");
        assert_eq!(of_check[&1], of_check[&2]);
        for number in 0..3 {
            of_check.remove(&number);
            of_epoch.remove(&number);
        }
        assert_eq!(of_check, of_epoch, "and none of ours");
        restarter.signal(libc::SIGTERM);
        assert_eq!(restarter.code(), 0);
        scene.assert_empty();
    }
}

/// Without a descriptor to spare a check writes to our standard error itself.
fn without_a_pipe() {
    let scene = Scene::new();
    let options = ["--ready", "none", "--check", "readlink /proc/self/fd/1"];
    let wrapper = ["prlimit", "--nofile=4:4", "--"];
    let setup = scene.wrapped_restarter(&wrapper, &options, &scene.probe(SERVER));
    let restarter = setup.start();
    scene.journal().await_ready(1);
    restarted(&scene, &restarter);
    let log = scene.folder().join("log-");
    let log = log.to_str().expect("a path of ours is text");
    assert!(restarter.log().lines().any(|line| line.starts_with(log)), "{}", restarter.log());
    stop_cleanly(&scene, restarter);

    // With one, it does not.
    let (restarter, _) = serving(&scene, &options, SERVER);
    restarted(&scene, &restarter);
    assert!(restarter.log().lines().any(|line| line.starts_with("pipe:")), "{}", restarter.log());
    stop_cleanly(&scene, restarter);
}

/// A terminal that we cannot open for ourselves could block us, so a check that writes there does
/// it itself.
fn terminal_of_another() {
    let scene = Scene::new();
    let (terminal, programs) = Terminal::open();
    let mut screen = terminal.screen();
    let reading = thread::spawn(move || {
        let mut shown = Vec::new();
        // It ends with an error when the last program has left the terminal.
        let _ = screen.read_to_end(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    });
    let check = shell("test -t 1 && test -t 2 && echo on a terminal");
    let options = ["--ready", "none", "--check", &check];
    let wrapper = ["setpriv", "--reuid=64001", "--clear-groups", "--"];
    let setup = scene.wrapped_restarter(&wrapper, &options, &scene.probe(SERVER));
    let restarter = setup
        .unlogged()
        .with(|command| {
            command.stderr(programs);
        })
        .start();
    scene.journal().await_ready(1);
    restarted(&scene, &restarter);
    stop_cleanly(&scene, restarter);
    let shown = reading.join().expect("it only reads");
    assert!(shown.lines().any(|line| line == "on a terminal"), "{shown}");
}
