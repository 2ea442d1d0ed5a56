//! When the newest epoch is ready.

use std::mem;
use std::time::Duration;

use super::{Action, Epoch, Moment, ReadyBy, State, Supervisor, View, What};
use crate::signal::Signal;

/// How long a target that does not announce its readiness is given to start.
pub const SETTLING: Duration = Duration::from_secs(1);

/// The shortest and the longest pause between two looks at a starting epoch. An Envoy takes
/// about 100 ms, so an eighth of the epoch's age between them finds it soon and costs little.
const LOOK_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// The pause between looks at an epoch that has outlasted `--ready-timeout`.
const LATE_LOOK_PAUSE: Duration = Duration::from_secs(1);

/// An epoch that has not taken over yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Starting {
    pub(super) looks: Looks,
    /// A SIGUSR1 waits for it to be ready.
    pub(super) reopen_owed: bool,
}

/// When to look at the newest epoch again, while somebody waits for it to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Looks {
    since: Moment,
    last: Moment,
    pub(super) next: Moment,
    /// `--ready-timeout` has passed and was warned about.
    late: bool,
}

impl Looks {
    pub(super) fn begin(now: Moment) -> Self {
        Self { since: now, last: now, next: now + LOOK_PAUSE.0, late: false }
    }

    /// Notes that a look begins; says whether the timeout has just been found to be over.
    pub(super) fn look(&mut self, now: Moment, timeout: Duration) -> bool {
        let newly_late = !self.late && now - self.since >= timeout;
        self.late |= newly_late;
        self.last = now;
        self.next = now + self.pause(now);
        newly_late
    }

    /// Puts the next look off, now that one has been answered: by no less than that one took,
    /// so that looking at a target of many processes does not become our main work.
    pub(super) fn answered(&mut self, now: Moment) {
        self.next = now + self.pause(now).max(now - self.last);
    }

    fn pause(&self, now: Moment) -> Duration {
        if self.late {
            LATE_LOOK_PAUSE
        } else {
            ((now - self.since) / 8).clamp(LOOK_PAUSE.0, LOOK_PAUSE.1)
        }
    }
}

impl Epoch {
    /// When it is to be looked at; the look that finds a silent target settled comes when it is.
    pub(super) fn next_look(&self) -> Option<Moment> {
        let State::Starting(Starting { looks, .. }) = &self.state else {
            return None;
        };
        let settled = self.started + SETTLING;
        Some(if looks.last < settled { looks.next.min(settled) } else { looks.next })
    }
}

impl Supervisor {
    pub(super) fn seen(&mut self, now: Moment, number: u32, view: View) {
        let Some(newest) = self.epochs.last_mut().filter(|newest| newest.number == number) else {
            return;
        };
        match view {
            View::Starting | View::Ready | View::Unreadable => self.announces = true,
            View::Silent => {}
        }
        let State::Starting(starting) = &mut newest.state else {
            return self.last_look(now, number, view);
        };
        starting.looks.answered(now);
        let settled = now - newest.started >= SETTLING;
        let by = match view {
            View::Ready => ReadyBy::Announcement,
            View::Silent if settled && !self.announces => ReadyBy::Clock,
            View::Unreadable if settled => ReadyBy::ClockUnreadable,
            View::Starting | View::Silent | View::Unreadable => return,
        };
        self.became_ready(now, by);
    }

    pub(super) fn became_ready(&mut self, now: Moment, by: ReadyBy) {
        let newest = self.epochs.last_mut().expect("an epoch became ready");
        let (number, leader, after) = (newest.number, newest.leader, now - newest.started);
        let State::Starting(starting) = mem::replace(&mut newest.state, State::Ready) else {
            return;
        };
        self.say_of(number, leader, What::Ready { after, by });
        self.act(Action::RecordMemory);
        if starting.reopen_owed {
            self.forward_to_catchers(self.epochs.len() - 1, Signal::USR1);
        }
        self.try_restart(now);
    }

    pub(super) fn tick_serving(&mut self, now: Moment) {
        let timeout = self.policy.ready_timeout;
        if let Some(newest) = self.epochs.last_mut()
            && newest.next_look().is_some_and(|due| due <= now)
            && let State::Starting(Starting { looks, .. }) = &mut newest.state
        {
            let late = looks.look(now, timeout);
            let (epoch, leader, started) = (newest.number, newest.leader, newest.started);
            if late {
                self.say_of(epoch, leader, What::NotReady { after: now - started });
            }
            self.act(Action::Look { epoch, leader });
        }
        self.try_restart(now);
    }
}
