//! Who breaks promises is found to, each of them.

use libtest_mimic::{Failed, Trial};
use support::namespace;
use support::scene::Scene;

use super::Arena;
use crate::kernel::Tracing;
use crate::random::Random;
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

/// No other arena has it.
const NUMBER: usize = 1000;
/// So many lives, of a second or two, are enough.
const LIVES: usize = 60;

/// The trial of this module.
pub(crate) fn trial() -> Trial {
    let recorded = namespace::privileged() && Tracing::possible();
    crate::trial("soak::breaker_earns_every_sentence", recorded, "tracefs", earns_every_sentence)
}

fn earns_every_sentence() -> Result<(), Failed> {
    let folder = std::env::temp_dir().join(format!("soak-sentences-{}", std::process::id()));
    let tracing = Tracing::open(folder)?;
    let scene = Scene::new();
    let program = scene.script("breaker", include_str!("../breaker.sh"));
    let mut arena = Arena::new(NUMBER, Some(&tracing)).map_err(|error| error.to_string())?;
    (arena.program, arena.keeps) = (program, false);
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
    if missing.is_empty() && left.is_empty() {
        return Ok(());
    }
    Err(Failed::from(format!(
        "not found in {lives} lives: {missing:?}; left: {left:?}; found: {found}"
    )))
}
