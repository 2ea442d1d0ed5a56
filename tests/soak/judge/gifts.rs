//! What children start with is what we were started with.

use super::Case;

/// What they say of it, and what it is: nothing is blocked, nothing ignored.
const CLEAN: [(&str, &str); 4] = [
    ("mask", "0000000000000000"),
    ("ignored", "0000000000000000"),
    ("deathsig", "15"),
    ("foreground", "none"),
];

pub(super) fn judge(case: &mut Case<'_>) {
    let journal = case.facts.journal;
    for line in journal.lines() {
        let mut words = line.split(' ');
        let (pid, word, value) = (words.next(), words.next(), words.next());
        let wrong = CLEAN.iter().find(|(name, clean)| word == Some(name) && value != Some(clean));
        if let Some((name, clean)) = wrong {
            case.finds(&format!(
                "pid {} was given {name} {}, and we had {clean}",
                pid.unwrap_or_default(),
                value.unwrap_or_default()
            ));
        }
    }
}
