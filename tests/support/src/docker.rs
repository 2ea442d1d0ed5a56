//! Images and containers for tests, through the docker client.

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{self, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub use crate::container::Container;
use crate::container::{Engine, words_of};
use crate::envoy::Stage;
use crate::{project, restarter};

/// Where the example's configuration is in a container.
pub const CONFIG: &str = "/etc/envoy/envoy.yaml";
const CONFIG_FOLDER: &str = "/etc/envoy";
/// Where a stage's own start script is in a container.
const SCRIPT_FOLDER: &str = "/script";
/// The folder of the access log in a container.
pub const LOG_FOLDER: &str = "/var/log/envoy";

/// What keeps Envoy from listing its extensions at each start.
pub const QUIET: [&str; 2] = ["--log-level", "warning"];

/// The images of docker/, with the restarter under test in them.
#[derive(Debug)]
pub struct Images {
    /// Envoy, a shell and `start_envoy.sh`.
    pub shell: String,
    /// Envoy alone, started without a script.
    pub distroless: String,
    /// The restarter alone.
    pub restarter: String,
}

/// The images, built where they are not there yet.
pub fn images() -> &'static Images {
    static IMAGES: OnceLock<Images> = OnceLock::new();
    IMAGES.get_or_init(|| {
        // The tests of another checkout give the same names to images with another restarter.
        let _lock = locked();
        let built = Command::new("python3")
            .arg(project().join("docker/images.py"))
            .arg("--binary")
            .arg(restarter())
            .env("DOCKER_BUILDKIT", "0")
            .output()
            .expect("python3 runs");
        assert!(built.status.success(), "docker/images.py: {}", words_of(&built));
        // By their ids, so that who builds them anew meanwhile does not change ours.
        let id = |name| docker(&["image", "inspect", "--format", "{{.Id}}", name]);
        Images {
            shell: id("hot-restarter/envoy:latest"),
            distroless: id("hot-restarter/envoy:distroless"),
            restarter: id("hot-restarter:latest"),
        }
    })
}

/// Keeps other processes of tests, whatever their checkout, from building images meanwhile.
fn locked() -> File {
    let path = env::temp_dir().join("hot-restarter-images.lock");
    let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    // SAFETY: the call takes integers.
    let locked = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
    assert_eq!(locked, 0, "{}: {}", path.display(), io::Error::last_os_error());
    file
}

/// Runs a docker command and returns what it printed.
pub fn docker(arguments: &[&str]) -> String {
    Engine::Docker.run(arguments)
}

/// A container that is about to be.
#[derive(Debug)]
#[must_use]
pub struct Run {
    engine: Engine,
    image: String,
    options: Vec<String>,
    arguments: Vec<String>,
}

impl Run {
    /// A container of an image.
    pub fn of(image: &str) -> Self {
        let image = image.to_owned();
        Self { engine: Engine::Docker, image, options: Vec::new(), arguments: Vec::new() }
    }

    /// Has it run by this engine.
    pub fn by(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// A container of the image with a shell in which Envoy plays this stage.
    pub fn envoy(stage: &Stage) -> Self {
        Self::envoy_of(&images().shell, stage).arguments(&QUIET)
    }

    /// Envoy of any image, in our own network namespace, so that load goes over plain loopback.
    pub fn envoy_of(image: &str, stage: &Stage) -> Self {
        let run = Self::of(image)
            .option("--network=host")
            // The image's asks at the example's port, which is somebody else's here.
            .option("--no-healthcheck")
            .mount(&stage.config_folder(), &format!("{CONFIG_FOLDER}:ro"))
            .mount(&stage.log_folder(), LOG_FOLDER);
        let variables = stage.variables();
        variables.iter().fold(run, |run, (name, value)| run.variable(name, value))
    }

    /// A container in which the stage's own script starts Envoy.
    pub fn scripted_envoy(stage: &Stage) -> Self {
        Self::envoy_of(&images().shell, stage)
            .option("--entrypoint=/hot-restarter")
            .mount(&stage.script_folder(), &format!("{SCRIPT_FOLDER}:ro"))
            .arguments(&["sh", &format!("{SCRIPT_FOLDER}/start.sh")])
            .arguments(&QUIET)
    }

    /// The image without a shell in which Envoy plays this stage, started without a script.
    pub fn distroless(stage: &Stage) -> Self {
        let base_id = stage.base_id().to_string();
        let (drain, parent_shutdown) = stage.drain;
        let words = [
            ["envoy", "--config-path"],
            [CONFIG, "--restart-epoch"],
            ["$(RESTART_EPOCH)", "--base-id"],
            [&base_id, "--concurrency"],
            ["2", "--drain-time-s"],
            [&drain.to_string(), "--parent-shutdown-time-s"],
        ];
        Self::envoy_of(&images().distroless, stage)
            .option("--entrypoint=/hot-restarter")
            .arguments(&words.concat())
            .arguments(&[&parent_shutdown.to_string()])
            .arguments(&QUIET)
    }

    /// An option of `docker run`.
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Options of `docker run`.
    pub fn options(self, options: &[&str]) -> Self {
        options.iter().fold(self, |run, option| run.option(option))
    }

    /// A variable of its environment.
    pub fn variable(self, name: &str, value: &str) -> Self {
        self.option(&format!("--env={name}={value}"))
    }

    /// A file or folder of ours at this place.
    pub fn mount(self, ours: &Path, place: &str) -> Self {
        self.option(&format!("--volume={}:{place}", ours.display()))
    }

    /// Arguments that follow the image's entry point.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Starts it.
    pub fn start(self) -> Container {
        let engine = self.engine;
        let (container, arguments) = self.prepared("--detach");
        engine.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        container
    }

    /// The words of a client that starts it and stays with it, to be executed on a terminal.
    pub fn on_terminal(self) -> (Container, Vec<String>) {
        assert_eq!(self.engine, Engine::Docker, "of podman the words are many");
        let (container, arguments) = self.prepared("--interactive");
        let tty = ["docker", "run", "--tty"].map(str::to_owned).into_iter();
        (container, tty.chain(arguments.into_iter().skip(1)).collect())
    }

    fn prepared(self, how: &str) -> (Container, Vec<String>) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hot-restarter-test-{}-{count}", process::id());
        // A guard already, for a container that cannot be started is there all the same.
        let container = Container { engine: self.engine, name };
        let words = ["run", how, "--name", &container.name].map(str::to_owned);
        let arguments = words.into_iter().chain(self.options).chain([self.image]);
        let arguments = arguments.chain(self.arguments).collect();
        (container, arguments)
    }
}
