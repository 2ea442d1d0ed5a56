//! What has happened in a life, told while it happens.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What has happened, for whoever has to find out why.
#[derive(Clone, Debug)]
pub(super) struct Story {
    begun: Instant,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Story {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), lines: Arc::default() }
    }

    pub(super) fn tell(&self, what: &str) {
        let line = format!("{:7.3} {what}", self.begun.elapsed().as_secs_f64());
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    pub(super) fn text(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }
}
