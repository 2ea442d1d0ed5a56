//! Section 6: "after a late failure Envoy's admin is gone until the next good epoch".

use std::time::Duration;

use hot_restarter::supervisor::{Answer, Moment};

use super::{Ledger, Phase, Verdict, ensure};

/// So often in a row it must have been asked in vain before it is lost.
const QUESTIONS: u32 = 3;
/// The pause after a question that was in vain.
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// What is known of the admin of the epoch in service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Admin {
    /// A restart has failed, and this epoch's admin must be asked whether it is still there.
    pub(super) owed: Option<u32>,
    /// It has been, and has not answered.
    doubt: Option<Doubt>,
    /// It was not.
    lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Doubt {
    number: u32,
    in_vain: u32,
    /// When the last question was in vain; `None` while one is open.
    since: Option<Moment>,
}

impl Ledger {
    /// Whether this is a question that a failed restart demands.
    pub(super) fn is_doubted(&self, number: u32) -> bool {
        let Admin { owed, doubt, .. } = self.facts.admin;
        owed == Some(number) || doubt.is_some_and(|doubt| doubt.number == number)
    }

    pub(super) fn judge_doubt(&mut self, now: Moment, number: u32) -> Verdict {
        ensure(self.facts.phase == Phase::Serving, || "an admin doubted in a stop".into())?;
        let newest = self.facts.epochs.iter().rfind(|epoch| !epoch.failed);
        let serves = newest.is_some_and(|newest| newest.ready && newest.number == number);
        for epoch in &mut self.facts.epochs {
            epoch.admin_asked = epoch.number == number;
        }
        ensure(serves, || format!("the admin of epoch {number} doubted, which does not serve"))?;
        let Admin { owed, doubt, .. } = &mut self.facts.admin;
        if owed.take().is_some() {
            *doubt = Some(Doubt { number, in_vain: 0, since: None });
            return Ok(());
        }
        let since = doubt.as_mut().and_then(|doubt| doubt.since.take());
        ensure(since.is_some_and(|since| since + ASK_PAUSE <= now), || {
            format!("the admin of epoch {number} doubted again so soon")
        })
    }

    /// It has answered, or has not in time.
    pub(super) fn note_doubt(&mut self, now: Moment, index: usize, answer: Answer) {
        if self.facts.epochs.iter().rposition(|epoch| epoch.ready) != Some(index) {
            return;
        }
        let Admin { doubt, lost, .. } = &mut self.facts.admin;
        if answer != Answer::No {
            (*doubt, *lost) = (None, false);
        } else if let Some(doubted) = doubt {
            doubted.in_vain += 1;
            doubted.since = Some(now);
            if doubted.in_vain == QUESTIONS {
                *doubt = None;
                if !std::mem::replace(lost, true) {
                    self.facts.words_owed.push("admin-lost");
                }
            }
        }
    }

    /// An epoch is started, or everything ends, and nobody doubts any more.
    pub(super) fn note_no_doubt(&mut self) {
        self.facts.admin.doubt = None;
    }

    /// The next good epoch has brought an admin of its own.
    pub(super) fn note_admin_is_back(&mut self) {
        self.facts.admin.lost = false;
    }

    /// When it is to be asked again at the latest.
    pub(super) fn doubts_at(&self) -> Option<Moment> {
        Some(self.facts.admin.doubt?.since? + ASK_PAUSE)
    }

    pub(super) fn settle_admin(&self) -> Verdict {
        let owed = self.facts.admin.owed;
        ensure(owed.is_none(), || format!("nobody asks whether the admin of {owed:?} is lost"))
    }

    /// The next answer decides whether it is lost.
    pub(crate) fn is_admin_nearly_lost(&self) -> bool {
        let Admin { doubt, lost, .. } = self.facts.admin;
        !lost && doubt.is_some_and(|doubt| doubt.in_vain + 1 == QUESTIONS)
    }

    /// It is lost, for the report.
    pub(crate) fn is_admin_lost(&self) -> bool {
        self.facts.admin.lost
    }
}
