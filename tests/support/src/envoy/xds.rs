//! A server of Envoy's configuration that answers when a test says so.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use crate::eventually;

/// An answer that brings nothing: Envoy has waited for it, and goes on.
const NOTHING: &str = r#"{"version_info":"1","resources":[]}"#;

/// The server. Its threads wait for connections and answers as long as the process lives.
#[derive(Debug)]
pub struct Xds {
    port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    asked: usize,
    answers: bool,
}

impl Default for Xds {
    fn default() -> Self {
        Self::silent()
    }
}

impl Xds {
    /// One that is asked and answers nobody.
    pub fn silent() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let state = Arc::new((Mutex::default(), Condvar::new()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A client that goes away is an epoch that was killed.
                thread::spawn(move || drop(serve(&stream, &shared)));
            }
        });
        Self { port, state }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers from now on, and everybody who waits.
    pub fn answer(&self) {
        self.set_answers(true);
    }

    /// Answers nobody from now on.
    pub fn fall_silent(&self) {
        self.set_answers(false);
    }

    fn set_answers(&self, answers: bool) {
        let (state, changed) = &*self.state;
        state.lock().unwrap_or_else(PoisonError::into_inner).answers = answers;
        changed.notify_all();
    }

    /// How often it has been asked.
    pub fn asked(&self) -> usize {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner).asked
    }

    /// Waits until it has been asked more often than so many times.
    pub fn await_asked(&self, before: usize) {
        eventually("Envoy asks for its clusters", || match self.asked() {
            asked if asked > before => Ok(()),
            asked => Err(asked),
        });
    }
}

/// Answers one connection's questions, each when it may.
fn serve(stream: &TcpStream, shared: &(Mutex<State>, Condvar)) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            line.clear();
        }
        if line.is_empty() {
            return Ok(());
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        let (state, changed) = shared;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked += 1;
        drop(changed.wait_while(state, |state| !state.answers));
        let length = NOTHING.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut stream = stream;
        stream.write_all((head + NOTHING).as_bytes())?;
    }
}
