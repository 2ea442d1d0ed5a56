//! What a trial needs of the machine, and what becomes of it where that is missing.

use std::any::Any;
use std::cell::RefCell;
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Once, OnceLock};

use libtest_mimic::{Failed, Trial};
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

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// A named trial. Where the machine lacks what it needs it is reported as ignored; with `CI=true`
/// it fails, so that nobody mistakes a skipped test for a passed one.
pub(crate) fn trial(
    name: impl Into<String>,
    needs: Needs,
    run: impl FnOnce() + Send + 'static,
) -> Trial {
    let missing = !needs.met();
    let must_run = env::var("CI").is_ok_and(|value| value == "true");
    Trial::test(name, move || {
        if missing && must_run {
            return Err(Failed::from(format!("this machine lacks: {}", needs.name())));
        }
        told(run)
    })
    .with_kind(needs.name())
    .with_ignored_flag(missing && !must_run)
}

thread_local! {
    /// Where and why this thread panicked last.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a trial; its panic becomes the words of its failure, and stays out of the report of the
/// trials beside it.
fn told(run: impl FnOnce()) -> Result<(), Failed> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        panic::set_hook(Box::new(|info| {
            PANIC.with(|panic| *panic.borrow_mut() = Some(info.to_string()));
        }));
    });
    panic::catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let message = PANIC.with(|panic| panic.borrow_mut().take());
        Failed::from(message.unwrap_or_else(|| words_of(payload.as_ref())))
    })
}

fn words_of(payload: &(dyn Any + Send)) -> String {
    let borrowed = payload.downcast_ref::<&str>().map(|words| (*words).to_owned());
    let words = borrowed.or_else(|| payload.downcast_ref::<String>().cloned());
    words.unwrap_or_else(|| "a panic without words".to_owned())
}
