//! What happens to a restarter in a life, and what is missed of it.

use std::fs::OpenOptions;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use support::control::{self, Answer};
use support::processes;
use support::scene::Restarter;

use super::lives::{Act, Life, Stage};
use super::play::Seen;
use super::tracer::Tracer;

/// How long something may take that works in milliseconds, on a busy machine and under our eyes.
const ACT: Duration = Duration::from_secs(8);
/// The same where nothing was done or said before, and what hinders it lasts.
const ACT_OF_THE_DEAF: Duration = Duration::from_secs(3);
/// How long what follows it may take, where nothing depends on it.
const REST: Duration = Duration::from_secs(1);
/// How long the end of a life may take beside its `--term-wait`: two seconds to reap what was
/// killed, and what the machine needs.
const END: Duration = Duration::from_secs(7);

/// Whether something comes true in time.
pub(super) fn within(bound: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if since.elapsed() > bound {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

pub(super) struct Playing<'a> {
    pub(super) life: &'a Life,
    pub(super) restarter: Restarter,
    pub(super) pid: i32,
    pub(super) stage: &'a Stage,
    pub(super) tracer: Tracer,
    pub(super) seen: Seen,
}

impl Playing<'_> {
    pub(super) fn has_ended(&mut self) -> bool {
        self.restarter.ended().is_some()
    }

    /// The leaders that have begun.
    fn leaders(&self) -> usize {
        self.stage.scene.journal().entries().iter().filter(|entry| entry.rest == "leader").count()
    }

    /// Waits until all of an epoch that has a leader catches its signals.
    fn is_complete(&mut self) {
        let number = self.leaders() * self.life.waits;
        let journal = self.stage.scene.journal();
        let wait = || journal.entries().iter().filter(|entry| entry.word == "ready").count();
        within(ACT, || wait() >= number || self.has_ended());
    }

    /// Waits until epoch 0 is ready, all of it has begun, and clients are listened to; whether it
    /// is.
    pub(super) fn begins(&mut self) -> bool {
        let is_ready = |playing: &Self| {
            playing.restarter.lines(" ready epoch=0 ") > 0 && playing.leaders() > 0
        };
        within(ACT, || is_ready(self) || self.has_ended());
        let ready = is_ready(self) && !self.has_ended();
        if !ready && !self.has_ended() {
            self.misses("epoch 0 is not ready");
        }
        if ready {
            self.is_complete();
            self.rests();
        }
        // Where others make their sockets at the same moment, it listens a little later.
        let socket = self.stage.scene.path("control");
        if ready && self.life.listens {
            within(REST, || socket.exists() || self.has_ended());
        }
        ready
    }

    /// How long what an act should lead to may take.
    fn bound(&self) -> Duration {
        if self.seen.silent && self.tracer.lasts() { ACT_OF_THE_DEAF } else { ACT }
    }

    /// Waits until it has done what there was to do, or is hindered in that.
    fn rests(&mut self) {
        within(REST, || self.tracer.rests() || self.has_ended());
    }

    fn misses(&mut self, what: &str) {
        self.seen.missing.push(what.to_owned());
    }

    pub(super) fn act(&mut self, act: Act) {
        // A manager that does not listen is another trial's.
        self.stage.manager.messages();
        if self.has_ended() {
            return;
        }
        match act {
            Act::Orphan => self.orphan(),
            Act::Restart => self.restart("no restart", |playing| playing.signal(libc::SIGHUP)),
            Act::Change => self.restart("no restart for the change", |playing| {
                let file =
                    OpenOptions::new().append(true).open(playing.stage.scene.path("watched"));
                file.expect("a file of the scene").write_all(b"x").expect("it is ours");
            }),
            Act::Rollback => self.rollback(),
            Act::Reopen => self.reopen(),
            Act::Ask => {
                if self.asks().code != 0 && !self.has_ended() {
                    self.misses("a client is not answered");
                }
                self.rests();
            }
            Act::End => self.stage.gate.open(),
            Act::Stop => {
                self.looks_for_zombies();
                self.signal(libc::SIGTERM);
            }
        }
    }

    fn asks(&self) -> Answer {
        let place = self.stage.scene.path("control");
        let mut client = control::client(&["status", "--timeout", "5"]);
        Answer::of(client.env(control::VARIABLE, place))
    }

    fn signal(&mut self, signal: i32) {
        if !self.has_ended() {
            processes::signal(self.pid, signal);
        }
    }

    fn orphan(&mut self) {
        let pid = self.pid;
        let before = processes::children(pid).len();
        self.stage.gate.open();
        let reaped = within(self.bound(), || processes::children(pid).len() < before);
        if !reaped {
            self.misses("an orphan is not reaped");
            self.seen.silent = true;
        }
    }

    fn rollback(&mut self) {
        let said = |playing: &Self, what| playing.restarter.lines(what) > 0;
        let [failed, refused] = [" restart-failed ", " restart-refused "];
        self.signal(libc::SIGHUP);
        within(ACT, || said(self, failed) || said(self, refused) || self.has_ended());
        if !said(self, failed) {
            self.misses("no rollback");
            self.seen.silent = !said(self, refused);
        }
    }

    fn restart(&mut self, without: &str, begin: impl FnOnce(&mut Self)) {
        let refusals = |playing: &Self| {
            [" restart-refused", " restart-failed "].map(|what| playing.restarter.lines(what))
        };
        let before = (self.leaders(), refusals(self));
        begin(self);
        within(self.bound(), || (self.leaders(), refusals(self)) != before || self.has_ended());
        if self.leaders() == before.0 && !self.has_ended() {
            self.misses(without);
            self.seen.silent |= refusals(self) == before.1;
        }
        self.is_complete();
        // Where it says nothing, its log is what fails.
        let epoch = format!(" ready epoch={} ", self.leaders() - 1);
        within(REST, || self.restarter.lines(&epoch) > 0 || self.has_ended());
        self.rests();
    }

    fn reopen(&mut self) {
        let journal = self.stage.scene.journal();
        let entries = journal.entries();
        let newest = entries.iter().rfind(|entry| entry.rest == "leader").map(|entry| entry.pid);
        let newest = newest.expect("there is a leader");
        self.signal(libc::SIGUSR1);
        let heard = || journal.signals(newest).contains(&libc::SIGUSR1);
        let dropped = format!(" reopen-unheard epoch={} …is dropped", self.leaders() - 1);
        within(self.bound(), || heard() || self.restarter.lines(&dropped) > 0);
        let heard = heard();
        if !heard {
            self.misses("the newest leader has no SIGUSR1");
            self.seen.silent |= self.restarter.lines("SIGUSR1") == 0;
        }
    }

    fn looks_for_zombies(&mut self) {
        let pid = self.pid;
        let ended = || processes::children(pid).iter().filter(|child| child.state == 'Z').count();
        // Orphans of later epochs end at once, and are none of what is stopped.
        let epochs = self.leaders();
        within(REST, || processes::children(pid).len() <= epochs);
        if !within(self.bound(), || ended() == 0) {
            self.seen.zombies = ended();
        }
    }

    /// Waits for the end, and looks at what is left behind.
    pub(super) fn ends(&mut self) {
        let bound = END + Duration::from_secs(self.life.term_wait);
        if !within(bound, || self.has_ended()) {
            self.seen.lasted = true;
            self.seen.log = self.restarter.log();
            self.tracer.ends_fault();
            within(bound, || self.has_ended());
        }
        self.seen.code = self.has_ended().then(|| self.restarter.code());
        // What our death is told to ends by it; what was forgotten does not.
        let scene = &self.stage.scene;
        within(Duration::from_secs(2), || scene.processes().is_empty());
        self.seen.left = scene
            .processes()
            .into_iter()
            .map(|pid| processes::command_line(pid).join(" "))
            .collect();
    }
}
