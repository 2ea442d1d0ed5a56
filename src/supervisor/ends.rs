//! Ends of epochs while we serve.

use super::{Action, Moment, Outcome, Phase, State, Status, StopReason, Supervisor, What};
use crate::signal::Signal;

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
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Ended => {
                return self.ended_in_ending(now, index, status);
            }
        }
        let epoch = &self.epochs[index];
        let (number, leader) = (epoch.number, epoch.leader);
        let newest = index + 1 == self.epochs.len();
        let alone = self.epochs.len() == 1;
        let handed_over = !newest
            && match status {
                Status::Exited(code) => code == 0,
                // Envoy drops its handlers just before it exits.
                Status::Signaled(signal) => signal == Signal::USR1,
            };
        let interrupted = newest && epoch.foreground && status == Status::Signaled(Signal::INT);
        let starting = match epoch.state {
            State::Starting(_) => true,
            State::Ready => false,
        };

        if handed_over {
            self.retire(index, status);
            self.try_restart(now);
        } else if newest && status == Status::Exited(0) && alone {
            self.retire(index, status);
            self.stop(now, StopReason::LastEpochEnded, Outcome::LastEpochEnded);
        } else if newest && status == Status::Exited(0) && starting {
            self.restart_failed(index);
            self.try_restart(now);
        } else if newest && status == Status::Exited(0) {
            self.retire(index, status);
            self.stop(now, StopReason::NobodyServes, Outcome::Stopped);
        } else if interrupted {
            self.retire(index, status);
            self.stop(now, StopReason::Interrupted, Outcome::Interrupted);
        } else {
            let what = What::EndedUnexpectedly { status, out_of_memory: oom };
            self.say_of(number, leader, what);
            self.kill(now, Outcome::Unexpected(status), Some(index));
        }
    }

    /// Reaps an epoch whose end is in order. What it left behind lives on.
    fn retire(&mut self, index: usize, status: Status) {
        let epoch = self.epochs.remove(index);
        self.say_of(epoch.number, epoch.leader, What::Ended { status });
        self.act(Action::Reap { pid: epoch.leader });
    }

    /// The newest epoch has left before it served: the one before it is the newest again.
    fn restart_failed(&mut self, index: usize) {
        let failed = self.epochs.remove(index);
        // SIGTERM to a half-started Envoy would end its parent as well (envoy.md, m); and the
        // group is killed before the reap, while its number is still its own.
        self.act(Action::SignalGroup { group: failed.leader, signal: Signal::KILL });
        self.act(Action::Reap { pid: failed.leader });
        self.next = failed.number;
        if let Some(newest) = self.newest() {
            let (number, leader) = (newest.number, newest.leader);
            if failed.foreground {
                self.act(Action::Foreground { group: Some(leader) });
                self.epochs.last_mut().expect("the newest").foreground = true;
            }
            self.say_of(failed.number, failed.leader, What::RestartFailed { newest: number });
        }
    }
}
