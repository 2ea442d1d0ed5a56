//! A real Envoy under a restarter that is PID 1 of a PID namespace: handovers by the hundred, and
//! restarts that fail in every way that is known. What they have measured they print.

mod checked;
mod control;
mod drain;
mod failures;
mod heavy;
pub(crate) mod life;
mod memory;
mod takeover;
mod waiting;
mod wrapped;

use std::env;

use libtest_mimic::Trial;
use support::load;

/// How often what depends on the moment is tried, unless this variable asks for more.
const TIMES: u32 = 20;
const TIMES_VARIABLE: &str = "TEST_TIMES";

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    [
        failures::trials(),
        heavy::trials(),
        wrapped::trials(),
        waiting::trials(),
        checked::trials(),
        control::trials(),
        memory::trials(),
        takeover::trials(),
        drain::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A trial that cannot be without the load generators: ignored where they are missing.
pub(crate) fn under_load(trial: Trial) -> Trial {
    let must_run = env::var("CI").is_ok_and(|value| value == "true");
    let ignored = trial.has_ignored_flag() || !load::possible() && !must_run;
    trial.with_ignored_flag(ignored)
}

fn times() -> u32 {
    env::var(TIMES_VARIABLE).map_or(TIMES, |times| times.parse().expect("a number"))
}

/// Knuth's MMIX generator; its upper half is random enough for us.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 32).expect("half of it")
    }

    /// One of these.
    fn choose<T: Copy>(&mut self, several: &[T]) -> T {
        let count = u32::try_from(several.len()).expect("a few");
        several[usize::try_from(self.next() % count).expect("below their number")]
    }
}
