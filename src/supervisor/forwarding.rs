//! Signals to us, and those that are passed on.

use super::{
    Action, Command, Epoch, Moment, Phase, Pid, Reach, State, StopReason, Supervisor, What,
};
use crate::signal::{Meaning, Signal};

/// What a signal to us does.
impl Supervisor {
    pub(super) fn signal(&mut self, now: Moment, signal: Signal) {
        match signal.meaning() {
            Meaning::Stop => self.stop_asked(now, StopReason::Signal(signal)),
            Meaning::Restart => self.restart_asked(now),
            Meaning::Reopen => self.forward(now, signal, Self::reopen),
            Meaning::ToGroups => self.forward(now, signal, Self::forward_to_group),
            Meaning::ToCatchers => self.forward(now, signal, Self::forward_to_catchers),
            // Exits are events of their own, and the others are never told to us.
            Meaning::Reap | Meaning::Ignored | Meaning::Fault | Meaning::Uncatchable => {}
        }
    }

    /// What a client asks for does what the signal does.
    pub(super) fn command(&mut self, now: Moment, command: Command) {
        match command {
            Command::Reload => self.restart_asked(now),
            Command::Reopen => self.forward(now, Signal::USR1, Self::reopen),
            Command::Stop => self.stop_asked(now, StopReason::Command),
        }
    }

    /// The signals that are passed on go to every living epoch, a stop notwithstanding: an
    /// epoch that drains still writes its log.
    fn forward(&mut self, now: Moment, signal: Signal, deliver: fn(&mut Self, usize, Signal)) {
        match &self.phase {
            // Every epoch has had it or will, and a second one makes many servers cut their drain.
            Phase::Draining(_) | Phase::Stopping(_) if signal == self.policy.stop_signal => {
                self.say_already_stopping(now, StopReason::Signal(signal));
            }
            Phase::Serving | Phase::Draining(_) | Phase::Stopping(_) => {
                for index in 0..self.epochs.len() {
                    if !self.epochs[index].has_failed() {
                        deliver(self, index, signal);
                    }
                }
            }
            Phase::Killing(_) | Phase::Ended => self.say(What::DroppedAtEnd { signal }),
        }
    }

    fn reopen(&mut self, index: usize, signal: Signal) {
        let in_vain = match self.phase {
            Phase::Serving | Phase::Draining(_) => false,
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Ended => true,
        };
        let epoch = &mut self.epochs[index];
        match &mut epoch.state {
            State::Ready => self.forward_to_catchers(index, signal),
            // It will not become ready any more.
            State::Failed { .. } => {}
            State::Starting(_) if in_vain => self.say(What::DroppedAtEnd { signal }),
            State::Starting(starting) => {
                starting.reopen_owed = true;
                let (number, leader) = (epoch.number, epoch.leader);
                self.say_of(number, leader, What::ReopenPostponed);
            }
        }
    }

    fn forward_to_group(&mut self, index: usize, signal: Signal) {
        let Epoch { number, leader, .. } = self.epochs[index];
        self.act(Action::SignalGroup { group: leader, signal });
        self.say_of(number, leader, What::ForwardedToGroup { signal });
    }

    pub(super) fn forward_to_catchers(&mut self, index: usize, signal: Signal) {
        let Epoch { number, leader, .. } = self.epochs[index];
        self.act(Action::SignalCatchers { epoch: number, leader, signal });
    }

    /// Ctrl-Z has stopped the newest epoch, and the shell that we are a job of knows nothing of it.
    pub(super) fn suspended(&mut self, pid: Pid) {
        let Some(newest) = self.newest().filter(|newest| newest.leader == pid) else {
            return;
        };
        if !newest.foreground {
            return;
        }
        let number = newest.number;
        match self.phase {
            Phase::Serving => {
                self.say_of(number, pid, What::Suspended);
                self.act(Action::Suspend { group: pid });
            }
            // It is to serve until it is asked to end, and whoever waits for us is to wait on.
            Phase::Draining(_) => {
                self.act(Action::SignalGroup { group: pid, signal: Signal::CONT });
            }
            // Everything is sent SIGCONT anyway.
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Ended => {}
        }
    }

    pub(super) fn reached(&mut self, number: u32, signal: Signal, reach: Reach) {
        let Some(epoch) = self.epochs.iter().find(|epoch| epoch.number == number) else {
            return;
        };
        let leader = epoch.leader;
        let reopen = signal.meaning() == Meaning::Reopen;
        let what = match (reach, reopen) {
            (Reach::Sent(processes), true) => What::Reopened { processes },
            (Reach::Nobody, true) => What::ReopenUnheard,
            (Reach::Unknown, true) => {
                // The epoch is ready, so the program that it was started as can be trusted to
                // catch what every server catches.
                self.act(Action::SignalChild { pid: leader, signal });
                What::ReopenBlind
            }
            (Reach::Sent(processes), false) => What::Forwarded { signal, processes },
            (Reach::Nobody, false) => What::Dropped { signal },
            (Reach::Unknown, false) => What::DroppedBlind { signal },
        };
        self.say_of(number, leader, what);
    }
}
