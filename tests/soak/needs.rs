//! What a trial needs of the machine, by name; lives do without it, and say so.

use libtest_mimic::Trial;
use support::{namespace, trial};

use crate::cgroup::{Cgroup, Controller};
use crate::ground;
use crate::kernel::Tracing;

/// What the machine must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// To be root, with leave to make PID namespaces and to mount things.
    Root,
    /// The same, and the kernel's own record.
    Tracefs,
    /// The same as the first, and control groups of version 1 for memory and for processes.
    Cgroups,
}

impl Needs {
    /// What the report calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Tracefs => "root-and-tracefs",
            Self::Cgroups => "root-and-cgroups-v1",
        }
    }

    /// Whether the machine has it.
    pub(crate) fn met(self) -> bool {
        let of = |controller| Cgroup::new(controller, &ground::name("try")).is_some();
        namespace::privileged()
            && match self {
                Self::Root => true,
                Self::Tracefs => Tracing::possible(),
                Self::Cgroups => Controller::ALL.into_iter().all(of),
            }
    }

    /// A trial that needs it.
    pub(crate) fn trial(self, name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
        trial::trial(name, self.name(), self.met(), run)
    }
}
