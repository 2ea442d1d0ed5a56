//! Who is in the foreground of a terminal, and whom Ctrl-C reaches.

mod docker;
mod ends;
mod jobs;

use libtest_mimic::Trial;
use support::inherit::Inherit;
use support::scene::{Restarter, Scene};
use support::terminal::{CTRL_C, Terminal};
use support::{eventually, namespace};

use crate::needs::{Needs, trial};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let own = vec![
        trial("terminal::newest_is_in_the_foreground", Needs::Nothing, newest_in_foreground),
        trial("terminal::failed_restart_gives_it_back", Needs::Nothing, failed_restart),
        trial("terminal::programs_beside_leave_it", Needs::Nothing, programs_beside),
        trial("terminal::refused_restart_keeps_it", Needs::Nothing, refused_restart),
        trial("terminal::ctrl_c", Needs::Nothing, ctrl_c),
        trial("terminal::ctrl_c_with_two_epochs", Needs::Nothing, ctrl_c_with_two_epochs),
        trial("terminal::as_pid_1", Needs::Namespace, as_pid_1),
        trial("terminal::of_another_session", Needs::Nothing, of_another_session),
        trial("terminal::window_size", Needs::Nothing, window_size),
    ];
    [own, ends::trials(), jobs::trials(), docker::trials()].into_iter().flatten().collect()
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

/// A target that writes down the size of its window whenever that changes.
fn measuring(scene: &Scene) -> [String; 3] {
    let (size, ready) = (scene.place("size"), scene.place("ready"));
    let script = format!(
        "trap 'stty size > {size}-$RESTART_EPOCH' WINCH; sleep 99999 & \
         touch {ready}-$RESTART_EPOCH; while :; do wait $!; done"
    );
    ["sh".to_owned(), "-c".to_owned(), script]
}

/// Whenever the window changes, the newest epoch is told.
fn await_sizes(scene: &Scene, terminal: &Terminal, restart: impl FnOnce()) {
    let await_there = |name: &str| eventually(name, || scene.path(name).metadata().map(drop));
    let await_size = |epoch: u32, rows: u16| {
        let file = scene.path(&format!("size-{epoch}"));
        // Again and again, since a docker client that is about to listen to its terminal misses a
        // change; the columns do not matter.
        let mut columns = (100..=101).cycle();
        let mut looks = 0;
        eventually(&format!("epoch {epoch} knows the size"), || {
            if looks % 200 == 0 {
                terminal.resize(rows, columns.next().expect("there is always one more"));
            }
            looks += 1;
            let size = std::fs::read_to_string(&file).unwrap_or_default();
            if size.starts_with(&format!("{rows} ")) { Ok(()) } else { Err(size) }
        });
    };
    await_there("ready-0");
    await_size(0, 31);
    restart();
    await_there("ready-1");
    await_size(1, 32);
    await_size(1, 33);
}

fn window_size() {
    let scene = Scene::new();
    let options = ["--ready", "none"];
    let (terminal, restarter) = on_terminal(&scene, &[], &options, &measuring(&scene));
    await_sizes(&scene, &terminal, || restarter.signal(libc::SIGHUP));
    let size = std::fs::read_to_string(scene.path("size-0")).expect("it was told");
    assert!(size.starts_with("31 "), "the older epoch has no terminal any more: {size}");
    stop_cleanly(&scene, restarter);
}
