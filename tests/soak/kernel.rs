//! Where the kernel's record comes from: an instance of its tracing for each arena.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use libtest_mimic::Trial;

use crate::ground;
use crate::needs::Needs;
use crate::record::{self, Event};

/// What is recorded.
const EVENTS: [&str; 23] = [
    "sched/sched_process_fork",
    "sched/sched_process_exec",
    "sched/sched_process_exit",
    "sched/sched_process_wait",
    "signal/signal_generate",
    "signal/signal_deliver",
    "syscalls/sys_exit_clone",
    "syscalls/sys_exit_clone3",
    "syscalls/sys_exit_fork",
    "syscalls/sys_exit_vfork",
    "syscalls/sys_enter_kill",
    "syscalls/sys_enter_waitid",
    "syscalls/sys_exit_waitid",
    "syscalls/sys_enter_wait4",
    "syscalls/sys_exit_wait4",
    "syscalls/sys_enter_exit_group",
    "syscalls/sys_enter_setsid",
    "syscalls/sys_enter_setpgid",
    "syscalls/sys_exit_setsid",
    "syscalls/sys_enter_rt_sigaction",
    "syscalls/sys_exit_rt_sigaction",
    "syscalls/sys_enter_poll",
    "syscalls/sys_enter_ppoll",
];
/// Those that not every machine has.
const OPTIONAL: [&str; 4] = [
    "syscalls/sys_exit_fork",
    "syscalls/sys_exit_vfork",
    "syscalls/sys_exit_setsid",
    "syscalls/sys_enter_poll",
];

/// How much fits into the record of a life, per processor.
const KIBIBYTES: u32 = 16 * 1024;

/// The trial of this module: a fork, an execution and an end are recorded, and who did them.
pub(crate) fn trial() -> Trial {
    Needs::Tracefs.trial("soak::fork_is_recorded", fork_is_recorded)
}

fn fork_is_recorded() {
    let tracing = Tracing::open(std::env::temp_dir().join("tracing-of-fork"));
    let tracing = tracing.unwrap_or_else(|error| panic!("{error}"));
    let instance = tracing.instance(&ground::name("fork")).expect("an instance");
    let mut shell = Command::new("sh");
    shell.args(["-c", "read go; /bin/true & wait"]).stdin(Stdio::piped());
    let mut shell = shell.spawn().expect("a shell");
    let pid = i32::try_from(shell.id()).expect("a pid");
    instance.record(pid).expect("it can be recorded");
    shell.stdin.take().expect("it has an input").write_all(b"go\n").expect("it reads");
    shell.wait().expect("it is our child");
    let (text, is_whole) = instance.take().expect("a record");
    drop(instance);
    let moments = record::parse(&text).unwrap_or_else(|why| panic!("{why}"));
    let own = moments.iter().filter(|moment| moment.who == pid).map(|moment| &moment.what);
    let forked: Vec<i32> = own
        .filter_map(|what| if let Event::Fork { child } = what { Some(*child) } else { None })
        .collect();
    let [child] = forked[..] else { panic!("one fork, and not {text}") };
    let did = |what: &dyn Fn(&Event) -> bool| {
        moments.iter().any(|moment| moment.who == child && what(&moment.what))
    };
    let became = did(&|what| matches!(what, Event::Exec { file } if file == "/bin/true"));
    let ended = did(&|what| *what == Event::Exit);
    assert!(is_whole && became && ended, "not in it: {text}");
}

/// Our own way into the tracing file system. It goes with the process that asked for it first.
#[derive(Debug)]
pub(crate) struct Tracing {
    folder: PathBuf,
}

impl Tracing {
    /// Mounts it; why it cannot be had.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, String> {
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tracefs", "soak"]).arg(&folder);
        let quiet = mount.stdout(Stdio::null()).stderr(Stdio::null());
        if !quiet.status().is_ok_and(|status| status.success()) {
            let _ = fs::remove_dir(&folder);
            return Err("tracefs cannot be mounted".to_owned());
        }
        let tracing = Self { folder };
        let first = EVENTS.iter().find(|event| {
            !OPTIONAL.contains(event) && !tracing.folder.join("events").join(event).exists()
        });
        match first {
            Some(event) => Err(format!("this kernel does not trace {event}")),
            None => Ok(tracing),
        }
    }

    /// Whether this machine has it.
    pub(crate) fn possible() -> bool {
        static POSSIBLE: OnceLock<bool> = OnceLock::new();
        *POSSIBLE.get_or_init(|| {
            let folder = std::env::temp_dir().join(format!("soak-try-{}", std::process::id()));
            Self::open(folder).is_ok()
        })
    }

    /// An instance of our own.
    pub(crate) fn instance(&self, name: &str) -> io::Result<Instance> {
        let folder = self.folder.join("instances").join(name);
        fs::create_dir(&folder)?;
        let instance = Instance { folder };
        instance.write("tracing_on", "0")?;
        instance.write("trace_clock", "mono")?;
        instance.write("options/event-fork", "1")?;
        instance.write("buffer_size_kb", &KIBIBYTES.to_string())?;
        for event in EVENTS {
            match instance.write(&format!("events/{event}/enable"), "1") {
                Err(error) if !OPTIONAL.contains(&event) => return Err(error),
                _ => {}
            }
        }
        Ok(instance)
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.folder).status();
        let _ = fs::remove_dir(&self.folder);
    }
}

/// A record of its own.
#[derive(Debug)]
pub(crate) struct Instance {
    folder: PathBuf,
}

impl Instance {
    fn write(&self, file: &str, what: &str) -> io::Result<()> {
        let path = self.folder.join(file);
        let said = |error: io::Error| io::Error::new(error.kind(), format!("{file}: {error}"));
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&path)
            .and_then(|mut file| file.write_all(what.as_bytes()))
            .map_err(said)
    }

    /// Forgets what was, and records from now on what this process and its descendants do, and the
    /// thread that calls, which sends them signals.
    pub(crate) fn record(&self, pid: i32) -> io::Result<()> {
        self.write("tracing_on", "0")?;
        self.write("trace", "")?;
        // SAFETY: the call takes nothing.
        let own = unsafe { libc::gettid() };
        self.write("set_event_pid", &format!("{pid} {own}"))?;
        self.write("tracing_on", "1")
    }

    /// Stops recording; the text, and whether it is all that happened.
    pub(crate) fn take(&self) -> io::Result<(String, bool)> {
        self.write("tracing_on", "0")?;
        let lost = self.lost();
        let mut bytes = Vec::new();
        let mut pipe = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(self.folder.join("trace_pipe"))?;
        match pipe.read_to_end(&mut bytes) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        Ok((String::from_utf8_lossy(&bytes).into_owned(), lost == 0))
    }

    fn lost(&self) -> u64 {
        let processors = fs::read_dir(self.folder.join("per_cpu")).into_iter().flatten().flatten();
        processors.map(|processor| lost_on(&processor.path().join("stats"))).sum()
    }
}

/// How much one processor had no room for.
fn lost_on(stats: &Path) -> u64 {
    let stats = fs::read_to_string(stats).unwrap_or_default();
    let lost = stats.lines().filter_map(|line| {
        let (name, number) = line.split_once(": ")?;
        let counts = ["overrun", "commit overrun", "dropped events"].contains(&name);
        counts.then(|| number.trim().parse::<u64>().ok())?
    });
    lost.sum()
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.write("tracing_on", "0");
        // A pipe that was just closed keeps it for a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
