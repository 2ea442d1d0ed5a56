//! The system calls that we make: with which errno each may fail, and of what each is.
//!
//! The errnos are those that the manual pages name for a caller that makes no mistake, and what a
//! seccomp profile or an old kernel answers (EPERM, ENOSYS).

/// A call that can be made to fail.
pub(super) struct Fault {
    pub(super) call: &'static str,
    /// The likeliest first.
    pub(super) errnos: &'static [&'static str],
}

const fn fault(call: &'static str, errnos: &'static [&'static str]) -> Fault {
    Fault { call, errnos }
}

/// Every call of ours that can fail.
pub(super) static FAULTS: [Fault; 50] = [
    fault("accept4", &["EMFILE", "ENFILE", "ENOMEM", "ECONNABORTED", "EPERM"]),
    fault("access", &["EACCES", "EIO"]),
    fault("bind", &["EACCES", "EROFS", "ENOSPC", "EADDRINUSE"]),
    fault("brk", &["ENOMEM"]),
    fault("chmod", &["EPERM", "EROFS"]),
    fault("clone", &["EAGAIN", "ENOMEM", "EPERM", "ENOSYS"]),
    // EIO is the word of network file systems, and what is closed here is on none.
    fault("close", &["EINTR"]),
    fault("connect", &["ECONNREFUSED", "EAGAIN", "EACCES", "ENOENT"]),
    fault("dup2", &["EMFILE", "EPERM"]),
    fault(
        "execve",
        &["ENOMEM", "EAGAIN", "E2BIG", "EACCES", "EPERM", "EIO", "ETXTBSY", "ENOENT", "ENOEXEC"],
    ),
    fault("fcntl", &["EPERM", "EMFILE"]),
    fault("flock", &["ENOLCK", "EAGAIN", "ENOSYS"]),
    fault("fstat", &["EIO", "ENOMEM", "EPERM"]),
    fault("getdents64", &["EIO", "ENOENT"]),
    fault("getpgid", &["EPERM", "ESRCH"]),
    fault("getsid", &["EPERM", "ESRCH"]),
    fault("getsockopt", &["EPERM", "ENOBUFS"]),
    fault("inotify_add_watch", &["ENOSPC", "ENOMEM", "EACCES"]),
    fault("inotify_init1", &["EMFILE", "ENFILE", "ENOMEM", "ENOSYS"]),
    fault("inotify_rm_watch", &["EINVAL"]),
    fault("ioctl", &["EIO", "EPERM"]),
    fault("kill", &["EPERM", "ENOSYS"]),
    fault("listen", &["EADDRINUSE", "EPERM"]),
    fault("lstat", &["EACCES", "EIO", "ENOMEM"]),
    fault("madvise", &["ENOSYS", "EAGAIN"]),
    fault("mmap", &["ENOMEM"]),
    fault("munmap", &["ENOMEM"]),
    fault("open", &["EMFILE", "ENFILE", "EACCES", "ENOMEM", "EIO"]),
    fault("pidfd_open", &["ENOSYS", "EPERM", "EMFILE"]),
    fault("pidfd_send_signal", &["EPERM", "ENOSYS"]),
    fault("pipe2", &["EMFILE", "ENFILE"]),
    fault("poll", &["ENOMEM", "EINTR", "EINVAL"]),
    fault("prctl", &["EINVAL", "EPERM"]),
    fault("prlimit64", &["EPERM"]),
    fault("pwritev2", &["EAGAIN", "EIO"]),
    fault("read", &["EIO", "EINTR", "ENOMEM"]),
    fault("readlink", &["EACCES", "ENOENT"]),
    fault("recvfrom", &["ECONNRESET", "ENOMEM", "EINTR"]),
    fault("rt_sigaction", &["EPERM"]),
    fault("rt_sigprocmask", &["EPERM"]),
    fault("sendto", &["EPIPE", "ECONNRESET", "ENOBUFS", "EAGAIN"]),
    fault("setsockopt", &["EPERM", "ENOMEM"]),
    fault("setpgid", &["EPERM", "EACCES"]),
    fault("shutdown", &["ENOTCONN"]),
    fault("signalfd4", &["EMFILE", "ENFILE", "ENOMEM", "ENOSYS"]),
    fault("socket", &["EMFILE", "ENFILE", "EACCES", "ENOBUFS"]),
    fault("stat", &["EACCES", "EIO"]),
    fault("unlink", &["EACCES", "EROFS"]),
    fault("waitid", &["EINTR", "EPERM", "ENOSYS"]),
    fault("write", &["EIO", "ENOSPC", "EPIPE", "EAGAIN"]),
];

/// Calls that cannot be made to fail, or whose failure is the C library's, with the reason.
pub(super) static SPARED: [(&str, &str); 12] = [
    ("arch_prctl", "the C library's, before `main`: it ends the program by a trap"),
    ("set_tid_address", "the C library's, before `main`; it never fails"),
    ("exit_group", "never returns"),
    ("exit", "never returns"),
    ("getpid", "never fails"),
    ("getppid", "never fails"),
    ("getpgrp", "never fails"),
    ("geteuid", "never fails"),
    ("restart_syscall", "the kernel's own, when a wait goes on after a debugger has stopped us"),
    ("rt_sigreturn", "the kernel's own"),
    (
        "clock_gettime",
        "a read of the vDSO; as a call it has no plausible errno with a clock that is there",
    ),
    ("getrandom", "a seed for a map; without it std falls back on /dev/urandom"),
];

/// Whether an errno is the word of a passing moment: such a call never fails for ever. We block the
/// signals that interrupt, a client that has gone is not accepted again, and a socket that `poll`
/// finds ready takes something.
pub(super) fn passes(call: &str, errno: &str) -> bool {
    matches!((call, errno), (_, "EINTR" | "ECONNABORTED") | ("sendto", "EAGAIN"))
}

/// Files that can be told by strace whatever number they have; a fault may be for them alone.
pub(super) static KNOWN: [(&str, &str); 3] =
    [("signals", "anon_inode:[signalfd]"), ("changes", "anon_inode:inotify"), ("the log", "LOG")];

/// What a call is about, in words that are the same each time.
pub(super) fn subject(name: &str, line: &str, folder: &str) -> String {
    let first = |marks: &[(&str, &str)]| {
        let found = marks.iter().find(|(mark, _)| line.contains(mark));
        found.map(|(_, words)| (*words).to_owned())
    };
    match name {
        "waitid" => first(&[("WSTOPPED", "a stopped child"), ("P_ALL", "any child")])
            .unwrap_or_else(|| {
                if line.contains("WNOWAIT") { "a child".into() } else { "to reap".into() }
            }),
        "kill" => {
            let group = if line.starts_with("kill(-") { "a group" } else { "a process" };
            let signal = line.split(", ").nth(1).and_then(|rest| rest.split(')').next());
            format!("{} to {group}", signal.unwrap_or("?"))
        }
        "pidfd_send_signal" => line.split(", ").nth(1).unwrap_or("?").to_owned(),
        "fcntl" | "ioctl" => {
            let command = line.split(", ").nth(1).map(|rest| rest.trim_end_matches(')'));
            let command = command.and_then(|rest| rest.split([')', ',']).next());
            command.unwrap_or("?").to_owned()
        }
        "prctl" => line["prctl(".len()..].split([',', ')']).next().unwrap_or("?").to_owned(),
        "dup2" => first(&[(", 0)", "onto input"), (", 1)", "onto output"), (", 2)", "onto error")])
            .unwrap_or_default(),
        "socket" => {
            let words: Vec<&str> = line["socket(".len()..].split([',', '|']).take(2).collect();
            words.join("").replace("AF_", "").replace("SOCK_", "")
        }
        "rt_sigprocmask" | "rt_sigaction" | "brk" | "mmap" | "munmap" | "madvise" | "clone"
        | "poll" | "execve" | "setpgid" | "pipe2" | "prlimit64" | "getpgid" | "getsid" => {
            String::new()
        }
        _ => file(line, folder),
    }
}

/// The file that a call is about.
fn file(line: &str, folder: &str) -> String {
    let arguments = line.split_once(" = ").map_or(line, |(arguments, _)| arguments);
    let between = |open: char, close: &str| {
        let rest = arguments.split_once(open)?.1;
        rest.split(close).next().map(str::to_owned)
    };
    let (fd, path) = (between('<', ">"), between('"', "\""));
    let name = match (fd, path) {
        (Some(fd), _) if !fd.starts_with("socket:") || !line.starts_with("connect") => fd,
        (_, Some(path)) => path,
        (Some(fd), None) => fd,
        (None, None) => String::new(),
    };
    let marks = [
        ("anon_inode:[signalfd]", "signals"),
        ("anon_inode:inotify", "changes"),
        ("socket:", "a socket"),
        ("pipe:", "a pipe"),
        ("/log-", "the log"),
        ("mountinfo", "mountinfo"),
        ("/cgroup", "cgroup"),
        ("oom_control", "cgroup"),
        ("memory.events", "cgroup"),
        ("/proc/self", "/proc/self"),
        ("/children", "children"),
        ("/task", "children"),
        ("/net/unix", "unix sockets"),
        ("/status", "status"),
        ("/environ", "environ"),
        ("/cmdline", "cmdline"),
        ("/maps", "maps"),
        ("/comm", "comm"),
        ("/stat", "stat"),
        ("/dev/null", "/dev/null"),
        ("/dev/shm", "/dev/shm"),
        ("hot-restarter-control", "control"),
        ("/control", "control"),
        ("/probe", "PROGRAM"),
        ("termination", "termination log"),
        ("watched", "watched"),
        ("/notify", "notify"),
        ("/admin", "admin"),
    ];
    let known = marks.iter().find(|(mark, _)| name.contains(mark));
    if let Some((_, words)) = known {
        return (*words).to_owned();
    }
    if !name.is_empty() && folder.starts_with(&name) {
        return "a folder above".to_owned();
    }
    name
}

/// The number of an errno, by which our sentences end.
pub(super) fn number(errno: &str) -> i32 {
    match errno {
        "EPERM" => libc::EPERM,
        "ENOENT" => libc::ENOENT,
        "ESRCH" => libc::ESRCH,
        "EINTR" => libc::EINTR,
        "EIO" => libc::EIO,
        "E2BIG" => libc::E2BIG,
        "ENOEXEC" => libc::ENOEXEC,
        "EAGAIN" => libc::EAGAIN,
        "ENOMEM" => libc::ENOMEM,
        "EACCES" => libc::EACCES,
        "EINVAL" => libc::EINVAL,
        "ENFILE" => libc::ENFILE,
        "EMFILE" => libc::EMFILE,
        "ETXTBSY" => libc::ETXTBSY,
        "ENOSPC" => libc::ENOSPC,
        "EROFS" => libc::EROFS,
        "EPIPE" => libc::EPIPE,
        "ENOLCK" => libc::ENOLCK,
        "ENOSYS" => libc::ENOSYS,
        "ENOTCONN" => libc::ENOTCONN,
        "EADDRINUSE" => libc::EADDRINUSE,
        "ECONNABORTED" => libc::ECONNABORTED,
        "ECONNRESET" => libc::ECONNRESET,
        "ENOBUFS" => libc::ENOBUFS,
        "ECONNREFUSED" => libc::ECONNREFUSED,
        _ => panic!("{errno} has no number here"),
    }
}

/// What we say instead of an errno's own text, where we know what it means there.
pub(super) fn words(errno: &str) -> &'static [&'static str] {
    match errno {
        "EACCES" => {
            &["is not executable by this user", "is not for a root without CAP_DAC_OVERRIDE", BLIND]
        }
        "ENOENT" => &["not the dynamic loader that it needs", "is not there", BLIND],
        "EAGAIN" => &["does not take our connection, as if it hung", BLIND],
        "ECONNREFUSED" => &["nobody listens any more", BLIND],
        "ENOEXEC" => &["is damaged, or a program for another kind of machine"],
        _ => &[BLIND],
    }
}

/// What is said where `/proc` does not answer, whyever.
const BLIND: &str = "/proc does not tell who is left";
