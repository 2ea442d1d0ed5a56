//! The socket that clients connect to.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::unistd;

use crate::cli::Control;
use crate::sys;

/// How many connections the kernel keeps for us until we accept them.
const BACKLOG: i32 = 128;
/// How long we ask for the lock of a folder. Whoever holds it may have to wait for the processor.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);
/// Between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// Where the socket is unless `--control` says otherwise: the second place is there in containers
/// of another user than root and with a read-only root file system.
pub fn usual_places() -> [PathBuf; 2] {
    let own = format!("/dev/shm/hot-restarter-{}.sock", unistd::geteuid());
    ["/run/hot-restarter.sock".into(), own.into()]
}

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// What we have made: another file of that name is not ours to remove.
    made: (u64, u64),
}

/// Who is at the other end, as the kernel knew it when the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The process; 0 where it is in a PID namespace that we cannot see.
    pub pid: i32,
    /// The user.
    pub user: u32,
}

/// Why there is no socket.
#[derive(Debug)]
enum Obstacle {
    /// Another restarter listens there.
    Taken,
    /// Something is there that is not ours to replace.
    Foreign(String),
    /// The kernel says no.
    Failed(io::Error),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str(
                "another process listens there; give each restarter a --control of its own",
            ),
            Self::Foreign(what) => f.write_str(what),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Obstacle {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Errno> for Obstacle {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno.into())
    }
}

impl Listener {
    /// Listens where it is wanted; `None` where that is nowhere. An error is one clause that names
    /// each place and what is in the way.
    pub fn open(control: &Control) -> Result<Option<Self>, String> {
        let places = match control {
            Control::None => return Ok(None),
            Control::At(path) => vec![path.clone()],
            Control::Usual => usual_places().to_vec(),
        };
        let mut obstacles = Vec::new();
        for place in places {
            match Self::at(&place) {
                Ok(listener) => return Ok(Some(listener)),
                Err(obstacle) => {
                    obstacles.push(format!("{}: {obstacle}", place.display()));
                    // Clients would go on asking the other one.
                    if let Obstacle::Taken = obstacle {
                        break;
                    }
                }
            }
        }
        Err(obstacles.join("; "))
    }

    fn at(path: &Path) -> Result<Self, Obstacle> {
        let address = UnixAddr::new(path)?;
        let fd = stream_socket()?;
        let _lock = lock_folder(path);
        if let Err(errno) = bind(fd.as_raw_fd(), &address) {
            if errno != Errno::EADDRINUSE {
                return Err(errno.into());
            }
            remove_dead(path, &address)?;
            bind(fd.as_raw_fd(), &address)?;
        }
        // Whatever umask we have inherited; nobody gets in before it listens.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        listen(&fd, Backlog::new(BACKLOG)?)?;
        let made = identity(&fs::symlink_metadata(path)?);
        Ok(Self { socket: fd.into(), path: path.to_owned(), made })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A client that waits to be let in, and who it is.
    pub fn accept(&self) -> io::Result<(OwnedFd, Peer)> {
        let (stream, _) = self.socket.accept()?;
        let fd = sys::above_stdio(stream.into())?;
        let peer = peer(&fd)?;
        Ok((fd, peer))
    }

    /// Removes the socket's file, unless another one has taken its place.
    pub fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.made) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Who is at the other end of a connection.
pub fn peer(fd: &impl AsFd) -> io::Result<Peer> {
    let credentials = getsockopt(fd, PeerCredentials)?;
    Ok(Peer { pid: credentials.pid(), user: credentials.uid() })
}

/// A socket that never blocks and is not inherited.
pub fn stream_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    sys::above_stdio(socket(AddressFamily::Unix, SockType::Stream, flags, None)?)
}

/// Keeps other restarters out of a folder while a socket is made there: one that does not listen
/// yet looks like one whose owner is dead. The lock is held for some system calls, so we ask for it
/// again rather than wait; who holds it longer is none of us, and must not keep us from serving.
fn lock_folder(path: &Path) -> Option<Flock<File>> {
    let mut folder = open_folder(path.parent()?).ok()?;
    let until = sys::monotonic() + LOCK_PATIENCE;
    loop {
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Some(lock),
            Err((unlocked, Errno::EAGAIN)) if sys::monotonic() < until => folder = unlocked,
            Err(_) => return None,
        }
        thread::sleep(LOCK_PAUSE);
    }
}

/// Opens a folder, and nothing else: a FIFO would have us wait for who writes into it.
fn open_folder(path: &Path) -> io::Result<File> {
    // That of a name alone is the one that we are in.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::options().read(true).custom_flags(libc::O_DIRECTORY).open(path)
}

/// Removes the socket of a dead predecessor, and of nobody else.
fn remove_dead(path: &Path, address: &UnixAddr) -> Result<(), Obstacle> {
    let found = fs::symlink_metadata(path)?;
    if !found.file_type().is_socket() {
        return Err(Obstacle::Foreign("something is there that is no socket".into()));
    }
    if found.uid() != geteuid().as_raw() {
        return Err(Obstacle::Foreign(format!("a socket of user {} is there", found.uid())));
    }
    match connect(stream_socket()?.as_raw_fd(), address) {
        Err(Errno::ECONNREFUSED) => Ok(fs::remove_file(path)?),
        Err(Errno::EPROTOTYPE) => {
            Err(Obstacle::Foreign("a socket of another kind is there".into()))
        }
        // A full queue is one of a process that lives.
        Ok(()) | Err(Errno::EAGAIN | Errno::EINPROGRESS) => Err(Obstacle::Taken),
        Err(errno) => Err(errno.into()),
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

#[cfg(test)]
mod tests;
