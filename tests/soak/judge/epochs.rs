//! Which epochs there are, and when.

use std::collections::BTreeMap;

use super::family::{Family, Process};
use super::{Case, lived, was_ready};

pub(super) fn judge(case: &mut Case<'_>, family: &Family) {
    let terms = case.facts.terms;
    let leaders: Vec<(usize, &Process)> = family.leaders().collect();
    let numbers = numbers(case.facts.journal, &leaders);
    for (index, (_, leader)) in leaders.iter().enumerate() {
        let begun = leader.begun;
        let before = &leaders[..index];
        let living = before.iter().filter(|(_, other)| lived(other, begun)).count();
        case.demands(living < terms.max_epochs, || {
            format!("pid {} was started while {living} epochs lived", leader.pid)
        });
        let Some((_, last)) = before.last() else {
            case.demands(numbers[0].is_none_or(|number| number == 0), || {
                "the first epoch is not 0".to_owned()
            });
            continue;
        };
        let ready = was_ready(case, family, last, begun);
        case.demands(!(lived(last, begun) && ready == Some(false)), || {
            format!("pid {} was started while pid {} was not ready", leader.pid, last.pid)
        });
        let apart = begun - last.begun;
        let stopped = case.suspended(last.begun, begun) > 0;
        case.demands(stopped || apart >= terms.min_interval / 2, || {
            format!("pid {} was started {apart} µs after the one before", leader.pid)
        });
        if let (Some(was), Some(is)) = (numbers[index - 1], numbers[index]) {
            numbered(case, family, before, leader, (was, is));
        }
    }
}

/// Numbers are consecutive, and that of a restart that did not happen is used again.
fn numbered(
    case: &mut Case<'_>,
    family: &Family,
    before: &[(usize, &Process)],
    leader: &Process,
    (was, is): (u32, u32),
) {
    let Some(((_, last), older)) = before.split_last() else { return };
    let pid = leader.pid;
    let failed = match last.ended.filter(|ended| *ended < leader.begun) {
        None => Some(false),
        Some(ended)
            if older.iter().any(|(_, older)| lived(older, last.reaped.unwrap_or(ended))) =>
        {
            was_ready(case, family, last, ended).map(|ready| !ready)
        }
        Some(_) => None,
    };
    let right = match failed {
        Some(true) => is == was,
        Some(false) => is == was + 1,
        None => is == was || is == was + 1,
    };
    case.demands(right, || {
        let why = match failed {
            Some(true) => "failed",
            Some(false) => "succeeded",
            None => "ended",
        };
        format!("pid {pid} is epoch {is} after epoch {was}, which {why}")
    });
}

/// What the leaders themselves say that they are.
pub(super) fn numbers(journal: &str, leaders: &[(usize, &Process)]) -> Vec<Option<u32>> {
    let mut said: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
    for line in journal.lines() {
        let mut words = line.split(' ');
        if let (Some(pid), Some("say"), Some(epoch)) = (words.next(), words.next(), words.next())
            && let (Ok(pid), Some(Ok(epoch))) =
                (pid.parse(), epoch.strip_prefix("epoch-").map(str::parse))
        {
            said.entry(pid).or_default().insert(0, epoch);
        }
    }
    let own = |leader: &Process| said.get_mut(&leader.number?)?.pop();
    let mut own = own;
    leaders.iter().map(|(_, leader)| own(leader)).collect()
}
