//! What there is to say: one notice per event, each with its level, its name and its sentence.

mod sentences;

use std::time::Duration;

pub use sentences::Seconds;

use super::{Obstacle, Pending, Pid, Status};
use crate::exit::Exit;
use crate::signal::Signal;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// We end, or an epoch failed, for a bad reason.
    Error,
    /// Something is not as it should be; service goes on.
    Warn,
    /// What an operator wants to read.
    Info,
    /// What one wants to read while searching for a fault.
    Debug,
}

impl Level {
    /// The word for the log and for `--log-level`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// By what an epoch was found ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadyBy {
    /// It announced it.
    Announcement,
    /// It announces nothing; time was given to it.
    Clock,
    /// It announces it in a way that we cannot read; time was given to it.
    ClockUnreadable,
    /// `--ready none`.
    Option,
    /// Its admin said so.
    Admin,
    /// The program of `--ready exec:` said so.
    Command,
    /// The server of `--ready http:` said so.
    Http,
    /// It has announced it, though whoever should have said so has not in time.
    Takeover,
}

/// How a new epoch failed before it was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// It ended.
    Ended(End),
    /// It was not ready in time.
    Late {
        /// So long after its start.
        after: Duration,
    },
}

/// Why everything is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// A signal asked for it.
    Signal(Signal),
    /// A client of the control socket did.
    Command,
    /// The last epoch ended with 0.
    LastEpochEnded,
    /// The newest, ready epoch ended with 0 while older ones live.
    NobodyServes,
    /// The newest epoch ended by its terminal's SIGINT.
    Interrupted,
    /// Epoch 0 could not be started.
    CannotStart,
}

/// What a drain waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitsFor {
    /// The newest epoch is to take over.
    Handover,
    /// Nobody has told what is pending.
    Admin,
    /// This was pending at the last count.
    Pending(Pending),
    /// Nothing was, and `--drain-min` is not over.
    Time,
    /// Nothing was, and what an older epoch serves is not known so exactly yet.
    OlderEpoch,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Drained {
    /// Nothing is pending any more.
    Empty {
        /// So long after the stop was asked for.
        after: Duration,
        /// Whether Envoy has done anything of what it was asked to do.
        told: bool,
    },
    /// `--drain-timeout` was not enough.
    Over {
        /// What was pending at last, where that is known.
        pending: Option<Pending>,
    },
    /// It was not enough for the newest epoch to become ready.
    NotReady,
    /// The admin has not answered, so nobody has been told and nothing counted.
    Unheard,
    /// The only epoch does not serve yet.
    NotServing,
    /// The newest epoch has ended.
    NobodyServes {
        /// What was pending at last, where that is known.
        pending: Option<Pending>,
    },
}

impl Drained {
    /// How much it matters: whether anybody was cut off, as far as we know.
    fn level(self) -> Level {
        let cuts_off = match self {
            Self::Empty { told, .. } => !told,
            Self::Over { pending } | Self::NobodyServes { pending } => {
                pending.is_none_or(|pending| !pending.is_nothing())
            }
            Self::NotReady | Self::Unheard => true,
            Self::NotServing => false,
        };
        if cuts_off { Level::Warn } else { Level::Info }
    }
}

/// One thing that happened, to an epoch or to the restarter as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notice {
    /// The epoch that it is about.
    pub epoch: Option<u32>,
    /// The process that it is about.
    pub pid: Option<Pid>,
    /// What happened.
    pub what: What,
}

/// What there is to say of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "its sentences say it")]
pub enum What {
    Started,
    NotStarted { why: String },
    Ready { after: Duration, by: ReadyBy },
    NotReady { after: Duration },
    RestartQueued { obstacle: Obstacle },
    RestartAlreadyQueued,
    RestartRefused { why: String },
    EndedServing { end: End },
    NotGone,
    Checking,
    RestartFailed { failure: Failure, newest: u32 },
    Checked { after: Duration },
    ProbeFailed { why: String },
    FewerWorkers { workers: u32, before: u32 },
    AdminLost,
    Repaired,
    NotRepaired { why: String },
    Changed { path: String },
    Ended { end: End },
    EndedEarly { end: End },
    EndedUnexpectedly { end: End },
    Reopened { processes: u32 },
    ReopenPostponed,
    ReopenUnheard,
    ReopenBlind,
    Forwarded { signal: Signal, processes: u32 },
    ForwardedToGroup { signal: Signal },
    Dropped { signal: Signal },
    DroppedBlind { signal: Signal },
    DroppedAtEnd { signal: Signal },
    Suspended,
    Stopping { reason: StopReason, epochs: usize, term_wait: Duration },
    Draining { timeout: Duration, min: Duration },
    DrainUnheard,
    DrainsOn { waits_for: WaitsFor, after: Duration, timeout: Duration },
    Drained { drained: Drained },
    AlreadyStopping { reason: StopReason, left: Duration },
    OrphansAsked { processes: usize, left: Duration },
    TermWaitOver { epochs: usize, term_wait: Duration },
    Exiting { exit: Exit, survivors: bool },
}

impl What {
    /// How much it matters, and its name: one word that a log query can rely on.
    pub fn kind(&self) -> (Level, &'static str) {
        match self {
            Self::Started => (Level::Info, "started"),
            Self::NotStarted { .. } => (Level::Error, "not-started"),
            Self::Ready { by: ReadyBy::ClockUnreadable | ReadyBy::Takeover, .. } => {
                (Level::Warn, "ready")
            }
            Self::Ready {
                by:
                    ReadyBy::Announcement
                    | ReadyBy::Clock
                    | ReadyBy::Option
                    | ReadyBy::Admin
                    | ReadyBy::Command
                    | ReadyBy::Http,
                ..
            } => (Level::Info, "ready"),
            Self::NotReady { .. } => (Level::Warn, "not-ready"),
            Self::RestartQueued { .. } => (Level::Info, "restart-queued"),
            Self::RestartAlreadyQueued => (Level::Debug, "restart-queued"),
            Self::RestartRefused { .. } => (Level::Warn, "restart-refused"),
            Self::NotGone => (Level::Warn, "not-gone"),
            Self::Checking => (Level::Info, "checking"),
            Self::RestartFailed { .. } => (Level::Warn, "restart-failed"),
            Self::Checked { .. } => (Level::Info, "checked"),
            Self::ProbeFailed { .. } => (Level::Warn, "probe-failed"),
            Self::FewerWorkers { .. } => (Level::Warn, "fewer-workers"),
            Self::AdminLost => (Level::Warn, "admin-lost"),
            Self::Repaired => (Level::Info, "repaired"),
            Self::NotRepaired { .. } => (Level::Warn, "not-repaired"),
            Self::Changed { .. } => (Level::Info, "changed"),
            Self::EndedEarly { .. } => (Level::Warn, "ended"),
            Self::Ended { .. } => (Level::Info, "ended"),
            Self::EndedUnexpectedly { .. } | Self::EndedServing { .. } => {
                (Level::Error, "ended-unexpectedly")
            }
            Self::Reopened { .. } => (Level::Info, "reopened"),
            Self::ReopenPostponed => (Level::Info, "reopen-postponed"),
            Self::ReopenUnheard | Self::ReopenBlind => (Level::Warn, "reopen-unheard"),
            Self::Forwarded { .. } | Self::ForwardedToGroup { .. } => (Level::Info, "forwarded"),
            Self::Dropped { .. } => (Level::Info, "dropped"),
            Self::DroppedBlind { .. } => (Level::Warn, "dropped"),
            Self::DroppedAtEnd { .. } => (Level::Debug, "dropped"),
            Self::Suspended => (Level::Warn, "suspended"),
            // What brought us here has been said; this is about what may have been left behind.
            Self::Stopping { epochs: 0, .. } => (Level::Debug, "stopping"),
            Self::Stopping { .. } | Self::AlreadyStopping { .. } | Self::OrphansAsked { .. } => {
                (Level::Info, "stopping")
            }
            Self::Draining { .. } | Self::DrainsOn { .. } => (Level::Info, "draining"),
            Self::DrainUnheard => (Level::Warn, "drain-unheard"),
            Self::Drained { drained } => (drained.level(), "drained"),
            Self::TermWaitOver { .. } => (Level::Warn, "term-wait-over"),
            Self::Exiting { exit, .. } if exit.is_clean() => (Level::Info, "exiting"),
            Self::Exiting { .. } => (Level::Error, "exiting"),
        }
    }
}

/// How an epoch ended, and who killed it, as far as the kernel counts that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct End {
    /// How.
    pub status: Status,
    /// How often the out-of-memory killer has struck meanwhile, where that is known.
    pub out_of_memory: Option<u64>,
}

impl End {
    /// The same of one that we have killed, which needs no explanation.
    pub(super) fn by_us(self) -> Self {
        Self { out_of_memory: None, ..self }
    }
}
