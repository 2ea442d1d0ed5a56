//! A restarter over Envoy without a container.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::{Process, Stage, fetch};
use crate::control::{self, Place};
use crate::{eventually, namespace, project, restarter};

/// A restarter that is about to be.
#[derive(Debug)]
#[must_use]
pub struct Setup<'a> {
    stage: &'a Stage,
    prelude: &'a str,
    options: Vec<String>,
    /// The target is the stage's script instead of `start_envoy.sh`.
    scripted: bool,
}

impl<'a> Setup<'a> {
    /// With no option, over `start_envoy.sh`.
    pub fn new(stage: &'a Stage) -> Self {
        Self { stage, prelude: "", options: Vec::new(), scripted: false }
    }

    /// Options of the restarter's.
    pub fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    /// Has the stage's own script start Envoy.
    pub fn scripted(mut self) -> Self {
        self.scripted = true;
        self
    }

    /// Has a shell do this first, in the namespace that is to be the restarter's. It ends in
    /// `&&`, or in words that execute the rest.
    pub fn prelude(mut self, prelude: &'a str) -> Self {
        self.prelude = prelude;
        self
    }

    /// Starts it.
    pub fn start(self) -> Bare {
        let Self { stage, prelude, options, scripted } = self;
        let output = stage.folder.join("output");
        let sink = File::create(&output).expect("the folder is ours");
        let control = Place::new();
        let mut command = Command::new("unshare");
        if !namespace::privileged() {
            command.args(["--user", "--map-root-user"]);
        }
        let mount = format!("mount -t tmpfs test /dev/shm && {prelude} exec \"$@\"");
        command
            .args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", &mount, "sh"])
            .arg(restarter())
            .args(options)
            .arg("--");
        if scripted {
            command.arg("sh").arg(stage.script());
        } else {
            command.arg("start_envoy.sh");
        }
        command
            .args(["--log-level", "warning"])
            .env("PATH", path_with(&[fetch().parent().expect("a folder"), &docker_folder()]))
            .env("ENVOY_CONFIG", stage.config())
            .env(control::VARIABLE, control.path())
            .envs(stage.variables())
            .stdin(Stdio::null())
            .stderr(sink.try_clone().expect("a second descriptor"))
            .stdout(sink);
        let unshare = command.spawn().expect("unshare runs");
        let parent = Process(unshare.id().try_into().expect("a pid"));
        // A guard already, for the wait may fail.
        let mut bare = Bare { unshare, output, restarter: parent, control };
        bare.restarter = eventually("unshare has made a namespace", || {
            parent.children().first().copied().ok_or_else(|| bare.output())
        });
        bare
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
    /// Its control socket.
    pub control: Place,
}

impl Bare {
    /// Starts it over `start_envoy.sh`; `options` are the restarter's.
    pub fn start(stage: &Stage, options: &[&str]) -> Self {
        Setup::new(stage).options(options).start()
    }

    /// The parent of the restarter, which waits for it.
    pub fn parent(&self) -> Process {
        Process(self.unshare.id().try_into().expect("a pid"))
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

fn path_with(folders: &[&Path]) -> OsString {
    let inherited = env::var_os("PATH").unwrap_or_default();
    let folders = folders.iter().map(|folder| (*folder).to_owned());
    env::join_paths(folders.chain(env::split_paths(&inherited))).expect("no colons")
}
