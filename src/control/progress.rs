//! The line on a terminal that shows how far it is, while somebody waits.

use std::env;
use std::io::IsTerminal;
use std::time::Duration;

use nix::unistd;

use super::render::fitted;
use crate::supervisor::{Moment, Pid};
use crate::sys;

const STDERR: i32 = libc::STDERR_FILENO;

/// Of a terminal that does not know how wide it is.
const COLUMNS: usize = 80;

/// One line on standard error, where that is a terminal; nothing elsewhere.
#[derive(Debug)]
pub(super) struct Progress {
    on: bool,
    shown: bool,
    begun: Moment,
    text: String,
}

impl Progress {
    /// One that shows nothing yet, and nothing at all unless it is wanted.
    pub(super) fn new(wanted: bool, text: &str) -> Self {
        // What is called so knows no sequence by which a line is cleared.
        let on = wanted
            && sys::stderr().is_terminal()
            && env::var_os("TERM").is_none_or(|name| name != "dumb");
        Self { on, shown: false, begun: sys::monotonic(), text: text.to_owned() }
    }

    /// When it is to be drawn again: its seconds go on.
    pub(super) fn next(&self) -> Option<Moment> {
        let elapsed = || (sys::monotonic() - self.begun).as_secs();
        self.on.then(|| self.begun + Duration::from_secs(elapsed() + 1))
    }

    /// Shows this from now on.
    pub(super) fn say(&mut self, text: &str) {
        if self.on {
            text.clone_into(&mut self.text);
            self.draw();
        }
    }

    /// Draws it, unless somebody else has the terminal by now.
    pub(super) fn draw(&mut self) {
        if self.on && is_ours() {
            let elapsed = (sys::monotonic() - self.begun).as_secs();
            let text = format!("{elapsed} s: {}", self.text);
            // In the last column the cursor may be on the next line already.
            let columns = sys::columns(STDERR).unwrap_or(COLUMNS).saturating_sub(1);
            put(&format!("\r{}\x1b[K", fitted(&text, columns)));
            self.shown = true;
        }
    }

    /// Removes it.
    pub(super) fn clear(&mut self) {
        if self.shown && is_ours() {
            put("\r\x1b[K");
        }
        self.shown = false;
    }
}

/// A shell that has us in its background writes its own lines.
fn is_ours() -> bool {
    sys::foreground_group(STDERR).is_none_or(|group| group == Pid(unistd::getpgrp().as_raw()))
}

fn put(text: &str) {
    // A terminal that is gone needs no line.
    let _ = sys::write_all(STDERR, text.as_bytes());
}
