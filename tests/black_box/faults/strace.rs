//! strace, attached to a restarter: what it sees, and what it makes fail.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::{eventually, processes};

/// A strace that is attached. It lets go when this goes.
#[derive(Debug)]
pub(super) struct Tracer {
    child: Child,
    output: PathBuf,
    traced: i32,
}

/// A call that has been made.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Who made it.
    pub(super) pid: i32,
    /// Its name.
    pub(super) name: String,
    /// The line without the pid.
    pub(super) line: String,
    /// It was made to fail.
    pub(super) injected: bool,
}

impl Tracer {
    /// Attaches to a process, and where it is to `follow` them to those that it forks.
    pub(super) fn attach(pid: i32, output: &Path, follow: bool, arguments: &[String]) -> Self {
        let said = output.with_extension("said");
        let mut command = Command::new("strace");
        command.args(follow.then_some("-f"));
        command.args(["-y", "-s", "120", "-e", "signal=none", "-o"]).arg(output);
        command.args(arguments).args(["-p", &pid.to_string()]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(File::create(&said).expect("a file of the scene"));
        let child = command.spawn().expect("strace is there");
        let tracer = Self { child, output: output.to_owned(), traced: pid };
        eventually("strace is attached", || {
            let said = fs::read_to_string(&said).unwrap_or_default();
            if said.contains("attached") { Ok(()) } else { Err(said) }
        });
        tracer
    }

    /// Has it let go, so that nothing fails any more.
    pub(super) fn detach(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let pid = i32::try_from(self.child.id()).expect("a pid is an int");
            processes::signal(pid, libc::SIGINT);
        }
        let _ = self.child.wait();
    }

    /// All calls so far.
    pub(super) fn calls(&self) -> Vec<Call> {
        let text = fs::read(&self.output).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut calls: Vec<Call> = Vec::new();
        for call in text.lines().filter_map(|line| parse(line, self.traced)) {
            // The second half of a call that another process's line has torn apart.
            if let Some(rest) = call.line.strip_prefix("<... ") {
                if let Some(begun) = calls.iter_mut().rfind(|begun| begun.pid == call.pid) {
                    begun.line = begun.line.replace(" <unfinished ...>", "") + rest;
                    begun.injected |= call.injected;
                }
                continue;
            }
            calls.push(call);
        }
        calls
    }

    /// Whether a call was the traced process's own.
    pub(super) fn is_own(&self, call: &Call) -> bool {
        call.pid == self.traced
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.detach();
    }
}

/// A line of its output: a pid where it follows more than one process, and a call.
fn parse(line: &str, traced: i32) -> Option<Call> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let (pid, line) = line.split_at(digits);
    let pid = if pid.is_empty() { traced } else { pid.parse().ok()? };
    let line = line.trim_start().to_owned();
    let injected = line.contains("(INJECTED)");
    let name = |text: &str| {
        let is_of_one =
            |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
        text.bytes().take_while(is_of_one).count()
    };
    if line.starts_with("<... ") {
        return Some(Call { pid, name: String::new(), line, injected });
    }
    let length = name(&line);
    (length > 0 && line[length..].starts_with('(')).then(|| Call {
        pid,
        name: line[..length].to_owned(),
        line,
        injected,
    })
}
