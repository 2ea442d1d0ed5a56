//! The flag that a dead epoch leaves in the shared memory, set by hand, and memories that are not
//! to be touched.

use std::fs;

use libc::SIGHUP;
use libtest_mimic::Trial;
use support::envoy::SCRIPT;
use support::{eventually, namespace};

use super::life::Life;
use super::under_load;
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    let memory = |name, run: fn()| under_load(trial(name, Needs::Namespace, run));
    vec![
        memory("envoy::memory::a_flag_left_up_is_lowered", lowered),
        memory("envoy::memory::a_flag_left_up_ends_the_next_epoch", not_lowered),
        memory("envoy::memory::one_that_changed_is_left_alone", left_alone),
    ]
}

/// Has a start script find the memory as `$it`, raise the flag in it as an epoch does, and go on.
const RAISE: &str = "cd /dev/shm && it=envoy_shared_memory_${ENVOY_BASE_ID}0 &&
    printf '\\001' | dd of=$it bs=1 seek=$(($(stat -c %s $it) - 8)) conv=notrunc 2>&1 &&";

fn lowered() {
    let mut life = Life::bare(&["--rollback"]);
    for failures in 1..=3 {
        life.stage.put_script(&format!("{RAISE} exit 3\n"));
        life.restarter.signal(SIGHUP);
        life.await_said("restart-failed", failures);
        life.await_said("repaired", failures);
        life.succeed();
    }
    println!("flags that were left up: {}", life.end());
}

/// The control: where nobody looks, the flag does what the repair is for.
fn not_lowered() {
    let life = Life::bare(&["--ready", "none"]);
    life.memory().raise();
    life.restarter.signal(SIGHUP);
    life.await_log("previous envoy process is still initializing");
    assert_eq!(life.wait(), 1);
}

/// What somebody does to the memory beside raising its flag, and what is said about it. Envoy has
/// mapped the file that it was, and goes on.
const CHANGES: [(&str, &str); 5] = [
    (
        "printf '\\014' | dd of=$it bs=1 seek=8 conv=notrunc 2>&1",
        "has a layout that we do not know",
    ),
    ("chown 65534 $it", "belongs to user 65534"),
    ("cp $it kept && rm $it && ln -s kept $it", "has been unlinked"),
    ("rm $it && mkdir $it", "has been unlinked"),
    ("printf short >new && mv new $it", "has been unlinked"),
];

fn left_alone() {
    for (change, why) in CHANGES {
        // Only root gives files away.
        if change.starts_with("chown") && !namespace::privileged() {
            continue;
        }
        let life = Life::bare(&["--rollback"]);
        let before = life.restarter.descendants();
        // For comparison; what is a folder cannot be copied so.
        life.stage.put_script(&format!("{RAISE} {change} && {{ cp $it copy; exit 3; }}\n"));
        life.restarter.signal(SIGHUP);
        life.await_said("restart-failed", 1);
        life.await_log("exited with 3");
        life.await_said("not-repaired", 1);
        life.await_log(why);
        let copy = fs::read(life.restarter.sees("/dev/shm/copy")).unwrap_or_default();
        assert_eq!(life.memory().bytes(), copy, "after {change}");
        assert_eq!(life.restarter.descendants(), before);

        // Nobody can start now; whether it is tried depends on whose flag is up.
        life.stage.put_script(SCRIPT);
        life.restarter.signal(SIGHUP);
        eventually("the next restart waits or fails", || {
            match (life.said("restart-failed"), life.said("restart-queued")) {
                (2, _) | (_, 1) => Ok(()),
                _ => Err(life.log()),
            }
        });
        assert_eq!(life.stage.ask().ok(), Some(life.words().to_owned()), "after {change}");
        println!("after {change}: {}", life.end_unsettled());
    }
}
