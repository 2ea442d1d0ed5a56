//! What is passed on reaches everybody that it is for.

use std::collections::BTreeSet;

use super::family::{Family, OURSELVES, Process};
use super::{Case, epoch_of, ready_at, told_to_stop};

pub(super) fn judge(case: &mut Case<'_>, family: &Family) {
    let stop_signal = case.facts.terms.stop_signal;
    let mut missed = BTreeSet::new();
    for (place, process) in family.processes.iter().enumerate() {
        let Some(epoch) = epoch_of(family, place).filter(|epoch| is_member(family, place, *epoch))
        else {
            continue;
        };
        // A relative may have become somebody whom we may not signal.
        if place != epoch && !case.facts.terms.may_signal {
            continue;
        }
        // Who does not live on for a while proves nothing.
        let reachable = family.received.iter().filter(|(at, _)| {
            *at >= process.begun && process.outlives(*at) && family.processes[epoch].outlives(*at)
        });
        for &(at, signal) in reachable.filter(|(_, signal)| *signal != stop_signal) {
            let due = match signal {
                libc::SIGQUIT | libc::SIGCONT => group_due(family, place, epoch, (at, signal)),
                _ if is_for_catchers(signal) => {
                    catcher_due(case, family, place, epoch, (at, signal))
                }
                _ => None,
            };
            let Some(due) = due else { continue };
            let sent = family.sent_from(place, signal, at).is_some_and(|sent| sent <= due);
            if !sent && missed.insert((place, signal)) {
                case.finds(&format!(
                    "signal {signal}, received at {at}, was not passed on to pid {} by {due}",
                    process.pid
                ));
            }
        }
    }
}

/// Whether a signal goes to those that catch it.
fn is_for_catchers(signal: i32) -> bool {
    let others = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGTERM,
        libc::SIGQUIT,
        libc::SIGCONT,
        libc::SIGCHLD,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGPIPE,
        libc::SIGXFSZ,
        libc::SIGKILL,
        libc::SIGSTOP,
    ];
    !others.contains(&signal)
}

/// Whether a process belongs to its epoch for as long as it and the epoch's leader live: it has
/// stayed in the group, or everybody between the two outlives it.
fn is_member(family: &Family, place: usize, epoch: usize) -> bool {
    let own = |place: usize| -> &Process { &family.processes[place] };
    if place == epoch || own(place).group == epoch {
        return true;
    }
    let mut at = place;
    while at != epoch {
        if at == OURSELVES {
            return false;
        }
        at = own(at).parent;
    }
    true
}

/// When a signal to the whole group must have been passed on.
fn group_due(family: &Family, place: usize, epoch: usize, (at, signal): (u64, i32)) -> Option<u64> {
    let due = due(family, place, epoch, at).filter(|_| family.processes[place].group == epoch)?;
    // With a signal that stops the kernel forgets a SIGCONT that nobody has read, and does so even
    // where that signal is blocked (`prepare_signal`).
    let stops = family.told_to_pause.iter().any(|pause| *pause > at && *pause <= due);
    let forgotten = signal == libc::SIGCONT && stops;
    (!forgotten).then_some(due)
}

fn catcher_due(
    case: &Case<'_>,
    family: &Family,
    place: usize,
    epoch: usize,
    (at, signal): (u64, i32),
) -> Option<u64> {
    if !case.facts.terms.sees_processes {
        return None;
    }
    let caught = family.processes[place].catches(signal)?;
    // An epoch that is not ready gets SIGUSR1 when it is, unless it is asked to end before.
    let from = match signal {
        libc::SIGUSR1 => at.max(ready_at(case, family, &family.processes[epoch])?),
        _ => at,
    };
    if caught >= from {
        return None;
    }
    let due = due(family, place, epoch, from)?;
    let asked = case.facts.asked.into_iter().chain(told_to_stop(family)).min();
    let may_wait = from == at || asked.is_none_or(|asked| asked > due);
    may_wait.then_some(due)
}

/// When what came at a moment has been dealt with, if both the process and its epoch live then and
/// nobody has killed them.
fn due(family: &Family, place: usize, epoch: usize, from: u64) -> Option<u64> {
    let due = family.idle_after(from)?;
    let in_service = [place, epoch].iter().all(|place| {
        family.processes[*place].outlives(due)
            && family.sent_from(*place, libc::SIGKILL, 0).is_none_or(|killed| killed > due)
    });
    in_service.then_some(due)
}
