//! One question and its answer, over one connection.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{MsgFlags, recv, send};

use super::{Address, Decoder, Malformed, Response, Wanted};
use crate::supervisor::Moment;

/// How long an answer is waited for, from the beginning of the connection.
pub const PATIENCE: Duration = Duration::from_secs(2);

const USER_AGENT: &str = concat!("hot-restarter/", env!("CARGO_PKG_VERSION"));

/// What is read at once, and how often in a turn: a server that never ends must not hold the loop.
const PIECE: usize = 16 << 10;
const PIECES_A_TURN: usize = 16;

/// What a question does on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// It asks.
    Get,
    /// It changes something, and carries nothing but its path.
    Post,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// Nobody can be connected to.
    Unreachable(io::Error),
    /// The connection broke.
    Broken(io::Error),
    /// What came is no answer.
    Malformed(Malformed),
    /// Nothing whole came within [`PATIENCE`].
    Late,
}

/// One clause for the log.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => write!(f, "cannot connect: {error}"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Malformed(why) => write!(f, "not an answer that we understand: {why}"),
            Self::Late => write!(f, "no answer within {} s", PATIENCE.as_secs()),
        }
    }
}

impl From<Malformed> for Failure {
    fn from(why: Malformed) -> Self {
        Self::Malformed(why)
    }
}

/// A question that is being asked. None of its calls waits: [`advance`](Self::advance) it when
/// [`poll_fd`](Self::poll_fd) is ready, and when its [`deadline`](Self::deadline) has come.
#[derive(Debug)]
pub struct Exchange {
    address: Address,
    /// How many of the address's places have been tried.
    tried: usize,
    /// Why the first of them could not be connected to.
    refusal: Option<io::Error>,
    socket: Option<OwnedFd>,
    request: Vec<u8>,
    /// How much of the request the kernel has taken.
    sent: usize,
    decoder: Decoder,
    deadline: Moment,
    told: bool,
}

impl Exchange {
    /// Begins to connect. The path is that of a [`Url`](super::Url), with its query; a failure
    /// is told by the first `advance`, whose time has then come at once.
    pub fn begin(
        now: Moment,
        address: &Address,
        method: Method,
        path: &str,
        wanted: Wanted,
    ) -> Self {
        let mut exchange = Self {
            address: address.clone(),
            tried: 0,
            refusal: None,
            socket: None,
            request: request(method, path, address.host()),
            sent: 0,
            decoder: Decoder::new(wanted),
            deadline: now + PATIENCE,
            told: false,
        };
        exchange.connect();
        if exchange.socket.is_none() {
            exchange.deadline = now;
        }
        exchange
    }

    /// What to wait for; `None` when there is nothing but to `advance`, or nothing any more.
    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        let sending = self.sent < self.request.len();
        let interest = if sending { PollFlags::POLLOUT } else { PollFlags::POLLIN };
        self.socket.as_ref().map(|socket| PollFd::new(socket.as_fd(), interest))
    }

    /// When it is to be advanced, whatever else happens.
    pub fn deadline(&self) -> Moment {
        self.deadline
    }

    /// Does as much as can be done without waiting. Tells the outcome once, and closes the
    /// connection with that.
    pub fn advance(&mut self, now: Moment) -> Option<Result<Response, Failure>> {
        if self.told {
            return None;
        }
        let outcome = match self.go_on() {
            Ok(None) if now < self.deadline => return None,
            Ok(None) => Err(Failure::Late),
            Ok(Some(response)) => Ok(response),
            Err(failure) => Err(failure),
        };
        self.socket = None;
        self.told = true;
        Some(outcome)
    }

    /// Begins to connect to the next place that lets us.
    fn connect(&mut self) {
        self.socket = None;
        while self.socket.is_none()
            && let Some(attempt) = self.address.connect(self.tried)
        {
            self.tried += 1;
            match attempt {
                Ok(socket) => self.socket = Some(socket),
                Err(error) => self.refused(error),
            }
        }
    }

    /// Of `localhost`, whose second place may not even exist, the first one's reason is told.
    fn refused(&mut self, error: io::Error) {
        self.refusal.get_or_insert(error);
    }

    fn go_on(&mut self) -> Result<Option<Response>, Failure> {
        loop {
            let Some(socket) = &self.socket else {
                let nowhere = || Errno::EADDRNOTAVAIL.into();
                return Err(Failure::Unreachable(self.refusal.take().unwrap_or_else(nowhere)));
            };
            let rest = &self.request[self.sent..];
            if rest.is_empty() {
                return receive(socket, &mut self.decoder);
            }
            // Linux answers EAGAIN while it connects, and then why it could not.
            match send(socket.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => self.sent += sent,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(error) if self.sent == 0 => {
                    self.refused(error.into());
                    self.connect();
                }
                Err(error) => return Err(Failure::Broken(error.into())),
            }
        }
    }
}

fn request(method: Method, path: &str, host: &str) -> Vec<u8> {
    let (method, length) = match method {
        Method::Get => ("GET", ""),
        Method::Post => ("POST", "Content-Length: 0\r\n"),
    };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\n{length}\
         Connection: close\r\n\r\n"
    )
    .into_bytes()
}

/// Reads what has come, as far as one turn may go; the kernel says again when there is more.
fn receive(socket: &OwnedFd, decoder: &mut Decoder) -> Result<Option<Response>, Failure> {
    let mut piece = vec![0; PIECE];
    for _ in 0..PIECES_A_TURN {
        match recv(socket.as_raw_fd(), &mut piece, MsgFlags::empty()) {
            Ok(0) => return Ok(Some(decoder.end()?)),
            Ok(length) => {
                if let Some(response) = decoder.feed(&piece[..length])? {
                    return Ok(Some(response));
                }
            }
            Err(Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(Failure::Broken(error.into())),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
