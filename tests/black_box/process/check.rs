//! `--check`: what a restart must pass before it begins.

use std::fs::{self, File};

use libtest_mimic::Trial;
use support::inherit::Inherit;
use support::scene::{Restarter, Scene};
use support::{eventually, namespace, processes};

use super::{restarted, serving, stop_cleanly};
use crate::needs::{Needs, trial};

const SERVER: &str = "exit-on=TERM:0 wait";
/// Catches what is forwarded.
const LISTENER: &str = "catch=USR1,41 exit-on=TERM:0 wait";
/// A check that stays, with a child that would outlive it.
const STAYS: &str = "catch=all fork [ ignore=TERM wait ] wait";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("process::check_passes", Needs::Nothing, || check_passes(&[])),
        trial("pid1::check_passes", Needs::Namespace, || check_passes(namespace::wrapper())),
        trial("process::check_fails", Needs::Nothing, || check_fails(&[])),
        trial("pid1::check_fails", Needs::Namespace, || check_fails(namespace::wrapper())),
        trial("process::check_hangs", Needs::Nothing, || check_hangs(&[])),
        trial("pid1::check_hangs", Needs::Namespace, || check_hangs(namespace::wrapper())),
        trial("process::check_that_cannot_start", Needs::Nothing, check_that_cannot_start),
        trial("process::check_inherits", Needs::Nothing, check_inherits),
        trial("process::stop_during_a_check", Needs::Nothing, || stop_during_a_check(&[])),
        trial("pid1::stop_during_a_check", Needs::Namespace, || {
            stop_during_a_check(namespace::wrapper());
        }),
        trial("process::life_during_a_check", Needs::Nothing, life_during_a_check),
        trial("process::end_during_a_check", Needs::Nothing, end_during_a_check),
        trial("process::hups_during_a_check", Needs::Nothing, hups_during_a_check),
        trial("process::hup_during_a_bad_check", Needs::Nothing, hup_during_a_bad_check),
        trial("process::check_leaves_its_group", Needs::Nothing, check_leaves_its_group),
        trial("process::check_leaves_an_orphan", Needs::Nothing, check_leaves_an_orphan),
    ]
}

/// A restarter with a check, whose first epoch serves.
fn checked(scene: &Scene, check: &str, target: &str) -> (Restarter, i32) {
    serving(scene, &["--ready", "none", "--check", check], target)
}

/// Before every restart and never before epoch 0, with the number to come, and words as a shell
/// would split them.
fn check_passes(wrapper: &[&str]) {
    let scene = Scene::new();
    let check = scene.beside("report");
    let check = check + r#" 'say=two  words' say=it\'s\ \$x "say=\"for $(RESTART_EPOCH)\"" say="#;
    let options = ["--ready", "none", "--check", &check];
    let restarter = scene.wrapped_restarter(wrapper, &options, &scene.probe(SERVER)).start();
    scene.journal().await_ready(1);
    restarter.settle();
    assert!(scene.journal_beside().entries().is_empty(), "nothing to check before epoch 0");
    for epoch in 1..3_usize {
        restarted(&scene, &restarter);
        restarter.says(&format!("info  checked epoch={epoch}"));
        restarter.says(&format!(" started epoch={epoch} "));
        let log = restarter.log();
        let place = |what: &str| log.find(&format!(" {what} epoch={epoch}")).expect(what);
        assert!(place("checked") < place("started"), "{log}");
        let journal = scene.journal_beside();
        let check = *journal.writers("reported").last().expect("the check has run");
        assert_eq!(journal.await_report(check).text("epoch"), epoch.to_string());
        let entries = journal.entries().into_iter();
        let said = entries.filter(|entry| entry.pid == check && entry.word == "say");
        let said: Vec<String> = said.map(|entry| entry.rest).collect();
        let quoted = format!("\"for {epoch}\"");
        assert_eq!(said, ["two  words", "it's $x", quoted.as_str(), ""]);
    }
    stop_cleanly(&scene, restarter);
}

/// Refused, whatever the way in which it fails; nothing else has changed, and the next attempt has
/// the same number.
fn check_fails(wrapper: &[&str]) {
    let cases = [
        ("exit=1", "the check exited with 1"),
        ("exit=255", "the check exited with 255"),
        ("die=SEGV", "the check was ended by SIGSEGV"),
        ("die=KILL", "the check was ended by SIGKILL"),
    ];
    for (end, sentence) in cases {
        let scene = Scene::new();
        let bad = scene.place("bad");
        let check = scene.beside(&format!("exists={bad} [ {end} ]"));
        let options = ["--ready", "none", "--check", &check];
        let restarter = scene.wrapped_restarter(wrapper, &options, &scene.probe(LISTENER)).start();
        let first = scene.journal().await_ready(1)[0];
        File::create(&bad).expect("a file in our folder");
        for times in 1..3 {
            restarter.signal(libc::SIGHUP);
            restarter.says_times(&format!("warn…restart-refused epoch=1: {sentence}"), times);
        }
        restarter.settle();
        assert_eq!(restarter.lines(" started "), 1, "{}", restarter.log());
        assert!(scene.journal().signals(first).is_empty(), "the epoch in service is left alone");
        fs::remove_file(&bad).expect("it is ours");
        restarted(&scene, &restarter);
        restarter.says(" started epoch=1 ");
        stop_cleanly(&scene, restarter);
    }
}

/// Killed when its time is over, with its children.
fn check_hangs(wrapper: &[&str]) {
    let scene = Scene::new();
    let bad = scene.place("bad");
    File::create(&bad).expect("a file in our folder");
    let check = scene.beside(&format!("exists={bad} [ {STAYS} ]"));
    let options = ["--ready", "none", "--check-timeout", "1", "--check", &check];
    let restarter = scene.wrapped_restarter(wrapper, &options, &scene.probe(SERVER)).start();
    scene.journal().await_ready(1);
    let before = scene.processes().len();
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-refused epoch=1: …(--check-timeout)");
    scene.await_processes(before);
    eventually("it is reaped", || match restarter.zombies() {
        0 => Ok(()),
        zombies => Err(zombies),
    });
    let heard = scene.journal_beside().writers("signal");
    assert!(heard.is_empty(), "it was killed and not asked: {heard:?}");
    fs::remove_file(&bad).expect("it is ours");
    restarted(&scene, &restarter);
    restarter.says(" started epoch=1 ");
    stop_cleanly(&scene, restarter);
}

/// One that has gone, or cannot be executed any more, lets no restart through.
fn check_that_cannot_start() {
    let scene = Scene::new();
    let script = scene.script("check", "#!/bin/sh\n");
    let (restarter, first) = checked(&scene, &script, LISTENER);
    fs::remove_file(&script).expect("it is ours");
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-refused epoch=1: --check: …/check does not exist");
    fs::write(&script, "#!/bin/sh\n").expect("a file in our folder");
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-refused epoch=1: --check: …/check is not executable");
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 1, "{}", restarter.log());
    assert!(scene.journal().signals(first).is_empty(), "the epoch in service is left alone");
    scene.script("check", "#!/bin/sh\n");
    restarted(&scene, &restarter);
    stop_cleanly(&scene, restarter);
}

/// Our mask, dispositions, folder and inherited descriptors, as an epoch; but its standard input
/// is empty, its output goes through a pipe to our log, and it has a group of its own.
fn check_inherits() {
    let scene = Scene::new();
    let file = File::create(scene.path("inherited")).expect("a file in our folder");
    let input = File::open(scene.path("inherited")).expect("it is ours");
    let watched = scene.place("inherited");
    let check = scene.beside("report");
    let options = ["--ready", "none", "--watch", &watched, "--check", &check];
    let target = scene.probe("report exit-on=TERM:0 unblock=TERM wait");
    let restarter = scene
        .restarter(&options, &target)
        .with(|command| {
            command.current_dir(scene.path("")).stdin(input).with_descriptor(42, file);
            command.blocking(&[libc::SIGTERM, libc::SIGCHLD, libc::SIGUSR1, 40]);
            command.ignoring(&[libc::SIGPIPE, libc::SIGCHLD, libc::SIGHUP]);
        })
        .start();
    let first = scene.journal().await_ready(1)[0];
    restarted(&scene, &restarter);
    let epoch = scene.journal().await_report(first);
    assert_ne!((epoch.set("mask"), epoch.set("ignored")), (0, 0), "the trial sets something");
    let pid = scene.journal_beside().await_writers("reported", 1)[0];
    let check = scene.journal_beside().await_report(pid);
    for word in ["mask", "ignored", "cwd", "sid", "uid", "gid", "deathsig", "ppid"] {
        assert_eq!(check.text(word), epoch.text(word), "{word}");
    }
    assert_eq!(check.number("pgid"), i64::from(pid), "a process group of its own");
    assert_eq!(check.text("about"), "none");
    let (mut of_check, mut of_epoch) = (check.descriptors(), epoch.descriptors());
    assert!(of_epoch[&0].ends_with("/inherited"), "{of_epoch:?}");
    assert!(of_check[&0].ends_with(" /dev/null"), "{of_check:?}");
    assert!(of_check[&1].starts_with("1 pipe:"), "it may be written to, and blocks: {of_check:?}");
    assert_eq!(of_check[&1], of_check[&2], "standard output and error are one");
    for number in 0..3 {
        of_check.remove(&number);
        of_epoch.remove(&number);
    }
    assert!(of_epoch.contains_key(&42), "the trial hands something down: {of_epoch:?}");
    assert_eq!(of_check, of_epoch, "and none of ours");
    stop_cleanly(&scene, restarter);
}

/// It is killed at once, and the stop goes its way.
fn stop_during_a_check(wrapper: &[&str]) {
    let scene = Scene::new();
    let check = scene.beside(STAYS);
    let options = ["--ready", "none", "--check-timeout", "3600", "--check", &check];
    let gate = scene.gate();
    let target = scene.probe(&format!("catch=TERM await={gate}"));
    let mut restarter = scene.wrapped_restarter(wrapper, &options, &target).start();
    restarter.says(" ready epoch=0 ");
    restarter.signal(libc::SIGHUP);
    let with_check = scene.journal_beside().await_ready(2).len();
    let before = scene.processes().len() - with_check;
    restarter.signal(libc::SIGTERM);
    // The epoch is still there.
    scene.await_processes(before);
    restarter.says("restart-refused: everything is being stopped");
    gate.open();
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert_eq!(scene.journal().writers("signal").len(), 1, "the epoch was asked");
    let heard = scene.journal_beside().writers("signal");
    assert!(heard.is_empty(), "the check was killed and not asked: {heard:?}");
    assert_eq!(restarter.lines(" started "), 1, "{}", restarter.log());
    scene.assert_empty();
}

/// Signals reach the epochs and exits are handled while a check runs.
fn life_during_a_check() {
    let scene = Scene::new();
    let gate = scene.gate();
    let check = scene.beside(&format!("epoch=2 [ catch=all say=checking await={gate} ]"));
    let (restarter, first) = checked(&scene, &check, LISTENER);
    let second = restarted(&scene, &restarter);
    restarter.signal(libc::SIGHUP);
    scene.journal_beside().await_said("checking");
    for signal in [libc::SIGUSR1, 41] {
        restarter.signal(signal);
        for probe in [first, second] {
            scene.journal().await_signal(probe, signal);
        }
    }
    processes::signal(first, libc::SIGTERM);
    restarter.says(" ended epoch=0 ");
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 2, "{}", restarter.log());
    assert!(scene.journal_beside().writers("signal").is_empty(), "it is no epoch");
    gate.open();
    scene.journal().await_ready(3);
    restarter.says(" started epoch=2 ");
    stop_cleanly(&scene, restarter);
}

/// An unexpected exit is one whether a check runs or not, and takes the check with it.
fn end_during_a_check() {
    let scene = Scene::new();
    let check = scene.beside(STAYS);
    let (mut restarter, _) = checked(&scene, &check, "exit-on=USR2:9 wait");
    restarter.signal(libc::SIGHUP);
    scene.journal_beside().await_ready(2);
    restarter.signal(libc::SIGUSR2);
    assert_eq!(restarter.code(), 9, "{}", restarter.log());
    scene.assert_empty();
}

/// Ten of them are one more restart, with a check of its own.
fn hups_during_a_check() {
    let scene = Scene::new();
    let gate = scene.gate();
    let check = scene.beside(&format!("say=checking await={gate}"));
    let (restarter, _) = checked(&scene, &check, SERVER);
    restarter.signal(libc::SIGHUP);
    scene.journal_beside().await_said("checking");
    for _ in 0..10 {
        restarter.signal(libc::SIGHUP);
        restarter.settle();
    }
    assert_eq!(restarter.lines("restart-queued epoch=2: …--check"), 1, "{}", restarter.log());
    gate.open();
    scene.journal().await_ready(3);
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 3, "{}", restarter.log());
    assert_eq!(scene.journal_beside().writers("say").len(), 2, "each has been checked");
    stop_cleanly(&scene, restarter);
}

/// A configuration that was mended while the check of the bad one ran.
fn hup_during_a_bad_check() {
    let scene = Scene::new();
    let (bad, gate) = (scene.place("bad"), scene.gate());
    File::create(&bad).expect("a file in our folder");
    let check = format!("exists={bad} [ say=checking await={gate} exit=4 ]");
    let (restarter, _) = checked(&scene, &scene.beside(&check), SERVER);
    restarter.signal(libc::SIGHUP);
    scene.journal_beside().await_said("checking");
    fs::remove_file(&bad).expect("it is ours");
    restarter.signal(libc::SIGHUP);
    restarter.settle();
    gate.open();
    restarter.says("restart-refused epoch=1: …exited with 4");
    scene.journal().await_ready(2);
    restarter.says(" started epoch=1 ");
    stop_cleanly(&scene, restarter);
}

/// What is left in its group when it has ended goes with it.
fn check_leaves_its_group() {
    let scene = Scene::new();
    let gate = scene.gate();
    let check = format!("fork [ ignore=TERM wait ] fork [ ignore=TERM wait ] await={gate}");
    let (restarter, _) = checked(&scene, &scene.beside(&check), SERVER);
    let before = scene.processes().len();
    restarter.signal(libc::SIGHUP);
    scene.journal_beside().await_ready(2);
    assert_eq!(scene.processes().len(), before + 3, "the check and its children");
    gate.open();
    scene.journal().await_ready(2);
    scene.await_processes(before + 1);
    stop_cleanly(&scene, restarter);
}

/// What has left its group is an orphan like any other: reaped when it ends, told when we stop.
fn check_leaves_an_orphan() {
    let scene = Scene::new();
    let gate = scene.gate();
    let check = format!("repeat=2 [ fork [ setsid exit-on=TERM:0 wait ] ] await={gate}");
    let (restarter, _) = checked(&scene, &scene.beside(&check), SERVER);
    restarter.signal(libc::SIGHUP);
    let orphans = scene.journal_beside().await_ready(2);
    gate.open();
    scene.journal().await_ready(2);
    for orphan in &orphans {
        let parent = processes::process(*orphan).map(|orphan| orphan.parent);
        assert_eq!(parent, Some(restarter.pid()), "it lives, and is ours");
    }
    processes::signal(orphans[0], libc::SIGKILL);
    eventually("it is reaped", || match processes::process(orphans[0]) {
        None => Ok(()),
        seen => Err(seen),
    });
    stop_cleanly(&scene, restarter);
    assert_eq!(scene.journal_beside().signals(orphans[1]), [libc::SIGTERM]);
}
