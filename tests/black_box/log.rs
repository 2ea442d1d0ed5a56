//! Standard error: one line per event, and nothing that befalls it stops or ends us.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;

use libtest_mimic::Trial;
use support::descriptor;
use support::eventually;
use support::scene::{Restarter, Scene, Setup, holds};
use support::terminal::Terminal;

use crate::needs::{Needs, trial};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("log::lines", Needs::Nothing, lines),
        trial("log::json", Needs::Nothing, json),
        trial("log::levels", Needs::Nothing, levels),
        trial("log::shared_file", Needs::Nothing, shared_file),
        trial("log::full_pipe", Needs::Nothing, full_pipe),
        trial("log::full_pipe_to_the_end", Needs::Nothing, full_pipe_to_the_end),
        trial("log::broken_pipe", Needs::Nothing, broken_pipe),
        trial("log::socket", Needs::Nothing, socket),
        trial("log::full_socket", Needs::Nothing, full_socket),
        trial("log::full_device", Needs::Nothing, full_device),
        trial("log::full_file", Needs::Nothing, full_file),
        trial("log::not_for_writing", Needs::Nothing, not_for_writing),
        trial("log::terminal", Needs::Nothing, terminal),
        trial("log::killed_from_outside", Needs::Nothing, killed_from_outside),
    ]
}

/// A probe that answers a SIGUSR1, and a real-time signal by which it tells that we have come
/// to it.
const SERVER: &str = "report catch=USR1,41 exit-on=TERM:0 wait";
/// Comes after every lower number, in the kernel's order and in ours.
const FENCE: i32 = 41;
/// No probe catches it, so each makes a line; the kernel keeps every one of them.
const UNCAUGHT: i32 = 40;

fn restarter(scene: &Scene) -> Setup {
    scene.restarter(&["--ready", "none"], &scene.probe(SERVER))
}

/// Restarts, signals and a clean stop, whatever has become of standard error, and in the end
/// nothing of it set to `O_NONBLOCK`.
fn assert_lives(scene: &Scene, mut restarter: Restarter) {
    let journal = scene.journal();
    let first = journal.await_ready(1)[0];
    restarter.signal(FENCE);
    journal.await_signal(first, FENCE);
    restarter.signal(libc::SIGHUP);
    let second = journal.await_ready(2)[1];
    for probe in [first, second] {
        restarter.signal(libc::SIGUSR1);
        journal.await_signal(probe, libc::SIGUSR1);
        assert_blocks(scene, probe);
    }
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0);
    scene.assert_empty();
}

/// What we share with an epoch must block as it did before.
fn assert_blocks(scene: &Scene, probe: i32) {
    let report = scene.journal().await_report(probe);
    for (number, description) in report.descriptors() {
        let flags = description.split(' ').next().unwrap_or_default();
        let flags = i32::from_str_radix(flags, 8).expect("flags are octal");
        assert_eq!(flags & libc::O_NONBLOCK, 0, "descriptor {number}: {description}");
    }
}

/// Time, level, event, `epoch=`, `pid=`, and why.
fn lines() {
    let scene = Scene::new();
    let mut restarter = restarter(&scene).start();
    let probe = scene.journal().await_ready(1)[0];
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0);
    let log = restarter.log();
    for expected in [
        &format!(" info  started epoch=0 pid={probe}")[..],
        &format!(" info  ready epoch=0 pid={probe}: "),
        " info  stopping: SIGTERM received",
        &format!(" info  ended epoch=0 pid={probe}: exited with 0"),
        " info  exiting: exit code 0",
    ] {
        assert_eq!(log.lines().filter(|line| line.contains(expected)).count(), 1, "{log}");
    }
    for line in log.lines() {
        let time = line.split(' ').next().unwrap_or_default();
        let shape: String =
            time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{line}");
    }
}

/// Every line is an object, whatever the name of the target.
fn json() {
    let check = "import json, sys\n\
                 for line in sys.stdin:\n  \
                   event = json.loads(line)\n  \
                   assert {'time', 'level', 'event', 'message'} <= event.keys(), line\n  \
                   print(event['event'], event.get('epoch'), event['message'])\n";
    let checked = |log: &str| {
        let mut python = Command::new("python3")
            .args(["-c", check])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        python.stdin.take().expect("a pipe").write_all(log.as_bytes()).expect("it reads");
        let output = python.wait_with_output().expect("it is our child");
        assert!(output.status.success(), "{log}");
        String::from_utf8(output.stdout).expect("text")
    };
    let scene = Scene::new();
    let options = ["--log-format", "json", "--log-level", "debug"];
    let mut restarter = scene.restarter(&options, &scene.probe(SERVER)).start();
    scene.journal().await_ready(1);
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-queued");
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0);
    let events = checked(&restarter.log());
    assert!(events.lines().any(|line| line.starts_with("started 0 ")), "{events}");

    let name = "/no/\"such\"\\\n\t\u{1}\u{7f}\u{85}\u{2028}program";
    let (code, log) = scene.restarter(&options, &[name]).finish();
    assert_eq!(code, 127);
    let events = checked(&log);
    assert!(events.contains("program does not exist"), "{events}");
}

fn levels() {
    let life = |level: &str| {
        let scene = Scene::new();
        let options = ["--ready", "none", "--log-level", level];
        let mut restarter = scene.restarter(&options, &scene.probe(SERVER)).start();
        let probe = scene.journal().await_ready(1)[0];
        restarter.signal(UNCAUGHT);
        restarter.signal(FENCE);
        scene.journal().await_signal(probe, FENCE);
        restarter.signal(libc::SIGTERM);
        assert_eq!(restarter.code(), 0);
        restarter.log().lines().count()
    };
    assert_eq!(life("error"), 0, "there was no error");
    assert_eq!(life("warn"), 0, "nor anything odd");
    assert!(life("info") > 4);
    assert!(life("debug") >= life("info"));

    let scene = Scene::new();
    let (code, log) = scene.restarter(&["--log-level", "error"], &scene.probe("exit=3")).finish();
    assert_eq!(code, 3);
    assert!(log.lines().all(|line| line.contains(" error ")) && !log.is_empty(), "{log}");
}

/// A file that the target writes to as well: opened a second time it would be written over.
fn shared_file() {
    let scene = Scene::new();
    let line = "a line of the server, which must be whole";
    let target = format!("echo '{line}' >&2; exec {}", scene.probe_line(SERVER));
    let restarter = scene.restarter(&["--ready", "none"], &["sh", "-c", &target]).start();
    scene.journal().await_ready(1);
    restarter.signal(libc::SIGHUP);
    scene.journal().await_ready(2);
    restarter.settle();
    assert_eq!(restarter.log().lines().filter(|found| *found == line).count(), 2);
    restarter.says_times(" started ", 2);
    assert_lives(&scene, restarter);
}

/// A pipe of one page, full of what nobody has read.
pub(crate) fn clogged_pipe() -> (io::PipeReader, io::PipeWriter) {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let room = descriptor::shrink_pipe(&writer);
    writer.write_all(&vec![b'\n'; room]).expect("it has room");
    (reader, writer)
}

/// Lines that could not be written are counted, and the count is said later.
fn full_pipe() {
    let scene = Scene::new();
    let (reader, writer) = clogged_pipe();
    let mut restarter = restarter(&scene)
        .unlogged()
        .with(|command| {
            command.stderr(writer);
        })
        .start();
    let probe = scene.journal().await_ready(1)[0];
    for _ in 0..30 {
        restarter.signal(UNCAUGHT);
    }
    restarter.signal(FENCE);
    scene.journal().await_signal(probe, FENCE);

    let (sender, lines) = std::sync::mpsc::channel();
    let reading = thread::spawn(move || {
        for line in io::BufRead::lines(io::BufReader::new(reader)).map_while(Result::ok) {
            // Whoever listens may have seen enough.
            let _ = sender.send(line);
        }
    });
    // What is in the pipe is read at once; then there is room for a line.
    let mut seen: Vec<String> = Vec::new();
    let lost = eventually("the lost lines are told", || {
        restarter.signal(libc::SIGWINCH);
        seen.extend(lines.try_iter().filter(|line| !line.is_empty()));
        let lost = seen.iter().find_map(|line| {
            let (before, _) = line.split_once(" lines before this one were lost")?;
            before.rsplit(' ').next()?.parse::<u32>().ok()
        });
        lost.ok_or_else(|| seen.clone())
    });
    // It started, was ready and dropped thirty signals; what it says of the fence may come later.
    assert!(lost >= 32, "{lost}: {seen:?}");
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0);
    drop(restarter);
    reading.join().expect("it only reads");
    seen.extend(lines.try_iter());
    let told = seen.iter().filter(|line| line.contains("were lost")).count();
    assert_eq!(told, 1, "once: {seen:?}");
    assert!(seen.iter().any(|line| line.contains(" exiting: ")), "{seen:?}");
}

/// Nobody ever reads it.
fn full_pipe_to_the_end() {
    let scene = Scene::new();
    let (reader, writer) = clogged_pipe();
    let setup = restarter(&scene).unlogged().with(|command| {
        command.stderr(writer);
    });
    assert_lives(&scene, setup.start());
    drop(reader);

    // Nor does an error of ours wait for a reader.
    let (_reader, writer) = clogged_pipe();
    let setup = scene.restarter(&["--bogus"], &["true"]).unlogged().with(|command| {
        command.stderr(writer);
    });
    assert_eq!(setup.finish().0, 2);
}

/// Whoever read it is gone.
fn broken_pipe() {
    let scene = Scene::new();
    let (reader, writer) = io::pipe().expect("a pipe");
    let setup = restarter(&scene).unlogged().with(|command| {
        command.stderr(writer);
    });
    let restarter = setup.start();
    scene.journal().await_ready(1);
    drop(reader);
    assert_lives(&scene, restarter);
}

fn socket() {
    let scene = Scene::new();
    let (mut reader, writer) = UnixStream::pair().expect("sockets");
    let setup = restarter(&scene).unlogged().with(|command| {
        command.stderr(OwnedFd::from(writer));
    });
    assert_lives(&scene, setup.start());
    let mut log = String::new();
    reader.read_to_string(&mut log).expect("text");
    assert!(log.lines().any(|line| holds(line, " started epoch=1 ")), "{log}");
    assert!(log.lines().any(|line| holds(line, " exiting: ")), "{log}");
}

fn full_socket() {
    let scene = Scene::new();
    let (_reader, writer) = UnixStream::pair().expect("sockets");
    descriptor::fill_socket(&writer);
    let setup = restarter(&scene).unlogged().with(|command| {
        command.stderr(OwnedFd::from(writer));
    });
    assert_lives(&scene, setup.start());
}

fn full_device() {
    let scene = Scene::new();
    let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let setup = restarter(&scene).unlogged().with(|command| {
        command.stderr(full);
    });
    assert_lives(&scene, setup.start());
}

/// A line that was torn does not tear the one that comes when there is room again.
fn full_file() {
    const ROOM: libc::rlim_t = 400;
    let scene = Scene::new();
    let restarter = restarter(&scene).start();
    restarter.says("ready epoch=0");
    let limit = |most: libc::rlim_t| {
        let limit = libc::rlimit { rlim_cur: most, rlim_max: libc::RLIM_INFINITY };
        let none = std::ptr::null_mut();
        // SAFETY: the pointer is to a limit of our own.
        let set =
            unsafe { libc::prlimit(restarter.pid(), libc::RLIMIT_FSIZE, &raw const limit, none) };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    };
    limit(ROOM);
    eventually("the file is full in the middle of a line", || {
        restarter.signal(libc::SIGWINCH);
        let log = restarter.log();
        if log.len() as libc::rlim_t == ROOM && !log.ends_with('\n') { Ok(()) } else { Err(log) }
    });
    limit(libc::RLIM_INFINITY);
    restarter.settle();
    let log = restarter.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("were lost")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(holds(told[0], "Z warn  lost: ") && told[0].find("Z warn") == Some(23), "{log}");
}

fn not_for_writing() {
    let scene = Scene::new();
    let setup = restarter(&scene).unlogged().with(|command| {
        command.stderr(File::open("/dev/null").expect("/dev/null"));
    });
    assert_lives(&scene, setup.start());
}

fn terminal() {
    let scene = Scene::new();
    let (terminal, programs) = Terminal::open();
    let mut screen = terminal.screen();
    let reading = thread::spawn(move || {
        let mut shown = Vec::new();
        // It ends with an error when the last program has left the terminal.
        let _ = screen.read_to_end(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    });
    let setup = restarter(&scene).unlogged().with(|command| {
        command.stderr(programs);
    });
    assert_lives(&scene, setup.start());
    let shown = reading.join().expect("it only reads");
    assert!(shown.lines().any(|line| holds(line, " exiting: ")), "{shown}");
}

/// A death by SIGKILL that was not ours is explained where the kernel lets us.
fn killed_from_outside() {
    let scene = Scene::new();
    let mut restarter = restarter(&scene).start();
    let probe = scene.journal().await_ready(1)[0];
    restarter.settle();
    support::processes::signal(probe, libc::SIGKILL);
    assert_eq!(restarter.code(), 128 + libc::SIGKILL);
    restarter.says("error ended-unexpectedly epoch=0…SIGKILL");
    assert_eq!(restarter.lines("out of memory"), 0, "{}", restarter.log());
}
