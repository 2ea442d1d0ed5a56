//! What a call is about, in words that are the same each time.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::calls::About;

/// What a process's call with these arguments is about. `folder` is that of the scene.
pub(super) fn subject(about: About, pid: i32, arguments: &[u64; 6], folder: &str) -> String {
    // The kernel takes half of each register as an `int`.
    #[expect(clippy::cast_possible_truncation)]
    let [first, second] = [arguments[0] as i32, arguments[1] as i32];
    match about {
        About::Nothing => String::new(),
        About::Path => file(&text(pid, arguments[0]), folder),
        About::File => {
            let link = fs::read_link(format!("/proc/{pid}/fd/{first}"));
            file(&link.map(|link| link.display().to_string()).unwrap_or_default(), folder)
        }
        About::Wait => waited_for(first, arguments[3]),
        About::Kill => {
            format!("{} to {}", signal(second), if first < 0 { "a group" } else { "a process" })
        }
        About::Signal => signal(second),
        About::Command => command(arguments[1]),
        About::Option => match first {
            libc::PR_SET_PDEATHSIG => "PR_SET_PDEATHSIG".to_owned(),
            libc::PR_SET_CHILD_SUBREAPER => "PR_SET_CHILD_SUBREAPER".to_owned(),
            other => other.to_string(),
        },
        About::Place => match second {
            libc::STDIN_FILENO => "onto input".to_owned(),
            libc::STDOUT_FILENO => "onto output".to_owned(),
            libc::STDERR_FILENO => "onto error".to_owned(),
            other => other.to_string(),
        },
        About::Socket => socket(first, second),
        About::Address => address(pid, arguments[1], folder),
    }
}

fn waited_for(kind: i32, options: u64) -> String {
    let has = |option: i32| options & u64::from(option.unsigned_abs()) != 0;
    let who = match (has(libc::WSTOPPED), kind == 0, has(libc::WNOWAIT)) {
        (true, ..) => "a stopped child",
        (_, true, _) => "any child",
        (_, _, true) => "a child",
        _ => "to reap",
    };
    who.to_owned()
}

fn signal(number: i32) -> String {
    let name = match number {
        0 => "0",
        libc::SIGTERM => "SIGTERM",
        libc::SIGKILL => "SIGKILL",
        libc::SIGCONT => "SIGCONT",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGHUP => "SIGHUP",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

/// `fcntl` numbers its commands from 0, `ioctl` far above.
fn command(number: u64) -> String {
    let name = match number {
        1 => "F_GETFD",
        2 => "F_SETFD",
        3 => "F_GETFL",
        4 => "F_SETFL",
        1030 => "F_DUPFD_CLOEXEC",
        0x5421 => "FIONBIO",
        0x540f => "TIOCGPGRP",
        0x5410 => "TIOCSPGRP",
        0x5413 => "TIOCGWINSZ",
        0x5429 => "TIOCGSID",
        other => return format!("{other:#x}"),
    };
    name.to_owned()
}

fn socket(family: i32, kind: i32) -> String {
    let family = match family {
        libc::AF_UNIX => "UNIX",
        libc::AF_INET => "INET",
        libc::AF_INET6 => "INET6",
        libc::AF_NETLINK => "NETLINK",
        _ => "?",
    };
    let kind = match kind & 0xf {
        libc::SOCK_STREAM => "STREAM",
        libc::SOCK_DGRAM => "DGRAM",
        _ => "RAW",
    };
    format!("{family} {kind}")
}

/// A Unix socket is told by its path.
fn address(pid: i32, place: u64, folder: &str) -> String {
    let mut family = [0; 2];
    read(pid, place, &mut family);
    if i32::from(u16::from_ne_bytes(family)) != libc::AF_UNIX {
        return "a socket".to_owned();
    }
    file(&text(pid, place + 2), folder)
}

/// Reads of the memory of a process that is waiting for us.
fn read(pid: i32, place: u64, buffer: &mut [u8]) -> usize {
    let memory = File::open(format!("/proc/{pid}/mem"));
    memory.and_then(|memory| memory.read_at(buffer, place)).unwrap_or(0)
}

/// The text at a place in its memory. What lies behind its page may not be there to be read, and
/// a read ends before that.
fn text(pid: i32, place: u64) -> String {
    let mut buffer = [0; 256];
    let length = read(pid, place, &mut buffer);
    let text = buffer[..length].split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// The word for a file.
fn file(name: &str, folder: &str) -> String {
    let marks = [
        ("anon_inode:[signalfd]", "signals"),
        ("anon_inode:inotify", "changes"),
        ("anon_inode:[pidfd]", "a pidfd"),
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
        ("/dev/pts", "the terminal"),
        ("hot-restarter-control", "control"),
        ("/control", "control"),
        ("/probe", "PROGRAM"),
        ("termination", "termination log"),
        ("watched", "watched"),
        ("/notify", "notify"),
        ("/admin", "admin"),
    ];
    if let Some((_, words)) = marks.iter().find(|(mark, _)| name.contains(mark)) {
        return (*words).to_owned();
    }
    if !name.is_empty() && folder.starts_with(name) {
        return "a folder above".to_owned();
    }
    name.chars().map(|it| if it.is_ascii_digit() { 'N' } else { it }).collect()
}
