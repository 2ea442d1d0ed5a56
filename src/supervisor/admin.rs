//! Whether the admin of the newest epoch is lost.
//!
//! A restart that fails may have had it closed, and Envoy opens none again. An answer that is late
//! looks the same, so several questions must have been in vain before we say so; then we ask no
//! more until the next restart or a drain does, whose answer takes it back.

use std::time::Duration;

use super::{Answer, Moment, State, Supervisor, What};

/// So often in a row must it have been asked in vain.
const QUESTIONS: u32 = 3;
/// The pause between an answer that says nothing and the next question.
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// A restart has failed, and the admin of this epoch has not answered since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Doubt {
    /// The number of the epoch, which is the newest, and ready.
    epoch: u32,
    /// How often it has been asked in vain.
    failures: u32,
    /// When it is asked again; `None` while it is.
    next_ask: Option<Moment>,
}

impl Supervisor {
    /// A restart has failed, and this epoch serves on.
    pub(super) fn doubt_admin(&mut self, epoch: u32) {
        self.admin_doubt = Some(Doubt { epoch, failures: 0, next_ask: None });
        self.ask_admin(epoch);
    }

    /// When the admin is to be asked again whether it is still there.
    pub(super) fn doubt_due(&self) -> Option<Moment> {
        self.admin_doubt.and_then(|doubt| doubt.next_ask)
    }

    pub(super) fn tick_doubt(&mut self, now: Moment) {
        if let Some(doubt) = &mut self.admin_doubt
            && doubt.next_ask.take_if(|next| *next <= now).is_some()
        {
            let epoch = doubt.epoch;
            self.ask_admin(epoch);
        }
    }

    /// An epoch's own admin has answered, or nobody has in time. Whoever asked and why, an answer
    /// shows that it lives.
    pub(super) fn note_whether_lost(&mut self, now: Moment, index: usize, answer: Answer) {
        let serving = self.epochs.iter().rposition(|epoch| epoch.state == State::Ready);
        if serving != Some(index) {
            return;
        }
        match answer {
            Answer::Starting { .. } | Answer::Ready { .. } => {
                (self.admin_lost, self.admin_doubt) = (false, None);
            }
            Answer::No => self.doubt_more(now, index),
        }
    }

    fn doubt_more(&mut self, now: Moment, index: usize) {
        let Some(doubt) = &mut self.admin_doubt else {
            return;
        };
        doubt.failures += 1;
        if doubt.failures < QUESTIONS {
            doubt.next_ask = Some(now + ASK_PAUSE);
            return;
        }
        self.admin_doubt = None;
        if !std::mem::replace(&mut self.admin_lost, true) {
            let (number, leader) = (self.epochs[index].number, self.epochs[index].leader);
            self.say_of(number, leader, What::AdminLost);
        }
    }
}
