//! Ends of epochs while we serve.

use super::{Action, Moment, Outcome, Phase, State, Status, StopReason, Supervisor, What};
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
    pub(super) fn epoch_ended(
        &mut self,
        now: Moment,
        index: usize,
        status: Status,
        oom: Option<u64>,
    ) {
        match self.phase {
            Phase::Serving => {}
            Phase::Draining(_) => return self.ended_in_drain(now, index, status, oom),
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Ended => {
                return self.ended_in_ending(now, index, status);
            }
        }
        let epoch = &self.epochs[index];
        let (number, leader, foreground) = (epoch.number, epoch.leader, epoch.foreground);
        let starting = match epoch.state {
            State::Starting(_) => true,
            State::Ready => false,
            State::Failed { .. } => {
                self.say_of(number, leader, What::Ended { status });
                return self.clear_away(now, status);
            }
        };
        let place = match self.standing() {
            1 => Place::Alone,
            epochs if index + 1 == epochs => Place::Newest,
            _ => Place::Older,
        };
        match (place, status) {
            // Envoy drops its handlers just before it exits, so SIGUSR1 may end it then.
            (Place::Older, Status::Exited(0) | Status::Signaled(Signal::USR1)) => {
                self.retire(index, status);
                self.try_restart(now);
            }
            (Place::Alone, Status::Exited(0)) => {
                self.retire(index, status);
                self.stop(now, StopReason::LastEpochEnded, Outcome::LastEpochEnded);
            }
            (Place::Newest, Status::Exited(0)) if starting => {
                self.restart_failed(now, status, oom);
            }
            (Place::Newest, Status::Exited(0)) => {
                self.retire(index, status);
                self.stop(now, StopReason::NobodyServes, Outcome::Stopped);
            }
            (Place::Alone | Place::Newest, Status::Signaled(Signal::INT)) if foreground => {
                self.retire(index, status);
                self.stop(now, StopReason::Interrupted, Outcome::Interrupted);
            }
            (Place::Newest, Status::Exited(_) | Status::Signaled(_))
                if starting && self.policy.rollback =>
            {
                self.restart_failed(now, status, oom);
            }
            (
                Place::Alone | Place::Newest | Place::Older,
                Status::Exited(_) | Status::Signaled(_),
            ) => {
                let what = What::EndedUnexpectedly { status, out_of_memory: oom };
                self.say_of(number, leader, what);
                self.kill(now, Outcome::Unexpected(status), Some(index));
            }
        }
    }

    /// Reaps an epoch whose end is in order. What it left behind lives on.
    pub(super) fn retire(&mut self, index: usize, status: Status) {
        let epoch = self.epochs.remove(index);
        self.say_of(epoch.number, epoch.leader, What::Ended { status });
        self.act(Action::Reap { pid: epoch.leader });
    }
}
