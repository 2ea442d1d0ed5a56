//! A real pseudo-terminal, with the test at its keyboard.

use std::ffi::c_int;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::eventually;

/// What a keyboard sends for Ctrl-C.
pub const CTRL_C: &str = "\x03";
/// The key that stops what is in the foreground.
pub const CTRL_Z: &str = "\x1a";

/// The side of a pseudo-terminal that a person sits at.
#[derive(Debug)]
pub struct Terminal {
    keyboard: File,
}

fn check(what: &str, result: c_int) -> c_int {
    assert!(result != -1, "{what}: {}", io::Error::last_os_error());
    result
}

impl Terminal {
    /// A new terminal, and the side of it that programs have. Nothing else inherits either.
    pub fn open() -> (Self, OwnedFd) {
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        // SAFETY: the call takes an integer.
        let keyboard = check("posix_openpt", unsafe { libc::posix_openpt(flags) });
        // SAFETY: the kernel has just made it and nobody else has it.
        let keyboard = unsafe { File::from_raw_fd(keyboard) };
        let fd = keyboard.as_raw_fd();
        // SAFETY: these calls take integers.
        let programs = unsafe {
            check("grantpt", libc::grantpt(fd));
            check("unlockpt", libc::unlockpt(fd));
            check("TIOCGPTPEER", libc::ioctl(fd, libc::TIOCGPTPEER, flags))
        };
        // SAFETY: the kernel has just made it and nobody else has it.
        (Self { keyboard }, unsafe { OwnedFd::from_raw_fd(programs) })
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("a terminal takes keys");
    }

    /// What is on the screen: a copy of the descriptor to read from.
    pub fn screen(&self) -> File {
        self.keyboard.try_clone().expect("a copy of a descriptor")
    }

    /// Reads what is on the screen from now on, so that programs need not wait for a reader.
    pub fn watched(&self) -> Watched {
        let watched = Watched::default();
        let (mut screen, shown) = (self.screen(), Arc::clone(&watched.shown));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It ends with an error when the last program has left the terminal.
            while let Ok(read @ 1..) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..read]);
                shown.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        watched
    }

    /// Changes the size of the window.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the pointer is to a `winsize` of our own.
        let result =
            unsafe { libc::ioctl(self.keyboard.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        check("TIOCSWINSZ", result);
    }

    /// The process group in the foreground, by its number in our PID namespace.
    pub fn foreground(&self) -> i32 {
        // SAFETY: the call takes an integer.
        check("tcgetpgrp", unsafe { libc::tcgetpgrp(self.keyboard.as_raw_fd()) })
    }

    /// Waits until this process group is in the foreground.
    pub fn await_foreground(&self, group: i32) {
        eventually(&format!("group {group} is in the foreground"), || match self.foreground() {
            found if found == group => Ok(()),
            other => Err(other),
        });
    }
}

/// A screen that is read by somebody.
#[derive(Debug, Default)]
pub struct Watched {
    shown: Arc<Mutex<String>>,
}

impl Watched {
    /// All that it has shown so far.
    pub fn text(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has shown this so often.
    pub fn await_times(&self, words: &str, times: usize) {
        eventually(&format!("{times} × {words:?} on the screen"), || {
            let text = self.text();
            if text.matches(words).count() >= times { Ok(()) } else { Err(text) }
        });
    }
}
