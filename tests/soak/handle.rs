//! A process that is held by a descriptor: whatever is sent to it reaches it or nobody.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::parent_id;
use std::sync::Arc;

use support::processes;

/// A held process.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    /// Its number.
    pub(crate) pid: i32,
    fd: Arc<OwnedFd>,
}

impl Handle {
    /// Holds a process of which this is so; `None` where it has gone. Before it was held its number
    /// may have passed to a stranger, so it is looked at when it is.
    pub(crate) fn of(pid: i32, is_it: impl FnOnce() -> bool) -> Option<Self> {
        // SAFETY: the call takes integers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        // SAFETY: the kernel has just made it and nobody else has it.
        let fd = Arc::new(unsafe { OwnedFd::from_raw_fd(fd) });
        is_it().then_some(Self { pid, fd })
    }

    /// Holds a child of this process.
    pub(crate) fn of_child(pid: i32, parent: i32) -> Option<Self> {
        Self::of(pid, || processes::process(pid).is_some_and(|child| child.parent == parent))
    }

    /// Holds our own parent, if this is it still.
    pub(crate) fn of_parent(pid: i32) -> Option<Self> {
        Self::of(pid, || i32::try_from(parent_id()) == Ok(pid))
    }

    /// Sends it a signal; whether it was still there.
    pub(crate) fn signal(&self, signal: i32) -> bool {
        let none: *const libc::siginfo_t = std::ptr::null();
        let fd = self.fd.as_raw_fd();
        // SAFETY: the call takes integers and a null pointer, which it allows.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) };
        let error = io::Error::last_os_error();
        let gone = error.raw_os_error() == Some(libc::ESRCH);
        assert!(sent == 0 || gone, "signal {signal} to {}: {error}", self.pid);
        sent == 0
    }

    /// Waits for its end.
    pub(crate) fn await_end(&self) {
        let mut looked_at =
            libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is to one `pollfd` of our own. A call that a signal cuts short ends
        // with -1.
        while unsafe { libc::poll(&raw mut looked_at, 1, -1) } < 1 {}
    }
}
