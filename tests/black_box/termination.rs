//! The termination log: the reason of every bad end, and nothing that could be in the way of one.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use libtest_mimic::Trial;
use support::docker::{Container, Run, images};
use support::probe;
use support::scene::{Scene, Setup, holds};

use crate::needs::{Needs, trial};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("termination::reasons", Needs::Nothing, reasons),
        trial("termination::what_had_to_be_killed", Needs::Nothing, what_had_to_be_killed),
        trial("termination::epoch_of_several", Needs::Nothing, epoch_of_several),
        trial("termination::no_process_to_be_had", Needs::Root, no_process_to_be_had),
        trial("termination::out_of_memory", Needs::Nothing, out_of_memory),
        trial("termination::clean_ends", Needs::Nothing, clean_ends),
        trial("termination::long_reason", Needs::Nothing, long_reason),
        trial("termination::place", Needs::Nothing, place),
        trial("termination::usual_place", Needs::Nothing, usual_place),
        trial("termination::what_cannot_be_written", Needs::Nothing, what_cannot_be_written),
        trial("docker::termination_log", Needs::Docker, in_a_container),
    ]
}

/// The file in which the reasons of a scene are.
const FILE: &str = "termination-log";

/// A restarter that writes there what is longer than any reason now.
fn setup(scene: &Scene, wrapper: &[&str], options: &[&str], target: &[impl AsRef<str>]) -> Setup {
    fs::write(scene.path(FILE), "an old reason\n".repeat(1000)).expect("a file in our folder");
    let place = scene.place(FILE);
    let options = [&["--termination-log", &place], options].concat();
    scene.wrapped_restarter(wrapper, &options, target)
}

/// What is there, which must be a single line and as much as kubelet takes.
fn reason(scene: &Scene) -> String {
    line_of(&scene.path(FILE))
}

fn line_of(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a termination log");
    let line = text.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {text:?}"));
    assert!(text.len() <= 4096 && !line.contains('\n') && !line.is_empty(), "{text:?}");
    line.to_owned()
}

fn reasons() {
    let cases: [(&[&str], &str, i32, &str); 13] = [
        (&["--bogus"], "exit=0", 2, "unexpected argument '--bogus'"),
        (&["--term-wait", "soon"], "exit=0", 2, "bad value \"soon\" for --term-wait"),
        (&["--rollback", "--ready=none"], "exit=0", 2, "--rollback has to know"),
        (&["--check", "a 'b"], "exit=0", 2, "bad value \"a 'b\" for --check"),
        (&["--check", "/no/such/check"], "exit=0", 127, "--check: /no/such/check does not exist"),
        (&["--check", "/etc/passwd"], "exit=0", 126, "--check: /etc/passwd is not executable"),
        (&["/no/such/target"], "", 127, "epoch 0 could not be started: /no/such/target does not"),
        (&["/etc/passwd"], "", 126, "epoch 0 could not be started: /etc/passwd is not executable"),
        (&[], "exit=1", 1, "epoch 0 (pid …) ended unexpectedly: exited with 1"),
        (&[], "exit=2", 2, "epoch 0 (pid …) ended unexpectedly: exited with 2"),
        (&[], "exit=125", 125, "epoch 0 (pid …) ended unexpectedly: exited with 125"),
        (&[], "die=SEGV", 139, "epoch 0 (pid …) ended unexpectedly: was ended by SIGSEGV"),
        (
            &[],
            "die=KILL",
            137,
            "epoch 0 (pid …) ended unexpectedly: was ended by SIGKILL (not by us",
        ),
    ];
    for level in ["info", "error"] {
        for (options, steps, expected, sentence) in cases {
            let scene = Scene::new();
            let options = [&["--log-level", level], options].concat();
            let (code, log) = setup(&scene, &[], &options, &scene.probe(steps)).finish();
            assert_eq!(code, expected, "{options:?} {steps}: {log}");
            let reason = reason(&scene);
            let first = sentence.split('…').next().unwrap_or_default();
            assert!(reason.starts_with(first) && holds(&reason, sentence), "{sentence}: {reason}");
        }
    }
}

/// The exit code 1 says that something had to be killed; this says what.
fn what_had_to_be_killed() {
    let scene = Scene::new();
    let orphan = "fork [ fork [ setsid ignore=TERM wait ] ]";
    let steps = format!("{orphan} ignore=TERM wait");
    let options = ["--ready", "none", "--term-wait", "0.5"];
    let mut restarter = setup(&scene, &[], &options, &scene.probe(&steps)).start();
    let pids = scene.journal().await_ready(2);
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 1, "{}", restarter.log());
    let reason = reason(&scene);
    assert!(reason.starts_with("0.500 s (--term-wait) are over with 1 epoch left"), "{reason}");
    for pid in pids {
        assert!(holds(&reason, &format!("did not end in time: …probe (pid {pid}, ")), "{reason}");
        restarter.says(&format!(" killing pid={pid}: probe"));
    }
}

/// The number is the epoch's own, and what follows from its end is no reason.
fn epoch_of_several() {
    let scene = Scene::new();
    let steps = "ignore=TERM epoch=1 [ exit-on=USR2:23 ] wait";
    let mut restarter = setup(&scene, &[], &["--ready", "none"], &scene.probe(steps)).start();
    scene.journal().await_ready(1);
    restarter.signal(libc::SIGHUP);
    let second = scene.journal().await_ready(2)[1];
    restarter.signal(libc::SIGUSR2);
    assert_eq!(restarter.code(), 23, "{}", restarter.log());
    let expected = format!("epoch 1 (pid {second}) ended unexpectedly: exited with 23");
    assert_eq!(reason(&scene), expected);
}

/// Our own failure.
fn no_process_to_be_had() {
    let scene = Scene::new();
    // A user whom no other run of these trials has.
    let user = format!("--reuid={}", 100_000 + std::process::id());
    let wrapper = ["prlimit", "--nproc=1:1", "setpriv", &user, "--clear-groups", "--"];
    let setup = setup(&scene, &wrapper, &[], &scene.probe("exit=0"));
    let for_all = fs::Permissions::from_mode(0o666);
    fs::set_permissions(scene.path(FILE), for_all).expect("the file is ours");
    let (code, log) = setup.finish();
    assert_eq!(code, 125, "{log}");
    let reason = reason(&scene);
    assert!(reason.starts_with("epoch 0 could not be started: "), "{reason}");
}

/// A restart needs more memory than we may have: as much again as our environment.
fn out_of_memory() {
    let scene = Scene::new();
    let target = scene.probe("exit-on=TERM:0 wait");
    let setup = setup(&scene, &[], &["--ready", "none"], &target);
    let large = setup.with(|command| {
        command.env("LARGE", "x".repeat(100_000));
    });
    let mut restarter = large.start();
    scene.journal().await_ready(1);
    restarter.listens();
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let none = std::ptr::null_mut();
    // SAFETY: the pointer is to a limit of our own, and the old one is not asked for.
    let set = unsafe { libc::prlimit(restarter.pid(), libc::RLIMIT_AS, &raw const limit, none) };
    assert_eq!(set, 0);
    restarter.signal(libc::SIGHUP);
    assert_eq!(restarter.code(), 125, "{}", restarter.log());
    let last = restarter.log().lines().last().map(str::to_owned);
    assert_eq!(last.as_deref(), Some("hot-restarter: out of memory (os error 12)"));
    assert_eq!(reason(&scene), "out of memory (os error 12)");
    scene.assert_empty();
}

/// They leave the file alone.
fn clean_ends() {
    let old = "an old reason\n".repeat(1000);
    let untouched = |scene: &Scene, log: &str| {
        assert_eq!(fs::read_to_string(scene.path(FILE)).expect("it is there"), old, "{log}");
    };
    for options in [&["--version"][..], &["--help"], &[]] {
        let scene = Scene::new();
        let (code, log) = setup(&scene, &[], options, &scene.probe("exit=0")).finish();
        assert_eq!(code, 0, "{options:?}: {log}");
        untouched(&scene, &log);
    }
    // Whatever the epochs say to a stop.
    let scene = Scene::new();
    let steps = "exit-on=TERM:3 wait";
    let mut restarter = setup(&scene, &[], &["--ready", "none"], &scene.probe(steps)).start();
    scene.journal().await_ready(1);
    restarter.signal(libc::SIGHUP);
    scene.journal().await_ready(2);
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    untouched(&scene, &restarter.log());
}

fn long_reason() {
    for character in ["x", "€", "\n"] {
        let scene = Scene::new();
        let value = character.repeat(5000);
        let options = ["--term-wait", &value];
        let (code, _) = setup(&scene, &[], &options, &scene.probe("exit=0")).finish();
        assert_eq!(code, 2);
        let reason = reason(&scene);
        assert!(reason.starts_with("bad value ") && reason.len() > 4000, "{reason}");
    }
}

/// The command line wins over the variable, and is heard as far as it can be read.
fn place() {
    let steps = ["exit=3"];
    let bogus = ["--bogus"];
    for (options, arguments, expected) in [
        (&["--termination-log", "OPTION"][..], &steps[..], "option"),
        (&["--termination-log=OPTION"], &bogus, "option"),
        (&["--termination-log", "OPTION", "--term-wait", "x"], &steps, "option"),
        (&[], &steps, "variable"),
        (&[], &bogus, "variable"),
        (&["--term-wait", "x"], &steps, "variable"),
    ] {
        let scene = Scene::new();
        let (option, variable) = (scene.place("option"), scene.place("variable"));
        let options: Vec<String> =
            options.iter().map(|word| word.replace("OPTION", &option)).collect();
        let mut words: Vec<&str> = options.iter().map(String::as_str).collect();
        let target = scene.probe("exit=3");
        if arguments == bogus {
            words.push("--bogus");
        }
        let setup = scene.restarter(&words, &target).with(|command| {
            command.env("HOT_RESTARTER_TERMINATION_LOG", &variable);
        });
        let (code, log) = setup.finish();
        assert!([2, 3].contains(&code), "{log}");
        // It is made where it was not.
        line_of(&scene.path(expected));
        let other = if expected == "option" { "variable" } else { "option" };
        assert!(!scene.path(other).exists(), "{words:?}");
    }
}

/// Kubelet makes it; nobody else wants it.
fn usual_place() {
    let usual = Path::new("/dev/termination-log");
    if usual.exists() {
        return;
    }
    let scene = Scene::new();
    let (code, log) = scene.restarter(&[], &scene.probe("exit=3")).finish();
    assert_eq!(code, 3);
    assert!(!usual.exists() && !log.contains("termination-log"), "{log}");
    assert_eq!(scene.restarter(&["--bogus"], &scene.probe("exit=3")).finish().0, 2);
    assert!(!usual.exists());
}

/// It is no second failure, and nothing waits.
fn what_cannot_be_written() {
    let scene = Scene::new();
    let make_fifo = |name: &str| {
        let place = scene.place(name);
        let made = scene.command(&["mkfifo", &place]).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo");
        place
    };
    let unread = make_fifo("unread");
    let full = make_fifo("full");
    let clogged =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&full);
    let mut clogged = clogged.expect("a FIFO of ours");
    while clogged.write(&[b'\n'; 4096]).is_ok() {}
    let (folder, missing) = (scene.place(""), scene.place("no/such/folder"));
    let places = [&unread, &full, &folder, &missing, "/dev/full", "/proc/version"];
    for place in places {
        let options = ["--termination-log", place];
        let (code, log) = scene.restarter(&options, &scene.probe("exit=3")).finish();
        assert_eq!(code, 3, "{place}: {log}");
        let lines: Vec<&str> = log.lines().collect();
        assert!(lines.iter().any(|line| holds(line, " warn …termination-log: ")), "{place}: {log}");
        assert!(lines.last().is_some_and(|line| line.contains(" exiting: ")), "{place}: {log}");
        let bad = [&options[..], &["--bogus"]].concat();
        let (code, log) = scene.restarter(&bad, &["true"]).finish();
        assert_eq!((code, log.lines().count()), (2, 1), "{place}: {log}");
        assert_eq!(scene.restarter(&options, &scene.probe("exit=0")).finish().0, 0, "{place}");
    }
}

/// A container as kubelet runs one: a file that everybody may write at the usual place, a user of
/// no name, a root that is read-only.
fn in_a_container() {
    let run = |scene: &Scene, arguments: &[&str]| -> Container {
        File::create(scene.path(FILE)).expect("a file in our folder");
        let for_all = fs::Permissions::from_mode(0o666);
        fs::set_permissions(scene.path(FILE), for_all).expect("the file is ours");
        Run::of(&images().restarter)
            .options(&["--read-only", "--user=12345:12345", "--cap-drop=ALL"])
            .mount(&scene.path(FILE), "/dev/termination-log")
            .mount(&probe(), "/probe:ro")
            .arguments(arguments)
            .start()
    };
    let cases: [(&[&str], i32, &str); 4] = [
        (&["/probe", "exit=42"], 42, "epoch 0 (pid …) ended unexpectedly: exited with 42"),
        (&["--term-wiat", "3", "/probe"], 2, "unexpected argument '--term-wiat'"),
        (&["--check", "/chekc", "/probe"], 127, "--check: /chekc does not exist"),
        (&["/prob"], 127, "epoch 0 could not be started: /prob does not exist"),
    ];
    for (arguments, expected, sentence) in cases {
        let scene = Scene::new();
        let container = run(&scene, arguments);
        assert_eq!(container.wait(), expected, "{}", container.logs());
        let reason = reason(&scene);
        assert!(holds(&reason, sentence), "{sentence}: {reason}");
    }
    let scene = Scene::new();
    let container = run(&scene, &["/probe", "exit-on=TERM:1", "wait"]);
    container.await_log("ready epoch=0");
    assert_eq!(container.stop(), 0, "{}", container.logs());
    assert_eq!(fs::read_to_string(scene.path(FILE)).expect("it is there"), "");
}
