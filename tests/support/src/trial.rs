//! A named trial, and what becomes of it where the machine lacks what it needs.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::process::{Command, Stdio};
use std::sync::Once;

use libtest_mimic::{Failed, Trial};

/// A trial that needs something by this name, which may be met or not. Where it is not, it is
/// reported as ignored; with `CI=true` it fails, so that nobody mistakes a skipped test for a passed
/// one.
pub fn trial(
    name: impl Into<String>,
    needs: &'static str,
    met: bool,
    run: impl FnOnce() + Send + 'static,
) -> Trial {
    let must_run = env::var("CI").is_ok_and(|value| value == "true");
    Trial::test(name, move || {
        if !met && must_run {
            return Err(Failed::from(format!("this machine lacks: {needs}")));
        }
        caught(run).map_err(Failed::from)
    })
    .with_kind(needs)
    .with_ignored_flag(!met && !must_run)
}

/// Whether a command runs and ends well; nobody hears what it says.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

thread_local! {
    /// Whether somebody waits for the panic of this thread.
    static WAITED_FOR: Cell<bool> = const { Cell::new(false) };
    /// Where and why this thread panicked last.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Does something; its panic becomes the words of the error, and stays out of the reports of
/// what runs beside it.
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if WAITED_FOR.get() {
                PANIC.with(|panic| *panic.borrow_mut() = Some(info.to_string()));
            } else {
                usual(info);
            }
        }));
    });
    let outer = WAITED_FOR.replace(true);
    let ended = panic::catch_unwind(AssertUnwindSafe(run));
    WAITED_FOR.set(outer);
    ended.map_err(|payload| {
        let message = PANIC.with(|panic| panic.borrow_mut().take());
        message.unwrap_or_else(|| words_of(payload.as_ref()))
    })
}

fn words_of(payload: &(dyn Any + Send)) -> String {
    let borrowed = payload.downcast_ref::<&str>().map(|words| (*words).to_owned());
    let words = borrowed.or_else(|| payload.downcast_ref::<String>().cloned());
    words.unwrap_or_else(|| "a panic without words".to_owned())
}
