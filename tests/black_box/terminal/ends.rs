//! The script that started us reads from its terminal again, however we have ended.

use libtest_mimic::Trial;
use support::eventually;
use support::scene::{Restarter, Scene};
use support::terminal::{CTRL_C, Terminal};

use super::{SERVER, on_terminal};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("terminal::ours_again_at_the_end", Needs::Nothing, ours_again_at_the_end),
        trial("terminal::ours_again_at_every_end", Needs::Nothing, at_every_end),
        trial("terminal::ours_again_after_two_epochs", Needs::Nothing, after_two_epochs),
        trial("terminal::ours_again_after_a_shell", Needs::Nothing, after_a_shell),
        trial("terminal::target_that_cannot_start", Needs::Nothing, target_that_cannot_start),
    ]
}

/// A restarter that a script has started, and waits for.
struct Called<'a> {
    scene: &'a Scene,
    terminal: Terminal,
    restarter: Restarter,
}

impl<'a> Called<'a> {
    fn begin(scene: &'a Scene, options: &[&str], target: &[impl AsRef<str>]) -> Self {
        let script = format!("\"$@\"; echo $? > {}; read line; exit 9", scene.place("code"));
        let wrapper = ["sh", "-c", &script, "sh"];
        let (terminal, restarter) = on_terminal(scene, &wrapper, options, target);
        Self { scene, terminal, restarter }
    }

    /// It ends with this code, and its caller reads a line.
    fn ends_with(mut self, expected: i32) {
        let expected = format!("{expected}\n");
        eventually("the restarter has ended", || {
            let code = std::fs::read_to_string(self.scene.path("code")).unwrap_or_default();
            if code == expected { Ok(()) } else { Err((code, self.restarter.log())) }
        });
        assert_eq!(self.terminal.foreground(), self.restarter.outer_pid());
        self.terminal.press("\n");
        assert_eq!(self.restarter.code(), 9);
        self.scene.assert_empty();
    }
}

fn ours_again_at_the_end() {
    let scene = Scene::new();
    let called = Called::begin(&scene, &["--ready", "none"], &scene.probe(SERVER));
    let probe = scene.journal().await_ready(1)[0];
    assert_eq!(called.terminal.foreground(), probe);
    called.restarter.signal(libc::SIGTERM);
    called.ends_with(0);
}

fn at_every_end() {
    let orphan = "fork [ fork [ setsid wait ] ]";
    let cases = [
        // Asked to end.
        ("exit-on=TERM:3 wait", Some(libc::SIGTERM), 0),
        // Killed when the time is over.
        ("ignore=TERM wait", Some(libc::SIGTERM), 1),
        // By itself, well or not.
        ("exit-on=USR2:0 wait", Some(libc::SIGUSR2), 0),
        ("exit-on=USR2:23 wait", Some(libc::SIGUSR2), 23),
        ("die-on=USR2 wait", Some(libc::SIGUSR2), 128 + libc::SIGUSR2),
        // At once.
        ("exit=0", None, 0),
        ("exit=1", None, 1),
        ("die=SEGV", None, 128 + libc::SIGSEGV),
        ("die=KILL", None, 128 + libc::SIGKILL),
    ];
    for (steps, signal, expected) in cases {
        for before in ["", orphan] {
            let scene = Scene::new();
            let options = ["--ready", "none", "--term-wait", "0.3"];
            let steps = format!("{before} {steps}");
            let called = Called::begin(&scene, &options, &scene.probe(&steps));
            if let Some(signal) = signal {
                scene.journal().await_ready(1 + usize::from(!before.is_empty()));
                called.restarter.signal(signal);
            }
            called.ends_with(expected);
        }
    }
    // From outside.
    let scene = Scene::new();
    let called = Called::begin(&scene, &[], &scene.probe(SERVER));
    let probe = scene.journal().await_ready(1)[0];
    support::processes::signal(probe, libc::SIGKILL);
    called.ends_with(128 + libc::SIGKILL);
}

fn after_two_epochs() {
    let cases = [(CTRL_C, 130), ("", 128 + libc::SIGKILL)];
    for (keys, expected) in cases {
        let scene = Scene::new();
        let steps = "exit-on=TERM:0 epoch=1 [ die-on=INT ] wait";
        let mut called = Called::begin(&scene, &["--ready", "none"], &scene.probe(steps));
        scene.journal().await_ready(1);
        called.restarter.signal(libc::SIGHUP);
        let second = scene.journal().await_ready(2)[1];
        called.terminal.await_foreground(second);
        called.terminal.press(keys);
        if keys.is_empty() {
            support::processes::signal(second, libc::SIGKILL);
        }
        called.ends_with(expected);
    }
}

/// A shell that is killed leaves the foreground to its job.
fn after_a_shell() {
    let scene = Scene::new();
    let mut called = Called::begin(&scene, &[], &["sh", "-i"]);
    called.terminal.press(&format!("{}\n", scene.probe_line("ignore=HUP,TERM wait")));
    let job = scene.journal().await_ready(1)[0];
    called.terminal.await_foreground(job);
    let shell = support::processes::process(job).expect("it lives").parent;
    support::processes::signal(shell, libc::SIGKILL);
    called.ends_with(128 + libc::SIGKILL);
}

/// A target takes the foreground before it is executed, so one that cannot be has had it.
fn target_that_cannot_start() {
    let scene = Scene::new();
    Called::begin(&scene, &[], &["/no/such/target"]).ends_with(127);
}
