//! Lives without a fault: which calls they make, and of what they complain all the same.

use std::collections::BTreeMap;
use std::panic;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

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
    /// Those of other phases, and chance's, as well.
    all: Vec<Call>,
    /// What its log complains of.
    pub(super) usual: Vec<String>,
}

/// A life without a fault.
pub(super) fn of(life: &Life, phase: Phase) -> Arc<Healthy> {
    type Played = BTreeMap<(&'static str, &'static str), Arc<OnceLock<Arc<Healthy>>>>;
    static PLAYED: Mutex<Played> = Mutex::new(BTreeMap::new());
    let mut played = PLAYED.lock().unwrap_or_else(PoisonError::into_inner);
    let healthy = Arc::clone(played.entry((life.name, phase.name())).or_default());
    drop(played);
    Arc::clone(healthy.get_or_init(|| Arc::new(live(life, phase))))
}

/// What two lives have in common: a call that only one of them makes is chance's, a process that
/// was gone before its files could be read.
fn live(life: &Life, phase: Phase) -> Healthy {
    let [one, other] = thread::scope(|scope| {
        let lives = [(); 2].map(|()| scope.spawn(|| turns::take(|| play(life, phase, &[]))));
        lives.map(|life| life.join().unwrap_or_else(|why| panic::resume_unwind(why)))
    });
    for seen in [&one, &other] {
        let broken = judge::broken(seen, life.code, &[], &Spared::default());
        assert!(
            broken.is_empty() && seen.missing.is_empty(),
            "without a fault: {broken:?} {:?}\n{}",
            seen.missing,
            seen.log
        );
    }
    let at = if phase == Phase::Start { 1 } else { 2 };
    let mut calls: Vec<Call> = Vec::new();
    for call in one.calls[..at].iter().flatten() {
        if other.calls[..at].iter().flatten().any(|it| it == call) && !calls.contains(call) {
            calls.push(call.clone());
        }
    }
    assert!(!calls.is_empty(), "no call is made in this phase");
    let all = one.calls.iter().chain(&other.calls).flatten().cloned().collect();
    Healthy { calls, all, usual: judge::complaints(&one) }
}

/// Whether any life without a fault makes such a call.
pub(super) fn is_made(call: &Call) -> bool {
    let mut phases = LIVES.iter().flat_map(|life| life.phases.iter().map(move |it| (life, *it)));
    phases.any(|(life, phase)| of(life, phase).all.contains(call))
}
