//! How things stand, as the restarter tells its clients.

use serde_json::Value;
use support::control::Answer;

/// What became of all restarts that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub done: u64,
    pub refused: u64,
    pub failed: u64,
}

/// What `--send status --json` says.
#[derive(Debug)]
pub(super) struct Status(Value);

impl Status {
    /// What this answer says, if it says anything.
    pub(super) fn told(answer: &Answer) -> Option<Self> {
        let reply = serde_json::from_str::<Value>(&answer.out).ok();
        reply.map(|mut reply| reply["status"].take()).filter(Value::is_object).map(Self)
    }

    pub(super) fn counts(&self) -> Counts {
        let number = |field: &str| self.0[field].as_u64().expect("a number");
        Counts {
            done: number("restarts_done"),
            refused: number("restarts_refused"),
            failed: number("restarts_failed"),
        }
    }

    /// Nothing is under way, nothing waits.
    pub(super) fn is_settled(&self) -> bool {
        self.0["under_way"].is_null() && self.0["queued"].is_null()
    }

    /// The epochs in this state.
    pub(super) fn epochs(&self, state: &str) -> Vec<u64> {
        let epochs = self.0["epochs"].as_array().expect("a list");
        let those = epochs.iter().filter(|epoch| epoch["state"] == state);
        those.filter_map(|epoch| epoch["epoch"].as_u64()).collect()
    }

    /// Why the last failed restart failed.
    pub(super) fn last_failure(&self) -> &str {
        self.0["last_failure"]["message"].as_str().unwrap_or("none")
    }
}
