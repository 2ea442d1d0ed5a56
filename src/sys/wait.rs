//! Children that have ended: peek first, reap later.

use std::io;
use std::mem::MaybeUninit;

use super::check;
use crate::signal::Signal;
use crate::supervisor::{Pid, Status};

/// What the kernel says of our children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// This one has ended and still holds its number.
    Ended(Pid, Status),
    /// There are children, and none of them has ended.
    Nothing,
    /// There is no child.
    Childless,
}

/// Looks for a child that has ended, and leaves it as it is, so that its group can be signalled
/// while its number is its own.
pub fn peek() -> io::Result<Peek> {
    match wait(libc::P_ALL, 0, libc::WNOHANG | libc::WNOWAIT) {
        Ok(Some((pid, status))) => Ok(Peek::Ended(pid, status)),
        Ok(None) => Ok(Peek::Nothing),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(Peek::Childless),
        Err(error) => Err(error),
    }
}

/// The same for one child: how it has ended, if it has.
pub fn peek_at(pid: Pid) -> io::Result<Option<Status>> {
    let id = libc::id_t::try_from(pid.0).expect("a child's pid is positive");
    let ended = wait(libc::P_PID, id, libc::WNOHANG | libc::WNOWAIT)?;
    Ok(ended.map(|(_, status)| status))
}

/// Whether a child has been stopped by SIGTSTP, which is Ctrl-Z, since this was last asked.
pub fn was_suspended(pid: Pid) -> bool {
    let id = libc::id_t::try_from(pid.0).expect("a child's pid is positive");
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the pointer is to a `siginfo_t` of our own.
    let result =
        unsafe { libc::waitid(libc::P_PID, id, info.as_mut_ptr(), libc::WSTOPPED | libc::WNOHANG) };
    // SAFETY: it was zeroed, and the kernel fills it with a child's information or leaves it.
    let info = unsafe { info.assume_init() };
    // SAFETY: these fields are valid for what `waitid` returns, and zero where it found nothing.
    let (found, status) = unsafe { (info.si_pid(), info.si_status()) };
    let stopped = result == 0 && found == pid.0 && info.si_code == libc::CLD_STOPPED;
    stopped && status == libc::SIGTSTP
}

/// Reaps one child; waits for it where it has not ended yet.
pub fn reap(pid: Pid) -> io::Result<()> {
    let id = libc::id_t::try_from(pid.0).expect("a child's pid is positive");
    wait(libc::P_PID, id, 0).map(drop)
}

/// `waitid`, not `waitpid`: it knows real-time signals, and it can peek.
fn wait(kind: libc::idtype_t, id: libc::id_t, options: i32) -> io::Result<Option<(Pid, Status)>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    loop {
        // SAFETY: the pointer is to a `siginfo_t` of our own.
        let result = unsafe { libc::waitid(kind, id, info.as_mut_ptr(), libc::WEXITED | options) };
        match check(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    // SAFETY: it was zeroed, and the kernel fills it with a child's information or leaves it.
    Ok(end_in(&unsafe { info.assume_init() }))
}

/// Who has ended, and how; `None` where nobody has.
fn end_in(info: &libc::siginfo_t) -> Option<(Pid, Status)> {
    // SAFETY: these fields are valid for what `waitid` returns, and zero where it found nothing.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return None;
    }
    let status = if info.si_code == libc::CLD_EXITED {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Status::Exited(status as u8)
    } else {
        Status::Signaled(Signal::from_number(status).unwrap_or(Signal::KILL))
    };
    Some((Pid(pid), status))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `waitid` fills in, at its place in `siginfo_t`: number, error, code; from offset 16 on
    /// 64-bit machines pid, user and status (`asm-generic/siginfo.h`).
    fn filled(code: i32, pid: i32, status: i32) -> libc::siginfo_t {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let words = info.as_mut_ptr().cast::<i32>();
        // SAFETY: the structure has 128 bytes and is aligned for more than these integers; all
        // zeroes is one.
        unsafe {
            words.write(libc::SIGCHLD);
            words.add(2).write(code);
            words.add(4).write(pid);
            words.add(6).write(status);
            info.assume_init()
        }
    }

    #[test]
    fn an_end_is_read_from_what_the_kernel_fills_in() {
        let exited = |status| end_in(&filled(libc::CLD_EXITED, 7, status));
        for code in [0, 1, 255] {
            assert_eq!(exited(i32::from(code)), Some((Pid(7), Status::Exited(code))));
        }
        for how in [libc::CLD_KILLED, libc::CLD_DUMPED] {
            for signal in Signal::all() {
                let end = end_in(&filled(how, i32::MAX, signal.number()));
                assert_eq!(end, Some((Pid(i32::MAX), Status::Signaled(signal))));
            }
        }
        assert_eq!(end_in(&filled(0, 0, 0)), None, "as it was before the call");
    }
}
