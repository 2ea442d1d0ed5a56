//! A process that is held, and the clock of the kernel's record.

use std::io;

pub(super) use crate::handle::Handle;

/// `CLOCK_MONOTONIC` in microseconds, as the kernel's record has it.
pub(super) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` of our own.
    let read = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(read, 0, "{}", io::Error::last_os_error());
    u64::try_from(time.tv_sec * 1_000_000 + time.tv_nsec / 1000).expect("a time is positive")
}
