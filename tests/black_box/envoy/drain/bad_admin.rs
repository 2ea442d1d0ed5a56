//! Drains of an Envoy that cannot be asked: they delay no stop beyond its bound.

use std::time::{Duration, Instant};

use libc::{SIGSTOP, SIGTERM};
use libtest_mimic::Trial;
use support::envoy::{Bare, Stage, free_port};

use super::{ENDING, await_said};
use crate::needs::{Needs, trial};

/// The trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    let bare = |name, run: fn()| trial(name, Needs::Namespace, run);
    vec![
        bare("envoy::drain::frozen_envoy_is_thawed_in_time", frozen),
        bare("envoy::drain::admin_at_another_address", another_address),
        bare("envoy::drain::admin_of_another_epoch", || another_envoy(1)),
        bare("envoy::drain::admin_of_another_envoy", || another_envoy(0)),
    ]
}

/// What has stopped an Envoy in the midst of its drain does not keep it from its end.
fn frozen() {
    let stage = Stage::in_namespace((45, 60));
    let admin = stage.admin();
    let options = ["--envoy-admin", &admin, "--drain-timeout", "4", "--drain-min", "1"];
    let mut bare = Bare::start(&stage, &options);
    stage.await_first(|| bare.output());
    let envoy = bare.restarter.children()[0];
    let since = Instant::now();
    bare.restarter.signal(SIGTERM);
    await_said(&bare, "draining");
    envoy.signal(SIGSTOP);
    assert_eq!(bare.wait().code(), Some(0), "{}", bare.output());
    let lasted = since.elapsed();
    println!("an Envoy that is frozen in its drain: {lasted:?}");
    assert!(lasted < Duration::from_secs(4) + ENDING, "{lasted:?}: {}", bare.output());
}

/// Load balancers have their seconds all the same.
fn another_address() {
    let stage = Stage::in_namespace((45, 60));
    let admin = format!("127.0.0.1:{}", free_port());
    let options = ["--envoy-admin", &admin, "--drain-timeout", "10", "--drain-min", "2"];
    // Its readiness cannot be asked for either.
    let mut bare = Bare::start(&stage, &[&options[..], &["--ready", "none"]].concat());
    stage.await_live(0);
    let least = Duration::from_secs(2);
    unheard(&stage, &mut bare, least, Duration::from_secs(10));
}

/// Nobody is told to go whom we have not started, though the epoch may have our number.
fn another_envoy(epoch: u32) {
    let other = Stage::in_namespace((1, 2));
    let neighbour = Bare::start(&other, &[]);
    other.await_first(|| neighbour.output());
    if epoch > 0 {
        neighbour.restarter.signal(libc::SIGHUP);
        other.settled(neighbour.restarter, epoch..=epoch);
    }
    let stage = Stage::in_namespace((45, 60));
    let admin = other.admin();
    let options = ["--envoy-admin", &admin, "--drain-timeout", "10", "--drain-min", "2"];
    let mut bare = Bare::start(&stage, &[&options[..], &["--ready", "none"]].concat());
    stage.await_live(0);
    unheard(&stage, &mut bare, Duration::from_secs(2), Duration::from_secs(10));
    // DRAINING is what an Envoy says that was told to go.
    assert_eq!(other.live_epoch(), Some(epoch));
}

/// Stops one whose admin does not answer for it: after the least time, and within the longest.
fn unheard(stage: &Stage, bare: &mut Bare, least: Duration, most: Duration) {
    let since = Instant::now();
    bare.restarter.signal(SIGTERM);
    await_said(bare, "draining");
    assert!(stage.ask().is_ok(), "it serves on: {}", bare.output());
    assert_eq!(bare.wait().code(), Some(0), "{}", bare.output());
    let lasted = since.elapsed();
    println!("an admin that cannot be asked: {lasted:?}");
    assert!(lasted >= least && lasted < most + ENDING, "{lasted:?}: {}", bare.output());
    await_said(bare, "nobody was told to go");
}
