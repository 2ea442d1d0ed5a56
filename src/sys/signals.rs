//! Our own signal mask, and the descriptor that signals are read from.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{above_stdio, check, check_long};
use crate::signal::{Meaning, Signal};

/// A signal set as the kernel has it. The C library's own `sigset_t` functions leave out the
/// real-time signals 32 to 34, so the system calls are made directly.
type KernelSet = u64;

/// What an epoch gets back that we were started with. We set no handler, so every disposition
/// but this one is still what it was, SIGPIPE's included.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    pub(super) mask: KernelSet,
    pub(super) child_ignored: bool,
}

/// Signals as something that `poll` can wait for.
///
/// A signalfd rather than handlers: one call at the start instead of sixty, nothing of ours runs
/// in a signal's context, dispositions stay as inherited, and a signal that PID 1 has no handler
/// for is kept while it is blocked. That a blocked mask passes to children is undone by
/// [`super::launch`].
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

fn set(wanted: impl Fn(Meaning) -> bool) -> KernelSet {
    Signal::all()
        .filter(|signal| wanted(signal.meaning()))
        .fold(0, |set, signal| set | signal.bit())
}

/// Sets the mask of this thread, and returns the one before.
pub(super) fn set_mask(mask: KernelSet) -> io::Result<KernelSet> {
    let mut before: KernelSet = 0;
    // SAFETY: both pointers are to sets of the size that is passed.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut before,
            size_of::<KernelSet>(),
        )
    })?;
    Ok(before)
}

/// Makes a signal default or ignored, and says whether it was ignored before.
pub(super) fn set_ignored(signal: Signal, ignored: bool) -> io::Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zeroes is an action: the default one, with no flags and an empty mask. The
    // pointers are to values of our own.
    unsafe {
        (*action.as_mut_ptr()).sa_sigaction = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
        check(libc::sigaction(signal.number(), action.as_ptr(), before.as_mut_ptr()))?;
        Ok(before.assume_init().sa_sigaction == libc::SIG_IGN)
    }
}

/// Blocks every signal that is not a fault of our own, and opens the descriptor for those that
/// mean something. The first thing that we do: what arrives from here on is not lost.
///
/// A blocked SIGTTOU, SIGTTIN, SIGPIPE or SIGXFSZ is as good as an ignored one, and none of them
/// wakes us.
pub fn take_over_signals() -> io::Result<(SignalFd, Inherited)> {
    let blocked = set(|meaning| !matches!(meaning, Meaning::Fault | Meaning::Uncatchable));
    let mask = set_mask(blocked)?;
    // While SIGCHLD is ignored the kernel reaps for us and forgets the status.
    let child_ignored = set_ignored(Signal::CHLD, false)?;
    let heard =
        set(|meaning| !matches!(meaning, Meaning::Fault | Meaning::Uncatchable | Meaning::Ignored));
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the pointer is to a set of the size that is passed.
    let fd = check_long(unsafe {
        libc::syscall(libc::SYS_signalfd4, -1, &raw const heard, size_of::<KernelSet>(), flags)
    })?;
    let fd = RawFd::try_from(fd).expect("a descriptor is an int");
    // SAFETY: the kernel has just made it and nobody else has it.
    let fd = above_stdio(unsafe { OwnedFd::from_raw_fd(fd) })?;
    Ok((SignalFd(fd), Inherited { mask, child_ignored }))
}

/// Undoes [`take_over_signals`], for a client, on which signals are to work as on any program.
pub fn give_back_signals(inherited: Inherited) -> io::Result<()> {
    if inherited.child_ignored {
        set_ignored(Signal::CHLD, true)?;
    }
    set_mask(inherited.mask).map(drop)
}

impl SignalFd {
    /// At most this many are read at once: all the standard ones, which the kernel hands out
    /// first, and some real-time ones. The rest waits for the next turn.
    const AT_ONCE: usize = 64;

    /// Reads the signals that wait.
    pub fn read(&self, signals: &mut impl Extend<Signal>) -> io::Result<()> {
        let mut read = [const { MaybeUninit::<libc::signalfd_siginfo>::uninit() }; Self::AT_ONCE];
        let room = size_of_val(&read);
        // SAFETY: the pointer and the length are those of an array of our own.
        let bytes = unsafe { libc::read(self.0.as_raw_fd(), read.as_mut_ptr().cast(), room) };
        let bytes = match check(i32::try_from(bytes).unwrap_or(-1)) {
            Ok(bytes) => usize::try_from(bytes).unwrap_or(0),
            Err(error) if is_for_later(&error) => 0,
            Err(error) => return Err(error),
        };
        for info in &read[..bytes / size_of::<libc::signalfd_siginfo>()] {
            // SAFETY: the kernel writes whole records, and this one is within what it wrote.
            let number = unsafe { info.assume_init_ref() }.ssi_signo;
            signals.extend(i32::try_from(number).ok().and_then(Signal::from_number));
        }
        Ok(())
    }

    /// Reads one that stops us, and leaves all others where they are.
    pub fn read_stop(&self, signals: &mut impl Extend<Signal>) -> io::Result<()> {
        let stops = set(|meaning| meaning == Meaning::Stop);
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let nothing = std::ptr::null_mut::<libc::siginfo_t>();
        // SAFETY: the pointers are to a set of the size that is passed and to a time of our own, and
        // more than its number is not asked for.
        let number = check_long(unsafe {
            let size = size_of::<KernelSet>();
            libc::syscall(
                libc::SYS_rt_sigtimedwait,
                &raw const stops,
                nothing,
                &raw const now,
                size,
            )
        });
        match number {
            Ok(number) => signals.extend(i32::try_from(number).ok().and_then(Signal::from_number)),
            Err(error) if is_for_later(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Whether there is nothing now: then `poll` tells when there is.
fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    /// Records as the kernel writes them: the number first, 128 bytes in all (signalfd(2)).
    fn records(numbers: &[u32]) -> Vec<u8> {
        let record = |number: &u32| [&number.to_ne_bytes()[..], &[0xa5; 124]].concat();
        numbers.iter().flat_map(record).collect()
    }

    fn read(bytes: &[u8]) -> Vec<Signal> {
        let (ours, theirs) = io::pipe().expect("a pipe");
        File::from(OwnedFd::from(theirs)).write_all(bytes).expect("it has room");
        let mut signals = Vec::new();
        SignalFd(ours.into()).read(&mut signals).expect("it can be read");
        signals
    }

    #[test]
    fn the_signals_that_wait_are_read_at_once() {
        assert_eq!(size_of::<libc::signalfd_siginfo>(), 128);
        let all: Vec<u32> = (1..=64).collect();
        assert_eq!(read(&records(&all)), Signal::all().collect::<Vec<_>>());
        assert_eq!(read(&records(&[15, 1, 64])).len(), 3);
        assert_eq!(read(&[]), [], "as where there is none");
    }

    #[test]
    fn what_is_no_signal_or_no_whole_record_is_none() {
        assert_eq!(read(&records(&[0, 65, u32::MAX, 15])), [Signal::TERM]);
        let cut = &records(&[15, 1])[..200];
        assert_eq!(read(cut), [Signal::TERM]);
    }

    #[test]
    fn more_than_fit_are_left_for_the_next_time() {
        let many = vec![1; SignalFd::AT_ONCE + 3];
        assert_eq!(read(&records(&many)).len(), SignalFd::AT_ONCE);
    }

    #[test]
    fn a_set_has_the_kernels_bits() {
        let stop = set(|meaning| meaning == Meaning::Stop);
        assert_eq!(stop, 1 << (libc::SIGTERM - 1) | 1 << (libc::SIGINT - 1));
    }
}
