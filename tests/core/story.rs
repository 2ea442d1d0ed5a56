//! A restarter that is told a story, event by event, for rules and tables.

use std::mem;
use std::time::Duration;

use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{
    Action, Answer, Command, Count, DrainTime, Peer, Pending, Pid, Policy, Readiness, Reply,
    Report, Request, RestartStage, RestartStep, Status, View,
};

use crate::kernel::Kernel;
use crate::words;
use crate::world::World;

/// The answer of a server that is ready, and says no more.
pub(crate) const READY: Answer = Answer::Ready { workers: None };
/// The answer of one that is not.
pub(crate) const STARTING: Answer = Answer::Starting { workers: None };

/// The end of a program that did what it should.
pub(crate) const SUCCESS: Status = Status::Exited(0);

/// The defaults of the command line.
pub(crate) fn defaults() -> Policy {
    Policy {
        term_wait: Duration::from_secs(30),
        drain: None,
        stop_signal: Signal::TERM,
        readiness: Readiness::Auto,
        admin: false,
        ready_timeout: Duration::from_secs(120),
        check_timeout: None,
        rollback: false,
        min_restart_interval: Duration::ZERO,
        max_epochs: 3,
    }
}

/// The same with `--ready none`, under which no epoch announces anything.
pub(crate) fn at_once() -> Policy {
    Policy { readiness: Readiness::None, ..defaults() }
}

/// A new epoch that fails is a restart that failed.
pub(crate) fn rollback() -> Policy {
    Policy { rollback: true, ..defaults() }
}

/// The same, and its admin says whether an epoch is ready.
pub(crate) fn by_admin() -> Policy {
    Policy { readiness: Readiness::Admin, admin: true, ..rollback() }
}

/// The same, and a stop drains for 6 s at least and 25 s at most.
pub(crate) fn drains() -> Policy {
    let drain = DrainTime { timeout: Duration::from_secs(25), min: Duration::from_secs(6) };
    Policy { drain: Some(drain), ..by_admin() }
}

/// So many requests, and nothing else, are pending.
pub(crate) fn pending(requests: u64) -> Reply {
    counted(requests, None)
}

/// The same, and what changes when the older epochs are asked.
pub(crate) fn counted(requests: u64, asked_older: Option<u64>) -> Reply {
    Reply::Counted(Count { pending: Pending { requests, ..Pending::default() }, asked_older })
}

/// With a check that has 30 seconds.
pub(crate) fn checked() -> Policy {
    Policy { check_timeout: Some(Duration::from_secs(30)), ..defaults() }
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
            if story.world.ledger.is_checking() {
                story.task_ends(SUCCESS);
            }
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

    /// What has been done, in order, without the log, the bookkeeping and what askers are told.
    pub(crate) fn done(&self) -> Vec<&str> {
        let lines = self.world.story.iter().flatten().map(String::as_str);
        let words = |line: &str| line.starts_with("log ") || line.starts_with("tell ");
        lines.filter(|line| !words(line) && *line != "record memory").collect()
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

    /// What those who asked for a restart have been told since the last question.
    pub(crate) fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for action in mem::take(&mut self.world.actions) {
            if let Action::Restart(step) = action {
                told.push(match step {
                    RestartStep::Asked => "asked".into(),
                    RestartStep::Begins => "begins".into(),
                    RestartStep::PutOff => "put off".into(),
                    RestartStep::Settled { stage: RestartStage::Waiting, outcome } => {
                        format!("in vain: {outcome}")
                    }
                    RestartStep::Settled { stage: RestartStage::UnderWay, outcome } => {
                        outcome.to_string()
                    }
                });
            }
        }
        told
    }

    /// A client asks for something.
    pub(crate) fn command(&mut self, command: Command) {
        self.world.command(command);
        self.world.settle();
        self.check();
    }

    /// How things are said to stand.
    pub(crate) fn report(&self) -> Report {
        self.world.supervisor.report(self.world.kernel.now)
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
        self.orphan_of_process(self.leader(epoch), own_group)
    }

    /// The same, of any process.
    pub(crate) fn orphan_of_process(&mut self, pid: Pid, own_group: bool) -> Pid {
        let parent = self.world.kernel.fork(pid, false);
        let orphan = self.world.kernel.fork(parent, own_group);
        self.world.end(parent, SUCCESS);
        orphan
    }

    /// Looks at an epoch find this from now on.
    pub(crate) fn looks(&mut self, epoch: u32, view: View) {
        let leader = self.leader(epoch);
        self.world.kernel.process_mut(leader).expect("a leader").view = view;
    }

    /// The newest epoch becomes ready, and is found so.
    pub(crate) fn ready(&mut self) {
        let newest = self.world.ledger.newest().expect("an epoch");
        self.looks(newest, View::Ready);
        let readiness = self.world.policy.readiness;
        if readiness != Readiness::None && !self.is_asked(readiness) {
            self.world.pass_to_deadline();
        }
        match readiness {
            Readiness::Auto | Readiness::None => {}
            Readiness::Admin => self.answer(Peer::Admin, READY),
            Readiness::Http => self.answer(Peer::Probe, READY),
            Readiness::Command => self.task_ends(SUCCESS),
        }
        self.check();
    }

    /// Whoever decides is being asked.
    fn is_asked(&self, readiness: Readiness) -> bool {
        match readiness {
            Readiness::Auto | Readiness::None => false,
            Readiness::Admin => self.world.kernel.is_asked(Peer::Admin),
            Readiness::Http => self.world.kernel.is_asked(Peer::Probe),
            Readiness::Command => self.world.kernel.tasks().next().is_some(),
        }
    }

    /// A server answers what it was asked.
    pub(crate) fn answer(&mut self, peer: Peer, answer: Answer) {
        let questions = &self.world.kernel.questions;
        let question = *questions.iter().find(|it| it.peer == peer).expect("it was asked");
        self.world.kernel.answer(question, answer);
        self.world.settle();
        self.check();
    }

    /// The admin replies to what it was asked for while we drain.
    pub(crate) fn reply(&mut self, reply: Reply) {
        let request = self.world.kernel.request.expect("it was asked for something");
        self.world.kernel.reply(request, reply);
        self.world.settle();
        self.check();
    }

    /// A stop is asked for, and Envoy is told to drain.
    pub(crate) fn drains(&mut self) {
        self.receive("TERM");
        self.answer(Peer::Admin, READY);
        self.reply(Reply::Done);
        self.reply(Reply::Done);
        assert_eq!(self.world.kernel.request, Some(Request::CountPending));
    }

    /// The check or probe that was run last.
    pub(crate) fn task(&self) -> Pid {
        self.world.kernel.tasks().last().expect("a task").pid
    }

    /// It ends.
    pub(crate) fn task_ends(&mut self, status: Status) {
        self.ends(self.task(), status);
    }

    /// A watched path changes.
    pub(crate) fn change(&mut self) {
        self.world.change();
        self.world.settle();
        self.check();
    }

    /// SIGKILL does not end a process.
    pub(crate) fn undying(&mut self, pid: Pid) {
        self.world.kernel.process_mut(pid).expect("it lives").undying = true;
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
