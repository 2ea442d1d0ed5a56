//! What the test suites of other container inits check, as cases for our command line, and the same
//! cases over those inits: what they do there shows that a case measures what it says.
//!
//! [`promises`] is the list: whose promise, whether we keep it, and which trials show that. The
//! README has it as a table.

mod ends;
mod inits;
mod orphans;
mod promises;
mod signals;
mod start;
mod terminal;

use libtest_mimic::Trial;

use crate::needs::{Needs, trial};

/// The trials of this module, which name some of `others`.
pub(crate) fn trials(others: &[Trial]) -> Vec<Trial> {
    let mut trials: Vec<Trial> =
        [ends::trials(), orphans::trials(), signals::trials(), start::trials(), terminal::trials()]
            .into_iter()
            .flatten()
            .collect();
    let names = others.iter().chain(&trials).map(|trial| trial.name().to_owned()).collect();
    trials.push(trial("conformance::page", Needs::Nothing, move || promises::page(&names)));
    trials
}
