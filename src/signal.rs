//! Signals: their numbers, their names, and what each one means to a restarter.

use std::fmt;
use std::str::FromStr;

/// A signal by its kernel number, 1 to 64, real-time signals included.
///
/// `nix` and the C library know no name for real-time signals, and musl's own `SIGRTMIN` is 35,
/// so the kernel's numbers are what we count in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// What a signal that reaches us means. The order of the variants is the order in which signals
/// that arrive together are handled, whatever order the kernel reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// Stop cleanly.
    Stop,
    /// A child has ended; reap.
    Reap,
    /// Hot restart.
    Restart,
    /// Reopen logs: to the processes of ready epochs that catch it.
    Reopen,
    /// Forwarded to the process group of every living epoch.
    ToGroups,
    /// Forwarded to the processes of every living epoch that catch it.
    ToCatchers,
    /// The kernel raises it for our own terminal, log or C library; ignored, never forwarded.
    Ignored,
    /// A fault of our own, left to the kernel.
    Fault,
    /// Cannot be caught by anyone.
    Uncatchable,
}

/// The names that Linux gives to the signals below the real-time ones.
const NAMES: [(&str, i32); 31] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// The first real-time signal as people count on their hosts; glibc keeps 32 and 33 for itself.
const REAL_TIME_MIN: u8 = 34;
/// The last signal that Linux has on x86-64 and aarch64.
const MAX: u8 = 64;

impl Signal {
    /// Hot restart.
    pub const HUP: Self = Self::of(libc::SIGHUP);
    /// Stop, as a terminal asks for it.
    pub const INT: Self = Self::of(libc::SIGINT);
    /// The end that nobody can catch.
    pub const KILL: Self = Self::of(libc::SIGKILL);
    /// The end that nobody can catch.
    pub const STOP: Self = Self::of(libc::SIGSTOP);
    /// Reopen logs.
    pub const USR1: Self = Self::of(libc::SIGUSR1);
    /// Stop.
    pub const TERM: Self = Self::of(libc::SIGTERM);
    /// A child has ended.
    pub const CHLD: Self = Self::of(libc::SIGCHLD);
    /// Go on, after a stop of the job-control kind.
    pub const CONT: Self = Self::of(libc::SIGCONT);

    /// The signal of one of the C library's numbers.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    const fn of(number: i32) -> Self {
        assert!(number >= 1 && number <= MAX as i32);
        Self(number as u8)
    }

    /// The signal with this kernel number; `None` outside 1 to 64.
    pub fn from_number(number: i32) -> Option<Self> {
        (1..=i32::from(MAX)).contains(&number).then(|| Self::of(number))
    }

    /// Every signal there is, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=MAX).map(Self)
    }

    /// The kernel's number.
    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// The bit that stands for this signal in a kernel signal set, `SigCgt` included.
    pub const fn bit(self) -> u64 {
        1 << (self.0 - 1)
    }

    /// What it means when it reaches us.
    pub fn meaning(self) -> Meaning {
        match self.number() {
            libc::SIGTERM | libc::SIGINT => Meaning::Stop,
            libc::SIGCHLD => Meaning::Reap,
            libc::SIGHUP => Meaning::Restart,
            libc::SIGUSR1 => Meaning::Reopen,
            libc::SIGQUIT | libc::SIGCONT => Meaning::ToGroups,
            // 32 and 33 belong to the C libraries' threads; a stray one must not end us either.
            libc::SIGTTIN | libc::SIGTTOU | libc::SIGPIPE | libc::SIGXFSZ | 32 | 33 => {
                Meaning::Ignored
            }
            libc::SIGSEGV
            | libc::SIGBUS
            | libc::SIGILL
            | libc::SIGFPE
            | libc::SIGABRT
            | libc::SIGTRAP
            | libc::SIGSYS => Meaning::Fault,
            libc::SIGKILL | libc::SIGSTOP => Meaning::Uncatchable,
            _ => Meaning::ToCatchers,
        }
    }
}

/// `SIGTERM`, `SIGRTMIN+3`; `SIG32` for the two that have no name.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = NAMES.iter().find(|(_, number)| *number == self.number()) {
            return write!(f, "SIG{name}");
        }
        match self.0.checked_sub(REAL_TIME_MIN) {
            Some(0) => f.write_str("SIGRTMIN"),
            Some(above) => write!(f, "SIGRTMIN+{above}"),
            None => write!(f, "SIG{}", self.0),
        }
    }
}

/// A word that names no signal.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownSignal;

impl fmt::Display for UnknownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such signal; give a name (TERM, SIGTERM, RTMIN+3) or a number (1 to 64)")
    }
}

impl std::error::Error for UnknownSignal {}

/// Reads `TERM`, `SIGTERM`, `term`, `15`, `RTMIN+3` and `RTMAX-1`, as `kill` and images do.
impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(word: &str) -> Result<Self, UnknownSignal> {
        let upper = word.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(Self::of(*number));
        }
        let offset = |digits: &str| digits.parse::<u8>().map_err(|_| UnknownSignal);
        let number = match name {
            "RTMIN" => Some(REAL_TIME_MIN),
            "RTMAX" => Some(MAX),
            _ => {
                if let Some(above) = name.strip_prefix("RTMIN+") {
                    REAL_TIME_MIN.checked_add(offset(above)?)
                } else if let Some(below) = name.strip_prefix("RTMAX-") {
                    MAX.checked_sub(offset(below)?).filter(|number| *number >= REAL_TIME_MIN)
                } else {
                    Some(offset(name)?)
                }
            }
        };
        number.and_then(|number| Self::from_number(i32::from(number))).ok_or(UnknownSignal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for signal in Signal::all() {
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
        assert_eq!("term".parse(), Ok(Signal::TERM));
        assert_eq!("9".parse(), Ok(Signal::KILL));
        assert_eq!("RTMAX-1".parse(), Ok(Signal(63)));
        for bad in ["", "SIG", "0", "65", "-1", "RTMIN+31", "RTMAX-31", "RTMIN+", "TERMS"] {
            assert_eq!(bad.parse::<Signal>(), Err(UnknownSignal), "{bad}");
        }
    }

    #[test]
    fn real_time_signals_count_from_34() {
        assert_eq!("RTMIN".parse(), Ok(Signal(34)));
        assert_eq!(Signal(37).to_string(), "SIGRTMIN+3");
    }

    #[test]
    fn signals_that_arrive_together_have_an_order() {
        let mut together = [Signal(40), Signal::USR1, Signal::HUP, Signal::CHLD, Signal::TERM];
        together.sort_by_key(|signal| signal.meaning());
        assert_eq!(together, [Signal::TERM, Signal::CHLD, Signal::HUP, Signal::USR1, Signal(40)]);
    }
}
