//! What systemd is told of us, where it asks for that: `sd_notify(3)`.
//!
//! `systemctl start` waits for the first READY, and `systemctl reload` for a RELOADING that is
//! younger than its question and for the READY after that. So each restart that was asked for is
//! told of, and its end as well, whatever becomes of it. Nothing here ever waits, and what cannot
//! be told changes nothing else.

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::log;
use crate::supervisor::{Moment, Notice, RestartOutcome, RestartStage, RestartStep, What};
use crate::sys;

/// Where systemd listens.
const SOCKET: &str = "NOTIFY_SOCKET";

/// What a service manager says to us alone. An epoch that heard it would speak in our name, and
/// systemd does not listen to it.
pub const VARIABLES: [&str; 3] = [SOCKET, "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The longest status, in bytes. With everything beside it that is well below what systemd takes at
/// once, 4096 bytes.
const STATUS_LIMIT: usize = 1024;

/// How long after a state that there was no room for it is tried again, doubled each time; and when
/// it is given up.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const RETRY_PAUSE_LIMIT: Duration = Duration::from_secs(30);

/// What has been told, and to whom.
#[derive(Debug)]
pub struct Notify {
    /// `None` where nobody asks.
    socket: Option<OsString>,
    /// The epoch that became ready last. Before there is one, we are starting.
    serving: Option<u32>,
    /// A restart waits.
    waiting: bool,
    /// One is under way.
    under_way: bool,
    /// We are on the way out, and only the status changes.
    ending: bool,
    /// What there was no room for.
    late: Option<Late>,
    /// What went wrong first, until it has been said.
    trouble: Trouble,
}

/// States that wait until there is room for them.
#[derive(Debug)]
struct Late {
    /// At most a READY, a RELOADING and a READY, or a STOPPING.
    messages: Vec<String>,
    /// When they are tried again.
    next: Moment,
    /// And so long after that the next time.
    pause: Duration,
}

#[derive(Debug)]
enum Trouble {
    None,
    Unsaid(io::Error),
    Said,
}

impl Notify {
    /// One that tells this socket, a path or `@` and an abstract name, once there is something.
    pub fn new(socket: Option<OsString>) -> Self {
        Self {
            socket: socket.filter(|socket| !socket.is_empty()),
            serving: None,
            waiting: false,
            under_way: false,
            ending: false,
            late: None,
            trouble: Trouble::None,
        }
    }

    /// The same for the socket that the environment names.
    pub fn from_environment() -> Self {
        Self::new(std::env::var_os(SOCKET))
    }

    /// What went wrong, once: a sentence for the log.
    pub fn take_trouble(&mut self) -> Option<String> {
        match mem::replace(&mut self.trouble, Trouble::Said) {
            Trouble::Unsaid(error) => {
                let socket = self.socket.as_deref().unwrap_or_default().display();
                Some(format!("systemd cannot be told how we are, at {SOCKET}={socket}: {error}"))
            }
            same @ (Trouble::None | Trouble::Said) => {
                self.trouble = same;
                None
            }
        }
    }

    /// Tells how far a restart has come at `now`.
    pub fn step(&mut self, now: Moment, step: &RestartStep) {
        if self.socket.is_none() {
            return;
        }
        match step {
            RestartStep::Asked => {
                self.waiting = true;
                // Beside one that is under way it is told of when that one has settled: a READY
                // in between would be taken for its own.
                if !self.under_way {
                    self.reloading(now);
                }
            }
            RestartStep::Begins => (self.waiting, self.under_way) = (false, true),
            RestartStep::PutOff => {
                (self.waiting, self.under_way) = (true, false);
                self.reloading(now);
            }
            RestartStep::Settled { stage, outcome } => {
                match stage {
                    RestartStage::Waiting => self.waiting = false,
                    RestartStage::UnderWay => self.under_way = false,
                }
                self.settled(now, outcome);
            }
        }
    }

    fn settled(&mut self, now: Moment, outcome: &RestartOutcome) {
        if self.serving.is_none() || self.ending {
            return;
        }
        let status = match outcome {
            // That it serves has been told.
            RestartOutcome::Ready { .. } => None,
            RestartOutcome::Refused { .. } => Some(self.beside(format!("restart {outcome}"))),
            RestartOutcome::Failed { .. }
            | RestartOutcome::Fatal { .. }
            | RestartOutcome::Stopped { .. } => Some(outcome.to_string()),
        };
        self.tell("READY=1\n", status.as_deref());
        if self.waiting {
            self.reloading(now);
        }
    }

    /// A restart has been asked for, or was asked for before and does not settle by what follows
    /// next. systemd takes no older word of it than its own question.
    fn reloading(&mut self, now: Moment) {
        if self.serving.is_none() || self.ending {
            return;
        }
        let since_boot = now.0.as_micros().to_string();
        let state = ["RELOADING=1\nMONOTONIC_USEC=", &since_boot, "\n"].concat();
        self.tell(&state, None);
    }

    /// Tells what happened at `now`, as far as it matters to whoever looks at us.
    pub fn notice(&mut self, now: Moment, notice: &Notice) {
        if self.socket.is_none() {
            return;
        }
        let what = &notice.what;
        let subject = || format!("epoch {} ", notice.epoch.unwrap_or_default());
        if let What::Stopping { .. } = what {
            self.ending = true;
            self.tell("STOPPING=1\n", Some(&format!("stopping: {what}")));
        } else if let What::Draining { .. } | What::DrainsOn { .. } = what {
            self.tell("", Some(&format!("draining: {what}")));
        } else if let What::Drained { .. } | What::TermWaitOver { .. } = what {
            self.tell("", Some(&format!("stopping: {what}")));
        } else if let What::EndedUnexpectedly { .. } | What::EndedServing { .. } = what {
            // Our exit, which is next, says the rest.
            self.ending = true;
        } else if self.ending {
            // What happens now is part of it.
        } else if let What::Ready { .. } = what {
            let first = self.serving.is_none();
            self.serving = notice.epoch;
            self.tell(if first { "READY=1\n" } else { "" }, Some(&self.serves()));
            if first && self.waiting {
                self.reloading(now);
            }
        } else if let What::RestartAlreadyQueued = what {
            // It settles with the one that is told of, unless another one is in between.
            if self.waiting != self.under_way {
                self.reloading(now);
            }
        } else if let What::Started = what {
            self.tell("", Some(&self.beside(subject() + "is starting")));
        } else if let What::Checking = what {
            self.tell("", Some(&self.beside(subject() + "is being checked")));
        } else if let What::RestartQueued { .. } = what {
            self.tell("", Some(&self.beside(format!("a restart {what}"))));
        } else if let What::NotReady { .. } = what {
            self.tell("", Some(&self.beside(format!("{}is {what}", subject()))));
        }
    }

    /// Tells why we exit.
    pub fn exiting(&mut self, why: &str) {
        self.tell("", Some(why));
    }

    /// A status, and what serves beside that.
    fn beside(&self, status: String) -> String {
        match self.serving {
            Some(_) => status + "; " + &self.serves(),
            None => status,
        }
    }

    fn serves(&self) -> String {
        format!("epoch {} serves", self.serving.unwrap_or_default())
    }

    /// Tells a new state, or the same again, and what people read of it.
    fn tell(&mut self, state: &str, status: Option<&str>) {
        let Some(socket) = &self.socket else {
            return;
        };
        let message = match status {
            Some(status) => [state, "STATUS=", &one_line(status), "\n"].concat(),
            None => state.to_owned(),
        };
        if self.late.is_some() {
            // In their order; what people read is told with the state that comes next.
            return self.postpone(state, message);
        }
        let Err(error) = send(socket, &message) else {
            return;
        };
        if error.kind() == io::ErrorKind::WouldBlock {
            self.postpone(state, message);
        }
        if let Trouble::None = self.trouble {
            self.trouble = Trouble::Unsaid(error);
        }
    }

    /// Keeps a state until there is room for it: systemd would wait for it for as long as it can.
    fn postpone(&mut self, state: &str, message: String) {
        if state.is_empty() {
            return;
        }
        let late = self.late.get_or_insert_with(|| Late {
            messages: Vec::new(),
            next: sys::monotonic() + RETRY_PAUSE,
            pause: RETRY_PAUSE,
        });
        let is = |message: &String, state: &str| message.starts_with(state);
        if is(&message, "STOPPING") {
            // Whatever came before does not matter any more.
            late.messages.clear();
        } else if is(&message, "RELOADING") {
            // A reload that is younger stands for those before it.
            late.messages.retain(|before| !is(before, "RELOADING"));
        }
        if late.messages.last().is_some_and(|last| is(last, "READY") && is(&message, "READY")) {
            late.messages.pop();
        }
        late.messages.push(message);
    }

    /// When what could not be told is tried again.
    pub fn deadline(&self) -> Option<Moment> {
        self.late.as_ref().map(|late| late.next)
    }

    /// Tries it, if it is time to. After a minute of that it is given up.
    pub fn retry(&mut self, now: Moment) {
        let (Some(socket), Some(late)) = (&self.socket, &mut self.late) else {
            return;
        };
        if now < late.next {
            return;
        }
        while let Some(message) = late.messages.first() {
            match send(socket, message) {
                Ok(()) => drop(late.messages.remove(0)),
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && late.pause < RETRY_PAUSE_LIMIT =>
                {
                    late.pause *= 2;
                    late.next = now + late.pause;
                    return;
                }
                Err(_) => break,
            }
        }
        self.late = None;
    }
}

/// A status as the single line that it must be.
fn one_line(status: &str) -> String {
    let mut line = log::one_line(status);
    let end = (0..=STATUS_LIMIT).rev().find(|end| line.is_char_boundary(*end));
    line.truncate(end.unwrap_or_default());
    line.truncate(line.trim_end().len());
    line
}

/// Sends one message, or does not where that would have to wait. The socket is made anew each time:
/// it is needed a few times in months.
fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(socket)?,
        _ => return Err(io::Error::other("it is neither a path nor an abstract name")),
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests;
