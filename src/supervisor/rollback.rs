//! A restart that fails: the new epoch goes, what it left is cleared away, and the one before it
//! is the newest again.
//!
//! Only SIGKILL is good for a new epoch: SIGTERM to an Envoy that initialises ends its parent as
//! well (measured with Envoy 1.40.0).

use std::time::Duration;

use super::looks::Looks;
use super::{
    Action, End, Epoch, Failure, Mended, Moment, Outcome, Pid, State, Supervisor, Task, UnderWay,
    What,
};
use crate::signal::Signal;

/// How long we wait for what was sent SIGKILL, before we say that it will not go.
const GONE_WAIT: Duration = Duration::from_secs(2);

/// What a failed epoch left is still to be cleared away: its processes, and what it wrote into
/// the memory that it shared with the epoch in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mending {
    /// The number of the failed epoch.
    failed: u32,
    /// Its group. Its leader is reaped, so nobody signals it any more.
    group: Pid,
    /// How it ended.
    end: End,
    looks: Looks,
    /// What keeps us from it has been said. From then on only a restart makes us try again.
    given_up: bool,
    /// Its processes have been there each time that we looked.
    busy: bool,
}

impl Epoch {
    /// It has been sent SIGKILL because it was not ready in time.
    pub(super) fn has_failed(&self) -> bool {
        match self.state {
            State::Failed { .. } => true,
            State::Starting(_) | State::Ready => false,
        }
    }
}

impl Supervisor {
    /// The newest epoch is not ready, and its time is over.
    pub(super) fn take_too_long(&mut self, now: Moment) {
        let newest = self.epochs.last_mut().expect("it takes too long");
        let Epoch { number, leader, started, .. } = *newest;
        newest.state = State::Failed { complain_at: Some(now + GONE_WAIT) };
        let failure = Failure::Late { after: now - started };
        self.say_failed(number, leader, failure);
        self.kill_tasks(|task| task == Task::Probe { epoch: number, leader });
        // While its leader lives its members can be told, whatever group they are in.
        self.act(Action::KillEpoch { leader });
    }

    /// The newest epoch has ended before it served.
    pub(super) fn restart_failed(&mut self, now: Moment, end: End) {
        let failure = Failure::Ended(end);
        let newest = self.newest().expect("it has ended");
        let (number, leader) = (newest.number, newest.leader);
        self.say_failed(number, leader, failure);
        self.kill_tasks(|task| task == Task::Probe { epoch: number, leader });
        self.clear_away(now, end);
    }

    fn say_failed(&mut self, number: u32, leader: Pid, failure: Failure) {
        let before = self.epochs.len().checked_sub(2).map(|before| self.epochs[before].number);
        let newest = before.expect("an older epoch lives");
        self.say_of(number, leader, What::RestartFailed { failure, newest });
        self.under_way = self.under_way.take().map(|_| UnderWay::Failed { epoch: number, failure });
    }

    /// The leader of a failed epoch has ended: the epoch before it is the newest again, and the
    /// number is free.
    pub(super) fn clear_away(&mut self, now: Moment, end: End) {
        let failed = self.epochs.pop().expect("it has ended");
        let group = failed.leader;
        // While the group's number is still its own.
        self.act(Action::SignalGroup { group, signal: Signal::KILL });
        self.act(Action::Reap { pid: group });
        // Had the out-of-memory killer struck, it was told with this end; more than once, and an epoch
        // before this one may have died by it as well, whose end is told next.
        let untold = end.out_of_memory.map_or(0, |kills| kills.saturating_sub(1));
        self.act(Action::RecordMemory { untold });
        self.next = failed.number;
        let newest = self.epochs.last_mut().expect("an older epoch lives");
        if failed.foreground {
            newest.foreground = true;
            let group = Some(newest.leader);
            self.act(Action::Foreground { group });
        }
        if self.is_ending() {
            // Nobody will need that memory again.
            self.settle_failed();
            return;
        }
        let looks = Looks::begin_now(now);
        let failed = failed.number;
        self.mending = Some(Mending { failed, group, end, looks, given_up: false, busy: true });
        self.mend(now);
    }

    /// When what a failed epoch left is to be looked at again, or that it will not die to be said.
    pub(super) fn mending_due(&self) -> Option<Moment> {
        let looks = self.mending.filter(|mending| !mending.given_up).map(|mending| mending.looks);
        let complaint = self.newest().and_then(|newest| match newest.state {
            State::Failed { complain_at } => complain_at,
            State::Starting(_) | State::Ready => None,
        });
        looks.and_then(|looks| looks.next()).or(complaint)
    }

    pub(super) fn tick_mending(&mut self, now: Moment) {
        if self.mending_due().is_none_or(|due| now < due) {
            return;
        }
        let newest = self.epochs.last_mut().expect("somebody serves");
        let (number, leader) = (newest.number, newest.leader);
        match &mut newest.state {
            State::Failed { complain_at } => {
                *complain_at = None;
                self.say_of(number, leader, What::NotGone);
                self.settle_failed();
            }
            State::Starting(_) | State::Ready => self.mend(now),
        }
    }

    /// Tries to clear away what a failed epoch left, if one did.
    pub(super) fn mend(&mut self, now: Moment) {
        let newest = self.newest().map(|newest| (newest.number, newest.leader));
        if let (Some(mending), Some((epoch, leader))) = (&mut self.mending, newest) {
            mending.looks.look(now);
            let Mending { failed, group, .. } = *mending;
            self.act(Action::Mend { failed, group, epoch, leader });
        }
    }

    pub(super) fn mended(&mut self, now: Moment, outcome: Mended) {
        let Some(mending) = &mut self.mending else {
            return;
        };
        if !mending.looks.answered(now) {
            return;
        }
        let Mending { failed, group, end, .. } = *mending;
        // A group that was found empty once stays so; its number may be a stranger's by now.
        mending.busy &= outcome == Mended::Busy;
        let why = match outcome {
            Mended::Clean => return self.is_mended(now),
            Mended::Served => {
                self.say_of(failed, group, What::EndedServing { end });
                self.settle_fatal(failed, end);
                return self.kill(now, Outcome::Unexpected(end.status), None);
            }
            Mended::Repaired => {
                self.say_of(failed, None, What::Repaired);
                return self.is_mended(now);
            }
            Mended::Refused(why) => why,
            Mended::Busy => {
                if !mending.given_up && mending.looks.age(now) < GONE_WAIT {
                    return;
                }
                "processes that it left would not go".into()
            }
        };
        if std::mem::replace(&mut mending.given_up, true) {
            self.look_after_mending();
        } else {
            self.say_of(failed, None, What::NotRepaired { why });
            self.settle_failed();
            self.try_restart(now);
        }
    }

    fn is_mended(&mut self, now: Moment) {
        self.mending = None;
        self.settle_failed();
        if !self.look_after_mending() {
            self.try_restart(now);
        }
    }

    /// The failed epoch that left something which could not be cleared away.
    pub(super) fn unmended(&self) -> Option<u32> {
        self.mending.map(|mending| mending.failed)
    }

    /// The failed epoch whose processes are about to go.
    pub(super) fn clearing(&self) -> Option<u32> {
        let mending = self.mending.filter(|mending| !mending.given_up)?;
        Some(mending.failed)
    }

    /// The failed epoch whose processes stay although we have given up waiting for them. The next
    /// epoch would have their number.
    pub(super) fn lingering(&self) -> Option<u32> {
        self.mending.filter(|mending| mending.busy).map(|mending| mending.failed)
    }
}
