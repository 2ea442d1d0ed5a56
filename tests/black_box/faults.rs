//! Every system call that we make is made to fail in turn, with each errno that is plausible, at
//! the start, in service and in a child before it executes; and each life then goes on to its end.
//!
//! A filter has the kernel ask us before each call, and we answer with the fault. A fault is aimed
//! at the first call of a name about a thing, a file or a child, and never at the number of a call,
//! which the machine's load would change. Which calls there are is not told by anybody: a life
//! without a fault is looked at first, and a call that [`calls`] does not know fails the trial until
//! somebody has thought about it; so does one that only a fault leads to. What comes of each fault
//! is in `faults/table.md`.

mod about;
mod acts;
mod calls;
mod cases;
mod controls;
mod errnos;
mod filter;
mod healthy;
mod judge;
mod led_to;
mod lives;
mod play;
mod table;
mod tracer;
mod tries;
mod turns;

use libtest_mimic::Trial;

use crate::needs::{Needs, trial};
use lives::LIVES;

/// Whether this machine's calls have the numbers that [`calls`] knows them by.
const ANSWERS: bool = cfg!(target_arch = "x86_64");

/// The trials of this module: one for each life and phase, the page, and what shows that a
/// trial can fail.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("faults::page", Needs::Nothing, table::page)];
    trials.extend(controls::trials());
    for life in LIVES.iter().filter(|_| ANSWERS) {
        for phase in life.phases {
            let name = format!("faults::{}::{}", life.name, phase.name());
            trials.push(trial(name, Needs::Root, || tries::run(life, *phase)));
        }
    }
    trials
}
