//! The way to what a path leads to, with a watch at each step.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, Inotify, WatchDescriptor};

/// How many links a path may lead through; as many as the kernel follows (`path_resolution(7)`).
const LINKS_LIMIT: usize = 40;

/// What happens to names in a folder, and to the folder itself.
const NAMES: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVE)
    .union(ITSELF);

/// That what is watched is renamed; that it is gone the kernel tells unasked. The folder that it
/// is in says the same, except where that may not be read.
const ITSELF: AddWatchFlags = AddWatchFlags::IN_MOVE_SELF;

/// What happens to content. What is written through a mapping shows when the file is closed.
pub(super) const WRITTEN: AddWatchFlags =
    AddWatchFlags::IN_MODIFY.union(AddWatchFlags::IN_CLOSE_WRITE);

/// A path, followed to its end.
#[derive(Debug)]
pub(super) struct Trail {
    steps: Vec<Step>,
    pub(super) end: End,
    /// What could not be watched, each a sentence for the log.
    pub(super) troubles: Vec<String>,
}

/// One watch, and what of it matters.
#[derive(Debug)]
struct Step {
    watch: WatchDescriptor,
    /// The name that was looked up in this folder; `None` at the end, where everything matters.
    name: Option<OsString>,
}

/// What a path leads to, by a path without links.
#[derive(Debug)]
pub(super) enum End {
    File(PathBuf),
    Folder(PathBuf),
    /// Nothing, or nothing that we could find: why, in a clause for the log.
    Missing(String),
}

/// What a walk has found so far.
struct Walker<'a> {
    inotify: &'a Inotify,
    steps: Vec<Step>,
    troubles: Vec<String>,
}

impl Walker<'_> {
    /// Follows a path component by component; an error says why it ends nowhere.
    fn follow(&mut self, path: &Path) -> Result<End, String> {
        let mut here = PathBuf::from("/");
        // What is still to be followed, the next one last.
        let mut ahead = Vec::new();
        push_components(&mut ahead, path);
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == "/" || name == ".." {
                // Where we are is free of links, so that its parent is what its text says.
                here = here.parent().filter(|_| name == "..").unwrap_or(Path::new("/")).into();
                continue;
            }
            // Watched before the name is looked up: what changes later is told, what has changed
            // before is seen.
            self.watch(&here, NAMES | AddWatchFlags::IN_ONLYDIR, Some(&name));
            here.push(name);
            let failed = |error: io::Error| format!("{}: {error}", here.display());
            if fs::symlink_metadata(&here).map_err(failed)?.is_symlink() {
                links += 1;
                if links > LINKS_LIMIT {
                    return Err(failed(Errno::ELOOP.into()));
                }
                push_components(&mut ahead, &fs::read_link(&here).map_err(failed)?);
                here.pop();
            }
        }
        match fs::symlink_metadata(&here) {
            Err(error) => Err(format!("{}: {error}", here.display())),
            Ok(found) if found.is_dir() => {
                self.watch(&here, NAMES | WRITTEN | AddWatchFlags::IN_ONLYDIR, None);
                Ok(End::Folder(here))
            }
            Ok(_) => {
                self.watch(&here, ITSELF | WRITTEN, None);
                Ok(End::File(here))
            }
        }
    }

    fn watch(&mut self, path: &Path, mask: AddWatchFlags, name: Option<&OsStr>) {
        // The kernel has one watch for a file, whichever path leads to it, so that what another
        // path asked for must stay. `nix` has no name for the flag that says so.
        let add = AddWatchFlags::from_bits_retain(libc::IN_MASK_ADD);
        match self.inotify.add_watch(path, mask | add | AddWatchFlags::IN_DONT_FOLLOW) {
            Ok(watch) => self.steps.push(Step { watch, name: name.map(OsStr::to_owned) }),
            // It has just gone, and the folder that it was in tells so; or it is no folder, which
            // the lookup will find.
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => {
                let path = path.display();
                let cause = io::Error::from(errno);
                let advice = if errno == Errno::ENOSPC {
                    " (raise the sysctl fs.inotify.max_user_watches)"
                } else {
                    ""
                };
                self.troubles.push(format!(
                    "cannot watch {path}, so changes there go unnoticed: {cause}{advice}"
                ));
            }
        }
    }
}

impl Trail {
    /// Follows a path, and watches all that it depends on.
    pub(super) fn walk(inotify: &Inotify, path: &Path) -> Self {
        let mut walker = Walker { inotify, steps: Vec::new(), troubles: Vec::new() };
        let end = walker.follow(path).unwrap_or_else(End::Missing);
        Self { steps: walker.steps, end, troubles: walker.troubles }
    }

    /// Whether an event on a watch is about this path. One without a name is about the watched
    /// file or folder itself.
    pub(super) fn concerns(&self, watch: WatchDescriptor, name: Option<&OsStr>) -> bool {
        self.steps.iter().any(|step| {
            step.watch == watch
                && (name.is_none() || step.name.is_none() || step.name.as_deref() == name)
        })
    }

    pub(super) fn watches(&self) -> impl Iterator<Item = WatchDescriptor> {
        self.steps.iter().map(|step| step.watch)
    }

    pub(super) fn why_missing(&self) -> Option<&str> {
        match &self.end {
            End::File(_) | End::Folder(_) => None,
            End::Missing(why) => Some(why),
        }
    }
}

/// Puts a path's components upon what is ahead, the first one last.
fn push_components(ahead: &mut Vec<OsString>, path: &Path) {
    let components = path.components().rev();
    let components = components.filter(|component| *component != Component::CurDir);
    ahead.extend(components.map(|component| component.as_os_str().to_owned()));
}
