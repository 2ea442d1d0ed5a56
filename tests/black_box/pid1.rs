//! The restarter as PID 1 of a PID namespace, as in a container.

mod ends;
mod orphans;
mod visibility;
mod wrappers;

use libtest_mimic::Trial;
use support::namespace;
use support::scene::{Restarter, Scene, Setup};

use crate::needs::{Needs, trial};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let own = vec![
        trial("pid1::life", Needs::Namespace, || life(namespace::wrapper())),
        trial("pid1::life_without_root", Needs::UserNamespace, || {
            life(namespace::rootless_wrapper());
        }),
    ];
    [own, orphans::trials(), ends::trials(), wrappers::trials(), visibility::trials()]
        .into_iter()
        .flatten()
        .collect()
}

/// A restarter that will be PID 1.
fn init(scene: &Scene, options: &[&str], target: &[impl AsRef<str>]) -> Setup {
    scene.wrapped_restarter(namespace::wrapper(), options, target)
}

/// Stops a restarter whose processes end when they are asked to.
fn stop_cleanly(scene: &Scene, mut restarter: Restarter) {
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    scene.assert_empty();
}

/// Everything once: start, restart, reopen, an orphan, stop.
fn life(wrapper: &[&str]) {
    let scene = Scene::new();
    let orphan = "fork [ fork [ setsid ] ] reap";
    let steps = format!("report {orphan} catch=USR1 exit-on=TERM:0 wait");
    let target = scene.probe(&steps);
    let restarter = scene.wrapped_restarter(wrapper, &["--ready", "none"], &target).start();
    let journal = scene.journal();
    let first = journal.await_ready(1)[0];
    restarter.signal(libc::SIGHUP);
    let second = journal.await_ready(2)[1];
    for (epoch, probe) in [first, second].into_iter().enumerate() {
        let report = journal.await_report(probe);
        assert_eq!(report.number("ppid"), 1, "the restarter is PID 1");
        assert_eq!(report.text("epoch"), epoch.to_string());
    }
    restarter.signal(libc::SIGUSR1);
    for probe in [first, second] {
        journal.await_signal(probe, libc::SIGUSR1);
    }
    restarter.settle();
    assert_eq!(restarter.zombies(), 0);
    stop_cleanly(&scene, restarter);
}
