//! The finished binary, from outside. What needs something that the machine lacks is reported
//! as ignored, by name; with `CI=true` that is a failure.
//!
//! Every module has a function `trials` that returns its trials; [`needs::trial`] makes one.

mod cells;
mod conformance;
mod control;
mod docker;
mod envoy;
mod faults;
mod image;
mod input;
mod log;
mod managers;
mod manifests;
mod needs;
mod neighbours;
mod notify;
mod pid1;
mod podman;
mod pods;
mod process;
mod statuses;
mod terminal;
mod termination;
mod watch;

use libtest_mimic::{Arguments, Trial};

fn main() {
    support::inherit::ignore_nothing();
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = [
        process::trials(),
        watch::trials(),
        control::trials(),
        input::trials(),
        log::trials(),
        statuses::trials(),
        terminal::trials(),
        termination::trials(),
        pid1::trials(),
        neighbours::trials(),
        notify::trials(),
        image::trials(),
        docker::trials(),
        podman::trials(),
        manifests::trials(),
        managers::trials(),
        pods::trials(),
        cells::trials(),
        faults::trials(),
        envoy::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let named = conformance::trials(&trials);
    trials.extend(named);
    libtest_mimic::run(&arguments, trials).exit();
}
