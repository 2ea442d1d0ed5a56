//! The engine's default seccomp profile, no capability, no new privilege and a root that cannot be
//! written to, for everything that we ask the kernel for.

use std::fs;

use libtest_mimic::Trial;
use support::docker::{CONFIG, Run};
use support::envoy::{Stage, may_signal_containers};

use super::Play;
use crate::envoy::under_load;
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    let timed = if may_signal_containers() { Needs::Docker } else { Needs::Root };
    vec![under_load(trial("docker::confined", timed, confined))]
}

/// A watch, a check, a probe, the admin, a terminal, signals through pidfds, a drain; and not one
/// warning.
fn confined() {
    let stage = Stage::in_container((1, 2));
    let options = ["--tty", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"];
    let container = Run::envoy(&stage)
        .options(&options)
        .variable("HOT_RESTARTER_WATCH", CONFIG)
        .variable("HOT_RESTARTER_READY", &format!("exec:wget -q -O /dev/null {}", stage.url()))
        .variable("HOT_RESTARTER_ENVOY_ADMIN", &stage.admin())
        .variable("HOT_RESTARTER_DRAIN_TIMEOUT", "2")
        .variable("HOT_RESTARTER_DRAIN_MIN", "1")
        .start();
    let play = Play::of(stage, container);
    let status = fs::read_to_string(format!("/proc/{}/status", play.restarter.0)).expect("it runs");
    // 2 is a filter.
    for line in ["Seccomp:\t2\n", "NoNewPrivs:\t1\n", "CapBnd:\t0000000000000000\n"] {
        assert!(status.contains(line), "{status}");
    }
    play.stage.put(&play.stage.configuration().saying("again"));
    play.container.await_log("ready epoch=1");
    play.stage.settled(play.restarter, 1..=1);
    play.reopen(|| play.restarter.signal(libc::SIGUSR1));
    play.load.stop_without_failure();
    assert_eq!(play.container.stop(), 0);
    let logs = play.container.logs();
    for said in ["changed", "checked epoch=1", "drained"] {
        assert!(logs.contains(said), "nothing is {said}: {logs}");
    }
    let warned = logs.lines().filter(|line| line.contains("Z warn ") || line.contains("Z error "));
    assert_eq!(warned.collect::<Vec<_>>(), [""; 0]);
}
