//! Ends, where PID 1's own end takes everything with it.

use libtest_mimic::Trial;
use support::scene::Scene;

use super::{init, stop_cleanly};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("pid1::exits_at_once_300_times", Needs::Namespace, exits_at_once_300_times),
        trial("pid1::parent_of_the_namespace", Needs::Namespace, parent_of_the_namespace),
        trial("pid1::failure_kills_everything", Needs::Namespace, failure_kills_everything),
    ]
}

/// A child that is gone before its parent has looked must not be lost.
fn exits_at_once_300_times() {
    for run in 0..300 {
        let scene = Scene::new();
        let expected = run % 256;
        let steps = format!("exit={expected}");
        let (code, log) = init(&scene, &[], &scene.probe(&steps)).finish();
        assert_eq!(code, expected, "run {run}: {log}");
    }
}

/// `unshare --pid` without `--fork` makes our child the first of a namespace that we are not in,
/// where it has no parent that it could see.
fn parent_of_the_namespace() {
    let scene = Scene::new();
    let target = scene.probe("say=ran exit=5");
    let (code, log) = scene.wrapped_restarter(&["unshare", "--pid"], &[], &target).finish();
    assert_eq!(code, 5, "{log}");
    scene.journal().await_said("ran");
}

fn failure_kills_everything() {
    let scene = Scene::new();
    let stubborn = "ignore=TERM fork [ fork [ setsid wait ] ] fork [ setsid wait ]";
    let steps = format!("{stubborn} exit-on=USR2:42 wait");
    let mut restarter = init(&scene, &[], &scene.probe(&steps)).start();
    scene.journal().await_ready(3);
    restarter.signal(libc::SIGUSR2);
    assert_eq!(restarter.code(), 42, "{}", restarter.log());
    assert_eq!(restarter.lines("survivor"), 0, "all of it was reaped: {}", restarter.log());
    scene.assert_empty();

    // The control: without a failure they live until we stop.
    let scene = Scene::new();
    let restarter = init(&scene, &[], &scene.probe("exit-on=TERM:0 wait")).start();
    scene.journal().await_ready(1);
    restarter.signal(libc::SIGUSR2);
    restarter.settle();
    stop_cleanly(&scene, restarter);
}
