//! Control groups of version 1 for one life: how much memory and how many processes it may have.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::eventually;

const ROOT: &str = "/sys/fs/cgroup";
/// How much more a balloon takes each time: much less than any Envoy has for itself alone, whose
/// end must be enough.
const STEP: u64 = 1 << 20;
/// What the first one leaves.
const ROOM: u64 = 8 << 20;
/// How long an Envoy may go on that has no memory left.
const BOUND: Duration = Duration::from_secs(20);

/// Groups for memory and for processes, which go when nobody is in them any more.
#[derive(Debug)]
pub(super) struct Cgroup {
    memory: PathBuf,
    /// For whoever is to be spared. The kernel often kills a second one before the first has given
    /// back what it had, however they are marked (a fifth of the times, on Linux 6.18).
    aside: PathBuf,
    pids: PathBuf,
}

impl Cgroup {
    /// Some that nobody is in; `None` where we may not make them, or they are of version 2.
    pub(super) fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("hot-restarter-soak-{}-{number}", std::process::id());
        let of = |controller| Path::new(ROOT).join(controller).join(&name);
        let aside = Path::new(ROOT).join("memory").join(format!("{name}-aside"));
        let group = Self { memory: of("memory"), aside, pids: of("pids") };
        // What is made goes with it, should another fail.
        for folder in group.folders() {
            fs::create_dir(folder).ok()?;
        }
        let whole = [group.memory.join("memory.oom_control"), group.pids.join("pids.max")];
        whole.iter().all(|file| file.exists()).then_some(group)
    }

    fn folders(&self) -> [&PathBuf; 3] {
        [&self.memory, &self.aside, &self.pids]
    }

    /// A shell's words that join those that count.
    pub(super) fn join(&self) -> String {
        let join = |folder: &Path| format!("echo 0 >{}/cgroup.procs && ", folder.display());
        join(&self.memory) + &join(&self.pids)
    }

    /// Allows so many processes more than there are, which counts threads.
    pub(super) fn allow_processes(&self, more: u64) {
        let now = number(&self.pids.join("pids.current"));
        put(&self.pids.join("pids.max"), &(now + more).to_string());
    }

    /// Allows as many as anybody wants.
    pub(super) fn allow_all_processes(&self) {
        put(&self.pids.join("pids.max"), "max");
    }

    /// Takes memory away until the kernel has killed this process for it, and none of the others.
    pub(super) fn exhaust(&self, pid: i32, others: &[i32], is_gone: impl Fn() -> bool) {
        let move_to = |folder: &Path| {
            for other in others {
                // One that drains may have ended.
                let _ = fs::write(folder.join("cgroup.procs"), other.to_string());
            }
        };
        move_to(&self.aside);
        put(Path::new(&format!("/proc/{pid}/oom_score_adj")), "1000");
        let limit = number(&self.memory.join("memory.usage_in_bytes")) + 2 * ROOM;
        put(&self.memory.join("memory.limit_in_bytes"), &limit.to_string());
        let since = Instant::now();
        let mut more = 0;
        while !is_gone() {
            assert!(since.elapsed() < BOUND, "the kernel does not kill {pid} for its memory");
            let free = limit.saturating_sub(self.unreclaimable() + ROOM);
            self.inflate(free + more);
            more += STEP;
        }
        put(&self.memory.join("memory.limit_in_bytes"), "-1");
        move_to(&self.memory);
    }

    /// How often the kernel has killed somebody in it for its memory.
    pub(super) fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.memory.join("memory.oom_control")).unwrap_or_default();
        field(&text, "oom_kill")
    }

    /// What no cache gives back.
    fn unreclaimable(&self) -> u64 {
        let text = fs::read_to_string(self.memory.join("memory.stat")).unwrap_or_default();
        let of_the_kernel = number(&self.memory.join("memory.kmem.usage_in_bytes"));
        field(&text, "rss") + field(&text, "shmem") + of_the_kernel
    }

    /// Has somebody touch so much memory, and go. It is worth less to the kernel than whoever is
    /// marked, which counts for as much as the limit is.
    fn inflate(&self, bytes: u64) {
        let group = self.memory.display();
        let script = format!(
            "echo 0 >{group}/cgroup.procs && exec dd if=/dev/zero of=/dev/null bs={bytes} count=1"
        );
        let mut balloon = Command::new("sh");
        balloon.args(["-c", &script]).stdin(Stdio::null()).stderr(Stdio::null());
        let mut balloon = balloon.spawn().expect("a shell");
        eventually("the balloon has burst", || match balloon.try_wait() {
            Ok(Some(_)) => Ok(()),
            other => Err(other),
        });
    }

    /// Removes them; fails where somebody is in them still.
    pub(super) fn remove(&self) -> io::Result<()> {
        for folder in self.folders() {
            match fs::remove_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Removed already, if all went well; else those in it have been killed a moment ago.
        let since = Instant::now();
        while self.remove().is_err() && since.elapsed() < BOUND {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn put(file: &Path, text: &str) {
    fs::write(file, text).unwrap_or_else(|error| panic!("{text} to {}: {error}", file.display()));
}

fn number(file: &Path) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.trim().parse().unwrap_or_else(|_| panic!("no number in {}: {text}", file.display()))
}

fn field(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(word, _)| *word == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}
