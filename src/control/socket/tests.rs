use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::Barrier;
use std::thread;

use nix::fcntl::{Flock, FlockArg};

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("hr-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the test");
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("s")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("our folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> Result<Listener, String> {
    loop {
        match Listener::open(&Control::At(path.to_owned()), true) {
            Opening::Listens(listener) => return Ok(listener),
            Opening::Failed(why) => return Err(why),
            // As the loop would, but at once.
            Opening::Locked => thread::yield_now(),
            Opening::Unwanted => panic!("it is wanted"),
        }
    }
}

#[test]
fn where_somebody_holds_the_lock_a_dead_socket_is_left_alone() {
    let folder = Folder::new("locked");
    let control = Control::At(folder.path());
    let held = Flock::lock(open_folder(&folder.0).expect("ours"), FlockArg::LockExclusive);
    let held = held.expect("nobody else has it");
    drop(UnixListener::bind(folder.path()).expect("a socket"));
    assert!(matches!(Listener::open(&control, true), Opening::Locked));
    let Opening::Failed(why) = Listener::open(&control, false) else { panic!("it was replaced") };
    assert!(why.contains("locked by another"), "{why}");
    fs::remove_file(folder.path()).expect("ours");
    // What is not there can be made without.
    let Opening::Listens(listener) = Listener::open(&control, false) else { panic!("it is free") };
    assert!(!is_taken(&control), "by ourselves");
    drop(held);
    listener.remove();
}

#[test]
fn it_is_for_our_own_user_alone_and_goes_with_us() {
    let folder = Folder::new("private");
    let listener = open(&folder.path()).expect("a socket");
    let mode = fs::symlink_metadata(folder.path()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(folder.names(), ["s"]);
    let client = UnixStream::connect(folder.path()).expect("it listens");
    let (_, peer) = listener.accept().expect("a client");
    assert_eq!(peer, Peer { pid: std::process::id().cast_signed(), user: geteuid().as_raw() });
    drop(client);
    listener.remove();
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn a_dead_predecessor_is_replaced_and_a_living_one_is_not() {
    let folder = Folder::new("stale");
    // Its file stays when a listener of the standard library goes.
    drop(UnixListener::bind(folder.path()).expect("a socket"));
    let ours = open(&folder.path()).expect("the dead one is replaced");
    let error = open(&folder.path()).expect_err("ours lives");
    assert!(error.contains("another process listens there"), "{error}");
    UnixStream::connect(folder.path()).expect("ours still listens");
    assert_eq!(folder.names(), ["s"]);
    drop(ours);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let folder = Folder::new("foreign");
    fs::write(folder.path(), "text").expect("a file");
    let error = open(&folder.path()).expect_err("a file is no socket");
    assert!(error.contains("no socket"), "{error}");
    assert_eq!(fs::read(folder.path()).expect("it is still there"), b"text");
    fs::remove_file(folder.path()).expect("our file");
    let _datagrams = UnixDatagram::bind(folder.path()).expect("a socket");
    let error = open(&folder.path()).expect_err("it is of another kind");
    assert!(error.contains("another kind"), "{error}");
    fs::remove_file(folder.path()).expect("our file");
    std::os::unix::fs::symlink("nowhere", folder.path()).expect("a link");
    let error = open(&folder.path()).expect_err("a link is no socket");
    assert!(error.contains("no socket"), "{error}");
    assert_eq!(folder.names(), ["s"]);
}

#[test]
fn another_one_of_that_name_is_not_removed() {
    let folder = Folder::new("removed");
    let first = open(&folder.path()).expect("a socket");
    fs::remove_file(folder.path()).expect("somebody cleans up");
    let second = open(&folder.path()).expect("a socket");
    first.remove();
    assert_eq!(folder.names(), ["s"]);
    second.remove();
}

#[test]
fn of_many_that_replace_a_dead_one_at_once_one_listens() {
    let folder = Folder::new("race");
    for _ in 0..50 {
        drop(UnixListener::bind(folder.path()).expect("a socket"));
        let barrier = Barrier::new(4);
        let made: Vec<_> = thread::scope(|scope| {
            let begin = || {
                barrier.wait();
                open(&folder.path())
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(begin)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let listeners: Vec<&Listener> = made.iter().flatten().collect();
        let [only] = listeners[..] else {
            panic!("{} listen: {made:?}", listeners.len());
        };
        UnixStream::connect(folder.path()).expect("somebody listens");
        only.accept().expect("it is the one that was made");
        only.remove();
        assert_eq!(folder.names(), [""; 0]);
    }
}

#[test]
fn a_folder_is_locked_and_nothing_else_is_opened() {
    let folder = Folder::new("folder");
    assert!(open_folder(&folder.0).is_ok());
    // Where the place is a name alone.
    assert!(open_folder(Path::new("s").parent().expect("an empty one")).is_ok());
    let fifo = nix::unistd::mkfifo(&folder.path(), nix::sys::stat::Mode::S_IRWXU);
    fifo.expect("a FIFO");
    // Without a writer this would not return.
    let error = open_folder(&folder.path()).expect_err("it is no folder");
    assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
}
