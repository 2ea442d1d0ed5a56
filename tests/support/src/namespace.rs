//! PID namespaces: whether this machine lets us make them, and how.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What makes us root of a new PID namespace, with a `/proc` of it, that dies with us.
const PID_NAMESPACE: [&str; 4] = ["--pid", "--fork", "--mount-proc", "--kill-child"];
/// What somebody who is not root needs beside it.
const USER_NAMESPACE: [&str; 2] = ["--user", "--map-root-user"];

/// Whether we may make PID namespaces at all.
pub fn possible() -> bool {
    privileged() || rootless_possible()
}

/// Whether we may as root, without a user namespace.
pub fn privileged() -> bool {
    static MET: OnceLock<bool> = OnceLock::new();
    *MET.get_or_init(|| works(&[]))
}

/// Whether we may by a user namespace.
pub fn rootless_possible() -> bool {
    static MET: OnceLock<bool> = OnceLock::new();
    *MET.get_or_init(|| works(&USER_NAMESPACE))
}

fn works(more: &[&str]) -> bool {
    let mut command = Command::new("unshare");
    command.args(more).args(PID_NAMESPACE).arg("true");
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The words that execute a program as PID 1 of a new PID namespace: as root where we are, by a
/// user namespace where we are not.
pub fn wrapper() -> &'static [&'static str] {
    const AS_ROOT: &[&str] = &["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    if privileged() { AS_ROOT } else { rootless_wrapper() }
}

/// The same by a user namespace, in which we seem to be root.
pub fn rootless_wrapper() -> &'static [&'static str] {
    &["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]
}
