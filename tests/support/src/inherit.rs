//! What a command starts with, beyond what `std` can set.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What the kernel calls a set of signals; the C library's functions leave some out.
type SignalSet = u64;

fn set(signals: &[i32]) -> SignalSet {
    signals.iter().fold(0, |set, signal| set | 1 << (signal - 1))
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Ends the ignoring of signals that this process was started with, by `nohup` or as a shell's `&`,
/// so that what it starts ignores none. Rust's runtime sees to SIGPIPE.
pub fn ignore_nothing() {
    for signal in (1..=64).filter(|signal| *signal != libc::SIGPIPE) {
        // The kernel's `struct sigaction`: handler, flags, restorer, mask.
        let mut action = [0_usize; 4];
        let (size, none) = (size_of::<SignalSet>(), std::ptr::null_mut::<usize>());
        // SAFETY: the calls read and write an action of our own, and SIG_DFL runs no code of ours.
        // They fail for SIGKILL and SIGSTOP, which nobody can ignore.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, none, action.as_mut_ptr(), size);
            if action[0] == libc::SIG_IGN {
                action[0] = libc::SIG_DFL;
                libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), none, size);
            }
        }
    }
}

/// More of what a command starts with. Each change is made in the child, in the order of the
/// calls, after what `std` sets itself.
pub trait Inherit {
    /// Starts with these signals blocked.
    fn blocking(&mut self, signals: &[i32]) -> &mut Self;
    /// Starts after it was sent this signal, which waits when it is blocked.
    fn after(&mut self, signal: i32) -> &mut Self;
    /// Starts with these signals ignored.
    fn ignoring(&mut self, signals: &[i32]) -> &mut Self;
    /// Starts with this file open under this number.
    fn with_descriptor(&mut self, number: RawFd, file: File) -> &mut Self;
    /// Starts without this descriptor.
    fn without_descriptor(&mut self, number: RawFd) -> &mut Self;
    /// Starts in a session of its own, with this terminal as its standard input, output and
    /// controlling terminal.
    fn on_terminal(&mut self, terminal: OwnedFd) -> &mut Self;
}

impl Inherit for Command {
    fn blocking(&mut self, signals: &[i32]) -> &mut Self {
        let set = set(signals);
        // SAFETY: the closure makes one system call, and reads what it owns.
        unsafe {
            self.pre_exec(move || {
                let size = size_of::<SignalSet>();
                let none = std::ptr::null_mut::<SignalSet>();
                let how = libc::SIG_BLOCK;
                check(libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set, none, size))
                    .map(drop)
            })
        }
    }

    fn after(&mut self, signal: i32) -> &mut Self {
        // SAFETY: the closure makes system calls that take integers.
        unsafe { self.pre_exec(move || check(libc::kill(libc::getpid(), signal).into()).map(drop)) }
    }

    fn ignoring(&mut self, signals: &[i32]) -> &mut Self {
        let signals = signals.to_vec();
        // SAFETY: the closure makes system calls, and reads what it owns.
        unsafe {
            self.pre_exec(move || {
                for signal in &signals {
                    // The kernel's `struct sigaction`: handler, flags, restorer, mask.
                    let action = [libc::SIG_IGN, 0, 0, 0];
                    let size = size_of::<SignalSet>();
                    let none = std::ptr::null_mut::<usize>();
                    check(libc::syscall(
                        libc::SYS_rt_sigaction,
                        *signal,
                        action.as_ptr(),
                        none,
                        size,
                    ))?;
                }
                Ok(())
            })
        }
    }

    fn with_descriptor(&mut self, number: RawFd, file: File) -> &mut Self {
        // SAFETY: the closure makes one system call on a descriptor that it owns. The number is
        // free in the child, or meant to be replaced.
        unsafe {
            self.pre_exec(move || check(libc::dup2(file.as_raw_fd(), number).into()).map(drop))
        }
    }

    fn without_descriptor(&mut self, number: RawFd) -> &mut Self {
        // SAFETY: the closure makes one system call; what the number belongs to in our own
        // process stays open there.
        unsafe { self.pre_exec(move || check(libc::close(number).into()).map(drop)) }
    }

    fn on_terminal(&mut self, terminal: OwnedFd) -> &mut Self {
        // SAFETY: the closure makes system calls on a descriptor that it owns.
        unsafe {
            self.pre_exec(move || {
                let terminal = terminal.as_raw_fd();
                check(libc::setsid().into())?;
                check(libc::ioctl(terminal, libc::TIOCSCTTY, 0).into())?;
                check(libc::dup2(terminal, libc::STDIN_FILENO).into())?;
                check(libc::dup2(terminal, libc::STDOUT_FILENO).into()).map(drop)
            })
        }
    }
}
