//! Lives of a real Envoy under load, one after the other: hot restarts that succeed and that fail,
//! whatever happens meanwhile, and an end.
//!
//! No request may be lost but to a fault that accounts for it ([`judge`]); the rest of what must be
//! so each move says itself. A life is drawn from its own seed, which a report names:
//! `SOAK_ENVOY_LIFE` has that one alone be lived again.

mod cgroup;
mod control;
mod ends;
mod failures;
mod handle;
mod judge;
mod life;
mod noise;
mod outlet;
mod plan;
mod restarts;
mod watcher;

use std::any::Any;
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use life::{Life, SCRIPT, Story};
use plan::Plan;

use crate::random::Random;
use crate::tally::Tally;

/// Replays the life of one seed.
const REPLAY: &str = "SOAK_ENVOY_LIFE";
/// What the beginning and the end of a life need at most, usually.
const REST: Duration = Duration::from_secs(12);

/// Lives until then, at least once.
pub(crate) fn arena(random: &mut Random, until: Instant, tally: &Tally) {
    let one = env::var(REPLAY).ok();
    let one: Option<u64> = one.map(|seed| seed.parse().expect("the seed of a life"));
    survive(tally, "the control", &Story::new(), || control::control(tally));
    loop {
        let seed = one.unwrap_or_else(|| random.below(u64::MAX));
        let mut random = Random::new(seed);
        let plan = Plan::draw(seed, &mut random);
        let story = Story::new();
        println!("Envoy: {plan}");
        survive(tally, &plan.to_string(), &story, || {
            live(plan, story.clone(), &mut random, until, tally);
        });
        if one.is_some() || until.saturating_duration_since(Instant::now()) < 2 * REST {
            break;
        }
    }
}

/// Does it; what it dies of is a broken promise.
fn survive(tally: &Tally, what: &str, story: &Story, run: impl FnOnce()) {
    if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(run)) {
        let why = words_of(panic.as_ref());
        tally.broken(format!("Envoy, {what}: {why}\n{}", story.text()));
    }
}

fn live(plan: Plan, story: Story, random: &mut Random, until: Instant, tally: &Tally) {
    let mut life = Life::begin(plan, SCRIPT, story, random, tally);
    let over = (Instant::now() + plan.lasts).min(until.checked_sub(REST).unwrap_or(until));
    while Instant::now() < over {
        match life.random.below(100) {
            0..25 => life.reload(),
            25..45 => life.hang_up_often(),
            45..55 => life.reload_at_once(),
            55..62 => life.hang_up_while_it_waits(),
            62..75 => life.suspend(),
            _ => life.fail(),
        }
    }
    life.end();
    tally.add("Envoy: lives", 1);
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().cloned();
    let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
    words.unwrap_or_else(|| "a panic without words".to_owned())
}
