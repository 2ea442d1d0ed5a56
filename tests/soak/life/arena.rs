//! Where lives take place, one after the other: what they share, and what is taken down at the end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::kernel::{Instance, Tracing};

/// An arena.
#[derive(Debug)]
pub(crate) struct Arena {
    /// Who is under test.
    pub(super) program: String,
    /// What is known of a life that broke a promise is kept in files.
    pub(super) keeps: bool,
    pub(super) record: Option<Instance>,
    /// A disk that is soon full.
    pub(super) disk: Option<PathBuf>,
    pub(super) pids: Option<Cgroup>,
    pub(super) memory: Option<Cgroup>,
}

impl Arena {
    /// One of its own, with all that this machine has.
    pub(crate) fn new(number: usize, tracing: Option<&Tracing>) -> io::Result<Self> {
        let program = support::restarter().to_str().expect("its path is text").to_owned();
        Self::of(program, true, &number.to_string(), tracing)
    }

    /// One for somebody who breaks promises.
    pub(crate) fn of_breaker(program: String, tracing: Option<&Tracing>) -> io::Result<Self> {
        Self::of(program, false, "breaker", tracing)
    }

    fn of(
        program: String,
        keeps: bool,
        number: &str,
        tracing: Option<&Tracing>,
    ) -> io::Result<Self> {
        let name = format!("soak-{}-{number}", std::process::id());
        let record = tracing.map(|tracing| tracing.instance(&name)).transpose()?;
        let disk = std::env::temp_dir().join(&name);
        fs::create_dir_all(&disk)?;
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", "size=64k,mode=1777", "soak"]).arg(&disk);
        let mounted = mount.stderr(Stdio::null()).status()?.success();
        if !mounted {
            fs::remove_dir(&disk)?;
        }
        Ok(Self {
            program,
            keeps,
            record,
            disk: mounted.then_some(disk),
            pids: Cgroup::new("pids", &name),
            memory: Cgroup::new("memory", &name),
        })
    }

    /// Takes everything down; what would not go.
    pub(crate) fn close(self) -> Vec<String> {
        let mut left = Vec::new();
        drop(self.record);
        if let Some(disk) = self.disk {
            let gone = Command::new("umount").arg(&disk).status().is_ok_and(|gone| gone.success());
            if !gone || fs::remove_dir(&disk).is_err() {
                left.push(format!("{} is still there", disk.display()));
            }
        }
        for cgroup in [self.pids, self.memory].into_iter().flatten() {
            if let Err(error) = fs::remove_dir(&cgroup.folder) {
                left.push(format!("{}: {error}", cgroup.folder.display()));
            }
        }
        left
    }
}

/// A cgroup with one limit.
#[derive(Debug)]
pub(super) struct Cgroup {
    folder: PathBuf,
    /// The file of its limit.
    limit: &'static str,
    /// What is no limit.
    none: &'static str,
}

impl Cgroup {
    /// Where version 1 has this controller, or version 2 hands it on.
    fn new(controller: &str, name: &str) -> Option<Self> {
        let first = Path::new("/sys/fs/cgroup").join(controller);
        let (parent, limit, none) = match (first.exists(), controller) {
            (true, "pids") => (first, "pids.max", "max"),
            (true, _) => (first, "memory.limit_in_bytes", "-1"),
            (false, "pids") => (PathBuf::from("/sys/fs/cgroup"), "pids.max", "max"),
            (false, _) => (PathBuf::from("/sys/fs/cgroup"), "memory.max", "max"),
        };
        let folder = parent.join(name);
        fs::create_dir(&folder).ok()?;
        let cgroup = Self { folder, limit, none };
        if cgroup.set(None) {
            return Some(cgroup);
        }
        let _ = fs::remove_dir(&cgroup.folder);
        None
    }

    /// Sets the limit, or ends it.
    pub(super) fn set(&self, limit: Option<u64>) -> bool {
        let value = limit.map_or_else(|| self.none.to_owned(), |limit| limit.to_string());
        fs::write(self.folder.join(self.limit), value).is_ok()
    }

    /// How many processes there are.
    pub(super) fn processes(&self) -> u64 {
        let list = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        list.lines().count() as u64
    }

    /// What a process writes its number to.
    pub(super) fn entrance(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }
}
