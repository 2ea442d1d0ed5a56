//! What the probe was given.

use std::env;
use std::fs;

use crate::kernel;
use crate::voice::{out, say};

/// How many descriptors are looked at.
const DESCRIPTORS: i32 = 1024;

/// Says, a line each: `epoch about` (the variables), `pid ppid pgid sid uid gid begun`
/// (nanoseconds of `CLOCK_MONOTONIC`), `mask` and `ignored` (hexadecimal), `deathsig`, `cwd`, `foreground` (of
/// the terminal on standard input: `yes`, `no`, `none`), `fd NUMBER FLAGS PLACE` for each open
/// descriptor but its own, and `reported` when all is said.
pub(crate) fn report(begun: i64) {
    for (word, name) in [("epoch", "RESTART_EPOCH"), ("about", "EPOCH_PID")] {
        let value = env::var(name).unwrap_or_else(|_| "none".to_owned());
        say(format_args!("{word} {value}"));
    }
    // SAFETY: these calls take integers or nothing.
    let (pid, parent, group, session, user, users_group) = unsafe {
        (
            libc::getpid(),
            libc::getppid(),
            libc::getpgrp(),
            libc::getsid(0),
            libc::getuid(),
            libc::getgid(),
        )
    };
    say(format_args!("pid {pid}"));
    say(format_args!("ppid {parent}"));
    say(format_args!("pgid {group}"));
    say(format_args!("sid {session}"));
    say(format_args!("uid {user}"));
    say(format_args!("gid {users_group}"));
    say(format_args!("begun {begun}"));
    say(format_args!("mask {:016x}", kernel::change_mask(libc::SIG_BLOCK, 0)));
    say(format_args!("ignored {:016x}", ignored()));
    let mut death_signal: libc::c_int = 0;
    // SAFETY: the pointer is to an integer of our own.
    unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut death_signal) };
    say(format_args!("deathsig {death_signal}"));
    let cwd = env::current_dir().unwrap_or_default();
    say(format_args!("cwd {}", cwd.display()));
    // SAFETY: the call takes an integer.
    let foreground = match unsafe { libc::tcgetpgrp(libc::STDIN_FILENO) } {
        -1 => "none",
        of if of == group => "yes",
        _ => "no",
    };
    say(format_args!("foreground {foreground}"));
    descriptors();
    say(format_args!("reported"));
}

fn ignored() -> kernel::SignalSet {
    let is_ignored = |signal: &i32| {
        kernel::disposition(*signal, None).is_some_and(|action| action.handler == libc::SIG_IGN)
    };
    (1..=64).filter(is_ignored).fold(0, |set, signal| set | 1 << (signal - 1))
}

fn descriptors() {
    for fd in (0..DESCRIPTORS).filter(|fd| *fd != out() || *fd == libc::STDOUT_FILENO) {
        // SAFETY: the call takes integers.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        if flags == -1 {
            continue;
        }
        let place = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        say(format_args!("fd {fd} {flags:o} {}", place.display()));
    }
}
