//! The restarter as a process like any other, over probes.

mod check;
mod drain;
mod exits;
mod forwarding;
mod idle;
mod inheritance;
mod once;
mod output;
mod readiness;
mod restarts;
mod rollback;
mod stop;

use libtest_mimic::Trial;
use support::scene::{Restarter, Scene};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    [
        inheritance::trials(),
        restarts::trials(),
        forwarding::trials(),
        idle::trials(),
        stop::trials(),
        drain::trials(),
        once::trials(),
        exits::trials(),
        check::trials(),
        output::trials(),
        readiness::trials(),
        rollback::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A restarter whose probe has done its steps up to `wait`, and the pid of that probe.
fn serving(scene: &Scene, options: &[&str], steps: &str) -> (Restarter, i32) {
    let before = scene.journal().writers("ready").len();
    let restarter = scene.restarter(options, &scene.probe(steps)).start();
    let probe = scene.journal().await_ready(before + 1)[before];
    (restarter, probe)
}

/// Has it restart, and returns the pid of the new probe.
fn restarted(scene: &Scene, restarter: &Restarter) -> i32 {
    let before = scene.journal().writers("ready").len();
    restarter.signal(libc::SIGHUP);
    scene.journal().await_ready(before + 1)[before]
}

/// Stops a restarter whose probes exit with 0 when they are asked to.
fn stop_cleanly(scene: &Scene, mut restarter: Restarter) {
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    scene.assert_empty();
}
