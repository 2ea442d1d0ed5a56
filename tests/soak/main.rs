//! `make soak`: what a container sees in years, in minutes. The finished binary lives one life after the
//! other, among faults of every kind, at random from a seed that is printed; a judge who was written
//! from the contract holds each life against it.
//!
//! | variable | |
//! | --- | --- |
//! | `SOAK_SECONDS` | for how long; 60 unless given |
//! | `SEED` | plays the same lives again, as far as the machine lets them be the same |
//! | `SOAK_LIFE` | plays the one life of this seed, which a report names |
//! | `SOAK_CLOCK` | `1` sets the machine's clock forwards and back as well |
//! | `SOAK_ARENAS` | how many lives there are at a time; as many as there are processors |
//!
//! What needs something that the machine lacks is ignored by name; with `CI=true` that is a failure.

mod clock;
mod envoy;
mod judge;
mod kernel;
mod life;
mod random;
mod record;
mod tally;

use std::env;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use support::scene::Scene;
use support::{BOUND, inherit, namespace};

use kernel::Tracing;
use random::Random;
use tally::Tally;

fn main() -> ExitCode {
    inherit::ignore_nothing();
    let arguments = Arguments::from_args();
    let privileged = namespace::privileged();
    let recorded = privileged && Tracing::possible();
    let mut trials = judge::trials();
    trials.push(trial("soak::kernel_record", recorded, "tracefs", || Ok(())));
    trials.push(trial("soak::lives", privileged, "root", move || soak(recorded)));
    trials.push(trial("soak::breaker_is_found", recorded, "tracefs", breaker_is_found));
    let failed = libtest_mimic::run(&arguments, trials).has_failed();
    ExitCode::from(u8::from(failed))
}

/// A named trial; where the machine lacks what it needs it is ignored, or fails with `CI=true`.
fn trial(
    name: &str,
    met: bool,
    needs: &str,
    run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let must_run = env::var("CI").is_ok_and(|value| value == "true");
    let lacks = format!("this machine lacks: {needs}");
    Trial::test(name, move || if met { run() } else { Err(lacks.into()) })
        .with_kind(if met { "" } else { needs })
        .with_ignored_flag(!met && !must_run)
}

fn soak(recorded: bool) -> Result<(), Failed> {
    let folder = env::temp_dir().join(format!("soak-tracing-{}", std::process::id()));
    let tracing = recorded.then(|| Tracing::open(folder)).transpose()?;
    let tally = Tally::default();
    let begun = Instant::now();
    if let Some(seed) = number("SOAK_LIFE") {
        let arena = life::Arena::new(0, tracing.as_ref()).map_err(|error| error.to_string())?;
        life::live(&arena, seed, &tally);
        arena.close().into_iter().for_each(|left| tally.broken(left));
    } else {
        arenas(tracing.as_ref(), &tally);
    }
    println!("\nin {:.1} s:\n{}", begun.elapsed().as_secs_f64(), tally.summary());
    match tally.all_broken().first() {
        None => Ok(()),
        Some(first) => Err(Failed::from(first.clone())),
    }
}

/// Who breaks promises is found to, within a few lives.
fn breaker_is_found() -> Result<(), Failed> {
    let folder = env::temp_dir().join(format!("soak-breaker-{}", std::process::id()));
    let tracing = Tracing::open(folder)?;
    let tally = Tally::default();
    let scene = Scene::new();
    let program = scene.script("breaker", include_str!("breaker.sh"));
    let arena =
        life::Arena::of_breaker(program, Some(&tracing)).map_err(|error| error.to_string())?;
    let mut random = Random::of_the_moment();
    life::arena(&arena, &mut random, Instant::now() + BOUND, &tally);
    let left = arena.close();
    let found = tally.all_broken().join("\n");
    let sentences = ["lives when we end", "never reaped", "last line", "epochs lived", "not ready"];
    if left.is_empty() && sentences.iter().any(|sentence| found.contains(sentence)) {
        return Ok(());
    }
    Err(Failed::from(format!("it is not found: {found}; {left:?}")))
}

fn arenas(tracing: Option<&Tracing>, tally: &Tally) {
    let seed = number("SEED").unwrap_or_else(|| Random::of_the_moment().any());
    let seconds = number("SOAK_SECONDS").unwrap_or(60);
    let processors = thread::available_parallelism().map_or(2, usize::from);
    let arenas =
        number("SOAK_ARENAS").and_then(|arenas| usize::try_from(arenas).ok()).unwrap_or(processors);
    println!("SEED={seed:#x} SOAK_SECONDS={seconds} SOAK_ARENAS={arenas}");
    let until = Instant::now() + Duration::from_secs(seconds);
    thread::scope(|scope| {
        for number in 0..arenas {
            scope.spawn(move || {
                let mut random = Random::of_arena(seed, number);
                match life::Arena::new(number, tracing) {
                    Ok(arena) => {
                        life::arena(&arena, &mut random, until, tally);
                        arena.close().into_iter().for_each(|left| tally.broken(left));
                    }
                    Err(error) => tally.broken(format!("arena {number}: {error}")),
                }
            });
        }
        let mut random = Random::of_arena(seed, usize::MAX);
        scope.spawn(move || envoy::arena(&mut random, until, tally));
        if number("SOAK_CLOCK") == Some(1) {
            let mut random = Random::of_arena(seed, usize::MAX - 1);
            scope.spawn(move || clock::arena(&mut random, until, tally));
        }
    });
}

/// The number in a variable, in either notation.
fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok().filter(|value| !value.is_empty())?;
    let number = match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => value.parse(),
    };
    Some(number.unwrap_or_else(|_| panic!("{variable}={value} is no number")))
}
