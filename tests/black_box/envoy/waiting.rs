//! Envoys that take long to start, because their xDS answers late: they are waited for, and what
//! is asked meanwhile is done once.

use libc::{SIGHUP, SIGSTOP};
use libtest_mimic::Trial;
use support::envoy::{SCRIPT, Stage};
use support::eventually;

use super::life::Life;
use super::under_load;
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    let waiting = |name, run: fn()| under_load(trial(name, Needs::Namespace, run));
    vec![
        waiting("envoy::waiting::ten_signals_are_one_restart", ten_signals),
        waiting("envoy::waiting::is_not_hanging", is_not_hanging),
        waiting("envoy::waiting::fewer_workers_are_told", fewer_workers),
    ]
}

fn ten_signals() {
    // A third epoch would make Envoy cut the drain of the first one short.
    let mut life = Life::bare(&["--max-epochs", "2"]);
    life.put_waiting();
    life.restarter.signal(SIGHUP);
    life.xds.await_asked(0);
    for _ in 0..10 {
        life.restarter.signal(SIGHUP);
        eventually("the signal is taken", || {
            if life.restarter.has_pending(SIGHUP) { Err(()) } else { Ok(()) }
        });
    }
    life.await_log("restart-queued epoch=2: waits because epoch 1 is not ready yet");
    life.xds.answer();
    life.epoch += 1;
    life.await_next();
    assert_eq!(life.said("started"), 3, "{}", life.log());
    println!("ten SIGHUPs while epoch 1 waits: {}", life.end());
}

/// Whose admin answers with its own epoch waits for something; who is stopped does not answer.
fn is_not_hanging() {
    let stage = Stage::in_namespace((1, 2));
    let admin = stage.admin();
    let options = ["--rollback", "--ready-timeout", "2", "--envoy-admin", &admin];
    let mut life = Life::bare_on(stage, &options, SCRIPT);
    let before = life.restarter.descendants();

    life.put_waiting();
    life.restarter.signal(SIGHUP);
    life.await_log("not-ready epoch=1");
    let new = life.await_attached(&before);
    // What is stopped now has answered a moment ago.
    new.signal(SIGSTOP);
    life.await_rollback(&before);

    life.restarter.signal(SIGHUP);
    life.await_said("not-ready", 2);
    let asked = life.xds.asked();
    assert_eq!(asked, 2, "it has not been started again");
    life.xds.answer();
    life.await_next();
    assert_eq!(life.said("restart-failed"), 1, "{}", life.log());
    println!("an Envoy that waits is not killed: {}", life.end());
}

fn fewer_workers() {
    let stage = Stage::in_namespace((1, 2));
    let admin = stage.admin();
    let mut life = Life::bare_on(stage, &["--envoy-admin", &admin], SCRIPT);
    life.succeed();
    assert_eq!(life.said("fewer-workers"), 0, "{}", life.log());
    life.stage.put_script("ENVOY_CONCURRENCY=1 exec start_envoy.sh \"$@\"\n");
    life.restarter.signal(SIGHUP);
    life.await_log("fewer-workers epoch=2");
    life.await_log("has 1 worker threads and the epoch before it 2");
    assert_eq!(life.stop(), 0);
}
