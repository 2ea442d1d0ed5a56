//! The system calls that neither `std` nor `nix` has in the form that we need: the one home of
//! `unsafe`. Everything above it is safe code.

#![expect(unsafe_code, reason = "this is where the kernel's interface is made safe")]

mod allocator;
mod child;
mod pages;
mod signals;
mod wait;

use std::ffi::{CStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

pub use allocator::{Allocator, set_last_words};
pub use child::{Launch, LaunchError, launch};
pub use pages::give_back_pages;
pub use signals::{Inherited, SignalFd, give_back_signals, take_over_signals};
pub use wait::{Peek, peek, peek_at, reap, was_suspended};

use crate::signal::Signal;
use crate::supervisor::{Moment, Pid};

/// The result of a C call, with `errno` where it is −1.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same for a raw system call.
fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The arguments of `main`, which `std` does not know when the C library calls us directly.
///
/// # Safety
///
/// `count` and `values` must be those of `main`.
pub unsafe fn arguments(count: libc::c_int, values: *const *const libc::c_char) -> Vec<OsString> {
    (0..usize::try_from(count).unwrap_or(0))
        .map(|index| {
            // SAFETY: the caller passes `main`'s own arguments, so there are `count` pointers to
            // strings that live as long as the process.
            let argument = unsafe { CStr::from_ptr(*values.add(index)) };
            OsString::from_vec(argument.to_bytes().to_vec())
        })
        .collect()
}

/// Moves a descriptor of ours above standard input, output and error, whose numbers it has when
/// we were started without them: a target must not find our signals where its log should be.
pub fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(fd);
    }
    // SAFETY: `F_DUPFD_CLOEXEC` makes a new descriptor and touches no memory.
    let moved = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the kernel has just made it and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

/// Locks an open file for us alone, until it is closed.
///
/// `nix`'s lock panics where the kernel does not let it unlock.
pub fn lock_without_waiting(file: &impl AsFd) -> io::Result<()> {
    // SAFETY: the call takes two integers.
    check(unsafe { libc::flock(file.as_fd().as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
}

/// Now, by `CLOCK_MONOTONIC`.
pub fn monotonic() -> Moment {
    Moment(clock(libc::CLOCK_MONOTONIC))
}

/// The time since 1970, by `CLOCK_REALTIME`.
pub fn wall_clock() -> Duration {
    clock(libc::CLOCK_REALTIME)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the pointer is to a `timespec` of our own.
    unsafe { libc::clock_gettime(id, time.as_mut_ptr()) };
    // SAFETY: all zeroes is a `timespec`, whatever the call did.
    let time = unsafe { time.assume_init() };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A moment of UTC: year, month, day, hour, minute, second.
pub fn utc(since_1970: Duration) -> [i32; 6] {
    let seconds = since_1970.as_secs().try_into().unwrap_or(0);
    let mut date = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to values of our own.
    unsafe { libc::gmtime_r(&raw const seconds, date.as_mut_ptr()) };
    // SAFETY: all zeroes is a `tm`, whatever the call did.
    let date = unsafe { date.assume_init() };
    [date.tm_year + 1900, date.tm_mon + 1, date.tm_mday, date.tm_hour, date.tm_min, date.tm_sec]
}

/// Signals a direct child of ours that is not reaped. The number is its own until it is.
pub fn signal_child(pid: Pid, signal: Signal) -> io::Result<()> {
    assert!(pid.0 > 1, "only a child of ours is signalled");
    // SAFETY: sending a signal touches no memory of ours.
    check(unsafe { libc::kill(pid.0, signal.number()) }).map(drop)
}

/// Signals a process group whose leader is a direct child of ours that is not reaped.
pub fn signal_group(group: Pid, signal: Signal) -> io::Result<()> {
    assert!(group.0 > 1, "kill(-1) is everybody, kill(0) ourselves");
    // SAFETY: sending a signal touches no memory of ours.
    check(unsafe { libc::kill(-group.0, signal.number()) }).map(drop)
}

/// A process held by a descriptor: what is read of it under `/proc` after this was opened, and
/// before a signal through it succeeds, was no stranger's.
#[derive(Debug)]
pub struct PidFd {
    pid: Pid,
    /// `None` where it cannot be held (a kernel older than 5.3, a seccomp profile that does not
    /// know the call, no descriptor left): then its number alone must do.
    fd: Option<OwnedFd>,
}

impl PidFd {
    /// Holds a process. An error means that it is gone.
    pub fn open(pid: Pid) -> io::Result<Self> {
        // SAFETY: the call takes two integers.
        let opened = check_long(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.0, 0) });
        match opened {
            Ok(fd) => {
                let fd = RawFd::try_from(fd).expect("a descriptor is an int");
                // SAFETY: the kernel has just made it and nobody else has it.
                let fd = Some(unsafe { OwnedFd::from_raw_fd(fd) });
                Ok(Self { pid, fd })
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => {
                Err(error)
            }
            Err(_) => Ok(Self { pid, fd: None }),
        }
    }

    /// Signals it.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(fd) = &self.fd else {
            return signal_child(self.pid, signal);
        };
        let info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a null `siginfo` asks for the one that kill(2) would send.
        check_long(unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal.number(), info, 0)
        })
        .map(drop)
    }
}

/// Does nothing for a while, or for less: `std`'s sleep panics where the kernel will not have it.
pub fn pause(length: Duration) {
    let time = libc::timespec {
        tv_sec: length.as_secs().try_into().unwrap_or(0),
        tv_nsec: length.subsec_nanos().into(),
    };
    // SAFETY: the pointer is to a `timespec` of our own, and what is left is not asked for.
    unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
}

/// Ends the process at once, without unwinding or flushing.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: `_exit` does not return and touches no memory of ours.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Writes to a socket without ever waiting for its reader.
pub fn send_without_waiting(socket: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the pointer and the length are those of a slice that outlives the call.
    let sent = unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Writes to a descriptor that we do not own and must not close.
pub fn write(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of a slice that outlives the call.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

/// Writes all of it to a descriptor that we do not own, and waits for room as long as it takes:
/// for programs that end, and not for a restarter.
pub fn write_all(fd: RawFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Whoever shares it has set it so.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut asked = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
                // SAFETY: the pointer is to one record of our own.
                unsafe { libc::poll(&raw mut asked, 1, -1) };
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes what can be written without waiting; `Unsupported` where the file, or the kernel, cannot
/// promise that (a terminal, a FIFO, a kernel before 6.4).
pub fn write_without_waiting(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let here: libc::off64_t = -1;
    // SAFETY: there is one part, whose pointer and length are those of a slice that outlives the
    // call and is only read.
    let written = unsafe { libc::pwritev2(fd, &raw const part, 1, here, libc::RWF_NOWAIT) };
    usize::try_from(written).map_err(|_| {
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::ESPIPE) => {
                io::ErrorKind::Unsupported.into()
            }
            _ => error,
        }
    })
}

/// What kind of file a descriptor number leads to: the `S_IFMT` bits of its mode.
pub fn file_type(fd: RawFd) -> io::Result<libc::mode_t> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the pointer is to a `stat` of our own.
    check(unsafe { libc::fstat(fd, stat.as_mut_ptr()) })?;
    // SAFETY: the call has filled it.
    Ok(unsafe { stat.assume_init() }.st_mode & libc::S_IFMT)
}

/// How many descriptors we may have.
pub fn descriptor_limit() -> u64 {
    let mut limit = MaybeUninit::<libc::rlimit>::zeroed();
    // SAFETY: the pointer is to an `rlimit` of our own.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) };
    // SAFETY: all zeroes is an `rlimit`, whatever the call did.
    unsafe { limit.assume_init() }.rlim_cur
}

/// How many columns the terminal behind a descriptor number has, if it knows.
pub fn columns(fd: RawFd) -> Option<usize> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: the pointer is to a `winsize` of our own.
    check(unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, size.as_mut_ptr()) }).ok()?;
    // SAFETY: all zeroes is a `winsize`, whatever the call did.
    let columns = unsafe { size.assume_init() }.ws_col;
    (columns > 0).then_some(columns.into())
}

/// The process group in the foreground of the terminal behind a descriptor number; `None` when
/// it is not our controlling terminal.
pub fn foreground_group(fd: RawFd) -> Option<Pid> {
    // SAFETY: the call takes an integer.
    check(unsafe { libc::tcgetpgrp(fd) }).ok().map(Pid)
}

/// Makes a group of our session the one in the foreground. SIGTTOU is blocked in us, so that
/// this never stops us.
pub fn set_foreground_group(fd: RawFd, group: Pid) -> io::Result<()> {
    // SAFETY: the call takes two integers.
    check(unsafe { libc::tcsetpgrp(fd, group.0) }).map(drop)
}

/// Standard error, to be asked about.
pub fn stderr() -> BorrowedFd<'static> {
    // SAFETY: the number is not −1, and nobody in this process ever closes it. Where we were
    // started without it the kernel answers with an error.
    unsafe { BorrowedFd::borrow_raw(libc::STDERR_FILENO) }
}

/// Stops ourselves until somebody sends SIGCONT.
pub fn suspend() {
    // SAFETY: sending a signal touches no memory of ours.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Whether there is a process of this number, of any user.
pub fn process_exists(pid: Pid) -> bool {
    // SAFETY: signal 0 asks and sends nothing.
    match check(unsafe { libc::kill(pid.0, 0) }) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() == Some(libc::EPERM),
    }
}

/// Whether a process group has a member, of any user.
pub fn group_exists(group: Pid) -> bool {
    // kill(-1) would ask everybody, and 0 is a group outside our PID namespace.
    if group.0 <= 1 {
        return true;
    }
    // SAFETY: signal 0 asks and sends nothing.
    match check(unsafe { libc::kill(-group.0, 0) }) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() == Some(libc::EPERM),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn arguments_are_bytes() {
        let words = [&b"hot-restarter"[..], b"", b"a b", b"\xff\xfe"];
        let strings = words.map(|word| CString::new(word).expect("no zero byte"));
        let pointers = strings.each_ref().map(|string| string.as_ptr());
        // SAFETY: there are four pointers to strings that outlive the call; and none is read of none.
        let (read, none, negative) = unsafe {
            (
                arguments(4, pointers.as_ptr()),
                arguments(0, pointers.as_ptr()),
                arguments(-1, std::ptr::null()),
            )
        };
        assert_eq!(read.iter().map(|word| word.as_bytes()).collect::<Vec<_>>(), words);
        assert_eq!((none.len(), negative.len()), (0, 0));
    }

    #[test]
    fn a_descriptor_above_the_standard_ones_stays() {
        let (ours, _theirs) = io::pipe().expect("a pipe");
        let ours = OwnedFd::from(ours);
        let number = ours.as_raw_fd();
        assert_eq!(above_stdio(ours).expect("nothing to do").as_raw_fd(), number);
    }

    #[test]
    fn bytes_arrive_as_they_are() {
        let (mut ours, theirs) = io::pipe().expect("a pipe");
        assert_eq!(write(theirs.as_raw_fd(), b"a\0b").expect("there is room"), 3);
        drop(theirs);
        let mut read = Vec::new();
        io::Read::read_to_end(&mut ours, &mut read).expect("a pipe");
        assert_eq!(read, b"a\0b");
    }

    #[test]
    fn clocks_go_on() {
        let (moment, time) = (monotonic(), wall_clock());
        assert!(monotonic() >= moment);
        assert!(time.as_secs() > 1_500_000_000, "{time:?}");
    }
}
