//! The entry point: signals first, then the command line, then the loop.

// Rust's own runtime changes the disposition of SIGPIPE, opens /dev/null for what we were
// started without, and costs system calls, all before `main`. The C library calls us directly
// instead, so that an epoch inherits exactly what we did.
#![no_main]
#![expect(unsafe_code, reason = "the C library's `main` has no safe form")]

use hot_restarter::{driver, sys};

#[global_allocator]
static ALLOCATOR: sys::Allocator = sys::Allocator;

/// What the C library calls.
///
/// # Safety
///
/// Only the C library may call it, with as many pointers to strings as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(
    count: libc::c_int,
    values: *const *const libc::c_char,
) -> libc::c_int {
    // What arrives from here on is not lost.
    let signals = sys::take_over_signals();
    // SAFETY: these are the arguments of `main`.
    let arguments = unsafe { sys::arguments(count, values) };
    i32::from(driver::run(signals, &arguments))
}
