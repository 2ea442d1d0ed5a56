//! The birth of an epoch's leader.

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use super::signals::{Inherited, set_ignored, set_mask};
use super::{check, reap};
use crate::signal::Signal;
use crate::supervisor::Pid;

/// What to execute, and with what.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The files to try, in this order, as `execvp` would.
    pub candidates: &'a [CString],
    /// The arguments, the program's name first.
    pub arguments: &'a [CString],
    /// The environment.
    pub environment: &'a [CString],
    /// The mask and the disposition that the child starts with.
    pub inherited: Inherited,
    /// The descriptor of the terminal whose foreground the child is to have.
    pub terminal: Option<c_int>,
    /// The descriptors that take the place of standard input, output and error.
    pub stdio: [Option<c_int>; 3],
}

/// Why there is no child.
#[derive(Debug)]
pub enum LaunchError {
    /// The kernel would not make a process.
    Fork(io::Error),
    /// It would not let it have what every program of ours starts with: what, and why.
    Prepare(&'static str, io::Error),
    /// None of the candidates could be executed.
    Execute(io::Error),
}

/// The child's stack. It needs a few hundred bytes; the rest is never touched.
const STACK: usize = 16 * 1024;

struct Plan {
    candidates: Vec<*const c_char>,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    inherited: Inherited,
    terminal: Option<c_int>,
    stdio: [Option<c_int>; 3],
    parent: libc::pid_t,
    /// What the child tells us through the memory that it shares.
    failure: Option<Failure>,
}

/// Why a child is none.
#[derive(Clone, Copy)]
struct Failure {
    /// What it could not do before it executed; `None` where it could not execute.
    unprepared: Option<&'static str>,
    errno: c_int,
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    let ends = std::iter::once(ptr::null());
    strings.iter().map(|string| string.as_ptr()).chain(ends).collect()
}

/// Makes a process in a group of its own and executes a program in it. When this returns, it is
/// executing that program, or there is no such process.
///
/// The child borrows our memory until it executes (`vfork`), so that nothing has to be copied
/// and its failure needs no pipe to be told through.
pub fn launch(launch: &Launch<'_>) -> Result<Pid, LaunchError> {
    let mut plan = Plan {
        candidates: pointers(launch.candidates),
        arguments: pointers(launch.arguments),
        environment: pointers(launch.environment),
        inherited: launch.inherited,
        terminal: launch.terminal,
        stdio: launch.stdio,
        // SAFETY: the call takes nothing.
        parent: unsafe { libc::getpid() },
        failure: None,
    };
    let mut stack = MaybeUninit::<[u8; STACK]>::uninit();
    let plan_pointer = &raw mut plan;
    // SAFETY: `CLONE_VFORK` suspends us until the child has executed or is gone, so stack, plan
    // and strings outlive its use of them and nobody else touches them meanwhile. Every signal
    // that could be caught is blocked in it until it gives up our memory, and we catch none.
    // The top of the stack is within one past the end of the array, and aligned.
    let pid = unsafe {
        let top = stack.as_mut_ptr().cast::<u8>().add(STACK);
        let top = top.sub(top.addr() % 16);
        libc::clone(
            become_target,
            top.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            plan_pointer.cast(),
        )
    };
    let pid = Pid(check(pid).map_err(LaunchError::Fork)?);
    // SAFETY: the plan is ours again, and alive; read afresh, since the child may have written.
    let Some(Failure { unprepared, errno }) = (unsafe { (*plan_pointer).failure }) else {
        return Ok(pid);
    };
    // It is a zombie, or about to be one; its status says nothing that we do not know.
    let _ = reap(pid);
    let error = io::Error::from_raw_os_error(errno);
    Err(match unprepared {
        Some(what) => LaunchError::Prepare(what, error),
        None => LaunchError::Execute(error),
    })
}

/// Gives a child its group, its descriptors and its signals. Without its own group no signal would
/// reach what it forks, and with our mask it would be deaf: then there is none. An error says what
/// it could not have. (An `io::Error` of an error number needs no memory.)
fn prepare(plan: &Plan) -> Result<(), (&'static str, io::Error)> {
    let or = |what| move |error| (what, error);
    // SAFETY: these calls take integers.
    unsafe {
        check(libc::setpgid(0, 0)).map_err(or("give it a process group"))?;
        if let Some(terminal) = plan.terminal {
            // SIGTTOU is still blocked, so that the background may do this. That it goes without
            // the foreground is no reason to go without it.
            libc::tcsetpgrp(terminal, libc::getpid());
        }
        for (place, fd) in (0..).zip(plan.stdio) {
            if let Some(fd) = fd.filter(|fd| *fd != place) {
                check(libc::dup2(fd, place)).map_err(or("give it its input and output"))?;
            }
        }
    }
    if plan.inherited.child_ignored {
        set_ignored(Signal::CHLD, true).map_err(or("give it its signals"))?;
    }
    set_mask(plan.inherited.mask).map_err(or("give it its signals")).map(drop)
}

/// The child's life until it executes: system calls only, since the memory is our parent's.
extern "C" fn become_target(plan: *mut c_void) -> c_int {
    // SAFETY: `launch` passes its plan, and is suspended while we use it.
    let plan = unsafe { &mut *plan.cast::<Plan>() };
    // SAFETY: these calls take integers, and pointers to what the plan owns: arrays that end
    // with a null pointer, of strings that end with a zero.
    unsafe {
        // The signal is for the death of the thread that forked; we have one.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
        // 0 is a parent outside our PID namespace, as after `unshare --pid` without `--fork`.
        let parent = libc::getppid();
        if parent != 0 && parent != plan.parent {
            // Our parent died before the signal was set, and took the memory's owner with it.
            libc::_exit(0);
        }
        if let Err((what, error)) = prepare(plan) {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            plan.failure = Some(Failure { unprepared: Some(what), errno });
            libc::_exit(127);
        }
        let mut errno = libc::ENOENT;
        for candidate in plan.candidates.iter().filter(|path| !path.is_null()) {
            libc::execve(*candidate, plan.arguments.as_ptr(), plan.environment.as_ptr());
            match io::Error::last_os_error().raw_os_error() {
                // Not in this folder; perhaps in the next.
                Some(libc::ENOENT | libc::ENOTDIR) | None => {}
                // A later folder may have one that may be executed; if none has, this is why.
                Some(libc::EACCES) => errno = libc::EACCES,
                Some(other) => {
                    errno = other;
                    break;
                }
            }
        }
        plan.failure = Some(Failure { unprepared: None, errno });
        libc::_exit(127)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn an_array_of_pointers_ends_with_none() {
        let strings = ["a", "", "b c"].map(|text| CString::new(text).expect("no zero byte"));
        let array = pointers(&strings);
        // SAFETY: the strings outlive their pointers.
        let read = |pointer: &*const c_char| unsafe { CStr::from_ptr(*pointer) }.to_owned();
        let (end, all) = array.split_last().expect("it ends");
        assert!(end.is_null());
        assert_eq!(all.iter().map(read).collect::<Vec<_>>(), strings);
        assert_eq!(pointers(&[]), [ptr::null()]);
    }
}
