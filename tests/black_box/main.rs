//! The finished binary, from outside. What needs an engine that is not there is reported as
//! ignored, by name; with `CI=true` that is a failure.

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let trials: Vec<Trial> = Vec::new();
    libtest_mimic::run(&arguments, trials).exit();
}
