//! A new Envoy that has taken over is all that accepts, whether we have found it ready or not: the
//! one before it closes its listeners in that moment.

use std::hint;

use libc::{SIGHUP, SIGKILL};
use libtest_mimic::Trial;
use support::envoy::{SCRIPT, Stage};
use support::eventually;

use super::life::Life;
use super::under_load;
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    let takeover = |name, run: fn()| under_load(trial(name, Needs::Namespace, run));
    vec![
        takeover("envoy::takeover::a_probe_that_never_passes", a_probe_that_never_passes),
        takeover("envoy::takeover::an_admin_somewhere_else", an_admin_somewhere_else),
        takeover("envoy::takeover::a_death_before_it_is_found_ready", a_death),
    ]
}

/// It would be killed for that if it were still initialising, and nobody would serve.
fn a_probe_that_never_passes() {
    let stage = Stage::in_namespace((1, 2));
    let probe = "exec:sh -c 'test \"$RESTART_EPOCH\" = 0'";
    let options = ["--rollback", "--ready-timeout", "2", "--max-epochs", "2", "--ready", probe];
    let mut life = Life::bare_on(stage, &options, SCRIPT);
    for epoch in 1..=2 {
        life.succeed();
        life.await_log(&format!("ready epoch={epoch}"));
    }
    assert_eq!(life.said("restart-failed"), 0, "{}", life.log());
    life.await_log("last, the probe exited with 1");
    println!("a probe that never passes: {}", life.end());
}

fn an_admin_somewhere_else() {
    let stage = Stage::in_namespace((1, 2));
    let options =
        ["--rollback", "--ready-timeout", "2", "--max-epochs", "2", "--envoy-admin", "127.0.0.1:1"];
    let mut life = Life::bare_on(stage, &options, SCRIPT);
    life.succeed();
    life.await_log("ready epoch=1");
    assert_eq!(life.said("restart-failed"), 0, "{}", life.log());
    life.await_log("cannot connect: Connection refused");
    println!("an admin somewhere else: {}", life.end());
}

/// Nobody serves after this, so the container must end, as after any crash of what serves.
fn a_death() {
    for _ in 0..5 {
        let life = Life::bare(&["--rollback"]);
        let before = life.restarter.descendants();
        let memory = life.memory();
        life.restarter.signal(SIGHUP);
        let new = life.await_attached(&before);
        // A look that sleeps in between would come too late.
        eventually("the flag falls", || {
            for _ in 0..100_000 {
                if !memory.is_initializing() {
                    return Ok(());
                }
                hint::spin_loop();
            }
            Err(life.log())
        });
        new.signal(SIGKILL);
        assert_eq!(life.wait(), 128 + SIGKILL);
    }
}
