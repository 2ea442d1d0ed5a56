//! Crimes against those who asked for a restart, and against those who ask how things stand.

use std::time::Duration;

use hot_restarter::supervisor::{
    Action, Answer, Event, Failure, Notice, Peer, PhaseReport, Report, RestartOutcome,
    RestartStage, RestartStep, What,
};

use super::{is_found_out, is_found_out_when_it_hears, is_guilty, unless};
use crate::words;
use crate::world::{Sabotage, World};

/// This has become of the restart that was under way.
fn settled(outcome: RestartOutcome) -> Action {
    let stage = RestartStage::UnderWay;
    Action::Restart(RestartStep::Settled { stage, outcome })
}

/// The outcome of the restart that was under way.
fn outcome(action: &Action) -> Option<&RestartOutcome> {
    match action {
        Action::Restart(RestartStep::Settled { stage: RestartStage::UnderWay, outcome }) => {
            Some(outcome)
        }
        _ => None,
    }
}

/// This is told in the place of the outcome, if it is one that this is about.
fn told_instead(
    action: Action,
    instead: impl FnOnce(&RestartOutcome) -> Option<RestartOutcome>,
) -> Vec<Action> {
    let told = outcome(&action).and_then(instead).map(settled);
    vec![told.unwrap_or(action)]
}

#[test]
fn an_outcome_that_nobody_is_told() {
    is_found_out("nobody is told", |action, _| unless(outcome(&action).is_some(), action));
}

#[test]
fn an_outcome_that_is_told_twice() {
    is_found_out("without cause", |action, _| match outcome(&action) {
        Some(_) => vec![action.clone(), action],
        None => vec![action],
    });
}

#[test]
fn an_epoch_that_is_told_to_be_ready_before_it_is() {
    is_found_out("without cause", |action, world| match &action {
        Action::Look { epoch, .. } if *epoch > 0 && !world.ledger.is_ready(*epoch) => {
            let (epoch, after) = (*epoch, Duration::ZERO);
            vec![settled(RestartOutcome::Ready { epoch, after }), action]
        }
        _ => vec![action],
    });
}

#[test]
fn a_failure_that_is_told_before_it_is_cleared_away() {
    is_found_out("without cause", |action, _| match &action {
        Action::Log(Notice {
            epoch: Some(epoch),
            what: What::RestartFailed { failure, newest },
            ..
        }) => {
            let (epoch, failure, newest) = (*epoch, *failure, Some(*newest));
            vec![action, settled(RestartOutcome::Failed { epoch, failure, newest })]
        }
        _ => vec![action],
    });
}

#[test]
fn a_refusal_that_is_told_before_it_is_said() {
    is_found_out("told before [\"restart-refused\"]", |action, world| match &action {
        Action::Log(Notice { what: What::RestartRefused { why }, .. })
            if !world.ledger.is_ending() =>
        {
            vec![settled(RestartOutcome::Refused { why: why.clone() }), action]
        }
        _ => vec![action],
    });
}

#[test]
fn a_refusal_for_another_reason() {
    is_found_out("told, not", |action, _| {
        told_instead(action, |told| match told {
            RestartOutcome::Refused { .. } => {
                Some(RestartOutcome::Refused { why: "the moon is full".into() })
            }
            _ => None,
        })
    });
}

#[test]
fn a_failure_that_is_told_as_a_success() {
    is_found_out("told, not", |action, _| {
        told_instead(action, |told| match told {
            RestartOutcome::Failed { epoch, .. } => {
                Some(RestartOutcome::Ready { epoch: *epoch, after: Duration::ZERO })
            }
            _ => None,
        })
    });
}

#[test]
fn an_outcome_of_another_epoch() {
    is_found_out("told, not", |action, _| {
        told_instead(action, |told| match told {
            RestartOutcome::Ready { epoch, after } => {
                Some(RestartOutcome::Ready { epoch: epoch + 1, after: *after })
            }
            _ => None,
        })
    });
}

#[test]
fn a_survivor_that_is_another() {
    is_found_out("told, not", |action, _| {
        told_instead(action, |told| match told {
            RestartOutcome::Failed { epoch, failure, newest: Some(_) } => {
                let (epoch, failure, newest) = (*epoch, *failure, Some(*epoch));
                Some(RestartOutcome::Failed { epoch, failure, newest })
            }
            _ => None,
        })
    });
}

#[test]
fn a_survivor_that_does_not_survive() {
    is_found_out("told, not", |action, _| {
        told_instead(action, |told| match told {
            RestartOutcome::Failed { epoch, failure, newest: None } => {
                let (epoch, failure, newest) = (*epoch, *failure, Some(0));
                Some(RestartOutcome::Failed { epoch, failure, newest })
            }
            _ => None,
        })
    });
}

#[test]
fn an_end_of_everything_that_is_told_as_a_failure() {
    is_found_out("told, not", |action, _| {
        told_instead(action, |told| match told {
            RestartOutcome::Fatal { epoch, end } => {
                let (epoch, failure, newest) = (*epoch, Failure::Ended(*end), None);
                Some(RestartOutcome::Failed { epoch, failure, newest })
            }
            _ => None,
        })
    });
}

fn is_step(action: &Action, wanted: &RestartStep) -> bool {
    matches!(action, Action::Restart(step) if step == wanted)
}

#[test]
fn somebody_who_asked_and_is_not_told() {
    is_found_out("nobody was told that it was asked for", |action, world| {
        let waits = world.ledger.newest().is_some_and(|newest| !world.ledger.is_ready(newest));
        unless(waits && is_step(&action, &RestartStep::Asked), action)
    });
}

#[test]
fn one_that_asked_twice() {
    is_found_out("while one waits", |action, _| {
        if is_step(&action, &RestartStep::Asked) {
            return vec![action.clone(), action];
        }
        vec![action]
    });
}

#[test]
fn a_beginning_that_nobody_is_told_of() {
    is_found_out("nobody was told that it begins", |action, _| {
        unless(is_step(&action, &RestartStep::Begins), action)
    });
}

#[test]
fn a_restart_that_is_put_off_and_nobody_is_told() {
    is_found_out("put off, and nobody is told", |action, _| {
        unless(is_step(&action, &RestartStep::PutOff), action)
    });
}

#[test]
fn a_restart_that_is_said_to_be_put_off() {
    is_found_out("put off beside its check", |action, _| {
        if is_step(&action, &RestartStep::Begins) {
            return vec![action, Action::Restart(RestartStep::PutOff)];
        }
        vec![action]
    });
}

#[test]
fn a_restart_that_waits_in_vain_and_is_not_told() {
    is_found_out("nobody is told that a restart waits in vain", |action, world| {
        unless(is_in_vain(&action) && world.ledger.waits_in_vain(), action)
    });
}

/// What waits is told that it does so in vain, or what comes too late that it does.
fn is_in_vain(action: &Action) -> bool {
    matches!(action, Action::Restart(RestartStep::Settled { stage: RestartStage::Waiting, .. }))
}

#[test]
fn one_that_asks_in_a_stop_and_is_not_told() {
    is_found_out("nobody is told that it asks too late", |action, world| {
        unless(is_in_vain(&action) && !world.ledger.waits_in_vain(), action)
    });
}

#[test]
fn one_that_asks_in_a_stop_and_is_told_twice() {
    is_found_out("what waits is told without cause", |action, world| {
        if is_in_vain(&action) && !world.ledger.waits_in_vain() {
            return vec![action.clone(), action];
        }
        vec![action]
    });
}

#[test]
fn one_that_asks_in_a_stop_and_waits() {
    is_found_out("asked for a restart in a stop", |action, world| {
        if is_in_vain(&action) && !world.ledger.waits_in_vain() {
            return vec![Action::Restart(RestartStep::Asked), action];
        }
        vec![action]
    });
}

#[test]
fn one_that_asks_in_a_stop_and_is_told_before_it_is_said() {
    is_found_out("what comes too late is told before it is said", |action, world| {
        let refused = words::is_log(&action, "restart-refused");
        if refused && world.ledger.comes_too_late() {
            let outcome = RestartOutcome::Refused { why: "everything is being stopped".into() };
            let stage = RestartStage::Waiting;
            return vec![Action::Restart(RestartStep::Settled { stage, outcome }), action];
        }
        vec![action]
    });
}

#[test]
fn one_that_asked_later_and_is_told_first() {
    is_found_out("what waits is told before", |action, world| match &action {
        Action::Restart(RestartStep::Settled { outcome, .. })
            if outcome_of_a_start(outcome) && world.ledger.waits_in_vain() =>
        {
            let stage = RestartStage::Waiting;
            let outcome = RestartOutcome::Refused { why: "everything is being stopped".into() };
            vec![Action::Restart(RestartStep::Settled { stage, outcome }), action]
        }
        _ => vec![action],
    });
}

fn outcome_of_a_start(outcome: &RestartOutcome) -> bool {
    matches!(outcome, RestartOutcome::Stopped { .. } | RestartOutcome::Fatal { .. })
}

#[test]
fn an_admin_that_is_not_asked_after_a_failure() {
    is_found_out("nobody asks whether the admin", |action, world| match action {
        Action::Ask { epoch, peer: Peer::Admin }
            if !world.ledger.is_ending() && world.ledger.is_ready(epoch) =>
        {
            Vec::new()
        }
        other => vec![other],
    });
}

#[test]
fn an_admin_that_is_said_to_be_lost_and_is_not() {
    is_found_out_when_it_hears("admin-lost without cause", |event, world| match event {
        Event::Answered { epoch, peer: peer @ Peer::Admin, .. }
            if world.ledger.is_admin_nearly_lost() =>
        {
            Some(Event::Answered { epoch, peer, answer: Answer::No })
        }
        other => Some(other),
    });
}

/// This is a question whether the admin is still there.
fn is_doubt(action: &Action, world: &World) -> bool {
    let serving = |epoch| !world.ledger.is_ending() && world.ledger.is_ready(epoch);
    matches!(action, Action::Ask { epoch, peer: Peer::Admin } if serving(*epoch))
}

#[test]
fn an_admin_that_is_said_to_be_lost_too_soon() {
    is_found_out("admin-lost without cause", |action, world| {
        if is_doubt(&action, world) && world.ledger.is_admin_nearly_lost() {
            let lost = Notice { epoch: None, pid: None, what: What::AdminLost };
            return vec![Action::Log(lost)];
        }
        vec![action]
    });
}

#[test]
fn an_admin_that_is_asked_again_at_once() {
    is_found_out("doubted again so soon", |action, world| {
        if is_doubt(&action, world) {
            return vec![action.clone(), action];
        }
        vec![action]
    });
}

#[test]
fn an_admin_that_is_asked_although_it_is_lost() {
    is_found_out("which does not start", |action, world| match action {
        Action::Log(Notice { epoch: Some(epoch), what: What::AdminLost, .. }) => {
            assert!(world.ledger.is_admin_lost(), "so the judge knows");
            vec![action, Action::Ask { epoch, peer: Peer::Admin }]
        }
        other => vec![other],
    });
}

#[test]
fn an_admin_that_is_lost_and_nobody_says_so() {
    is_found_out("not said: [\"admin-lost\"]", |action, _| {
        unless(words::is_log(&action, "admin-lost"), action)
    });
}

#[test]
fn an_admin_that_is_said_to_be_lost_twice() {
    is_found_out("admin-lost without cause", |action, _| {
        if words::is_log(&action, "admin-lost") {
            return vec![action.clone(), action];
        }
        vec![action]
    });
}

#[test]
fn a_report_that_is_not_true() {
    type Lie = fn(Report) -> Report;
    let lies: [(&str, Lie); 8] = [
        ("healthy reported", |report| Report { healthy: false, ..report }),
        ("healthy reported", |report| Report { healthy: true, ..report }),
        ("Serving reported", |report| Report { phase: PhaseReport::Serving, ..report }),
        ("[] reported", |report| Report { epochs: Vec::new(), ..report }),
        ("None reported", |report| Report { under_way: None, ..report }),
        ("is not reported", |report| Report { waiting: None, ..report }),
        ("a lost admin reported: false", |report| Report { admin_lost: false, ..report }),
        ("a lost admin reported: true", |report| Report { admin_lost: true, ..report }),
    ];
    for (expected, lie) in lies {
        is_guilty(expected, Sabotage::Reports(lie));
    }
}
