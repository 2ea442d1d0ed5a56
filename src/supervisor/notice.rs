//! What there is to say: one notice per event, each with its level, its name and its sentence.

use std::fmt;
use std::time::Duration;

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

/// The second half of a sentence.
impl fmt::Display for ReadyBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Announcement => "as it announced",
            Self::Clock => "by the clock, since it does not announce readiness",
            Self::ClockUnreadable => {
                "by the clock, since its shared memory is none that we can read"
            }
            Self::Option => "as --ready none says",
            Self::Admin => "as its admin says",
            Self::Command => "as --ready exec: found",
            Self::Http => "as --ready http: found",
            Self::Takeover => {
                "as it announced, though --ready or --envoy-admin has not found it so within \
                 --ready-timeout; it has taken over, so there is no way back"
            }
        })
    }
}

/// How a new epoch failed before it was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// It ended.
    Ended {
        /// How.
        status: Status,
        /// How often the out-of-memory killer has struck meanwhile, where that is known.
        out_of_memory: Option<u64>,
    },
    /// It was not ready in time.
    Late {
        /// So long after its start.
        after: Duration,
    },
}

/// The first half of a sentence.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { status, out_of_memory } => {
                write!(f, "{status} before it was ready")?;
                explain_kill(f, *status, *out_of_memory)?;
                f.write_str(", so")
            }
            Self::Late { after } => write!(
                f,
                "not ready after {} s (--ready-timeout), so it is killed and",
                Seconds(*after)
            ),
        }
    }
}

/// Why everything is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// A signal asked for it.
    Signal(Signal),
    /// The last epoch ended with 0.
    LastEpochEnded,
    /// The newest, ready epoch ended with 0 while older ones live.
    NobodyServes,
    /// The newest epoch ended by its terminal's SIGINT.
    Interrupted,
    /// Epoch 0 could not be started.
    CannotStart,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "{signal} received"),
            Self::LastEpochEnded => f.write_str("the last epoch has ended with 0"),
            Self::NobodyServes => {
                f.write_str("the newest epoch has ended with 0, so nobody serves any more")
            }
            Self::Interrupted => f.write_str("the newest epoch was interrupted from its terminal"),
            Self::CannotStart => f.write_str("epoch 0 could not be started"),
        }
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Drained {
    /// Nothing is pending any more.
    Empty {
        /// So long after the stop was asked for.
        after: Duration,
    },
    /// `--drain-timeout` was not enough.
    Over {
        /// What was pending at last, where that is known.
        pending: Option<Pending>,
    },
    /// It was not enough for the newest epoch to take over.
    HandsOver,
    /// The admin has not answered, so nobody has been told and nothing counted.
    Unheard,
    /// The only epoch does not serve yet.
    NotServing,
    /// The newest epoch has ended.
    NobodyServes,
}

impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { after } => write!(f, "nothing is pending after {} s", Seconds(*after)),
            Self::Over { pending: Some(pending) } => {
                write!(f, "{pending} are cut off, since --drain-timeout is over")
            }
            Self::Over { pending: None } => f.write_str(
                "--drain-timeout is over, and the admin does not tell what is cut off by that",
            ),
            Self::HandsOver => f.write_str(
                "--drain-timeout is over and the newest epoch has not taken over, so nothing was \
                 drained",
            ),
            Self::Unheard => f.write_str(
                "--drain-min is over; since the admin has not answered, nobody was told to go, and \
                 what is pending is cut off",
            ),
            Self::NotServing => f.write_str("there is nothing to drain before Envoy serves"),
            Self::NobodyServes => {
                f.write_str("the newest epoch has ended, so nobody serves any more")
            }
        }
    }
}

/// "2 requests", "1 request and 3 other connections".
impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |number: u64| if number == 1 { "" } else { "s" };
        let Self { requests, connections } = *self;
        write!(f, "{requests} request{}", plural(requests))?;
        if connections > 0 {
            write!(f, " and {connections} other connection{}", plural(connections))?;
        }
        Ok(())
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
#[expect(missing_docs, reason = "the sentences below say it")]
pub enum What {
    Started,
    NotStarted { why: String },
    Ready { after: Duration, by: ReadyBy },
    NotReady { after: Duration },
    RestartQueued { obstacle: Obstacle },
    RestartAlreadyQueued,
    RestartRefused { why: String },
    EndedServing { status: Status },
    NotGone,
    Checking,
    RestartFailed { failure: Failure, newest: u32 },
    Checked { after: Duration },
    ProbeFailed { why: String },
    FewerWorkers { workers: u32, before: u32 },
    Repaired,
    NotRepaired { why: String },
    Changed { path: String },
    Ended { status: Status },
    EndedUnexpectedly { status: Status, out_of_memory: Option<u64> },
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
    DrainsOn { hands_over: bool, pending: Option<Pending>, after: Duration, timeout: Duration },
    Drained { drained: Drained },
    AlreadyStopping { signal: Signal, left: Duration },
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
            Self::Repaired => (Level::Info, "repaired"),
            Self::NotRepaired { .. } => (Level::Warn, "not-repaired"),
            Self::Changed { .. } => (Level::Info, "changed"),
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
            Self::Stopping { .. } | Self::AlreadyStopping { .. } => (Level::Info, "stopping"),
            Self::Draining { .. } | Self::DrainsOn { .. } => (Level::Info, "draining"),
            Self::DrainUnheard => (Level::Warn, "drain-unheard"),
            Self::Drained {
                drained: Drained::Empty { .. } | Drained::NotServing | Drained::NobodyServes,
            } => (Level::Info, "drained"),
            Self::Drained {
                drained: Drained::Over { .. } | Drained::HandsOver | Drained::Unheard,
            } => (Level::Warn, "drained"),
            Self::TermWaitOver { .. } => (Level::Warn, "term-wait-over"),
            Self::Exiting { exit, .. } if exit.is_clean() => (Level::Info, "exiting"),
            Self::Exiting { .. } => (Level::Error, "exiting"),
        }
    }
}

/// The why, as one sentence without its subject, which `epoch=` and `pid=` name.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The name of the event says it all.
            Self::Started | Self::Checking => Ok(()),
            Self::EndedServing { status } => write!(
                f,
                "{status} when it had taken over, so the epoch before it does not serve any more; \
                 killing everything else"
            ),
            Self::NotGone => {
                f.write_str("SIGKILL has not ended it; restarts wait until it is gone")
            }
            Self::NotStarted { why } | Self::RestartRefused { why } => f.write_str(why),
            Self::Ready { after, by } => write!(f, "after {} s, {by}", Seconds(*after)),
            Self::NotReady { after } => write!(
                f,
                "still not ready after {} s (--ready-timeout); restarts wait for it",
                Seconds(*after)
            ),
            Self::RestartQueued { obstacle } => write!(f, "waits because {obstacle}"),
            Self::RestartAlreadyQueued => {
                f.write_str("a restart waits already; this one is the same")
            }
            Self::RestartFailed { failure, newest } => {
                write!(f, "{failure} this restart did not happen; epoch {newest} goes on")
            }
            Self::Checked { after } => write!(f, "the check passed after {} s", Seconds(*after)),
            Self::ProbeFailed { why } => write!(f, "--ready exec: {why}"),
            Self::FewerWorkers { workers, before } => write!(
                f,
                "has {workers} worker threads and the epoch before it {before}, so connections of \
                 the others are reset; pin --concurrency"
            ),
            Self::Repaired => f.write_str(
                "it died initialising; the flag that it left in Envoy's shared memory is cleared",
            ),
            Self::NotRepaired { why } => {
                write!(f, "{why}; the next restart tries it again, and may have to wait")
            }
            Self::Changed { path } => write!(f, "{path} has changed, which is a restart"),
            Self::Ended { status } => status.fmt(f),
            Self::EndedUnexpectedly { status, out_of_memory } => {
                write!(f, "{status}; killing everything else")?;
                explain_kill(f, *status, *out_of_memory)
            }
            Self::Reopened { processes } => {
                write!(f, "SIGUSR1 sent to {}", Processes(*processes))
            }
            Self::ReopenPostponed => {
                f.write_str("SIGUSR1 waits until it is ready, since it could be killed by it")
            }
            Self::ReopenUnheard => {
                f.write_str("SIGUSR1 is dropped, since no process of this epoch catches it")
            }
            Self::ReopenBlind => f.write_str(
                "SIGUSR1 sent to the leader alone: without /proc nobody can tell who catches it",
            ),
            Self::Forwarded { signal, processes } => {
                write!(f, "{signal} sent to {}", Processes(*processes))
            }
            Self::ForwardedToGroup { signal } => {
                write!(f, "{signal} sent to its process group")
            }
            Self::Dropped { signal } => {
                write!(f, "{signal}, since no process of this epoch catches it")
            }
            Self::DroppedBlind { signal } => {
                write!(f, "{signal}, since without /proc nobody can tell whom it would kill")
            }
            Self::DroppedAtEnd { signal } => {
                write!(f, "{signal}, since everything is being stopped")
            }
            Self::Suspended => f.write_str("stopped from its terminal; we are its job too"),
            Self::Stopping { reason, epochs, term_wait } => write!(
                f,
                "{reason}; {} and what they left have {} s (--term-wait)",
                Epochs(*epochs),
                Seconds(*term_wait)
            ),
            Self::Draining { timeout, min } => write!(
                f,
                "serving on until nothing is pending, for {} s at least (--drain-min) and {} s at \
                 most (--drain-timeout)",
                Seconds(*min),
                Seconds(*timeout)
            ),
            Self::DrainUnheard => f.write_str(
                "--envoy-admin does not do what a drain needs; it is asked again each half second",
            ),
            Self::DrainsOn { hands_over, pending, after, timeout } => {
                match pending {
                    _ if *hands_over => f.write_str("the newest epoch has not taken over")?,
                    Some(pending) => pending.fmt(f)?,
                    None => f.write_str("what is pending is not known")?,
                }
                write!(f, ", {} s of {} s", after.as_secs(), Seconds(*timeout))
            }
            Self::Drained { drained } => drained.fmt(f),
            Self::AlreadyStopping { signal, left } => {
                write!(f, "{signal} received, stopping already; {} s are left", Seconds(*left))
            }
            Self::TermWaitOver { epochs, term_wait } => write!(
                f,
                "{} s (--term-wait) are over with {} left; killing what is left",
                Seconds(*term_wait),
                Epochs(*epochs)
            ),
            Self::Exiting { exit, survivors } => {
                write!(f, "exit code {}: {exit}", exit.code())?;
                if *survivors {
                    f.write_str(", and something would not die")?;
                }
                Ok(())
            }
        }
    }
}

/// Who killed what was killed and not by us, as far as the kernel counts it.
fn explain_kill(f: &mut fmt::Formatter<'_>, status: Status, kills: Option<u64>) -> fmt::Result {
    if status != Status::Signaled(Signal::KILL) {
        return Ok(());
    }
    match kills {
        Some(0) => f.write_str(" (not by us, and no out-of-memory kill is counted in this cgroup)"),
        Some(times) => write!(
            f,
            " (out of memory: the kernel's out-of-memory killer struck in this cgroup, {times}×)"
        ),
        None => Ok(()),
    }
}

/// Seconds with three decimals, or none where there is nothing behind the point.
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.subsec_millis();
        self.0.as_secs().fmt(f)?;
        if millis == 0 {
            return Ok(());
        }
        write!(f, ".{millis:03}")
    }
}

/// "1 process", "2 processes".
struct Processes(u32);

impl fmt::Display for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 process that catches it"),
            more => write!(f, "{more} processes that catch it"),
        }
    }
}

/// "1 epoch", "2 epochs".
struct Epochs(usize);

impl fmt::Display for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 epoch"),
            more => write!(f, "{more} epochs"),
        }
    }
}
