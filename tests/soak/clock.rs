//! The machine's clock is set, on demand alone: `SOAK_CLOCK=1` is for machines where nobody else
//! minds. No namespace has a wall clock of its own.

use std::io;
use std::mem::MaybeUninit;
use std::thread;
use std::time::{Duration, Instant};

use crate::random::Random;
use crate::tally::Tally;

/// How far the clock jumps: from a leap second's length to years.
const JUMPS: [i64; 6] = [1, 60, 3_600, 86_400, 30 * 86_400, 8 * 365 * 86_400];

/// Sets the clock forwards and back, for a moment each time, and leaves it right.
pub(crate) fn arena(random: &mut Random, until: Instant, tally: &Tally) {
    while Instant::now() < until {
        thread::sleep(Duration::from_millis(200 + random.below(1_500)));
        let far = random.one_of(&JUMPS);
        let far = if random.below(2) == 0 { far } else { -far };
        match jump(far, Duration::from_millis(20 + random.below(200))) {
            Ok(()) => tally.add("jumps of the clock", 1),
            Err(error) => return tally.broken(format!("the clock cannot be set: {error}")),
        }
    }
}

/// Sets the clock so many seconds away, and back when some time has passed.
fn jump(seconds: i64, for_so_long: Duration) -> io::Result<()> {
    let begun = Instant::now();
    let right = now()?;
    set(libc::timespec { tv_sec: right.tv_sec + seconds, ..right })?;
    thread::sleep(for_so_long);
    let nanoseconds = i128::from(right.tv_nsec) + begun.elapsed().as_nanos().cast_signed();
    let carry = i64::try_from(nanoseconds / 1_000_000_000).expect("a moment is short");
    let tv_nsec = i64::try_from(nanoseconds % 1_000_000_000).expect("less than a second");
    set(libc::timespec { tv_sec: right.tv_sec + carry, tv_nsec })
}

fn now() -> io::Result<libc::timespec> {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the pointer is to a value of our own.
    let read = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, time.as_mut_ptr()) };
    if read != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has filled it.
    Ok(unsafe { time.assume_init() })
}

fn set(time: libc::timespec) -> io::Result<()> {
    // SAFETY: the pointer is to a value of our own.
    let result = unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
