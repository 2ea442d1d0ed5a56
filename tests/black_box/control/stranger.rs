//! A client that is not ours: it says what it likes, and looks at each line of the answer.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use support::scene::{Restarter, Scene};
use support::{BOUND, eventually};

use super::json::Value;

/// Ends when it is asked to, and hears that logs are reopened.
pub(super) const SERVER: &str = "exit-on=TERM:0 catch=USR1 wait";

/// A connection to a control socket.
#[derive(Debug)]
pub(super) struct Stranger {
    stream: UnixStream,
    heard: Vec<u8>,
}

impl Stranger {
    /// One that has said nothing.
    pub(super) fn at(path: &Path) -> Self {
        eventually("somebody listens", || UnixStream::connect(path)).into()
    }

    /// One at the socket of this restarter.
    pub(super) fn of(restarter: &Restarter) -> Self {
        Self::at(restarter.control().path())
    }

    /// One that has asked for something and will wait until it is done.
    pub(super) fn waits(restarter: &Restarter, command: &str) -> Self {
        let mut stranger = Self::of(restarter);
        stranger.asks(&format!(r#"{{"command":"{command}","wait":true}}"#));
        stranger
    }

    /// Says this and an end of the line.
    pub(super) fn asks(&mut self, request: &str) {
        self.says(format!("{request}\n").as_bytes()).expect("it is listened to");
    }

    /// Says this.
    pub(super) fn says(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that it will say no more.
    pub(super) fn ends(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("it is connected");
    }

    /// The next line, which must be an answer; `None` when there is none any more.
    pub(super) fn hears(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                return Some(answer(&line));
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                // What it has said and nobody has read is lost, and told so.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Ok(0) => break,
                Ok(read) => self.heard.extend_from_slice(&buffer[..read]),
                // A read that has a time of its own is not gone on with after any signal (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("no answer within {BOUND:?}: {error}"),
            }
        }
        let begun = String::from_utf8_lossy(&self.heard);
        assert!(begun.is_empty(), "half a line: {begun}");
        None
    }

    /// The next line, which has to be there.
    pub(super) fn hears_a_line(&mut self) -> Value {
        self.hears().expect("a line")
    }

    /// The next line, which says that it is taken.
    pub(super) fn is_taken(&mut self) -> String {
        let line = self.hears_a_line();
        assert!(line["reply"] == "taken" && line["ok"] == true, "{line}");
        message(&line)
    }

    /// All lines until the end.
    pub(super) fn hears_all(mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.hears()).collect()
    }

    /// All whole lines until the end, the last of which may be cut short.
    pub(super) fn hears_what_was_sent(mut self) -> Vec<Value> {
        let mut bytes = Vec::new();
        // What was lost is told by an error.
        let _ = self.stream.read_to_end(&mut bytes);
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        lines.filter(|line| line.ends_with(b"\n")).map(answer).collect()
    }

    /// The last line, before which there is nothing but progress.
    pub(super) fn hears_the_end(self) -> Value {
        let mut lines = self.hears_all();
        let last = lines.pop().expect("a line");
        for line in &lines {
            assert_eq!(line["reply"], "progress", "{lines:?}");
            assert!(!line["event"].text().is_empty(), "{line}");
        }
        last
    }
}

impl From<UnixStream> for Stranger {
    fn from(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(BOUND)).expect("a time that is not zero");
        Self { stream, heard: Vec::new() }
    }
}

/// A line of an answer, with what each one has.
fn answer(line: &[u8]) -> Value {
    let text = String::from_utf8_lossy(line);
    let value = Value::parse(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
    assert_eq!(value["version"], 1, "{text}");
    assert!(matches!(value["ok"], Value::Bool(_)), "{text}");
    assert!(!value["message"].text().contains('\n'), "{text}");
    let kinds = ["taken", "progress", "done", "error"];
    assert!(kinds.iter().any(|kind| value["reply"] == *kind), "{text}");
    value
}

/// What a line says to people.
pub(super) fn message(line: &Value) -> String {
    line["message"].text().to_owned()
}

/// Asks for something in a line of its own, and returns the only line of the answer.
pub(super) fn ask_at(path: &Path, request: &str) -> Value {
    let mut stranger = Stranger::at(path);
    stranger.asks(request);
    let mut lines = stranger.hears_all();
    assert_eq!(lines.len(), 1, "{request}: {lines:?}");
    lines.remove(0)
}

/// The same of a restarter, for a command without anything else.
pub(super) fn ask(restarter: &Restarter, command: &str) -> Value {
    ask_at(restarter.control().path(), &format!(r#"{{"command":"{command}"}}"#))
}

/// How things stand.
pub(super) fn status(restarter: &Restarter) -> Value {
    ask(restarter, "status")["status"].clone()
}

/// Fails unless a line is the last one of something that was done, or was not, and says this.
pub(super) fn assert_done(line: &Value, ok: bool, words: &str) {
    assert!(line["reply"] == "done" && line["ok"] == ok, "not {words:?}: {line}");
    assert!(support::scene::holds(&message(line), words), "not {words:?}: {line}");
}

/// Fails unless a line is an error that says this.
pub(super) fn assert_error(line: &Value, words: &str) {
    assert!(line["reply"] == "error" && line["ok"] == false, "not {words:?}: {line}");
    assert!(support::scene::holds(&message(line), words), "not {words:?}: {line}");
}

/// A restarter whose epoch 0 is ready, and which listens.
pub(super) fn serving(scene: &Scene, options: &[&str], steps: &str) -> Restarter {
    let restarter = scene.restarter(options, &scene.probe(steps)).start();
    restarter.says(" ready epoch=0 ");
    assert_eq!(ask(&restarter, "health")["ok"], true, "{}", restarter.log());
    restarter
}

/// Stops a restarter all of whose processes end when they are asked to.
pub(super) fn stop_cleanly(scene: &Scene, mut restarter: Restarter) {
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    scene.assert_empty();
}

/// The descriptors of a process, and what they are.
pub(super) fn descriptors(pid: i32) -> Vec<(i32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut found: Vec<(i32, String)> = entries
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, fs::read_link(entry.path()).ok()?.to_str()?.to_owned()))
        })
        .collect();
    found.sort();
    found
}

/// Waits until a process has as many descriptors as it had.
pub(super) fn await_descriptors(pid: i32, before: &[(i32, String)]) {
    eventually("no descriptor is left over", || {
        let now = descriptors(pid);
        if now.len() == before.len() { Ok(()) } else { Err(now) }
    });
}
