//! Where clients are listened to: a socket that is made safely, and removed at the end.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket,
};
use nix::unistd::geteuid;

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
        let fd = stream_socket()?;
        let draft = beside(path, "new");
        bind(fd.as_raw_fd(), &UnixAddr::new(&draft)?)?;
        let named = begin(&fd, &draft).and_then(|()| name(&draft, path));
        let _ = fs::remove_file(&draft);
        named?;
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

/// Gives a socket that listens its name: one that does not yet would look like one whose owner is
/// dead. That takes away that of a dead predecessor and of nobody
/// else. Of two restarters that do this at the same time one finds the name taken.
fn name(draft: &Path, path: &Path) -> Result<(), Obstacle> {
    for _ in 0..2 {
        match fs::hard_link(draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            named => return Ok(named?),
        }
        if let Some(stale) = predecessor(path)? {
            take_away(path, stale)?;
        }
    }
    Err(Obstacle::Taken)
}

/// What a dead predecessor has left at this path; `None` where nothing is there any more.
fn predecessor(path: &Path) -> Result<Option<(u64, u64)>, Obstacle> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(Obstacle::Foreign("something is there that is no socket".into()));
    }
    if found.uid() != geteuid().as_raw() {
        return Err(Obstacle::Foreign(format!("a socket of user {} is there", found.uid())));
    }
    match connect(stream_socket()?.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => Ok(Some(identity(&found))),
        Err(Errno::ENOENT) => Ok(None),
        Err(Errno::EPROTOTYPE) => {
            Err(Obstacle::Foreign("a socket of another kind is there".into()))
        }
        // A full queue is one of a process that lives.
        Ok(()) | Err(Errno::EAGAIN | Errno::EINPROGRESS) => Err(Obstacle::Taken),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes this very file: one that has got its name meanwhile gets it back.
fn take_away(path: &Path, stale: (u64, u64)) -> Result<(), Obstacle> {
    let grave = beside(path, "old");
    match fs::rename(path, &grave) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        moved => moved?,
    }
    let ours = identity(&fs::symlink_metadata(&grave)?) == stale;
    if !ours {
        let _ = fs::hard_link(&grave, path);
    }
    fs::remove_file(&grave)?;
    if ours { Ok(()) } else { Err(Obstacle::Taken) }
}

/// A name in the same folder that nobody else has: PIDs alone are shared by containers that share
/// the folder.
fn beside(path: &Path, what: &str) -> PathBuf {
    let now = sys::wall_clock().as_nanos();
    path.with_file_name(format!(".hr-{what}-{}-{now:x}", std::process::id()))
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

#[cfg(test)]
mod tests;
