//! Changes of files and folders, by inotify: what `--watch` acts upon.
//!
//! A path is a chain of names, each looked up in a folder, and links make the chain longer. Every
//! folder in which a name is looked up is watched for that name, and what the path leads to for
//! its content, so that a change of any of them is noticed: a rename over the file, the link that
//! kubelet swaps, a parent that goes and comes back. The kernel wakes us for nothing else but
//! names that come and go beside ours.
//!
//! A watched folder is watched for what is directly in it, not for what is in its own folders.
//! Nobody tells us of a file system that is mounted over a part of the path later.

pub mod mounts;
mod trail;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};

use crate::supervisor::Moment;
use trail::{End, Trail};

/// Changes are acted upon when this long nothing has followed: who writes a configuration does
/// so in several steps.
pub const QUIET: Duration = Duration::from_millis(500);

/// How long changes may go on before we say that they keep a restart waiting.
pub const RESTLESS: Duration = Duration::from_secs(60);

/// How many buffers of events are read at a time; one holds some 128.
const READS_A_TURN: usize = 64;

/// Watches paths, and says when a change of them is to be acted upon.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    watched: Vec<Watched>,
    /// The longest random wait after the quiet.
    jitter: Duration,
    pending: Option<Pending>,
    warnings: Vec<String>,
}

/// One path, as it is now.
#[derive(Debug)]
struct Watched {
    /// Absolute; its links are not resolved.
    path: PathBuf,
    trail: Trail,
    /// It has changed since it was last acted upon.
    changed: bool,
    /// It may lead elsewhere now.
    stale: bool,
    /// It has been said that nothing is there.
    missed: bool,
}

/// Changes that have not been acted upon.
#[derive(Debug)]
struct Pending {
    /// Since when there has been no quiet.
    restless_since: Moment,
    /// When it will be quiet, if no more changes come.
    quiet_at: Moment,
    /// When the random wait is over. It is drawn when it is quiet for the first time, and later
    /// changes do not move it.
    jitter_until: Option<Moment>,
    /// It has been said that there is no quiet.
    complained: bool,
}

impl Watch {
    /// Begins to watch. Relative paths are taken from the current directory, once and for all; a
    /// path need not exist. After a change and its [`QUIET`], a random wait of up to `jitter`
    /// keeps a fleet from acting in the same second.
    pub fn new(paths: Vec<PathBuf>, jitter: Duration) -> anyhow::Result<Self> {
        let inotify = inotify_above_stdio().map_err(|errno| {
            let advice = if errno == Errno::EMFILE {
                " (raise the sysctl fs.inotify.max_user_instances)"
            } else {
                ""
            };
            anyhow::Error::new(io::Error::from(errno))
                .context(format!("cannot watch files{advice}"))
        })?;
        let mut watch =
            Self { inotify, watched: Vec::new(), jitter, pending: None, warnings: Vec::new() };
        let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
        for path in paths {
            let path = std::path::absolute(&path)
                .with_context(|| format!("cannot watch {}", path.display()))?;
            if watch.watched.iter().all(|watched| watched.path != path) {
                watch.add(path, &mounts);
            }
        }
        Ok(watch)
    }

    fn add(&mut self, path: PathBuf, mounts: &[u8]) {
        let trail = Trail::walk(&self.inotify, &path);
        self.warnings.extend_from_slice(&trail.troubles);
        let missed = match &trail.end {
            End::Missing(why) => {
                self.warnings.push(missing(&path, why));
                true
            }
            End::File(file) => {
                self.warnings.extend(mounts::warning(mounts, file, false));
                false
            }
            End::Folder(folder) => {
                self.warnings.extend(mounts::warning(mounts, folder, true));
                false
            }
        };
        self.watched.push(Watched { path, trail, changed: false, stale: false, missed });
    }

    /// Readable when there is something for [`take_in`](Self::take_in).
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// When [`due`](Self::due) should be asked, if nothing comes before.
    pub fn deadline(&self) -> Option<Moment> {
        let pending = self.pending.as_ref()?;
        Some(pending.jitter_until.map_or(pending.quiet_at, |until| until.max(pending.quiet_at)))
    }

    /// What is to be said since this was last asked, each a sentence for the log.
    pub fn take_warnings(&mut self) -> Vec<String> {
        mem::take(&mut self.warnings)
    }

    /// Takes in what the kernel has to say, without waiting and within bounds: what is left keeps
    /// the descriptor readable. An error is what the kernel says instead.
    pub fn take_in(&mut self, now: Moment) -> io::Result<()> {
        let mut taken = Ok(());
        for _ in 0..READS_A_TURN {
            match self.inotify.read_events() {
                Ok(events) => events.iter().for_each(|event| self.notice(now, event)),
                // There is no more.
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Err(errno) => {
                    taken = Err(errno.into());
                    break;
                }
            }
        }
        self.walk_anew();
        taken
    }

    fn notice(&mut self, now: Moment, event: &InotifyEvent) {
        // What was lost when the queue overflowed may have been about any path.
        let all = event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
        // A write leads no path elsewhere, and may be one of thousands.
        let stale = !trail::WRITTEN.contains(event.mask);
        let mut changed = None;
        for watched in &mut self.watched {
            if all || watched.trail.concerns(event.wd, event.name.as_deref()) {
                watched.changed = true;
                watched.stale |= stale;
                changed = Some(&watched.path);
            }
        }
        let Some(path) = changed else { return };
        let pending = self.pending.get_or_insert(Pending {
            restless_since: now,
            quiet_at: now,
            jitter_until: None,
            complained: false,
        });
        if pending.quiet_at <= now {
            pending.restless_since = now;
        }
        pending.quiet_at = now + QUIET;
        if !pending.complained && now - pending.restless_since >= RESTLESS {
            pending.complained = true;
            self.warnings.push(restless(path, event.name.as_deref()));
        }
    }

    /// Walks the paths that may lead elsewhere, and forgets what they no longer touch.
    fn walk_anew(&mut self) {
        let mut left = BTreeSet::new();
        for watched in self.watched.iter_mut().filter(|watched| watched.stale) {
            watched.stale = false;
            let trail = Trail::walk(&self.inotify, &watched.path);
            let old = mem::replace(&mut watched.trail, trail);
            left.extend(old.watches());
            let troubles = watched.trail.troubles.iter();
            self.warnings.extend(troubles.filter(|one| !old.troubles.contains(one)).cloned());
            watched.missed &= watched.trail.why_missing().is_some();
        }
        for watch in left {
            if self.watched.iter().all(|watched| watched.trail.watches().all(|one| one != watch)) {
                // An error means that the kernel has removed it itself, with what it watched.
                let _ = self.inotify.rm_watch(watch);
            }
        }
    }

    /// The path whose change is to be acted upon now, once; with several, the first. To be asked
    /// after [`take_in`](Self::take_in). A path where nothing is has nothing to act upon; that is
    /// a warning, and its return is a change.
    pub fn due(&mut self, now: Moment) -> Option<PathBuf> {
        let pending = self.pending.as_mut().filter(|pending| pending.quiet_at <= now)?;
        for watched in &mut self.watched {
            let Some(why) = watched.trail.why_missing() else { continue };
            watched.changed = false;
            if !mem::replace(&mut watched.missed, true) {
                self.warnings.push(missing(&watched.path, why));
            }
        }
        if self.watched.iter().all(|watched| !watched.changed) {
            self.pending = None;
            return None;
        }
        let quiet_at = pending.quiet_at;
        let until = *pending.jitter_until.get_or_insert_with(|| quiet_at + random(self.jitter));
        if now < until {
            return None;
        }
        self.pending = None;
        let first = self.watched.iter().find(|watched| watched.changed);
        let first = first.map(|watched| watched.path.clone());
        for watched in &mut self.watched {
            watched.changed = false;
        }
        first
    }
}

/// The lowest numbers are standard input, output and error's, also where we were started without
/// them: those are held until one above them comes, and closed again.
fn inotify_above_stdio() -> nix::Result<Inotify> {
    let mut low = Vec::new();
    loop {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        if inotify.as_fd().as_raw_fd() > libc::STDERR_FILENO {
            return Ok(inotify);
        }
        low.push(inotify);
    }
}

/// A time from nothing up to a limit, from the seed that `std` gives each process for its maps.
fn random(limit: Duration) -> Duration {
    let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(RandomState::new().hash_one(()) % limit_ns.max(1))
}

fn missing(path: &Path, why: &str) -> String {
    format!("nothing to watch at {}, which will be noticed when it comes: {why}", path.display())
}

fn restless(path: &Path, last: Option<&OsStr>) -> String {
    let last = last.map(|name| format!(" (last {})", name.display())).unwrap_or_default();
    format!(
        "{} has kept changing for {} s{last}, so a restart for it waits: \
         watch what is written to less often",
        path.display(),
        RESTLESS.as_secs()
    )
}
