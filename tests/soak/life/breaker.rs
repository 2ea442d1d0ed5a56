//! Who breaks promises is found to, each of them.

use libtest_mimic::Trial;
use support::random::Random;
use support::scene::Scene;

use super::Arena;
use crate::kernel::Tracing;
use crate::needs::Needs;
use crate::tally::Tally;

/// What it cannot but earn within a few lives.
const EARNED: [&str; 8] = [
    "lives when we end",
    "never reaped",
    "last line",
    "epochs lived",
    "not ready",
    "was given deathsig",
    "starts have no line",
    "the exit code is",
];

/// So many lives, of a second or two, are enough.
const LIVES: usize = 60;

/// The trial of this module.
pub(crate) fn trial() -> Trial {
    Needs::Tracefs.trial("soak::breaker_earns_every_sentence", earns_every_sentence)
}

fn earns_every_sentence() {
    let tracing = Tracing::open(std::env::temp_dir().join("tracing-of-breaker"));
    let tracing = tracing.unwrap_or_else(|error| panic!("{error}"));
    let scene = Scene::new();
    let program = scene.script("breaker", include_str!("../breaker.sh"));
    let arena = Arena::of_breaker(program, Some(&tracing)).expect("an arena");
    let mut random = Random::of_the_moment();
    let mut missing = EARNED.to_vec();
    let mut found = String::new();
    let mut lives = 0;
    while !missing.is_empty() && lives < LIVES {
        lives += 1;
        // One that is broken already is played no more.
        let tally = Tally::default();
        super::live(&arena, random.any(), &tally);
        found += &tally.all_broken().join("\n");
        missing.retain(|sentence| !found.contains(sentence));
    }
    let left = arena.close();
    println!("lives: {lives}");
    assert!(
        missing.is_empty() && left.is_empty(),
        "not found in {lives} lives: {missing:?}; left: {left:?}; found: {found}"
    );
}
