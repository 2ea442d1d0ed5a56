//! A process of a restarter's, seen from outside.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::processes;

/// What the epochs of an Envoy share, below `/dev/shm`; the base id times ten follows.
const SHARED_MEMORY: &str = "/dev/shm/envoy_shared_memory_";

/// A process, by the number that it has in our own PID namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process(pub i32);

impl Process {
    /// Sends it a signal.
    pub fn signal(self, signal: i32) {
        let sent = processes::signal(self.0, signal);
        let why = io::Error::last_os_error();
        assert!(sent, "signal {signal} to {}: {why}", self.0);
    }

    /// Its children, in the order of their birth.
    pub fn children(self) -> Vec<Self> {
        processes::children(self.0).into_iter().map(|child| Self(child.pid)).collect()
    }

    /// Everything below it, zombies included, in the order of their numbers.
    pub fn descendants(self) -> Vec<Self> {
        let mut found = self.children();
        let mut next = 0;
        while let Some(parent) = found.get(next) {
            found.extend(parent.children());
            next += 1;
        }
        found.sort();
        found
    }

    /// Whether this signal has been sent to it and not been taken yet: one more is then the same.
    pub fn has_pending(self, signal: i32) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        ["ShdPnd:\t", "SigPnd:\t"].iter().any(|name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let mask = line.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
            mask & (1 << (signal - 1)) != 0
        })
    }

    /// Whether it is an Envoy that has attached to the memory that its epochs share.
    pub fn has_attached(self) -> bool {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.0)).unwrap_or_default();
        maps.contains(SHARED_MEMORY)
    }

    /// Where we find what it has at this absolute path.
    pub fn sees(self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.0))
    }

    /// The files that it has open, as it names them itself.
    pub fn open_files(self) -> Vec<PathBuf> {
        let Ok(files) = fs::read_dir(format!("/proc/{}/fd", self.0)) else {
            return Vec::new();
        };
        files.flatten().filter_map(|file| fs::read_link(file.path()).ok()).collect()
    }
}
