//! Containers and pods of podman, as root, without a registry and without a network to set up.
//!
//! Images, containers and locks are this checkout's own, so that neither the machine's podman nor
//! the tests of another checkout share anything with ours. What lives as long as the machine runs
//! is below `/run`, since podman refuses a long path for it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

pub use crate::container::Container;
use crate::container::{Engine, words_of};
use crate::docker;
use crate::project;

/// What stands for the name of its pod in a YAML file.
pub const POD: &str = "POD_NAME";

/// The tests' own settings, whatever the machine's are. Limits above the caller's own cannot be
/// given, runc manages without systemd where the machine has none, and the default kind of lock
/// would be shared with every other podman of the machine.
const CONFIGURATION: &str = r#"[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
log_driver = "k8s-file"

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
"#;

/// Where podman finds the first process of a pod, which makes its image for it.
const PAUSES: [&str; 3] =
    ["/usr/libexec/podman/catatonit", "/usr/lib/podman/catatonit", "/usr/bin/catatonit"];

/// The folders of this checkout's podman.
#[derive(Debug)]
struct Place {
    /// Images and containers.
    storage: PathBuf,
    /// What is gone when the machine starts anew.
    run: PathBuf,
    /// The storage driver that works there.
    driver: &'static str,
}

/// The place, made where it is not there yet.
fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        project().hash(&mut hasher);
        let run = PathBuf::from(format!("/run/hot-restarter-{:016x}", hasher.finish()));
        let storage = project().join("target/podman");
        for folder in [&run, &storage] {
            fs::create_dir_all(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        }
        // Beside it first, since another process of tests may be reading it.
        let beside = run.join(format!("containers.conf.{}", process::id()));
        fs::write(&beside, CONFIGURATION).expect("our folder can be written to");
        fs::rename(&beside, run.join("containers.conf")).expect("our folder can be written to");
        let driver = if is_overlay(&storage) { "vfs" } else { "overlay" };
        Place { storage, run, driver }
    })
}

/// Whether a folder is on an overlay itself, as all is in a container: the kernel makes none of
/// one.
fn is_overlay(folder: &Path) -> bool {
    let output = Command::new("stat").args(["--file-system", "--format=%T"]).arg(folder).output();
    output.is_ok_and(|output| output.stdout.starts_with(b"overlay"))
}

/// Adds the client, which lacks a command yet.
pub(crate) fn client(command: &mut Command) {
    let Place { storage, run, driver } = place();
    command.env("CONTAINERS_CONF", run.join("containers.conf"));
    command.arg("podman").arg("--root").arg(storage).arg("--runroot").arg(run.join("storage"));
    command.arg("--tmpdir").arg(run.join("tmp")).arg("--network-config-dir").arg(run.join("cni"));
    command.args(["--storage-driver", driver]);
    if *driver == "overlay" {
        // Nothing stays mounted there, so that `cargo clean` can remove it.
        command.args(["--storage-opt", "overlay.skip_mount_home=true"]);
    }
}

/// Whether podman runs here as root, and has what a pod's first process is made of.
pub fn possible() -> bool {
    // SAFETY: the call takes nothing.
    let root = unsafe { libc::geteuid() } == 0;
    if !root || !PAUSES.iter().any(|path| Path::new(path).exists()) {
        return false;
    }
    let mut client = Engine::Podman.client();
    let quiet = client.arg("info").stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Runs a podman command and returns what it printed.
pub fn podman(arguments: &[&str]) -> String {
    Engine::Podman.run(arguments)
}

/// Docker's image for podman: under `localhost/NAME`, with its id as the tag, so that who builds
/// it anew meanwhile does not change ours. It is loaded once.
pub fn image(of_docker: &str, name: &str) -> String {
    static LOADED: Mutex<Option<HashMap<String, String>>> = Mutex::new(None);
    // A trial that failed in here has left nothing half done.
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let key = format!("{of_docker} {name}");
    let known = loaded.get_or_insert_default();
    known.entry(key).or_insert_with(|| load(of_docker, name)).clone()
}

fn load(of_docker: &str, name: &str) -> String {
    let id = docker::docker(&["image", "inspect", "--format", "{{.Id}}", of_docker]);
    let short = id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
    let repository = format!("localhost/{name}");
    let image = format!("{repository}:{short}");
    let _lock = locked();
    if Engine::Podman.attempt(&["image", "exists", &image]).status.success() {
        return image;
    }
    // What was built before is of no use any more; podman keeps what a container still needs.
    let older = podman(&["images", "--format", "{{.Repository}}:{{.Tag}}", &repository]);
    for older in older.lines() {
        Engine::Podman.attempt(&["rmi", older]);
    }
    let mut save = Engine::Docker.client();
    let save = save.args(["save", &id]).stdout(Stdio::piped()).spawn();
    let mut save = save.expect("`timeout` runs");
    let stream = save.stdout.take().expect("it is a pipe");
    let loaded = Engine::Podman.client().args(["load", "--quiet"]).stdin(stream).output();
    let loaded = loaded.expect("`timeout` runs");
    assert!(save.wait().is_ok_and(|status| status.success()), "docker save {id}");
    assert!(loaded.status.success(), "podman load: {}", words_of(&loaded));
    podman(&["tag", &id, &image]);
    image
}

/// Keeps the other processes of this checkout's tests from loading at the same time.
fn locked() -> File {
    let path = place().run.join("images.lock");
    let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    // SAFETY: the call takes integers.
    let locked = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
    assert_eq!(locked, 0, "{}: {}", path.display(), std::io::Error::last_os_error());
    file
}

/// A name that nothing else of this machine has, and that is no other's beginning, since podman
/// finds names by a part of them.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("hot-restarter-test-{:010}-{count:04}", process::id())
}

/// A pod by `podman kube play`. It is removed when it is dropped; the logs of its containers are
/// told first when a test has failed.
#[derive(Debug)]
pub struct Pod {
    name: String,
    containers: Vec<Container>,
}

impl Pod {
    /// Plays a YAML file, in which [`POD`] stands for the pod's name; what else has a name there
    /// should have that one as its beginning. A pod has a network of its own with a loopback and
    /// nothing else, or the machine's where it says `hostNetwork: true`.
    pub fn play(yaml: &str) -> Self {
        let name = unique();
        // A guard already, for a pod that cannot be started is there all the same.
        let mut pod = Self { name, containers: Vec::new() };
        let yaml = yaml.replace(POD, &pod.name);
        let mut command = Engine::Podman.client();
        command.args(["kube", "play"]);
        if !yaml.contains("hostNetwork: true") {
            command.arg("--network=none");
        }
        let mut player = command
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`timeout` runs");
        let mut stdin = player.stdin.take().expect("it is a pipe");
        stdin.write_all(yaml.as_bytes()).expect("podman reads the file");
        drop(stdin);
        let output = player.wait_with_output().expect("it is our child");
        let names = pod.names();
        pod.containers =
            names.into_iter().map(|name| Container { engine: Engine::Podman, name }).collect();
        // A container that cannot be executed is told of on standard error alone.
        assert!(output.status.success(), "podman kube play: {}\n{yaml}", words_of(&output));
        pod
    }

    /// The name that stands for [`POD`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its container of this name in the YAML file.
    pub fn container(&self, name: &str) -> &Container {
        let ending = format!("-{name}");
        let found = self.containers.iter().find(|container| container.name.ends_with(&ending));
        found.unwrap_or_else(|| panic!("no container {name} in {:?}", self.containers))
    }

    /// `podman pod stop`, which is the end of a pod: every container at once, with so many seconds
    /// until SIGKILL.
    pub fn stop(&self, seconds: u32) {
        for id in self.ids() {
            podman(&["pod", "stop", "--time", &seconds.to_string(), &id]);
        }
    }

    /// Its ids: a file may be of a Deployment, whose pods have other names.
    fn ids(&self) -> Vec<String> {
        let filter = format!("name={}", self.name);
        lines(&podman(&["pod", "ps", "--quiet", "--no-trunc", "--filter", &filter]))
    }

    /// The names of its containers but the one that holds its namespaces.
    fn names(&self) -> Vec<String> {
        let ids = self.ids();
        let of = |id: &String| {
            let filter = format!("pod={id}");
            lines(&podman(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]))
        };
        ids.iter().flat_map(of).filter(|name| !name.ends_with("-infra")).collect()
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

impl Drop for Pod {
    fn drop(&mut self) {
        // The containers first, so that their logs are told.
        self.containers.clear();
        for id in self.ids() {
            Engine::Podman.attempt(&["pod", "rm", "--force", "--time", "0", &id]);
        }
        // What a ConfigMap of the file became.
        let filter = format!("name={}", self.name);
        let volumes = podman(&["volume", "ls", "--quiet", "--filter", &filter]);
        for volume in volumes.lines() {
            Engine::Podman.attempt(&["volume", "rm", "--force", volume]);
        }
    }
}
