//! A filter by which the kernel asks us before each system call of a process and of whatever that
//! forks (`seccomp_unotify(2)`), and the calls that come of it.
//!
//! Unlike a tracer it leaves a process what it is to its parent and to its children, and stops it
//! for nothing but the calls.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

/// `SECCOMP_SET_MODE_FILTER`, `linux/seccomp.h`.
const SET_FILTER: libc::c_uint = 1;
/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`, from the same place.
const CONTINUE: u32 = 1;
/// The length of a message's control data: its header and one descriptor, rounded up.
const CONTROL: u8 = 24;

/// Has the kernel ask before each call that a command makes once it is started. Whom it asks is
/// sent to the socket.
pub(super) fn watch(command: &mut Command) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    // SAFETY: the closure makes system calls, on what it owns and on its stack.
    unsafe { command.pre_exec(move || hand_over(theirs.as_raw_fd())) };
    ours
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Installs the filter and sends its other end, with the one call that it lets pass.
fn hand_over(socket: RawFd) -> io::Result<()> {
    // Without us every call would fail for ever.
    // SAFETY: the call takes integers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let word = |place: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, place);
    let unless = |value: u32, skipped: u8| libc::sock_filter {
        jf: skipped,
        ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value)
    };
    let answer = |answer: u32| statement(libc::BPF_RET | libc::BPF_K, answer);
    let [sendmsg, socket_number] =
        [libc::SYS_sendmsg, socket.into()].map(|it| u32::try_from(it).unwrap_or(0));
    // The number of a call, and the lower half of its first argument, in `struct seccomp_data`.
    let mut filter = [
        word(0),
        unless(sendmsg, 3),
        word(16),
        unless(socket_number, 1),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(libc::SECCOMP_RET_USER_NOTIF),
    ];
    let program = libc::sock_fprog { len: 6, filter: filter.as_mut_ptr() };
    // A signal that comes meanwhile has to wait for our answer, so that no call is made twice.
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: the program outlives the call, and is as long as it says.
    let listener =
        unsafe { libc::syscall(libc::SYS_seccomp, SET_FILTER, flags, &raw const program) };
    let listener = i32::try_from(check(listener)?).unwrap_or(-1);
    let mut byte = [0_u8; 1];
    message(&mut byte, |message| {
        // SAFETY: the header lies within the control data, and a descriptor behind it.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(4) as _;
            ptr::write_unaligned(libc::CMSG_DATA(header).cast(), listener);
            check(libc::sendmsg(socket, message, 0) as libc::c_long)
        }
    })
    .map(drop)
}

fn statement(code: u32, value: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).unwrap_or(0), jt: 0, jf: 0, k: value }
}

/// The other end of a filter that has been sent; `None` where nobody sends it.
pub(super) fn listener(socket: &UnixStream) -> Option<OwnedFd> {
    let mut byte = [0_u8; 1];
    message(&mut byte, |message| {
        // SAFETY: where there is a header, it lies within the control data with what follows it.
        unsafe {
            let received = libc::recvmsg(socket.as_raw_fd(), message, libc::MSG_CMSG_CLOEXEC);
            let header = libc::CMSG_FIRSTHDR(message);
            let has_one = received == 1 && !header.is_null();
            has_one.then(|| {
                let fd = ptr::read_unaligned(libc::CMSG_DATA(header).cast());
                OwnedFd::from_raw_fd(fd)
            })
        }
    })
}

/// Uses a message of one byte with room for a descriptor.
fn message<T>(byte: &mut [u8; 1], with: impl FnOnce(&mut libc::msghdr) -> T) -> T {
    let mut control = [0_u64; CONTROL as usize / 8];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: all zeroes is a message, of nothing.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL.into();
    with(&mut message)
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is made.
    Made,
    /// It is not made, and fails.
    Errno(i32),
    /// It is not made, and returns this.
    Value(i64),
}

/// Answers for each call, until nobody is left who could make one.
pub(super) fn serve(
    listener: &OwnedFd,
    mut answer: impl FnMut(i32, &libc::seccomp_data) -> Answer,
) {
    let listener = listener.as_raw_fd();
    loop {
        let mut ready = libc::pollfd { fd: listener, events: libc::POLLIN, revents: 0 };
        // SAFETY: the call reads and writes one structure of our own.
        unsafe { libc::poll(&raw mut ready, 1, -1) };
        if ready.revents & libc::POLLIN == 0 {
            if ready.revents != 0 {
                return;
            }
            continue;
        }
        // The kernel wants it empty.
        let mut call = MaybeUninit::<libc::seccomp_notif>::zeroed();
        // SAFETY: the call fills in a structure of our own, of the size that its number tells.
        let received =
            unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV as _, &raw mut call) };
        if received != 0 {
            // Who called is dead.
            continue;
        }
        // SAFETY: the kernel has filled it in; all zeroes is one as well.
        let call = unsafe { call.assume_init() };
        let (val, error, flags) = match answer(call.pid.cast_signed(), &call.data) {
            Answer::Made => (0, 0, CONTINUE),
            Answer::Errno(errno) => (0, -errno, 0),
            Answer::Value(value) => (value, 0, 0),
        };
        let reply = libc::seccomp_notif_resp { id: call.id, val, error, flags };
        // SAFETY: the call reads a structure of our own, and fails where who called is dead.
        unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND as _, &raw const reply) };
    }
}
