//! Beside a shell with job control: as its target's parent, and as its job.

use libtest_mimic::Trial;
use support::inherit::Inherit;
use support::scene::Scene;
use support::terminal::{CTRL_C, CTRL_Z, Terminal};
use support::{eventually, processes};

use super::{SERVER, on_terminal, stop_cleanly};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("terminal::ctrl_z_as_a_job", Needs::Nothing, ctrl_z_as_a_job),
        trial("terminal::ctrl_z_without_a_shell", Needs::Nothing, ctrl_z_without_a_shell),
        trial("terminal::background", Needs::Nothing, background),
        trial("terminal::background_of_a_person", Needs::Nothing, background_of_a_person),
        trial("terminal::shell_with_job_control", Needs::Nothing, shell_with_job_control),
    ]
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
    terminal.press(&format!("{}\n", scene.probe_line("catch=CONT die-on=INT wait")));
    let job = scene.journal().await_ready(1)[0];
    terminal.await_foreground(job);
    terminal.press(CTRL_Z);
    terminal.await_foreground(shell);
    assert_eq!(processes::process(job).map(|job| job.state), Some('T'));
    terminal.press("fg\n");
    terminal.await_foreground(job);
    scene.journal().await_signal(job, libc::SIGCONT);
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

/// Somebody types `hot-restarter … &` and goes on working.
fn background_of_a_person() {
    let scene = Scene::new();
    let (mut terminal, programs) = Terminal::open();
    let screen = terminal.watched();
    let setup = scene.restarter(&["--ready", "none"], &scene.probe(SERVER));
    let words = [setup.command.get_program()].into_iter().chain(setup.command.get_args());
    let words: Vec<String> = words.map(|word| format!("'{}'", word.display())).collect();
    let errors = programs.try_clone().expect("a copy of a descriptor");
    let shell = scene.command(&["sh", "-i"]).on_terminal(programs).stderr(errors).spawn();
    let mut shell = shell.expect("a shell");
    let number = i32::try_from(shell.id()).expect("a pid is an int");
    let typed = |terminal: &mut Terminal, line: &str| {
        terminal.press(&format!("{line}\n"));
        let done = scene.place("done");
        terminal.press(&format!("touch {done}\n"));
        eventually("the shell does what it is told", || std::fs::remove_file(&done));
    };
    let log = scene.place("log");
    typed(&mut terminal, &format!("{} 2> {log} &", words.join(" ")));
    let first = scene.journal().await_ready(1)[0];
    let restarter = processes::process(first).expect("it lives").parent;
    typed(&mut terminal, &format!("kill -HUP {restarter}"));
    let second = scene.journal().await_ready(2)[1];
    for epoch in [first, second] {
        assert_eq!(scene.journal().await_report(epoch).text("foreground"), "no");
    }
    terminal.await_foreground(number);
    let lives = |pid| processes::process(pid).is_some_and(|process| process.state != 'T');
    assert!([restarter, first, second].into_iter().all(lives), "nobody is stopped");

    // In the foreground again Ctrl-C is ours, and a clean stop.
    terminal.press("fg\n");
    eventually("the shell has lent the terminal", || match terminal.foreground() {
        shell if shell == number => Err(screen.text()),
        _ => Ok(()),
    });
    terminal.press(CTRL_C);
    terminal.await_foreground(number);
    terminal.press("exit $?\n");
    let status = eventually("the shell ends", || match shell.try_wait() {
        Ok(Some(status)) => Ok(status),
        other => Err((other.is_ok(), screen.text())),
    });
    assert_eq!(status.code(), Some(0), "{}", screen.text());
    for epoch in [first, second] {
        assert_eq!(scene.journal().signals(epoch), [libc::SIGTERM]);
    }
    scene.assert_empty();
}
