//! Restarts that succeed, however they are asked for and whatever happens meanwhile.

use std::thread;
use std::time::Duration;

use libc::{SIGCONT, SIGSTOP};
use support::control::Answer;
use support::eventually;

use super::life::Life;
use super::plan::Admin;
use crate::handle::Handle;

/// How many clients may ask at the same time.
const ASKING: u64 = 4;

pub(super) const RELOAD: [&str; 4] = ["reload", "--wait", "--timeout", "60"];

impl Life<'_> {
    /// One, of which a client waits to hear.
    pub(super) fn reload(&mut self) {
        self.story.tell("reload --wait");
        let words = self.put_good(false);
        let told = self.send(&RELOAD);
        assert_eq!(ready(&told), Some(self.epoch + 1), "{told:?}");
        self.tally.add("Envoy: answers of reload --wait held against /server_info", 1);
        self.restarted(1, words);
    }

    /// Some SIGHUPs within a moment: at least one restart, and at most as many.
    pub(super) fn hang_up_often(&mut self) {
        let signals = 1 + self.random.below(5);
        self.story.tell(&format!("SIGHUP, {signals}×"));
        let words = self.put_good(false);
        for _ in 0..signals {
            self.hang_up();
            let gap = self.random.one_of(&[0, 5, 40, 150]);
            thread::sleep(self.random.span_below_ms(gap + 1));
        }
        self.settle(signals, words);
    }

    /// Waits for what these signals, or some of them, have asked for.
    pub(super) fn settle(&mut self, signals: u64, words: String) {
        let status = self.await_settled();
        let (before, after) = (self.counts, status.counts());
        let done = after.done - before.done;
        let others = (after.refused, after.failed);
        let as_asked = (1..=signals).contains(&done) && others == (before.refused, before.failed);
        assert!(as_asked, "{signals} signals, {before:?} became {after:?}: {status:?}");
        self.restarted(done, words);
    }

    /// Several clients at once, each of whom is told of its own restart or of one that it shares.
    pub(super) fn reload_at_once(&mut self) {
        let asking = 2 + self.random.below(ASKING - 1);
        self.story.tell(&format!("reload --wait by {asking} at once"));
        let words = self.put_good(false);
        let gaps: Vec<Duration> = (0..asking).map(|_| self.random.span_below_ms(120)).collect();
        let place = &self.bare.control;
        let told: Vec<Answer> = thread::scope(|scope| {
            let ask = |gap: Duration| {
                scope.spawn(move || {
                    thread::sleep(gap);
                    place.send(&RELOAD)
                })
            };
            let asked: Vec<_> = gaps.into_iter().map(ask).collect();
            asked.into_iter().map(|answer| answer.join().expect("a client runs")).collect()
        });
        let mut epochs: Vec<u32> = told
            .iter()
            .map(|told| ready(told).unwrap_or_else(|| panic!("not all are ready: {told:?}")))
            .collect();
        epochs.sort_unstable();
        epochs.dedup();
        let done = epochs.len().try_into().expect("a few");
        let next: Vec<u32> = (self.epoch + 1..).take(epochs.len()).collect();
        assert_eq!(epochs, next, "one after the other: {told:?}");
        self.tally.add("Envoy: answers of reload --wait held against /server_info", asking);
        self.restarted(done, words);
    }

    /// SIGHUPs while the new epoch waits for its configuration: they are one more restart.
    pub(super) fn hang_up_while_it_waits(&mut self) {
        // Whoever says nothing is not known to have taken over, and would be killed for it.
        if self.plan.admin == Admin::Silent {
            return self.reload();
        }
        self.story.tell("SIGHUPs while the new epoch waits for its xDS");
        let words = self.put_good(true);
        self.xds.fall_silent();
        let asked = self.xds.asked();
        self.hang_up();
        self.xds.await_asked(asked);
        for _ in 0..=self.random.below(6) {
            self.hang_up();
            thread::sleep(self.random.span_below_ms(20));
        }
        self.xds.answer();
        let done = self.counts.done;
        self.settle(2, words);
        assert_eq!(self.counts.done, done + 2, "the second one was remembered");
    }

    /// Epochs are suspended for a while, amid a handover or not: whoever asks waits.
    pub(super) fn suspend(&mut self) {
        let handover = self.random.percent(50);
        let words = self.put_good(false);
        if handover {
            self.hang_up();
            thread::sleep(self.random.span_below_ms(150));
        } else {
            self.quiesce();
        }
        let span = self.random.span_below_ms(600);
        let mut epochs = self.epochs();
        if self.random.percent(50) {
            let one = self.random.below(epochs.len().max(1) as u64);
            epochs =
                epochs.into_iter().skip(usize::try_from(one).expect("a few")).take(1).collect();
        }
        let whom = epochs.len();
        self.story.tell(&format!("{whom} suspended for {span:?}, amid a handover: {handover}"));
        for epoch in &epochs {
            epoch.signal(SIGSTOP);
        }
        thread::sleep(span);
        for epoch in &epochs {
            epoch.signal(SIGCONT);
        }
        self.tally.add("Envoy: epochs suspended", whom as u64);
        if handover {
            self.settle(1, words);
        } else {
            self.check_served();
        }
    }

    /// The leaders of all epochs.
    pub(super) fn epochs(&self) -> Vec<Handle> {
        let init = self.bare.restarter;
        // A check that runs is a child as well, and none of them.
        let attached = init.children().into_iter().filter(|child| child.has_attached());
        attached.filter_map(|child| Handle::of_child(child.0, init.0)).collect()
    }

    /// Waits for an epoch that has attached and is none of these, with the flag up.
    pub(super) fn await_new(&self, before: &[i32]) -> Handle {
        eventually("a new Envoy attaches to the shared memory", || {
            let epochs = self.epochs();
            let new = epochs.iter().find(|epoch| !before.contains(&epoch.pid));
            new.filter(|_| self.memory().is_initializing()).cloned().ok_or_else(|| self.status())
        })
    }
}

/// The epoch that a client was told to be ready.
pub(super) fn ready(told: &Answer) -> Option<u32> {
    let rest = told.out.strip_prefix("epoch ")?;
    let (epoch, after) = rest.split_once(' ')?;
    let ready = told.code == 0 && after.starts_with("ready after ");
    epoch.parse().ok().filter(|_| ready)
}
