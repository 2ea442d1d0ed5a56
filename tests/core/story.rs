//! A restarter that is told a story, event by event, for rules and tables.

use std::time::Duration;

use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{Pid, Policy, Readiness, Status, View};

use crate::kernel::Kernel;
use crate::words;
use crate::world::World;

/// The end of a program that did what it should.
pub(crate) const SUCCESS: Status = Status::Exited(0);

/// The defaults of the command line.
pub(crate) fn defaults() -> Policy {
    Policy {
        term_wait: Duration::from_secs(30),
        stop_signal: Signal::TERM,
        readiness: Readiness::Auto,
        ready_timeout: Duration::from_secs(120),
        min_restart_interval: Duration::ZERO,
        max_epochs: 3,
    }
}

/// The same with `--ready none`, under which no epoch announces anything.
pub(crate) fn at_once() -> Policy {
    Policy { readiness: Readiness::None, ..defaults() }
}

/// A signal by its name.
pub(crate) fn signal(name: &str) -> Signal {
    name.parse().expect("a signal's name")
}

/// The world, with what was done in words.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) world: World,
}

impl Story {
    /// Epoch 0 has just been started.
    pub(crate) fn begin(policy: Policy) -> Self {
        Self::begin_with(policy, |_| {})
    }

    /// The same in a kernel of some kind.
    pub(crate) fn begin_with(policy: Policy, prepare: impl FnOnce(&mut Kernel)) -> Self {
        let mut world = World::new(policy);
        prepare(&mut world.kernel);
        world.story = Some(Vec::new());
        world.begin();
        let story = Self { world };
        story.check();
        story
    }

    /// So many epochs live, and all are ready.
    pub(crate) fn serving(policy: Policy, epochs: u32) -> Self {
        Self::serving_with(policy, epochs, |_| {})
    }

    /// The same in a kernel of some kind.
    pub(crate) fn serving_with(
        policy: Policy,
        epochs: u32,
        prepare: impl FnOnce(&mut Kernel),
    ) -> Self {
        let mut story = Self::begin_with(policy, prepare);
        story.ready();
        for _ in 1..epochs {
            story.receive("HUP");
            story.ready();
        }
        story.world.kernel.born.clear();
        story.forget();
        story
    }

    /// What has been done so far no longer matters.
    pub(crate) fn forget(&mut self) {
        self.world.story = Some(Vec::new());
        self.world.actions.clear();
    }

    /// What has been done, in order, without the log and the bookkeeping.
    pub(crate) fn done(&self) -> Vec<&str> {
        let lines = self.world.story.iter().flatten().map(String::as_str);
        lines.filter(|line| !line.starts_with("log ") && *line != "record memory").collect()
    }

    /// What has been done since the last question.
    pub(crate) fn then(&mut self) -> Vec<String> {
        let done = self.done().into_iter().map(str::to_owned).collect();
        self.forget();
        done
    }

    /// Whether a line of this kind has been logged.
    pub(crate) fn logged(&self, kind: &str) -> bool {
        self.world.actions.iter().any(|action| words::is_log(action, kind))
    }

    /// The exit code, once it is out.
    pub(crate) fn exit_code(&self) -> Option<&str> {
        self.done().last()?.strip_prefix("EXIT ")
    }

    /// We receive a signal.
    pub(crate) fn receive(&mut self, name: &str) {
        self.together(&[name], &[]);
    }

    /// Ctrl-Z stops an epoch.
    pub(crate) fn suspend(&mut self, epoch: u32) {
        let leader = self.leader(epoch);
        self.world.suspend(leader);
        self.check();
    }

    /// Signals and ends at once.
    pub(crate) fn together(&mut self, signals: &[&str], ends: &[(Pid, Status)]) {
        for name in signals {
            self.world.signal(signal(name));
        }
        for (pid, status) in ends {
            self.world.end(*pid, *status);
        }
        self.world.settle();
        self.check();
    }

    /// An epoch's leader ends.
    pub(crate) fn epoch_ends(&mut self, epoch: u32, status: Status) {
        self.ends(self.leader(epoch), status);
    }

    /// A process ends.
    pub(crate) fn ends(&mut self, pid: Pid, status: Status) {
        self.together(&[], &[(pid, status)]);
    }

    /// An epoch's leader.
    pub(crate) fn leader(&self, epoch: u32) -> Pid {
        self.world.kernel.leader(epoch).expect("a living epoch").pid
    }

    /// An epoch's process leaves us an orphan: a child whose parent ends at once.
    pub(crate) fn orphan_of(&mut self, epoch: u32, own_group: bool) -> Pid {
        let parent = self.world.kernel.fork(self.leader(epoch), false);
        let orphan = self.world.kernel.fork(parent, own_group);
        self.world.end(parent, SUCCESS);
        orphan
    }

    /// Looks at an epoch find this from now on.
    pub(crate) fn looks(&mut self, epoch: u32, view: View) {
        let leader = self.leader(epoch);
        self.world.kernel.process_mut(leader).expect("a leader").view = view;
    }

    /// The newest epoch becomes ready by its own word, and is found so.
    pub(crate) fn ready(&mut self) {
        if self.world.policy.readiness == Readiness::Auto {
            let newest = self.world.ledger.newest().expect("an epoch");
            self.looks(newest, View::Ready);
            self.world.pass_to_deadline();
        }
        self.check();
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, seconds: f64) {
        self.world.pass(Duration::from_secs_f64(seconds));
        self.check();
    }

    /// The living epochs.
    pub(crate) fn epochs(&self) -> Vec<u32> {
        self.world.supervisor.leaders().map(|(number, _)| number).collect()
    }

    /// The judge must be content all the time.
    fn check(&self) {
        let World { violation, story, .. } = &self.world;
        assert!(violation.is_none(), "{}: {story:#?}", violation.clone().unwrap_or_default());
    }
}
