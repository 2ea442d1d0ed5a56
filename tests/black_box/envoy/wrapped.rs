//! Start scripts that do not `exec` Envoy: what they leave when they fail is found and goes.

use libc::{SIGHUP, SIGKILL};
use libtest_mimic::Trial;
use support::envoy::Stage;

use super::life::{Life, Way};
use super::under_load;
use crate::needs::{Needs, trial};

/// The shell stays the leader and reports Envoy's status.
const BESIDE: &str = "start_envoy.sh \"$@\"\nexit $?\n";
/// The pipeline's status is tee's.
const TEE: &str = "start_envoy.sh \"$@\" 2>&1 | tee -a \"$ENVOY_CONFIG.said\"\n";
/// Envoy has a process group of its own.
const JOB_CONTROL: &str = "exec bash -c 'set -m; start_envoy.sh \"$@\" & wait $!' bash \"$@\"\n";
/// Envoy has a process group of its own, together with its parent.
const SUBSHELL: &str =
    "exec bash -c 'set -m; ( start_envoy.sh \"$@\"; exit $? ) & wait $!' bash \"$@\"\n";
/// Envoy has a session of its own. To the kernel's scheduler that is a group, which beside busy
/// loops may get no turn for seconds (seen on Linux 6.18: runnable, and not one switch in 2 s), so
/// it is given more weight where that is allowed.
const SESSION: &str = "setsid sh -c 'echo -10 2>/dev/null >/proc/self/autogroup; \
                       exec start_envoy.sh \"$@\"' sh \"$@\" &\nwait $!\n";

pub(super) fn trials() -> Vec<Trial> {
    let scripts = [
        ("beside", BESIDE),
        ("tee", TEE),
        ("job_control", JOB_CONTROL),
        ("subshell", SUBSHELL),
        ("session", SESSION),
    ];
    let trials = scripts.map(|(name, script)| {
        trial(format!("envoy::wrapped::{name}"), Needs::Namespace, move || fails_by(script))
    });
    let mut trials = Vec::from(trials);
    let name = "envoy::wrapped::a_shell_that_dies_takes_all_along";
    trials.push(trial(name, Needs::Namespace, a_shell_that_dies));
    trials.into_iter().map(under_load).collect()
}

fn fails_by(script: &'static str) {
    let options = ["--rollback", "--ready-timeout", "6"];
    let mut life = Life::bare_on(Stage::in_namespace((1, 2)), &options, script);
    for way in [Way::UnknownField, Way::SignalledLate(SIGKILL), Way::Waits] {
        life.fail(way);
        life.succeed();
    }
    println!("{}", life.end());
}

/// What no restarter can prevent, and why a start script should `exec`: Envoy has the kernel send
/// it SIGTERM when its own parent dies, and while it initialises it passes that on to the epoch in
/// service. (Where it is in the shell's group our SIGKILL comes first in some of these races.)
fn a_shell_that_dies() {
    let life = Life::bare_on(Stage::in_namespace((1, 2)), &["--rollback"], SESSION);
    let before = life.restarter.descendants();
    life.stage.put(&life.stage.configuration().waiting_for(&life.xds));
    life.restarter.signal(SIGHUP);
    life.xds.await_asked(0);
    life.await_attached(&before);
    life.restarter.children().last().expect("it is the new shell").signal(SIGKILL);
    // The epoch in service ends as if it had been asked to, unless we find first that nobody serves.
    let code = life.wait();
    assert!(code == 0 || code == 128 + SIGKILL, "{code}");
}
