//! Every system call that we make is made to fail in turn, with each errno that is plausible, at
//! the start, in service and in a child before it executes; and each life then goes on to its end.
//!
//! strace attaches to the restarter and injects the fault. Which calls there are is not told by
//! anybody: a life without a fault is traced first, and a call that [`calls`] does not know fails
//! the trial until somebody has thought about it. What comes of each fault is in `faults/table.md`.

mod calls;
mod cases;
mod controls;
mod judge;
mod lives;
mod play;
mod strace;
mod table;

use libtest_mimic::Trial;

use crate::needs::{Needs, trial};
use lives::LIVES;

/// The trials of this module: one for each life and phase, the page, and what shows that a
/// trial can fail.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("faults::page", Needs::Nothing, table::page)];
    for life in &LIVES {
        for phase in life.phases {
            let name = format!("faults::{}::{}", life.name, phase.name());
            trials.push(trial(name, Needs::Strace, || cases::run(life, *phase)));
        }
    }
    trials.extend(controls::trials());
    trials
}
