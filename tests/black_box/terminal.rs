//! Who is in the foreground of a terminal, and whom Ctrl-C reaches.

use libtest_mimic::Trial;
use support::inherit::Inherit;
use support::scene::{Restarter, Scene};
use support::terminal::{CTRL_C, CTRL_Z, Terminal};
use support::{eventually, namespace, processes};

use crate::needs::{Needs, trial};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("terminal::newest_is_in_the_foreground", Needs::Nothing, newest_in_foreground),
        trial("terminal::ours_again_at_the_end", Needs::Nothing, ours_again_at_the_end),
        trial("terminal::target_that_cannot_start", Needs::Nothing, target_that_cannot_start),
        trial("terminal::failed_restart_gives_it_back", Needs::Nothing, failed_restart),
        trial("terminal::programs_beside_leave_it", Needs::Nothing, programs_beside),
        trial("terminal::refused_restart_keeps_it", Needs::Nothing, refused_restart),
        trial("terminal::ctrl_c", Needs::Nothing, ctrl_c),
        trial("terminal::ctrl_c_with_two_epochs", Needs::Nothing, ctrl_c_with_two_epochs),
        trial("terminal::ctrl_z_as_a_job", Needs::Nothing, ctrl_z_as_a_job),
        trial("terminal::ctrl_z_without_a_shell", Needs::Nothing, ctrl_z_without_a_shell),
        trial("terminal::background", Needs::Nothing, background),
        trial("terminal::shell_with_job_control", Needs::Nothing, shell_with_job_control),
        trial("terminal::as_pid_1", Needs::Namespace, as_pid_1),
        trial("terminal::of_another_session", Needs::Nothing, of_another_session),
    ]
}

const SERVER: &str = "report exit-on=TERM:0 wait";

/// A restarter whose controlling terminal is on its standard input.
fn on_terminal(
    scene: &Scene,
    wrapper: &[&str],
    options: &[&str],
    target: &[impl AsRef<str>],
) -> (Terminal, Restarter) {
    let (terminal, programs) = Terminal::open();
    let setup = scene.wrapped_restarter(wrapper, options, target).with(|command| {
        command.on_terminal(programs);
    });
    (terminal, setup.start())
}

fn stop_cleanly(scene: &Scene, mut restarter: Restarter) {
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    scene.assert_empty();
}

fn newest_in_foreground() {
    let scene = Scene::new();
    let (terminal, restarter) =
        on_terminal(&scene, &[], &["--ready", "none"], &scene.probe(SERVER));
    for epoch in 0..3 {
        if epoch > 0 {
            restarter.signal(libc::SIGHUP);
        }
        let probe = scene.journal().await_ready(epoch + 1)[epoch];
        // At its first instruction.
        assert_eq!(scene.journal().await_report(probe).text("foreground"), "yes");
        assert_eq!(terminal.foreground(), probe);
    }
    stop_cleanly(&scene, restarter);
}

/// A shell that waits for us reads from its terminal again.
fn ours_again_at_the_end() {
    let scene = Scene::new();
    let code = scene.place("code");
    let script = format!("\"$@\"; echo $? > {code}; read line; exit 9");
    let wrapper = ["sh", "-c", &script, "sh"];
    let (mut terminal, mut restarter) =
        on_terminal(&scene, &wrapper, &["--ready", "none"], &scene.probe(SERVER));
    let probe = scene.journal().await_ready(1)[0];
    assert_eq!(terminal.foreground(), probe);
    restarter.signal(libc::SIGTERM);
    eventually("the restarter has ended", || {
        let code = std::fs::read_to_string(&code).unwrap_or_default();
        if code == "0\n" { Ok(()) } else { Err(code) }
    });
    assert_eq!(terminal.foreground(), restarter.outer_pid());
    terminal.press("\n");
    assert_eq!(restarter.code(), 9);
}

/// A target takes the foreground before it is executed, so one that cannot be has had it.
fn target_that_cannot_start() {
    let scene = Scene::new();
    let code = scene.place("code");
    let script = format!("\"$@\"; echo $? > {code}; read line; exit 9");
    let wrapper = ["sh", "-c", &script, "sh"];
    let (mut terminal, mut restarter) = on_terminal(&scene, &wrapper, &[], &["/no/such/target"]);
    eventually("the restarter has ended", || {
        let code = std::fs::read_to_string(&code).unwrap_or_default();
        if code == "127\n" { Ok(()) } else { Err(code) }
    });
    terminal.press("\n");
    assert_eq!(restarter.code(), 9);
}

fn failed_restart() {
    let rollback = ["--rollback", "--ready-timeout", "2"];
    let cases = [
        (&[][..], "exit=0"),
        (&rollback, "exit=1"),
        (&rollback, "die=SEGV"),
        (&rollback, "sleep=99999"),
    ];
    for (options, end) in cases {
        let scene = Scene::new();
        let steps = format!("exit-on=TERM:0 report epoch=1 [ {end} ] wait");
        let ready = format!("exec:test -e {}", scene.place("ready-$(RESTART_EPOCH)"));
        let options = [options, &["--ready", &ready]].concat();
        let (terminal, restarter) = on_terminal(&scene, &[], &options, &scene.probe(&steps));
        let first = scene.journal().await_ready(1)[0];
        std::fs::write(scene.path("ready-0"), "").expect("a file in our folder");
        restarter.says(" ready epoch=0 ");
        restarter.signal(libc::SIGHUP);
        let second = scene.journal().await_writers("reported", 2)[1];
        assert_eq!(scene.journal().await_report(second).text("foreground"), "yes", "{end}");
        restarter.says("restart-failed epoch=1");
        terminal.await_foreground(first);
        stop_cleanly(&scene, restarter);
    }
}

/// Neither a check nor a probe takes it, however long they stay.
fn programs_beside() {
    let scene = Scene::new();
    let gate = scene.gate();
    let check = scene.beside(&format!("report say=checking await={gate}"));
    let probe = format!("exec:{}", scene.beside("exit=0"));
    let options = ["--check", &check, "--ready", &probe];
    let (terminal, restarter) = on_terminal(&scene, &[], &options, &scene.probe(SERVER));
    let first = scene.journal().await_ready(1)[0];
    restarter.says(" ready epoch=0 ");
    assert_eq!(terminal.foreground(), first);
    restarter.signal(libc::SIGHUP);
    let check = scene.journal_beside().await_said("checking");
    assert_eq!(scene.journal_beside().await_report(check).text("foreground"), "none");
    restarter.settle();
    assert_eq!(terminal.foreground(), first);
    stop_cleanly(&scene, restarter);
}

fn refused_restart() {
    let scene = Scene::new();
    let serves = format!("#!/bin/sh\nexec {}\n", scene.probe_line(SERVER));
    let target = scene.script("target", &serves);
    let (terminal, restarter) = on_terminal(&scene, &[], &["--ready", "none"], &[&target]);
    let first = scene.journal().await_ready(1)[0];
    std::fs::remove_file(&target).expect("the script is ours");
    restarter.signal(libc::SIGHUP);
    restarter.says("restart-refused");
    terminal.await_foreground(first);
    stop_cleanly(&scene, restarter);
}

fn ctrl_c() {
    let cases = [
        ("die-on=INT wait", 130),
        ("default=INT wait", 130),
        ("exit-on=INT:0 wait", 0),
        ("exit-on=INT:3 wait", 3),
    ];
    for (steps, expected) in cases {
        let scene = Scene::new();
        let (mut terminal, mut restarter) = on_terminal(&scene, &[], &[], &scene.probe(steps));
        scene.journal().await_ready(1);
        terminal.press(CTRL_C);
        assert_eq!(restarter.code(), expected, "{steps}: {}", restarter.log());
        scene.assert_empty();
    }
}

/// It reaches the newest epoch; the older one is stopped in order.
fn ctrl_c_with_two_epochs() {
    for (newest, expected) in [("die-on=INT", 130), ("exit-on=INT:0", 0)] {
        let scene = Scene::new();
        let steps = format!("exit-on=TERM:0 epoch=0 [ catch=INT ] epoch=1 [ {newest} ] wait");
        let options = ["--ready", "none"];
        let (mut terminal, mut restarter) =
            on_terminal(&scene, &[], &options, &scene.probe(&steps));
        let first = scene.journal().await_ready(1)[0];
        restarter.signal(libc::SIGHUP);
        let second = scene.journal().await_ready(2)[1];
        terminal.press(CTRL_C);
        assert_eq!(restarter.code(), expected, "{newest}: {}", restarter.log());
        assert_eq!(scene.journal().signals(first), [libc::SIGTERM]);
        assert_eq!(scene.journal().signals(second), [libc::SIGINT]);
        scene.assert_empty();
    }
}

/// A shell with job control has put us into the background: the terminal is not ours to give.
fn background() {
    let scene = Scene::new();
    let script = "set -m; \"$@\" & wait $!";
    let wrapper = ["sh", "-c", script, "sh"];
    let (terminal, mut restarter) =
        on_terminal(&scene, &wrapper, &["--ready", "none"], &scene.probe(SERVER));
    let shell = restarter.outer_pid();
    for epoch in 0..2 {
        if epoch > 0 {
            restarter.signal(libc::SIGHUP);
        }
        let probe = scene.journal().await_ready(epoch + 1)[epoch];
        assert_eq!(scene.journal().await_report(probe).text("foreground"), "no");
        assert_eq!(terminal.foreground(), shell);
    }
    restarter.settle();
    let state = processes::process(restarter.pid()).map(|process| process.state);
    assert_ne!(state, Some('T'), "nor are we stopped for touching it");
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert_eq!(scene.journal().entries().iter().filter(|entry| entry.word == "signal").count(), 2);
    scene.assert_empty();
}

/// `docker run -it IMAGE sh`: jobs come to the foreground and go from it as the shell says.
fn shell_with_job_control() {
    let scene = Scene::new();
    let (mut terminal, mut restarter) = on_terminal(&scene, &[], &[], &["sh", "-i"]);
    let shell = eventually("the shell is in the foreground", || {
        let children = processes::children(restarter.pid());
        let foreground = terminal.foreground();
        let shell = children.iter().find(|child| child.pid == foreground && child.name == "sh");
        shell.map(|shell| shell.pid).ok_or((foreground, children.clone()))
    });
    terminal.press(&format!("{}\n", scene.probe_line("die-on=INT wait")));
    let job = scene.journal().await_ready(1)[0];
    terminal.await_foreground(job);
    // The foreground is a job's, so a restart leaves it alone.
    restarter.says(" ready epoch=0 ");
    restarter.signal(libc::SIGHUP);
    restarter.says(" started epoch=1 ");
    assert_eq!(terminal.foreground(), job);
    terminal.press(CTRL_C);
    scene.journal().await_signal(job, libc::SIGINT);
    terminal.await_foreground(shell);
    terminal.press("exit 7\n");
    assert_eq!(restarter.code(), 7, "{}", restarter.log());
    scene.assert_empty();
}

/// Ctrl-Z suspends the job that we are for a shell, and its `fg` resumes it.
fn ctrl_z_as_a_job() {
    let scene = Scene::new();
    let (suspended, ended) = (scene.place("suspended"), scene.place("ended"));
    let script = format!("\"$@\"; echo $? > {suspended}; fg; echo $? > {ended}");
    let wrapper = ["sh", "-m", "-c", &script, "sh"];
    let (mut terminal, mut restarter) = on_terminal(&scene, &wrapper, &[], &scene.probe(SERVER));
    let probe = scene.journal().await_ready(1)[0];
    terminal.await_foreground(probe);
    let pid = restarter.pid();
    terminal.press(CTRL_Z);
    eventually("the shell goes on", || {
        let code = std::fs::read_to_string(&suspended).unwrap_or_default();
        let expected = format!("{}\n", 128 + libc::SIGSTOP);
        if code == expected { Ok(()) } else { Err((code, restarter.log())) }
    });
    terminal.await_foreground(probe);
    processes::signal(pid, libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert_eq!(std::fs::read_to_string(&ended).expect("the shell has gone on"), "0\n");
    scene.assert_empty();
}

/// Where no shell could resume it a server does not stay stopped.
fn ctrl_z_without_a_shell() {
    let scene = Scene::new();
    let (mut terminal, restarter) = on_terminal(&scene, &[], &[], &scene.probe(SERVER));
    let probe = scene.journal().await_ready(1)[0];
    terminal.await_foreground(probe);
    terminal.press(CTRL_Z);
    restarter.says("resumed");
    eventually("the epoch goes on", || match processes::process(probe) {
        Some(process) if process.state != 'T' => Ok(()),
        seen => Err(seen),
    });
    stop_cleanly(&scene, restarter);
}

/// As `docker run -it` does it: PID 1 leads the terminal's session.
fn as_pid_1() {
    let scene = Scene::new();
    let (mut terminal, programs) = Terminal::open();
    let wrapper = [namespace::wrapper(), &["setsid", "--ctty"]].concat();
    let steps = "exit-on=TERM:0 report epoch=1 [ die-on=INT ] wait";
    let mut restarter = scene
        .wrapped_restarter(&wrapper, &["--ready", "none"], &scene.probe(steps))
        .with(|command| {
            command.stdin(programs);
        })
        .start();
    let first = scene.journal().await_ready(1)[0];
    restarter.signal(libc::SIGHUP);
    let second = scene.journal().await_ready(2)[1];
    for probe in [first, second] {
        assert_eq!(scene.journal().await_report(probe).text("foreground"), "yes");
        assert_eq!(scene.journal().await_report(probe).number("sid"), 1);
    }
    terminal.press(CTRL_C);
    assert_eq!(restarter.code(), 130, "{}", restarter.log());
    assert_eq!(scene.journal().signals(first), [libc::SIGTERM]);
    scene.assert_empty();
}

/// A terminal on standard input that controls another session is not ours.
fn of_another_session() {
    let scene = Scene::new();
    let (_terminal, programs) = Terminal::open();
    let restarter = scene
        .restarter(&["--ready", "none"], &scene.probe(SERVER))
        .with(|command| {
            command.stdin(programs);
        })
        .start();
    let probe = scene.journal().await_ready(1)[0];
    assert_eq!(scene.journal().await_report(probe).text("foreground"), "none");
    stop_cleanly(&scene, restarter);
}
