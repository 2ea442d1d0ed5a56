//! The exit code says what happened.

use std::collections::BTreeSet;

use super::family::{Family, Process, Status};
use super::{Case, End, SLACK, epoch_of, lived, was_ready};

/// So long after an unexpected exit, at the latest, it belongs to no stop that was asked for then.
const APART: u64 = 2_000_000;

pub(super) fn judge(case: &mut Case<'_>, family: &Family) {
    let End::Code(code) = case.facts.end else { return };
    let Some(ended) = family.restarter().ended else { return };
    let terms = case.facts.terms;
    let mut right = BTreeSet::new();
    let leaders: Vec<(usize, &Process)> = family.leaders().collect();
    if leaders.is_empty() {
        right.extend([125, 126, 127]);
    }
    if let Some(asked) = case.facts.asked {
        let over = asked + terms.term_wait;
        let killed = family.sent.iter().any(|sent| {
            sent.signal == libc::SIGKILL
                && sent.at + SLACK >= over
                && sent.to.is_some_and(|to| epoch_of(family, to).is_some())
        });
        let survived = family.processes.iter().skip(1).any(|process| process.outlives(ended));
        if !killed && !survived {
            right.insert(0);
        }
        // What it had killed may have been gone by then.
        if ended + SLACK >= over {
            right.insert(1);
        }
    }
    // When the stop that was asked for has begun at the latest: whatever ends then belongs to it.
    let stopping = case.facts.asked.map(|asked| {
        let first = family.sent.iter().find(|sent| {
            sent.at >= asked && (sent.signal == terms.stop_signal || sent.signal == libc::SIGKILL)
        });
        first.map_or(u64::MAX, |sent| sent.at)
    });
    for (place, leader) in &leaders {
        let (Some(end), Some(status)) = (leader.ended, leader.status) else { continue };
        if end > ended {
            continue;
        }
        let in_stop = stopping.is_some_and(|stopping| end > stopping);
        // One that has failed is on its way out when we learn of this end.
        let failed = |other: usize| {
            let known = leader.reaped.unwrap_or(end);
            family.sent.iter().any(|sent| {
                sent.signal == libc::SIGKILL && sent.to == Some(other) && sent.at <= known
            })
        };
        let is_newest = leaders
            .iter()
            .all(|(other, process)| other <= place || !lived(process, end) || failed(*other));
        let others_live =
            leaders.iter().any(|(other, process)| other != place && lived(process, end));
        match status {
            Status::Exited(0) if !in_stop && (is_newest || !others_live) => {
                right.insert(0);
                if ended + SLACK >= end + terms.term_wait {
                    right.insert(1);
                }
            }
            Status::Exited(0) => {}
            // An older one has dropped its handlers on its way out.
            Status::Signaled(libc::SIGUSR1) if !is_newest => {}
            Status::Exited(_) | Status::Signaled(_) => {
                let killed_by_us = family.sent.iter().any(|sent| {
                    sent.signal == libc::SIGKILL && sent.to == Some(*place) && sent.at <= end
                });
                let ready = was_ready(case, family, leader, end);
                let older = |then: u64| {
                    leaders.iter().any(|(other, process)| other < place && lived(process, then))
                };
                // Of two ends that are noticed together either may be the first.
                let known = leader.reaped.unwrap_or(end);
                let rolled_back = terms.rollback && older(end) && ready != Some(true);
                if killed_by_us || in_stop {
                    continue;
                }
                if !(terms.rollback && older(known) && ready == Some(false)) {
                    right.insert(status.code());
                }
                let apart = case.facts.asked.is_none_or(|asked| asked > end + APART);
                if !rolled_back && apart && case.suspended(end, end + APART) == 0 {
                    // Nothing else can explain the end any more, and it must have come.
                    let within = ended <= end + APART + super::LONG;
                    case.demands(within, || {
                        format!("epoch of pid {} ended by {status:?}, and we went on", leader.pid)
                    });
                }
            }
        }
    }
    case.demands(right.contains(&code), || {
        format!("the exit code is {code}, and what happened is worth one of {right:?}")
    });
}
