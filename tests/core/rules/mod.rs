//! The contract's sentences, each beside the test that keeps it, one file for each of its
//! sections. The judge of [`crate::ledger`] watches all of them as well.

mod askers;
mod checks;
mod drain;
mod ready;
mod restarts;
mod rollback;
mod signals;
mod status;
mod stop;

use hot_restarter::supervisor::Status;

use crate::story::signal;

/// The end of a program that did what it should not.
const CRASH: Status = Status::Exited(3);

/// The end of one that has a bug.
fn fault() -> Status {
    Status::Signaled(signal("SEGV"))
}
