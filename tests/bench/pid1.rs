//! Inits as PID 1 of a PID namespace of their own, executed at a moment that is known.
//!
//! The namespace, its `/proc` and everything else that a container's runtime would do is there
//! before the clock is read; nothing but `execve` is between that and the init.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use support::control::{self, Place};
use support::scene::Scene;

use crate::latency::now_ns;
use crate::peers::Peer;
use crate::voice::{Line, Voice};

/// How long something may take that happens on every machine, however busy.
pub(crate) const BOUND: Duration = support::BOUND;
/// How long something may take that not every peer does. It would take milliseconds, and a second
/// of one that polls.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);

/// An init that is about to be executed, in its namespace.
#[derive(Debug)]
pub(crate) struct Prepared {
    init: Init,
    go: File,
}

/// An init that runs. Its namespace ends with this.
#[derive(Debug)]
pub(crate) struct Init {
    /// By its number in our namespace.
    pub(crate) pid: i32,
    handle: OwnedFd,
    /// Keeps the mounts, so that their end is no part of the init's.
    _mounts: File,
    clock: Clock,
    pub(crate) voice: Voice,
    status: Option<ExitStatus>,
    _control: Place,
}

/// A page shared with the child that becomes the init: when it executed, or why it could not.
#[derive(Debug)]
struct Clock(*mut AtomicI64);

impl Clock {
    fn new() -> Self {
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping overlaps nothing.
        let page = unsafe { libc::mmap(ptr::null_mut(), 4096, access, kind, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
        Self(page.cast())
    }

    fn value(&self) -> &AtomicI64 {
        // SAFETY: the page is mapped as long as this lives, aligned, and zero at first.
        unsafe { &*self.0 }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        // SAFETY: the page is ours, and no reference to it is left.
        unsafe { libc::munmap(self.0.cast(), 4096) };
    }
}

/// What the child needs, made before it is forked: it may not take memory.
struct Child<'a> {
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    clock: &'a Clock,
    ready: RawFd,
    go: RawFd,
    nowhere: RawFd,
}

impl Child<'_> {
    /// Becomes the init. Runs in the child of a `fork` of a process that has one thread.
    fn run(&self) -> ! {
        let (root, proc, none) = (c"/".as_ptr(), c"proc".as_ptr(), ptr::null());
        // SAFETY: all pointers are to strings and arrays that outlive the calls; each call is one
        // of the kernel's, on descriptors and mounts of this child alone.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // Rust's runtime ignores it.
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            for standard in 0..=2 {
                libc::dup2(self.nowhere, standard);
            }
            // Cargo's, say.
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            libc::mount(none, root, none, libc::MS_REC | libc::MS_PRIVATE, ptr::null());
            let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            libc::mount(proc, c"/proc".as_ptr(), proc, flags, ptr::null());
            let mut byte = 0_u8;
            libc::write(self.ready, (&raw const byte).cast(), 1);
            libc::read(self.go, (&raw mut byte).cast(), 1);
            self.clock.value().store(now_ns(), Ordering::Relaxed);
            libc::execve(self.argv[0], self.argv.as_ptr(), self.envp.as_ptr());
            self.clock.value().store(-i64::from(*libc::__errno_location()), Ordering::Relaxed);
            libc::_exit(127)
        }
    }
}

fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: the pointer is to two integers of our own.
    let made = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    assert_eq!(made, 0, "pipe: {}", io::Error::last_os_error());
    // SAFETY: the kernel has just made them and nobody else has them.
    ends.map(|end| unsafe { File::from_raw_fd(end) }).into()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

fn c_string(text: impl AsRef<OsStr>) -> CString {
    CString::new(text.as_ref().as_bytes()).expect("no zero byte")
}

impl Prepared {
    /// The child that will execute a peer over a probe that does these steps waits in its
    /// namespace.
    pub(crate) fn new(scene: &Scene, peer: &Peer, options: &[&str], steps: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let voice = Voice::at(scene.path(&format!("voice-{number}")));
        let control = Place::new();
        // As little as in a container.
        let variables = [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            "HOME=/root".to_owned(),
            "HOSTNAME=bench".to_owned(),
            format!("{}={}", control::VARIABLE, control.place()),
            format!("PROBE_STEPS={}", steps.replace("to=voice", &voice.step())),
        ];
        let words: Vec<CString> =
            peer.command(scene, options, number).into_iter().map(c_string).collect();
        let variables: Vec<CString> = variables.into_iter().map(c_string).collect();
        let (mut ready, tell_ready) = pipe();
        let (wait_go, go) = pipe();
        let nowhere = File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
        let clock = Clock::new();
        let child = Child {
            argv: pointers(&words),
            envp: pointers(&variables),
            clock: &clock,
            ready: tell_ready.as_raw_fd(),
            go: wait_go.as_raw_fd(),
            nowhere: nowhere.as_raw_fd(),
        };
        let flags = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::SIGCHLD;
        // SAFETY: with no stack of its own the child is a fork, whose memory is a copy, and it
        // makes system calls alone.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        if pid == 0 {
            child.run();
        }
        let pid = i32::try_from(pid).expect("a pid is an int");
        assert!(
            pid > 0,
            "cannot make a PID namespace (are we root?): {}",
            io::Error::last_os_error()
        );
        // SAFETY: the call takes integers.
        let handle = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let handle = RawFd::try_from(handle).expect("a descriptor is an int");
        assert!(handle >= 0, "pidfd_open: {}", io::Error::last_os_error());
        // SAFETY: the kernel has just made it and nobody else has it.
        let handle = unsafe { OwnedFd::from_raw_fd(handle) };
        drop(tell_ready);
        let mut byte = [0];
        ready.read_exact(&mut byte).expect("the child says that it is ready");
        let mounts = File::open(format!("/proc/{pid}/ns/mnt")).expect("it has mounts");
        let status = None;
        let init = Init { pid, handle, _mounts: mounts, clock, voice, status, _control: control };
        Self { init, go }
    }

    /// By its number in our namespace.
    pub(crate) fn pid(&self) -> i32 {
        self.init.pid
    }

    /// Has it execute.
    pub(crate) fn go(mut self) -> Init {
        self.go.write_all(&[0]).expect("the child waits");
        self.init
    }
}

impl Init {
    /// Starts a peer over a probe that does these steps, of which `to=voice` is heard here.
    pub(crate) fn start(scene: &Scene, peer: &Peer, options: &[&str], steps: &str) -> Self {
        Prepared::new(scene, peer, options, steps).go()
    }

    /// When it was executed.
    pub(crate) fn executed(&self) -> i64 {
        let value = self.clock.value().load(Ordering::Relaxed);
        assert!(value > 0, "it cannot be executed: {}", error_of(value));
        value
    }

    /// The next line about this, which must be said.
    pub(crate) fn hear(&mut self, word: &str) -> Line {
        let line = self.voice.hear(word, BOUND);
        line.unwrap_or_else(|| {
            panic!("{word:?} is not said; the init: {:?}", self.ended(Duration::ZERO))
        })
    }

    /// The target: the first process below the init that is the probe; the oldest, of several.
    pub(crate) fn target(&self) -> i32 {
        let mut below = vec![self.pid];
        let mut at = 0;
        while let Some(&pid) = below.get(at) {
            if is_probe(pid) {
                return pid;
            }
            below.extend(support::processes::children(pid).into_iter().map(|child| child.pid));
            at += 1;
        }
        panic!("no target among {} processes; was the probe built anew?", below.len());
    }

    /// The init and what it has put between itself and its target.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut found = vec![self.pid];
        let mut at = 0;
        while let Some(&pid) = found.get(at) {
            let children = support::processes::children(pid).into_iter().map(|child| child.pid);
            found.extend(children.filter(|pid| !is_probe(*pid)));
            at += 1;
        }
        found
    }

    /// When it has ended, waiting for it for so long.
    pub(crate) fn ended(&mut self, bound: Duration) -> Option<i64> {
        let timeout = i32::try_from(bound.as_millis()).unwrap_or(i32::MAX);
        let mut fd = libc::pollfd { fd: self.handle.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is to one descriptor of our own.
        let ended = unsafe { libc::poll(&raw mut fd, 1, timeout) } == 1;
        ended.then(now_ns)
    }

    /// Signals the init; when.
    pub(crate) fn signal(&self, signal: i32) -> i64 {
        let now = now_ns();
        assert!(support::processes::signal(self.pid, signal), "it is a child of ours");
        now
    }

    /// Kills it and everything in its namespace; its status.
    pub(crate) fn end(&mut self) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        // A zombie takes it as well.
        self.signal(libc::SIGKILL);
        let mut status = 0;
        // SAFETY: the pointer is to an integer of our own.
        let reaped = unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
        assert_eq!(reaped, self.pid, "it is our child: {}", io::Error::last_os_error());
        *self.status.insert(ExitStatus::from_raw(status))
    }
}

fn is_probe(pid: i32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program == support::probe())
}

fn error_of(value: i64) -> io::Error {
    io::Error::from_raw_os_error(i32::try_from(-value).unwrap_or(0))
}

impl Drop for Init {
    fn drop(&mut self) {
        self.end();
    }
}
