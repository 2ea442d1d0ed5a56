//! `--check` with Envoy's own validation, and files that are watched.

use libc::SIGHUP;
use libtest_mimic::Trial;
use support::envoy::{SCRIPT, Stage};

use super::life::{Life, Way};
use super::under_load;
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    let checked = |name, run: fn()| under_load(trial(name, Needs::Namespace, run));
    vec![
        checked("envoy::checked::a_bad_file_is_refused", refused),
        checked("envoy::checked::watched", watched),
        checked("envoy::checked::old_way_out", old_way_out),
        checked("envoy::checked::without_options", without_options),
    ]
}

const CHECK: [&str; 2] = ["--check", "start_envoy.sh --mode validate --log-level warning"];

fn refused() {
    let mut life = Life::bare(&CHECK);
    for times in 1..=3 {
        life.stage.put(&life.stage.configuration().with_an_unknown_field());
        life.restarter.signal(SIGHUP);
        life.await_said("restart-refused", times);
        life.succeed();
    }
    assert_eq!(life.said("started"), 4, "{}", life.log());
    println!("checked: {}", life.end());
}

/// No signal at all: each rename is one restart, if it passes.
fn watched() {
    let stage = Stage::in_namespace((1, 2));
    let config = stage.config().display().to_string();
    let mut life = Life::bare_on(stage, &[&CHECK[..], &["--watch", &config]].concat(), SCRIPT);
    for times in 1..=2 {
        life.put_good();
        life.await_next();
        life.stage.put(&life.stage.configuration().with_an_unknown_field());
        life.await_said("restart-refused", times);
    }
    life.put_good();
    life.await_next();
    assert_eq!(life.said("changed"), 5, "{}", life.log());
    assert_eq!(life.said("started"), 4, "{}", life.log());
    println!("watched: {}", life.end());
}

/// What people wrote when there was no rollback: a script that never fails.
fn old_way_out() {
    let script = "start_envoy.sh \"$@\" || exit 0\n";
    let mut life = Life::bare_on(Stage::in_namespace((1, 2)), &[], script);
    for _ in 0..2 {
        life.fail(Way::UnknownField);
        life.succeed();
    }
    println!("|| exit 0: {}", life.end());
}

/// The original's word: a failed restart is an unexpected exit.
fn without_options() {
    let life = Life::bare(&[]);
    life.stage.put(&life.stage.configuration().with_an_unknown_field());
    life.restarter.signal(SIGHUP);
    assert_eq!(life.wait(), 1);
}
