//! One life of an Envoy under load: restarts that fail, restarts that succeed, and what must be
//! true after each.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use libc::{SIGHUP, SIGSTOP, SIGTERM};
use support::control::Answer;
use support::docker::Container;
use support::envoy::{Bare, Configuration, Process, SCRIPT, Setup, SharedMemory, Stage, Xds};
use support::eventually;
use support::load::{Counted, Load};

/// How a new epoch comes to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The start script exits with this code, and there never is an Envoy.
    Exits(u8),
    /// Envoy does not know a field of its configuration.
    UnknownField,
    /// It is to listen on a port that somebody else has. Its parent has lost its admin by then.
    TakenPort,
    /// It gets this signal as soon as it has attached to the shared memory.
    SignalledEarly(i32),
    /// It gets this signal while it waits for its xDS, when it has taken over admin and sockets.
    SignalledLate(i32),
    /// It waits for an xDS that never answers.
    Waits,
    /// The start script never comes to an end.
    Sleeps,
}

impl Way {
    /// Whether it has attached, and left its flag up.
    fn leaves_a_flag(self) -> bool {
        match self {
            Self::Exits(_) | Self::Sleeps => false,
            Self::UnknownField
            | Self::TakenPort
            | Self::SignalledEarly(_)
            | Self::SignalledLate(_)
            | Self::Waits => true,
        }
    }

    /// Whether only `--ready-timeout` ends it.
    pub(crate) fn hangs(self) -> bool {
        match self {
            Self::SignalledEarly(signal) | Self::SignalledLate(signal) => signal == SIGSTOP,
            Self::Waits | Self::Sleeps => true,
            Self::Exits(_) | Self::UnknownField | Self::TakenPort => false,
        }
    }
}

/// Where it takes place.
pub(crate) enum Place {
    Bare(Bare),
    Container(Container),
}

impl Place {
    fn log(&self) -> String {
        match self {
            Self::Bare(bare) => bare.output(),
            Self::Container(container) => container.logs(),
        }
    }

    fn stop(self) -> i32 {
        match self {
            Self::Container(container) => container.stop(),
            Self::Bare(bare) => {
                bare.restarter.signal(SIGTERM);
                Self::Bare(bare).wait()
            }
        }
    }

    fn wait(self) -> i32 {
        match self {
            Self::Bare(mut bare) => bare.wait().code().expect("unshare exits as PID 1 did"),
            Self::Container(container) => container.wait(),
        }
    }
}

/// An Envoy in service, and load on it.
pub(crate) struct Life {
    load: Load,
    pub(crate) place: Place,
    pub(crate) restarter: Process,
    /// What an Envoy that is to wait waits for.
    pub(crate) xds: Xds,
    /// Who has the port that an Envoy is to fail at.
    taken: TcpListener,
    /// The epoch in service, and the script that good restarts go by.
    pub(crate) epoch: u32,
    script: String,
    /// What it answers with, what it will when the last good configuration is in service, and how
    /// many of those there have been.
    words: String,
    next_words: String,
    configurations: u32,
    failed: usize,
    repaired: usize,
    pub(crate) stage: Stage,
}

impl Life {
    /// In a PID namespace, started by the stage's own script, with these options.
    pub(crate) fn bare(options: &[&str]) -> Self {
        Self::bare_on(Stage::in_namespace((1, 2)), options, SCRIPT)
    }

    /// The same by this script, on a stage that may have peculiarities of its own.
    pub(crate) fn bare_on(stage: Stage, options: &[&str], script: &str) -> Self {
        stage.put_script(script);
        let bare = Setup::new(&stage).options(options).scripted().start();
        Self::begin(stage, bare.restarter, Place::Bare(bare), script, Load::modest)
    }

    /// From the first epoch on.
    pub(crate) fn begin(
        stage: Stage,
        restarter: Process,
        place: Place,
        script: &str,
        load: fn(&Stage) -> Load,
    ) -> Self {
        stage.await_first(|| place.log());
        Self {
            load: load(&stage),
            place,
            restarter,
            xds: Xds::silent(),
            taken: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free"),
            epoch: 0,
            script: script.to_owned(),
            words: stage.ask().expect("epoch 0 serves"),
            next_words: String::new(),
            configurations: 0,
            failed: 0,
            repaired: 0,
            stage,
        }
    }

    pub(crate) fn log(&self) -> String {
        self.place.log()
    }

    /// Runs the restarter's client to its end.
    pub(crate) fn send(&self, words: &[&str]) -> Answer {
        match &self.place {
            Place::Bare(bare) => bare.control.send(words),
            Place::Container(container) => container.send(words),
        }
    }

    /// How often the restarter has said that this has happened.
    pub(crate) fn said(&self, event: &str) -> usize {
        let words = [format!(" {event} epoch="), format!(" {event}: ")];
        let log = self.log();
        words.iter().map(|words| log.matches(words).count()).sum()
    }

    /// Waits until the restarter has said so often that this has happened.
    pub(crate) fn await_said(&self, event: &str, times: usize) {
        eventually(&format!("{event} is said {times} times"), || {
            if self.said(event) == times { Ok(()) } else { Err(self.log()) }
        });
    }

    /// Waits until the log has these words.
    pub(crate) fn await_log(&self, words: &str) {
        eventually(&format!("the log says {words:?}"), || {
            let log = self.log();
            if log.contains(words) { Ok(()) } else { Err(log) }
        });
    }

    /// What it must answer with.
    pub(crate) fn words(&self) -> &str {
        &self.words
    }

    pub(crate) fn memory(&self) -> SharedMemory {
        SharedMemory::of(&self.stage, self.restarter)
    }

    /// Waits for a process that was none of these and has attached to the shared memory, with the
    /// flag up, which is a moment later.
    pub(crate) fn await_attached(&self, before: &[Process]) -> Process {
        eventually("a new Envoy attaches to the shared memory", || {
            let now = self.restarter.descendants();
            let mut new = now.iter().filter(|process| !before.contains(process));
            let attached = new.find(|process| process.has_attached());
            attached.filter(|_| self.memory().is_initializing()).copied().ok_or_else(|| self.log())
        })
    }

    /// Puts everything into place for a restart that fails.
    fn prepare(&self, way: Way) {
        let configuration = self.stage.configuration().saying("what must never serve");
        self.stage.put_script(&self.script);
        self.stage.put(&match way {
            Way::Exits(_) | Way::Sleeps => configuration,
            Way::UnknownField => configuration.with_an_unknown_field(),
            Way::TakenPort => {
                let taken = self.taken.local_addr().expect("it is bound");
                configuration.with_a_listener_on(taken.port())
            }
            // On a busy machine the signal would come too late for an Envoy that waits for nothing.
            Way::SignalledEarly(_) | Way::SignalledLate(_) | Way::Waits => {
                configuration.waiting_for(&self.xds)
            }
        });
        match way {
            Way::Exits(code) => self.stage.put_script(&format!("exit {code}\n")),
            Way::Sleeps => self.stage.put_script("while :; do sleep 1; done\n"),
            Way::UnknownField
            | Way::TakenPort
            | Way::SignalledEarly(_)
            | Way::SignalledLate(_)
            | Way::Waits => {}
        }
    }

    /// Asks for a restart that fails in this way, and waits until the older epoch goes on alone,
    /// as if nothing had been. How long that took, from what went wrong.
    pub(crate) fn fail(&mut self, way: Way) -> Duration {
        self.fail_when(way, |life| life.restarter.signal(SIGHUP))
    }

    /// The same, by whoever asks for it.
    pub(crate) fn fail_when(&mut self, way: Way, ask: impl FnOnce(&Self)) -> Duration {
        let before = self.restarter.descendants();
        let asked = self.xds.asked();
        self.prepare(way);
        ask(self);
        match way {
            Way::SignalledEarly(signal) => self.await_attached(&before).signal(signal),
            Way::SignalledLate(signal) => {
                self.xds.await_asked(asked);
                self.await_attached(&before).signal(signal);
            }
            Way::Exits(_) | Way::UnknownField | Way::TakenPort | Way::Waits | Way::Sleeps => {}
        }
        let since = Instant::now();
        self.repaired += usize::from(way.leaves_a_flag());
        self.await_failed(&format!("after {way:?}"), &before);
        since.elapsed()
    }

    /// Waits until one that attached has failed, and these processes go on as if nothing had been.
    pub(crate) fn await_rollback(&mut self, before: &[Process]) {
        self.repaired += 1;
        self.await_failed("after a rollback", before);
    }

    /// Waits until these processes are all that is left, nothing shared is in anybody's way, and
    /// the log says as many failures and repairs as there were.
    fn await_failed(&mut self, when: &str, before: &[Process]) {
        self.failed += 1;
        eventually(&format!("epoch {} goes on alone {when}", self.epoch), || {
            let counted = (self.said("restart-failed"), self.said("repaired"));
            let left = self.restarter.descendants();
            let initializing = self.memory().is_initializing();
            let bound = self.stage.bound_epochs();
            let alone = left == before && !initializing && bound == [self.epoch % 3];
            if alone && counted == (self.failed, self.repaired) {
                return Ok(());
            }
            Err((left, initializing, bound, counted, self.log()))
        });
        assert_eq!(self.stage.ask().ok().as_ref(), Some(&self.words), "it serves {when}");
    }

    /// A good configuration, which answers with words of its own.
    pub(crate) fn next_good(&mut self) -> Configuration {
        self.configurations += 1;
        self.next_words = format!("configuration {}", self.configurations);
        self.stage.configuration().saying(&self.next_words)
    }

    /// Puts a good configuration into place.
    pub(crate) fn put_good(&mut self) {
        let good = self.next_good();
        self.stage.put_script(&self.script);
        self.stage.put(&good);
    }

    /// The same, with an xDS that it waits for.
    pub(crate) fn put_waiting(&mut self) {
        let waiting = self.next_good().waiting_for(&self.xds);
        self.stage.put_script(&self.script);
        self.stage.put(&waiting);
    }

    /// Waits until the next epoch is alone in service and serves the last good configuration.
    pub(crate) fn await_next(&mut self) {
        self.epoch += 1;
        self.words.clone_from(&self.next_words);
        self.stage.settled(self.restarter, self.epoch..=self.epoch);
        assert_eq!(self.stage.ask().ok().as_ref(), Some(&self.words), "it serves what it should");
    }

    /// A restart that succeeds, with a new configuration.
    pub(crate) fn succeed(&mut self) {
        self.put_good();
        self.restarter.signal(SIGHUP);
        self.await_next();
    }

    /// Ends it. No request has failed, the admin is there, and nothing is left that should not be.
    pub(crate) fn end(self) -> Counted {
        self.stage.settled(self.restarter, self.epoch..=self.epoch);
        assert_eq!(self.stage.bound_epochs(), [self.epoch % 3]);
        assert_eq!(self.stage.strange_memories(self.restarter), [""; 0]);
        self.end_unsettled()
    }

    /// The same when the admin may be lost, and somebody has meddled with the shared memory.
    pub(crate) fn end_unsettled(self) -> Counted {
        let Self { load, place, stage, .. } = self;
        let counted = load.stop_without_failure();
        assert_eq!(place.stop(), 0);
        assert_eq!(stage.bound_epochs(), [0; 0]);
        counted
    }

    /// Ends it, whatever becomes of requests; the exit code.
    pub(crate) fn stop(self) -> i32 {
        self.place.stop()
    }

    /// The exit code, when it ends by itself.
    pub(crate) fn wait(self) -> i32 {
        self.place.wait()
    }
}
