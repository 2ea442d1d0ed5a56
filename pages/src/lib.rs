//! The manual page and the shell completions, made from the definition of the command line.
//!
//! What an option is called, takes and does comes from [`hot_restarter::cli::command`], what a
//! signal means from [`hot_restarter::signal`], our exit codes from [`hot_restarter::exit`]. What
//! only prose can say stands in [`mod@manual`].

mod bash;
pub mod completions;
pub mod manual;
mod prose;

use std::ffi::OsString;

use clap::{Arg, Command};
use clap_complete::aot::{Fish, Zsh};
use hot_restarter::cli::{self, Invocation};

/// How the binary is called.
pub const NAME: &str = "hot-restarter";

/// Every page, by the name of its file. The date, `2026-01-31`, is the manual's.
pub fn all(date: &str) -> [(&'static str, String); 4] {
    [
        ("hot-restarter.1", manual::page(date)),
        ("hot-restarter.bash", completions::script(bash::Bash)),
        ("_hot-restarter", completions::script(Zsh)),
        ("hot-restarter.fish", completions::fish(&completions::script(Fish))),
    ]
}

/// The command line. Help may come wrapped for a terminal; here each is one line, for its reader to
/// break.
pub fn definition() -> Command {
    cli::command().mut_args(|option| {
        let help = option.get_help().map(ToString::to_string).unwrap_or_default();
        option.help(help.split_whitespace().collect::<Vec<_>>().join(" "))
    })
}

/// The variable that sets an option, unless it has none, like those of the client. The parser
/// tells: it warns about a variable that it does not know.
pub fn variable(option: &Arg) -> Option<String> {
    let name = option.get_long()?.to_ascii_uppercase().replace('-', "_");
    let name = format!("HOT_RESTARTER_{name}");
    let words = [NAME, "start_envoy.sh"].map(OsString::from);
    // One that is set to nothing counts as not set, so that no value can be a wrong one.
    let variables = [(OsString::from(&name), OsString::new())].into_iter();
    let Ok(Invocation::Run(config)) = cli::parse(&words, variables) else {
        panic!("a program alone is enough");
    };
    config.warnings.is_empty().then_some(name)
}
