//! Users that we may not signal, and processes that we cannot see.

use libtest_mimic::Trial;
use support::scene::Scene;

use super::{init, stop_cleanly};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("pid1::other_user", Needs::Root, other_user),
        trial("pid1::other_user_without_cap_kill", Needs::Root, other_user_without_cap_kill),
        trial("pid1::no_proc", Needs::Root, || blind(NO_PROC)),
        trial("pid1::proc_of_another_namespace", Needs::Root, || blind(FOREIGN_PROC)),
        trial("pid1::hidden_processes", Needs::Root, hidden_processes),
    ]
}

/// A PID namespace without a `/proc`.
const NO_PROC: &[&str] = &[
    "unshare",
    "--pid",
    "--mount",
    "--fork",
    "--kill-child",
    "sh",
    "-c",
    "umount --lazy /proc && exec \"$@\"",
    "sh",
];

/// A PID namespace with the `/proc` of its parent.
const FOREIGN_PROC: &[&str] = &["unshare", "--pid", "--fork", "--kill-child"];

/// A PID namespace whose `/proc` hides the processes of others, and a root that may not look.
const HIDING_PROC: &[&str] = &[
    "unshare",
    "--pid",
    "--mount",
    "--fork",
    "--kill-child",
    "sh",
    "-c",
    "mount -t proc -o hidepid=2,gid=65000 proc /proc && exec setpriv --bounding-set=-sys_ptrace -- \"$@\"",
    "sh",
];

/// A user with no rights, whatever the image has.
const NOBODY: &str = "gid=65534 uid=65534";

fn other_user() {
    let scene = Scene::new();
    let steps = format!(
        "fork [ setsid {NOBODY} exit-on=TERM:0 wait ] {NOBODY} catch=USR1 exit-on=TERM:0 wait"
    );
    let restarter = init(&scene, &["--ready", "none"], &scene.probe(&steps)).start();
    let journal = scene.journal();
    journal.await_ready(2);
    restarter.signal(libc::SIGUSR1);
    let catcher = support::eventually("SIGUSR1 arrives", || {
        journal.writers("signal").first().copied().ok_or_else(|| journal.entries())
    });
    assert_eq!(journal.signals(catcher), [libc::SIGUSR1]);
    stop_cleanly(&scene, restarter);
}

/// We cannot end it, say so, and end all the same; the kernel ends what is left of the namespace.
fn other_user_without_cap_kill() {
    let scene = Scene::new();
    let steps = format!("{NOBODY} exit-on=TERM:0 wait");
    let wrapper = [support::namespace::wrapper(), &["setpriv", "--bounding-set=-kill", "--"]];
    let options = ["--term-wait", "0.2"];
    let target = scene.probe(&steps);
    let mut restarter = scene.wrapped_restarter(&wrapper.concat(), &options, &target).start();
    let probe = scene.journal().await_ready(1)[0];
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 1, "{}", restarter.log());
    restarter.says("not-signalled…CAP_KILL");
    restarter.says("survivor…probe");
    assert!(scene.journal().signals(probe).is_empty(), "we had no right to signal it");
    scene.assert_empty();
}

/// Without a `/proc` of our own everything works but the search for those who catch a signal.
fn blind(wrapper: &[&str]) {
    let scene = Scene::new();
    let steps = "catch=USR1 exit-on=TERM:0 fork [ exit-on=TERM:0 wait ] wait";
    let target = scene.probe(steps);
    let options = ["--ready", "none"];
    let restarter = scene.wrapped_restarter(wrapper, &options, &target).start();
    let journal = scene.journal();
    journal.await_ready(2);
    restarter.signal(libc::SIGUSR1);
    restarter.says("reopen-unheard…without /proc");
    let catcher = support::eventually("SIGUSR1 arrives", || {
        journal.writers("signal").first().copied().ok_or_else(|| journal.entries())
    });
    restarter.signal(libc::SIGUSR2);
    restarter.says("dropped…SIGUSR2…without /proc");
    restarter.signal(libc::SIGHUP);
    journal.await_ready(4);
    assert_eq!(journal.signals(catcher), [libc::SIGUSR1]);
    stop_cleanly(&scene, restarter);

    let scene = Scene::new();
    let target = scene.probe("exit=11");
    let (code, log) = scene.wrapped_restarter(wrapper, &[], &target).finish();
    assert_eq!(code, 11, "{log}");

    // An orphan that nobody can find is killed when the time is up, by PID 1's own end.
    let scene = Scene::new();
    let target = scene.probe("fork [ fork [ setsid wait ] ] exit-on=TERM:0 reap wait");
    let options = ["--term-wait", "0.3"];
    let mut restarter = scene.wrapped_restarter(wrapper, &options, &target).start();
    scene.journal().await_ready(2);
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 1, "{}", restarter.log());
    scene.assert_empty();
}

/// A child of another user that `/proc` does not show exists all the same.
fn hidden_processes() {
    let scene = Scene::new();
    let steps = format!("catch=USR1 exit-on=TERM:0 {NOBODY} wait");
    let target = scene.probe(&steps);
    let options = ["--ready", "none"];
    let restarter = scene.wrapped_restarter(HIDING_PROC, &options, &target).start();
    let journal = scene.journal();
    let first = journal.await_ready(1)[0];
    restarter.signal(libc::SIGUSR1);
    journal.await_signal(first, libc::SIGUSR1);
    restarter.says("reopen-unheard");
    restarter.signal(libc::SIGHUP);
    let second = journal.await_ready(2)[1];
    restarter.signal(libc::SIGUSR1);
    journal.await_signal(second, libc::SIGUSR1);
    stop_cleanly(&scene, restarter);
}
