//! The contract, written a second time: a judge that sees every event and every action and
//! knows nothing of how the core decides.
//!
//! What happens is noted ([`notes`]), and with it what the contract now demands. What it forbids
//! is judged action by action ([`actions`]); what it demands is judged when an event has been
//! dealt with ([`settle`]), since what was not done then will not be done at all. Beside that,
//! whoever asked for a restart is watched over ([`askers`]), and what we say of ourselves
//! ([`report`]).

mod actions;
mod admin;
mod askers;
mod drain;
mod notes;
mod report;
mod settle;

use std::time::Duration;

use hot_restarter::exit::Exit;
use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{End, Moment, Peer, Pid, Policy, Readiness, Status, Task, View};

/// At most so long do we wait for what was sent SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// At most so long does an orphan stay unnoticed.
const ORPHAN_WAIT: Duration = Duration::from_millis(100);
/// At most so long are older epochs that announce readiness left to the newest in a stop.
const PARENTS_WAIT: Duration = Duration::from_secs(1);
/// A target that announces nothing is given so long.
const SETTLING: Duration = Duration::from_secs(1);
/// An epoch whose own admin has answered so recently waits for something.
const ALIVE: Duration = Duration::from_secs(5);
/// At least so often is asked what decides whether an epoch is ready, and its admin how it is.
const LOOK_WAIT: Duration = Duration::from_secs(1);
/// So long is a probe's answer waited for.
const PROBE_WAIT: Duration = Duration::from_secs(10);
/// At least so often is looked whether what a failed epoch left has gone.
const MEND_WAIT: Duration = Duration::from_millis(100);

/// A living epoch: started, and its end not told yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Epoch {
    number: u32,
    leader: Pid,
    started: Moment,
    foreground: bool,
    ready: bool,
    /// It was not ready in time, and nothing but SIGKILL is for it.
    failed: bool,
    /// Its time is over, and a look must decide whether it has failed.
    overdue: bool,
    /// When it is to be said that it has not died of SIGKILL, until it has been.
    complain_at: Option<Moment>,
    last_view: Option<(Moment, View)>,
    /// What decides its readiness has said yes, the last time that it was asked.
    passed: Option<Moment>,
    /// The servers that have been asked about it and have not answered.
    probe_asked: bool,
    admin_asked: bool,
    /// When its admin last answered anything, or it was started.
    admin_quiet_since: Moment,
    /// When its own admin last answered.
    alive: Option<Moment>,
    /// When it last answered that it serves.
    live: Option<Moment>,
    workers: Option<u32>,
    /// SIGUSR1 came, and has not been passed on.
    reopen_owed: bool,
    /// A signal of this event must still be passed on.
    forward_owed: bool,
    /// Nobody can tell who catches SIGUSR1, so the leader gets it.
    leader_owed: bool,
    /// It was said that it takes long.
    late: bool,
    /// It was said that its probe cannot be run.
    probe_failed: bool,
}

/// A check or a probe that has not been reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Running {
    task: Task,
    pid: Pid,
    since: Moment,
    /// Its answer is of no use any more, so it must be killed at once.
    useless: bool,
    killed: bool,
}

/// How the restart that was asked for is being checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Check {
    /// Not at all.
    None,
    /// It runs.
    Runs,
    /// It has passed, in this very event.
    Passed,
}

/// What a failed epoch left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mending {
    failed: u32,
    end: End,
    group: Pid,
    since: Moment,
    /// When it was last tried to repair it.
    tried: Option<Moment>,
    /// Processes of the failed epoch were there each time.
    busy: bool,
    /// It was said why it cannot be repaired.
    given_up: bool,
}

/// Why everything ends, which decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cause {
    Asked,
    LastEpoch,
    Interrupted,
    Unexpected(Status),
    CannotStart(Exit),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Serving,
    Draining(drain::Drain),
    Stopping { cause: Cause, deadline: Moment, parents: Option<Parents> },
    Killing { cause: Cause, deadline: Moment, time_ran_out: bool },
    Ended,
}

/// Older epochs that are not asked to end before this one has ended, or this moment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Parents {
    newest: Pid,
    until: Moment,
}

/// The judge.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    policy: Policy,
    facts: Facts,
}

/// What the judge knows; all that its verdicts depend on, besides the policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    /// Oldest first.
    epochs: Vec<Epoch>,
    tasks: Vec<Running>,
    next: u32,
    begun: bool,
    phase: Phase,
    last_start: Option<Moment>,
    /// A restart was asked for, and no check of it and no start has begun.
    restart_wanted: bool,
    check: Check,
    mending: Option<Mending>,
    announced: bool,
    /// The signal that is being dealt with.
    signal: Option<Signal>,
    /// How the epoch whose end is being dealt with ended, for the log.
    ended: Option<(u32, End)>,
    /// The end that is being dealt with; it must be reaped.
    to_reap: Option<Pid>,
    /// The group of a restart that did not happen, or of a task that has ended; it must be killed.
    to_kill: Option<Pid>,
    /// The leader of an epoch that was not ready in time; all of it must be killed.
    epoch_to_kill: Option<Pid>,
    /// The survivor of a failed restart, to whom the terminal must be given back.
    terminal_owed: Option<Pid>,
    /// When a tick last left a deadline that was over.
    overdue: Option<Moment>,
    askers: askers::Askers,
    admin: admin::Admin,
    /// Lines of the log that this event must lead to.
    words_owed: Vec<&'static str>,
}

type Verdict = Result<(), String>;

fn ensure(holds: bool, rule: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(rule()) }
}

impl Ledger {
    pub(crate) fn new(policy: Policy) -> Self {
        let facts = Facts {
            epochs: Vec::new(),
            tasks: Vec::new(),
            next: 0,
            begun: false,
            phase: Phase::Serving,
            last_start: None,
            restart_wanted: false,
            check: Check::None,
            mending: None,
            announced: false,
            signal: None,
            ended: None,
            to_reap: None,
            to_kill: None,
            epoch_to_kill: None,
            terminal_owed: None,
            overdue: None,
            askers: askers::Askers::default(),
            admin: admin::Admin::default(),
            words_owed: Vec::new(),
        };
        Self { policy, facts }
    }

    /// All that the next verdicts depend on.
    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The exit has been ordered.
    pub(crate) fn has_ended(&self) -> bool {
        self.facts.phase == Phase::Ended
    }

    /// Everything is on its way out.
    pub(crate) fn is_ending(&self) -> bool {
        self.facts.phase != Phase::Serving
    }

    /// The stop signal, while it is one.
    pub(crate) fn stopping(&self) -> Option<Signal> {
        self.is_ending().then_some(self.policy.stop_signal)
    }

    /// The newest epoch's number.
    pub(crate) fn newest(&self) -> Option<u32> {
        self.facts.epochs.last().map(|newest| newest.number)
    }

    /// The living epochs' numbers and leaders, oldest first.
    pub(crate) fn living(&self) -> impl Iterator<Item = (u32, Pid)> {
        self.facts.epochs.iter().map(|epoch| (epoch.number, epoch.leader))
    }

    /// The number that the next epoch is due to have.
    pub(crate) fn next_number(&self) -> u32 {
        self.facts.next
    }

    /// Whether this epoch has taken over.
    pub(crate) fn is_ready(&self, number: u32) -> bool {
        self.facts.epochs.iter().any(|epoch| epoch.number == number && epoch.ready)
    }

    /// A restart was asked for and has not begun.
    pub(crate) fn is_restart_wanted(&self) -> bool {
        self.facts.restart_wanted
    }

    /// It was said why what a failed epoch left cannot be repaired.
    pub(crate) fn has_given_up_repairing(&self) -> bool {
        self.facts.mending.is_some_and(|mending| mending.given_up)
    }

    /// A restart is being checked.
    pub(crate) fn is_checking(&self) -> bool {
        self.facts.check == Check::Runs
    }

    fn epoch_mut(&mut self, number: u32) -> Option<&mut Epoch> {
        self.facts.epochs.iter_mut().find(|epoch| epoch.number == number)
    }

    /// No living epoch has this leader.
    fn is_dead(&self, leader: Pid) -> bool {
        !self.facts.epochs.iter().any(|epoch| epoch.leader == leader)
    }

    /// A check or a probe that was not reaped leads this group.
    fn task_of(&self, group: Pid) -> Option<&Running> {
        self.facts.tasks.iter().find(|running| running.pid == group)
    }

    /// An Envoy is asked to end by its child, as long as that may take.
    fn is_left_to_its_child(&self, now: Moment, group: Pid) -> bool {
        let Phase::Stopping { parents: Some(parents), .. } = self.facts.phase else {
            return false;
        };
        now < parents.until
            && group != parents.newest
            && !self.is_dead(parents.newest)
            && self.facts.epochs.iter().any(|epoch| epoch.leader == group && !epoch.failed)
    }

    /// Section 6: when the newest epoch has failed by not being ready.
    fn fails_at(&self) -> Option<Moment> {
        let newest = self.facts.epochs.last()?;
        let in_service = self.facts.epochs.len() > 1;
        if newest.ready || newest.failed || !in_service || !self.policy.rollback {
            return None;
        }
        let timeout = newest.started + self.policy.ready_timeout;
        Some(newest.alive.map_or(timeout, |alive| timeout.max(alive + ALIVE)))
    }

    /// Does a look find that it serves, though it is for a probe to say?
    fn serves_unprobed(&self, view: View) -> bool {
        let probed = match self.policy.readiness {
            Readiness::Auto | Readiness::None => false,
            Readiness::Admin | Readiness::Command | Readiness::Http => true,
        };
        probed && (view == View::Ready || view == View::Unreadable)
    }

    /// Does this server's word decide whether an epoch is ready?
    fn decides(&self, peer: Peer) -> bool {
        match (peer, self.policy.readiness) {
            (Peer::Probe, Readiness::Http) | (Peer::Admin, Readiness::Admin) => true,
            (Peer::Probe, Readiness::Auto | Readiness::None | Readiness::Admin)
            | (Peer::Probe | Peer::Admin, Readiness::Command)
            | (Peer::Admin, Readiness::Auto | Readiness::None | Readiness::Http) => false,
        }
    }

    /// An epoch that looks like this is still on its way to its server's work.
    fn initialises(&self, view: View) -> bool {
        match view {
            View::Starting => true,
            View::Silent => self.facts.announced,
            View::Ready | View::Unreadable => false,
        }
    }
}
