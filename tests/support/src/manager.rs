//! The part of systemd that listens to its services.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::eventually;

/// Somebody who listens at a datagram socket and remembers every message.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    messages: Mutex<Vec<String>>,
}

impl Manager {
    /// One that listens at this path.
    pub fn at(path: &Path) -> Self {
        Self::bound(&SocketAddr::from_pathname(path).expect("a short path"))
    }

    /// One that listens at an abstract name.
    pub fn abstract_at(name: &str) -> Self {
        Self::bound(&SocketAddr::from_abstract_name(name).expect("a short name"))
    }

    fn bound(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).expect("a name of our own");
        socket.set_nonblocking(true).expect("a socket of ours");
        Self { socket, messages: Mutex::default() }
    }

    /// The messages so far.
    pub fn messages(&self) -> Vec<String> {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = [0; 8192];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            // What is longer systemd ignores.
            assert!(length < 4096, "{length} bytes");
            messages.push(String::from_utf8(buffer[..length].to_vec()).expect("text"));
        }
        messages.clone()
    }

    /// What of them systemd itself acts upon, a word for each: `READY`, `RELOADING`, `STOPPING`.
    pub fn states(&self) -> Vec<String> {
        let messages = self.messages();
        let lines = messages.iter().flat_map(|message| message.lines());
        lines.filter_map(|line| Some(line.strip_suffix("=1")?.to_owned())).collect()
    }

    /// Waits until they are these.
    pub fn await_states(&self, expected: &[&str]) {
        eventually(&format!("{expected:?} have been told"), || {
            if self.states() == expected { Ok(()) } else { Err(self.messages()) }
        });
    }

    /// The values of this variable, in the order in which they came.
    pub fn values(&self, variable: &str) -> Vec<String> {
        let messages = self.messages();
        let lines = messages.iter().flat_map(|message| message.lines());
        let pairs = lines.filter_map(|line| line.split_once('='));
        pairs.filter(|(name, _)| *name == variable).map(|(_, value)| value.to_owned()).collect()
    }

    /// Waits until this status has been told.
    pub fn await_status(&self, expected: &str) {
        eventually(&format!("the status {expected:?}"), || {
            let told = self.values("STATUS").iter().any(|status| status == expected);
            if told { Ok(()) } else { Err(self.messages()) }
        });
    }
}
