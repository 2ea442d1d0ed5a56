//! The clients that are connected: what they ask for, and what they wait for.
//!
//! They cannot hurt: there is room for a few, each has its time to say what it wants in one short
//! line, nothing is ever waited for, and who does not take its answer is dropped.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::geteuid;

use super::socket::{Listener, Peer};
use super::wire::{Kind, REQUEST_LIMIT, Reply, Request};
use crate::supervisor::{Moment, RestartStage};
use crate::sys;

/// How many clients have a place.
const PLACES: usize = 64;
/// How many of them may wait for what they have asked for: the others' places are for whoever asks
/// how things stand, a health check perhaps, and for whoever wants a stop.
const WAITING: usize = 48;
/// How many are let in before anything else is looked at.
const ACCEPTED_A_TURN: usize = 16;
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long those are waited for that our end would kill before they have said of it.
const FAREWELL: Duration = Duration::from_millis(100);
/// How long nobody is let in when we have no descriptor left.
const PAUSE: Duration = Duration::from_secs(1);

/// Who listens, and who is connected.
#[derive(Debug, Default)]
pub struct Server {
    listener: Option<Listener>,
    /// In the order in which they came.
    clients: Vec<Client>,
    /// How many there have been.
    count: u64,
    /// Until then nobody is let in.
    paused: Option<Moment>,
    /// There may be something to be taken in.
    stirs: bool,
}

/// Names a client, also when it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(u64);

#[derive(Debug)]
struct Client {
    id: ClientId,
    fd: OwnedFd,
    peer: Peer,
    state: State,
    /// It has been told that what it asked for is taken, and waits until that is done.
    follows: bool,
}

#[derive(Debug)]
enum State {
    /// It has not said what it wants.
    Silent { line: Vec<u8>, until: Moment },
    /// It has asked for the restart that is at this stage.
    Restart(RestartStage),
    /// It has asked for our end.
    Stop,
}

impl Client {
    /// Sends a line; whether it was taken.
    fn send(&self, line: &str) -> bool {
        let sent = sys::send_without_waiting(self.fd.as_raw_fd(), line.as_bytes());
        sent.is_ok_and(|sent| sent == line.len())
    }

    fn is_silent(&self) -> bool {
        match self.state {
            State::Silent { .. } => true,
            State::Restart(_) | State::Stop => false,
        }
    }
}

impl Server {
    /// One that listens here, if anywhere.
    pub fn new(listener: Option<Listener>) -> Self {
        Self { listener, ..Self::default() }
    }

    /// What is waited for: somebody who comes, says something, or goes.
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let listener = self.listener.iter().filter(|_| self.paused.is_none());
        let listener = listener.map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        listener.chain(self.clients.iter().map(|client| {
            // What one says that has said what it wants is of no interest, that it goes is told
            // all the same.
            let events = if client.is_silent() { PollFlags::POLLIN } else { PollFlags::empty() };
            PollFd::new(client.fd.as_fd(), events)
        }))
    }

    /// One of these has stirred.
    pub fn stir(&mut self) {
        self.stirs = true;
    }

    /// When somebody's patience, or ours, is over.
    pub fn deadline(&self) -> Option<Moment> {
        let silent = self.clients.iter().filter_map(|client| match client.state {
            State::Silent { until, .. } => Some(until),
            State::Restart(_) | State::Stop => None,
        });
        silent.chain(self.paused).min()
    }

    /// Takes in who comes and who goes; says whether there was a reason to. Requests are then to be
    /// had from [`Self::next_request`].
    pub fn take_in(&mut self, now: Moment) -> bool {
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if !mem::take(&mut self.stirs) && !due {
            return false;
        }
        self.paused.take_if(|until| *until <= now);
        self.drop_gone();
        for client in self.clients.extract_if(.., |client| match client.state {
            State::Silent { until, .. } => until <= now,
            State::Restart(_) | State::Stop => false,
        }) {
            client.send(&error("no request has come in time").line());
        }
        self.let_in(now);
        true
    }

    /// Drops those who waited and have gone.
    fn drop_gone(&mut self) {
        let waiting = self.clients.iter().filter(|client| !client.is_silent());
        let mut asked: Vec<PollFd> =
            waiting.map(|client| PollFd::new(client.fd.as_fd(), PollFlags::empty())).collect();
        if asked.is_empty() || poll(&mut asked, PollTimeout::ZERO).is_err() {
            return;
        }
        let gone: Vec<bool> = asked.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        let mut gone = gone.into_iter();
        self.clients.retain(|client| client.is_silent() || gone.next() != Some(true));
    }

    fn let_in(&mut self, now: Moment) {
        let Some(listener) = self.listener.as_ref().filter(|_| self.paused.is_none()) else {
            return;
        };
        for turn in 0.. {
            if turn == ACCEPTED_A_TURN {
                self.stirs = true;
                return;
            }
            let (fd, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It has gone before it was let in.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(_) => {
                    // No descriptor or no memory is left, and the socket would stir for ever.
                    self.paused = Some(now + PAUSE);
                    return;
                }
            };
            self.count += 1;
            let id = ClientId(self.count);
            let state = State::Silent { line: Vec::new(), until: now + PATIENCE };
            let client = Client { id, fd, peer, state, follows: false };
            if peer.user != 0 && peer.user != geteuid().as_raw() {
                let why = format!("user {} may not; root and our own user may", peer.user);
                client.send(&error(&why).line());
                continue;
            }
            // Who has said nothing for the longest time makes room. There is one, since not all wait.
            if self.clients.len() == PLACES
                && let Some(silent) = self.clients.iter().position(Client::is_silent)
            {
                self.clients.remove(silent).send(&error("others have come since").line());
            }
            self.clients.push(client);
        }
    }

    /// Somebody's request. What is none is answered here.
    pub fn next_request(&mut self) -> Option<(ClientId, Peer, Request)> {
        let mut index = 0;
        while let Some(Client { id, fd, peer, state, .. }) = self.clients.get_mut(index) {
            let State::Silent { line, .. } = state else {
                index += 1;
                continue;
            };
            match read_line(fd, line) {
                Read::Nothing => index += 1,
                Read::Gone => drop(self.clients.remove(index)),
                Read::TooLong => {
                    let why = format!("a request has {REQUEST_LIMIT} bytes at most");
                    self.clients.remove(index).send(&error(&why).line());
                }
                Read::Line => match Request::parse(line) {
                    Ok(request) => return Some((*id, *peer, request)),
                    Err(why) => {
                        self.clients.remove(index).send(&error(&why).line());
                    }
                },
            }
        }
        None
    }

    /// Answers a client for good.
    pub fn answer(&mut self, id: ClientId, reply: &Reply) {
        if let Some(index) = self.clients.iter().position(|client| client.id == id) {
            self.clients.remove(index).send(&reply.line());
        }
    }

    /// Whether one more may wait.
    pub fn has_room_to_wait(&self) -> bool {
        self.clients.iter().filter(|client| client.follows).count() < WAITING
    }

    /// Notes that a client has asked for a restart, before that begins.
    pub fn asks_for_restart(&mut self, id: ClientId) {
        self.note(id, State::Restart(RestartStage::Waiting));
    }

    /// Notes that a client has asked for our end.
    pub fn asks_for_end(&mut self, id: ClientId) {
        self.note(id, State::Stop);
    }

    fn note(&mut self, id: ClientId, now: State) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            client.state = now;
        }
    }

    /// Tells a client that what it has asked for is taken, unless it has been told already what has
    /// become of it. One that waits is told the rest as well.
    pub fn taken(&mut self, id: ClientId, reply: &Reply, waits: bool) {
        let Some(index) = self.clients.iter().position(|client| client.id == id) else {
            return;
        };
        let taken = self.clients[index].send(&reply.line());
        if taken && waits {
            self.clients[index].follows = true;
        } else {
            self.clients.remove(index);
        }
    }

    /// Whether somebody wants to be told what happens.
    pub fn is_followed(&self) -> bool {
        self.clients.iter().any(|client| client.follows)
    }

    /// Tells those who wait what happens.
    pub fn progress(&mut self, reply: &Reply) {
        let line = reply.line();
        self.clients.retain(|client| !client.follows || client.send(&line));
    }

    /// A restart has gone from one stage to the other.
    pub fn restart_moves(&mut self, from: RestartStage, to: RestartStage) {
        for client in &mut self.clients {
            if let State::Restart(stage) = &mut client.state
                && *stage == from
            {
                *stage = to;
            }
        }
    }

    /// Answers those who asked for the restart that is at this stage.
    pub fn restart_settles(&mut self, at: RestartStage, reply: &Reply) {
        let line = reply.line();
        for client in self.clients.extract_if(.., |client| match client.state {
            State::Restart(stage) => stage == at,
            State::Silent { .. } | State::Stop => false,
        }) {
            client.send(&line);
        }
    }

    /// Answers all who wait, since we end, and removes the socket.
    pub fn end(&mut self, reply: &Reply) {
        let line = reply.line();
        let mut told: Vec<Client> = self.clients.drain(..).collect();
        told.retain(|client| !client.is_silent() && client.send(&line));
        if let Some(listener) = self.listener.take() {
            listener.remove();
        }
        if std::process::id() == 1 {
            // The kernel kills with us whom it knows by a number in our namespace.
            told.retain(|client| client.peer.pid != 0);
            await_gone(told);
        }
    }
}

/// Lets clients say what they were told, and go. A moment at most: nobody delays our end.
fn await_gone(mut clients: Vec<Client>) {
    let until = sys::monotonic() + FAREWELL;
    while !clients.is_empty() {
        let left = PollTimeout::try_from((until - sys::monotonic()).as_millis());
        let mut asked: Vec<PollFd> = clients
            .iter()
            .map(|client| PollFd::new(client.fd.as_fd(), PollFlags::empty()))
            .collect();
        if !poll(&mut asked, left.unwrap_or(PollTimeout::ZERO)).is_ok_and(|gone| gone > 0) {
            return;
        }
        let gone: Vec<bool> = asked.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        let mut gone = gone.into_iter();
        clients.retain(|_| gone.next() != Some(true));
    }
}

fn error(why: &str) -> Reply {
    Reply::new(Kind::Error, false, why)
}

/// What there was to read.
enum Read {
    /// Nothing more for now.
    Nothing,
    /// A whole line.
    Line,
    /// More than a line may have.
    TooLong,
    /// It has gone without one.
    Gone,
}

/// Reads what there is of a client's line. What follows the line is of no interest, and a client
/// that has said its last word needs no end of the line.
fn read_line(fd: &OwnedFd, line: &mut Vec<u8>) -> Read {
    let mut buffer = [0; REQUEST_LIMIT + 1];
    let read = match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
        Err(Errno::EAGAIN | Errno::EINTR) => return Read::Nothing,
        Err(_) => return Read::Gone,
        Ok(0) if line.is_empty() => return Read::Gone,
        Ok(0) => return Read::Line,
        Ok(read) => &buffer[..read],
    };
    let (part, ends) = match read.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&read[..end], true),
        None => (read, false),
    };
    line.extend_from_slice(part);
    match (line.len() <= REQUEST_LIMIT, ends) {
        (false, _) => Read::TooLong,
        (true, true) => Read::Line,
        (true, false) => Read::Nothing,
    }
}
