//! When the newest epoch is ready.

use std::mem;
use std::time::Duration;

use super::looks::Looks;
use super::{
    Action, Answer, Epoch, Moment, Peer, Phase, Pid, Readiness, ReadyBy, RestartOutcome, State,
    Supervisor, View, What,
};
use crate::signal::Signal;

/// How long a target that does not announce its readiness is given to start.
pub const SETTLING: Duration = Duration::from_secs(1);

/// An epoch whose admin has answered for it so recently waits for something and does not hang.
const ALIVE: Duration = Duration::from_secs(5);

/// An epoch that has not taken over yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Starting {
    pub(super) looks: Looks,
    /// The questions to its admin, where that does not decide. A probe that hangs must not keep
    /// us from hearing that the epoch is alive.
    admin: Looks,
    /// The probe has passed. An older epoch may have answered in the place of this one, so a look
    /// must find that it does not initialise.
    passed: bool,
    /// Its time is over, and a look has been asked for that decides whether it has failed.
    overdue: bool,
    /// When its own admin last answered.
    alive: Option<Moment>,
    /// That its probe cannot be run has been said.
    probe_failed: bool,
    /// A SIGUSR1 waits for it to be ready.
    pub(super) reopen_owed: bool,
}

impl Starting {
    pub(super) fn begin(now: Moment) -> Self {
        let looks = Looks::begin(now);
        Self {
            looks,
            admin: looks,
            passed: false,
            overdue: false,
            alive: None,
            probe_failed: false,
            reopen_owed: false,
        }
    }
}

impl Supervisor {
    /// When the newest epoch is to be looked at, has to be warned about, or has failed.
    pub(super) fn starting_due(&self) -> Option<Moment> {
        let newest = self.newest()?;
        let State::Starting(starting) = &newest.state else {
            return None;
        };
        let late = starting.looks.late_at(self.policy.ready_timeout);
        let admin = starting.admin.next().filter(|_| self.asks_admin_beside());
        [self.look_due(), admin, late, self.failed_at()].into_iter().flatten().min()
    }

    /// When whoever decides is to be asked whether the newest epoch is ready.
    fn look_due(&self) -> Option<Moment> {
        let newest = self.newest()?;
        let State::Starting(Starting { looks, .. }) = &newest.state else {
            return None;
        };
        let next = looks.next()?;
        let settled = newest.started + SETTLING;
        // The look that finds a silent target settled comes when it is.
        let settles = self.policy.readiness == Readiness::Auto && looks.last < settled;
        Some(if settles { next.min(settled) } else { next })
    }

    /// Whether there is an admin that is asked how an epoch is, though it does not decide.
    fn asks_admin_beside(&self) -> bool {
        self.policy.admin && self.policy.readiness != Readiness::Admin
    }

    /// When the newest epoch will have failed by taking too long, unless it becomes ready: with
    /// `--rollback`, and while an older one serves. One whose own admin answers waits for
    /// something, its xDS perhaps, and is given the time that it needs.
    fn failed_at(&self) -> Option<Moment> {
        let newest = self.newest().filter(|_| self.policy.rollback && self.epochs.len() > 1)?;
        let State::Starting(Starting { alive, .. }) = &newest.state else {
            return None;
        };
        let timeout = newest.started + self.policy.ready_timeout;
        Some(alive.map_or(timeout, |alive| timeout.max(alive + ALIVE)))
    }

    pub(super) fn tick_starting(&mut self, now: Moment) {
        if self.failed_at().is_some_and(|failed| failed <= now) {
            return self.look_at_overdue();
        }
        if self.starting_due().is_none_or(|due| now < due) {
            return;
        }
        let timeout = self.policy.ready_timeout;
        let asks = self.look_due().is_some_and(|due| due <= now);
        let beside = self.asks_admin_beside();
        let newest = self.epochs.last_mut().expect("it is due");
        let (epoch, leader) = (newest.number, newest.leader);
        let State::Starting(Starting { looks, admin, .. }) = &mut newest.state else {
            return;
        };
        let late = looks.becomes_late(now, timeout);
        admin.becomes_late(now, timeout);
        if asks {
            looks.look(now);
        }
        let asks_admin = beside && admin.is_due(now);
        if asks_admin {
            admin.look(now);
        }
        if late {
            self.say_not_ready(now);
        }
        if asks_admin {
            self.ask_admin(epoch);
        }
        if asks {
            self.ask_whether_ready(now, epoch, leader);
        }
    }

    /// The time of the newest epoch is over. It has failed, unless it has taken over since the last
    /// look, or serves without our probe knowing: then the epoch before it drains, and there is
    /// nothing to go back to.
    fn look_at_overdue(&mut self) {
        let newest = self.epochs.last_mut().expect("its time is over");
        let (epoch, leader) = (newest.number, newest.leader);
        if let State::Starting(starting) = &mut newest.state {
            starting.overdue = true;
            self.act(Action::Look { epoch, leader });
        }
    }

    /// The newest epoch has outlasted `--ready-timeout`, and we go on waiting for it.
    pub(super) fn say_not_ready(&mut self, now: Moment) {
        let newest = self.newest().expect("it is waited for");
        let (number, leader, after) = (newest.number, newest.leader, now - newest.started);
        self.say_of(number, leader, What::NotReady { after });
    }

    fn ask_whether_ready(&mut self, now: Moment, epoch: u32, leader: Pid) {
        match self.policy.readiness {
            Readiness::Auto => self.act(Action::Look { epoch, leader }),
            Readiness::Admin => self.ask_admin(epoch),
            Readiness::Http => self.act(Action::Ask { epoch, peer: Peer::Probe }),
            Readiness::Command => self.run_probe(now, epoch, leader),
            // It has been ready from the start.
            Readiness::None => {}
        }
    }

    pub(super) fn ask_admin(&mut self, epoch: u32) {
        self.note_admin_asked(epoch);
        self.act(Action::Ask { epoch, peer: Peer::Admin });
    }

    /// Notes about which epoch the admin is asked; says whether it is already. A question about
    /// another one is given up by that.
    pub(super) fn note_admin_asked(&mut self, number: u32) -> bool {
        let mut already = false;
        for epoch in &mut self.epochs {
            let asked = mem::replace(&mut epoch.admin_asked, epoch.number == number);
            already |= asked && epoch.number == number;
        }
        already
    }

    /// A server answers.
    pub(super) fn answered(&mut self, now: Moment, number: u32, peer: Peer, answer: Answer) {
        let found_out = match self.phase {
            Phase::Serving => true,
            Phase::Draining(_) => self.drains_after_handover(),
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Ended => return,
        };
        let Some(index) = self.epochs.iter().position(|epoch| epoch.number == number) else {
            return;
        };
        let passed = match (peer, answer) {
            (_, Answer::Ready { .. }) => true,
            (_, Answer::Starting { .. } | Answer::No) => false,
        };
        let decides = match peer {
            Peer::Probe => found_out && self.policy.readiness == Readiness::Http,
            Peer::Admin => {
                // An answer to a question about an epoch of this number that has failed since.
                if !mem::take(&mut self.epochs[index].admin_asked) {
                    return;
                }
                self.note_admin(now, index, answer);
                self.identified(now, number, answer);
                found_out && self.policy.readiness == Readiness::Admin
            }
        };
        if decides {
            self.probed(now, number, passed);
        }
    }

    /// What an epoch's own admin tells, whatever decides its readiness.
    fn note_admin(&mut self, now: Moment, index: usize, answer: Answer) {
        let (alive, told) = match answer {
            Answer::No => (None, None),
            Answer::Starting { workers } | Answer::Ready { workers } => (Some(now), workers),
        };
        self.note_whether_lost(now, index, answer);
        let before = index.checked_sub(1).and_then(|before| self.epochs[before].workers);
        let epoch = &mut self.epochs[index];
        if let State::Starting(starting) = &mut epoch.state {
            starting.admin.answered(now);
            starting.alive = alive.or(starting.alive);
        }
        let Some(workers) = told.filter(|_| epoch.workers.is_none()) else {
            return;
        };
        epoch.workers = told;
        let (number, leader) = (epoch.number, epoch.leader);
        if let Some(before) = before.filter(|before| workers < *before) {
            self.say_of(number, leader, What::FewerWorkers { workers, before });
        }
    }

    /// The program that decides cannot be run.
    pub(super) fn probe_failed(&mut self, now: Moment, number: u32, why: &str) {
        let newest = self.epochs.last_mut().expect("it is asked about");
        let leader = newest.leader;
        if let State::Starting(starting) = &mut newest.state
            && !mem::replace(&mut starting.probe_failed, true)
        {
            self.say_of(number, leader, What::ProbeFailed { why: why.into() });
        }
        self.probed(now, number, false);
    }

    /// Whoever decides has answered.
    pub(super) fn probed(&mut self, now: Moment, number: u32, passed: bool) {
        let Some(newest) = self.epochs.last_mut().filter(|newest| newest.number == number) else {
            return;
        };
        let leader = newest.leader;
        if let State::Starting(starting) = &mut newest.state
            && starting.looks.answered(now)
            && (passed || starting.looks.is_late())
        {
            starting.passed = passed;
            self.act(Action::Look { epoch: number, leader });
        }
    }

    /// The answer to a look.
    pub(super) fn seen(&mut self, now: Moment, number: u32, view: View) {
        let Some(newest) = self.epochs.last_mut().filter(|newest| newest.number == number) else {
            return;
        };
        match view {
            View::Starting | View::Ready | View::Unreadable => self.announces = true,
            View::Silent => {}
        }
        let settled = now - newest.started >= SETTLING;
        let starting = match &mut newest.state {
            State::Ready => return self.last_look(now, number, view),
            State::Failed { .. } => return,
            State::Starting(starting) => starting,
        };
        let passed = mem::take(&mut starting.passed);
        let overdue = mem::take(&mut starting.overdue);
        let late = overdue || starting.looks.is_late();
        let serves = match view {
            View::Ready | View::Unreadable => true,
            // Where epochs announce themselves its start script has not come to the server yet.
            View::Silent => !self.announces,
            View::Starting => false,
        };
        let by = match self.policy.readiness {
            Readiness::None => return,
            Readiness::Auto => {
                starting.looks.answered(now);
                by_the_view(view, settled, self.announces)
            }
            Readiness::Admin if passed && serves => Some(ReadyBy::Admin),
            Readiness::Command if passed && serves => Some(ReadyBy::Command),
            Readiness::Http if passed && serves => Some(ReadyBy::Http),
            Readiness::Admin | Readiness::Command | Readiness::Http => match view {
                View::Ready | View::Unreadable if late => Some(ReadyBy::Takeover),
                View::Ready | View::Unreadable | View::Starting | View::Silent => None,
            },
        };
        match by {
            Some(by) => self.became_ready(now, by),
            None if overdue => self.take_too_long(now),
            None => {}
        }
    }

    pub(super) fn became_ready(&mut self, now: Moment, by: ReadyBy) {
        let newest = self.epochs.last_mut().expect("an epoch became ready");
        let Epoch { number, leader, .. } = *newest;
        let after = now - newest.started;
        let State::Starting(starting) = mem::replace(&mut newest.state, State::Ready) else {
            return;
        };
        self.say_of(number, leader, What::Ready { after, by });
        self.act(Action::RecordMemory { untold: 0 });
        self.admin_lost = false;
        self.settle(RestartOutcome::Ready { epoch: number, after });
        // In a stop nobody gets its signal twice, for whatever reason.
        let twice = self.is_ending() && self.policy.stop_signal == Signal::USR1;
        if starting.reopen_owed && !twice {
            self.forward_to_catchers(self.epochs.len() - 1, Signal::USR1);
        }
        self.try_restart(now);
    }
}

/// What a look alone makes of an epoch.
fn by_the_view(view: View, settled: bool, announces: bool) -> Option<ReadyBy> {
    match view {
        View::Ready => Some(ReadyBy::Announcement),
        View::Silent if settled && !announces => Some(ReadyBy::Clock),
        View::Unreadable if settled => Some(ReadyBy::ClockUnreadable),
        View::Starting | View::Silent | View::Unreadable => None,
    }
}
