//! Where clients are listened to: a socket that is made safely, and removed at the end.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket,
};
use nix::unistd::{geteuid, getpid};

use crate::cli::Control;
use crate::sys;

/// How many connections the kernel keeps for us until we accept them.
const BACKLOG: i32 = 128;

/// Where the socket is unless `--control` says otherwise: the second place is there in containers
/// of another user than root and with a read-only root file system.
pub fn usual_places() -> [PathBuf; 2] {
    let user = geteuid();
    ["/run/hot-restarter.sock".into(), format!("/dev/shm/hot-restarter-{user}.sock").into()]
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
    /// Somebody holds the lock of the folder.
    Locked,
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
            Self::Locked => f.write_str("something is there, and its folder is locked by another"),
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

/// What became of an attempt to listen.
#[derive(Debug)]
pub enum Opening {
    /// We do.
    Listens(Listener),
    /// It is not wanted.
    Unwanted,
    /// Somebody holds the lock of a folder; in a moment it may be free.
    Locked,
    /// We cannot: one clause that names each place and what is in the way.
    Failed(String),
}

impl Listener {
    /// Listens where it is wanted. With no more `patience` for a lock that somebody holds, what is
    /// there is left alone, dead or not.
    pub fn open(control: &Control, patience: bool) -> Opening {
        let mut obstacles = Vec::new();
        for place in places(control) {
            match Self::at(&place, patience) {
                Ok(listener) => return Opening::Listens(listener),
                Err(Obstacle::Locked) if patience => return Opening::Locked,
                Err(obstacle) => {
                    obstacles.push(format!("{}: {obstacle}", place.display()));
                    // Clients would go on asking the other one.
                    if let Obstacle::Taken = obstacle {
                        break;
                    }
                }
            }
        }
        if obstacles.is_empty() {
            return Opening::Unwanted;
        }
        Opening::Failed(obstacles.join("; "))
    }

    fn at(path: &Path, patience: bool) -> Result<Self, Obstacle> {
        let address = UnixAddr::new(path)?;
        let fd = stream_socket()?;
        let lock = lock_folder(path);
        let is_locked = matches!(lock, Err(Obstacle::Locked));
        if is_locked && patience {
            return Err(Obstacle::Locked);
        }
        if let Err(errno) = bind(fd.as_raw_fd(), &address) {
            if errno != Errno::EADDRINUSE {
                return Err(errno.into());
            }
            if is_locked {
                return Err(Obstacle::Locked);
            }
            remove_dead(path, &address)?;
            bind(fd.as_raw_fd(), &address)?;
        }
        begin(&fd, path).inspect_err(|_| {
            let _ = fs::remove_file(path);
        })?;
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

/// Lets it listen, for our own user alone, whatever umask we have inherited: nobody gets in before
/// it listens.
fn begin(fd: &OwnedFd, path: &Path) -> Result<(), Obstacle> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listen(fd, Backlog::new(BACKLOG)?)?)
}

/// The places at which clients are listened to, the first that will do.
fn places(control: &Control) -> Vec<PathBuf> {
    match control {
        Control::None => Vec::new(),
        Control::At(path) => vec![path.clone()],
        Control::Usual => usual_places().to_vec(),
    }
}

/// Whether another restarter of our own container listens there: one of another container has no pid
/// that we can see.
pub fn is_taken(control: &Control) -> bool {
    let listens = |place: &PathBuf| -> io::Result<bool> {
        let fd = stream_socket()?;
        connect(fd.as_raw_fd(), &UnixAddr::new(place)?)?;
        let pid = peer(&fd)?.pid;
        Ok(pid != 0 && pid != getpid().as_raw())
    };
    places(control).iter().any(|place| listens(place).unwrap_or(false))
}

/// Keeps other restarters out of a folder while a socket is made there: one that does not listen
/// yet looks like one whose owner is dead. Where folders cannot be locked we do without.
///
/// The lock goes with the file.
fn lock_folder(path: &Path) -> Result<Option<File>, Obstacle> {
    let Ok(folder) = path.parent().ok_or(io::ErrorKind::NotFound.into()).and_then(open_folder)
    else {
        return Ok(None);
    };
    match sys::lock_without_waiting(&folder) {
        Ok(()) => Ok(Some(folder)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Obstacle::Locked),
        Err(_) => Ok(None),
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
    let found = match fs::symlink_metadata(path) {
        // Its owner has just removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
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
