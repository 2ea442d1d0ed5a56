//! What the epochs of an Envoy share, seen from outside: a piece of memory, and the names of the
//! sockets by which they find each other.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::{Process, Stage};

/// The flags are the last word, whatever the size is.
const FLAGS_FROM_END: u64 = 8;

/// The memory that the epochs of one stage share.
#[derive(Clone, Debug)]
pub struct SharedMemory {
    path: PathBuf,
}

impl SharedMemory {
    /// That of the Envoys below this restarter.
    pub fn of(stage: &Stage, restarter: Process) -> Self {
        Self { path: restarter.sees(&format!("/dev/shm/{}", name(stage))) }
    }

    /// What is in it.
    pub fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap_or_default()
    }

    /// Whether an epoch is initialising, or has left the flag that says so.
    pub fn is_initializing(&self) -> bool {
        self.bytes().last_chunk().is_some_and(|flags| u64::from_ne_bytes(*flags) & 1 != 0)
    }

    /// Makes another user its owner.
    pub fn give_to(&self, user: u32) {
        std::os::unix::fs::chown(&self.path, Some(user), None).expect("we are root");
    }

    /// Raises that flag, as an epoch does that dies in the middle.
    pub fn raise(&self) {
        let file = OpenOptions::new().write(true).open(&self.path).expect("Envoy has made it");
        let length = file.metadata().expect("it is open").len();
        let raised = 1_u64.to_ne_bytes();
        file.write_all_at(&raised, length - FLAGS_FROM_END).expect("ours to write");
    }
}

fn name(stage: &Stage) -> String {
    format!("envoy_shared_memory_{}0", stage.base_id())
}

impl Stage {
    /// Every shared memory of an Envoy in the `/dev/shm` that this restarter sees, but this
    /// stage's own.
    pub fn strange_memories(&self, restarter: Process) -> Vec<String> {
        let folder = fs::read_dir(restarter.sees("/dev/shm")).expect("it has a /dev/shm");
        let names = folder.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|file| file.starts_with("envoy_") && *file != name(self)).collect()
    }

    /// The epochs, modulo three, that have sockets bound, in their order.
    pub fn bound_epochs(&self) -> Vec<u32> {
        let sockets = fs::read_to_string("/proc/net/unix").expect("Linux has it");
        let bound = |epoch: &u32| {
            let name = format!("envoy_domain_socket_child_{}{epoch}", self.base_id());
            sockets.lines().any(|line| line.trim_end_matches('@').ends_with(&name))
        };
        (0..3).filter(bound).collect()
    }
}
