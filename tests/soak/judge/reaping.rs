//! Every child is reaped, in time, and nothing is left.

use super::family::{Family, OURSELVES};
use super::{Case, End, LONG};

pub(super) fn judge(case: &mut Case<'_>, family: &Family) {
    let Some(our_end) = family.restarter().ended else { return };
    for process in family.processes.iter().skip(1) {
        let pid = process.pid;
        let alive = process.ended.is_none_or(|ended| ended > our_end);
        if alive {
            // Without /proc an orphan in a session of its own is nobody's that we could find; what
            // will not die is named.
            let told = matches!(case.facts.end, End::Code(1)) || !case.facts.terms.sees_processes;
            let named = told && process.begun < our_end;
            case.demands(named, || format!("pid {pid} lives when we end"));
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
        let since = ended.max(process.parent_since);
        let busy = case.suspended(since, reaped);
        case.demands(reaped.saturating_sub(since) <= LONG + busy, || {
            format!("pid {pid} was a zombie for {} µs", reaped - since)
        });
    }
}
