//! A container of either engine. What a test starts goes when it ends.

use std::process::{Command, Output};

use crate::control::Answer;
use crate::envoy::Process;
use crate::{eventually, podman};

/// Bounds a client that hangs, in seconds; a stop waits for 30 itself.
const CLIENT_PATIENCE: &str = "90";

/// Who runs a container. Both clients understand the same words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Docker's, one for the whole machine.
    Docker,
    /// Podman, with a storage of this checkout's own.
    Podman,
}

impl Engine {
    /// Runs a command of its client and returns what it printed.
    pub fn run(self, arguments: &[&str]) -> String {
        let output = self.attempt(arguments);
        assert!(output.status.success(), "{self:?} {arguments:?}: {}", words_of(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The same, whatever comes of it.
    pub fn attempt(self, arguments: &[&str]) -> Output {
        self.client().args(arguments).output().expect("`timeout` runs")
    }

    /// Its client, which lacks a command yet.
    pub(crate) fn client(self) -> Command {
        let mut command = Command::new("timeout");
        command.arg(CLIENT_PATIENCE);
        match self {
            Self::Docker => {
                command.arg("docker");
            }
            Self::Podman => podman::client(&mut command),
        }
        command
    }
}

/// How a command ended, and what it wrote.
pub(crate) fn words_of(output: &Output) -> String {
    let Output { status, stdout, stderr } = output;
    format!("{status}: {}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr))
}

/// A container. It is removed when it is dropped; its log is told first when a test has failed.
#[derive(Debug)]
pub struct Container {
    pub(crate) engine: Engine,
    pub(crate) name: String,
}

impl Container {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its first process.
    pub fn init(&self) -> Process {
        let pid = self.inspect("{{.State.Pid}}").parse().expect("a pid");
        assert_ne!(pid, 0, "the container has ended: {}", self.logs());
        Process(pid)
    }

    /// `docker kill -s SIGNAL`.
    pub fn kill(&self, signal: &str) {
        self.engine.run(&["kill", "--signal", signal, &self.name]);
    }

    /// `docker stop`, and the exit code: 137 where the engine had to kill it.
    pub fn stop(&self) -> i32 {
        self.engine.run(&["stop", "--time", "30", &self.name]);
        self.wait()
    }

    /// Waits for its end; the exit code.
    pub fn wait(&self) -> i32 {
        let state = eventually("the container ends", || {
            let state = self.inspect("{{.State.Running}} {{.State.ExitCode}}");
            if state.starts_with("false") { Ok(state) } else { Err(state) }
        });
        state.rsplit(' ').next().and_then(|code| code.parse().ok()).expect("an exit code")
    }

    /// What it has written.
    pub fn logs(&self) -> String {
        let output = self.engine.attempt(&["logs", &self.name]);
        let [stdout, stderr] = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        stdout + &stderr
    }

    /// Waits until it has written this.
    pub fn await_log(&self, words: &str) {
        eventually(&format!("the log says {words:?}"), || {
            let logs = self.logs();
            if logs.contains(words) { Ok(()) } else { Err(logs) }
        });
    }

    /// Runs a command in it, as root.
    pub fn exec(&self, command: &[&str]) -> Output {
        let arguments = [&["exec", "--user=0", &self.name], command].concat();
        self.engine.attempt(&arguments)
    }

    /// Runs the restarter's client in it, as the container's own user.
    pub fn send(&self, words: &[&str]) -> Answer {
        self.send_by(&[], words)
    }

    /// The same with these options of `docker exec`.
    pub fn send_by(&self, options: &[&str], words: &[&str]) -> Answer {
        let client = [&self.name, "/hot-restarter", "--send"];
        self.engine.attempt(&[&["exec"], options, &client, words].concat()).into()
    }

    /// What the engine knows of it.
    pub fn inspect(&self, template: &str) -> String {
        self.engine.run(&["inspect", "--format", template, &self.name])
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of {}:\n{}", self.name, self.logs());
        }
        self.engine.attempt(&["rm", "--force", "--volumes", &self.name]);
    }
}
