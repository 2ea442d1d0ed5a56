//! The shell around the core: one thread and one wait.
//!
//! What the kernel says (signals, exits, time) becomes events, the core's actions are performed,
//! and their results are fed back at once. While nothing happens there is no system call.

pub mod capture;
mod children;
mod control;
mod perform;
mod questions;
mod signalling;
mod start;

use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cli::Control;
use crate::control::server::Server;
use crate::control::status::History;
use crate::envoy::Envoys;
use crate::exit::Exit;
use crate::http::{Address, Url};
use crate::log::Log;
use crate::memory::OomKills;
use crate::notify::Notify;
use crate::program::Launcher;
use crate::signal::Signal;
use crate::supervisor::{Batch, Event, Level, Moment, Pid, Supervisor};
use crate::sys::{self, SignalFd};
use crate::terminal::Terminal;
use crate::termination::Termination;
use crate::watch::Watch;
use capture::Capture;
use questions::Question;
use start::Programs;
pub use start::run;

/// How long signals that are passed on may keep everybody else waiting, which is twice as long where
/// the last of them goes to very many processes.
const A_TURN: Duration = Duration::from_millis(20);
/// For a wait of this length pages that only work needs are given back.
const A_WHILE: Duration = Duration::from_millis(500);
/// How long a call is left alone that we live on and that has failed.
const HINDERED_PAUSE: Duration = Duration::from_millis(100);

struct Driver {
    supervisor: Supervisor,
    signals: SignalFd,
    launcher: Launcher,
    programs: Programs,
    /// What `--ready http:` asks.
    url: Option<Url>,
    /// Where Envoy's admin is.
    admin: Option<Address>,
    /// The questions that have not been answered, at most one to each peer.
    questions: Vec<Question>,
    /// The process of `--ready exec:` that runs, or ran last.
    probe: Option<Pid>,
    /// What the check prints that runs, or ran last.
    capture: Capture,
    /// Why whoever decides whether an epoch is ready last said that it is not.
    refusal: Option<String>,
    envoys: Envoys,
    watch: Option<Watch>,
    /// The watch has something to be taken in.
    watch_stirs: bool,
    /// Where clients are to be listened to.
    control: Control,
    /// When we try to again, and until when, where a folder is locked.
    listens_at: Option<(Moment, Moment)>,
    server: Server,
    history: History,
    /// What has been said of a request to reopen logs since it came, and whether somebody heard it.
    reopened: Option<Vec<(bool, String)>>,
    log: Log,
    termination: Termination,
    notify: Notify,
    /// Signals that were read and have not been handled.
    batch: Batch,
    /// What the core asked to remember of the out-of-memory killer.
    oom_kills: Option<OomKills>,
    terminal: Terminal,
    /// More than the reaping of orphans was done since we were last idle.
    stirred: bool,
    /// A call that we live on has failed in this turn.
    hindered: bool,
    /// What has been said of such calls since all of them worked.
    hindrances: Vec<String>,
    exit: Option<Exit>,
}

impl Driver {
    fn serve(&mut self) -> Exit {
        // The kernel may have had something for us before the first wait. Of an epoch 0 that has
        // ended by then nobody can ask anything.
        let mut more = self.turn();
        if self.exit.is_none() {
            self.listen();
        }
        loop {
            if let Some(exit) = self.exit {
                return exit;
            }
            self.wait(more);
            more = self.turn();
        }
    }

    /// Waits for a signal, an answer, a change, a check's output, a client, or the next deadline;
    /// where there is `more` to be done it only looks who is there.
    fn wait(&mut self, more: bool) {
        let left = if more {
            Some(Duration::ZERO)
        } else {
            self.next_deadline().map(|deadline| deadline - sys::monotonic())
        };
        if mem::take(&mut self.hindered) {
            // The turn that follows looks at everything, as after any wait that told nothing.
            self.watch_stirs = self.watch.is_some();
            self.server.stir();
            return sys::pause(left.unwrap_or(HINDERED_PAUSE).min(HINDERED_PAUSE));
        }
        // Rounded up, so that a deadline has passed when we wake.
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = Vec::with_capacity(6);
        fds.extend(self.watch.iter().map(|watch| PollFd::new(watch.fd(), PollFlags::POLLIN)));
        fds.push(PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
        fds.extend(self.questions.iter().filter_map(|question| question.exchange.poll_fd()));
        fds.extend(self.capture.poll_fd());
        let clients = fds.len();
        fds.extend(self.server.poll_fds());
        // Nothing is under way, and that may be so for months; or not much, for a while. It is the last
        // that is done, since whatever is called after it comes back.
        if left.is_none_or(|left| left >= A_WHILE) && mem::take(&mut self.stirred) {
            sys::give_back_pages();
        }
        // An error (EINTR after SIGSTOP, want of memory) is as good as a spurious wake-up: the
        // turn that follows looks at everything anyway.
        let polled = poll(&mut fds, timeout);
        let stirs = |fd: &PollFd<'_>| polled.is_err() || fd.any().unwrap_or(true);
        self.watch_stirs |= self.watch.is_some() && fds.first().is_some_and(stirs);
        if fds[clients..].iter().any(stirs) {
            self.server.stir();
        }
        match polled {
            Ok(_) => self.hindrances.clear(),
            Err(Errno::EINTR) => {}
            Err(errno) => {
                if errno == Errno::EINVAL {
                    // More descriptors than we may have by now, and without clients there are fewer.
                    self.server.drop_all();
                }
                self.hinder("wait", "cannot wait for what happens", &errno.into());
            }
        }
    }

    /// Notes that a call has failed without which a turn is blind: says so once, and has the next wait
    /// be a short pause. What the kernel keeps ready for us would have us run in circles, and of an end
    /// that could not be looked at nobody would tell us again.
    fn hinder(&mut self, event: &str, what: &str, error: &io::Error) {
        self.hindered = true;
        let message = format!("{what}, which is tried again and again: {error}");
        if !self.hindrances.contains(&message) {
            self.log.say(Level::Error, event, &message);
            self.hindrances.push(message);
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        let questions = self.questions.iter().map(|question| question.exchange.deadline());
        let watch = self.watch.as_ref().and_then(Watch::deadline);
        let listens = self.listens_at.map(|(next, _)| next);
        let others = [
            watch,
            listens,
            self.notify.deadline(),
            self.server.deadline(),
            self.supervisor.next_deadline(),
        ];
        questions.chain(others.into_iter().flatten()).min()
    }

    /// Takes in what there is; says whether there may be more.
    fn turn(&mut self) -> bool {
        let begun = sys::monotonic();
        let mut more = self.take_in_what_goes_first();
        let mut waiting = self.batch.len();
        while self.exit.is_none()
            && waiting > 0
            && let Some(signal) = self.batch.take()
        {
            if signal == Signal::CHLD {
                self.take_in_suspension();
            }
            self.stirred |= signal != Signal::CHLD;
            self.handle(Event::Signal(signal));
            waiting -= 1;
            // Thousands may wait, and to pass one on takes long where an epoch has many processes: a
            // deadline, a client and a stop do not wait for all of them.
            if self.is_late() || sys::monotonic() - begun >= A_TURN {
                break;
            }
            if waiting > 0 && self.exit.is_none() {
                more |= self.take_in_what_goes_first();
            }
        }
        if let Err(error) = self.capture.take_in(&mut self.log) {
            self.hinder("check", "cannot read what the check prints", &error);
        }
        self.take_in_answers();
        self.take_in_changes();
        self.take_in_clients();
        self.notify.retry(sys::monotonic());
        if self.is_late() {
            self.stirred = true;
            self.handle(Event::Tick);
        }
        // Between requests of clients signals are read that are not handled yet.
        more || !self.batch.is_empty()
    }

    /// Whether the core is to be told that time has passed.
    fn is_late(&self) -> bool {
        self.supervisor.next_deadline().is_some_and(|deadline| deadline <= sys::monotonic())
    }

    fn take_in_changes(&mut self) {
        let Some(watch) = &mut self.watch else {
            return;
        };
        let now = sys::monotonic();
        let taken = if mem::take(&mut self.watch_stirs) { watch.take_in(now) } else { Ok(()) };
        let changed = watch.due(now);
        if let Err(error) = taken {
            self.watch_stirs = true;
            self.hinder("watch", "cannot read what has changed", &error);
        }
        self.warn_of_watch();
        if let Some(path) = changed {
            self.stirred = true;
            self.handle(Event::Changed { path: path.display().to_string() });
        }
    }

    fn warn_of_watch(&mut self) {
        for warning in self.watch.iter_mut().flat_map(Watch::take_warnings) {
            self.log.say(Level::Warn, "watch", &warning);
        }
    }

    /// Takes in what goes before the signals that are passed on: a stop, then exits, of which those
    /// of epochs are not left behind thousands of others; says whether there are more of them.
    fn take_in_what_goes_first(&mut self) -> bool {
        self.take_in_signals();
        let more = self.take_in_exits();
        if more && !self.batch.is_empty() {
            self.take_in_ends_of_epochs();
        }
        more
    }

    /// Reads the signals that wait, and hands those to the core that go before exits.
    fn take_in_signals(&mut self) {
        let read = if self.batch.is_full() {
            // Real-time signals, which are passed on, may come faster than that is done.
            self.signals.read_stop(&mut self.batch)
        } else {
            self.signals.read(&mut self.batch)
        };
        if let Err(error) = read {
            self.hinder("signals", "cannot read signals", &error);
        }
        while let Some(signal) = self.batch.take_before_exits() {
            self.handle(Event::Signal(signal));
        }
    }

    /// Tells the core, and does what it says until it says no more.
    fn handle(&mut self, event: Event) {
        let mut event = Some(event);
        loop {
            if let Some(event) = event.take() {
                self.supervisor.handle(sys::monotonic(), event);
            }
            match self.supervisor.next_action() {
                Some(action) => event = self.perform(action),
                None => return,
            }
        }
    }
}
