//! Lives of a real Envoy under load, one after the other: hot restarts that succeed and that fail,
//! whatever happens meanwhile, and an end.
//!
//! No request may be lost but to a fault that accounts for it ([`judge`]); the rest of what must be
//! so each move says itself. A life is drawn from its own seed.

mod control;
mod ends;
mod failures;
mod judge;
mod life;
mod limits;
mod noise;
mod outlet;
mod plan;
mod restarts;
mod status;
mod story;
mod watcher;

use std::time::{Duration, Instant};

use support::trial::caught;

use life::{Life, SCRIPT};
use plan::Plan;
use story::Story;

use crate::random::Random;
use crate::tally::Tally;

/// What the beginning and the end of a life need at most, usually.
const REST: Duration = Duration::from_secs(12);

/// Lives until then, at least once, or until a promise is broken.
pub(crate) fn arena(random: &mut Random, until: Instant, tally: &Tally) {
    survive(tally, "the control", &Story::new(), || control::control(tally));
    while !tally.is_broken() {
        live(random.any(), Some(until), tally);
        if until.saturating_duration_since(Instant::now()) < 2 * REST {
            break;
        }
    }
}

/// The life that belongs to a seed. Its end begins so early that it is over by then.
pub(crate) fn live(seed: u64, until: Option<Instant>, tally: &Tally) {
    let mut random = Random::new(seed);
    let plan = Plan::draw(seed, &mut random);
    let story = Story::new();
    println!("Envoy: {plan}");
    let what = format!("{plan}\n  (SOAK_ENVOY_LIFE={seed:#x} plays it alone)");
    survive(tally, &what, &story, || {
        let mut life = Life::begin(plan, SCRIPT, story.clone(), &mut random, tally);
        let until = until.and_then(|until| until.checked_sub(REST));
        let over = Instant::now() + plan.lasts;
        let over = until.map_or(over, |until| over.min(until));
        while Instant::now() < over && !tally.is_broken() {
            life.go_on();
        }
        life.end();
        tally.add("Envoy: lives", 1);
    });
}

/// Does it; what it dies of is a broken promise.
fn survive(tally: &Tally, what: &str, story: &Story, run: impl FnOnce()) {
    if let Err(why) = caught(run) {
        tally.broken(format!("Envoy, {what}: {why}\n{}", story.text()));
    }
}

impl Life<'_> {
    /// Does one thing.
    fn go_on(&mut self) {
        match self.random.below(100) {
            0..25 => self.reload(),
            25..45 => self.hang_up_often(),
            45..55 => self.reload_at_once(),
            55..62 => self.hang_up_while_it_waits(),
            62..75 => self.suspend(),
            _ => self.fail(),
        }
    }
}
