//! `make soak`: what a container sees in years, in minutes. The finished binary lives one life after the
//! other, among faults of every kind, at random from a seed that is printed; a judge who was written
//! from the contract holds each life against it.
//!
//! | variable | |
//! | --- | --- |
//! | `SOAK_SECONDS` | for how long; 60 unless given |
//! | `SEED` | plays the same lives again, as far as the machine lets them be the same |
//! | `SOAK_LIFE` | plays the one life of this seed, which a report names |
//! | `SOAK_ENVOY_LIFE` | the same over Envoy |
//! | `SOAK_ARENAS` | how many lives there are at a time; as many as there are processors |
//!
//! Numbers are decimal, or hexadecimal behind `0x`. What needs something that the machine lacks is
//! ignored by name; with `CI=true` that is a failure.

mod cgroup;
mod disk;
mod envoy;
mod ground;
mod handle;
mod judge;
mod kernel;
mod killed;
mod life;
mod needs;
mod random;
mod record;
mod tally;

use std::env;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Arguments;
use support::scene::Scene;
use support::trial::caught;
use support::{BOUND, inherit, namespace};

use kernel::Tracing;
use life::Arena;
use needs::Needs;
use random::Random;
use tally::Tally;

fn main() -> ExitCode {
    inherit::ignore_nothing();
    if ground::keep() {
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let privileged = namespace::privileged();
    if privileged {
        ground::take();
    }
    let mut trials = judge::trials();
    trials.push(Needs::Tracefs.trial("soak::kernel_record", || ()));
    trials.push(Needs::Root.trial("soak::a_disk_is_full", disk::fills));
    trials.push(Needs::Cgroups.trial("soak::limits_hold", cgroup::limits_hold));
    trials.push(Needs::Tracefs.trial("soak::breaker_is_found", breaker_is_found));
    trials.push(Needs::Root.trial("soak::killed_it_leaves_nothing", killed::leaves_nothing));
    trials.push(Needs::Root.trial("soak::lives", soak));
    let failed = libtest_mimic::run(&arguments, trials).has_failed();
    if privileged {
        ground::leave();
    }
    ExitCode::from(u8::from(failed))
}

fn soak() {
    let lacking = [Needs::Tracefs, Needs::Cgroups].into_iter().filter(|needs| !needs.met());
    lacking.for_each(|needs| println!("this machine lacks: {}", needs.name()));
    let tracing = Needs::Tracefs.met().then(tracing);
    let tally = Tally::aloud();
    let begun = Instant::now();
    match (number("SOAK_LIFE"), number("SOAK_ENVOY_LIFE")) {
        (None, None) => arenas(tracing.as_ref(), &tally),
        (probes, envoy) => {
            let alone = |arena: &Arena, seed| life::live(arena, seed, &tally);
            probes
                .inspect(|seed| in_arena(0, tracing.as_ref(), &tally, |arena| alone(arena, *seed)));
            envoy.inspect(|seed| envoy::live(*seed, None, &tally));
        }
    }
    println!("\nin {:.1} s:\n{}", begun.elapsed().as_secs_f64(), tally.summary());
    if let Some(first) = tally.all_broken().first() {
        panic!("{first}");
    }
}

fn tracing() -> Tracing {
    Tracing::open(env::temp_dir().join("tracing")).unwrap_or_else(|error| panic!("{error}"))
}

/// Who breaks promises is found to, within a few lives.
fn breaker_is_found() {
    let tracing = Tracing::open(env::temp_dir().join("tracing-of-breaker"));
    let tracing = tracing.unwrap_or_else(|error| panic!("{error}"));
    let tally = Tally::default();
    let scene = Scene::new();
    let program = scene.script("breaker", include_str!("breaker.sh"));
    let arena = Arena::of_breaker(program, Some(&tracing)).expect("an arena");
    let mut random = Random::of_the_moment();
    life::arena(&arena, &mut random, Instant::now() + BOUND, &tally);
    let left = arena.close();
    let found = tally.all_broken().join("\n");
    let sentences = ["lives when we end", "never reaped", "last line", "epochs lived", "not ready"];
    let is_found = sentences.iter().any(|sentence| found.contains(sentence));
    assert!(left.is_empty() && is_found, "it is not found: {found}; {left:?}");
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
                in_arena(number, tracing, tally, |arena| {
                    life::arena(arena, &mut random, until, tally);
                });
            });
        }
        let mut random = Random::of_arena(seed, usize::MAX);
        scope.spawn(move || envoy::arena(&mut random, until, tally));
    });
}

/// Does something in an arena of its own; what it dies of, and what it leaves, are broken promises.
fn in_arena(number: usize, tracing: Option<&Tracing>, tally: &Tally, run: impl FnOnce(&Arena)) {
    let died = caught(|| {
        let arena = Arena::new(number, tracing).expect("an arena");
        run(&arena);
        arena.close().into_iter().for_each(|left| tally.broken(left));
    });
    if let Err(why) = died {
        tally.broken(format!("arena {number}: {why}"));
    }
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
