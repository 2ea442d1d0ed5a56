//! How much memory and how many processes one life may have.

use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use support::eventually;

use crate::cgroup::{Cgroup, Controller};
use crate::ground;

/// How much more a balloon takes each time: much less than any Envoy has for itself alone, whose
/// end must be enough.
const STEP: u64 = 1 << 20;
/// What the first one leaves.
const ROOM: u64 = 8 << 20;
/// How long an Envoy may go on that has no memory left.
const BOUND: Duration = Duration::from_secs(20);

/// Groups for memory and for processes.
#[derive(Debug)]
pub(super) struct Limits {
    memory: Cgroup,
    /// For whoever is to be spared. The kernel often kills a second one before the first has given
    /// back what it had, however they are marked (a fifth of the times, on Linux 6.18).
    aside: Cgroup,
    pids: Cgroup,
}

impl Limits {
    /// Some that hold nobody yet; `None` where the machine lacks control groups of version 1.
    pub(super) fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = ground::name(&format!("envoy-{number}"));
        Some(Self {
            memory: Cgroup::new(Controller::Memory, &name)?,
            aside: Cgroup::new(Controller::Memory, &format!("{name}-aside"))?,
            pids: Cgroup::new(Controller::Pids, &name)?,
        })
    }

    /// A shell's words that join those that count.
    pub(super) fn join(&self) -> String {
        self.memory.join() + &self.pids.join()
    }

    /// Allows so many processes more than there are, which counts threads.
    pub(super) fn allow_processes(&self, more: u64) {
        limit(&self.pids, Some(self.pids.number("pids.current") + more));
    }

    /// Allows as many as anybody wants.
    pub(super) fn allow_all_processes(&self) {
        limit(&self.pids, None);
    }

    /// Takes memory away until the kernel has killed this process for it, and none of the others.
    pub(super) fn exhaust(&self, pid: i32, others: &[i32], is_gone: impl Fn() -> bool) {
        let move_to = |group: &Cgroup| {
            for other in others {
                // One that drains may have ended.
                let _ = fs::write(group.entrance(), other.to_string());
            }
        };
        move_to(&self.aside);
        fs::write(format!("/proc/{pid}/oom_score_adj"), "1000").expect("it lives");
        let most = self.memory.number("memory.usage_in_bytes") + 2 * ROOM;
        limit(&self.memory, Some(most));
        let since = Instant::now();
        let mut more = 0;
        while !is_gone() {
            assert!(since.elapsed() < BOUND, "the kernel does not kill {pid} for its memory");
            let free = most.saturating_sub(self.unreclaimable() + ROOM);
            self.inflate(free + more);
            more += STEP;
        }
        limit(&self.memory, None);
        move_to(&self.memory);
    }

    /// How often the kernel has killed somebody for its memory.
    pub(super) fn kills(&self) -> u64 {
        self.memory.field("memory.oom_control", "oom_kill")
    }

    /// What no cache gives back.
    fn unreclaimable(&self) -> u64 {
        let of_the_kernel = self.memory.number("memory.kmem.usage_in_bytes");
        let fields = ["rss", "shmem"].map(|name| self.memory.field("memory.stat", name));
        fields.iter().sum::<u64>() + of_the_kernel
    }

    /// Has somebody touch so much memory, and go. It is worth less to the kernel than whoever is
    /// marked, which counts for as much as the limit is.
    fn inflate(&self, bytes: u64) {
        let enter = self.memory.join();
        let script = format!("{enter}exec dd if=/dev/zero of=/dev/null bs={bytes} count=1");
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
        [&self.memory, &self.aside, &self.pids].into_iter().try_for_each(Cgroup::remove)
    }
}

fn limit(group: &Cgroup, limit: Option<u64>) {
    assert!(group.set(limit), "the kernel does not take {limit:?} for {group:?}");
}
