//! Lines, each written with one `write`. Safe to use in a signal handler: no memory is taken.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicI32, Ordering};

/// Where the lines go.
static OUT: AtomicI32 = AtomicI32::new(libc::STDOUT_FILENO);

struct Line {
    bytes: [u8; 1024],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let taken = text.len().min(room.len());
        room[..taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.length += taken;
        Ok(())
    }
}

/// Says a line: our pid, and this.
pub(crate) fn say(what: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; 1024], length: 0 };
    // SAFETY: the call takes nothing.
    let pid = unsafe { libc::getpid() };
    // Writing to the buffer cannot fail.
    let _ = writeln!(line, "{pid} {what}");
    // SAFETY: the pointer and the length are those of a buffer of our own.
    unsafe { libc::write(OUT.load(Ordering::Relaxed), line.bytes.as_ptr().cast(), line.length) };
}

/// Sends what is said from now on to this descriptor.
pub(crate) fn redirect(fd: i32) {
    OUT.store(fd, Ordering::Relaxed);
}

/// The descriptor that lines go to.
pub(crate) fn out() -> i32 {
    OUT.load(Ordering::Relaxed)
}
