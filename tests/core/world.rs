//! The core in its loop, as `driver.rs` runs it, over the fake kernel and before the judge.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::time::Duration;

use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{
    Action, Batch, Command, Event, Pid, Policy, Report, Status, Supervisor,
};

use crate::kernel::{Kernel, Peek, Question};
use crate::ledger::Ledger;
use crate::words;

/// More actions than any one event can be worth.
const ACTIONS_BOUND: usize = 10_000;
/// More turns than any one moment can be worth.
const TURNS_BOUND: usize = 10_000;

/// Spoils what passes between the core and the world, so that the judge can prove itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sabotage {
    /// This is done in the place of an action.
    Does(fn(Action, &World) -> Vec<Action>),
    /// The core hears this in the place of what the judge hears, or nothing.
    Hears(fn(Event, &World) -> Option<Event>),
    /// This is reported in the place of how things stand.
    Reports(fn(Report) -> Report),
}

/// A restarter with everything around it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) supervisor: Supervisor,
    pub(crate) kernel: Kernel,
    pub(crate) ledger: Ledger,
    pub(crate) policy: Policy,
    pub(crate) sabotage: Option<Sabotage>,
    /// The first thing that the judge did not like.
    pub(crate) violation: Option<String>,
    /// Every action in words, since this was last emptied; kept only on request.
    pub(crate) story: Option<Vec<String>>,
    /// The actions and answers themselves, likewise.
    pub(crate) actions: Vec<Action>,
    /// How many actions have been performed.
    pub(crate) performed: u64,
    /// What has been said, and how often.
    pub(crate) said: BTreeMap<&'static str, u64>,
    /// Signals to us that have not been read.
    pending: Vec<Signal>,
    /// Signals that have been read and not been handled.
    batch: Batch,
    /// What clients have asked for and we have not read.
    commands: Vec<Command>,
    /// A watched path has changed, and nobody has noticed yet.
    changed: bool,
}

impl World {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            supervisor: Supervisor::new(policy.clone()),
            kernel: Kernel::new(),
            ledger: Ledger::new(policy.clone()),
            policy,
            sabotage: None,
            violation: None,
            story: None,
            actions: Vec::new(),
            performed: 0,
            said: BTreeMap::new(),
            pending: Vec::new(),
            batch: Batch::default(),
            commands: Vec::new(),
            changed: false,
        }
    }

    /// Epoch 0 is started.
    pub(crate) fn begin(&mut self) {
        self.handle(&Event::Begin);
        self.settle();
    }

    /// A signal to us, not read yet.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.pending.push(signal);
    }

    /// A client asks for something, not read yet.
    pub(crate) fn command(&mut self, command: Command) {
        self.commands.push(command);
    }

    /// A watched path changes; nobody has noticed yet.
    pub(crate) fn change(&mut self) {
        self.changed = true;
    }

    /// Ctrl-Z stops a leader, and we are told.
    pub(crate) fn suspend(&mut self, pid: Pid) {
        self.handle(&Event::Suspended { pid });
    }

    /// A process ends; nobody has noticed yet.
    pub(crate) fn end(&mut self, pid: Pid, status: Status) {
        self.kernel.end(pid, status);
    }

    /// The exit code is out, or the judge has spoken.
    pub(crate) fn is_over(&self) -> bool {
        self.ledger.has_ended() || self.violation.is_some()
    }

    /// Turns until there is nothing to take in.
    pub(crate) fn settle(&mut self) {
        for _ in 0..TURNS_BOUND {
            if self.is_over() {
                return;
            }
            let deadline_over =
                self.supervisor.next_deadline().is_some_and(|deadline| deadline <= self.kernel.now);
            let waiting = match self.kernel.peek() {
                Peek::Ended(..) => true,
                Peek::Childless => self.ledger.is_ending(),
                Peek::Nothing => false,
            };
            let idle = self.pending.is_empty()
                && self.commands.is_empty()
                && self.kernel.arrived.is_empty()
                && self.kernel.replied.is_none()
                && !self.changed;
            if idle && !waiting && !deadline_over {
                return;
            }
            self.turn();
        }
        self.violation.get_or_insert_with(|| "turns without end".into());
    }

    /// Time passes, and we are woken at each deadline.
    pub(crate) fn pass(&mut self, span: Duration) {
        let until = self.kernel.now + span;
        for _ in 0..TURNS_BOUND {
            self.settle();
            let Some(deadline) = self.supervisor.next_deadline() else {
                break;
            };
            if self.is_over() || deadline > until {
                break;
            }
            self.kernel.now = self.kernel.now.max(deadline);
        }
        self.kernel.now = until;
        self.settle();
    }

    /// The clock jumps to the next deadline, and no further.
    pub(crate) fn pass_to_deadline(&mut self) {
        if let Some(deadline) = self.supervisor.next_deadline() {
            self.kernel.now = self.kernel.now.max(deadline);
            self.settle();
        }
    }

    /// One turn of the driver's loop.
    fn turn(&mut self) {
        self.take_in_signals();
        for _ in 0..TURNS_BOUND {
            match self.kernel.peek() {
                Peek::Ended(pid, status) => {
                    if self.supervisor.is_leader(pid) {
                        self.take_in_signals();
                    }
                    self.handle(&Event::Exited { pid, status, out_of_memory: Some(0) });
                }
                Peek::Childless => {
                    self.handle(&Event::Childless);
                    break;
                }
                Peek::Nothing => break,
            }
            if self.is_over() {
                break;
            }
        }
        while !self.is_over()
            && let Some(signal) = self.batch.take()
        {
            self.handle(&Event::Signal(signal));
        }
        while !self.is_over() && !self.commands.is_empty() {
            let command = self.commands.remove(0);
            self.handle(&Event::Command(command));
        }
        while !self.is_over() && !self.kernel.arrived.is_empty() {
            let (Question { epoch, peer }, answer) = self.kernel.arrived.remove(0);
            self.handle(&Event::Answered { epoch, peer, answer });
        }
        if !self.is_over()
            && let Some((request, reply)) = self.kernel.replied.take()
        {
            self.handle(&Event::Replied { request, reply });
        }
        if !self.is_over() && mem::take(&mut self.changed) {
            self.handle(&Event::Changed { path: "/etc/envoy".into() });
        }
        if self.supervisor.next_deadline().is_some_and(|deadline| deadline <= self.kernel.now) {
            self.handle(&Event::Tick);
        }
    }

    fn take_in_signals(&mut self) {
        self.batch.extend(self.pending.drain(..));
        while let Some(signal) = self.batch.take_before_exits() {
            self.handle(&Event::Signal(signal));
        }
    }

    /// Tells the core one thing, and does what it says until it says no more.
    fn handle(&mut self, event: &Event) {
        if self.violation.is_some() {
            return;
        }
        self.tell(event);
        for _ in 0..ACTIONS_BOUND {
            let Some(action) = self.supervisor.next_action() else {
                let deadline = self.supervisor.next_deadline();
                let now = self.kernel.now;
                let verdict = self.ledger.settle(now, event, &self.kernel, deadline);
                let report = self.report();
                let verdict = verdict.and_then(|()| self.ledger.judge_report(now, &report));
                self.violation = verdict.err();
                return;
            };
            let actions = match self.sabotage {
                Some(Sabotage::Does(instead)) => instead(action, self),
                Some(Sabotage::Hears(_) | Sabotage::Reports(_)) | None => vec![action],
            };
            for action in actions {
                self.perform(action);
                if self.violation.is_some() {
                    return;
                }
            }
        }
        self.violation = Some("actions without end".into());
    }

    /// How things are said to stand.
    fn report(&self) -> Report {
        let report = self.supervisor.report(self.kernel.now);
        match self.sabotage {
            Some(Sabotage::Reports(instead)) => instead(report),
            Some(Sabotage::Does(_) | Sabotage::Hears(_)) | None => report,
        }
    }

    fn tell(&mut self, event: &Event) {
        let heard = match self.sabotage {
            Some(Sabotage::Hears(instead)) => instead(event.clone(), self),
            Some(Sabotage::Does(_) | Sabotage::Reports(_)) | None => Some(event.clone()),
        };
        self.ledger.note(self.kernel.now, event);
        if let Some(heard) = heard {
            self.supervisor.handle(self.kernel.now, heard);
        }
    }

    fn perform(&mut self, action: Action) {
        let now = self.kernel.now;
        self.performed += 1;
        if let Err(violation) = self.ledger.judge(now, &action, &self.kernel) {
            self.violation = Some(violation);
            return;
        }
        if let Some(what) = words::logged(&action) {
            *self.said.entry(words::sight(what)).or_default() += 1;
        }
        if let Action::Restart(step) = &action {
            *self.said.entry(words::step_sight(step)).or_default() += 1;
        }
        let mut words = self.story.is_some().then(|| words::action(&action, &self.kernel));
        let answer = self.kernel.perform(&action, self.ledger.stopping());
        if let (Some(words), Some(answer)) = (&mut words, answer.as_ref().and_then(words::answer)) {
            let _ = write!(words, " [{answer}]");
        }
        if let (Some(story), Some(words)) = (&mut self.story, words) {
            story.push(words);
            self.actions.push(action);
        }
        if let Some(answer) = answer {
            self.tell(&answer);
        }
    }

    /// A number for all that the future of this world depends on, verdicts included.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.kernel.hash(&mut hasher);
        self.ledger.facts().hash(&mut hasher);
        // The core hides its state; what it shows of it for debugging is all of it.
        let _ = write!(Hashed(&mut hasher), "{:?}", self.supervisor);
        hasher.finish()
    }
}

/// Hashes what is written to it.
struct Hashed<'a>(&'a mut DefaultHasher);

impl Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
