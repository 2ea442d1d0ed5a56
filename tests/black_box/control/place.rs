//! Where the socket is: made safely, in nobody's way, and gone with us.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;

use libtest_mimic::Trial;
use support::control::{Place, VARIABLE};
use support::eventually;
use support::inherit::Inherit;
use support::scene::{Restarter, Scene, Setup};

use super::stranger::{
    SERVER, Stranger, ask, ask_at, assert_done, descriptors, serving, stop_cleanly,
};
use crate::needs::{Needs, trial};

const HEALTH: &str = r#"{"command":"health"}"#;
const STATUS: &str = r#"{"command":"status"}"#;
/// What is said when nobody can be listened to.
const WARNED: &str = " warn  control: --send is not listened to: ";

/// Executes a restarter that takes its time between the making of a socket and its listening: 20
/// thousandths of a second, in which it looks like one whose owner is dead.
const SLOWLY: [&str; 6] =
    ["strace", "--output=/dev/null", "-e", "trace=listen", "-e", "inject=listen:delay_enter=20000"];

/// The trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("control::place::mode", Needs::Nothing, mode),
        trial("control::place::gone_after_every_end", Needs::Nothing, gone_after_every_end),
        trial("control::place::nothing_at_a_bad_start", Needs::Nothing, nothing_at_a_bad_start),
        trial("control::place::of_the_dead", Needs::Nothing, of_the_dead),
        trial("control::place::of_the_living", Needs::Nothing, of_the_living),
        trial("control::place::eight_at_once", Needs::Nothing, || eight_at_once(&[])),
        trial("control::place::eight_at_once_slowly", Needs::Strace, || eight_at_once(&SLOWLY)),
        trial("control::place::what_is_foreign", Needs::Nothing, what_is_foreign),
        trial("control::place::of_another_user", Needs::Root, of_another_user),
        trial("control::place::length", Needs::Nothing, length),
        trial("control::place::no_folder", Needs::Nothing, no_folder),
        trial("control::place::closed_folder", Needs::Root, closed_folder),
        trial("control::place::none", Needs::Nothing, none),
        trial("control::place::usual_of_a_user", Needs::Root, usual_of_a_user),
        trial("control::place::usual_of_root", Needs::Root, usual_of_root),
        trial("control::place::taken_from_us", Needs::Nothing, taken_from_us),
        trial("control::place::not_inherited", Needs::Nothing, not_inherited),
        trial("control::place::without_stdio", Needs::Nothing, without_stdio),
    ]
}

/// The name of a file, and everything that tells whether it is still what it was.
type Identity = (PathBuf, u64, u64, u32, u32, i64, i64);

fn identity(path: &Path) -> Identity {
    let found =
        fs::symlink_metadata(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let (changed, nanos) = (found.ctime(), found.ctime_nsec());
    (path.to_owned(), found.dev(), found.ino(), found.mode(), found.uid(), changed, nanos)
}

/// Everything in a folder, by name.
fn contents(folder: &Path) -> Vec<Identity> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut found: Vec<_> = entries.map(|entry| identity(&entry.expect("one").path())).collect();
    found.sort();
    found
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// A restarter with its socket at `place`, which has begun to listen or has said why not.
fn begun(setup: Setup) -> Restarter {
    let restarter = setup.start();
    // Who answers a signal is past its beginning.
    restarter.says(" started epoch=0 ");
    restarter.settle();
    restarter
}

fn at<'a>(scene: &Scene, place: &'a str, more: &[&'a str]) -> Setup {
    let options = [&["--ready", "none", "--control", place], more].concat();
    scene.restarter(&options, &scene.probe(SERVER))
}

/// It serves, said once that nobody is listened to and why, and ends as it should.
fn serves_unheard(scene: &Scene, restarter: Restarter, why: &str) {
    assert_eq!(restarter.lines("control"), 1, "{}", restarter.log());
    assert_eq!(restarter.lines(&format!("{WARNED}…{why}")), 1, "{why}: {}", restarter.log());
    restarter.signal(libc::SIGHUP);
    restarter.says(" ready epoch=1 ");
    assert_eq!(restarter.lines("control"), 1, "{}", restarter.log());
    stop_cleanly(scene, restarter);
}

/// For us alone, whatever the umask.
fn mode() {
    for umask in ["000", "022", "077", "777"] {
        let scene = Scene::new();
        let place = Place::new();
        let line = format!("umask {umask}; exec \"$@\"");
        let options = ["--ready", "none", "--control", place.place()];
        let wrapper = ["sh", "-c", &line, "sh"];
        let setup = scene.wrapped_restarter(&wrapper, &options, &scene.probe(SERVER));
        let restarter = begun(setup);
        let found = fs::symlink_metadata(place.path()).expect("it is there");
        assert!(found.file_type().is_socket());
        assert_eq!(found.mode() & 0o7777, 0o600, "umask {umask}");
        assert_eq!(ask_at(place.path(), HEALTH)["ok"], true, "umask {umask}");
        stop_cleanly(&scene, restarter);
        assert!(!exists(place.path()));
    }
}

/// However we end, unless the kernel ends us.
fn gone_after_every_end() {
    type Act = fn(&Restarter);
    let term: Act = |restarter| restarter.signal(libc::SIGTERM);
    let usr2: Act = |restarter| restarter.signal(libc::SIGUSR2);
    let stop: Act = |restarter| drop(ask(restarter, "stop"));
    let cases = [
        (SERVER, term, 0),
        (SERVER, stop, 0),
        ("exit-on=USR2:0 wait", usr2, 0),
        ("exit-on=USR2:3 wait", usr2, 3),
        ("die-on=USR2 wait", usr2, 128 + libc::SIGUSR2),
        ("ignore=TERM wait", term, 1),
        ("ignore=TERM wait", stop, 1),
    ];
    for (steps, act, code) in cases {
        let scene = Scene::new();
        let options = ["--ready", "none", "--term-wait", "0.2"];
        let mut restarter = serving(&scene, &options, steps);
        scene.journal().await_ready(1);
        let path = restarter.control().path().to_owned();
        assert!(exists(&path));
        act(&restarter);
        assert_eq!(restarter.code(), code, "{steps}: {}", restarter.log());
        assert!(!exists(&path), "{steps}");
        scene.assert_empty();
    }
}

/// Not for a moment: the folder is as old as before.
fn nothing_at_a_bad_start() {
    let scene = Scene::new();
    let folder = scene.path("folder");
    fs::create_dir(&folder).expect("a folder in our folder");
    let not_executable = scene.place("text");
    fs::write(&not_executable, "text").expect("a file in our folder");
    let before = identity(&folder);
    let place = scene.place("folder/c");
    for (target, code) in [("/nowhere/at/all", 127), (&not_executable, 126)] {
        let (ended, log) = scene.restarter(&["--control", &place], &[target]).finish();
        assert_eq!(ended, code, "{log}");
        assert_eq!(identity(&folder), before, "something was made: {log}");
    }
    // Nor when an option is bad.
    let options = ["--control", &place, "--term-wait", "never"];
    let (ended, log) = scene.restarter(&options, &["true"]).finish();
    assert_eq!(ended, 2, "{log}");
    assert_eq!(identity(&folder), before, "something was made: {log}");
    // The negative control: a start that is a good one makes it here.
    stop_cleanly(&scene, begun(at(&scene, &place, &[])));
    assert_ne!(identity(&folder), before);
}

/// A predecessor that was killed leaves its socket, and perhaps epochs that live on.
fn of_the_dead() {
    let scene = Scene::new();
    let place = scene.place("c");
    let lives_on = "ignore=TERM wait";
    let options = ["--ready", "none", "--control", &place];
    let mut first = begun(scene.restarter(&options, &scene.probe(lives_on)));
    scene.journal().await_ready(1);
    first.signal(libc::SIGKILL);
    assert_eq!(first.code(), 128 + libc::SIGKILL);
    let left = identity(Path::new(&place));
    // Whatever mode it was given.
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).expect("it is ours");
    let second = begun(at(&scene, &place, &[]));
    assert_eq!(second.lines("control"), 0, "{}", second.log());
    assert_ne!(identity(Path::new(&place)), left);
    assert_eq!(identity(Path::new(&place)).3 & 0o7777, 0o600);
    assert_eq!(ask_at(Path::new(&place), STATUS)["status"]["pid"], second.pid());
    let mut second = second;
    second.signal(libc::SIGTERM);
    assert_eq!(second.code(), 0, "{}", second.log());
    assert!(!exists(Path::new(&place)));
}

fn of_the_living() {
    let scene = Scene::new();
    let place = scene.place("c");
    let first = begun(at(&scene, &place, &[]));
    let made = identity(Path::new(&place));
    let answers = || {
        assert_eq!(identity(Path::new(&place)), made);
        assert_eq!(ask_at(Path::new(&place), STATUS)["status"]["pid"], first.pid());
    };
    for end in [libc::SIGTERM, libc::SIGKILL] {
        let mut second = begun(at(&scene, &place, &[]));
        assert_eq!(second.lines("control"), 1, "{}", second.log());
        let why = "another process listens there; give each restarter a --control of its own";
        assert_eq!(second.lines(&format!("{WARNED}{place}: {why}")), 1, "{}", second.log());
        answers();
        second.signal(libc::SIGHUP);
        second.says(" ready epoch=1 ");
        second.signal(end);
        second.code();
        answers();
    }
    // Nor one that does not get round to accepting anybody.
    first.signal(libc::SIGSTOP);
    let mut second = begun(at(&scene, &place, &[]));
    assert_eq!(second.lines(WARNED), 1, "{}", second.log());
    second.signal(libc::SIGTERM);
    assert_eq!(second.code(), 0, "{}", second.log());
    first.signal(libc::SIGCONT);
    answers();
    assert_eq!(first.lines("control"), 0, "{}", first.log());
    stop_cleanly(&scene, first);
    // Nor one whose queue is full.
    let place = scene.place("full");
    let listener = UnixListener::bind(&place).expect("a socket in our folder");
    // SAFETY: the call takes integers.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let _first = UnixStream::connect(&place).expect("there is room for one");
    let made = identity(Path::new(&place));
    serves_unheard(&scene, begun(at(&scene, &place, &[])), "another process listens there");
    assert_eq!(identity(Path::new(&place)), made);
}

/// Whoever comes first listens, whatever the folder is called, and nobody is kept from serving.
fn eight_at_once(slowly: &[&str]) {
    for relative in [false, true].into_iter().cycle().take(if slowly.is_empty() { 6 } else { 2 }) {
        let scene = Scene::new();
        let gate = scene.gate();
        drop(UnixListener::bind(scene.path("c")).expect("a socket in our folder"));
        let place = if relative { "c".to_owned() } else { scene.place("c") };
        let wrapper = scene.probe_to("starters", &format!("say=here await={gate} exec"));
        let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
        let wrapper = [&wrapper, slowly].concat();
        let options = ["--ready", "none", "--control", &place];
        let start = |_| {
            let setup = scene.wrapped_restarter(&wrapper, &options, &scene.probe(SERVER));
            let in_our_folder = |command: &mut process::Command| {
                command.current_dir(scene.folder());
            };
            setup.with(in_our_folder).start()
        };
        let mut restarters: Vec<Restarter> = (0..8).map(start).collect();
        support::journal::Journal::at(scene.path("starters")).await_writers("say", 8);
        gate.open();
        for restarter in &restarters {
            restarter.says(" started epoch=0 ");
            restarter.settle();
        }
        let unheard = |restarter: &&Restarter| restarter.lines(WARNED) == 1;
        let logs = || restarters.iter().map(Restarter::log).collect::<String>();
        // Who finds the folder locked tries again.
        eventually("seven of them are unheard", || {
            let unheard = restarters.iter().filter(unheard).count();
            if unheard == 7 { Ok(()) } else { Err(logs()) }
        });
        let answers = ask_at(&scene.path("c"), STATUS)["status"]["pid"].clone();
        let first = restarters.iter().find(|restarter| restarter.lines(WARNED) == 0);
        assert_eq!(answers, first.expect("one").pid(), "{}", logs());
        for restarter in &mut restarters {
            restarter.signal(libc::SIGTERM);
        }
        for restarter in &mut restarters {
            assert_eq!(restarter.code(), 0, "{}", restarter.log());
        }
        assert!(!exists(&scene.path("c")));
        scene.assert_empty();
    }
}

/// It is not replaced, not followed, not opened, and not removed at the end.
fn what_is_foreign() {
    type Make = fn(&Path) -> io::Result<()>;
    let fifo = |path: &Path| process::Command::new("mkfifo").arg(path).status().map(drop);
    let full_folder = |path: &Path| {
        fs::create_dir(path)?;
        fs::write(path.join("file"), "text")
    };
    let link_to_the_dead = |path: &Path| {
        drop(UnixListener::bind(path.with_extension("dead"))?);
        symlink(path.with_extension("dead"), path)
    };
    // Whose other end stays in this process.
    let keep = |socket: io::Result<UnixDatagram>| socket.map(std::mem::forget);
    let no_socket = "something is there that is no socket";
    let cases: [(&str, Make, &str); 8] = [
        ("file", |path| fs::write(path, "text"), no_socket),
        ("folder", |path| fs::create_dir(path), no_socket),
        ("full", full_folder, no_socket),
        ("dangling", |path| symlink("nowhere", path), no_socket),
        ("loop", |path| symlink(path, path), no_socket),
        ("fifo", fifo, no_socket),
        ("dead", link_to_the_dead, no_socket),
        ("datagrams", |path| UnixDatagram::bind(path).map(drop), ""),
    ];
    for (name, make, why) in cases {
        let scene = Scene::new();
        let place = scene.path("sub").join(name);
        fs::create_dir(scene.path("sub")).expect("a folder in our folder");
        make(&place).unwrap_or_else(|error| panic!("{name}: {error}"));
        let before = contents(&scene.path("sub"));
        let place = place.to_str().expect("text");
        // A socket of any kind that nobody has any more is a dead one.
        if name == "datagrams" {
            let restarter = begun(at(&scene, place, &[]));
            assert_eq!(ask_at(Path::new(place), HEALTH)["ok"], true);
            stop_cleanly(&scene, restarter);
            continue;
        }
        serves_unheard(&scene, begun(at(&scene, place, &[])), &format!("{place}: {why}"));
        assert_eq!(contents(&scene.path("sub")), before, "{name}");
    }
    let scene = Scene::new();
    let place = scene.place("datagrams");
    keep(UnixDatagram::bind(&place)).expect("a socket in our folder");
    let before = identity(Path::new(&place));
    let restarter = begun(at(&scene, &place, &[]));
    serves_unheard(&scene, restarter, &format!("{place}: a socket of another kind is there"));
    assert_eq!(identity(Path::new(&place)), before);
    // Nobody is disturbed through a link either.
    let living = UnixListener::bind(scene.path("living")).expect("a socket in our folder");
    let place = scene.place("link");
    symlink(scene.path("living"), &place).expect("a link in our folder");
    let before = [identity(Path::new(&place)), identity(&scene.path("living"))];
    serves_unheard(&scene, begun(at(&scene, &place, &[])), &format!("{place}: {no_socket}"));
    assert_eq!([identity(Path::new(&place)), identity(&scene.path("living"))], before);
    living.set_nonblocking(true).expect("a socket of ours");
    let came = living.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(came, Err(io::ErrorKind::WouldBlock));
}

/// A user that nobody has, and no other run of these trials.
fn nobody() -> u32 {
    1_000_000_000 + process::id()
}

/// The words that execute a program as this user.
fn as_user(user: u32) -> [String; 5] {
    let words = ["setpriv", "--reuid", "--regid", "--clear-groups", "--"];
    let with_user = |word: &str| match word {
        "--reuid" | "--regid" => format!("{word}={user}"),
        _ => word.to_owned(),
    };
    words.map(with_user)
}

/// Whatever we may do to it.
fn of_another_user() {
    let scene = Scene::new();
    let place = scene.place("c");
    drop(UnixListener::bind(&place).expect("a socket in our folder"));
    chown(&place, Some(nobody()), None).expect("we are root");
    let before = identity(Path::new(&place));
    let why = format!("{place}: a socket of user {} is there", nobody());
    serves_unheard(&scene, begun(at(&scene, &place, &[])), &why);
    assert_eq!(identity(Path::new(&place)), before);
}

fn length() {
    let scene = Scene::new();
    let folder = scene.place("");
    let folder = folder.trim_end_matches('/');
    let long = |length: usize| format!("{folder}/{}", "c".repeat(length - folder.len() - 1));
    let place = long(107);
    assert_eq!(place.len(), 107);
    let restarter = begun(at(&scene, &place, &[]));
    assert_eq!(ask_at(Path::new(&place), HEALTH)["ok"], true);
    stop_cleanly(&scene, restarter);
    let before = contents(scene.folder()).len();
    let (ended, said) = at(&scene, &long(108), &[]).finish();
    assert_eq!(ended, 2, "{said}");
    assert!(said.contains("is too long: the path of a socket has 107 bytes at most"), "{said}");
    // The log of that one.
    assert_eq!(contents(scene.folder()).len(), before + 1);
}

fn no_folder() {
    let scene = Scene::new();
    File::create(scene.path("file")).expect("a file in our folder");
    symlink("loop", scene.path("loop")).expect("a link in our folder");
    let fifo = process::Command::new("mkfifo").arg(scene.path("fifo")).status();
    assert!(fifo.is_ok_and(|status| status.success()));
    let cases = [
        ("nowhere/c", "No such file or directory"),
        ("file/c", "Not a directory"),
        // What nobody writes into must not be waited for.
        ("fifo/c", "Not a directory"),
        ("loop/c", "Symbolic link loop"),
    ];
    for (name, why) in cases {
        let place = scene.place(name);
        let restarter = at(&scene, &place, &[]).start();
        restarter.says(" started epoch=0 ");
        restarter.says(&format!("{WARNED}{place}: …{why}"));
        serves_unheard(&scene, restarter, why);
    }
    let restarter = begun(at(&scene, "/proc/self/c", &[]));
    serves_unheard(&scene, restarter, "/proc/self/c: ");
}

fn closed_folder() {
    let scene = Scene::new();
    fs::create_dir(scene.path("closed")).expect("a folder in our folder");
    let place = scene.place("closed/c");
    let wrapper = as_user(nobody());
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    for mode in [0o555, 0o000, 0o711] {
        fs::set_permissions(scene.path("closed"), fs::Permissions::from_mode(mode)).expect("ours");
        let options = ["--ready", "none", "--control", &place];
        let setup = scene.wrapped_restarter(&wrapper, &options, &scene.probe(SERVER));
        serves_unheard(&scene, begun(setup), &format!("{place}: Permission denied"));
    }
    // That it may be written is enough.
    fs::set_permissions(scene.path("closed"), fs::Permissions::from_mode(0o333)).expect("ours");
    let options = ["--ready", "none", "--control", &place];
    let setup = scene.wrapped_restarter(&wrapper, &options, &scene.probe(SERVER));
    let restarter = begun(setup);
    // Root may ask whom it likes.
    assert_eq!(ask_at(Path::new(&place), HEALTH)["ok"], true, "{}", restarter.log());
    stop_cleanly(&scene, restarter);
    assert_eq!(contents(&scene.path("closed")), []);
}

/// How many sockets a process has.
fn sockets(pid: i32) -> usize {
    descriptors(pid).into_iter().filter(|(_, what)| what.starts_with("socket:")).count()
}

fn none() {
    let scene = Scene::new();
    let by_option = at(&scene, "none", &["--log-level", "debug"]);
    let options = ["--ready", "none", "--log-level", "debug"];
    let by_variable = scene.restarter(&options, &scene.probe(SERVER)).with(|command| {
        command.env(VARIABLE, "none");
    });
    for setup in [by_option, by_variable] {
        let in_our_folder = |command: &mut process::Command| {
            command.current_dir(scene.folder());
        };
        let restarter = begun(setup.with(in_our_folder));
        assert_eq!(sockets(restarter.pid()), 0, "{:?}", descriptors(restarter.pid()));
        assert_eq!(restarter.lines("--send"), 0, "{}", restarter.log());
        assert!(!exists(restarter.control().path()) && !exists(&scene.path("none")));
        stop_cleanly(&scene, restarter);
    }
    // The negative control.
    let restarter = begun(at(&scene, &scene.place("c"), &["--log-level", "debug"]));
    assert_eq!(sockets(restarter.pid()), 1);
    let told = format!(" debug control: --send is listened to at {}", scene.place("c"));
    assert_eq!(restarter.lines(&told), 1, "{}", restarter.log());
    stop_cleanly(&scene, restarter);
}

/// A file of this machine that goes with its trial.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Neither option nor variable.
fn usual(scene: &Scene, wrapper: &[&str]) -> Setup {
    let options = ["--ready", "none", "--log-level", "debug"];
    scene.wrapped_restarter(wrapper, &options, &scene.probe(SERVER)).with(|command| {
        command.env_remove(VARIABLE);
    })
}

fn usual_of_a_user() {
    let scene = Scene::new();
    let user = nobody();
    let place = Removed(format!("/dev/shm/hot-restarter-{user}.sock").into());
    let wrapper = as_user(user);
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let restarter = begun(usual(&scene, &wrapper));
    let found = fs::symlink_metadata(&place.0).unwrap_or_else(|_| panic!("{}", restarter.log()));
    assert_eq!((found.mode() & 0o7777, found.uid()), (0o600, user));
    assert_eq!(ask_at(&place.0, STATUS)["status"]["pid"], restarter.pid());
    assert_eq!(restarter.lines(" warn "), 0, "{}", restarter.log());
    // A second one of that user has no place.
    let second = begun(usual(&scene, &wrapper));
    assert_eq!(second.lines(WARNED), 1, "{}", second.log());
    assert_eq!(second.lines("another process listens there"), 1, "{}", second.log());
    drop(second);
    assert_eq!(ask_at(&place.0, STATUS)["status"]["pid"], restarter.pid());
    // Nor has one for whom somebody else is there already.
    let mut restarter = restarter;
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    assert!(!exists(&place.0));
    let _theirs = UnixListener::bind(&place.0).expect("a socket of root's");
    let before = identity(&place.0);
    let third = begun(usual(&scene, &wrapper));
    assert_eq!(third.lines(&format!("{WARNED}…a socket of user 0 is there")), 1, "{}", third.log());
    drop(third);
    assert_eq!(identity(&place.0), before);
}

/// In namespaces of mounts where only some of the places are.
fn usual_of_root() {
    let run = "run/hot-restarter.sock";
    let shm = "dev/shm/hot-restarter-0.sock";
    let dead = |place: &str| {
        let listen = "import socket; socket.socket(socket.AF_UNIX).bind";
        format!("python3 -c '{listen}(\"/{place}\")'")
    };
    let (dead_run, dead_shm) = (dead(run), dead(shm));
    let (writable, read_only) = ("mount -t tmpfs none /run", "mount -o remount,ro /run");
    let shm_writable = "mount -t tmpfs none /dev/shm";
    let shm_read_only = "mount -o remount,ro /dev/shm";
    let cases = [
        (vec![writable, shm_writable], Some(run)),
        (vec![writable, &dead_run, shm_writable], Some(run)),
        (vec![writable, read_only, shm_writable], Some(shm)),
        (vec![writable, &dead_run, read_only, shm_writable], Some(shm)),
        (vec![writable, "mkdir /run/hot-restarter.sock", shm_writable, &dead_shm], Some(shm)),
        (vec![writable, read_only, shm_writable, shm_read_only], None),
    ];
    for (mounts, place) in cases {
        let scene = Scene::new();
        let script = format!("{} && exec \"$@\"", mounts.join(" && "));
        let wrapper = ["unshare", "--mount", "sh", "-c", &script, "sh"];
        let restarter = begun(usual(&scene, &wrapper));
        let root = PathBuf::from(format!("/proc/{}/root", restarter.pid()));
        let Some(place) = place else {
            let both = "/run/hot-restarter.sock: …; /dev/shm/hot-restarter-0.sock: ";
            serves_unheard(&scene, restarter, both);
            continue;
        };
        for other in [run, shm].into_iter().filter(|other| *other != place) {
            let living = root.join(other);
            let made = fs::symlink_metadata(&living)
                .is_ok_and(|found| found.file_type().is_socket() && found.mode() & 0o7777 == 0o600);
            assert!(!made, "{mounts:?}: {other} as well");
        }
        let answer = ask_at(&root.join(place), STATUS);
        assert_eq!(answer["status"]["pid"], restarter.pid(), "{mounts:?}");
        assert_eq!(restarter.lines(" warn "), 0, "{}", restarter.log());
        // The other place is not for a second one: clients would go on asking the first.
        let pid = restarter.pid().to_string();
        let wrapper = ["nsenter", "--mount", "--target", &pid, "--"];
        if place == run {
            let second = begun(usual(&scene, &wrapper));
            let why = "/run/hot-restarter.sock: another process listens there";
            assert_eq!(second.lines(&format!("{WARNED}{why}")), 1, "{}", second.log());
            assert!(!exists(&root.join(shm)));
        }
        drop(restarter);
    }
}

/// What has come in the place of ours, or where ours has gone to, is not ours to remove.
fn taken_from_us() {
    type Take = fn(&Path) -> io::Result<()>;
    let replaced_by_link = |path: &Path| {
        fs::rename(path, path.with_extension("moved"))?;
        symlink(path.with_extension("moved"), path)
    };
    let cases: [(&str, Take); 6] = [
        ("gone", |path| fs::remove_file(path)),
        ("moved", |path| fs::rename(path, path.with_extension("moved"))),
        ("file", |path| fs::remove_file(path).and_then(|()| fs::write(path, "text"))),
        ("folder", |path| fs::remove_file(path).and_then(|()| fs::create_dir(path))),
        ("link", replaced_by_link),
        ("socket", |path| fs::remove_file(path).and_then(|()| UnixListener::bind(path).map(drop))),
    ];
    for (name, take) in cases {
        let scene = Scene::new();
        fs::create_dir(scene.path("sub")).expect("a folder in our folder");
        let place = scene.place("sub/c");
        let restarter = begun(at(&scene, &place, &[]));
        let waits = Stranger::at(Path::new(&place));
        take(Path::new(&place)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let before = contents(&scene.path("sub"));
        restarter.signal(libc::SIGHUP);
        restarter.says(" ready epoch=1 ");
        stop_cleanly(&scene, restarter);
        assert_eq!(contents(&scene.path("sub")), before, "{name}");
        drop(waits);
    }
    // A successor that has come after the folder was cleaned keeps its socket.
    let scene = Scene::new();
    let place = scene.path("c");
    let first = begun(at(&scene, &scene.place("c"), &[]));
    fs::remove_file(&place).expect("it is ours");
    let second = begun(at(&scene, &scene.place("c"), &[]));
    let mut first = first;
    first.signal(libc::SIGTERM);
    assert_eq!(first.code(), 0, "{}", first.log());
    assert_eq!(ask_at(&place, STATUS)["status"]["pid"], second.pid());
    stop_cleanly(&scene, second);
    assert!(!exists(&place));
}

/// The inodes of the sockets that belong to this path: the one that listens, and our ends of the
/// connections to it.
fn inodes(path: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/net/unix").expect("/proc is mounted");
    let path = path.to_str().expect("text");
    let rows = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| row.get(7) == Some(&path));
    ours.map(|row| format!("socket:[{}]", row[6])).collect()
}

/// No listener and no client is anybody else's: an epoch would hold the place for ever.
fn not_inherited() {
    let scene = Scene::new();
    let gate = scene.gate();
    let check = scene.beside(&format!("say=check await={gate}"));
    let stays = format!("epoch=1 [ say=probe await={gate} ]");
    let probe = format!("exec:{}", scene.beside(&stays));
    let restarter = serving(&scene, &["--ready", &probe, "--check", &check], SERVER);
    let path = restarter.control().path();
    let _silent = [(); 3].map(|()| Stranger::of(&restarter));
    let mut waits = [(); 3].map(|()| Stranger::waits(&restarter, "reload"));
    for stranger in &mut waits {
        stranger.is_taken();
    }
    let check = scene.journal_beside().await_said("check");
    let ours = inodes(path);
    assert_eq!(ours.len(), 1 + 6, "{ours:?}");
    let holds =
        |pid: i32| descriptors(pid).into_iter().filter(|(_, what)| ours.contains(what)).count();
    assert_eq!(holds(restarter.pid()), ours.len(), "the trial can see them");
    assert_eq!(holds(check), 0, "{:?}", descriptors(check));
    gate.open();
    // Those that have asked first, and the two that have asked while that was checked.
    let probe = scene.journal_beside().await_said("probe");
    assert_eq!(holds(probe), 0, "{:?}", descriptors(probe));
    for stranger in waits {
        assert_done(&stranger.hears_the_end(), true, "ready after");
    }
    let epochs = scene.journal().await_ready(3);
    for epoch in epochs {
        assert_eq!(holds(epoch), 0, "{:?}", descriptors(epoch));
    }
    stop_cleanly(&scene, restarter);
}

/// What would be standard input, output or error is nobody's socket, whoever writes there.
fn without_stdio() {
    let scene = Scene::new();
    let place = Place::new();
    let check = scene.beside("say=check");
    let probe = format!("exec:{}", scene.beside("say=probe"));
    let options =
        ["--log-level", "debug", "--ready", &probe, "--check", &check, "--control", place.place()];
    let setup = scene.restarter(&options, &scene.probe(SERVER)).unlogged().with(|command| {
        for number in 0..3 {
            command.without_descriptor(number);
        }
    });
    let mut restarter = setup.start();
    let mut strangers = [(); 4].map(|()| Stranger::at(place.path()));
    eventually("it is ready", || {
        let answer = ask_at(place.path(), HEALTH);
        if answer["ok"] == true { Ok(()) } else { Err(answer) }
    });
    let assert_closed = |pid: i32| {
        let low: Vec<_> = descriptors(pid).into_iter().filter(|(number, _)| *number < 3).collect();
        assert!(low.iter().all(|(_, what)| !what.starts_with("socket:")), "{low:?}");
    };
    assert_closed(restarter.pid());
    for stranger in &mut strangers {
        stranger.asks(r#"{"command":"reload","wait":true}"#);
    }
    for stranger in strangers {
        // Each line is an answer; one of the log is none.
        let lines = stranger.hears_all();
        assert_done(lines.last().expect("a line"), true, "ready after");
    }
    assert_closed(restarter.pid());
    for epoch in scene.journal().await_ready(2) {
        assert_closed(epoch);
    }
    let mut stranger = Stranger::at(place.path());
    stranger.asks(r#"{"command":"stop","wait":true}"#);
    stranger.is_taken();
    assert_done(&stranger.hears_the_end(), true, "exit code 0");
    assert_eq!(restarter.code(), 0);
}
