//! What a life of an Envoy is like, drawn from its seed.

use std::fmt;
use std::time::Duration;

use crate::random::Random;

/// Where `--envoy-admin` leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admin {
    /// Nowhere: there is no such option.
    None,
    /// To Envoy's.
    Right,
    /// To somebody who accepts and never answers.
    Silent,
}

/// One life.
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// What it is drawn from.
    pub seed: u64,
    /// `--max-epochs`.
    pub max_epochs: usize,
    /// `--check` with Envoy's own validation.
    pub check: bool,
    /// `--envoy-admin`.
    pub admin: Admin,
    /// `--drain-timeout`.
    pub drain: bool,
    /// A small pipe behind standard error whose reader comes to a halt.
    pub full_stderr: bool,
    /// Two threads that want a processor each.
    pub busy: bool,
    /// Clients of the control socket that misbehave.
    pub crowd: bool,
    /// Restarts begin for so long; then comes the end.
    pub lasts: Duration,
}

impl Plan {
    /// Draws one.
    pub(super) fn draw(seed: u64, random: &mut Random) -> Self {
        let admin = match random.below(100) {
            0..45 => Admin::None,
            45..90 => Admin::Right,
            _ => Admin::Silent,
        };
        Self {
            seed,
            max_epochs: if random.percent(30) { 3 } else { 2 },
            check: random.percent(50),
            admin,
            drain: admin == Admin::Right && random.percent(60),
            full_stderr: random.percent(30),
            busy: random.percent(25),
            crowd: random.percent(50),
            lasts: Duration::from_secs(20) + random.span_below_ms(25_000),
        }
    }

    /// `--term-wait`.
    pub(super) fn term_wait(&self) -> Duration {
        Duration::from_secs(if self.drain { 16 } else { 8 })
    }

    /// The options of the restarter.
    pub(super) fn options(&self, admin: &str, termination_log: &str) -> Vec<String> {
        let mut options = vec![
            "--rollback".to_owned(),
            format!("--max-epochs={}", self.max_epochs),
            format!("--term-wait={}", self.term_wait().as_secs()),
            format!("--termination-log={termination_log}"),
        ];
        if self.check {
            options.push("--check=start_envoy.sh --mode validate --log-level warning".to_owned());
        }
        if self.admin != Admin::None {
            options.push(format!("--envoy-admin={admin}"));
        }
        // An epoch that has taken over counts as ready after this, whoever does not answer.
        let ready_timeout = if self.admin == Admin::Silent { 5 } else { 25 };
        options.push(format!("--ready-timeout={ready_timeout}"));
        if self.drain {
            options.extend(["--drain-timeout=10", "--drain-min=3"].map(str::to_owned));
        }
        options
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, max_epochs, check, admin, drain, full_stderr, busy, crowd, lasts } = self;
        write!(f, "life {seed:#x}: max-epochs {max_epochs}, admin {admin:?}, {lasts:.1?}")?;
        let traits = [
            (check, "check"),
            (drain, "drain"),
            (full_stderr, "full stderr"),
            (busy, "busy"),
            (crowd, "crowd"),
        ];
        traits.iter().filter(|(has, _)| **has).try_for_each(|(_, name)| write!(f, ", {name}"))
    }
}
