//! How processes end: the status of a child, and our own exit codes, all in one table.

use std::fmt;

use crate::signal::Signal;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It exited with this code.
    Exited(u8),
    /// A signal ended it.
    Signaled(Signal),
}

impl Status {
    /// The code by which a shell and a container runtime pass this on: N, or 128 + signal.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Self::Signaled(signal) => 128 + signal.number() as u8,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with {code}"),
            Self::Signaled(signal) => write!(f, "was ended by {signal}"),
        }
    }
}

/// The way in which we end, and with it our exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// 0: a stop in which everything ended in time, or the last epoch ended with 0.
    Clean,
    /// 1: a stop in which something had to be killed.
    Killed,
    /// 2: bad usage.
    Usage,
    /// N or 128 + signal: an epoch ended unexpectedly with this status.
    Epoch(Status),
    /// 125: our own failure.
    Failure,
    /// 126: the target of epoch 0 exists and cannot be executed.
    CannotExecute,
    /// 127: the target of epoch 0 does not exist.
    NotFound,
    /// 1, of a client: what it asked for was refused, has failed, or is not done in time.
    NotDone,
    /// 3, of a client: no restarter answers.
    NoAnswer,
    /// 130: the newest epoch ended by the SIGINT of its terminal (128 + 2).
    Interrupted,
}

impl Exit {
    /// The number that the kernel, Docker and kubelet are told.
    pub fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Killed | Self::NotDone => 1,
            Self::Usage => 2,
            Self::Epoch(status) => status.code(),
            Self::Failure => 125,
            Self::CannotExecute => 126,
            Self::NotFound => 127,
            Self::NoAnswer => 3,
            Self::Interrupted => 130,
        }
    }

    /// Whether nothing went wrong, by which the log chooses its level.
    pub fn is_clean(self) -> bool {
        match self {
            Self::Clean | Self::Interrupted => true,
            Self::Killed
            | Self::Usage
            | Self::Epoch(_)
            | Self::Failure
            | Self::CannotExecute
            | Self::NotFound
            | Self::NotDone
            | Self::NoAnswer => false,
        }
    }
}

/// A target may use 2 and 125 to 127 itself; these words tell them apart.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("everything has ended"),
            Self::Killed => f.write_str("something had to be killed"),
            Self::Usage => f.write_str("bad usage"),
            Self::Epoch(status) => write!(f, "an epoch {status}"),
            Self::Failure => f.write_str("a failure of the restarter itself"),
            Self::CannotExecute => f.write_str("the target cannot be executed"),
            Self::NotFound => f.write_str("the target does not exist"),
            Self::NotDone => f.write_str("what was asked for is not done"),
            Self::NoAnswer => f.write_str("no restarter answers"),
            Self::Interrupted => f.write_str("interrupted from the terminal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_passes_its_status_on_as_a_shell_would() {
        assert_eq!(Exit::Epoch(Status::Exited(3)).code(), 3);
        assert_eq!(Exit::Epoch(Status::Signaled(Signal::KILL)).code(), 137);
        let last = Signal::all().last().expect("there are signals");
        assert_eq!(Exit::Epoch(Status::Signaled(last)).code(), 192);
    }
}
