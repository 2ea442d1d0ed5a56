//! Everything that is special to Envoy. The core does not know its name: it is told a [`View`].
//!
//! An Envoy that can hot restart maps `/dev/shm/envoy_shared_memory_<base id * 10>`, which all
//! its epochs share. Seen from outside a child attaches to that memory, raises the flag
//! INITIALIZING in it, installs its signal handlers, and lowers the flag when it serves. All
//! three together are exact; the flag alone says nothing, since it is down before the child
//! attaches. (Measured with Envoy 1.40.0.)

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::procfs::Procfs;
use crate::signal::Signal;
use crate::supervisor::{Pid, View};
use crate::sys;

const SHARED_MEMORY_FOLDER: &str = "/dev/shm";
const SHARED_MEMORY_NAME: &str = "envoy_shared_memory_";

/// The hot restart version and the sizes of the shared memory that we know, as
/// `envoy --hot-restart-version` prints them: `11.104` on x86-64, `11.120` on aarch64.
const KNOWN_VERSION: u64 = 11;
const KNOWN_SIZES: [u64; 2] = [104, 120];
/// Bit 0 of the flags, the last word of the shared memory.
const INITIALIZING: u64 = 1;

/// How many processes of an epoch are looked at to find its Envoy, nearest to the leader first.
const LOOKED_AT: usize = 256;

/// Whether an Envoy is initialising, as its shared memory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// Nobody initialises.
    Down,
    /// Somebody does.
    Up,
    /// It is no shared memory of a version that we know, or not ours to read.
    Unknown,
}

/// Looks whether an epoch, which was started with these words, is ready: `--ready auto`.
pub fn view(procfs: Option<&Procfs>, leader: Pid, epoch: u32, target: &[OsString]) -> View {
    let Some(procfs) = procfs else {
        return view_without_proc(target);
    };
    let mut hidden = Vec::new();
    for pid in procfs.members(leader, LOOKED_AT) {
        match procfs.maps(pid) {
            Ok(maps) => {
                if let Some(path) = shared_memory_in(&maps) {
                    return view_by_maps(procfs, pid, &path);
                }
            }
            // What exists and is not there is hidden; a child that we have not reaped exists.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !sys::process_exists(pid) => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(_) => hidden.push(pid),
        }
    }
    if hidden.is_empty() {
        return View::Silent;
    }
    view_of_hidden(procfs, &hidden, epoch)
}

/// The handlers are looked at before the flag: the flag goes down after they are installed.
fn view_by_maps(procfs: &Procfs, pid: Pid, path: &Path) -> View {
    if !procfs.catches(pid, Signal::USR1).unwrap_or(false) {
        return View::Starting;
    }
    match flag(path) {
        Flag::Down => View::Ready,
        Flag::Up => View::Starting,
        Flag::Unknown => View::Unreadable,
    }
}

/// The members' maps are not ours to read: they run as another user, or have file capabilities.
///
/// Another Envoy's file may lie in the same `/dev/shm`, so a file counts only where something
/// ties it to this epoch: a member's `--base-id`, or sockets of the epoch's number that are bound.
fn view_of_hidden(procfs: &Procfs, hidden: &[Pid], epoch: u32) -> View {
    let sockets = procfs.unix_sockets().unwrap_or_default();
    let named = hidden.iter().find_map(|pid| {
        let base_id = base_id_in(procfs.command_line(*pid).ok()?.iter().map(Vec::as_slice))?;
        Some((*pid, shared_memory_path(base_id)))
    });
    let (path, attached) = if let Some((pid, path)) = named {
        // Where its sockets are in another network namespace the handlers tell that it is past
        // the beginning.
        let attached =
            has_bound(&sockets, &path, epoch) || procfs.catches(pid, Signal::USR1).unwrap_or(false);
        (path, attached)
    } else {
        match only(shared_memories().filter(|path| has_bound(&sockets, path, epoch))) {
            Some(path) => (path, true),
            None => return View::Silent,
        }
    };
    // Who has bound the sockets of an epoch has raised the flag before, and installs its
    // handlers before it lowers it.
    match flag(&path) {
        Flag::Down if attached => View::Ready,
        // Attached to what is not ours to read.
        Flag::Unknown if attached => View::Unreadable,
        Flag::Down | Flag::Up | Flag::Unknown => View::Starting,
    }
}

/// With no /proc at all there is the flag, if we know whose, and it is no proof when it is down.
fn view_without_proc(target: &[OsString]) -> View {
    let words = target.iter().map(|word| word.as_bytes());
    match base_id_in(words).map(|base_id| flag(&shared_memory_path(base_id))) {
        Some(Flag::Up) => View::Starting,
        Some(Flag::Down | Flag::Unknown) => View::Unreadable,
        None => View::Silent,
    }
}

/// The shared memory that a process has mapped, found in its `maps`. One that was unlinked since
/// keeps the kernel's mark, ` (deleted)`, so that nobody opens what another Envoy has made anew
/// under its name.
pub fn shared_memory_in(maps: &[u8]) -> Option<PathBuf> {
    let prefix = format!("{SHARED_MEMORY_FOLDER}/{SHARED_MEMORY_NAME}");
    maps.split(|byte| *byte == b'\n').find_map(|line| {
        // The path is the last field, and no other has a slash.
        let path = &line[line.iter().position(|byte| *byte == b'/')?..];
        let number = path.strip_prefix(prefix.as_bytes())?.first()?;
        number.is_ascii_digit().then(|| PathBuf::from(OsStr::from_bytes(path)))
    })
}

/// Where the epochs of a base id share their memory.
fn shared_memory_path(base_id: u32) -> PathBuf {
    let name = format!("{SHARED_MEMORY_NAME}{}", u64::from(base_id) * 10);
    Path::new(SHARED_MEMORY_FOLDER).join(name)
}

/// Every Envoy's file.
fn shared_memories() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(SHARED_MEMORY_FOLDER).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().as_bytes().starts_with(SHARED_MEMORY_NAME.as_bytes()))
        .map(|entry| entry.path())
}

/// The one that there is, where there is exactly one.
fn only<T>(mut several: impl Iterator<Item = T>) -> Option<T> {
    let only = several.next()?;
    several.next().is_none().then_some(only)
}

/// The value of `--base-id`, as Envoy's command line takes it.
pub fn base_id_in<'a>(arguments: impl IntoIterator<Item = &'a [u8]>) -> Option<u32> {
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse().ok();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == b"--base-id" {
            return number(arguments.next()?);
        }
        if let Some(value) = argument.strip_prefix(b"--base-id=") {
            return number(value);
        }
    }
    None
}

/// Whether an Envoy of this epoch has bound its sockets, whose names end in the base id times
/// ten plus the epoch modulo three.
fn has_bound(sockets: &[u8], shared_memory: &Path, epoch: u32) -> bool {
    let times_ten = shared_memory
        .file_name()
        .and_then(|name| name.to_str()?.strip_prefix(SHARED_MEMORY_NAME)?.parse::<u64>().ok());
    times_ten.is_some_and(|times_ten| {
        let name = format!("envoy_domain_socket_child_{}", times_ten + u64::from(epoch % 3));
        sockets.split(|byte| *byte == b'\n').any(|line| names_socket(line, name.as_bytes()))
    })
}

/// Whether a line of `/proc/net/unix` ends in this name, which the kernel pads with `@` where
/// the name that was bound was longer.
fn names_socket(line: &[u8], name: &[u8]) -> bool {
    let end = line.iter().rposition(|byte| *byte != b'@').map_or(0, |last| last + 1);
    line[..end].ends_with(name)
}

/// Reads the flag. The file is read rather than mapped: the same page of memory answers, and
/// one that is cut short under us gives an error instead of a SIGBUS.
pub fn flag(path: &Path) -> Flag {
    let open = || -> io::Result<File> {
        OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
    };
    let read = |file: &File| -> io::Result<Flag> {
        let word = |at: u64| -> io::Result<u64> {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at)?;
            Ok(u64::from_ne_bytes(bytes))
        };
        let size = word(0)?;
        let known =
            file.metadata()?.is_file() && KNOWN_SIZES.contains(&size) && word(8)? == KNOWN_VERSION;
        Ok(match known {
            true if word(size - 8)? & INITIALIZING == 0 => Flag::Down,
            true => Flag::Up,
            false => Flag::Unknown,
        })
    };
    open().and_then(|file| read(&file)).unwrap_or(Flag::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_memory_is_found_in_maps() {
        let maps = b"7f00-7f01 r-xp 00000000 08:01 7   /usr/bin/envoy\n\
            7f30-7f31 rw-s 00000000 00:1b 2   /dev/shm/envoy_shared_memory_70\n";
        let path = PathBuf::from("/dev/shm/envoy_shared_memory_70");
        assert_eq!(shared_memory_in(maps), Some(path));
        let deleted = b"7f30-7f31 rw-s 0 00:1b 2 /dev/shm/envoy_shared_memory_70 (deleted)\n";
        let path = PathBuf::from("/dev/shm/envoy_shared_memory_70 (deleted)");
        assert_eq!(shared_memory_in(deleted), Some(path));
        assert_eq!(shared_memory_in(b"7f30 rw-s 0 00:1b 2 /dev/shm/envoy_shared_memory_\n"), None);
        assert_eq!(
            shared_memory_in(b"7f30 rw-s 0 00:1b 2 /tmp/dev/shm/envoy_shared_memory_0"),
            None
        );
        assert_eq!(shared_memory_in(b""), None);
    }

    #[test]
    fn the_base_id_is_found_in_arguments() {
        let found = |line: &'static str| base_id_in(line.split(' ').map(str::as_bytes));
        assert_eq!(found("envoy --base-id 7 -c x"), Some(7));
        assert_eq!(found("envoy --base-id=12"), Some(12));
        for none in ["envoy", "envoy --base-id", "envoy --base-id x", "envoy --base-id-path 3"] {
            assert_eq!(found(none), None, "{none}");
        }
    }

    #[test]
    fn socket_names_are_compared_whole() {
        let line = b"00: 00000002 00000000 00000000 0002 01 99 @envoy_domain_socket_child_70@@@@";
        assert!(names_socket(line, b"envoy_domain_socket_child_70"));
        assert!(!names_socket(line, b"envoy_domain_socket_child_7"));
        assert!(!names_socket(b"", b"envoy_domain_socket_child_70"));
    }
}
