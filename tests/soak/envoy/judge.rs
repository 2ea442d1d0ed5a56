//! Which lost requests a fault accounts for, and which are a broken promise.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clients::{Loss, Missed};

/// From the moment at which a connection ends to the one at which its client has noticed, on a
/// machine that is busy with other things.
const NOTICED: Duration = Duration::from_millis(500);

/// While this lasts clients may lose requests, and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Excuse {
    /// From then on.
    pub from: Instant,
    /// Until then, and for as long as clients need to notice; `None` is for good.
    pub until: Option<Instant>,
    /// Why: a name for the tally.
    pub why: &'static str,
    /// Only connections that are ended, while new ones must be had.
    pub cut_only: bool,
}

impl Excuse {
    /// From now on, for good.
    pub(super) fn for_good(why: &'static str) -> Self {
        Self { from: Instant::now(), until: None, why, cut_only: false }
    }

    fn accounts_for(&self, missed: &Missed) -> bool {
        let within =
            missed.at >= self.from && self.until.is_none_or(|until| missed.at <= until + NOTICED);
        let cut = matches!(missed.loss, Loss::Reset | Loss::Cut);
        within && (cut || !self.cut_only)
    }
}

/// What has become of the lost requests.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// How many each of the excuses accounts for.
    pub excused: BTreeMap<&'static str, u64>,
    /// Those for which none does, in words.
    pub blamed: Vec<String>,
}

/// Holds lost requests against what excuses them.
pub(super) fn judge(losses: &[Missed], excuses: &[Excuse]) -> Verdict {
    let mut verdict = Verdict::default();
    for missed in losses {
        match excuses.iter().find(|excuse| excuse.accounts_for(missed)) {
            Some(Excuse { why, .. }) => *verdict.excused.entry(why).or_default() += 1,
            None => verdict.blamed.push(missed.words.clone()),
        }
    }
    verdict
}
