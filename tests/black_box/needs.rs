//! What a trial needs of the machine, and what becomes of it where that is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use libtest_mimic::Trial;
use support::trial::succeeds;
use support::{namespace, podman, server};

/// What the machine must have for a trial to mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Linux.
    Nothing,
    /// Leave to make PID namespaces, as root or by a user namespace.
    Namespace,
    /// Leave to make user namespaces.
    UserNamespace,
    /// To be root, with leave to make PID namespaces: trials that change users or mount things.
    Root,
    /// The same, and strace.
    Strace,
    /// To be root, in a control group whose out-of-memory kills the kernel counts.
    OomCounter,
    /// A Docker engine that answers.
    Docker,
    /// Podman as root, with runc and catatonit, beside a Docker engine that builds its images.
    Podman,
    /// Kubernetes' client, which renders manifests without a cluster.
    Kubectl,
    /// Both of them.
    Pods,
    /// A loopback of version 6.
    Ipv6,
    /// To be root, and runit's programs.
    Runit,
    /// Monit.
    Monit,
    /// systemd's own look at units.
    SystemdAnalyze,
    /// Other container inits: tini-static, dumb-init and catatonit.
    Inits,
    /// The same, and leave to make PID namespaces.
    InitsAsPid1,
}

impl Needs {
    /// What the report calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Namespace => "namespace",
            Self::UserNamespace => "user-namespace",
            Self::Root => "root",
            Self::Strace => "strace",
            Self::OomCounter => "root-and-a-counter-of-out-of-memory-kills",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Kubectl => "kubectl",
            Self::Pods => "podman-and-kubectl",
            Self::Ipv6 => "ipv6",
            Self::Runit => "root-and-runit",
            Self::Monit => "monit",
            Self::SystemdAnalyze => "systemd-analyze",
            Self::Inits => "tini-static-dumb-init-and-catatonit",
            Self::InitsAsPid1 => "namespace-and-other-inits",
        }
    }

    /// Whether the machine has it; looked up once.
    fn met(self) -> bool {
        static DOCKER: OnceLock<bool> = OnceLock::new();
        static PODMAN: OnceLock<bool> = OnceLock::new();
        match self {
            Self::Nothing => true,
            Self::Namespace => namespace::possible(),
            Self::UserNamespace => namespace::rootless_possible(),
            Self::Root => namespace::privileged(),
            Self::Strace => {
                namespace::privileged() && succeeds(Command::new("strace").arg("--version"))
            }
            Self::OomCounter => namespace::privileged() && oom_counter().is_some(),
            Self::Docker => *DOCKER.get_or_init(|| succeeds(Command::new("docker").arg("version"))),
            Self::Podman => *PODMAN.get_or_init(|| Self::Docker.met() && podman::possible()),
            Self::Kubectl => succeeds(Command::new("kubectl").args(["kustomize", "--help"])),
            Self::Pods => Self::Podman.met() && Self::Kubectl.met(),
            Self::Ipv6 => server::has_ipv6(),
            Self::Runit => {
                // None of them has an option that does nothing.
                let there = |name: &&str| Path::new("/usr/bin").join(name).exists();
                namespace::privileged() && ["runsv", "sv", "svlogd", "chpst"].iter().all(there)
            }
            Self::Monit => succeeds(Command::new("monit").arg("-V")),
            Self::SystemdAnalyze => succeeds(Command::new("systemd-analyze").arg("--version")),
            Self::Inits => ["tini-static", "dumb-init", "catatonit"]
                .iter()
                .all(|init| succeeds(Command::new(init).arg("--version"))),
            Self::InitsAsPid1 => Self::Namespace.met() && Self::Inits.met(),
        }
    }
}

/// A named trial; see [`support::trial`].
pub(crate) fn trial(
    name: impl Into<String>,
    needs: Needs,
    run: impl FnOnce() + Send + 'static,
) -> Trial {
    support::trial::trial(name, needs.name(), needs.met(), run)
}

/// Where the kernel counts the out-of-memory kills in our own control group, if it does.
pub(crate) fn oom_counter() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut groups = groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    groups.find_map(|(controllers, path)| {
        let memory = controllers.split(',').any(|controller| controller == "memory");
        let counter = if memory {
            format!("/sys/fs/cgroup/memory{path}/memory.oom_control")
        } else {
            format!("/sys/fs/cgroup{path}/memory.events")
        };
        Some(PathBuf::from(counter)).filter(|counter| counter.exists())
    })
}
