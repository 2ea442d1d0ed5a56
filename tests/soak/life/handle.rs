//! A process that is held: whatever is sent to it reaches it or nobody.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

use support::processes;

/// A held process.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) pid: i32,
    file: File,
}

impl Handle {
    /// Holds a child of this process.
    pub(super) fn of_child(pid: i32, parent: i32) -> Option<Self> {
        // SAFETY: the call takes integers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        // SAFETY: the descriptor was just made for us.
        let file = unsafe { File::from_raw_fd(fd) };
        // Before it was held its number may have passed to a stranger.
        let parent_now = processes::process(pid)?.parent;
        (parent_now == parent).then_some(Self { pid, file })
    }

    /// Sends it a signal; whether it was there.
    pub(super) fn signal(&self, signal: i32) -> bool {
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the call takes integers and a null pointer.
        let sent = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.file.as_raw_fd(), signal, none, 0)
        };
        sent == 0
    }
}

/// `CLOCK_MONOTONIC` in microseconds, as the kernel's record has it.
pub(super) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` of our own.
    let read = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(read, 0, "{}", io::Error::last_os_error());
    u64::try_from(time.tv_sec * 1_000_000 + time.tv_nsec / 1000).expect("a time is positive")
}
