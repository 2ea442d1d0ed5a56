//! How long things take from one process to another.

/// Now, by the clock that probes write down.
pub(crate) fn now_ns() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a value of our own.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

#[expect(clippy::cast_precision_loss, reason = "a difference of two moments is short")]
pub(crate) fn micros(from: i64, to: i64) -> f64 {
    (to - from) as f64 / 1_000.0
}
