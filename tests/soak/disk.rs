//! A disk that is soon full.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::trial::succeeds;

/// How much it holds.
const ROOM: usize = 64 << 10;

/// The disk. It goes with this.
#[derive(Debug)]
pub(crate) struct Disk {
    place: PathBuf,
}

impl Disk {
    /// An empty one at a place that is free.
    pub(crate) fn new(place: PathBuf) -> io::Result<Self> {
        fs::create_dir(&place)?;
        let options = format!("size={ROOM},mode=1777");
        let mut mount = Command::new("mount");
        if succeeds(mount.args(["-t", "tmpfs", "-o", &options, "soak"]).arg(&place)) {
            return Ok(Self { place });
        }
        fs::remove_dir(&place)?;
        Err(io::Error::other("tmpfs cannot be mounted"))
    }

    /// Where it is.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// Takes it down; what would not go.
    pub(crate) fn remove(&self) -> io::Result<()> {
        if !self.place.exists() {
            return Ok(());
        }
        if !succeeds(Command::new("umount").arg(&self.place)) {
            return Err(io::Error::other(format!("{} is still mounted", self.place.display())));
        }
        fs::remove_dir(&self.place)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// One that is full takes nothing.
pub(crate) fn fills() {
    let disk = Disk::new(std::env::temp_dir().join("full")).expect("a disk");
    let full = fs::write(disk.place().join("ballast"), vec![0; 2 * ROOM]).map_err(|e| e.kind());
    assert_eq!(full, Err(io::ErrorKind::StorageFull));
    let place = disk.place().to_owned();
    drop(disk);
    assert!(!place.exists(), "it is still there");
}
