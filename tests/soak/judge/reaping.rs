//! Every child is reaped, in time, and nothing is left.

use super::family::{Family, OURSELVES, Process};
use super::{Case, End, LONG, PROMPT, log};

pub(super) fn judge(case: &mut Case<'_>, family: &Family) {
    let Some(our_end) = family.restarter().ended else { return };
    let pauses = family.reaps.windows(2).map(|reaps| (reaps[0], reaps[1]));
    let pauses: Vec<(u64, u64)> = pauses.filter(|(from, to)| to - from > PROMPT).collect();
    for process in family.processes.iter().skip(1) {
        let pid = process.pid;
        if process.outlives(our_end) {
            survived(case, process);
            continue;
        }
        let ended = process.ended.unwrap_or(our_end);
        if process.parent != OURSELVES || process.parent_since > our_end {
            continue;
        }
        let Some(reaped) = process.reaped else {
            case.finds(&format!("pid {pid} has ended and was never reaped"));
            continue;
        };
        let since = family.zombie_since(process).unwrap_or(ended);
        let busy = case.held(family, since, reaped);
        case.demands(reaped.saturating_sub(since) <= LONG + busy, || {
            format!("pid {pid} was a zombie for {} µs", reaped - since)
        });
        let waited_for = family.idle_after(since).is_some_and(|idle| idle < reaped);
        case.demands(!waited_for, || {
            format!("pid {pid} was a zombie from {since} to {reaped}, while we waited for others")
        });
        // Of thousands one is the last; but somebody is reaped all the while.
        let next = family.reaps.partition_point(|reap| *reap <= since);
        let first = family.reaps.get(next).copied().unwrap_or(reaped);
        let mut waits = pauses.iter().copied().chain([(since, first)]);
        let wait = waits.find(|(from, to)| {
            *from >= since && *to <= reaped && to - from > PROMPT + case.held(family, *from, *to)
        });
        if let Some((from, to)) = wait {
            case.finds(&format!(
                "pid {pid} was a zombie from {from}, and nobody was reaped until {to}"
            ));
        }
    }
}

/// Only what cannot be killed lives when we end, and it is named.
fn survived(case: &mut Case<'_>, process: &Process) {
    let terms = case.facts.terms;
    let pid = process.pid;
    // Without /proc an orphan in a session of its own is nobody's that we could find.
    let excused = !terms.may_signal || !terms.sees_processes;
    case.demands(excused, || format!("pid {pid} lives when we end"));
    if !terms.sees_processes {
        return;
    }
    // The others are children of one of these, or strangers to us by then.
    let (OURSELVES, Some(number)) = (process.parent, process.number) else { return };
    let Some((named, more)) = log::survivors(case) else { return };
    case.demands(more || named.contains(&number), || {
        format!("pid {pid} ({number}) lives when we end, and the log names {named:?}")
    });
    case.demands(!log::tells_of_a_stop(case) || case.facts.end == End::Code(1), || {
        format!("pid {pid} lives when we end, and that is {:?}", case.facts.end)
    });
}
