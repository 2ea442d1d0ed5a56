//! Processes of others: whether they are there, and signals to them.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::{check, check_long};
use crate::signal::Signal;
use crate::supervisor::Pid;

/// Signals a direct child of ours that is not reaped. The number is its own until it is.
pub fn signal_child(pid: Pid, signal: Signal) -> io::Result<()> {
    assert!(pid.0 > 1, "only a child of ours is signalled");
    // SAFETY: sending a signal touches no memory of ours.
    check(unsafe { libc::kill(pid.0, signal.number()) }).map(drop)
}

/// Signals a process group whose leader is a direct child of ours that is not reaped.
pub fn signal_group(group: Pid, signal: Signal) -> io::Result<()> {
    assert!(group.0 > 1, "kill(-1) is everybody, kill(0) ourselves");
    // SAFETY: sending a signal touches no memory of ours.
    check(unsafe { libc::kill(-group.0, signal.number()) }).map(drop)
}

/// A process held by a descriptor: what is read of it under `/proc` after this was opened, and
/// before a signal through it succeeds, was no stranger's.
#[derive(Debug)]
pub struct PidFd {
    pid: Pid,
    /// `None` where it cannot be held (a kernel older than 5.3, a seccomp profile that does not
    /// know the call, no descriptor left): then its number alone must do.
    fd: Option<OwnedFd>,
}

impl PidFd {
    /// Holds a process. An error means that it is gone.
    pub fn open(pid: Pid) -> io::Result<Self> {
        assert!(pid.0 > 1, "neither everybody nor a group nor PID 1");
        // SAFETY: the call takes two integers.
        let opened = check_long(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.0, 0) });
        match opened {
            Ok(fd) => {
                let fd = RawFd::try_from(fd).expect("a descriptor is an int");
                // SAFETY: the kernel has just made it and nobody else has it.
                let fd = Some(unsafe { OwnedFd::from_raw_fd(fd) });
                Ok(Self { pid, fd })
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => {
                Err(error)
            }
            Err(_) => Ok(Self { pid, fd: None }),
        }
    }

    /// Signals it.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(fd) = &self.fd else {
            // SAFETY: sending a signal touches no memory of ours. The pid is positive.
            return check(unsafe { libc::kill(self.pid.0, signal.number()) }).map(drop);
        };
        let info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a null `siginfo` asks for the one that kill(2) would send.
        check_long(unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal.number(), info, 0)
        })
        .map(drop)
    }
}

/// Whether there is a process of this number, of any user.
pub fn process_exists(pid: Pid) -> bool {
    // SAFETY: signal 0 asks and sends nothing.
    match check(unsafe { libc::kill(pid.0, 0) }) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() == Some(libc::EPERM),
    }
}

/// Whether a process group has a member, of any user.
pub fn group_exists(group: Pid) -> bool {
    // kill(-1) would ask everybody, and 0 is a group outside our PID namespace.
    if group.0 <= 1 {
        return true;
    }
    // SAFETY: signal 0 asks and sends nothing.
    match check(unsafe { libc::kill(-group.0, 0) }) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() == Some(libc::EPERM),
    }
}
