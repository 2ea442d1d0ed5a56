//! Section 6: "after a late failure Envoy's admin is gone until the next good epoch".

use std::mem;

use hot_restarter::supervisor::Answer;

use super::{Ledger, Phase, Verdict, ensure};

/// What is known of the admin of the epoch in service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Admin {
    /// A restart has failed, and this epoch's admin must be asked whether it is still there.
    pub(super) owed: Option<u32>,
    /// It has been, and nobody has answered or was asked for anything else.
    doubted: bool,
    /// It was not.
    lost: bool,
}

impl Ledger {
    /// Whether this is the question that a failed restart demands.
    pub(super) fn is_owed(&mut self, number: u32) -> bool {
        self.facts.admin.doubted = self.facts.admin.owed.take_if(|it| *it == number).is_some();
        self.facts.admin.doubted
    }

    pub(super) fn judge_doubt(&mut self, number: u32) -> Verdict {
        ensure(self.facts.phase == Phase::Serving, || "an admin doubted in a stop".into())?;
        let newest = self.facts.epochs.iter().rfind(|epoch| !epoch.failed);
        let serves = newest.is_some_and(|newest| newest.ready && newest.number == number);
        for epoch in &mut self.facts.epochs {
            epoch.admin_asked = epoch.number == number;
        }
        ensure(serves, || format!("the admin of epoch {number} doubted, which does not serve"))
    }

    /// It has answered, or has not in time.
    pub(super) fn note_doubt(&mut self, index: usize, answer: Answer) {
        let doubted = mem::take(&mut self.facts.admin.doubted);
        let newest = self.facts.epochs.iter().rposition(|epoch| !epoch.failed);
        let serves = newest == Some(index) && self.facts.epochs[index].ready;
        if !doubted || !serves || self.facts.phase != Phase::Serving {
            return;
        }
        let lost = answer == Answer::No;
        if lost && !self.facts.admin.lost {
            self.facts.words_owed.push("admin-lost");
        }
        self.facts.admin.lost = lost;
    }

    /// The next good epoch has brought an admin of its own.
    pub(super) fn note_admin_is_back(&mut self) {
        let Admin { doubted, lost, .. } = &mut self.facts.admin;
        (*doubted, *lost) = (false, false);
    }

    pub(super) fn settle_admin(&self) -> Verdict {
        let owed = self.facts.admin.owed;
        ensure(owed.is_none(), || format!("nobody asks whether the admin of {owed:?} is lost"))
    }

    /// It is lost, for the report.
    pub(super) fn is_admin_lost(&self) -> bool {
        self.facts.admin.lost
    }
}
