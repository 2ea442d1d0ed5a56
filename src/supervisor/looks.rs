//! When to look again.

use std::mem;
use std::time::Duration;

use super::Moment;

/// The shortest and the longest pause between two looks at a starting epoch. An Envoy takes
/// about 100 ms, so an eighth of the epoch's age between them finds it soon and costs little.
const LOOK_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// The pause between looks at an epoch that has outlasted `--ready-timeout`.
const LATE_LOOK_PAUSE: Duration = Duration::from_secs(1);

/// When to look again at something that somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Looks {
    since: Moment,
    pub(super) last: Moment,
    next: Moment,
    /// The last one has not been answered.
    asked: bool,
    /// `--ready-timeout` has passed and was warned about.
    late: bool,
}

impl Looks {
    /// The first look is due after a pause.
    pub(super) fn begin(now: Moment) -> Self {
        Self { since: now, last: now, next: now + LOOK_PAUSE.0, asked: false, late: false }
    }

    /// The first look is due at once.
    pub(super) fn begin_now(now: Moment) -> Self {
        Self { next: now, ..Self::begin(now) }
    }

    /// When the next one is due, while none is under way.
    pub(super) fn next(&self) -> Option<Moment> {
        (!self.asked).then_some(self.next)
    }

    /// Whether one is under way.
    pub(super) fn is_asked(&self) -> bool {
        self.asked
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.next().is_some_and(|next| next <= now)
    }

    /// Notes that a look begins.
    pub(super) fn look(&mut self, now: Moment) {
        self.asked = true;
        self.last = now;
    }

    /// Notes the answer, if one is expected, and puts the next look off: by no less than this one
    /// took, so that looking at a target of many processes does not become our main work, but not
    /// for longer than the longest pause, since a server that was slow once may be quick.
    pub(super) fn answered(&mut self, now: Moment) -> bool {
        self.next = now + self.pause(now).max(now - self.last).min(LATE_LOOK_PAUSE);
        mem::take(&mut self.asked)
    }

    /// When the timeout is over, until that has been said.
    pub(super) fn late_at(&self, timeout: Duration) -> Option<Moment> {
        (!self.late).then_some(self.since + timeout)
    }

    /// Whether the timeout is over and has not been said to be.
    pub(super) fn becomes_late(&mut self, now: Moment, timeout: Duration) -> bool {
        let newly = self.late_at(timeout).is_some_and(|late| late <= now);
        self.late |= newly;
        newly
    }

    /// Whether the timeout has been found to be over.
    pub(super) fn is_late(&self) -> bool {
        self.late
    }

    /// How long we have been looking.
    pub(super) fn age(&self, now: Moment) -> Duration {
        now - self.since
    }

    fn pause(&self, now: Moment) -> Duration {
        if self.late {
            LATE_LOOK_PAUSE
        } else {
            (self.age(now) / 8).clamp(LOOK_PAUSE.0, LOOK_PAUSE.1)
        }
    }
}
