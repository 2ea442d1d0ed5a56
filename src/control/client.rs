//! The client: asks the restarter that runs here for something, and prints what it says.

use std::fmt;
use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use nix::unistd;

use super::progress::Progress;
use super::wire::{Command, Kind, REPLY_LIMIT, Reply, Request, VERSION};
use super::{render, socket};
use crate::cli::{Control, Errand};
use crate::exit::Exit;
use crate::signal::Signal;
use crate::supervisor::{Moment, Seconds};
use crate::sys::{self, Inherited, SignalFd};

/// How long the first line of an answer is waited for, unless `--timeout` says. A restarter takes
/// a request at once, so one that has not by then is suspended, or hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is read at once.
const PIECE: usize = 16 << 10;

/// Why there is nothing to print.
#[derive(Debug)]
struct Trouble {
    exit: Exit,
    /// One sentence.
    why: String,
}

/// Asks for it, prints the answer, and says with which code we end.
pub fn run(errand: &Errand, signals: SignalFd, inherited: Inherited) -> Exit {
    // Every signal that ends a program is to end us. The kernel lets none of them end the PID 1
    // that we are by somebody's mistake, so there we read them.
    let signals = if std::process::id() == 1 {
        Some(signals)
    } else {
        // Where that is not allowed we end by ourselves, in time.
        let _ = sys::give_back_signals(inherited);
        None
    };
    let shown = format!("waiting for the restarter to {}", errand.command);
    let mut progress = Progress::new(errand.wait && !errand.json, &shown);
    let mut printed = Ok(());
    let answer = ask(errand, signals.as_ref(), &mut progress, &mut |line| {
        if errand.json && printed.is_ok() {
            printed = sys::write_all(libc::STDOUT_FILENO, line);
        }
    });
    progress.clear();
    let exit = match answer {
        Ok(reply) => {
            if !errand.json && reply.reply == Kind::Error {
                complain(&reply.message);
            } else if !errand.json {
                let text = render::answer(&reply);
                // Whoever asks how things stand gets an answer; whoever wants something done gets
                // it, or an error.
                let asks = matches!(errand.command, Command::Status | Command::Health);
                let fd = if reply.ok || asks { libc::STDOUT_FILENO } else { libc::STDERR_FILENO };
                printed = sys::write_all(fd, text.as_bytes());
            }
            if reply.ok && reply.reply != Kind::Error { Exit::Clean } else { Exit::NotDone }
        }
        Err(Trouble { exit, why }) => {
            complain(&why);
            exit
        }
    };
    match printed {
        Ok(()) => exit,
        Err(error) => {
            complain(&format!("cannot write the answer: {error}"));
            // What was done is done, whoever reads of it; a status is nothing but what is read.
            if errand.command == Command::Status { Exit::NotDone } else { exit }
        }
    }
}

/// Says what went wrong.
fn complain(why: &str) {
    let line = format!("hot-restarter: {}\n", render::Plain(why));
    // There is nowhere else to say it.
    let _ = sys::write_all(libc::STDERR_FILENO, line.as_bytes());
}

/// Asks for it, and returns the last line of the answer. Each one is printed as it comes.
fn ask(
    errand: &Errand,
    signals: Option<&SignalFd>,
    progress: &mut Progress,
    print: &mut dyn FnMut(&[u8]),
) -> Result<Reply, Trouble> {
    let begun = sys::monotonic();
    let first = begun + errand.timeout.unwrap_or(PATIENCE);
    let last = match errand.timeout {
        Some(timeout) => Some(begun + timeout),
        None => (!errand.wait).then_some(first),
    };
    let mut connection = Connection::open(&errand.control, first)?;
    connection.send(Request { version: VERSION, command: errand.command, wait: errand.wait })?;
    let mut heard = false;
    loop {
        let until = if heard { last } else { Some(first) };
        let line = connection.line(until, signals, progress);
        let reply = line.and_then(|line| {
            let reply = Reply::parse(&line[..line.len() - 1]).map_err(Silence::Strange)?;
            print(&line);
            Ok(reply)
        });
        let reply = reply.map_err(|silence| Trouble {
            exit: if heard { Exit::NotDone } else { Exit::NoAnswer },
            why: silence.told(errand, &connection.place, heard),
        })?;
        heard = true;
        match reply.reply {
            Kind::Taken if errand.wait => progress.say(&reply.message),
            Kind::Progress => progress.say(&reply.message),
            Kind::Done | Kind::Error | Kind::Taken => {
                // Until we are gone: a PID 1 whose end is ours as well waits for that.
                mem::forget(connection);
                return Ok(reply);
            }
        }
    }
}

/// Why no line of an answer comes.
#[derive(Debug)]
enum Silence {
    /// None has come in time.
    Late,
    /// The connection was closed, in the middle of a line perhaps.
    Closed { torn: bool },
    /// It broke.
    Broken(io::Error),
    /// A line has no end.
    Endless,
    /// A line is none that we understand: what is wrong with it.
    Strange(String),
    /// This signal has come meanwhile.
    Signal(Signal),
}

impl Silence {
    /// The same as a sentence. What has been `heard` before has taken the request.
    fn told(&self, errand: &Errand, place: &Path, heard: bool) -> String {
        let (command, place) = (errand.command, place.display());
        let acts = !matches!(command, Command::Status | Command::Health);
        match self {
            Self::Late if heard => {
                let timeout = Seconds(errand.timeout.unwrap_or(PATIENCE));
                format!("the {command} is not done within {timeout} s (--timeout); it goes on")
            }
            Self::Late => {
                let timeout = Seconds(errand.timeout.unwrap_or(PATIENCE));
                let still = if acts { format!("; it may still {command}") } else { String::new() };
                format!(
                    "the restarter at {place} does not answer within {timeout} s, so it hangs or \
                     is suspended{still}"
                )
            }
            Self::Closed { torn: true } => {
                format!("the restarter at {place} broke off in the middle of a line")
            }
            Self::Closed { torn: false } if heard => format!(
                "the restarter at {place} closed the connection before it said what became of the \
                 {command}"
            ),
            Self::Closed { torn: false } => {
                format!("the restarter at {place} closed the connection without an answer")
            }
            Self::Broken(error) => format!("the connection to {place} broke: {error}"),
            Self::Endless => format!(
                "the answer at {place} is none of a restarter: a line of more than {REPLY_LIMIT} \
                 bytes"
            ),
            Self::Strange(what) => format!("the answer at {place} {what}"),
            Self::Signal(signal) if acts => {
                format!("{signal} came before the {command} was done; it goes on")
            }
            Self::Signal(signal) => format!("{signal} came before the answer"),
        }
    }
}

/// A connection to a restarter.
#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    place: PathBuf,
    /// What has come and is not a line yet.
    received: Vec<u8>,
    /// How much of that has no newline in it.
    scanned: usize,
}

impl Connection {
    /// Connects to the first place at which a restarter listens.
    fn open(control: &Control, until: Moment) -> Result<Self, Trouble> {
        let (places, usual) = match control {
            Control::At(place) => (vec![place.clone()], false),
            Control::Usual => (socket::usual_places().to_vec(), true),
            Control::None => {
                let why = "no restarter answers: HOT_RESTARTER_CONTROL=none, so the one that runs \
                           here has no socket; --control names that of another";
                return Err(Trouble { exit: Exit::NoAnswer, why: why.to_owned() });
            }
        };
        let mut refusals = Vec::new();
        for place in places {
            match connect_to(&place, until)
                .and_then(|socket| if usual { of_a_friend(socket) } else { Ok(socket) })
            {
                Ok(socket) => return Ok(Self::over(socket, place)),
                Err(refusal) => refusals.push(format!("{} {refusal}", place.display())),
            }
        }
        let mut why = format!("no restarter answers: {}", refusals.join("; "));
        if usual {
            why += "; ";
            why += &hint();
        }
        Err(Trouble { exit: Exit::NoAnswer, why })
    }

    fn over(socket: OwnedFd, place: PathBuf) -> Self {
        Self { socket, place, received: Vec::new(), scanned: 0 }
    }

    /// Asks. A restarter that refuses us says so without hearing us, so that an end that it has made
    /// is told by what it says.
    fn send(&self, request: Request) -> Result<(), Trouble> {
        let mut line = serde_json::to_string(&request).expect("its keys are strings");
        line.push('\n');
        match send(self.socket.as_raw_fd(), line.as_bytes(), MsgFlags::MSG_NOSIGNAL) {
            Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => {
                let (place, error) = (self.place.display(), io::Error::from(errno));
                let why = format!("the restarter at {place} cannot be asked: {error}");
                Err(Trouble { exit: Exit::NoAnswer, why })
            }
        }
    }

    /// The next line, newline included.
    fn line(
        &mut self,
        until: Option<Moment>,
        signals: Option<&SignalFd>,
        progress: &mut Progress,
    ) -> Result<Vec<u8>, Silence> {
        loop {
            if let Some(line) = self.received_line() {
                return Ok(line);
            }
            if self.received.len() > REPLY_LIMIT {
                return Err(Silence::Endless);
            }
            // Before each read, since what is sent without a pause must not hold us.
            let now = sys::monotonic();
            if until.is_some_and(|until| until <= now) {
                return Err(Silence::Late);
            }
            let next = until.into_iter().chain(progress.next()).min();
            let timeout = next.map_or(PollTimeout::NONE, |next| {
                let millis = (next - now).as_micros().div_ceil(1000);
                PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
            });
            let mut fds = Vec::with_capacity(2);
            fds.push(PollFd::new(self.socket.as_fd(), PollFlags::POLLIN));
            fds.extend(signals.map(|signals| PollFd::new(signals.as_fd(), PollFlags::POLLIN)));
            match poll(&mut fds, timeout) {
                Ok(0) => progress.draw(),
                // EINTR comes after SIGSTOP.
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Silence::Broken(errno.into())),
            }
            if let Some(signal) = signals.and_then(ends_us) {
                return Err(Silence::Signal(signal));
            }
            self.receive()?;
        }
    }

    /// The first line of what has come, and nothing of what follows it.
    fn received_line(&mut self) -> Option<Vec<u8>> {
        let fresh = &self.received[self.scanned..];
        let Some(length) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.received.len();
            return None;
        };
        let end = self.scanned + length + 1;
        self.scanned = 0;
        Some(self.received.drain(..end).collect())
    }

    /// Takes in what is there, without waiting.
    fn receive(&mut self) -> Result<(), Silence> {
        let mut piece = [0; PIECE];
        match recv(self.socket.as_raw_fd(), &mut piece, MsgFlags::MSG_DONTWAIT) {
            // It ended with our request unread.
            Ok(0) | Err(Errno::ECONNRESET) => {
                Err(Silence::Closed { torn: !self.received.is_empty() })
            }
            Ok(length) => {
                self.received.extend_from_slice(&piece[..length]);
                Ok(())
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(error) => Err(Silence::Broken(error.into())),
        }
    }
}

/// A signal that ends a program which has made no other arrangements, of those that somebody sends
/// for that.
fn ends_us(signals: &SignalFd) -> Option<Signal> {
    let mut read = Vec::new();
    // Without them we end by the time that we have.
    let _ = signals.read(&mut read);
    let ends = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
    read.into_iter().find(|signal: &Signal| ends.contains(&signal.number()))
}

/// Why a place is not the one, as what follows its path.
enum Refusal {
    /// It cannot be connected to.
    Errno(Errno),
    /// The kernel lets us not even try, or not know who is there.
    Hindered(io::Error),
    /// Its queue has not become shorter in time.
    Full,
    /// A user who is neither root nor we listens there.
    Stranger(u32),
    /// Whoever listens there is in a PID namespace that is neither ours nor below it.
    Elsewhere,
}

impl Refusal {
    fn hindered(errno: Errno) -> Self {
        Self::Hindered(errno.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(Errno::ENOENT | Errno::ENOTDIR) => f.write_str("is not there"),
            Self::Errno(Errno::ECONNREFUSED) => {
                f.write_str("is there, but nobody listens any more")
            }
            Self::Errno(Errno::EACCES | Errno::EPERM) if unistd::geteuid().is_root() => f
                .write_str(
                    "is not for a root without CAP_DAC_OVERRIDE; its restarter's own user may",
                ),
            Self::Errno(Errno::EACCES | Errno::EPERM) => {
                f.write_str("is for root and its restarter's own user only")
            }
            Self::Errno(Errno::EPROTOTYPE) => f.write_str("is no socket of a restarter"),
            Self::Errno(error) => write!(f, "cannot be connected to: {}", io::Error::from(*error)),
            Self::Hindered(error) => write!(f, "cannot be asked from here: {error}"),
            Self::Full => f.write_str("does not take our connection, as if it hung"),
            Self::Stranger(user) => {
                write!(f, "belongs to user {user}, who is neither root nor we")
            }
            Self::Elsewhere => f.write_str("belongs to a restarter of another container"),
        }
    }
}

/// Connects; waits for room in the queue, as no call but this one can.
fn connect_to(place: &Path, until: Moment) -> Result<OwnedFd, Refusal> {
    let address = UnixAddr::new(place).map_err(Refusal::Errno)?;
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket =
        socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(Refusal::hindered)?;
    let socket = sys::above_stdio(socket).map_err(Refusal::Hindered)?;
    loop {
        // Zero would be no limit at all.
        let left = (until - sys::monotonic()).max(Duration::from_millis(1));
        let seconds = left.as_secs().try_into().expect("an option takes a week at most");
        let left = TimeVal::new(seconds, left.subsec_micros().into());
        setsockopt(&socket, sockopt::SendTimeout, &left).map_err(Refusal::hindered)?;
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => return Ok(socket),
            // We were suspended and go on, with what is left of our time.
            Err(Errno::EINTR) if sys::monotonic() < until => {}
            Err(Errno::EINTR | Errno::EAGAIN) => return Err(Refusal::Full),
            Err(error) => return Err(Refusal::Errno(error)),
        }
    }
}

/// Anybody can make a file in `/dev/shm` before we do, so who listens there must be root or we. All
/// containers of a pod share it, so it must also be a restarter that we can see: 0 is the pid of a
/// process in a PID namespace that is neither ours nor below it.
fn of_a_friend(socket: OwnedFd) -> Result<OwnedFd, Refusal> {
    let peer = getsockopt(&socket, sockopt::PeerCredentials).map_err(Refusal::hindered)?;
    let friends = [0, unistd::geteuid().as_raw()];
    match (friends.contains(&peer.uid()), peer.pid()) {
        (false, _) => Err(Refusal::Stranger(peer.uid())),
        (true, 0) => Err(Refusal::Elsewhere),
        (true, _) => Ok(socket),
    }
}

/// What to do when there is none at the usual places. Root may use any, but must say which. Anybody
/// can make a file of any name there, so only a socket is proposed that is the user's whom its name
/// tells.
fn hint() -> String {
    let others = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let place = others.filter(|_| unistd::geteuid().is_root()).find_map(|entry| {
        let name = entry.file_name();
        let number = name.to_str()?.strip_prefix("hot-restarter-")?.strip_suffix(".sock")?;
        let user = number.parse::<u32>().ok().filter(|user| *user != 0)?;
        // A number may be written in several ways, and one of them is meant.
        let place = format!("/dev/shm/hot-restarter-{user}.sock");
        let found = fs::symlink_metadata(&place).ok()?;
        (found.uid() == user && found.file_type().is_socket()).then_some(place)
    });
    match place {
        Some(place) => format!("try --control {place}"),
        None => "one elsewhere is named by --control or HOT_RESTARTER_CONTROL".to_owned(),
    }
}
