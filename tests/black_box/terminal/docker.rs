//! `docker run --interactive --tty`, with the docker client on a terminal of ours.

use std::process::Child;

use libtest_mimic::Trial;
use support::docker::{Container, Run, images};
use support::inherit::Inherit;
use support::scene::Scene;
use support::terminal::{CTRL_C, CTRL_Z, Terminal, Watched};
use support::{eventually, probe};

use super::{await_sizes, measuring};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("docker::terminal_ctrl_c", Needs::Docker, ctrl_c),
        trial("docker::terminal_ctrl_c_with_two_epochs", Needs::Docker, ctrl_c_with_two_epochs),
        trial("docker::terminal_window_size", Needs::Docker, window_size),
        trial("docker::terminal_shell_with_job_control", Needs::Docker, shell_with_job_control),
    ]
}

/// What the shells of these trials print when they have nothing to do.
const PROMPT: &str = "what-now? ";

/// A container on a terminal.
struct Attached {
    terminal: Terminal,
    screen: Watched,
    client: Child,
    container: Container,
}

impl Attached {
    /// The scene's folder and the probe are in the container where they are outside.
    fn begin(scene: &Scene, image: &str, arguments: &[impl AsRef<str>]) -> Self {
        let here = |path: &std::path::Path| path.to_str().expect("a path of ours").to_owned();
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let (container, words) = Run::of(image)
            .options(&["--network=none", "--user=0", "--entrypoint=/hot-restarter"])
            .variable("HOT_RESTARTER_ROLLBACK", "")
            .variable("HOT_RESTARTER_CHECK", "")
            .variable("HOT_RESTARTER_READY", "none")
            .variable("PS1", PROMPT)
            .mount(scene.folder(), &here(scene.folder()))
            .mount(&probe(), &here(&probe()))
            .arguments(&arguments)
            .on_terminal();
        let (terminal, programs) = Terminal::open();
        terminal.resize(24, 80);
        let screen = terminal.watched();
        let errors = programs.try_clone().expect("a copy of a descriptor");
        let client = scene.command(&words).on_terminal(programs).stderr(errors).spawn();
        Self { terminal, screen, client: client.expect("the docker client runs"), container }
    }

    /// The exit code as client and engine have it.
    fn ends_with(mut self, expected: i32) {
        let status = eventually("the docker client ends", || match self.client.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err((other.is_ok(), self.screen.text())),
        });
        assert_eq!(status.code(), Some(expected), "{}", self.screen.text());
        assert_eq!(self.container.wait(), expected);
    }
}

fn ctrl_c() {
    for (steps, expected) in [
        ("die-on=INT wait", 130),
        ("default=INT wait", 130),
        ("exit-on=INT:0 wait", 0),
        ("exit-on=INT:3 wait", 3),
    ] {
        let scene = Scene::new();
        let mut attached = Attached::begin(&scene, &images().restarter, &scene.probe(steps));
        scene.journal().await_ready(1);
        attached.terminal.press(CTRL_C);
        attached.ends_with(expected);
    }
}

fn ctrl_c_with_two_epochs() {
    let scene = Scene::new();
    let steps = "exit-on=TERM:0 report epoch=0 [ catch=INT ] epoch=1 [ die-on=INT ] wait";
    let mut attached = Attached::begin(&scene, &images().restarter, &scene.probe(steps));
    let first = scene.journal().await_ready(1)[0];
    attached.container.kill("HUP");
    let second = scene.journal().await_ready(2)[1];
    for epoch in [first, second] {
        assert_eq!(scene.journal().await_report(epoch).text("foreground"), "yes");
    }
    attached.terminal.press(CTRL_C);
    attached.ends_with(130);
    assert_eq!(scene.journal().signals(first), [libc::SIGTERM]);
    assert_eq!(scene.journal().signals(second), [libc::SIGINT]);
}

/// The client passes the size on to the container's terminal, whose foreground is told by the
/// kernel. Some clients send SIGWINCH to PID 1 as well, and then it is forwarded to every epoch.
fn window_size() {
    let scene = Scene::new();
    let attached = Attached::begin(&scene, &images().shell, &measuring(&scene));
    await_sizes(&scene, &attached.terminal, || attached.container.kill("HUP"));
    assert_eq!(attached.container.stop(), 0);
    attached.ends_with(0);
}

fn shell_with_job_control() {
    let scene = Scene::new();
    let mut attached = Attached::begin(&scene, &images().shell, &["sh", "-i"]);
    let prompts = |attached: &Attached, times| attached.screen.await_times(PROMPT, times);
    prompts(&attached, 1);
    let job = scene.probe_line("report catch=CONT die-on=INT wait");
    attached.terminal.press(&format!("{job}\n"));
    let job = scene.journal().await_ready(1)[0];
    assert_eq!(scene.journal().await_report(job).text("foreground"), "yes");
    attached.terminal.press(CTRL_Z);
    prompts(&attached, 2);
    attached.terminal.press("fg\n");
    scene.journal().await_signal(job, libc::SIGCONT);
    attached.terminal.press(CTRL_C);
    scene.journal().await_signal(job, libc::SIGINT);
    prompts(&attached, 3);
    attached.terminal.press("exit 7\n");
    attached.ends_with(7);
}
