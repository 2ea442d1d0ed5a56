//! Lives without a fault: which calls they make, and of what they complain all the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::judge;
use super::lives::{LIVES, Life, Phase};
use super::play::play;
use super::table::Spared;
use super::tracer::Call;
use super::turns;

/// What a life without a fault has shown.
#[derive(Debug, Default)]
pub(super) struct Healthy {
    /// The calls of the phase, each kind once, in the order of their first.
    pub(super) calls: Vec<Call>,
    /// Those of other phases as well.
    all: Vec<Call>,
    /// What its log complains of.
    pub(super) usual: Vec<String>,
}

/// The life without a fault, which is played once.
pub(super) fn of(life: &Life, phase: Phase) -> Arc<Healthy> {
    type Played = BTreeMap<(&'static str, &'static str), Arc<OnceLock<Arc<Healthy>>>>;
    static PLAYED: Mutex<Played> = Mutex::new(BTreeMap::new());
    let mut played = PLAYED.lock().unwrap_or_else(PoisonError::into_inner);
    let healthy = Arc::clone(played.entry((life.name, phase.name())).or_default());
    drop(played);
    Arc::clone(healthy.get_or_init(|| Arc::new(live(life, phase))))
}

fn live(life: &Life, phase: Phase) -> Healthy {
    let seen = turns::take(|| play(life, phase, &[]));
    let broken = judge::broken(&seen, life.code, &[], &Spared::default());
    assert!(
        broken.is_empty() && seen.missing.is_empty(),
        "without a fault: {broken:?} {:?}\n{}",
        seen.missing,
        seen.log
    );
    let [before, after] = seen.calls.clone();
    let mut all = before.clone();
    all.extend(after.into_iter().filter(|call| !before.contains(call)));
    let calls = if phase == Phase::Start { before } else { all.clone() };
    assert!(!calls.is_empty(), "no call is made in this phase");
    Healthy { calls, all, usual: judge::complaints(&seen) }
}

/// Whether any life without a fault makes such a call.
pub(super) fn is_made(call: &Call) -> bool {
    let mut phases = LIVES.iter().flat_map(|life| life.phases.iter().map(move |it| (life, *it)));
    phases.any(|(life, phase)| of(life, phase).all.contains(call))
}
