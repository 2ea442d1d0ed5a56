//! The pages as those read them whom they are for: mandoc and the shells. What the machine lacks is
//! reported as ignored, by name; with `CI=true` that is a failure.

mod manual;
mod needs;
mod shells;
mod values;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    let trials = [manual::trials(), values::trials(), shells::trials()];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}

/// The text of a page.
fn page(name: &str) -> String {
    let page = pages::all("2026-01-31").into_iter().find(|(file, _)| *file == name);
    page.unwrap_or_else(|| panic!("there is no page {name}")).1
}

/// The options of the command line as it is, `--help` and `--version` included.
fn options() -> Vec<clap::Arg> {
    let mut command = hot_restarter::cli::command();
    command.build();
    command.get_arguments().filter(|option| !option.is_positional()).cloned().collect()
}

/// The same as they are typed.
fn typed() -> Vec<String> {
    let long = |option: &clap::Arg| option.get_long().expect("each has a long name").to_owned();
    options().iter().map(|option| format!("--{}", long(option))).collect()
}
