//! A pipe behind standard error whose reader comes to a halt now and then.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::descriptor::shrink_pipe;

const PACE: Duration = Duration::from_millis(5);

/// The pipe, and who reads it.
#[derive(Debug)]
pub(super) struct Outlet {
    /// Where it is.
    pub place: PathBuf,
    log: PathBuf,
    stalled: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Outlet {
    /// A small one in this folder.
    pub(super) fn below(folder: &Path) -> Self {
        let (place, log) = (folder.join("stderr"), folder.join("stderr.log"));
        let name = CString::new(place.as_os_str().as_bytes()).expect("a path of ours");
        // SAFETY: the pointer is that of a string that outlives the call.
        let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
        assert_eq!(made, 0, "a pipe at {}", place.display());
        // Open for both, it is there before anybody writes and has no end.
        let mut both = OpenOptions::new();
        let both = both.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        let mut pipe = both.open(&place).expect("it has just been made");
        shrink_pipe(&pipe);
        let mut sink = File::create(&log).expect("the folder is ours");
        let (stalled, over) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (told, ended) = (Arc::clone(&stalled), Arc::clone(&over));
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            while !ended.load(Ordering::Relaxed) {
                match if told.load(Ordering::Relaxed) { Ok(0) } else { pipe.read(&mut bytes) } {
                    Ok(0) | Err(_) => thread::sleep(PACE),
                    Ok(read) => sink.write_all(&bytes[..read]).expect("there is room"),
                }
            }
        });
        Self { place, log, stalled, over, reader: Some(reader) }
    }

    /// Reads no more, or goes on.
    pub(super) fn stall(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }

    /// Reads on, and for so long that what waits is read.
    pub(super) fn read_on(&self) {
        self.stall(false);
        thread::sleep(20 * PACE);
    }

    /// What was read.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
