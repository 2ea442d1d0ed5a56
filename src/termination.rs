//! The termination log: the file in which kubelet looks for the reason of a container's end.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::log;
use crate::supervisor::{Notice, What};

/// Where kubelet mounts it unless a pod says otherwise.
const DEFAULT: &str = "/dev/termination-log";

/// What will be written there, should we end for a bad reason.
#[derive(Debug)]
pub struct Termination {
    /// `--termination-log`.
    path: Option<PathBuf>,
    reason: Option<String>,
}

impl Termination {
    /// One that knows no reason yet.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, reason: None }
    }

    /// Remembers a notice that tells why we end. The first one is the reason, what follows from
    /// it is none.
    pub fn notice(&mut self, notice: &Notice) {
        if self.reason.is_none() {
            self.reason = reason(notice);
        }
    }

    /// Adds what became of the processes that were left.
    pub fn add(&mut self, what: &str) {
        if let Some(reason) = &mut self.reason {
            reason.push_str(what);
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(DEFAULT))
    }

    /// The reason, as far as a notice has told one.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Writes the reason, which is `otherwise` where no notice has told one.
    pub fn write(&self, otherwise: &str) -> io::Result<()> {
        write(self.path.as_deref(), self.reason().unwrap_or(otherwise))
    }
}

/// Replaces the content of the file by this, as one line. See [`put`].
pub fn write(path: Option<&Path>, reason: &str) -> io::Result<()> {
    put(path, log::one_line(reason).as_bytes())
}

/// Replaces the content of the file by this line. For a path of usual length it needs no memory.
///
/// A file that the user has named is made where it is missing; the usual one is kubelet's to make.
/// Nothing here waits: neither for the reader of a FIFO nor for room in it.
pub fn put(path: Option<&Path>, line: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .truncate(true)
        .create(path.is_some())
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .mode(0o644)
        .open(path.unwrap_or(Path::new(DEFAULT)));
    match file {
        // One write: where there is room for half a reason, that is better than none.
        Ok(mut file) => file.write(line).map(drop),
        Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The sentence of a notice that tells why we end.
fn reason(notice: &Notice) -> Option<String> {
    let subject = || {
        let number = notice.epoch.map(|epoch| format!("epoch {epoch}"));
        let pid = notice.pid.map(|pid| format!(" (pid {pid})"));
        number.unwrap_or_default() + pid.as_deref().unwrap_or_default()
    };
    if let What::EndedUnexpectedly { end } = notice.what {
        Some(format!("{} ended unexpectedly: {end}", subject()))
    } else if let What::EndedServing { end } = notice.what {
        Some(format!("{} ended unexpectedly: {end} when it had taken over", subject()))
    } else if let What::NotStarted { why } = &notice.what {
        Some(format!("{} could not be started: {why}", subject()))
    } else if let What::TermWaitOver { .. } = notice.what {
        Some(notice.what.to_string())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::exit::{Exit, Status};
    use crate::signal::Signal;
    use crate::supervisor::{End, Pid, StopReason};

    fn of_epoch(what: What) -> Notice {
        Notice { epoch: Some(3), pid: Some(Pid(17)), what }
    }

    fn end(status: Status) -> End {
        End { status, out_of_memory: None }
    }

    fn of_us(what: What) -> Notice {
        Notice { epoch: None, pid: None, what }
    }

    fn ended(status: Status, out_of_memory: Option<u64>) -> Notice {
        of_epoch(What::EndedUnexpectedly { end: End { status, out_of_memory } })
    }

    fn term_wait_over() -> Notice {
        of_us(What::TermWaitOver { epochs: 1, term_wait: Duration::from_secs(30) })
    }

    #[test]
    fn the_reason_is_a_sentence() {
        let killed = Status::Signaled(Signal::KILL);
        let why = "start.sh does not exist".to_owned();
        let cases = [
            (ended(Status::Exited(1), None), "epoch 3 (pid 17) ended unexpectedly: exited with 1"),
            (
                ended(killed, Some(1)),
                "epoch 3 (pid 17) ended unexpectedly: was ended by SIGKILL (out of memory: the \
                 kernel's out-of-memory killer struck in this cgroup, 1×)",
            ),
            (
                of_epoch(What::EndedServing { end: end(Status::Exited(7)) }),
                "epoch 3 (pid 17) ended unexpectedly: exited with 7 when it had taken over",
            ),
            (
                Notice { epoch: Some(0), pid: None, what: What::NotStarted { why } },
                "epoch 0 could not be started: start.sh does not exist",
            ),
            (
                term_wait_over(),
                "30 s (--term-wait) are over with 1 epoch left; killing what is left",
            ),
        ];
        for (notice, expected) in cases {
            assert_eq!(reason(&notice).as_deref(), Some(expected));
        }
        let (why, term_wait) = (StopReason::Signal(Signal::TERM), Duration::from_secs(30));
        for what in [
            What::Started,
            What::Ended { end: end(Status::Exited(1)) },
            What::RestartRefused { why: "the check failed".to_owned() },
            What::Stopping { reason: why, epochs: 1, term_wait },
            What::Exiting { exit: Exit::Killed, survivors: false },
        ] {
            assert_eq!(reason(&of_epoch(what)), None);
        }
    }

    #[test]
    fn the_first_reason_stays() {
        let mut termination = Termination::new(None);
        termination.add("nothing to add to");
        assert_eq!(termination.reason, None);
        termination.notice(&ended(Status::Exited(1), None));
        termination.notice(&term_wait_over());
        termination.add("; and more");
        let expected = "epoch 3 (pid 17) ended unexpectedly: exited with 1; and more";
        assert_eq!(termination.reason.as_deref(), Some(expected));
    }
}
