//! What a trial needs of the machine, and what becomes of it where that is missing.

use std::env;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};

/// A program, where a trial needs one.
pub(crate) type Needs = Option<&'static str>;

/// A named trial. Where the machine lacks what it needs it is reported as ignored; with `CI=true`
/// it fails, so that nobody mistakes a skipped test for a passed one.
pub(crate) fn trial(
    name: impl Into<String>,
    needs: Needs,
    run: impl FnOnce() + Send + 'static,
) -> Trial {
    let missing = needs.filter(|program| !is_there(program));
    let must_run = env::var("CI").is_ok_and(|value| value == "true");
    Trial::test(name, move || {
        if let Some(program) = missing {
            return Err(Failed::from(format!("this machine lacks: {program}")));
        }
        run();
        Ok(())
    })
    .with_kind(needs.unwrap_or_default())
    .with_ignored_flag(missing.is_some() && !must_run)
}

fn is_there(program: &str) -> bool {
    let look = format!("command -v {program}");
    let found = Command::new("sh").args(["-c", &look]).stdout(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}
