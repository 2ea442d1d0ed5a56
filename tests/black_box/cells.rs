//! The same events wherever we run: each arrangement in which a container, a pod or a shell may
//! have us, against each event of a life. What is expected is one table, [`table::EVENTS`], which
//! `cells/table.md` shows.

mod arrangements;
mod play;
mod table;

use libtest_mimic::Trial;

use crate::needs::{Needs, trial};
use arrangements::ARRANGEMENTS;
use table::EVENTS;

/// The trials of this module: one for each cell, and the page that shows them.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("cells::page", Needs::Nothing, table::page)];
    for arrangement in &ARRANGEMENTS {
        for event in &EVENTS {
            let name = format!("cells::{}::{}", arrangement.name, event.name);
            trials.push(trial(name, arrangement.needs, || play::cell(arrangement, event)));
        }
    }
    trials
}
