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
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use nix::unistd::geteuid;

use super::socket::{Listener, Peer};
use super::wire::{Kind, REQUEST_LIMIT, Reply, Request};
use crate::supervisor::{Moment, RestartStage};
use crate::sys;

/// How many clients have a place at most.
const PLACES: usize = 64;
/// And at least, however few descriptors we may have.
const LEAST_PLACES: usize = 4;
/// How many descriptors are left to what the epochs need: `/proc`, pidfds, a check, questions.
const KEPT_FREE: u64 = 32;
/// How many are let in before anything else is looked at.
const ACCEPTED_A_TURN: usize = 16;
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long those are waited for that our end would kill before they have said of it.
const FAREWELL: Duration = Duration::from_millis(50);
/// One that has come so recently is not silent yet: it makes no room for others, which the kernel's
/// queue keeps meanwhile.
const GRACE: Duration = Duration::from_millis(20);
/// How long nobody is let in when we have no descriptor left.
const PAUSE: Duration = Duration::from_secs(1);

/// Who listens, and who is connected.
#[derive(Debug, Default)]
pub struct Server {
    listener: Option<Listener>,
    /// How many clients have a place.
    places: usize,
    /// In the order in which they came.
    clients: Vec<Client>,
    /// Those who have heard their last word and would die with us, a PID 1, before they have said it.
    leaving: Vec<Client>,
    /// How many there have been.
    count: u64,
    /// Until then nobody is let in.
    paused: Option<Moment>,
    /// Why, until it has been said; and that it has been.
    trouble: Option<io::Error>,
    troubled: bool,
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
    Silent { line: Vec<u8>, since: Moment },
    /// It has, and that has not been looked at.
    Asks(Request),
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
            State::Asks(_) | State::Restart(_) | State::Stop => false,
        }
    }

    /// Reads what it says; whether it keeps its place.
    fn listen_to(&mut self) -> bool {
        let State::Silent { line, .. } = &mut self.state else {
            return true;
        };
        let why = match read_line(&self.fd, line) {
            Read::Nothing => return true,
            Read::Gone => return false,
            Read::TooLong => format!("a request has {REQUEST_LIMIT} bytes at most"),
            Read::Line => match Request::parse(line) {
                Ok(request) => {
                    self.state = State::Asks(request);
                    return true;
                }
                Err(why) => why,
            },
        };
        self.send(&error(&why).line());
        false
    }
}

impl Server {
    /// One that listens here.
    pub fn new(listener: Listener) -> Self {
        let limit = sys::descriptor_limit().saturating_sub(KEPT_FREE) / 2;
        let places = usize::try_from(limit).unwrap_or(PLACES).clamp(LEAST_PLACES, PLACES);
        Self { listener: Some(listener), places, ..Self::default() }
    }

    /// What is waited for: somebody who comes, says something, or goes.
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let listener = self.listener.iter().filter(|_| self.paused.is_none());
        let listener = listener.map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        listener.chain(self.clients.iter().chain(&self.leaving).map(|client| {
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
            State::Silent { since, .. } => Some(since + PATIENCE),
            State::Asks(_) | State::Restart(_) | State::Stop => None,
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
        self.clients.retain_mut(Client::listen_to);
        drop_gone(&mut self.clients, PollTimeout::ZERO);
        drop_gone(&mut self.leaving, PollTimeout::ZERO);
        for client in self.clients.extract_if(.., |client| match client.state {
            State::Silent { since, .. } => since + PATIENCE <= now,
            State::Asks(_) | State::Restart(_) | State::Stop => false,
        }) {
            client.send(&error("no request has come in time").line());
        }
        self.let_in(now);
        true
    }

    fn let_in(&mut self, now: Moment) {
        for turn in 0.. {
            if turn == ACCEPTED_A_TURN {
                self.stirs = true;
                return;
            }
            if self.is_full() && self.waits_for_room(now) {
                return;
            }
            let Some(listener) = self.listener.as_ref().filter(|_| self.paused.is_none()) else {
                return;
            };
            match listener.accept() {
                Ok((fd, peer)) => self.welcome(now, fd, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It has gone before it was let in.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // No descriptor or no memory is left: some are where one leaves.
                Err(_) if self.drop_silent(now) => {}
                Err(error) => {
                    // The socket would stir for ever.
                    self.paused = Some(now + PAUSE);
                    self.trouble = Some(error).filter(|_| !mem::replace(&mut self.troubled, true));
                    return;
                }
            }
        }
    }

    fn welcome(&mut self, now: Moment, fd: OwnedFd, peer: Peer) {
        self.count += 1;
        let id = ClientId(self.count);
        let state = State::Silent { line: Vec::new(), since: now };
        let mut client = Client { id, fd, peer, state, follows: false };
        if peer.user != 0 && peer.user != geteuid().as_raw() {
            let why = format!("user {} may not; root and our own user may", peer.user);
            client.send(&error(&why).line());
        } else if self.is_full() && !self.drop_silent(now) {
            client.send(&error("too many clients wait already").line());
        } else if client.listen_to() {
            self.clients.push(client);
        }
    }

    fn is_full(&self) -> bool {
        self.clients.len() >= self.places
    }

    /// Whether nobody is let in for a moment, since room will be made by one who has come too
    /// recently for that. All have been listened to.
    fn waits_for_room(&mut self, now: Moment) -> bool {
        let first_silent = self.clients.iter().find_map(|client| match client.state {
            State::Silent { since, .. } => Some(since),
            State::Asks(_) | State::Restart(_) | State::Stop => None,
        });
        let room = first_silent.map(|since| since + GRACE).filter(|room| now < *room);
        self.paused = room.or(self.paused);
        room.is_some()
    }

    /// Has the one leave who has said nothing for the longest time, if there is one.
    fn drop_silent(&mut self, now: Moment) -> bool {
        let silent = self.clients.iter().position(|client| match client.state {
            State::Silent { since, .. } => since + GRACE <= now,
            State::Asks(_) | State::Restart(_) | State::Stop => false,
        });
        if let Some(silent) = silent {
            self.clients.remove(silent).send(&error("others have come since").line());
        }
        silent.is_some()
    }

    /// Has all leave: `poll` takes no more descriptors than we may have, and that has become less.
    pub fn drop_all(&mut self) {
        self.clients.clear();
        self.leaving.clear();
    }

    /// Why nobody can be let in, once.
    pub fn take_trouble(&mut self) -> Option<io::Error> {
        self.trouble.take()
    }

    /// Somebody's request.
    pub fn next_request(&self) -> Option<(ClientId, Peer, Request)> {
        self.clients.iter().find_map(|client| match client.state {
            State::Asks(request) => Some((client.id, client.peer, request)),
            State::Silent { .. } | State::Restart(_) | State::Stop => None,
        })
    }

    /// Answers a client for good.
    pub fn answer(&mut self, id: ClientId, reply: &Reply) {
        if let Some(index) = self.clients.iter().position(|client| client.id == id) {
            let client = self.clients.remove(index);
            self.dismiss(client, &reply.line());
        }
    }

    /// Tells a client its last word.
    fn dismiss(&mut self, client: Client, line: &str) {
        // The kernel kills with us, if we are PID 1, whom it knows by a number in our namespace.
        let dies_with_us = std::process::id() == 1 && client.peer.pid != 0;
        if client.send(line) && dies_with_us {
            // One that reads to the end goes by itself.
            let _ = shutdown(client.fd.as_raw_fd(), Shutdown::Write);
            if self.leaving.len() >= self.places / 4 {
                self.leaving.remove(0);
            }
            self.leaving.push(client);
        }
    }

    /// Whether one more may wait for a restart. Not all may: others ask how things stand, for a
    /// health check perhaps, or want a stop.
    pub fn has_room_to_wait(&self) -> bool {
        self.follow() < self.places / 4 * 3
    }

    /// Whether one more may wait for our end.
    pub fn has_room_to_stay(&self) -> bool {
        self.follow() + 1 < self.places
    }

    fn follow(&self) -> usize {
        self.clients.iter().filter(|client| client.follows).count()
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
        if !waits {
            self.answer(id, reply);
        } else if self.clients[index].send(&reply.line()) {
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
        let asked = |client: &mut Client| match client.state {
            State::Restart(stage) => stage == at,
            State::Silent { .. } | State::Asks(_) | State::Stop => false,
        };
        let settled: Vec<Client> = self.clients.extract_if(.., asked).collect();
        for client in settled {
            self.dismiss(client, &line);
        }
    }

    /// Answers all who wait, and who has just come with a request, since we end; and removes the
    /// socket.
    pub fn end(&mut self, reply: &Reply) {
        self.stirs = true;
        self.take_in(sys::monotonic());
        let line = reply.line();
        for client in mem::take(&mut self.clients) {
            if !client.is_silent() {
                self.dismiss(client, &line);
            }
        }
        if let Some(listener) = self.listener.take() {
            listener.remove();
        }
        // A moment at most: nobody delays our end.
        let until = sys::monotonic() + FAREWELL;
        let left = || PollTimeout::try_from((until - sys::monotonic()).as_millis());
        while drop_gone(&mut self.leaving, left().unwrap_or(PollTimeout::ZERO)) {}
    }
}

/// Drops those who have said what they want and have gone, for the first of whom we wait so long;
/// whether there were any.
fn drop_gone(clients: &mut Vec<Client>, wait: PollTimeout) -> bool {
    let here = clients.iter().filter(|client| !client.is_silent());
    let mut asked: Vec<PollFd> =
        here.map(|client| PollFd::new(client.fd.as_fd(), PollFlags::empty())).collect();
    if asked.is_empty() || !poll(&mut asked, wait).is_ok_and(|gone| gone > 0) {
        return false;
    }
    let gone: Vec<bool> = asked.iter().map(|fd| fd.any().unwrap_or(true)).collect();
    let mut gone = gone.into_iter();
    clients.retain(|client| client.is_silent() || gone.next() != Some(true));
    true
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

/// Reads what there is of a client's line. What follows the line is of no interest, and a client that
/// has said its last word needs no end of it.
fn read_line(fd: &OwnedFd, line: &mut Vec<u8>) -> Read {
    let mut buffer = [0; REQUEST_LIMIT + 1];
    let read = match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
        Err(Errno::EAGAIN | Errno::EINTR) => return Read::Nothing,
        Err(_) => return Read::Gone,
        Ok(0) if line.is_empty() => return Read::Gone,
        Ok(0) => return Read::Line,
        Ok(read) => &buffer[..read],
    };
    let end = read.iter().position(|byte| *byte == b'\n');
    line.extend_from_slice(&read[..end.unwrap_or(read.len())]);
    match end {
        _ if line.len() > REQUEST_LIMIT => Read::TooLong,
        Some(_) => Read::Line,
        None => Read::Nothing,
    }
}
