//! System calls that `std` does not have.

use std::ffi::c_int;
use std::mem::MaybeUninit;

/// The kernel's set of signals; the C library's functions leave out the first real-time ones.
pub(crate) type SignalSet = u64;

/// `CLOCK_MONOTONIC`, in nanoseconds.
pub(crate) fn monotonic_ns() -> i64 {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the pointer is to a `timespec` of our own.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr()) };
    // SAFETY: all zeroes is a `timespec`, whatever the call did.
    let time = unsafe { time.assume_init() };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Changes the signal mask by `SIG_BLOCK` or `SIG_UNBLOCK`, and returns the one before.
pub(crate) fn change_mask(how: c_int, change: SignalSet) -> SignalSet {
    let mut before: SignalSet = 0;
    // SAFETY: both pointers are to sets of the size that is passed.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            how,
            &raw const change,
            &raw mut before,
            size_of::<SignalSet>(),
        );
    }
    before
}

/// What the kernel calls `struct sigaction`, on x86-64 and aarch64 alike.
#[repr(C)]
pub(crate) struct Action {
    /// The address of a handler, `SIG_DFL` or `SIG_IGN`.
    pub(crate) handler: usize,
    flags: libc::c_ulong,
    restorer: usize,
    mask: SignalSet,
}

impl Action {
    /// Default or ignored.
    pub(crate) fn plain(handler: usize) -> Self {
        Self { handler, flags: 0, restorer: 0, mask: 0 }
    }

    /// A handler that no other signal interrupts.
    pub(crate) fn handler(
        handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void),
    ) -> Self {
        const SA_RESTORER: libc::c_ulong = 0x0400_0000;
        let plain = libc::SA_SIGINFO | libc::SA_RESTART;
        let flags = libc::c_ulong::try_from(plain).expect("flags are positive") | SA_RESTORER;
        Self { handler: handler as usize, flags, restorer: restore as *const () as usize, mask: !0 }
    }
}

/// Returns from a handler; the kernel needs to be told how.
#[unsafe(naked)]
extern "C" fn restore() {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!("mov eax, 15", "syscall");
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!("mov x8, 139", "svc 0");
}

/// Sets a disposition, if one is given, and returns the one before; `None` for a signal that has
/// none to set. musl refuses signals 32 to 34, the kernel does not.
pub(crate) fn disposition(signal: c_int, action: Option<&Action>) -> Option<Action> {
    let mut before = Action::plain(libc::SIG_DFL);
    let action = action.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the action is null or alive, and a handler in it is one of ours that touches
    // atomics and its own stack alone.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            action,
            &raw mut before,
            size_of::<SignalSet>(),
        )
    };
    (result == 0).then_some(before)
}

/// Ends the process at once.
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: `_exit` does not return and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

/// Sends this process a signal.
pub(crate) fn raise(signal: c_int) {
    // SAFETY: sending a signal touches no memory of ours; musl's `raise` would be a `tkill`.
    unsafe { libc::kill(libc::getpid(), signal) };
}

/// Fails with the system's error where a call returned one.
pub(crate) fn check(what: &str, result: c_int) -> c_int {
    assert!(result != -1, "{what}: {}", std::io::Error::last_os_error());
    result
}
