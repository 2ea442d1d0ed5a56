//! Everything that is special to Envoy. The core does not know its name: it is told a [`View`],
//! and what became of a repair ([`Mended`]).
//!
//! An Envoy that can hot restart maps `/dev/shm/envoy_shared_memory_<base id * 10>`, which all
//! its epochs share. Seen from outside a child attaches to that memory, raises the flag
//! INITIALIZING in it, installs its signal handlers, and lowers the flag when it serves. All
//! three together are exact; the flag alone says nothing, since it is down before the child
//! attaches. (Measured with Envoy 1.40.0.)

pub mod admin;
pub mod drain;
mod seen;
pub mod shared_memory;

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::socket::UnixCredentials;

pub use seen::Envoys;

use crate::procfs::Procfs;
use crate::signal::Signal;
use crate::supervisor::{Mended, Pid, View};
use crate::sys;

use shared_memory::{Flag, Mapping, SharedMemory, flag, lower_flag, mapping_in};

/// How many processes of an epoch are looked at to find its Envoy, nearest to the leader first.
const LOOKED_AT: usize = 256;
/// How many processes that belong to no epoch are looked at before a repair, the latest first.
const STRAYS_LOOKED_AT: usize = 1024;

/// An epoch, as the rest of us knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Its number.
    pub number: u32,
    /// Its leader, and the number of its process group.
    pub leader: Pid,
}

/// What a look at an epoch shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sight {
    /// How far it is.
    view: View,
    /// It has attached to the shared memory, and the flag in it is up.
    raised: bool,
}

fn look(procfs: Option<&Procfs>, epoch: Epoch, target: &[OsString]) -> Sight {
    let Some(procfs) = procfs else {
        return Sight { view: view_without_proc(target), raised: false };
    };
    match find(procfs, epoch.leader) {
        Found::Mapped(pid, mapping) => sight_by_maps(procfs, pid, &mapping.path),
        Found::Hidden(hidden) => sight_of_hidden(procfs, &hidden, epoch.number),
        Found::Nothing => Sight { view: View::Silent, raised: false },
    }
}

/// Whether an epoch has an Envoy still: one that dies has no memory any more, long before its parent
/// hears of its end.
fn has_envoy(procfs: Option<&Procfs>, epoch: Epoch) -> bool {
    procfs.is_none_or(|procfs| match find(procfs, epoch.leader) {
        Found::Mapped(..) | Found::Hidden(_) => true,
        Found::Nothing => false,
    })
}

/// The base id of an epoch's Envoy, as far as its shared memory tells.
pub fn base_id(procfs: Option<&Procfs>, epoch: Epoch) -> Option<u64> {
    let procfs = procfs?;
    let path = match find(procfs, epoch.leader) {
        Found::Mapped(_, mapping) => mapping.path,
        Found::Hidden(hidden) => {
            let sockets = procfs.unix_sockets().unwrap_or_default();
            tie(procfs, &hidden, &sockets, epoch.number)?.path
        }
        Found::Nothing => return None,
    };
    Some(shared_memory::times_ten(path.file_name()?)? / 10)
}

/// The handlers are looked at before the flag: the flag goes down after they are installed.
fn sight_by_maps(procfs: &Procfs, pid: Pid, path: &Path) -> Sight {
    let handles = procfs.catches(pid, Signal::USR1).unwrap_or(false);
    let flag = flag(path);
    let view = match flag {
        Flag::Down if handles => View::Ready,
        Flag::Unknown if handles => View::Unreadable,
        Flag::Up | Flag::Down | Flag::Unknown => View::Starting,
    };
    Sight { view, raised: flag == Flag::Up }
}

/// Who has bound the sockets of an epoch has raised the flag before, and installs its handlers
/// before it lowers it. Sockets without handlers are those of a failed epoch of the same number,
/// which the kernel has not closed yet.
fn sight_of_hidden(procfs: &Procfs, hidden: &[Pid], epoch: u32) -> Sight {
    let sockets = procfs.unix_sockets().unwrap_or_default();
    let Some(Tie { path, by }) = tie(procfs, hidden, &sockets, epoch) else {
        return Sight { view: View::Silent, raised: false };
    };
    let catches = |pid: &Pid| procfs.catches(*pid, Signal::USR1);
    // Where its sockets are in another network namespace the handlers alone tell that it is past
    // the beginning; where its status is hidden as well, the sockets.
    let attached = by.is_some_and(|pid| catches(&pid).unwrap_or(false))
        || (has_bound(&sockets, &path, epoch)
            && hidden.iter().any(|pid| catches(pid).unwrap_or(true)));
    let flag = flag(&path);
    let view = match flag {
        Flag::Down if attached => View::Ready,
        // Attached to what is not ours to read.
        Flag::Unknown if attached => View::Unreadable,
        Flag::Down | Flag::Up | Flag::Unknown => View::Starting,
    };
    Sight { view, raised: attached && flag == Flag::Up }
}

/// With no /proc at all there is the flag, if we know whose, and it is no proof when it is down.
fn view_without_proc(target: &[OsString]) -> View {
    match named_by(target).map(|path| flag(&path)) {
        Some(Flag::Up) => View::Starting,
        Some(Flag::Down | Flag::Unknown) => View::Unreadable,
        None => View::Silent,
    }
}

/// Lowers the flag that an epoch has left up which is over without ever having been ready, in
/// the memory of the epoch that is in service instead. Without that no later epoch can start.
///
/// The leader of `failed` has been reaped and its group has been sent SIGKILL; `survivor` and
/// `older`, the leaders of all other epochs that live, are not reaped. [`Mended::Busy`] asks to be
/// asked again, after a while or, where what is left will not go, at the next restart.
fn mend(
    procfs: Option<&Procfs>,
    failed: Epoch,
    survivor: Epoch,
    older: &[Pid],
    target: &[OsString],
) -> Mended {
    // A member that has not been reaped may have a thread that still runs. The number may have
    // passed to a stranger's group when we are asked days later; that only costs another wait.
    if sys::group_exists(failed.leader) {
        return Mended::Busy;
    }
    let Some(procfs) = procfs else {
        return mend_without_proc(target);
    };
    let sockets = procfs.unix_sockets().unwrap_or_default();
    let memory = match find(procfs, survivor.leader) {
        // A start script that was ready by the clock may have come to its Envoy just now.
        Found::Mapped(pid, _) if !procfs.catches(pid, Signal::USR1).unwrap_or(false) => {
            return Mended::Refused("the epoch in service initialises itself".into());
        }
        Found::Mapped(pid, Mapping { path, file }) => {
            SharedMemory { path, file: Some(file), owners: users(procfs, &[pid]) }
        }
        Found::Hidden(hidden) => {
            let tied = tie(procfs, &hidden, &sockets, survivor.number).map(|tie| tie.path);
            match tied.or_else(|| named_by(target)) {
                Some(path) => SharedMemory { path, file: None, owners: users(procfs, &hidden) },
                None => return mend_without_a_tie(),
            }
        }
        Found::Nothing => return Mended::Clean,
    };
    if lingers(procfs, failed, survivor, older, &memory, &sockets) {
        return Mended::Busy;
    }
    lower_flag(&memory)
}

/// With no /proc at all there is the base id, if the command line names it. What the failed epoch
/// may have left behind outside its group cannot be seen then. If that were initialising, the
/// next start would find its sockets taken and fail, no worse than by the flag.
fn mend_without_proc(target: &[OsString]) -> Mended {
    match named_by(target) {
        Some(path) => lower_flag(&SharedMemory { path, file: None, owners: vec![own_user()] }),
        None => mend_without_a_tie(),
    }
}

/// Nothing ties a file to the epoch in service: it may be no Envoy, and any flag another's.
fn mend_without_a_tie() -> Mended {
    if shared_memory::all().all(|path| flag(&path) == Flag::Down) {
        return Mended::Clean;
    }
    Mended::Refused(
        "nothing tells which shared memory in /dev/shm is that of the epoch in service, so none \
         is touched; if its flag INITIALIZING is up, no restart succeeds before every epoch has \
         ended; --base-id on the command line would tell"
            .to_owned(),
    )
}

/// Whether a process that a failed epoch has left behind, outside its group, still has the memory
/// or the sockets.
///
/// An epoch that retired before may have left its Envoy behind as well, draining, when the
/// target did not `exec` it (nor outlive its start: Envoy asks for SIGTERM when its parent dies).
/// That one was started as another number, and is not waited for.
fn lingers(
    procfs: &Procfs,
    failed: Epoch,
    survivor: Epoch,
    older: &[Pid],
    memory: &SharedMemory,
    sockets: &[u8],
) -> bool {
    let living: Vec<Pid> = older.iter().copied().chain([survivor.leader]).collect();
    let mut retired_has_sockets = false;
    for pid in procfs.strays(&living, STRAYS_LOOKED_AT) {
        let (has_memory, hidden) = match look_at(procfs, pid) {
            Look::Maps(mapping) => match memory.file {
                Some(file) => (mapping.file == file, false),
                None => (mapping.path == memory.path, false),
            },
            Look::Hidden => (false, true),
            Look::Nothing => (false, false),
        };
        match started_as(procfs, pid) {
            Some(number) if number != failed.number => {
                let same_names = number % 3 == failed.number % 3;
                retired_has_sockets |= same_names && (has_memory || hidden);
            }
            Some(_) | None if has_memory => return true,
            Some(_) | None => {}
        }
    }
    // A process whose maps are hidden, or gone because it is about to end: the kernel closes its
    // sockets later than that, and until then the number cannot be started again. That the
    // survivor's are there as well tells that such names are ours.
    let bound = |epoch: Epoch| has_bound(sockets, &memory.path, epoch.number);
    !retired_has_sockets && bound(survivor) && bound(failed)
}

/// The number of the epoch that a process was started for: what Envoy goes by, or else what we
/// have put into its environment.
fn started_as(procfs: &Procfs, pid: Pid) -> Option<u32> {
    let arguments = procfs.command_line(pid).unwrap_or_default();
    number_after(b"--restart-epoch", arguments.iter().map(Vec::as_slice))
        .or_else(|| epoch_in(procfs.environment(pid).ok()?.iter().map(Vec::as_slice)))
}

/// The epoch that an environment names.
pub fn epoch_in<'a>(environment: impl IntoIterator<Item = &'a [u8]>) -> Option<u32> {
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse().ok();
    environment.into_iter().find_map(|entry| number(entry.strip_prefix(b"RESTART_EPOCH=")?))
}

/// The effective users of these processes; our own where none can be told.
fn users(procfs: &Procfs, processes: &[Pid]) -> Vec<u32> {
    let mut users: Vec<u32> =
        processes.iter().filter_map(|pid| procfs.effective_user(*pid)).collect();
    users.sort_unstable();
    users.dedup();
    if users.is_empty() { vec![own_user()] } else { users }
}

/// Our real user, which is the effective one too, since nobody installs an init set-uid.
fn own_user() -> u32 {
    UnixCredentials::new().uid()
}

/// How the Envoy of an epoch was found.
enum Found {
    /// This member maps a shared memory.
    Mapped(Pid, Mapping),
    /// None does, but the maps of these members are not ours to read.
    Hidden(Vec<Pid>),
    /// It has none.
    Nothing,
}

fn find(procfs: &Procfs, leader: Pid) -> Found {
    let mut hidden = Vec::new();
    for pid in procfs.members(leader, LOOKED_AT) {
        match look_at(procfs, pid) {
            Look::Maps(mapping) => return Found::Mapped(pid, mapping),
            Look::Hidden => hidden.push(pid),
            Look::Nothing => {}
        }
    }
    if hidden.is_empty() { Found::Nothing } else { Found::Hidden(hidden) }
}

/// What the maps of a process show.
enum Look {
    Maps(Mapping),
    /// No shared memory, or the process is gone.
    Nothing,
    /// They are not ours to read: it runs as another user, or has file capabilities.
    Hidden,
}

fn look_at(procfs: &Procfs, pid: Pid) -> Look {
    match procfs.maps(pid) {
        Ok(maps) => mapping_in(&maps).map_or(Look::Nothing, Look::Maps),
        // What exists and is not there is hidden; a child that we have not reaped exists.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !sys::process_exists(pid) => {
            Look::Nothing
        }
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Look::Nothing,
        Err(_) => Look::Hidden,
    }
}

/// The shared memory that belongs to an epoch whose maps are hidden.
struct Tie {
    path: PathBuf,
    /// The member whose command line names it.
    by: Option<Pid>,
}

/// Another Envoy's file may lie in the same `/dev/shm`, so a file counts only where something
/// ties it to this epoch: a member's `--base-id`, or sockets of the epoch's number that are bound.
fn tie(procfs: &Procfs, hidden: &[Pid], sockets: &[u8], epoch: u32) -> Option<Tie> {
    let named = hidden.iter().find_map(|pid| {
        let base_id = base_id_in(procfs.command_line(*pid).ok()?.iter().map(Vec::as_slice))?;
        Some(Tie { path: shared_memory::path_of(base_id), by: Some(*pid) })
    });
    named.or_else(|| {
        let path = only(shared_memory::all().filter(|path| has_bound(sockets, path, epoch)))?;
        Some(Tie { path, by: None })
    })
}

/// The one that there is, where there is exactly one.
fn only<T>(mut several: impl Iterator<Item = T>) -> Option<T> {
    let only = several.next()?;
    several.next().is_none().then_some(only)
}

/// The shared memory that the words of our own command line name.
fn named_by(target: &[OsString]) -> Option<PathBuf> {
    base_id_in(target.iter().map(|word| word.as_bytes())).map(shared_memory::path_of)
}

/// The value of `--base-id`, as Envoy's command line takes it.
pub fn base_id_in<'a>(arguments: impl IntoIterator<Item = &'a [u8]>) -> Option<u32> {
    number_after(b"--base-id", arguments)
}

/// The number that an option is given, in the word after it or behind an equals sign.
fn number_after<'a>(option: &[u8], arguments: impl IntoIterator<Item = &'a [u8]>) -> Option<u32> {
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse().ok();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix(option) {
            Some([]) => return number(arguments.next()?),
            Some([b'=', value @ ..]) => return number(value),
            Some(_) | None => {}
        }
    }
    None
}

/// Whether an Envoy of this epoch has bound its sockets, whose names end in the base id times
/// ten plus the epoch modulo three, by the lines of `/proc/net/unix`.
pub fn has_bound(sockets: &[u8], shared_memory: &Path, epoch: u32) -> bool {
    let times_ten = shared_memory.file_name().and_then(shared_memory::times_ten);
    let number = times_ten.and_then(|number| number.checked_add(u64::from(epoch % 3)));
    number.is_some_and(|number| {
        let name = format!("envoy_domain_socket_child_{number}");
        sockets.split(|byte| *byte == b'\n').any(|line| names_socket(line, name.as_bytes()))
    })
}

/// Whether a line of `/proc/net/unix` ends in this name, which the kernel pads with `@` where
/// the name that was bound was longer.
fn names_socket(line: &[u8], name: &[u8]) -> bool {
    let end = line.iter().rposition(|byte| *byte != b'@').map_or(0, |last| last + 1);
    line[..end].ends_with(name)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn sockets_belong_to_a_base_id_and_an_epoch() {
        let sockets = b"Num\n0: 2 0 0 2 1 9 @envoy_domain_socket_child_72@@\n1: 2 0 0 2 1 8\n";
        let path = shared_memory::path_of(7);
        assert!(has_bound(sockets, &path, 2) && has_bound(sockets, &path, 5));
        assert!(!has_bound(sockets, &path, 0) && !has_bound(sockets, &path, 1));
        assert!(!has_bound(sockets, &shared_memory::path_of(6), 2));
        assert!(!has_bound(sockets, Path::new("/dev/shm/other"), 2));
        let most = format!("/dev/shm/envoy_shared_memory_{}", u64::MAX);
        assert!(!has_bound(sockets, Path::new(&most), 2));
    }

    #[test]
    fn a_group_that_exists_has_processes_yet_to_go() {
        // Our own group stands for that of the failed epoch.
        let group = crate::procfs::process_group(Pid(0)).expect("we are in a group");
        let failed = Epoch { number: 1, leader: group };
        let survivor = Epoch { number: 0, leader: Pid(i32::MAX) };
        let target = [OsString::from("envoy"), "--base-id=4294967".into()];
        assert_eq!(mend(None, failed, survivor, &[], &target), Mended::Busy);
        // No such process, and no such file.
        let gone = Epoch { number: 1, leader: Pid(i32::MAX) };
        assert_eq!(mend(None, gone, survivor, &[], &target), Mended::Clean);
    }
}
