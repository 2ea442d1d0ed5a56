//! Random numbers from a seed, the same on every machine (`splitmix64`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The generator.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A sequence that nobody had before.
    pub fn of_the_moment() -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(
            u64::from(time.subsec_nanos()) << 20
                ^ time.as_secs()
                ^ u64::from(std::process::id()) << 40,
        )
    }

    /// The sequence of one of several arenas that share a seed.
    pub fn of_arena(seed: u64, number: usize) -> Self {
        Self(Self(seed ^ (number as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93)).any())
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is more than 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.any() % bound
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        let index = self.below(choices.len() as u64);
        choices[usize::try_from(index).expect("an index")]
    }

    /// A span below so many milliseconds, to the microsecond.
    pub fn span_below_ms(&mut self, bound_ms: u64) -> Duration {
        Duration::from_micros(self.below(bound_ms * 1000))
    }
}
