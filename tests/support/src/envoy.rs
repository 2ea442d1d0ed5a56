//! A real Envoy for a test: its ports, its configuration, what its admin says, and a restarter
//! over it in a PID namespace of its own.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::{docker, eventually, namespace, processes, project, restarter};

/// How long the admin is given for an answer. It takes milliseconds; but a connection that meets
/// the listener while it closes is never answered.
const ADMIN_PATIENCE: Duration = Duration::from_millis(500);

/// Ports for listeners: below the range that clients' own ports come from, since during a
/// handover the admin port is nobody's for a moment.
const PORTS: Range<u32> = 10_000..32_000;

/// The Envoy that all of this is about, fetched where it is missing.
pub fn fetch() -> &'static Path {
    static ENVOY: OnceLock<PathBuf> = OnceLock::new();
    ENVOY.get_or_init(|| {
        let fetched = Command::new("python3")
            .arg(project().join("docker/fetch_envoy.py"))
            .stderr(Stdio::inherit())
            .output()
            .expect("python3 runs");
        assert!(fetched.status.success(), "docker/fetch_envoy.py: {}", fetched.status);
        PathBuf::from(String::from_utf8_lossy(&fetched.stdout).trim())
    })
}

/// What one Envoy service of a test is made of: ports, a configuration and a folder for its log.
/// The folder goes with it.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    /// Where it serves.
    pub ingress: u16,
    /// Where its admin listens.
    pub admin: u16,
    /// Seconds that a drain takes, and after which an older epoch is told to end.
    drain: (u32, u32),
}

impl Stage {
    /// A stage for an Envoy that sees our own file system.
    pub fn in_namespace(drain: (u32, u32)) -> Self {
        Self::new(drain, None)
    }

    /// A stage for an Envoy in a container.
    pub fn in_container(drain: (u32, u32)) -> Self {
        Self::new(drain, Some(docker::LOG_FOLDER))
    }

    /// `log_folder` is where Envoy sees the folder of its log.
    fn new(drain: (u32, u32), log_folder: Option<&str>) -> Self {
        let ingress = free_port();
        let name = format!("hot-restarter-test-{}-{ingress}", process::id());
        let folder = env::temp_dir().join(name);
        let stage = Self { folder, ingress, admin: free_port(), drain };
        fs::create_dir_all(stage.log_folder()).expect("a folder for the log");
        // In a container Envoy is another user.
        fs::set_permissions(stage.log_folder(), fs::Permissions::from_mode(0o777)).expect("ours");
        let log_folder = log_folder.map_or_else(|| stage.log_folder(), PathBuf::from);
        let example = fs::read_to_string(project().join("docker/envoy.yaml")).expect("an example");
        fs::write(stage.config(), stage.configuration(&example, &log_folder)).expect("ours");
        stage
    }

    /// The example's configuration, on loopback alone and with our ports and log.
    fn configuration(&self, example: &str, log_folder: &Path) -> String {
        let edits = [
            ("0.0.0.0, port_value: 10000", format!("127.0.0.1, port_value: {}", self.ingress)),
            ("127.0.0.1, port_value: 9901", format!("127.0.0.1, port_value: {}", self.admin)),
            ("path: /var/log/envoy/", format!("path: {}/", log_folder.display())),
        ];
        edits.into_iter().fold(example.to_owned(), |text, (old, new)| {
            assert_eq!(text.matches(old).count(), 1, "docker/envoy.yaml has exactly one `{old}`");
            text.replace(old, &new)
        })
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("envoy.yaml")
    }

    /// The folder of the access log.
    pub fn log_folder(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Writes a file into the folder, executable for everybody.
    pub fn write_script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("the folder is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        path
    }

    /// Makes the configuration one that Envoy refuses. In place, since a container may have
    /// mounted the file.
    pub fn break_configuration(&self) {
        let mut file = File::options().append(true).open(self.config()).expect("ours");
        file.write_all(b"\nno_field_of_envoy: 1\n").expect("room for a line");
    }

    /// Where it serves.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.ingress)
    }

    /// What `start_envoy.sh` and the restarter find in their environment.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let (drain, parent_shutdown) = self.drain;
        vec![
            // Its sockets are named by it, for all of a network namespace; ports are as unique.
            ("ENVOY_BASE_ID", self.ingress.to_string()),
            ("ENVOY_CONCURRENCY", "2".to_owned()),
            ("ENVOY_DRAIN_TIME_S", drain.to_string()),
            ("ENVOY_PARENT_SHUTDOWN_TIME_S", parent_shutdown.to_string()),
            // This limit is the machine's, not a test's.
            ("ENVOY_MAX_INOTIFY_WATCHES", "0".to_owned()),
        ]
    }

    /// The epoch that the admin says is LIVE; `None` while none is, or none answers.
    pub fn live_epoch(&self) -> Option<u32> {
        let info = self.ask_admin("/server_info").ok()?;
        let (_, rest) = info.split_once("\"restart_epoch\": ")?;
        let digits = rest.split(|character: char| !character.is_ascii_digit()).next()?;
        info.contains("\"state\": \"LIVE\"").then(|| digits.parse().ok())?
    }

    /// Waits until this very epoch is LIVE.
    pub fn await_live(&self, epoch: u32) {
        eventually(&format!("epoch {epoch} is LIVE"), || match self.live_epoch() {
            Some(live) if live == epoch => Ok(()),
            other => Err(other),
        });
    }

    /// Waits until epoch 0 is LIVE and the restarter, which looks every few milliseconds, has
    /// seen it: until then two restarts are one.
    pub fn await_first(&self, log: impl Fn() -> String) {
        self.await_live(0);
        if env::var_os("RESTARTER_UNDER_TEST").is_none() {
            eventually("the restarter finds epoch 0 ready", || {
                let log = log();
                if log.contains("ready epoch=0") { Ok(()) } else { Err(log) }
            });
        }
    }

    /// Waits until only one epoch is left, it is LIVE, and its number is one of these.
    pub fn settled(&self, restarter: Process, epochs: RangeInclusive<u32>) -> u32 {
        let what = format!("one of the epochs {epochs:?} is LIVE and alone");
        eventually(&what, || {
            let (living, live) = (restarter.children().len(), self.live_epoch());
            match live {
                Some(live) if living == 1 && epochs.contains(&live) => Ok(live),
                _ => Err((living, live)),
            }
        })
    }

    /// How many requests it has served, older epochs included.
    pub fn requests(&self) -> u64 {
        let stats = self.ask_admin("/stats?filter=^http.ingress.downstream_rq_total$");
        let count = stats.ok().and_then(|stats| stats.trim().rsplit(' ').next()?.parse().ok());
        count.unwrap_or(0)
    }

    fn ask_admin(&self, path: &str) -> io::Result<String> {
        get(self.admin, path)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The body that a server on loopback answers with, whatever its status.
pub fn get(port: u16, path: &str) -> io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, ADMIN_PATIENCE)?;
    stream.set_read_timeout(Some(ADMIN_PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut stream = BufReader::new(stream.take(1 << 20));
    let (mut line, mut length) = (String::new(), None);
    while stream.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok();
        }
        line.clear();
    }
    let mut body = String::new();
    // A listener's connection stays open for a second after the answer.
    stream.by_ref().take(length.unwrap_or(u64::MAX)).read_to_string(&mut body)?;
    Ok(if length.is_none() { dechunked(&body) } else { body })
}

fn dechunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        let Some((chunk, next)) = after.split_at_checked(size).filter(|_| size > 0) else {
            break;
        };
        body.push_str(chunk);
        rest = next.strip_prefix("\r\n").unwrap_or(next);
    }
    body
}

/// A port that nobody listens at and that no other stage of this process has had.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Two test processes seldom begin at the same port.
    let offset = process::id().wrapping_mul(97);
    loop {
        let turn = offset.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORTS.start + turn % (PORTS.end - PORTS.start))
            .expect("ports have 16 bits");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Whether we may signal the processes of containers, which are not ours.
pub fn may_signal_containers() -> bool {
    // SAFETY: geteuid touches no memory of ours.
    unsafe { libc::geteuid() == 0 }
}

/// A process, by the number that it has in our own PID namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(pub i32);

impl Process {
    /// Sends it a signal.
    pub fn signal(self, signal: i32) {
        let sent = processes::signal(self.0, signal);
        let why = io::Error::last_os_error();
        assert!(sent, "signal {signal} to {}: {why}", self.0);
    }

    /// Its children, in the order of their birth.
    pub fn children(self) -> Vec<Self> {
        processes::children(self.0).into_iter().map(|child| Self(child.pid)).collect()
    }

    /// Whether this signal has been sent to it and not been taken yet: one more is then the same.
    pub fn has_pending(self, signal: i32) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        ["ShdPnd:\t", "SigPnd:\t"].iter().any(|name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let mask = line.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
            mask & (1 << (signal - 1)) != 0
        })
    }

    /// The files that it has open, as it names them itself.
    pub fn open_files(self) -> Vec<PathBuf> {
        let Ok(files) = fs::read_dir(format!("/proc/{}/fd", self.0)) else {
            return Vec::new();
        };
        files.flatten().filter_map(|file| fs::read_link(file.path()).ok()).collect()
    }
}

/// A restarter that is PID 1 of a PID namespace, with a `/proc` and a `/dev/shm` of its own, and
/// Envoy under it. Both go when it is dropped.
#[derive(Debug)]
pub struct Bare {
    unshare: Child,
    output: PathBuf,
    /// The restarter.
    pub restarter: Process,
}

impl Bare {
    /// Starts it; `options` are the restarter's.
    pub fn start(stage: &Stage, options: &[&str]) -> Self {
        let output = stage.folder.join("output");
        let sink = File::create(&output).expect("the folder is ours");
        let mut command = Command::new("unshare");
        if !namespace::privileged() {
            command.args(["--user", "--map-root-user"]);
        }
        let mount = "mount -t tmpfs test /dev/shm && exec \"$@\"";
        command
            .args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", mount, "sh"])
            .arg(restarter())
            .args(options)
            .args(["--", "start_envoy.sh", "--log-level", "warning"])
            .env("PATH", path_with(&[fetch().parent().expect("a folder"), &docker_folder()]))
            .env("ENVOY_CONFIG", stage.config())
            .envs(stage.variables())
            .stdin(Stdio::null())
            .stderr(sink.try_clone().expect("a second descriptor"))
            .stdout(sink);
        let unshare = command.spawn().expect("unshare runs");
        let parent = Process(unshare.id().try_into().expect("a pid"));
        // A guard already, for the wait may fail.
        let mut bare = Self { unshare, output, restarter: parent };
        bare.restarter = eventually("unshare has made a namespace", || {
            parent.children().first().copied().ok_or_else(|| bare.output())
        });
        bare
    }

    /// What the restarter and Envoy have written.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Its status, when it has ended; unshare ends as it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.unshare.try_wait().expect("it is our child")
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the restarter ends", || self.ended().ok_or(()))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the restarter and Envoy wrote:\n{}", self.output());
        }
        // --kill-child takes PID 1 with it, and the kernel all the rest.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// Where `start_envoy.sh` is.
fn docker_folder() -> PathBuf {
    project().join("docker")
}

fn path_with(folders: &[&Path]) -> std::ffi::OsString {
    let inherited = env::var_os("PATH").unwrap_or_default();
    let folders = folders.iter().map(|folder| (*folder).to_owned());
    env::join_paths(folders.chain(env::split_paths(&inherited))).expect("no colons")
}
