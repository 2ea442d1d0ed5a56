//! The system calls that we make: with which errno each may fail, and what each is about.
//!
//! The errnos are those that the manual pages name for a caller that makes no mistake, and what a
//! seccomp profile or an old kernel answers (EPERM, ENOSYS). The numbers are those of x86-64.

/// Where a call says what it is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    /// Nowhere, or it does not matter.
    Nothing,
    /// Its first argument is a path.
    Path,
    /// Its first argument is a descriptor.
    File,
    /// `waitid`: who is waited for.
    Wait,
    /// `kill`: the signal, and whether a group gets it.
    Kill,
    /// The signal is its second argument.
    Signal,
    /// `fcntl` and `ioctl`: the command.
    Command,
    /// `prctl`: the option.
    Option,
    /// `dup2`: the second descriptor.
    Place,
    /// `socket`: family and type.
    Socket,
    /// `connect`: the address.
    Address,
}

/// A call that can be made to fail.
pub(super) struct Fault {
    pub(super) call: &'static str,
    number: i32,
    about: About,
    /// The likeliest first.
    pub(super) errnos: &'static [&'static str],
}

const fn fault(
    call: &'static str,
    number: i32,
    about: About,
    errnos: &'static [&'static str],
) -> Fault {
    Fault { call, number, about, errnos }
}

/// Every call of ours that can fail.
pub(super) static FAULTS: [Fault; 53] = [
    fault("accept4", 288, About::File, &["EMFILE", "ENFILE", "ENOMEM", "ECONNABORTED", "EPERM"]),
    fault("access", 21, About::Path, &["EACCES", "EIO"]),
    fault("bind", 49, About::File, &["EACCES", "EROFS", "ENOSPC", "EADDRINUSE"]),
    fault("brk", 12, About::Nothing, &["ENOMEM"]),
    fault("chmod", 90, About::Path, &["EPERM", "EROFS"]),
    fault("clock_nanosleep", 230, About::Nothing, &["EPERM", "ENOSYS", "EINTR"]),
    fault("clone", 56, About::Nothing, &["EAGAIN", "ENOMEM", "EPERM", "ENOSYS"]),
    // EIO is the word of network file systems, and what is closed here is on none.
    fault("close", 3, About::File, &["EINTR"]),
    fault("connect", 42, About::Address, &["ECONNREFUSED", "EAGAIN", "EACCES", "ENOENT"]),
    fault("dup2", 33, About::Place, &["EMFILE", "EPERM"]),
    fault(
        "execve",
        59,
        About::Nothing,
        &["ENOMEM", "EAGAIN", "E2BIG", "EACCES", "EPERM", "EIO", "ETXTBSY", "ENOENT", "ENOEXEC"],
    ),
    fault("fcntl", 72, About::Command, &["EPERM", "EMFILE"]),
    fault("flock", 73, About::File, &["ENOLCK", "EAGAIN", "ENOSYS"]),
    fault("fstat", 5, About::File, &["EIO", "ENOMEM", "EPERM"]),
    fault("getdents64", 217, About::File, &["EIO", "ENOENT"]),
    fault("getpgid", 121, About::Nothing, &["EPERM", "ESRCH"]),
    fault("getsid", 124, About::Nothing, &["EPERM", "ESRCH"]),
    fault("getsockopt", 55, About::File, &["EPERM", "ENOBUFS"]),
    fault("inotify_add_watch", 254, About::File, &["ENOSPC", "ENOMEM", "EACCES"]),
    fault("inotify_init1", 294, About::Nothing, &["EMFILE", "ENFILE", "ENOMEM", "ENOSYS"]),
    fault("inotify_rm_watch", 255, About::File, &["EINVAL"]),
    fault("ioctl", 16, About::Command, &["EIO", "EPERM"]),
    fault("kill", 62, About::Kill, &["EPERM", "ENOSYS"]),
    fault("listen", 50, About::File, &["EADDRINUSE", "EPERM"]),
    fault("lstat", 6, About::Path, &["EACCES", "EIO", "ENOMEM"]),
    fault("madvise", 28, About::Nothing, &["ENOSYS", "EAGAIN"]),
    fault("mmap", 9, About::Nothing, &["ENOMEM"]),
    fault("mprotect", 10, About::Nothing, &["ENOMEM"]),
    fault("munmap", 11, About::Nothing, &["ENOMEM"]),
    fault("nanosleep", 35, About::Nothing, &["EPERM", "ENOSYS", "EINTR"]),
    fault("open", 2, About::Path, &["EMFILE", "ENFILE", "EACCES", "ENOENT", "ENOMEM", "EIO"]),
    fault("pidfd_open", 434, About::Nothing, &["ENOSYS", "EPERM", "EMFILE"]),
    fault("pidfd_send_signal", 424, About::Signal, &["EPERM", "ENOSYS"]),
    fault("pipe2", 293, About::Nothing, &["EMFILE", "ENFILE"]),
    fault("poll", 7, About::Nothing, &["ENOMEM", "EINTR", "EINVAL"]),
    fault("prctl", 157, About::Option, &["EINVAL", "EPERM"]),
    fault("prlimit64", 302, About::Nothing, &["EPERM"]),
    fault("pwritev2", 328, About::File, &["EAGAIN", "EIO"]),
    fault("read", 0, About::File, &["EIO", "EINTR", "ENOMEM"]),
    fault("readlink", 89, About::Path, &["EACCES", "ENOENT"]),
    fault("recvfrom", 45, About::File, &["ECONNRESET", "ENOMEM", "EINTR"]),
    fault("rt_sigaction", 13, About::Nothing, &["EPERM"]),
    fault("rt_sigprocmask", 14, About::Nothing, &["EPERM"]),
    fault("sendto", 44, About::File, &["EPIPE", "ECONNRESET", "ENOBUFS", "EAGAIN"]),
    fault("setsockopt", 54, About::File, &["EPERM", "ENOMEM"]),
    fault("setpgid", 109, About::Nothing, &["EPERM", "EACCES"]),
    fault("shutdown", 48, About::File, &["ENOTCONN"]),
    fault("signalfd4", 289, About::Nothing, &["EMFILE", "ENFILE", "ENOMEM", "ENOSYS"]),
    fault("socket", 41, About::Socket, &["EMFILE", "ENFILE", "EACCES", "ENOBUFS"]),
    fault("stat", 4, About::Path, &["EACCES", "EIO"]),
    fault("unlink", 87, About::Path, &["EACCES", "EROFS"]),
    fault("waitid", 247, About::Wait, &["EINTR", "EPERM", "ENOSYS"]),
    fault("write", 1, About::File, &["EIO", "ENOSPC", "EPIPE", "EAGAIN"]),
];

/// Calls that cannot be made to fail, or whose failure is the C library's, with the reason.
pub(super) static SPARED: [(&str, i32, &str); 11] = [
    ("arch_prctl", 158, "the C library's, before `main`: it ends the program by a trap"),
    ("set_tid_address", 218, "the C library's, before `main`; it never fails"),
    ("exit_group", 231, "never returns"),
    ("exit", 60, "never returns"),
    ("getpid", 39, "never fails"),
    ("getppid", 110, "never fails"),
    ("getpgrp", 111, "never fails"),
    ("geteuid", 107, "never fails"),
    ("restart_syscall", 219, "the kernel's own, when a wait goes on after we were stopped"),
    (
        "clock_gettime",
        228,
        "a read of the vDSO; as a call it has no plausible errno with a clock that is there",
    ),
    ("getrandom", 318, "a seed for a map; without it std falls back on /dev/urandom"),
];

/// The name of a call, and where it says what it is about.
pub(super) fn name(number: i32) -> (String, About) {
    let fault = FAULTS.iter().find(|fault| fault.number == number);
    let spared = SPARED.iter().find(|(_, other, _)| *other == number);
    match (fault, spared) {
        (Some(fault), _) => (fault.call.to_owned(), fault.about),
        (None, Some((call, ..))) => ((*call).to_owned(), About::Nothing),
        (None, None) => (format!("call {number}"), About::Nothing),
    }
}

/// How a call may fail; `None` of one that is spared. Of others nobody has said it yet.
pub(super) fn known(call: &str) -> Option<&'static Fault> {
    if SPARED.iter().any(|(name, ..)| call == *name) {
        return None;
    }
    let fault = FAULTS.iter().find(|fault| call == fault.call);
    Some(fault.unwrap_or_else(|| panic!("nobody has said how {call} may fail, or why it cannot")))
}

/// Whether an errno is the word of a passing moment: such a call never fails for ever. We block the
/// signals that interrupt, a client that has gone is not accepted again, and a socket that `poll`
/// finds ready takes something.
pub(super) fn passes(call: &str, errno: &str) -> bool {
    matches!((call, errno), (_, "EINTR" | "ECONNABORTED") | ("sendto", "EAGAIN"))
}

/// What every one may be made to fail for, rather than only the first.
pub(super) const LASTING: [&str; 3] = ["signals", "changes", "the log"];

/// Whether a call only takes memory, or reads of a file of the kernel's. What its failure leads to
/// does not depend on when it is made: the first life that makes it tries it.
pub(super) fn is_plain(call: &str, about: &str) -> bool {
    const FILES: [&str; 13] = [
        "mountinfo",
        "cgroup",
        "children",
        "status",
        "stat",
        "comm",
        "cmdline",
        "maps",
        "environ",
        "unix sockets",
        "/proc/self",
        "a folder above",
        "/dev/null",
    ];
    let of_memory =
        matches!(call, "brk" | "mmap" | "mprotect" | "munmap" | "madvise" | "prlimit64");
    of_memory || FILES.contains(&about) || call == "close"
}
