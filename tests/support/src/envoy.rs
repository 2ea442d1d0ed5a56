//! A real Envoy for a test: its ports, its configuration, its start script, and what its admin
//! says.

mod bare;
mod configuration;
mod process;
mod shared;
mod xds;

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use bare::{Bare, Setup};
pub use configuration::{Configuration, put_as_config_map};
pub use process::Process;
pub use shared::SharedMemory;
pub use xds::Xds;

use crate::{docker, eventually, project};

/// The start script, unless a test has one of its own.
pub const SCRIPT: &str = "exec start_envoy.sh \"$@\"\n";

/// How long an answer may take. It takes milliseconds; but a connection that meets the admin's
/// listener while it closes is never answered.
const PATIENCE: Duration = Duration::from_millis(500);

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

/// What one Envoy service of a test is made of: ports, a configuration, a start script and a
/// folder for its log. The folder of it all goes with it.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    /// Where it serves.
    pub ingress: u16,
    admin: Admin,
    /// The folder of the log, as Envoy sees it.
    log_folder: PathBuf,
    /// Seconds that a drain takes, and after which an older epoch is told to end.
    pub(crate) drain: (u32, u32),
}

/// Where the admin of Envoy listens.
#[derive(Debug)]
enum Admin {
    Port(u16),
    /// A Unix socket with this name, which begins with `@` in the abstract namespace.
    Socket(String),
}

impl Stage {
    /// A stage for an Envoy that sees our own file system.
    pub fn in_namespace(drain: (u32, u32)) -> Self {
        Self::new(drain, None, false)
    }

    /// The same with an admin on a Unix socket.
    pub fn in_namespace_with_admin_on_a_unix_socket(drain: (u32, u32)) -> Self {
        Self::new(drain, None, true)
    }

    /// A stage for an Envoy in a container.
    pub fn in_container(drain: (u32, u32)) -> Self {
        Self::new(drain, Some(docker::LOG_FOLDER), false)
    }

    /// The same with an admin on a Unix socket in the log folder, which Envoy must find at the
    /// place where we have it.
    pub fn in_container_with_admin_on_a_unix_socket(drain: (u32, u32)) -> Self {
        Self::new(drain, Some(docker::LOG_FOLDER), true)
    }

    fn new(drain: (u32, u32), log_folder: Option<&str>, unix: bool) -> Self {
        let ingress = free_port();
        let name = format!("hot-restarter-test-{}-{ingress}", std::process::id());
        let folder = env::temp_dir().join(name);
        let admin = if unix {
            Admin::Socket(folder.join("log/admin").display().to_string())
        } else {
            Admin::Port(free_port())
        };
        let log_folder = log_folder.map_or_else(|| folder.join("log"), PathBuf::from);
        let stage = Self { folder, ingress, admin, log_folder, drain };
        for folder in [stage.log_folder(), stage.config_folder(), stage.script_folder()] {
            fs::create_dir_all(folder).expect("a folder among the temporary ones");
        }
        // In a container Envoy is another user.
        fs::set_permissions(stage.log_folder(), fs::Permissions::from_mode(0o777)).expect("ours");
        stage.put(&stage.configuration());
        stage.put_script(SCRIPT);
        stage
    }

    /// The example's configuration, on loopback alone and with our ports and log.
    pub fn configuration(&self) -> Configuration {
        let admin = match &self.admin {
            Admin::Port(port) => {
                format!("socket_address: {{ address: 127.0.0.1, port_value: {port} }}")
            }
            Admin::Socket(name) => format!("pipe: {{ path: \"{name}\" }}"),
        };
        Configuration::example(self.ingress, &admin, &self.log_folder)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.config_folder().join("envoy.yaml")
    }

    /// The folder that holds it and nothing else.
    pub fn config_folder(&self) -> PathBuf {
        self.folder.join("config")
    }

    /// The folder of the access log.
    pub fn log_folder(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The start script, for `sh`. Nobody executes the file itself: who forks at the moment that
    /// it is written would hold it open for writing.
    pub fn script(&self) -> PathBuf {
        self.script_folder().join("start.sh")
    }

    /// The folder that holds it and nothing else.
    pub fn script_folder(&self) -> PathBuf {
        self.folder.join("script")
    }

    /// Puts a start script into the place of the one before, which goes on with its own text.
    pub fn put_script(&self, text: &str) {
        self.put_file("script/start.sh", text);
    }

    fn put_file(&self, name: &str, text: &str) {
        let beside = self.folder.join("new");
        fs::write(&beside, text).expect("the folder is ours");
        fs::rename(beside, self.folder.join(name)).expect("the folder is ours");
    }

    /// Where the admin is, as `--envoy-admin` takes it.
    pub fn admin(&self) -> String {
        match &self.admin {
            Admin::Port(port) => format!("127.0.0.1:{port}"),
            Admin::Socket(name) => format!("unix:{name}"),
        }
    }

    /// The base id. Sockets are named by it, for all of a network namespace; ports are as unique.
    pub fn base_id(&self) -> u16 {
        self.ingress
    }

    /// Where it serves.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.ingress)
    }

    /// What `start_envoy.sh` and the restarter find in their environment.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let (drain, parent_shutdown) = self.drain;
        vec![
            ("ENVOY_BASE_ID", self.base_id().to_string()),
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

    /// What it answers to a request for this path.
    pub fn ask(&self) -> io::Result<String> {
        get(self.ingress, "/")
    }

    fn ask_admin(&self, path: &str) -> io::Result<String> {
        match &self.admin {
            Admin::Port(port) => get(*port, path),
            Admin::Socket(name) => {
                let stream = UnixStream::connect(name)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                exchange(stream, path)
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The body that a server on loopback answers with, whatever its status.
fn get(port: u16, path: &str) -> io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    exchange(stream, path)
}

fn exchange(mut stream: impl Read + Write, path: &str) -> io::Result<String> {
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

/// A port that nobody listens at and that this returns only once in this process.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Two test processes seldom begin at the same port.
    let offset = std::process::id().wrapping_mul(97);
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
