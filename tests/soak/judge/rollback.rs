//! Of an epoch that has failed nobody is left.

use super::family::{Family, Process, Status};
use super::{Case, KILL_WAIT, lived, told_to_stop, was_ready};

pub(super) fn judge(case: &mut Case<'_>, family: &Family) {
    let terms = case.facts.terms;
    if !terms.may_signal {
        return;
    }
    let Some(our_end) = family.restarter().ended else { return };
    let leaders: Vec<(usize, &Process)> = family.leaders().collect();
    let asked = case.facts.asked.into_iter().chain(told_to_stop(family)).min();
    for (index, &(place, leader)) in leaders.iter().enumerate() {
        let (Some(ended), Some(reaped)) = (leader.ended, leader.reaped) else { continue };
        let older = leaders[..index].iter().any(|(_, older)| lived(older, reaped));
        let failed = was_ready(case, family, leader, reaped) == Some(false)
            && (terms.rollback || leader.status == Some(Status::Exited(0)));
        if !(older && failed) || asked.is_some_and(|asked| asked <= reaped) {
            continue;
        }
        for (member, process) in family.processes.iter().enumerate() {
            let was_left = member != place && process.group == place && process.begun < ended;
            if !was_left || !process.outlives(reaped) {
                continue;
            }
            let killed = family.sent_from(member, libc::SIGKILL, leader.begun);
            case.demands(killed.is_some_and(|killed| killed <= reaped), || {
                format!("pid {} of the failed pid {} was left alive", process.pid, leader.pid)
            });
            let limit = reaped + KILL_WAIT;
            case.demands(our_end < limit || !process.outlives(limit), || {
                format!("pid {} of the failed pid {} lives on", process.pid, leader.pid)
            });
        }
    }
}
