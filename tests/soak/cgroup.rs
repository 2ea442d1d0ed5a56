//! Control groups of version 1: of how much there is no more for whoever is in one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use support::trial::succeeds;

use crate::ground;

/// Where each controller has a hierarchy of its own.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";
/// How long those in it, who have been killed, may need to leave it.
const BOUND: Duration = Duration::from_secs(20);

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Controller {
    /// How much memory there is, in bytes.
    Memory,
    /// How many processes, threads included.
    Pids,
}

impl Controller {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Memory, Self::Pids];

    /// Where its groups are.
    pub(crate) fn folder(self) -> PathBuf {
        Path::new(ROOT).join(match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
        })
    }

    /// The file of the limit, and what is none.
    fn limit(self) -> (&'static str, &'static str) {
        match self {
            Self::Memory => ("memory.limit_in_bytes", "-1"),
            Self::Pids => ("pids.max", "max"),
        }
    }
}

/// A group with one limit. It goes when nobody is in it any more.
#[derive(Debug)]
pub(crate) struct Cgroup {
    folder: PathBuf,
    controller: Controller,
}

impl Cgroup {
    /// One that nobody is in; `None` where this machine does not let us make it, or has version 2.
    pub(crate) fn new(controller: Controller, name: &str) -> Option<Self> {
        let folder = controller.folder().join(name);
        fs::create_dir(&folder).ok()?;
        // What is made goes with it, should it be none.
        let cgroup = Self { folder, controller };
        cgroup.set(None).then_some(cgroup)
    }

    /// Sets the limit, or ends it; whether the kernel takes it.
    pub(crate) fn set(&self, limit: Option<u64>) -> bool {
        let (file, none) = self.controller.limit();
        let value = limit.map_or_else(|| none.to_owned(), |limit| limit.to_string());
        fs::write(self.folder.join(file), value).is_ok()
    }

    /// How many processes there are.
    pub(crate) fn processes(&self) -> u64 {
        fs::read_to_string(self.entrance()).unwrap_or_default().lines().count() as u64
    }

    /// What a process writes its number to, or 0.
    pub(crate) fn entrance(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// A shell's words by which it enters.
    pub(crate) fn join(&self) -> String {
        format!("echo 0 >{} && ", self.entrance().display())
    }

    /// The number in one of its files.
    pub(crate) fn number(&self, file: &str) -> u64 {
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.trim().parse().unwrap_or_else(|_| panic!("no number in {self:?}, {file}: {text}"))
    }

    /// What follows this word in one of its files; 0 where nothing does.
    pub(crate) fn field(&self, file: &str, name: &str) -> u64 {
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(word, _)| *word == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
    }

    /// Removes it; fails where somebody is in it still.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let why = format!("{}: {error}", self.folder.display());
                Err(io::Error::new(error.kind(), why))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Removed already, if all went well; else those in it have been killed a moment ago.
        let since = Instant::now();
        while self.remove().is_err() && since.elapsed() < BOUND {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Who is in one that is full cannot fork, and the kernel kills who wants more memory than there is.
pub(crate) fn limits_hold() {
    let [memory, pids] = Controller::ALL
        .map(|controller| Cgroup::new(controller, &ground::name("holds")).expect("a group"));
    let does = |group: &Cgroup, what: &str| {
        let script = group.join() + what;
        succeeds(Command::new("sh").args(["-c", &script]))
    };
    let (forks, fills) = ("(:); exit $?", "exec dd if=/dev/zero of=/dev/null bs=64M count=1");
    assert!(does(&pids, forks) && does(&memory, fills), "neither has a limit");
    assert!(pids.set(Some(1)) && memory.set(Some(32 << 20)), "the kernel takes both");
    assert!(!does(&pids, forks), "one more than there may be");
    assert!(!does(&memory, fills), "more than there is");
    assert_eq!(memory.field("memory.oom_control", "oom_kill"), 1, "the kernel counts it");
}
