//! Section 8: what `status` and `health` tell.

use hot_restarter::supervisor::{
    EpochReport, EpochState, Moment, Obstacle, PhaseReport, Report, View, WaitsFor,
};

use super::{Check, Ledger, Phase, Verdict, ensure};

impl Ledger {
    /// Judges how things are said to stand.
    pub(crate) fn judge_report(&self, now: Moment, report: &Report) -> Verdict {
        let phase = match (report.phase, self.facts.phase) {
            (PhaseReport::Serving, Phase::Serving)
            | (PhaseReport::Stopping, Phase::Stopping { .. })
            | (PhaseReport::Killing, Phase::Killing { .. } | Phase::Ended) => true,
            (PhaseReport::Draining(waits_for), Phase::Draining(_)) => {
                (waits_for == WaitsFor::Handover) == self.finds_out()
            }
            (
                PhaseReport::Serving
                | PhaseReport::Draining(_)
                | PhaseReport::Stopping
                | PhaseReport::Killing,
                _,
            ) => false,
        };
        ensure(phase, || format!("{:?} reported", report.phase))?;
        let ready = self.facts.epochs.iter().any(|epoch| epoch.ready);
        let healthy = ready && self.facts.phase == Phase::Serving;
        ensure(report.healthy == healthy, || format!("healthy reported: {}", report.healthy))?;
        let epochs = self.epochs_to_report();
        ensure(report.epochs == epochs, || format!("{:?} reported", report.epochs))?;
        let under_way = self.under_way_to_report();
        ensure(report.under_way == under_way, || format!("{:?} reported", report.under_way))?;
        let lost = report.admin_lost;
        ensure(lost == self.is_admin_lost(), || format!("a lost admin reported: {lost}"))?;
        match report.waiting {
            None => ensure(!self.waits(), || "a restart that waits is not reported".into()),
            Some(obstacle) => {
                ensure(self.waits(), || "a restart reported that does not wait".into())?;
                let interval = self.policy.min_restart_interval;
                let over = self.facts.last_start.is_some_and(|last| last + interval <= now);
                let known = obstacle.map_or(over, |obstacle| self.hinders(now, obstacle));
                ensure(known, || format!("{obstacle:?} reported"))
            }
        }
    }

    fn epochs_to_report(&self) -> Vec<EpochReport> {
        let serving = self.facts.epochs.iter().rfind(|epoch| epoch.ready);
        let serving = serving.map(|serving| serving.number);
        let epochs = self.facts.epochs.iter().map(|epoch| {
            let state = if epoch.failed {
                EpochState::Failed
            } else if !self.lives_on() {
                EpochState::Stopping
            } else if !epoch.ready {
                EpochState::Starting
            } else if Some(epoch.number) == serving {
                EpochState::Ready
            } else {
                EpochState::Draining
            };
            let (number, leader, started) = (epoch.number, epoch.leader, epoch.started);
            EpochReport { number, leader, started, state }
        });
        epochs.collect()
    }

    /// Section 6: is this in the way of a restart?
    fn hinders(&self, now: Moment, obstacle: Obstacle) -> bool {
        let newest = self.facts.epochs.last().expect("somebody serves");
        let mending = self.facts.mending;
        match obstacle {
            Obstacle::NotReady { epoch } => {
                let initialises = newest.last_view.is_some_and(|(_, view)| view == View::Starting);
                epoch == newest.number && (!newest.ready || initialises)
            }
            Obstacle::TooMany { epochs } => {
                epochs == self.facts.epochs.len() && epochs >= self.policy.max_epochs
            }
            Obstacle::TooSoon { left } => {
                let last_start = self.facts.last_start.expect("somebody serves");
                left == last_start + self.policy.min_restart_interval - now
            }
            Obstacle::Checking => self.facts.check == Check::Runs,
            Obstacle::Clearing { epoch } => {
                newest.failed && newest.number == epoch
                    || mending.is_some_and(|mending| mending.failed == epoch)
            }
        }
    }
}
