//! A stop that drains first: the newest Envoy goes on serving, tells its clients to go elsewhere,
//! and is asked to end when nothing is pending.
//!
//! ```text
//! Handover ──> Identify ──> FailHealthCheck ──> DrainListeners ──> Count ──> asked to end
//!     │            │              └ or it refuses ──^  └ or refuses ──^          ^
//!     │            └ nobody answers for --drain-min, or nobody serves yet ───────┤
//!     └ and from anywhere: --drain-timeout is over, the newest epoch ends ───────┘
//! ```

use std::mem;
use std::time::Duration;

use super::notice::Drained;
use super::{
    Action, Answer, Count, End, Epoch, Moment, Outcome, Peer, Pending, Phase, Readiness, ReadyBy,
    Reply, Request, Status, Supervisor, WaitsFor, What,
};

/// The pause between an answer of the admin and the next question.
const ASK_PAUSE: Duration = Duration::from_millis(500);
/// What the newest Envoy says of the older ones may be so old, where it does not tell how old it
/// is: it asks them with each flush of its statistics, every 5 s unless its configuration says
/// otherwise (measured with 1.40.0).
const OLDER_LAG: Duration = Duration::from_secs(5);
/// So often must a question have failed in a row before it is given up: one that is late, or comes
/// when Envoy's own queue is full, says nothing.
const FAILURES: u32 = 3;
/// How often the log tells how far a drain has come.
const WORD_PAUSE: Duration = Duration::from_secs(3);

/// How long a stop drains, counted from the signal that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DrainTime {
    /// No longer than this.
    pub timeout: Duration,
    /// And so long after Envoy has been told, whatever is pending: who sends to it needs time to
    /// notice.
    pub min: Duration,
}

/// A drain that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Draining {
    /// When the stop was asked for.
    since: Moment,
    time: DrainTime,
    step: Step,
    /// Until then we serve whatever is pending, unless the whole time is over.
    serve_until: Moment,
    /// The admin has been asked for something and has not answered.
    asked: bool,
    /// When it is asked again.
    next_ask: Moment,
    /// When the log tells how far we have come.
    next_word: Moment,
    /// What was pending at the last count.
    pending: Option<Pending>,
    /// The first of the counts in a row that found nothing, up to the last.
    nothing_since: Option<Moment>,
    /// The first count after `serve_until`: when it came, and its [`Count::asked_older`].
    first: Option<(Moment, Option<u64>)>,
    /// How often in a row the question of this step has been in vain.
    failures: u32,
    /// That one has been has been said.
    unheard: bool,
    /// Envoy has done something of what it was asked to do.
    told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// The newest epoch has not taken over: an Envoy that initialises drains nothing, though it
    /// answers.
    Handover,
    /// Whoever answers must be the newest epoch: another Envoy's admin is none of our business.
    Identify,
    /// Its clients and load balancers are to go.
    FailHealthCheck,
    /// So are those of listeners without a health check.
    DrainListeners,
    /// It has been told, and we wait until nothing is pending.
    Count,
}

impl Draining {
    fn turn_to(&mut self, now: Moment, step: Step) {
        self.step = step;
        self.next_ask = now;
        self.failures = 0;
    }

    fn begin_to_count(&mut self, now: Moment) {
        self.serve_until = now + self.time.min;
        self.turn_to(now, Step::Count);
    }

    fn ask_later(&mut self, now: Moment) {
        let pause = now + ASK_PAUSE;
        // What ends the drain is a count after the least time, at its end if possible.
        self.next_ask = if now < self.serve_until { pause.min(self.serve_until) } else { pause };
    }

    pub(super) fn waits_for(&self, now: Moment, alone: bool) -> WaitsFor {
        match (self.step, self.pending) {
            (Step::Handover, _) => WaitsFor::Handover,
            (_, None) => WaitsFor::Admin,
            (_, Some(pending)) if !pending.is_nothing() => WaitsFor::Pending(pending),
            (_, Some(_)) if now < self.serve_until || alone => WaitsFor::Time,
            (_, Some(_)) => WaitsFor::OlderEpoch,
        }
    }

    /// When there is something to ask or to say, or it is over.
    pub(super) fn due(&self) -> Moment {
        let over = self.since + self.time.timeout;
        let asks = !self.asked && self.step != Step::Handover;
        let due = over.min(self.next_word);
        if asks { due.min(self.next_ask) } else { due }
    }

    /// Since when, for the time that is left of a whole stop.
    pub(super) fn since(&self) -> Moment {
        self.since
    }
}

impl Supervisor {
    pub(super) fn begin_drain(&mut self, now: Moment, time: DrainTime) {
        let DrainTime { timeout, min } = time;
        self.say(What::Draining { timeout, min });
        self.phase = Phase::Draining(Draining {
            since: now,
            time,
            step: Step::Handover,
            serve_until: now,
            asked: false,
            next_ask: now,
            next_word: now + WORD_PAUSE,
            pending: None,
            nothing_since: None,
            first: None,
            failures: 0,
            unheard: false,
            told: false,
        });
    }

    /// Whether the newest epoch is still to take over from an older one.
    fn hands_over(&self) -> bool {
        self.newest().is_some_and(Epoch::is_starting) && self.epochs.len() > 1
    }

    /// Whether a drain waits for the newest epoch to take over, which is found out as ever.
    pub(super) fn drains_after_handover(&self) -> bool {
        match &self.phase {
            Phase::Draining(draining) => draining.step == Step::Handover,
            Phase::Serving | Phase::Stopping(_) | Phase::Killing(_) | Phase::Ended => false,
        }
    }

    /// Whether the time of a drain is over. That is looked at before anything else that time may
    /// have brought: nothing delays a stop beyond `--drain-timeout`.
    pub(super) fn tick_drain(&mut self, now: Moment) -> bool {
        let alone = self.standing() == 1;
        let Phase::Draining(draining) = &mut self.phase else {
            return false;
        };
        let timeout = draining.time.timeout;
        let (pending, after) = (draining.pending, now - draining.since);
        if timeout <= after {
            let drained = match draining.step {
                Step::Identify if draining.unheard => Drained::Unheard,
                Step::Handover | Step::Identify => Drained::NotReady,
                Step::FailHealthCheck | Step::DrainListeners | Step::Count => {
                    Drained::Over { pending }
                }
            };
            self.drained(now, drained);
            return true;
        }
        if draining.next_word <= now {
            draining.next_word = now + WORD_PAUSE;
            let waits_for = draining.waits_for(now, alone);
            self.say(What::DrainsOn { waits_for, after, timeout });
        }
        false
    }

    /// Takes a drain, if there is one, as far as it comes.
    pub(super) fn drain(&mut self, now: Moment) {
        let hands_over = self.hands_over();
        let Phase::Draining(draining) = &mut self.phase else {
            return;
        };
        if draining.step == Step::Handover && !hands_over {
            draining.serve_until = now + draining.time.min;
            draining.turn_to(now, Step::Identify);
            // An epoch 0 that is not ready is not found to be any more.
            self.kill_tasks(|_| true);
        }
        self.ask_for_the_step(now);
    }

    fn ask_for_the_step(&mut self, now: Moment) {
        let standing = self.standing();
        let Phase::Draining(draining) = &mut self.phase else {
            return;
        };
        if draining.asked || now < draining.next_ask {
            return;
        }
        let request = match draining.step {
            Step::Handover => return,
            Step::Identify => {
                draining.asked = true;
                let epoch = self.epochs[standing - 1].number;
                // The question that looked whether it is ready may be open; its answer will do.
                if !self.note_admin_asked(epoch) {
                    self.act(Action::Ask { epoch, peer: Peer::Admin });
                }
                return;
            }
            Step::FailHealthCheck => Request::FailHealthCheck,
            Step::DrainListeners => Request::DrainListeners,
            Step::Count => Request::CountPending,
        };
        draining.asked = true;
        self.act(Action::Request { request });
    }

    /// The admin has said who it is.
    pub(super) fn identified(&mut self, now: Moment, number: u32, answer: Answer) {
        let newest = self.standing().checked_sub(1).map(|newest| self.epochs[newest].number);
        let older = self.standing() > 1;
        let Phase::Draining(draining) = &mut self.phase else {
            return;
        };
        if newest != Some(number) {
            return;
        }
        if draining.step == Step::Handover {
            // A probe that says no is about restarts, and there will be none.
            if let (Answer::Ready { .. }, false) =
                (answer, self.policy.readiness == Readiness::Admin)
            {
                self.became_ready(now, ReadyBy::Admin);
            }
            return;
        }
        if draining.step != Step::Identify {
            return;
        }
        draining.asked = false;
        match answer {
            Answer::No => self.drain_failed(now),
            Answer::Ready { .. } => {
                draining.turn_to(now, Step::FailHealthCheck);
                // So is an epoch 0, or one whose parent has left meanwhile.
                if self.newest().is_some_and(|it| it.number == number && it.is_starting()) {
                    self.became_ready(now, ReadyBy::Admin);
                }
            }
            // It was taken for ready too soon, and the older ones serve.
            Answer::Starting { .. } if older => {
                draining.failures = 0;
                draining.serve_until = now + draining.time.min;
                draining.ask_later(now);
            }
            Answer::Starting { .. } => self.drained(now, Drained::NotServing),
        }
    }

    /// The admin has done what it was asked for, or has not.
    pub(super) fn replied(&mut self, now: Moment, request: Request, reply: Reply) {
        let Phase::Draining(draining) = &mut self.phase else {
            return;
        };
        draining.asked = false;
        match (request, reply) {
            (_, Reply::Failed) | (Request::CountPending, Reply::Done) => self.drain_failed(now),
            (Request::FailHealthCheck, _) => {
                draining.told = true;
                draining.turn_to(now, Step::DrainListeners);
            }
            (Request::DrainListeners, _) => {
                draining.told = true;
                draining.begin_to_count(now);
            }
            (Request::CountPending, Reply::Counted(count)) => self.counted(now, count),
        }
    }

    fn counted(&mut self, now: Moment, Count { pending, asked_older }: Count) {
        let alone = self.standing() == 1;
        let Phase::Draining(draining) = &mut self.phase else {
            return;
        };
        draining.pending = Some(pending);
        draining.ask_later(now);
        let nothing_since = *draining.nothing_since.get_or_insert(now);
        if !pending.is_nothing() {
            draining.nothing_since = None;
        }
        if now < draining.serve_until {
            return;
        }
        let (first, asked_first) = *draining.first.get_or_insert((now, asked_older));
        // A request that an older one got in the last moments is none that the newest knows of.
        let knows_of_older = match (asked_first, asked_older) {
            (Some(before), Some(after)) => before != after,
            (None, _) | (_, None) => first + OLDER_LAG <= now,
        };
        // Envoy does not read all of its gauges at one moment, so one count alone is none.
        if pending.is_nothing() && nothing_since < now && (alone || knows_of_older) {
            let after = now - draining.since;
            let told = draining.told;
            self.drained(now, Drained::Empty { after, told });
        }
    }

    /// A question to the admin was in vain, and is asked again. After some of them we go on
    /// without, but one that has not even said who it is is asked for as long as `--drain-min`.
    fn drain_failed(&mut self, now: Moment) {
        let Phase::Draining(draining) = &mut self.phase else {
            return;
        };
        draining.pending = None;
        draining.nothing_since = None;
        draining.failures += 1;
        draining.ask_later(now);
        let first = !mem::replace(&mut draining.unheard, true);
        let given_up = draining.failures >= FAILURES;
        let served = draining.serve_until <= now;
        let mut over = false;
        match draining.step {
            Step::Identify => over = given_up && served,
            Step::FailHealthCheck if given_up => draining.turn_to(now, Step::DrainListeners),
            Step::DrainListeners if given_up => draining.begin_to_count(now),
            Step::Handover | Step::FailHealthCheck | Step::DrainListeners | Step::Count => {}
        }
        if first {
            self.say(What::DrainUnheard);
        }
        if over {
            self.drained(now, Drained::Unheard);
        }
    }

    /// An epoch has ended while we drain.
    pub(super) fn ended_in_drain(&mut self, now: Moment, index: usize, end: End) {
        let epoch = &self.epochs[index];
        if epoch.has_failed() {
            let end = end.by_us();
            self.say_of(epoch.number, epoch.leader, What::Ended { end });
            return self.clear_away(now, end);
        }
        if index + 1 < self.standing() {
            return self.retire(index, What::Ended { end });
        }
        if self.hands_over() {
            return self.restart_failed(now, end);
        }
        let early = end.status != Status::Exited(0);
        self.retire(index, if early { What::EndedEarly { end } } else { What::Ended { end } });
        let pending = match &self.phase {
            Phase::Draining(draining) => draining.pending,
            Phase::Serving | Phase::Stopping(_) | Phase::Killing(_) | Phase::Ended => None,
        };
        self.drained(now, Drained::NobodyServes { pending });
    }

    /// The drain is over, and everything is asked to end.
    fn drained(&mut self, now: Moment, drained: Drained) {
        let Phase::Draining(draining) = &self.phase else {
            return;
        };
        let since = draining.since;
        self.say(What::Drained { drained });
        self.ask_to_end(now, since, Outcome::Stopped);
    }
}
