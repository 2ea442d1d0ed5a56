//! What the probes of a run say, as soon as they say it.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A FIFO that probes write their lines to. A reader that blocks costs the init under measurement
/// nothing, unlike one that looks into a file again and again.
#[derive(Debug)]
pub(crate) struct Voice {
    path: PathBuf,
    fifo: File,
    /// What has been read and is no whole line yet, or has not been asked for.
    rest: Vec<u8>,
}

/// A line: who said it (by its number in its own PID namespace), what it is about, and the rest.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) word: String,
    pub(crate) rest: String,
}

impl Line {
    /// The number at this place of the rest.
    pub(crate) fn number(&self, at: usize) -> i64 {
        let number = self.rest.split(' ').nth(at).and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("no number at {at} of {self:?}"))
    }
}

impl Voice {
    /// A new one at this place.
    pub(crate) fn at(path: PathBuf) -> Self {
        let name = CString::new(path.as_os_str().as_bytes()).expect("a path has no zero byte");
        // SAFETY: the pointer is to a string of our own.
        let made = unsafe { libc::mkfifo(name.as_ptr(), 0o666) };
        assert_eq!(made, 0, "{}: {}", path.display(), io::Error::last_os_error());
        // For writing as well, so that it never ends.
        let mut options = OpenOptions::new();
        let fifo = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let fifo = fifo.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, fifo, rest: Vec::new() }
    }

    /// The step that sends a probe's lines here.
    pub(crate) fn step(&self) -> String {
        format!("to={}", self.path.display())
    }

    /// The next line about this; others before it are dropped. `None` when it is not said in time.
    pub(crate) fn hear(&mut self, word: &str, bound: Duration) -> Option<Line> {
        let until = Instant::now() + bound;
        loop {
            while let Some(line) = self.line() {
                if line.word == word {
                    return Some(line);
                }
            }
            let left = until.checked_duration_since(Instant::now())?;
            let timeout = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).saturating_add(1);
            let mut fd =
                libc::pollfd { fd: self.fifo.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: the pointer is to one descriptor of our own.
            unsafe { libc::poll(&raw mut fd, 1, timeout) };
            let mut bytes = [0; 4096];
            if let Ok(read) = (&self.fifo).read(&mut bytes) {
                self.rest.extend_from_slice(&bytes[..read]);
            }
        }
    }

    fn line(&mut self) -> Option<Line> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.rest.drain(..=end).collect();
        let line = String::from_utf8_lossy(&line);
        let mut words = line.trim_end().splitn(3, ' ').skip(1).map(str::to_owned);
        let (word, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        Some(Line { word, rest })
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
