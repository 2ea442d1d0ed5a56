//! One life: a restarter as PID 1 over a real Envoy under load, what has been asked of it, and what
//! must be so.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clients::{Front, Mix, Population};
use libc::SIGHUP;
use support::control::Answer;
use support::envoy::{Bare, Configuration, Setup, SharedMemory, Stage, Xds};
use support::eventually;
use support::server::{Reply, Server};

use super::judge::{Excuse, judge};
use super::limits::Limits;
use super::noise::Noise;
use super::outlet::Outlet;
use super::plan::{Admin, Plan};
use super::status::{Counts, Status};
use super::story::Story;
use super::watcher::Watcher;
use crate::handle::Handle;
use crate::random::Random;
use crate::tally::Tally;

/// What Envoy writes goes beside its configuration, since its restarter's standard error may be
/// full.
pub(super) const SCRIPT: &str = "exec start_envoy.sh \"$@\" 2>>\"$ENVOY_CONFIG.said\"\n";
/// Seconds of a drain, and until an older epoch is told to end.
const DRAIN: (u32, u32) = (1, 2);
const CLIENTS: Mix = Mix { kept: 4, renewed: 2, http2: 2, tcp: 0 };
/// How many lines of a log are told when something is broken.
const SAID: usize = 60;
/// Requests that take their time, well within what a handover leaves them.
const LONG: (usize, Duration) = (2, Duration::from_millis(400));

pub(super) struct Life<'a> {
    pub(super) plan: Plan,
    pub(super) random: &'a mut Random,
    pub(super) tally: &'a Tally,
    pub(super) story: Story,
    // What goes first stands first.
    pub(super) noise: Noise,
    watcher: Watcher,
    clients: Option<Population>,
    pub(super) bare: Bare,
    /// The restarter.
    pub(super) init: Handle,
    pub(super) front: Front,
    pub(super) xds: Xds,
    pub(super) taken: TcpListener,
    pub(super) outlet: Option<Arc<Outlet>>,
    pub(super) limits: Option<Limits>,
    _silent: Server,
    /// The epoch in service, what it answers with, and whether its admin may have been closed.
    pub(super) epoch: u32,
    pub(super) words: String,
    pub(super) admin_lost: bool,
    configurations: u32,
    pub(super) counts: Counts,
    pub(super) excuses: Vec<Excuse>,
}

impl<'a> Life<'a> {
    pub(super) fn begin(
        plan: Plan,
        script: &str,
        story: Story,
        random: &'a mut Random,
        tally: &'a Tally,
    ) -> Self {
        let front = Front::of(Stage::in_namespace(DRAIN));
        let stage = &front.stage;
        stage.put_script(script);
        let limits = Limits::new();
        let outlet = plan.full_stderr.then(|| Arc::new(Outlet::below(&stage.log_folder())));
        let mut prelude = limits.as_ref().map_or_else(String::new, Limits::join);
        if let Some(outlet) = &outlet {
            prelude = format!("{prelude}exec 2>{} && ", outlet.place.display());
        }
        let silent = Server::tcp(Reply::Silence);
        let admin = match plan.admin {
            Admin::None | Admin::Right => stage.admin(),
            Admin::Silent => format!("127.0.0.1:{}", silent.port()),
        };
        let options = plan.options(&admin, &termination_log(stage));
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let bare = Setup::new(stage).options(&options).scripted().prelude(&prelude).start();
        stage.await_first(|| outlet.as_ref().map_or_else(|| bare.output(), |outlet| outlet.log()));
        // Where others make their sockets at the same moment it tries again a little later.
        eventually("clients are listened to", || {
            UnixStream::connect(bare.control.path()).map(drop)
        });
        let parent = bare.parent();
        let init = Handle::of_child(bare.restarter.0, parent.0).expect("it serves");
        let mut clients = front.clients(CLIENTS);
        clients.keep_sending_long(LONG.0, LONG.1);
        let mut noise = Noise::default();
        noise.signal(init.clone(), drawn(random));
        if plan.crowd {
            noise.crowd(bare.control.path(), drawn(random));
        }
        if plan.busy {
            noise.busy(2);
        }
        if let Some(outlet) = &outlet {
            noise.stall(outlet, drawn(random));
        }
        Self {
            noise,
            watcher: Watcher::of(bare.restarter, plan.max_epochs),
            clients: Some(clients),
            bare,
            init,
            xds: Xds::silent(),
            taken: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free"),
            outlet,
            limits,
            _silent: silent,
            epoch: 0,
            words: front.stage.ask().expect("epoch 0 serves"),
            admin_lost: false,
            configurations: 0,
            counts: Counts::default(),
            excuses: Vec::new(),
            front,
            plan,
            random,
            tally,
            story,
        }
    }

    pub(super) fn log(&self) -> String {
        self.outlet.as_ref().map_or_else(|| self.bare.output(), |outlet| outlet.log())
    }

    /// What the restarter wrote when it ended badly.
    pub(super) fn termination_log(&self) -> String {
        std::fs::read_to_string(termination_log(&self.front.stage)).unwrap_or_default()
    }

    pub(super) fn send(&self, words: &[&str]) -> Answer {
        self.bare.control.send(words)
    }

    pub(super) fn status(&self) -> Status {
        let answer = self.send(&["status", "--json"]);
        Status::told(&answer).unwrap_or_else(|| panic!("no status: {answer:?}"))
    }

    /// Asks for a restart by a signal.
    pub(super) fn hang_up(&self) {
        assert!(self.init.signal(SIGHUP), "the restarter is gone: {}", self.log());
        self.tally.add("Envoy: SIGHUPs", 1);
    }

    /// Puts a good configuration into place, with words of its own, which are returned.
    pub(super) fn put_good(&mut self, waits: bool) -> String {
        self.configurations += 1;
        let words = format!("configuration {}", self.configurations);
        let good = self.good().saying(&words);
        self.front.stage.put_script(SCRIPT);
        self.front.stage.put(&if waits { good.waiting_for(&self.xds) } else { good });
        words
    }

    pub(super) fn good(&self) -> Configuration {
        self.front.configuration()
    }

    pub(super) fn memory(&self) -> SharedMemory {
        SharedMemory::of(&self.front.stage, self.bare.restarter)
    }

    /// Waits until nothing is under way and something has become of what was asked for.
    pub(super) fn await_settled(&self) -> Status {
        eventually("what was asked for has come to an end", || {
            // In this order, since a signal that is taken is in the status.
            let waits = self.bare.restarter.has_pending(SIGHUP);
            let status = self.status();
            let moved = status.counts() != self.counts;
            if !waits && moved && status.is_settled() { Ok(status) } else { Err(status) }
        })
    }

    /// So many restarts have been done, and these words are what is served since.
    pub(super) fn restarted(&mut self, times: u64, words: String) {
        self.epoch += u32::try_from(times).expect("a few");
        self.counts.done += times;
        self.words = words;
        self.admin_lost = false;
        self.tally.add("Envoy: hot restarts", times);
        self.check_served();
    }

    /// The epoch in service is the one that it should be, by its own word and by what it serves.
    pub(super) fn check_served(&self) {
        let (stage, expected) = (&self.front.stage, (Some(self.epoch), Some(self.words.clone())));
        eventually(&format!("epoch {} serves {:?}", self.epoch, self.words), || {
            let live = if self.admin_lost { Some(self.epoch) } else { stage.live_epoch() };
            let seen = (live, stage.ask().ok());
            if seen == expected { Ok(()) } else { Err(seen) }
        });
        // Envoy serves before the restarter has found it ready.
        eventually(
            &format!("epoch {} alone is ready, after {:?}", self.epoch, self.counts),
            || {
                let status = self.status();
                let ready = status.epochs("ready") == [u64::from(self.epoch)];
                if ready && status.counts() == self.counts { Ok(()) } else { Err(status) }
            },
        );
        if let Some(complaint) = self.watcher.complaint() {
            panic!("{complaint}");
        }
    }

    /// Waits until one epoch is left and nothing else, and looks at all that epochs share.
    pub(super) fn quiesce(&self) {
        eventually(&format!("epoch {} is alone", self.epoch), || {
            let living = self.bare.restarter.children().len();
            let bound = self.front.stage.bound_epochs();
            let raised = self.memory().is_initializing();
            let alone = living == 1 && bound == [self.epoch % 3] && !raised;
            if alone { Ok(()) } else { Err((living, bound, raised, self.status())) }
        });
        let strange = self.front.stage.strange_memories(self.bare.restarter);
        assert!(strange.is_empty(), "left in /dev/shm: {strange:?}");
        self.check_served();
    }

    /// The leader of the epoch in service.
    pub(super) fn serving(&self) -> Handle {
        let bound = self.bare.restarter.children();
        let leader = bound.first().copied().expect("an epoch serves");
        Handle::of_child(leader.0, self.bare.restarter.0).expect("it serves")
    }

    /// From now on until the end a lost request is no broken promise.
    pub(super) fn excuse(&mut self, why: &'static str) {
        self.excuses.push(Excuse::for_good(why));
    }

    /// The clients send for a while still, and then it is held against them what they have lost.
    /// How many losses nobody has accounted for.
    pub(super) fn judge(&mut self, goes_on: Duration) -> Vec<String> {
        let figures = self.clients.take().expect("they are judged once").finish(goes_on);
        self.excuses.extend(self.watcher.third_starts());
        let all = figures.all();
        self.tally.add("Envoy: requests answered", all.answered);
        let verdict = judge(figures.losses(), &self.excuses);
        for (why, times) in verdict.excused {
            self.tally.add(why, times);
        }
        if !verdict.blamed.is_empty() {
            self.story.tell(&figures.to_string());
        }
        verdict.blamed
    }
}

impl Drop for Life<'_> {
    /// Whoever has to find out why wants to know what the restarter said, but for what it says of
    /// harmless signals.
    fn drop(&mut self) {
        if thread::panicking() {
            if let Some(outlet) = &self.outlet {
                outlet.read_on();
            }
            let ended = self.bare.ended();
            let killed = self.limits.as_ref().map(Limits::kills);
            self.story.tell(&format!(
                "the restarter ended with {ended:?}, {killed:?} were killed for their memory, and \
                 the termination log says {:?}",
                self.termination_log()
            ));
            let log = self.log();
            let said = log.lines().filter(|line| {
                !["dropped", "reopen"].iter().any(|event| line.contains(&format!("info  {event}")))
            });
            let said: Vec<&str> = said.collect();
            let last = said[said.len().saturating_sub(SAID)..].join("\n");
            self.story.tell(&format!("the restarter said at last:\n{last}"));
        }
    }
}

/// A generator for somebody else.
fn drawn(random: &mut Random) -> Random {
    Random::new(random.below(u64::MAX))
}

fn termination_log(stage: &Stage) -> String {
    stage.log_folder().join("termination").display().to_string()
}
