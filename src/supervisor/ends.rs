//! Ends of epochs while we serve.

use super::{Action, End, Moment, Outcome, Phase, State, Status, StopReason, Supervisor, What};
use crate::signal::Signal;

/// Where one stands among the living epochs that count.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// There is no other.
    Alone,
    /// It started last, and older ones live.
    Newest,
    /// A newer one lives.
    Older,
}

impl Supervisor {
    pub(super) fn epoch_ended(&mut self, now: Moment, index: usize, end: End) {
        match self.phase {
            Phase::Serving => {}
            Phase::Draining(_) => return self.ended_in_drain(now, index, end),
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Ended => {
                return self.ended_in_ending(now, index, end);
            }
        }
        let epoch = &self.epochs[index];
        let (number, leader, foreground) = (epoch.number, epoch.leader, epoch.foreground);
        let starting = match epoch.state {
            State::Starting(_) => true,
            State::Ready => false,
            State::Failed { .. } => {
                let end = end.by_us();
                self.say_of(number, leader, What::Ended { end });
                return self.clear_away(now, end);
            }
        };
        let place = match self.standing() {
            1 => Place::Alone,
            epochs if index + 1 == epochs => Place::Newest,
            _ => Place::Older,
        };
        match (place, end.status) {
            // Envoy drops its handlers just before it exits, so SIGUSR1 may end it then.
            (Place::Older, Status::Exited(0) | Status::Signaled(Signal::USR1)) => {
                self.retire(index, What::Ended { end });
                self.try_restart(now);
            }
            (Place::Alone, Status::Exited(0)) => {
                self.retire(index, What::Ended { end });
                self.settle_fatal(number, end);
                self.stop(now, StopReason::LastEpochEnded, Outcome::LastEpochEnded);
            }
            (Place::Newest, Status::Exited(0)) if starting => {
                self.restart_failed(now, end);
            }
            (Place::Newest, Status::Exited(0)) => {
                self.retire(index, What::Ended { end });
                self.stop(now, StopReason::NobodyServes, Outcome::Stopped);
            }
            (Place::Alone | Place::Newest, Status::Signaled(Signal::INT)) if foreground => {
                self.retire(index, What::Ended { end });
                self.settle_fatal(number, end);
                self.stop(now, StopReason::Interrupted, Outcome::Interrupted);
            }
            (Place::Newest, Status::Exited(_) | Status::Signaled(_))
                if starting && self.policy.rollback =>
            {
                self.restart_failed(now, end);
            }
            (
                Place::Alone | Place::Newest | Place::Older,
                Status::Exited(_) | Status::Signaled(_),
            ) => {
                self.say_of(number, leader, What::EndedUnexpectedly { end });
                self.settle_fatal(number, end);
                self.kill(now, Outcome::Unexpected(end.status), Some(index));
            }
        }
    }

    /// Reaps an epoch whose end, of which this is said, ends nothing else. What it left behind
    /// lives on.
    pub(super) fn retire(&mut self, index: usize, what: What) {
        let epoch = self.epochs.remove(index);
        self.say_of(epoch.number, epoch.leader, what);
        self.act(Action::Reap { pid: epoch.leader });
    }
}
