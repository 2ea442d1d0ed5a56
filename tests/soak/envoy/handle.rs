//! A process that can be signalled for as long as we hold it: never another one of its number.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use support::envoy::Process;

/// A process, held by a descriptor.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    /// Its number.
    pub process: Process,
    fd: Arc<OwnedFd>,
}

impl Handle {
    /// Of a process that this one has as a child; `None` when it has gone.
    pub(super) fn of_child(parent: Process, process: Process) -> Option<Self> {
        // SAFETY: the call takes integers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process.0, 0) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        // SAFETY: the kernel has just made it and nobody else has it.
        let fd = Arc::new(unsafe { OwnedFd::from_raw_fd(fd) });
        // Only now the number cannot have become another's unseen.
        parent.children().contains(&process).then_some(Self { process, fd })
    }

    /// Sends it a signal; whether it was still there.
    pub(super) fn signal(&self, signal: i32) -> bool {
        let none: *const libc::siginfo_t = std::ptr::null();
        let fd = self.fd.as_raw_fd();
        // SAFETY: the call takes integers and a null pointer, which it allows.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) };
        let error = io::Error::last_os_error();
        let gone = error.raw_os_error() == Some(libc::ESRCH);
        assert!(sent == 0 || gone, "signal {signal} to {:?}: {error}", self.process);
        sent == 0
    }
}
