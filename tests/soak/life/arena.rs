//! Where lives take place, one after the other: what they share, and what is taken down at the end.

use std::io;
use std::path::PathBuf;

pub(super) use crate::cgroup::Cgroup;
use crate::cgroup::Controller;
use crate::disk::Disk;
use crate::ground;
use crate::kernel::{Instance, Tracing};

/// An arena. All of it goes with it.
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
    mounted: Disk,
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
        let name = ground::name(number);
        let mounted = Disk::new(std::env::temp_dir().join(format!("disk-{number}")))?;
        Ok(Self {
            program,
            keeps,
            record: tracing.map(|tracing| tracing.instance(&name)).transpose()?,
            disk: Some(mounted.place().to_owned()),
            pids: Cgroup::new(Controller::Pids, &name),
            memory: Cgroup::new(Controller::Memory, &name),
            mounted,
        })
    }

    /// Takes everything down; what would not go.
    pub(crate) fn close(self) -> Vec<String> {
        let groups = [&self.pids, &self.memory].into_iter().flatten().map(Cgroup::remove);
        let removed = std::iter::once(self.mounted.remove()).chain(groups);
        removed.filter_map(Result::err).map(|error| error.to_string()).collect()
    }
}
