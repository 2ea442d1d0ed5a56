//! The child that tells what it was given, and each signal that it gets.
//!
//! Its arguments are steps, done from left to right; after the last one it exits with 0. Where it
//! has a variable `PROBE_STEPS`, its steps are the words of that, and its arguments nothing: some
//! inits start a program without arguments, or with their own. What it says are lines of
//! `PID WORD VALUE…`, each written with one `write`, so that many processes can share one file.
//!
//! | step | what it does |
//! | --- | --- |
//! | `to=PATH` | appends its lines to this file; before, they go to standard output |
//! | `report` | says what it was given: see [`report`] |
//! | `begun` | says when its first instruction was, in nanoseconds of `CLOCK_MONOTONIC` |
//! | `say=TEXT` | says this |
//! | `catch=LIST` | says each of these signals as `signal NUMBER TIME SENDER` when it comes |
//! | `exit-on=SIGNAL:CODE`, `die-on=SIGNAL` | catches it, says it, and exits or dies by it |
//! | `fork-on=SIGNAL` | catches it, says it, and forks a child that dies of it, as a program does that has just been executed, and says `forked` |
//! | `ignore=LIST`, `default=LIST`, `block=LIST`, `unblock=LIST` | sets dispositions and mask |
//! | `wait` | says `ready` and waits for signals for ever |
//! | `sleep=MILLISECONDS` | waits for the time |
//! | `reap` | waits for all its children, and says `killed PID SIGNAL` of each that a signal ended |
//! | `await=PATH` | waits until nobody holds an exclusive lock of this file |
//! | `from=PATH` | does the steps that are written in this file now; none where there is no such file |
//! | `arrive=FOLDER` | makes the file of this folder that has this epoch's number |
//! | `succeeded=FOLDER` | waits until the next epoch has made its own |
//! | `flood=LINES` | writes lines that begin with `noise` to standard error, however long that takes |
//! | `touch=PATH`, `remove=PATH` | makes a file; removes one |
//! | `exit=CODE`, `die=SIGNAL`, `raise=SIGNAL` | ends with a code, by a signal; sends itself one |
//! | `fork [ STEP… ]` | does the steps in a child, which then exits with 0 |
//! | `repeat=TIMES [ STEP… ]` | does the steps so often |
//! | `epoch=NUMBER [ STEP… ]` | does the steps in this epoch only |
//! | `exists=PATH [ STEP… ]` | does the steps if there is such a file |
//! | `setsid`, `uid=NUMBER`, `gid=NUMBER`, `close=FD` | what they say |
//! | `hold=MEBIBYTES` | takes and touches memory |
//! | `exec WORD…` | becomes another program, looked up in PATH |
//!
//! A LIST is `all` or signals with commas between them; a signal is a number or one of a few
//! names.

// Rust's runtime would change what is to be reported.
#![no_main]

mod kernel;
mod report;
mod signals;
mod steps;
mod voice;

use std::ffi::{CStr, c_char, c_int};

/// What the C library calls.
///
/// # Safety
///
/// Only the C library may call it, with as many pointers to strings as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(count: c_int, values: *const *const c_char) -> c_int {
    let begun = kernel::monotonic_ns();
    let words: Vec<&str> = (1..usize::try_from(count).unwrap_or(0))
        .map(|index| {
            // SAFETY: these are `main`'s own arguments, which live as long as the process.
            let word = unsafe { CStr::from_ptr(*values.add(index)) };
            word.to_str().expect("the steps are text")
        })
        .collect();
    match std::env::var("PROBE_STEPS") {
        Ok(steps) => steps::run(&steps.split_ascii_whitespace().collect::<Vec<_>>(), begun),
        Err(_) => steps::run(&words, begun),
    }
    0
}
