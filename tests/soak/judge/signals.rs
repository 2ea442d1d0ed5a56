//! Who is signalled, by what, and when.

use std::collections::BTreeMap;

use super::family::{Family, Role, Sent, Status};
use super::{Case, End, SLACK, epoch_of, lived};

pub(super) fn judge(case: &mut Case<'_>, family: &Family) {
    case.demands(family.to_all == 0, || "it signals everybody (kill -1)".to_owned());
    let stop_signal = case.facts.terms.stop_signal;
    let mut stopped: BTreeMap<usize, u64> = BTreeMap::new();
    for sent in &family.sent {
        let Sent { at, signal, to, to_pid, .. } = *sent;
        let Some(to) = to else {
            case.finds(&format!("signal {signal} to pid {to_pid}, which is a stranger, at {at}"));
            continue;
        };
        if signal == stop_signal {
            let before = stopped.insert(to, at);
            case.demands(before.is_none(), || {
                format!("pid {to_pid} had the stop signal at {} and at {at}", before.unwrap_or(0))
            });
            case.demands(sent.to_child || sent.to_group, || {
                format!("the stop signal to pid {to_pid}, neither a child nor in an epoch's group")
            });
            case.demands(may_stop(case, family, at), || {
                format!("the stop signal to pid {to_pid} at {at}, and there is no stop")
            });
        }
        if signal == libc::SIGKILL {
            case.demands(may_kill(case, family, to, at), || {
                format!("SIGKILL to pid {to_pid} at {at}, which it had not earned")
            });
        }
    }
    forwarded_to_catchers(case, family);
}

/// Whether a stop has begun by then: one was asked for, or an epoch has ended with 0.
fn may_stop(case: &Case<'_>, family: &Family, then: u64) -> bool {
    case.facts.asked.is_some_and(|asked| asked <= then)
        || family.leaders().any(|(_, leader)| {
            leader.status == Some(Status::Exited(0)) && leader.ended.is_some_and(|end| end <= then)
        })
}

fn may_kill(case: &Case<'_>, family: &Family, to: usize, then: u64) -> bool {
    let terms = case.facts.terms;
    let Some(own) = epoch_of(family, to) else {
        // Checks and questions have their own time, and nothing of them outlives their answer.
        return true;
    };
    let over = |since: u64| then + SLACK >= since + terms.term_wait;
    let asked = case.facts.asked.is_some_and(over);
    asked
        || family.leaders().any(|(place, leader)| {
            let Some(ended) = leader.ended.filter(|ended| *ended <= then) else { return false };
            match leader.status {
                Some(Status::Exited(0)) => place == own || over(ended),
                Some(status) => place == own || case.facts.end == End::Code(status.code()),
                None => true,
            }
        })
        || terms.rollback && then + SLACK >= family.processes[own].begun + terms.ready_timeout && {
            // Only who starts beside another can fail.
            let begun = family.processes[own].begun;
            family.leaders().any(|(place, leader)| place != own && lived(leader, begun))
        }
}

/// What is passed on reaches those that have a handler; QUIT and CONT go to whole groups.
fn forwarded_to_catchers(case: &mut Case<'_>, family: &Family) {
    let others = [libc::SIGQUIT, libc::SIGCONT, libc::SIGKILL, case.facts.terms.stop_signal];
    let leaders: Vec<usize> = family.leaders().map(|(place, _)| place).collect();
    for (place, process) in family.processes.iter().enumerate() {
        let Some(signal) = family.ended_by_ours(process) else { continue };
        // Without /proc the leaders of ready epochs are trusted to catch SIGUSR1, and one that leaves
        // may have dropped its handlers just then.
        let newer = leaders.iter().any(|other| *other > place);
        let excused = signal == libc::SIGUSR1
            && process.role == Role::Leader
            && (newer || !case.facts.terms.sees_processes);
        case.demands(others.contains(&signal) || excused, || {
            format!("signal {signal} was passed on to pid {}, which it ended", process.pid)
        });
    }
}
