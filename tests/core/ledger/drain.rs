//! Section 7: what a stop that drains waits for, and when it is over.

use std::time::Duration;

use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{
    Answer, Count, DrainTime, Moment, Peer, Readiness, Reply, Request,
};

use super::{Cause, Epoch, Ledger, Phase, Verdict, ensure};
use crate::kernel::Kernel;

/// At least so often is the admin asked.
const ASK_WAIT: Duration = Duration::from_millis(500);

/// What the newest says of the older ones may be so old, unless it tells how old it is.
const OLDER_LAG: Duration = Duration::from_secs(5);

/// A stop that drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Drain {
    since: Moment,
    stage: Stage,
    /// `--drain-min` is over.
    serves_until: Moment,
    /// Since when each count has found nothing.
    nothing_since: Option<Moment>,
    /// What the first count after that said, and when.
    first: Option<(Moment, Option<u64>)>,
    /// It was said that the admin does not do what it should.
    unheard: bool,
    /// How often in a row it has not.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// A restart is under way.
    Handover,
    /// Nobody has said that it is the newest epoch.
    Stranger,
    /// The admin of the newest epoch is to be asked for this.
    Due(Request),
}

impl Ledger {
    pub(super) fn begin_drain(&mut self, now: Moment) {
        let stage = Stage::Handover;
        let drain = Drain {
            since: now,
            stage,
            serves_until: now,
            nothing_since: None,
            first: None,
            unheard: false,
            failures: 0,
        };
        self.facts.phase = Phase::Draining(drain);
        if self.policy.stop_signal == Signal::USR1 {
            // It comes with the stop, and once.
            self.facts.epochs.iter_mut().for_each(|epoch| epoch.reopen_owed = false);
        }
        self.drain_goes_on(now);
    }

    fn drain_time(&self) -> DrainTime {
        self.policy.drain.expect("there is a drain")
    }

    fn draining(&mut self) -> Option<&mut Drain> {
        match &mut self.facts.phase {
            Phase::Draining(drain) => Some(drain),
            Phase::Serving | Phase::Stopping { .. } | Phase::Killing { .. } | Phase::Ended => None,
        }
    }

    /// The newest of those that have not failed.
    fn standing(&self) -> impl DoubleEndedIterator<Item = &Epoch> {
        self.facts.epochs.iter().filter(|epoch| !epoch.failed)
    }

    /// "If a restart is under way, wait until it is ready or has failed."
    pub(super) fn drain_goes_on(&mut self, now: Moment) {
        let hands_over = self.facts.epochs.len() > 1
            && self.facts.epochs.last().is_some_and(|newest| !newest.ready && !newest.failed);
        let min = self.policy.drain.map_or(Duration::ZERO, |drain| drain.min);
        if let Some(drain) = self.draining()
            && drain.stage == Stage::Handover
            && !hands_over
        {
            (drain.stage, drain.serves_until) = (Stage::Stranger, now + min);
            self.facts.tasks.iter_mut().for_each(|running| running.useless = true);
        }
    }

    /// Whether the newest epoch's readiness is still found out.
    pub(crate) fn finds_out(&self) -> bool {
        match &self.facts.phase {
            Phase::Serving => true,
            Phase::Draining(drain) => drain.stage == Stage::Handover,
            Phase::Stopping { .. } | Phase::Killing { .. } | Phase::Ended => false,
        }
    }

    /// Nobody has been asked to end.
    pub(super) fn lives_on(&self) -> bool {
        match &self.facts.phase {
            Phase::Serving | Phase::Draining(_) => true,
            Phase::Stopping { .. } | Phase::Killing { .. } | Phase::Ended => false,
        }
    }

    /// Everything is asked to end now.
    pub(super) fn drain_is_over(&mut self, now: Moment) {
        let since = self.draining().expect("a drain").since;
        self.facts.words_owed.push("drained");
        self.begin_stop(now, since, Cause::Asked);
    }

    /// "Nothing ever delays the stop beyond `--drain-timeout`."
    pub(super) fn note_drain_time(&mut self, now: Moment) {
        let since = self.draining().map(|drain| drain.since);
        if since.is_some_and(|since| since + self.drain_time().timeout <= now) {
            self.drain_is_over(now);
        }
    }

    /// "Check that `/server_info` names the newest epoch."
    pub(super) fn note_identity(&mut self, now: Moment, number: u32, answer: Answer) {
        let newest = self.standing().next_back().map(|newest| newest.number);
        let alone = self.standing().count() == 1;
        let Some(drain) = self.draining() else {
            return;
        };
        if drain.stage != Stage::Stranger || newest != Some(number) {
            return;
        }
        match answer {
            Answer::Ready { .. } => {
                drain.failures = 0;
                drain.stage = Stage::Due(Request::FailHealthCheck);
            }
            Answer::Starting { .. } if alone => self.drain_is_over(now),
            Answer::Starting { .. } => {
                drain.failures = 0;
                let min = self.drain_time().min;
                self.draining().expect("a drain").serves_until = now + min;
            }
            Answer::No => self.note_drain_failure(now),
        }
    }

    /// "An admin that does not answer is logged, `--drain-min` still holds."
    fn note_drain_failure(&mut self, now: Moment) {
        let min = self.drain_time().min;
        let drain = self.draining().expect("a drain");
        drain.nothing_since = None;
        drain.failures += 1;
        let first = !std::mem::replace(&mut drain.unheard, true);
        let in_vain = drain.failures > 2;
        let over = in_vain && drain.stage == Stage::Stranger && drain.serves_until <= now;
        if in_vain && drain.stage == Stage::Due(Request::FailHealthCheck) {
            (drain.stage, drain.failures) = (Stage::Due(Request::DrainListeners), 0);
        } else if in_vain && drain.stage == Stage::Due(Request::DrainListeners) {
            (drain.stage, drain.failures) = (Stage::Due(Request::CountPending), 0);
            drain.serves_until = now + min;
        }
        if first {
            self.facts.words_owed.push("drain-unheard");
        }
        if over {
            self.drain_is_over(now);
        }
    }

    /// Ctrl-Z is nothing that a drain waits for.
    pub(super) fn note_suspended(&mut self) {
        if let Phase::Draining(_) = self.facts.phase {
            self.facts.signal = Some(Signal::CONT);
        }
    }

    pub(super) fn note_reply(&mut self, now: Moment, request: Request, reply: Reply) {
        let min = self.policy.drain.map_or(Duration::ZERO, |drain| drain.min);
        let alone = self.standing().count() == 1;
        let Some(drain) = self.draining() else {
            return;
        };
        match (request, reply) {
            (Request::FailHealthCheck, Reply::Done | Reply::Counted(_)) => {
                (drain.stage, drain.failures) = (Stage::Due(Request::DrainListeners), 0);
            }
            (Request::DrainListeners, Reply::Done | Reply::Counted(_)) => {
                (drain.stage, drain.failures) = (Stage::Due(Request::CountPending), 0);
                drain.serves_until = now + min;
            }
            // "Go on serving for `--drain-min` at least. Then wait until nothing is pending."
            (Request::CountPending, Reply::Counted(Count { pending, asked_older })) => {
                let nothing = pending.requests + pending.connections + pending.unsent_bytes == 0;
                let served = drain.serves_until <= now;
                if served && drain.first.is_none() {
                    drain.first = Some((now, asked_older));
                }
                let fresh = drain.first.is_some_and(|(when, first)| {
                    let told = first.is_some() && asked_older.is_some();
                    if told { first != asked_older } else { now - when >= OLDER_LAG }
                });
                if !nothing {
                    drain.nothing_since = None;
                    return;
                }
                let again = drain.nothing_since.replace(drain.nothing_since.unwrap_or(now));
                if served && again.is_some_and(|since| since < now) && (alone || fresh) {
                    self.drain_is_over(now);
                }
            }
            (_, Reply::Failed) | (Request::CountPending, Reply::Done) => {
                self.note_drain_failure(now);
            }
        }
    }

    /// An epoch has ended and counts no more; says whether the drain has any use left.
    pub(super) fn drain_loses(&mut self, now: Moment, newest: bool) {
        if newest {
            self.drain_is_over(now);
        }
    }

    pub(super) fn judge_request(&self, request: Request, kernel: &Kernel) -> Verdict {
        let Phase::Draining(drain) = &self.facts.phase else {
            return Err(format!("{request:?} outside a drain"));
        };
        let stage = drain.stage;
        ensure(stage == Stage::Due(request), || format!("{request:?} at {stage:?}"))?;
        // It has said who it is.
        ensure(!self.is_admin_lost(), || format!("{request:?} of an admin that is lost"))?;
        let open = kernel.is_requested() || kernel.is_asked(Peer::Admin);
        ensure(!open, || format!("{request:?} before the admin has answered"))
    }

    /// Whether the newest epoch is to be asked who it is.
    pub(super) fn is_to_be_identified(&self, number: u32) -> bool {
        let Phase::Draining(drain) = &self.facts.phase else {
            return false;
        };
        let newest = self.standing().next_back().map(|newest| newest.number);
        drain.stage == Stage::Stranger && newest == Some(number)
    }

    /// Whatever is waited for is asked for, and the end is woken for.
    pub(super) fn settle_drain(
        &self,
        now: Moment,
        kernel: &Kernel,
        deadline: Option<Moment>,
    ) -> Verdict {
        let Phase::Draining(drain) = &self.facts.phase else {
            return Ok(());
        };
        let over = drain.since + self.drain_time().timeout;
        let wakes_by = |moment: Moment| deadline.is_some_and(|deadline| deadline <= moment);
        ensure(wakes_by(over), || "a drain without an end".into())?;
        let waits = match drain.stage {
            Stage::Handover => {
                let newest = self.facts.epochs.last().expect("it hands over");
                ensure(
                    newest.live != Some(now) || self.policy.readiness == Readiness::Admin,
                    || "an epoch that is live and is not drained".into(),
                )?;
                return self.settle_starting(now, newest, kernel, deadline);
            }
            Stage::Stranger => kernel.is_asked(Peer::Admin),
            Stage::Due(_) => kernel.is_requested(),
        };
        ensure(self.standing().count() > 0, || "a drain of nobody".into())?;
        ensure(waits || wakes_by(now + ASK_WAIT), || "a drain that asks nobody".into())
    }
}
