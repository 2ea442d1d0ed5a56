//! Where a soak takes place: in a folder and a mount namespace of its own, with a keeper beside it.
//!
//! Whoever kills a soak gives it no time to clear away. So all that it makes has its pid: its
//! processes in their environment, its folder, control groups and tracing instances in their names.
//! Its mounts go with its namespace. The keeper, which is no part of it, waits for its end and clears
//! away the rest; where the keeper is killed as well, the next soak does that as it begins. What is
//! known of lives that broke a promise stays.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libc::SIGKILL;
use support::processes;
use support::trial::succeeds;

use crate::cgroup::Controller;
use crate::handle::Handle;

/// The pid of the soak that a process belongs to.
const OF: &str = "SOAK_OF";
/// The pid of the soak whose keeper a process is.
const KEEPS: &str = "SOAK_KEEPS";
/// How the name of everything begins; the pid follows.
const NAME: &str = "soak-";
/// How the name of what stays begins.
const DOSSIER: &str = "soak-life-";
/// Every kernel that can trace has this folder. We are alone in our mount namespace.
const TRACEFS: &str = "/sys/kernel/tracing";
/// How long what was killed may take to be gone.
const BOUND: Duration = Duration::from_secs(20);

/// A name for something of this soak's.
pub(crate) fn name(what: &str) -> String {
    format!("{NAME}{}-{what}", process::id())
}

/// Takes up a place of our own, for which this executes the program once more, and clears away what
/// dead soaks have left. Needs root.
#[expect(clippy::zombie_processes, reason = "the keeper outlives us")]
pub(crate) fn take() {
    let own = process::id().to_string();
    if env::var_os(OF).is_some_and(|of| *of == *own) {
        let folder = env::temp_dir();
        // What bears our number by now is another's, who had it before us.
        let is_dead = |pid| i32::try_from(process::id()) == Ok(pid) || !is_live(pid);
        clear(is_dead, folder.parent().expect("it is ours"));
        fs::create_dir_all(folder).expect("a folder among the temporary ones");
        return;
    }
    let folder = env::temp_dir().join(format!("{NAME}{own}"));
    let mut keeper = again();
    keeper.env(KEEPS, &own).env_remove(OF).process_group(0);
    keeper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    keeper.spawn().expect("a keeper runs");
    let error = again().args(env::args_os().skip(1)).env(OF, &own).env("TMPDIR", folder).exec();
    panic!("unshare cannot be executed: {error}");
}

/// Gives the place up, when all is over, and the keeper.
pub(crate) fn leave() {
    leave_folder(&env::temp_dir());
    let own = i32::try_from(process::id()).expect("a pid is an int");
    if let Some(keeper) = keeper_of(own) {
        keeper.signal(SIGKILL);
        // SAFETY: the call takes integers and a null pointer, which it allows.
        unsafe { libc::waitpid(keeper.pid, std::ptr::null_mut(), 0) };
    }
}

/// The keeper of a soak.
pub(crate) fn keeper_of(soak: i32) -> Option<Handle> {
    let mark = format!("{KEEPS}={soak}");
    let children = processes::children(soak).into_iter().map(|child| child.pid);
    let mut keepers = children.filter(|child| processes::has_variable(*child, &mark));
    keepers.find_map(|keeper| Handle::of_child(keeper, soak))
}

/// Keeps the soak that has started us, if we are a keeper; whether we are.
pub(crate) fn keep() -> bool {
    let Some(pid) = env::var_os(KEEPS) else { return false };
    let pid = pid.to_str().and_then(|pid| pid.parse().ok()).expect("a pid");
    // Else it has ended already.
    if let Some(soak) = Handle::of_parent(pid) {
        soak.await_end();
    }
    clear(|of| of == pid, &env::temp_dir());
    true
}

/// This program in a mount namespace of its own.
fn again() -> Command {
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount").arg(env::current_exe().expect("/proc is mounted"));
    unshare
}

/// Whether a soak lives, as far as can be told: somebody of its number does.
fn is_live(pid: i32) -> bool {
    processes::process(pid).is_some_and(|process| process.state != 'Z')
}

/// Clears away all that these soaks have left, in this folder for temporary ones and elsewhere.
fn clear(of: impl Fn(i32) -> bool, temporary: &Path) {
    let since = Instant::now();
    // Who is killed may have had a child a moment ago, and leaves its control groups by and by.
    while since.elapsed() < BOUND {
        let left = remains(&of, temporary);
        let waits = left.iter().any(|one| !matches!(one, Remains::Folder(_)));
        left.into_iter().for_each(Remains::clear);
        if !waits {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    let left = remains(&of, temporary);
    if !left.is_empty() {
        eprintln!("what dead soaks have left cannot be cleared away: {left:?}");
    }
}

/// Something that a soak has left.
#[derive(Debug)]
pub(crate) enum Remains {
    /// A process, and what it was executed as.
    Process(Handle, #[expect(dead_code, reason = "for reports")] Vec<String>),
    /// What is removed like an empty folder, and is the kernel's.
    Group(PathBuf),
    /// A folder of files.
    Folder(PathBuf),
}

impl Remains {
    /// Clears it away; what cannot be yet stays.
    fn clear(self) {
        match self {
            Self::Process(process, _) => drop(process.signal(SIGKILL)),
            Self::Group(folder) => drop(fs::remove_dir(folder)),
            Self::Folder(folder) => leave_folder(&folder),
        }
    }
}

/// What these soaks have left, in this folder for temporary ones and elsewhere.
pub(crate) fn remains(of: impl Fn(i32) -> bool, temporary: &Path) -> Vec<Remains> {
    let of_them = |pid: Option<i32>| pid.is_some_and(&of);
    let mut found = Vec::new();
    for pid in processes::all() {
        let is_theirs = || of_them(owner(pid));
        // A zombie has no environment any more.
        if is_theirs()
            && u32::try_from(pid) != Ok(process::id())
            && let Some(process) = Handle::of(pid, is_theirs)
        {
            found.push(Remains::Process(process, processes::command_line(pid)));
        }
    }
    let mut groups = Controller::ALL.map(Controller::folder).to_vec();
    groups.extend(instances());
    for folder in groups {
        let entries = entries(&folder).filter(|entry| of_them(named(entry)));
        found.extend(entries.map(Remains::Group));
    }
    let folders = entries(temporary).filter(|entry| of_them(named(entry)));
    found.extend(folders.filter(|folder| !is_left(folder)).map(Remains::Folder));
    found
}

/// Where the tracing instances are, if this machine has any.
fn instances() -> Option<PathBuf> {
    let instances = Path::new(TRACEFS).join("instances");
    let mut mount = Command::new("mount");
    let mount = mount.args(["-t", "tracefs", NAME, TRACEFS]);
    (instances.exists() || succeeds(mount)).then_some(instances)
}

/// The soak that a process belongs to.
fn owner(pid: i32) -> Option<i32> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let value =
        variables.find_map(|entry| entry.strip_prefix(OF.as_bytes())?.strip_prefix(b"="))?;
    str::from_utf8(value).ok()?.parse().ok()
}

/// The soak that something belongs to by its name.
fn named(path: &Path) -> Option<i32> {
    let rest = path.file_name()?.to_str()?.strip_prefix(NAME)?;
    rest.split('-').next()?.parse().ok()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn stays(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str);
    name.is_some_and(|name| name.starts_with(DOSSIER))
}

/// Whether nothing is in a folder but what stays.
fn is_left(folder: &Path) -> bool {
    let mut within = entries(folder).peekable();
    within.peek().is_some() && within.all(|path| stays(&path))
}

/// Removes a folder, but for what stays in it.
fn leave_folder(folder: &Path) {
    for path in entries(folder).filter(|path| !stays(path)) {
        let _: io::Result<()> = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }
    let _ = fs::remove_dir(folder);
}
