//! What becomes of signals.

use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::kernel::{self, Action, SignalSet};
use crate::voice::say;

/// What a handler does after it has said its signal: nothing, die by it, fork, or exit with the code.
static THEN: [AtomicI32; 65] = [const { AtomicI32::new(NOTHING) }; 65];
const NOTHING: i32 = -1;
/// Above every exit code.
const DIE: i32 = 256;
const FORK: i32 = 257;

const NAMES: [(&str, c_int); 17] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("WINCH", libc::SIGWINCH),
    ("SEGV", libc::SIGSEGV),
];

/// A signal by its name or number.
pub(crate) fn parse(word: &str) -> c_int {
    let named = NAMES.iter().find(|(name, _)| *name == word).map(|(_, number)| *number);
    named.or_else(|| word.parse().ok()).unwrap_or_else(|| panic!("{word} is no signal"))
}

/// The signals of a list; of `all`, those that can be caught and mean no fault of our own.
pub(crate) fn parse_list(list: &str) -> Vec<c_int> {
    if list != "all" {
        return list.split(',').map(parse).collect();
    }
    let uncatchable = [libc::SIGKILL, libc::SIGSTOP];
    let faults = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];
    (1..=64).filter(|signal| !uncatchable.contains(signal) && !faults.contains(signal)).collect()
}

/// The kernel's set of these.
pub(crate) fn set(signals: &[c_int]) -> SignalSet {
    signals.iter().fold(0, |set, signal| set | 1 << (signal - 1))
}

extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo` to a handler that asked for one.
    let info = unsafe { &*info };
    // What the kernel itself raises has a positive code and no sender.
    let from_process = info.si_code <= 0;
    // SAFETY: the field is valid for signals that a process sent.
    let sender = if from_process { unsafe { info.si_pid() } } else { 0 };
    say(format_args!("signal {signal} {} {sender}", kernel::monotonic_ns()));
    let then = usize::try_from(signal).map_or(NOTHING, |at| THEN[at].load(Ordering::Relaxed));
    match then {
        NOTHING => {}
        DIE => die(signal),
        FORK => fork(signal),
        code => kernel::exit(code),
    }
}

/// Says a signal when it comes.
pub(crate) fn catch(signal: c_int) {
    let set = kernel::disposition(signal, Some(&Action::handler(handle)));
    assert!(set.is_some(), "{signal} cannot be caught");
}

/// Says a signal when it comes, and exits with the code.
pub(crate) fn exit_on(signal: c_int, code: i32) {
    then(signal, code);
}

/// Says a signal when it comes, and dies by it.
pub(crate) fn die_on(signal: c_int) {
    then(signal, DIE);
}

/// Says a signal when it comes, and forks.
pub(crate) fn fork_on(signal: c_int) {
    then(signal, FORK);
}

/// Forks a child that some time later catches this signal no more, as one that executes a program.
fn fork(signal: c_int) {
    // SAFETY: there is one thread, and what the child does may be done in a handler.
    if unsafe { libc::fork() } != 0 {
        return;
    }
    let time = libc::timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    // SAFETY: the pointer is to a value of our own, and what is left is not asked for.
    unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
    set_plain(&[signal], libc::SIG_DFL);
    // In a handler others are blocked as well.
    kernel::change_mask(libc::SIG_UNBLOCK, !0);
    say(format_args!("say forked"));
    loop {
        // SAFETY: the call takes nothing.
        unsafe { libc::pause() };
    }
}

fn then(signal: c_int, what: i32) {
    let at = usize::try_from(signal).expect("a signal is positive");
    THEN[at].store(what, Ordering::Relaxed);
    catch(signal);
}

/// Makes signals default (`SIG_DFL`) or ignored (`SIG_IGN`).
pub(crate) fn set_plain(signals: &[c_int], handler: libc::sighandler_t) {
    for signal in signals {
        kernel::disposition(*signal, Some(&Action::plain(handler)));
    }
}

/// Ends by a signal, without a core dump, whatever mask and dispositions are.
pub(crate) fn die(signal: c_int) -> ! {
    // SAFETY: the call takes integers.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
    set_plain(&[signal], libc::SIG_DFL);
    kernel::raise(signal);
    kernel::change_mask(libc::SIG_UNBLOCK, set(&[signal]));
    panic!("{signal} does not end a process");
}
