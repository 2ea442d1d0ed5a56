//! Pipes and sockets in a state of distress.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Makes a pipe as small as the kernel allows; returns how many bytes it holds.
pub fn shrink_pipe(pipe: &impl AsFd) -> usize {
    let fd = pipe.as_fd().as_raw_fd();
    // SAFETY: the call takes integers.
    let size = unsafe { libc::fcntl(fd, libc::F_SETPIPE_SZ, 1) };
    usize::try_from(size).unwrap_or_else(|_| panic!("{}", io::Error::last_os_error()))
}

/// Sends until a socket takes no more, without a change to what is shared of it.
pub fn fill_socket(socket: &impl AsFd) {
    let fd = socket.as_fd().as_raw_fd();
    let bytes = [b'\n'; 1024];
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // The smaller ones take the room that the larger ones leave.
    for length in [1024, 1] {
        // SAFETY: the pointer and the length are within an array of our own.
        while unsafe { libc::send(fd, bytes.as_ptr().cast(), length, flags) } > 0 {}
    }
}
