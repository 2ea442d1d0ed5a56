//! Sections 6 and 8: whoever asked for a restart hears once what became of it, and those who asked
//! first hear first.

use std::mem;

use hot_restarter::supervisor::{
    End, Failure, Moment, Notice, RestartOutcome, RestartReport, RestartStage, RestartStep,
};

use super::{Check, Ledger, Phase, Verdict, ensure};

/// What a restart is told that does not happen because everything ends.
const STOPPED: &str = "everything is being stopped";

/// Those who asked for a restart and have not heard what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Askers {
    /// One has been asked for, and has not begun.
    waits: bool,
    /// It will not begin, which it must hear in this event.
    in_vain: bool,
    /// One has been asked for in a stop, which must be refused in this event.
    too_late: bool,
    under_way: Option<UnderWay>,
    /// What the one under way must hear in this event.
    due: Option<RestartOutcome>,
    /// Why a restart was refused, as this event said.
    refusal: Option<String>,
}

/// How far a restart that has begun has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum UnderWay {
    /// It is being checked, or about to be started.
    Begun,
    /// Its epoch is started.
    Started(u32),
    /// Its epoch has failed like this.
    Failed(u32, Failure),
}

/// What happens.
impl Ledger {
    /// The epoch of a restart is started.
    pub(super) fn note_restart_started(&mut self, number: u32) {
        let under_way = &mut self.facts.askers.under_way;
        *under_way = under_way.map(|_| UnderWay::Started(number));
    }

    /// Its check did not pass, or its target could not be started.
    pub(super) fn note_restart_refused(&mut self) {
        self.owe(|under_way| match under_way {
            UnderWay::Begun => Some(RestartOutcome::Refused { why: String::new() }),
            UnderWay::Started(_) | UnderWay::Failed(..) => None,
        });
    }

    /// Its epoch has been found ready.
    pub(super) fn note_restart_ready(&mut self, now: Moment, number: u32, started: Moment) {
        let after = now - started;
        self.owe(|under_way| match under_way {
            UnderWay::Started(epoch) if epoch == number => {
                Some(RestartOutcome::Ready { epoch, after })
            }
            UnderWay::Begun | UnderWay::Started(_) | UnderWay::Failed(..) => None,
        });
    }

    /// Its epoch has failed, and is still to be cleared away.
    pub(super) fn note_restart_failed(&mut self, number: u32, failure: Failure) {
        let under_way = &mut self.facts.askers.under_way;
        *under_way = under_way.map(|_| UnderWay::Failed(number, failure));
    }

    /// What its epoch left has been cleared away, or will not be.
    pub(super) fn note_restart_cleared(&mut self) {
        let serving = self.facts.epochs.iter().rfind(|epoch| !epoch.failed);
        let serving = serving.filter(|serving| serving.ready && !self.is_ending());
        let newest = serving.map(|serving| serving.number);
        self.owe(|under_way| match under_way {
            UnderWay::Failed(epoch, failure) => {
                Some(RestartOutcome::Failed { epoch, failure, newest })
            }
            UnderWay::Begun | UnderWay::Started(_) => None,
        });
    }

    /// The end of this epoch ends everything.
    pub(super) fn note_fatal(&mut self, number: u32, end: End) {
        self.owe(|under_way| match under_way {
            UnderWay::Started(epoch) | UnderWay::Failed(epoch, _) if epoch == number => {
                Some(RestartOutcome::Fatal { epoch, end })
            }
            UnderWay::Begun | UnderWay::Started(_) | UnderWay::Failed(..) => None,
        });
    }

    /// "During a stop it is refused, and said so", to whoever has asked as well.
    pub(super) fn note_restart_too_late(&mut self) {
        self.facts.words_owed.push("restart-refused");
        self.facts.askers.too_late = true;
    }

    /// Everything ends; a drain lets the epoch that starts go on.
    pub(super) fn note_restarts_end(&mut self, drains: bool) {
        let askers = &mut self.facts.askers;
        askers.in_vain |= askers.waits;
        if askers.due.is_some() {
            return;
        }
        self.owe(|under_way| match under_way {
            UnderWay::Begun => Some(RestartOutcome::Refused { why: String::new() }),
            UnderWay::Started(epoch) => (!drains).then_some(RestartOutcome::Stopped { epoch }),
            UnderWay::Failed(epoch, failure) => {
                Some(RestartOutcome::Failed { epoch, failure, newest: None })
            }
        });
    }

    fn owe(&mut self, outcome: impl FnOnce(UnderWay) -> Option<RestartOutcome>) {
        let askers = &mut self.facts.askers;
        if let Some(due) = askers.under_way.and_then(outcome) {
            askers.due = Some(due);
        }
    }
}

/// What must not be told.
impl Ledger {
    pub(super) fn judge_step(&mut self, step: &RestartStep) -> Verdict {
        let serving = self.facts.phase == Phase::Serving;
        let askers = &mut self.facts.askers;
        match step {
            RestartStep::Asked => {
                let again = mem::replace(&mut askers.waits, true);
                ensure(!again, || "asked for a restart while one waits".into())?;
                ensure(serving, || "asked for a restart in a stop".into())?;
                ensure(self.facts.restart_wanted, || "asked for a restart by nobody".into())
            }
            RestartStep::Begins => {
                let waited = mem::take(&mut askers.waits);
                ensure(waited, || "a restart begins for nobody".into())?;
                let other = askers.under_way.replace(UnderWay::Begun);
                ensure(other.is_none(), || format!("a restart begins beside {other:?}"))
            }
            RestartStep::PutOff => {
                let off = askers.under_way.take();
                askers.waits = true;
                ensure(off == Some(UnderWay::Begun), || format!("{off:?} put off"))?;
                // What the check has seen will be old. What has been asked for is one restart.
                let check = mem::replace(&mut self.facts.check, Check::None);
                self.facts.restart_wanted = true;
                ensure(check == Check::Passed, || "a restart put off beside its check".into())
            }
            RestartStep::Settled { stage: RestartStage::Waiting, outcome } => {
                askers.waits = false;
                let in_vain = mem::take(&mut askers.in_vain);
                let too_late = !in_vain && mem::take(&mut askers.too_late);
                ensure(in_vain || too_late, || "what waits is told without cause".into())?;
                let due = &askers.due;
                ensure(due.is_none(), || format!("what waits is told before {due:?}"))?;
                let said = askers.refusal.as_deref() == Some(STOPPED);
                ensure(said || !too_late, || {
                    "what comes too late is told before it is said".into()
                })?;
                let refused = RestartOutcome::Refused { why: STOPPED.into() };
                ensure(*outcome == refused, || format!("what waits is told {outcome:?}"))
            }
            RestartStep::Settled { stage: RestartStage::UnderWay, outcome } => {
                self.judge_outcome(outcome)
            }
        }
    }

    fn judge_outcome(&mut self, outcome: &RestartOutcome) -> Verdict {
        let askers = &mut self.facts.askers;
        let Some(due) = askers.due.take() else {
            return Err(format!("{outcome:?} without cause"));
        };
        askers.under_way = None;
        let unsaid = &self.facts.words_owed;
        ensure(unsaid.is_empty(), || format!("{outcome:?} told before {unsaid:?} is said"))?;
        if let RestartOutcome::Failed { newest, .. } = outcome {
            self.facts.admin.owed = newest.filter(|_| self.policy.admin);
        }
        let holds = if let (RestartOutcome::Refused { .. }, RestartOutcome::Refused { why }) =
            (&due, outcome)
        {
            let said = self.facts.askers.refusal.take();
            said.as_ref() == Some(why) || self.is_killing() && why == STOPPED
        } else {
            due == *outcome
        };
        ensure(holds, || format!("{outcome:?} told, not {due:?}"))
    }

    /// `restart-refused`.
    pub(super) fn note_refusal(&mut self, why: &str) {
        self.facts.askers.refusal = Some(why.into());
    }

    /// `restart-failed`: "keep the older epoch as the newest".
    pub(super) fn judge_failure(&self, notice: &Notice, failure: Failure, newest: u32) -> Verdict {
        let under_way = self.facts.askers.under_way;
        let failed = notice.epoch.map(|epoch| UnderWay::Failed(epoch, failure));
        ensure(under_way == failed, || format!("{failed:?} said of {under_way:?}"))?;
        let serving = self.facts.epochs.iter().rfind(|epoch| !epoch.failed);
        ensure(serving.is_some_and(|serving| serving.ready && serving.number == newest), || {
            format!("epoch {newest} said to go on")
        })
    }

    /// No check and no start but of a restart that has begun.
    pub(super) fn ensure_begun(&self) -> Verdict {
        let under_way = self.facts.askers.under_way;
        ensure(under_way == Some(UnderWay::Begun), || {
            format!("a restart goes on of which nobody was told that it begins: {under_way:?}")
        })
    }
}

/// What must have been told.
impl Ledger {
    pub(super) fn settle_askers(&mut self) -> Verdict {
        let askers = &mut self.facts.askers;
        askers.refusal = None;
        let Askers { waits, in_vain, under_way, due, .. } = askers;
        let (waits, in_vain, under_way) = (*waits, *in_vain, *under_way);
        ensure(due.is_none(), || format!("nobody is told {due:?}"))?;
        ensure(!in_vain, || "nobody is told that a restart waits in vain".into())?;
        ensure(!self.facts.askers.too_late, || "nobody is told that it asks too late".into())?;
        ensure(self.facts.check != Check::Passed, || "put off, and nobody is told".into())?;
        ensure(waits == self.facts.restart_wanted, || {
            if waits {
                "somebody waits, and no restart does".into()
            } else {
                "a restart waits, and nobody was told that it was asked for".into()
            }
        })?;
        ensure(under_way == self.what_is_under_way(), || {
            format!("{under_way:?} waited for in vain")
        })
    }

    /// What is under way, from what there is.
    fn what_is_under_way(&self) -> Option<UnderWay> {
        let newest = self.facts.epochs.last()?;
        let known = self.facts.askers.under_way;
        if !self.lives_on() {
            None
        } else if self.facts.check == Check::Runs {
            Some(UnderWay::Begun)
        } else if !newest.ready && !newest.failed && newest.number > 0 {
            Some(UnderWay::Started(newest.number))
        } else {
            // What has failed, until it is cleared away or was said to stay.
            let mending = self.facts.mending.filter(|mending| !mending.given_up);
            let clearing = if newest.failed {
                newest.complain_at.map(|_| newest.number)
            } else {
                mending.map(|mending| mending.failed)
            };
            known.filter(|known| match known {
                UnderWay::Failed(epoch, _) => Some(*epoch) == clearing,
                UnderWay::Begun | UnderWay::Started(_) => false,
            })
        }
    }

    /// One waits, for the report.
    pub(super) fn waits(&self) -> bool {
        self.facts.askers.waits
    }

    /// What waits must hear that it does so in vain, and has not.
    pub(crate) fn waits_in_vain(&self) -> bool {
        self.facts.askers.in_vain
    }

    /// One that was asked for in a stop must hear that it is refused, and has not.
    pub(crate) fn comes_too_late(&self) -> bool {
        self.facts.askers.too_late
    }

    /// What is under way, for the report.
    pub(super) fn under_way_to_report(&self) -> Option<RestartReport> {
        self.facts.askers.under_way.map(|under_way| match under_way {
            UnderWay::Begun => RestartReport::Checking { epoch: self.facts.next },
            UnderWay::Started(epoch) => RestartReport::Starting { epoch },
            UnderWay::Failed(epoch, _) => RestartReport::Clearing { epoch },
        })
    }
}
