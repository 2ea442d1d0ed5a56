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
mod tests {
    use super::*;
    use crate::exit::{Exit, Status};
    use crate::signal::Signal;
    use crate::supervisor::{End, Failure, Obstacle, Pid, ReadyBy, StopReason};

    /// Somebody who listens, and the one that tells them.
    struct Told {
        listener: UnixDatagram,
        notify: Notify,
        now: u64,
    }

    impl Told {
        fn new(name: &str) -> Self {
            let name = format!("hot-restarter-{}-{name}", std::process::id());
            let address = SocketAddr::from_abstract_name(&name).expect("a short name");
            let listener = UnixDatagram::bind_addr(&address).expect("a name of our own");
            listener.set_nonblocking(true).expect("a socket of ours");
            Self { listener, notify: Notify::new(Some(format!("@{name}").into())), now: 0 }
        }

        /// The same, and epoch 0 serves.
        fn serving(name: &str) -> Self {
            let mut told = Self::new(name);
            told.notice(0, What::Started);
            told.notice(0, ready());
            assert_eq!(
                told.take(),
                ["STATUS=epoch 0 is starting", "READY=1|STATUS=epoch 0 serves"]
            );
            told
        }

        fn now(&mut self) -> Moment {
            self.now += 1;
            Moment(Duration::from_micros(self.now))
        }

        fn notice(&mut self, epoch: u32, what: What) {
            let now = self.now();
            let notice = Notice { epoch: Some(epoch), pid: Some(Pid(17)), what };
            self.notify.notice(now, &notice);
        }

        fn step(&mut self, step: &RestartStep) {
            let now = self.now();
            self.notify.step(now, step);
        }

        fn settled(&mut self, stage: RestartStage, outcome: RestartOutcome) {
            self.step(&RestartStep::Settled { stage, outcome });
        }

        /// What was told since, a message a line.
        fn take(&self) -> Vec<String> {
            let mut buffer = [0; 5000];
            let mut messages = Vec::new();
            while let Ok(length) = self.listener.recv(&mut buffer) {
                assert!(length < 4096, "systemd takes no more");
                let message = String::from_utf8(buffer[..length].to_vec()).expect("text");
                let lines = message.strip_suffix('\n').expect("whole lines");
                messages.push(lines.replace('\n', "|"));
            }
            messages
        }
    }

    fn ready() -> What {
        What::Ready { after: Duration::from_secs(1), by: ReadyBy::Option }
    }

    fn is_ready(epoch: u32) -> RestartOutcome {
        RestartOutcome::Ready { epoch, after: Duration::from_secs(1) }
    }

    fn refused() -> RestartOutcome {
        RestartOutcome::Refused { why: "the check exited with 1".to_owned() }
    }

    fn stopping() -> What {
        let reason = StopReason::Signal(Signal::TERM);
        What::Stopping { reason, epochs: 1, term_wait: Duration::from_secs(30) }
    }

    use RestartStage::{UnderWay, Waiting};
    use RestartStep::{Asked, Begins, PutOff};

    #[test]
    fn a_restart_is_told_of_from_the_question_to_the_end() {
        let mut told = Told::serving("restart");
        told.step(&Asked);
        told.step(&Begins);
        told.notice(1, What::Checking);
        told.notice(1, What::Started);
        told.notice(1, ready());
        told.settled(UnderWay, is_ready(1));
        assert_eq!(
            told.take(),
            [
                "RELOADING=1|MONOTONIC_USEC=3",
                "STATUS=epoch 1 is being checked; epoch 0 serves",
                "STATUS=epoch 1 is starting; epoch 0 serves",
                "STATUS=epoch 1 serves",
                "READY=1",
            ]
        );
    }

    #[test]
    fn a_restart_that_comes_to_nothing_ends_as_well() {
        let mut told = Told::serving("nothing");
        told.step(&Asked);
        told.step(&Begins);
        told.settled(UnderWay, refused());
        told.step(&Asked);
        told.step(&Begins);
        let end = End { status: Status::Exited(1), out_of_memory: None };
        let failure = Failure::Ended(end);
        told.settled(UnderWay, RestartOutcome::Failed { epoch: 1, failure, newest: Some(0) });
        assert_eq!(
            told.take(),
            [
                "RELOADING=1|MONOTONIC_USEC=3",
                "READY=1|STATUS=restart refused: the check exited with 1; epoch 0 serves",
                "RELOADING=1|MONOTONIC_USEC=6",
                "READY=1|STATUS=epoch 1 failed: exited with 1; epoch 0 still serves",
            ]
        );
    }

    #[test]
    fn the_next_restart_is_told_of_when_the_one_before_it_has_settled() {
        let mut told = Told::serving("next");
        told.step(&Asked);
        told.step(&Begins);
        told.step(&Asked);
        told.notice(2, What::RestartQueued { obstacle: Obstacle::NotReady { epoch: 1 } });
        told.notice(2, What::RestartAlreadyQueued);
        told.settled(UnderWay, is_ready(1));
        told.step(&Begins);
        told.settled(UnderWay, is_ready(2));
        assert_eq!(
            told.take(),
            [
                "RELOADING=1|MONOTONIC_USEC=3",
                "STATUS=a restart waits because epoch 1 is not ready yet; epoch 0 serves",
                "READY=1",
                "RELOADING=1|MONOTONIC_USEC=8",
                "READY=1",
            ]
        );
    }

    /// systemd waits for a word that is younger than its question.
    #[test]
    fn whoever_asks_for_the_same_restart_is_told_of_it_anew() {
        let mut told = Told::serving("anew");
        told.step(&Asked);
        told.notice(1, What::RestartAlreadyQueued);
        told.step(&Begins);
        told.notice(1, What::RestartAlreadyQueued);
        told.step(&Asked);
        told.step(&PutOff);
        told.step(&Begins);
        told.settled(UnderWay, is_ready(1));
        let reloading = [3, 4, 6, 8].map(|at| format!("RELOADING=1|MONOTONIC_USEC={at}"));
        assert_eq!(told.take(), [&reloading[..], &["READY=1".to_owned()]].concat());
    }

    #[test]
    fn before_we_are_ready_there_is_no_reload() {
        let mut told = Told::new("before");
        told.step(&Asked);
        told.notice(1, What::RestartAlreadyQueued);
        told.notice(0, ready());
        assert_eq!(told.take(), ["READY=1|STATUS=epoch 0 serves", "RELOADING=1|MONOTONIC_USEC=3"]);
    }

    #[test]
    fn after_the_stop_has_begun_there_is_none_either() {
        let mut told = Told::serving("stop");
        told.step(&Asked);
        told.step(&Begins);
        told.step(&Asked);
        told.take();
        told.notice(0, stopping());
        told.settled(Waiting, refused());
        told.settled(UnderWay, RestartOutcome::Stopped { epoch: 1 });
        told.notice(1, ready());
        told.notify.exiting(&Exit::Clean.to_string());
        let [first, last] = told.take().try_into().expect("two messages");
        assert!(first.starts_with("STOPPING=1|STATUS=stopping: SIGTERM received; "), "{first}");
        assert_eq!(last, format!("STATUS={}", Exit::Clean));
    }

    /// It is refused without having waited, and a READY would take the STOPPING back.
    #[test]
    fn a_restart_that_is_asked_for_in_a_stop_is_not_told_of() {
        let end = End { status: Status::Exited(3), out_of_memory: None };
        for (name, ending) in [("late", stopping()), ("last", What::EndedUnexpectedly { end })] {
            let mut told = Told::serving(name);
            told.notice(0, ending);
            told.take();
            for _ in 0..2 {
                told.notice(0, What::RestartRefused { why: "everything is being stopped".into() });
                told.settled(Waiting, refused());
            }
            assert_eq!(told.take(), [""; 0]);
        }
    }

    /// A READY would say that the reload went well.
    #[test]
    fn what_ends_everything_ends_no_restart() {
        let mut told = Told::serving("fatal");
        told.step(&Asked);
        told.step(&Begins);
        told.take();
        let end = End { status: Status::Exited(3), out_of_memory: None };
        told.notice(1, What::EndedUnexpectedly { end });
        told.settled(UnderWay, RestartOutcome::Fatal { epoch: 1, end });
        assert_eq!(told.take(), [""; 0]);
    }

    #[test]
    fn a_status_is_one_short_line() {
        let mut told = Told::new("line");
        told.notify.exiting("two\nREADY=1\nlines");
        assert_eq!(told.take(), ["STATUS=two\\nREADY=1\\nlines"]);
        for character in ["x", "€", "\n", "\u{1}"] {
            told.notify.exiting(&character.repeat(10_000));
            let [message] = told.take().try_into().expect("a message");
            let length = message.len() - "STATUS=".len();
            assert!((STATUS_LIMIT - 8..=STATUS_LIMIT).contains(&length), "{length}");
        }
    }

    #[test]
    fn trouble_is_told_once() {
        for socket in ["/no/such/socket", "@no such socket", "vsock:2:1", "@", "relative"] {
            let mut notify = Notify::new(Some(socket.into()));
            assert_eq!(notify.take_trouble(), None);
            notify.exiting("something");
            let trouble = notify.take_trouble().expect("nobody listens there");
            assert!(trouble.contains(socket), "{trouble}");
            notify.exiting("something else");
            assert_eq!(notify.take_trouble(), None, "{socket}");
        }
        for nobody in [None, Some(OsString::new())] {
            let mut notify = Notify::new(nobody);
            notify.exiting("something");
            assert_eq!(notify.take_trouble(), None);
        }
    }

    #[test]
    fn who_does_not_read_is_not_waited_for() {
        let mut told = Told::serving("full");
        // More than any kernel keeps for them.
        for _ in 0..5000 {
            told.notice(1, What::Started);
        }
        let trouble = told.notify.take_trouble().expect("it is full");
        assert!(trouble.contains("os error 11"), "{trouble}");
        told.take();
        told.notice(1, ready());
        assert_eq!(told.take(), ["STATUS=epoch 1 serves"]);
    }
}
