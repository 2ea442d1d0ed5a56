//! Control sockets: where each restarter of a test has its own, and the client that speaks to it.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::restarter;

/// Where a restarter and its clients look for the socket.
pub const VARIABLE: &str = "HOT_RESTARTER_CONTROL";

/// A place for the socket of one restarter. What is there goes with it.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// One that nobody else has. It is short, however long the path of the checkout, and in a folder
    /// that stays: who watches a neighbour of it would be woken by one that comes and goes.
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join("hot-restarter-control");
        fs::create_dir_all(&folder).expect("a folder among the temporary ones");
        // Restarters that are another user have business in it as well, and other checkouts; where
        // it is theirs they have seen to that. Nobody removes what is another's.
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777));
        let path = folder.join(format!("{}-{number}", process::id()));
        let _ = fs::remove_file(&path);
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same as text.
    pub fn place(&self) -> &str {
        self.path.to_str().expect("a path of ours is text")
    }

    /// A client that has not been started, with these words after `--send`.
    pub fn client(&self, words: &[&str]) -> Command {
        let mut command = client(words);
        command.env(VARIABLE, &self.path);
        command
    }

    /// Runs a client to its end.
    pub fn send(&self, words: &[&str]) -> Answer {
        Answer::of(&mut self.client(words))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A client that looks for its restarter at the usual places.
pub fn client(words: &[&str]) -> Command {
    let mut command = Command::new(restarter());
    command.arg("--send").args(words).env_remove(VARIABLE).stdin(Stdio::null());
    command
}

/// What a client has written, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its exit code, or 128 and the signal that ended it.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Answer {
    /// Runs a client to its end.
    pub fn of(command: &mut Command) -> Self {
        command.output().expect("the client runs").into()
    }
}

impl From<Output> for Answer {
    fn from(Output { status, stdout, stderr }: Output) -> Self {
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Self { code: code.expect("it has ended"), out, err }
    }
}
