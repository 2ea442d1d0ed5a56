//! What is said, in whole sentences or in parts of one.

use std::fmt;
use std::time::Duration;

use super::super::{Pending, Status};
use super::{Drained, End, Failure, ReadyBy, StopReason, WaitsFor, What};
use crate::signal::Signal;

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

/// The first half of a sentence.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(End { status, out_of_memory }) => {
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

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "{signal} received"),
            Self::Command => f.write_str("asked for over the control socket"),
            Self::LastEpochEnded => f.write_str("the last epoch has ended with 0"),
            Self::NobodyServes => {
                f.write_str("the newest epoch has ended with 0, so nobody serves any more")
            }
            Self::Interrupted => f.write_str("the newest epoch was interrupted from its terminal"),
            Self::CannotStart => f.write_str("epoch 0 could not be started"),
        }
    }
}

impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { after, told: true } => {
                write!(f, "nothing is pending after {} s", Seconds(*after))
            }
            Self::Empty { after, told: false } => write!(
                f,
                "nothing is pending after {} s, but the admin has refused to tell anybody to go",
                Seconds(*after)
            ),
            Self::Over { pending: Some(pending) } if pending.is_nothing() => {
                f.write_str("--drain-timeout is over; nothing was pending at the last count")
            }
            Self::Over { pending: Some(pending) } => {
                write!(f, "--drain-timeout is over, which cuts off {pending}")
            }
            Self::Over { pending: None } => f.write_str(
                "--drain-timeout is over, and the admin does not tell what is cut off by that",
            ),
            Self::NotReady => f.write_str(
                "--drain-timeout is over and the newest epoch is not ready, so nothing was drained",
            ),
            Self::Unheard => f.write_str(
                "no admin has answered for the newest epoch, so nobody was told to go, and what is \
                 pending is cut off",
            ),
            Self::NotServing => f.write_str("there is nothing to drain before Envoy serves"),
            Self::NobodyServes { pending } => {
                f.write_str("the newest epoch has ended, so nobody serves any more")?;
                match pending.filter(|pending| !pending.is_nothing()) {
                    Some(pending) => write!(f, "; {pending} may have been cut off"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handover => f.write_str("the newest epoch is not ready"),
            Self::Admin => f.write_str("what is pending is not known"),
            Self::Pending(pending) => pending.fmt(f),
            Self::Time => f.write_str("nothing pending, --drain-min is not over"),
            Self::OlderEpoch => {
                f.write_str("nothing pending, waiting for newer figures of the older epoch")
            }
        }
    }
}

/// "2 requests", "1 request and 3 other connections".
impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, connections, unsent_bytes } = *self;
        Several(requests, "request", "requests").fmt(f)?;
        if connections > 0 {
            let connections = Several(connections, "other connection", "other connections");
            write!(f, " and {connections}")?;
        }
        if unsent_bytes > 0 {
            let unsent = Several(unsent_bytes, "byte", "bytes");
            write!(f, " and {unsent} that clients have not taken")?;
        }
        Ok(())
    }
}

/// The why, as one sentence without its subject, which `epoch=` and `pid=` name.
impl fmt::Display for What {
    #[expect(clippy::too_many_lines, reason = "it is one sentence for each")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The name of the event says it all.
            Self::Started | Self::Checking => Ok(()),
            Self::EndedServing { end } => write!(
                f,
                "{end} when it had taken over, so the epoch before it does not serve any more; \
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
            Self::AdminLost => f.write_str(
                "its admin does not answer: the epoch that failed has had it closed, and it comes \
                 back with the next good one; until then a stop cannot drain",
            ),
            Self::Repaired => f.write_str(
                "it died initialising; the flag that it left in Envoy's shared memory is cleared",
            ),
            Self::NotRepaired { why } => {
                write!(f, "{why}; the next restart tries it again, and may have to wait")
            }
            Self::Changed { path } => write!(f, "{path} has changed, which is a restart"),
            Self::Ended { end } | Self::EndedEarly { end } => end.fmt(f),
            Self::EndedUnexpectedly { end } => write!(f, "{end}; killing everything else"),
            Self::Reopened { processes } => {
                write!(f, "SIGUSR1 sent to {}", catchers(*processes))
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
                write!(f, "{signal} sent to {}", catchers(*processes))
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
                several_epochs(*epochs),
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
            Self::DrainsOn { waits_for, after, timeout } => {
                write!(f, "{waits_for}, {} s of {} s", after.as_secs(), Seconds(*timeout))
            }
            Self::Drained { drained } => write!(f, "{drained}"),
            Self::AlreadyStopping { reason, left } => {
                write!(f, "{reason}, stopping already; {} s are left", Seconds(*left))
            }
            Self::OrphansAsked { processes, left } => {
                let processes = Several(*processes as u64, "process", "processes");
                let left = Seconds(*left);
                write!(f, "{processes} that epochs left behind asked to end; {left} s are left")
            }
            Self::TermWaitOver { epochs, term_wait } => write!(
                f,
                "{} s (--term-wait) are over with {} left; killing what is left",
                Seconds(*term_wait),
                several_epochs(*epochs)
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

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.status.fmt(f)?;
        explain_kill(f, self.status, self.out_of_memory)
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
#[derive(Clone, Copy, Debug)]
pub struct Seconds(
    /// So long.
    pub Duration,
);

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

/// "1 epoch", "2 epochs": a number, what it is one of, and what more are.
struct Several(u64, &'static str, &'static str);

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, one, more) = *self;
        write!(f, "{number} {}", if number == 1 { one } else { more })
    }
}

fn several_epochs(number: usize) -> Several {
    Several(number as u64, "epoch", "epochs")
}

fn catchers(number: u32) -> Several {
    Several(number.into(), "process that catches it", "processes that catch it")
}
