//! Who is tried: we, and what Debian packages.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};

use support::scene::Scene;
use support::{eventually, processes, restarter};

/// An init with its options. Of each program only what its own tests try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "dumb-init is called so")]
pub(super) enum Init {
    Ours,
    /// Neither a subreaper nor for groups, as tini is by default.
    Tini,
    /// With `-s`, as a subreaper.
    TiniSubreaper,
    /// With `-g`, which signals the child's group.
    TiniGroup,
    /// In a session of the child's own, all of which it signals.
    DumbInit,
    /// With `--single-child`.
    DumbInitSingle,
    Catatonit,
    /// With `-g`, which signals the child's group.
    CatatonitGroup,
}

impl Init {
    /// One of each program.
    pub(super) const PROGRAMS: [Self; 4] =
        [Self::Ours, Self::TiniSubreaper, Self::DumbInit, Self::Catatonit];

    /// The words before those of its target.
    fn words(self) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Ours => {
                return vec![restarter().to_str().expect("our path is text").to_owned()];
            }
            Self::Tini => &["tini-static"],
            Self::TiniSubreaper => &["tini-static", "-s"],
            Self::TiniGroup => &["tini-static", "-s", "-g"],
            Self::DumbInit => &["dumb-init"],
            Self::DumbInitSingle => &["dumb-init", "--single-child"],
            Self::Catatonit => &["catatonit"],
            Self::CatatonitGroup => &["catatonit", "-g"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// A command that executes it with these words, by other programs first if need be. Without
    /// `--` before its target tini takes what looks like an option for its own.
    pub(super) fn command(
        self,
        scene: &Scene,
        wrapper: &[&str],
        words: &[impl AsRef<str>],
    ) -> Command {
        let wrapper = wrapper.iter().map(|word| (*word).to_owned());
        let words = words.iter().map(|word| word.as_ref().to_owned());
        let all: Vec<String> = wrapper.chain(self.words()).chain(words).collect();
        let mut command = scene.command(&all);
        command.stderr(File::create(scene.path("log")).expect("a log in our folder"));
        if self == Self::Ours {
            // Each is ready at once, and nobody asks.
            command.env("HOT_RESTARTER_CONTROL", "none").env("HOT_RESTARTER_READY", "none");
        }
        command
    }

    /// A command that executes it with this target.
    pub(super) fn over(self, scene: &Scene, target: &[impl AsRef<str>]) -> Command {
        let target = target.iter().map(AsRef::as_ref);
        self.command(scene, &[], &["--"].into_iter().chain(target).collect::<Vec<_>>())
    }

    /// Starts it over a probe.
    pub(super) fn start(self, scene: &Scene, steps: &str) -> Running {
        Running::of(self.over(scene, &scene.probe(steps)))
    }

    /// Starts it over a probe that does these steps and waits, and waits for that; with the probe.
    pub(super) fn serving(self, scene: &Scene, steps: &str) -> (Running, i32) {
        let running = self.start(scene, &format!("{steps} wait"));
        let probe = scene.journal().await_ready(1)[0];
        (running, probe)
    }

    /// Its exit code over a probe.
    pub(super) fn code(self, steps: &str) -> i32 {
        let scene = Scene::new();
        self.start(&scene, steps).code()
    }
}

/// What we block and never read, which is as good as ignoring it.
const BLOCKED_FOR_EVER: [i32; 6] =
    [libc::SIGTTIN, libc::SIGTTOU, libc::SIGPIPE, libc::SIGXFSZ, 32, 33];

/// An init that runs. It is killed when this goes.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    status: Option<ExitStatus>,
}

impl Running {
    /// What this command starts.
    pub(super) fn of(mut command: Command) -> Self {
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, status: None }
    }

    /// Its process, or that of what wraps it.
    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid is an int")
    }

    /// Whether it has ended by now.
    pub(super) fn ended(&mut self) -> Option<i32> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("it is our child");
        }
        let code = |status: ExitStatus| status.code().or(status.signal().map(|it| -it));
        self.status.and_then(code)
    }

    /// Waits for its end: its exit code, or the signal that ended it, below 0.
    pub(super) fn code(&mut self) -> i32 {
        eventually("the init has ended", || self.ended().ok_or(self.pid()))
    }

    /// Sends it a signal, and waits until it has taken it in, been ended or been stopped by it.
    pub(super) fn signal(&mut self, signal: i32) {
        assert!(processes::signal(self.pid(), signal), "the init is gone");
        eventually(&format!("signal {signal} is taken in"), || {
            let waits = waiting_signals(self.pid()) & 1 << (signal - 1) != 0;
            let waits = waits && !BLOCKED_FOR_EVER.contains(&signal);
            if waits && self.ended().is_none() { Err(self.state()) } else { Ok(()) }
        });
    }

    /// The letter of its state; `None` when it is gone.
    pub(super) fn state(&self) -> Option<char> {
        processes::process(self.pid()).map(|process| process.state)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _: io::Result<()> = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The signals that wait to be taken in by a process, as the kernel's set.
fn waiting_signals(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let set = |field: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        u64::from_str_radix(value.trim(), 16).unwrap_or(0)
    };
    set("SigPnd:") | set("ShdPnd:")
}
