//! The memory that the epochs of an Envoy share: where its file is, what it says, and the one
//! repair that we make in it.
//!
//! `/dev/shm/envoy_shared_memory_<base id * 10>` begins with its size and the hot restart version
//! and ends in a word of flags. A new epoch raises INITIALIZING when it attaches and lowers it
//! when it serves. One that dies in between leaves it up, and every later start then exits with
//! `previous envoy process is still initializing`. (Measured with Envoy 1.40.0.)

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::supervisor::Mended;

const FOLDER: &str = "/dev/shm";
const NAME: &str = "envoy_shared_memory_";
/// What the kernel appends to the path of a mapping whose file was unlinked.
const DELETED: &[u8] = b" (deleted)";

/// The hot restart version and the sizes of the shared memory that we know, as
/// `envoy --hot-restart-version` prints them: `11.104` on x86-64, `11.120` on aarch64.
const KNOWN_VERSION: u64 = 11;
const KNOWN_SIZES: [u64; 2] = [104, 120];
/// Bit 0 of the flags, the last word of the shared memory.
const INITIALIZING: u64 = 1;

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

/// Which file it is, whatever its name leads to by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The device, as `stat` numbers it.
    pub device: u64,
    /// The inode on it.
    pub inode: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A shared memory that a process has mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its path when it was mapped. One that was unlinked since keeps the kernel's mark,
    /// ` (deleted)`, so that nobody opens what another Envoy has made anew under its name.
    pub path: PathBuf,
    /// The file itself.
    pub file: FileId,
}

/// The shared memory of an epoch, and all that tells it from a stranger's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedMemory {
    /// Its path.
    pub path: PathBuf,
    /// The file that the epoch maps, where its maps are ours to read.
    pub file: Option<FileId>,
    /// Its owner is one of these users.
    pub owners: Vec<u32>,
}

/// The shared memory among the mappings of a process, by its `maps`.
pub fn mapping_in(maps: &[u8]) -> Option<Mapping> {
    maps.split(|byte| *byte == b'\n').find_map(mapping)
}

/// One line of `maps`: addresses, rights, offset, `major:minor` in hexadecimal, inode, path.
fn mapping(line: &[u8]) -> Option<Mapping> {
    // The path is the last field, and no other has a slash.
    let (fields, path) = line.split_at(line.iter().position(|byte| *byte == b'/')?);
    let named = path.strip_suffix(DELETED).unwrap_or(path);
    let name = named.strip_prefix(FOLDER.as_bytes())?.strip_prefix(b"/")?;
    times_ten(OsStr::from_bytes(name))?;
    let mut fields = std::str::from_utf8(fields).ok()?.split_ascii_whitespace().skip(3);
    let (major, minor) = fields.next()?.split_once(':')?;
    let part = |digits| u32::from_str_radix(digits, 16).ok();
    let device = libc::makedev(part(major)?, part(minor)?);
    let inode = fields.next()?.parse().ok()?;
    let path = PathBuf::from(OsStr::from_bytes(path));
    Some(Mapping { path, file: FileId { device, inode } })
}

/// Where the epochs of a base id share their memory.
pub fn path_of(base_id: u32) -> PathBuf {
    Path::new(FOLDER).join(format!("{NAME}{}", u64::from(base_id) * 10))
}

/// The number that the name of a shared memory ends in: the base id times ten.
pub fn times_ten(name: &OsStr) -> Option<u64> {
    let digits = name.to_str()?.strip_prefix(NAME)?;
    // `parse` would take a sign as well.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Every Envoy's file.
pub fn all() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    entries.filter(|entry| times_ten(&entry.file_name()).is_some()).map(|entry| entry.path())
}

/// Reads the flag. The file is read rather than mapped: the same page of memory answers, and
/// one that is cut short under us gives an error instead of a SIGBUS.
pub fn flag(path: &Path) -> Flag {
    let look = || -> Result<Flag, Unfit> {
        let file = open(path, false)?;
        plain(&file)?;
        Ok(if Flags::read(&file)?.is_up() { Flag::Up } else { Flag::Down })
    };
    look().unwrap_or(Flag::Unknown)
}

/// Lowers a flag that a dead epoch has left up, unless anything about the file is not as it
/// should be: then it is not touched.
///
/// The caller vouches that nobody who shares this memory is initialising. Nothing else would: the
/// next start of an Envoy takes the flag at its word.
pub fn lower_flag(memory: &SharedMemory) -> Mended {
    try_to_lower(memory).unwrap_or_else(|Unfit(why)| {
        let path = memory.path.display();
        Mended::Refused(format!(
            "{path} {why}, so it is left as it is; if its flag INITIALIZING is up, no restart \
             succeeds before every epoch has ended"
        ))
    })
}

fn try_to_lower(memory: &SharedMemory) -> Result<Mended, Unfit> {
    let SharedMemory { path, file: mapped, owners } = memory;
    if path.as_os_str().as_bytes().ends_with(DELETED) {
        return unfit("has been unlinked");
    }
    let file = match open(path, true) {
        Ok(file) => file,
        // Nobody is known to have it.
        Err(error) if error.kind() == io::ErrorKind::NotFound && mapped.is_none() => {
            return Ok(Mended::Clean);
        }
        Err(error) => return unfit(format!("cannot be opened ({error})")),
    };
    let metadata = plain(&file)?;
    if mapped.is_some_and(|mapped| mapped != FileId::of(&metadata)) {
        return unfit("is not the file that the epoch in service maps");
    }
    let flags = Flags::read(&file)?;
    if !flags.is_up() {
        return Ok(Mended::Clean);
    }
    if !owners.contains(&metadata.uid()) {
        return unfit(format!("belongs to user {}, not to Envoy's {owners:?}", metadata.uid()));
    }
    flags.lower(&file)?;
    Ok(Mended::Repaired)
}

/// What is wrong with a file, as the rest of a sentence that begins with its path.
struct Unfit(String);

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self("is too short".to_owned());
        }
        Self(format!("cannot be read or written ({error})"))
    }
}

fn unfit<T>(why: impl Into<String>) -> Result<T, Unfit> {
    Err(Unfit(why.into()))
}

/// Anybody may make files in `/dev/shm`: no link is followed, and no FIFO waited for.
fn open(path: &Path, write: bool) -> io::Result<File> {
    let no_surprise = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    OpenOptions::new().read(true).write(write).custom_flags(no_surprise).open(path)
}

fn plain(file: &File) -> Result<Metadata, Unfit> {
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok(metadata) } else { unfit("is no plain file") }
}

/// The last word of a shared memory that has the layout that we know.
struct Flags {
    word: u64,
    at: u64,
}

impl Flags {
    fn read(file: &File) -> Result<Self, Unfit> {
        let word = |at| -> io::Result<u64> {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at)?;
            Ok(u64::from_ne_bytes(bytes))
        };
        let (size, version) = (word(0)?, word(8)?);
        if !KNOWN_SIZES.contains(&size) || version != KNOWN_VERSION {
            return unfit(format!("has a layout that we do not know ({version}.{size})"));
        }
        let at = size - 8;
        Ok(Self { word: word(at)?, at })
    }

    fn is_up(&self) -> bool {
        self.word & INITIALIZING != 0
    }

    /// The page is the one that every Envoy has mapped, so they see it at once.
    fn lower(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&(self.word & !INITIALIZING).to_ne_bytes(), self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn the_shared_memory_is_found_in_maps() {
        let maps = b"7f00-7f01 r-xp 00000000 08:01 7   /usr/bin/envoy\n\
            7f30-7f31 rw-s 00000000 00:1b 2   /dev/shm/envoy_shared_memory_70\n";
        let file = FileId { device: 0x1b, inode: 2 };
        let path = PathBuf::from("/dev/shm/envoy_shared_memory_70");
        assert_eq!(mapping_in(maps), Some(Mapping { path, file }));
        let deleted = b"7f30-7f31 rw-s 0 00:1b 2 /dev/shm/envoy_shared_memory_70 (deleted)\n";
        let path = PathBuf::from("/dev/shm/envoy_shared_memory_70 (deleted)");
        assert_eq!(mapping_in(deleted), Some(Mapping { path, file }));
        for none in [
            "",
            "7f30-7f31 rw-s 0 00:1b 2 /dev/shm/envoy_shared_memory_\n",
            "7f30-7f31 rw-s 0 00:1b 2 /dev/shm/envoy_shared_memory_7x\n",
            "7f30-7f31 rw-s 0 00:1b 2 /dev/shm/envoy_shared_memory_+7\n",
            "7f30-7f31 rw-s 0 00:1b 2 /tmp/dev/shm/envoy_shared_memory_0",
            "7f30-7f31 rw-s 0 00:xx 2 /dev/shm/envoy_shared_memory_70",
            "7f30-7f31 rw-s 0 00:1b /dev/shm/envoy_shared_memory_70",
            "/dev/shm/envoy_shared_memory_70",
        ] {
            assert_eq!(mapping_in(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn every_base_id_has_a_path_of_its_own() {
        assert_eq!(path_of(7), Path::new("/dev/shm/envoy_shared_memory_70"));
        assert_eq!(path_of(u32::MAX), Path::new("/dev/shm/envoy_shared_memory_42949672950"));
        assert_eq!(times_ten(OsStr::new("envoy_shared_memory_70")), Some(70));
        for none in ["envoy_shared_memory_", "envoy_shared_memory_-7", "other_7", ""] {
            assert_eq!(times_ten(OsStr::new(none)), None, "{none}");
        }
    }

    /// A folder of a test's own.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static MADE: AtomicU32 = AtomicU32::new(0);
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let name = format!("hot-restarter-memory-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).expect("a folder in the temporary one");
            Self(path)
        }

        fn write(&self, content: &[u8]) -> SharedMemory {
            let path = self.0.join("envoy_shared_memory_70");
            fs::write(&path, content).expect("a file in our own folder");
            let metadata = fs::metadata(&path).expect("it was just made");
            let file = Some(FileId::of(&metadata));
            SharedMemory { path, file, owners: vec![metadata.uid()] }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// What an Envoy writes, its mutexes as a pattern.
    fn content(size: u64, version: u64, flags: u64) -> Vec<u8> {
        let mut content = vec![0xa5; usize::try_from(size).expect("small")];
        content[..8].copy_from_slice(&size.to_ne_bytes());
        content[8..16].copy_from_slice(&version.to_ne_bytes());
        let at = content.len() - 8;
        content[at..].copy_from_slice(&flags.to_ne_bytes());
        content
    }

    /// That it is refused for this reason, and left as it was.
    fn assert_refused(memory: &SharedMemory, reason: &str) {
        let before = fs::read(&memory.path).ok();
        match lower_flag(memory) {
            Mended::Refused(why) => assert!(why.contains(reason), "{reason} is not in: {why}"),
            other @ (Mended::Clean | Mended::Repaired | Mended::Served | Mended::Busy) => {
                panic!("{reason}: {other:?}")
            }
        }
        assert_eq!(fs::read(&memory.path).ok(), before, "{reason}");
    }

    #[test]
    fn a_flag_that_is_up_is_lowered_and_nothing_else() {
        for size in KNOWN_SIZES {
            let folder = Folder::new();
            let memory = folder.write(&content(size, KNOWN_VERSION, INITIALIZING));
            assert_eq!(flag(&memory.path), Flag::Up);
            assert_eq!(lower_flag(&memory), Mended::Repaired);
            assert_eq!(flag(&memory.path), Flag::Down);
            let left = fs::read(&memory.path).expect("ours to read");
            assert_eq!(left, content(size, KNOWN_VERSION, 0));
            assert_eq!(lower_flag(&memory), Mended::Clean);
        }
    }

    #[test]
    fn without_its_identity_name_and_owner_must_do() {
        let folder = Folder::new();
        let memory = folder.write(&content(104, KNOWN_VERSION, INITIALIZING));
        let memory = SharedMemory { file: None, ..memory };
        assert_eq!(lower_flag(&memory), Mended::Repaired);
        fs::remove_file(&memory.path).expect("ours to remove");
        assert_eq!(lower_flag(&memory), Mended::Clean);
    }

    #[test]
    fn another_layout_is_not_touched() {
        let folder = Folder::new();
        for (size, version) in [(104, 10), (104, 12), (112, 11), (8, 11), (0, 11), (u64::MAX, 11)] {
            let mut bytes = content(104, version, INITIALIZING);
            bytes[..8].copy_from_slice(&size.to_ne_bytes());
            let memory = folder.write(&bytes);
            assert_eq!(flag(&memory.path), Flag::Unknown);
            assert_refused(&memory, &format!("({version}.{size})"));
        }
    }

    #[test]
    fn what_is_too_short_is_not_touched() {
        let folder = Folder::new();
        let whole = content(120, KNOWN_VERSION, INITIALIZING);
        for length in [0, 7, 8, 15, 16, 104, 112, 119] {
            let memory = folder.write(&whole[..length]);
            assert_eq!(flag(&memory.path), Flag::Unknown);
            assert_refused(&memory, "is too short");
        }
    }

    #[test]
    fn a_strangers_file_is_not_touched() {
        let folder = Folder::new();
        let ours = folder.write(&content(104, KNOWN_VERSION, INITIALIZING));
        let owner = ours.owners[0];
        let theirs = SharedMemory { owners: vec![owner + 1, owner + 2], ..ours.clone() };
        assert_refused(&theirs, &format!("belongs to user {owner}, not to Envoy's"));
        let id = ours.file.expect("just made");
        for other in [FileId { inode: id.inode + 1, ..id }, FileId { device: id.device + 1, ..id }]
        {
            let anew = SharedMemory { file: Some(other), ..ours.clone() };
            assert_refused(&anew, "is not the file that the epoch in service maps");
        }
        let mut unlinked = ours.path.clone().into_os_string();
        unlinked.push(" (deleted)");
        fs::copy(&ours.path, &unlinked).expect("a trap under the kernel's name for it");
        let unlinked = SharedMemory { path: unlinked.into(), file: None, ..ours };
        assert_refused(&unlinked, "has been unlinked");
    }

    #[test]
    fn what_is_no_plain_file_is_not_touched() {
        let folder = Folder::new();
        let real = folder.write(&content(104, KNOWN_VERSION, INITIALIZING));
        let at = |name: &str| SharedMemory { path: folder.0.join(name), ..real.clone() };

        let link = at("link");
        symlink(&real.path, &link.path).expect("a link");
        assert_refused(&link, "cannot be opened");
        assert_eq!(flag(&link.path), Flag::Unknown);

        let directory = at("directory");
        fs::create_dir(&directory.path).expect("a directory");
        assert_refused(&directory, "cannot be opened");
        assert_eq!(flag(&directory.path), Flag::Unknown);

        assert_refused(&at("missing"), "cannot be opened");
        assert_eq!(flag(&at("missing").path), Flag::Unknown);

        // Read back it would never end, so the comparison is left out.
        let fifo = at("fifo");
        let made = Command::new("mkfifo").arg(&fifo.path).status().expect("mkfifo");
        assert!(made.success());
        let Mended::Refused(why) = lower_flag(&fifo) else { panic!("a FIFO was not refused") };
        assert!(why.contains("is no plain file"), "{why}");
        assert_eq!(flag(&fifo.path), Flag::Unknown);
    }
}
