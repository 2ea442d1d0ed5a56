//! What passes over the control socket: one request line, then answers, a JSON object a line.
//!
//! The README shows it to whoever writes a client. Version 1 will only ever gain fields of answers;
//! anything else is another version.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version that we speak.
pub const VERSION: u32 = 1;
/// The longest request line, without its newline.
pub const REQUEST_LIMIT: usize = 1024;
/// The longest line of an answer that a client takes: a status of three epochs is below 2 KiB, and
/// the last lines of a check below 32.
pub const REPLY_LIMIT: usize = 256 * 1024;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// A hot restart.
    Reload,
    /// That logs are reopened.
    Reopen,
    /// A stop.
    Stop,
    /// How things stand.
    Status,
    /// Whether a ready epoch serves and no stop is under way.
    Health,
}

impl Command {
    /// All of them, as help lists them.
    pub const ALL: [Self; 5] = [Self::Reload, Self::Reopen, Self::Stop, Self::Status, Self::Health];

    /// The word for the command line, and in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Reopen => "reopen",
            Self::Stop => "stop",
            Self::Status => "status",
            Self::Health => "health",
        }
    }

    /// Whether it takes time, so that one can wait until it is done.
    pub const fn takes_time(self) -> bool {
        match self {
            Self::Reload | Self::Stop => true,
            Self::Reopen | Self::Status | Self::Health => false,
        }
    }
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with a command")]
pub struct Request {
    /// Which version the client speaks; ours, where it does not say.
    #[serde(default = "version")]
    pub version: u32,
    /// What it asks for.
    pub command: Command,
    /// Whether it wants to be told when that is done; only of what takes time.
    #[serde(default)]
    pub wait: bool,
}

const fn version() -> u32 {
    VERSION
}

impl Request {
    /// The request of a line without its newline. An error is one clause for its sender.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        // The version first: another one may have other fields.
        #[derive(Deserialize)]
        #[serde(expecting = "an object with a command")]
        struct Versioned {
            #[serde(default = "version")]
            version: u32,
        }
        let bad = |error: serde_json::Error| format!("not a request: {error}");
        let Versioned { version } = serde_json::from_slice(line).map_err(bad)?;
        if version != VERSION {
            return Err(format!("version {version} is not spoken here, {VERSION} is"));
        }
        let request: Self = serde_json::from_slice(line).map_err(bad)?;
        if request.wait && !request.command.takes_time() {
            return Err(format!("{} is answered at once, without \"wait\"", request.command));
        }
        Ok(request)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of answer a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It has been taken, and is under way or waits. The last line, unless the request says to wait.
    Taken,
    /// Something has happened, as the log tells it; `ok` says nothing. More lines follow.
    Progress,
    /// It is done, or has failed: `ok` tells. The last line.
    Done,
    /// The request is none that we take, or not from this client. The last line.
    Error,
}

/// One line of an answer. What does not apply is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reply {
    /// The version of this line.
    pub version: u32,
    /// What it is.
    pub reply: Kind,
    /// Whether what was asked for has succeeded, or goes well so far.
    pub ok: bool,
    /// The same for people: one line.
    pub message: String,
    /// What the log calls that which has happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The epoch that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// From the start of the epoch until it was ready, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_after_ms: Option<u64>,
    /// The exit code of the restarter, of a stop that is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// The last lines that a check wrote which has failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
    /// How things stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

impl Reply {
    /// One that says no more than this.
    pub fn new(reply: Kind, ok: bool, message: impl fmt::Display) -> Self {
        Self {
            version: VERSION,
            reply,
            ok,
            message: message.to_string(),
            event: None,
            epoch: None,
            ready_after_ms: None,
            exit_code: None,
            output: Vec::new(),
            status: None,
        }
    }

    /// The same as a line, newline included.
    pub fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("its keys are strings");
        line.push('\n');
        line
    }
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The version of the restarter.
    pub restarter: String,
    /// Its process, in its own PID namespace.
    pub pid: u32,
    /// `serving`, `draining`, `stopping` or `killing`.
    pub phase: String,
    /// A ready epoch serves, and no stop is under way.
    pub healthy: bool,
    /// How long it has been running.
    pub uptime_ms: u64,
    /// Since when, in UTC.
    pub since: String,
    /// The living epochs, oldest first.
    pub epochs: Vec<Epoch>,
    /// The restart that is under way.
    pub under_way: Option<UnderWay>,
    /// Why the restart that is queued waits.
    pub queued: Option<String>,
    /// What has become of the last restart.
    pub last_restart: Option<LastRestart>,
    /// What has become of the last one that was not `ok`, however long ago.
    pub last_failure: Option<LastRestart>,
    /// What a drain waits for.
    pub draining: Option<String>,
    /// `lost` when the admin has not answered since a restart failed.
    pub admin: Option<String>,
    /// How many restarts became an epoch that was ready.
    pub restarts_done: u64,
    /// How many began nothing.
    pub restarts_refused: u64,
    /// Of how many the epoch failed.
    pub restarts_failed: u64,
    /// How many orphans have been reaped.
    pub orphans_reaped: u64,
}

/// A living epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Epoch {
    /// Its number.
    pub epoch: u32,
    /// Its leader.
    pub pid: i32,
    /// `starting`, `ready`, `draining`, `failed` or `stopping`.
    pub state: String,
    /// Since its start.
    pub age_ms: u64,
    /// When that was, in UTC.
    pub since: String,
    /// From its start until it was ready.
    pub ready_after_ms: Option<u64>,
}

/// A restart that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnderWay {
    /// The number of its epoch.
    pub epoch: u32,
    /// `checking`, `starting`, or `clearing` what a failed one left.
    pub stage: String,
}

/// What has become of a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastRestart {
    /// Whether its epoch became ready.
    pub ok: bool,
    /// One sentence.
    pub message: String,
    /// The number of its epoch, where one was started.
    pub epoch: Option<u32>,
    /// Since then.
    pub age_ms: u64,
    /// When that was, in UTC.
    pub since: String,
}

/// Reading by hand: a derived `Deserialize` of these would make the binary about 21 kB larger. That
/// every field which is written is read as well is a test's to see.
impl Reply {
    /// The answer of a line without its newline. An error is one clause about the line.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let bad = |why: &dyn fmt::Display| format!("is none of a restarter: {why}");
        let value: Value = serde_json::from_slice(line).map_err(|error| bad(&error))?;
        let without = |field| bad(&format_args!("it has no `{field}`"));
        match value["version"].as_u64() {
            Some(version) if version == u64::from(VERSION) => {}
            None => return Err(without("version")),
            Some(version) => {
                let why = format!("is of version {version}, and version {VERSION} is spoken here");
                return Err(why);
            }
        }
        let reply = match value["reply"].as_str() {
            Some("taken") => Kind::Taken,
            Some("progress") => Kind::Progress,
            Some("done") => Kind::Done,
            Some("error") => Kind::Error,
            Some(_) | None => return Err(without("reply")),
        };
        let output = value["output"].as_array().map_or(&[][..], Vec::as_slice);
        Ok(Self {
            version: VERSION,
            reply,
            ok: value["ok"].as_bool().ok_or_else(|| without("ok"))?,
            message: text(&value, "message").ok_or_else(|| without("message"))?,
            event: text(&value, "event"),
            epoch: small(&value, "epoch"),
            ready_after_ms: number(&value, "ready_after_ms"),
            exit_code: number(&value, "exit_code").and_then(|code| code.try_into().ok()),
            output: output.iter().map(|line| line.as_str().unwrap_or_default().into()).collect(),
            status: value.get("status").map(Status::of),
        })
    }
}

fn text(value: &Value, field: &str) -> Option<String> {
    value[field].as_str().map(str::to_owned)
}

fn number(value: &Value, field: &str) -> Option<u64> {
    value[field].as_u64()
}

fn small(value: &Value, field: &str) -> Option<u32> {
    number(value, field)?.try_into().ok()
}

/// What is missing or strange in how things stand is as if it were nothing: of such an answer the
/// rest is still worth reading.
impl Status {
    fn of(value: &Value) -> Self {
        let text_of = |field| text(value, field).unwrap_or_default();
        let number_of = |field| number(value, field).unwrap_or_default();
        let epochs = value["epochs"].as_array().map_or(&[][..], Vec::as_slice);
        Self {
            restarter: text_of("restarter"),
            pid: small(value, "pid").unwrap_or_default(),
            phase: text_of("phase"),
            healthy: value["healthy"] == true,
            uptime_ms: number_of("uptime_ms"),
            since: text_of("since"),
            epochs: epochs.iter().map(Epoch::of).collect(),
            under_way: value["under_way"].as_object().map(|_| UnderWay::of(&value["under_way"])),
            queued: text(value, "queued"),
            last_restart: LastRestart::of(&value["last_restart"]),
            last_failure: LastRestart::of(&value["last_failure"]),
            draining: text(value, "draining"),
            admin: text(value, "admin"),
            restarts_done: number_of("restarts_done"),
            restarts_refused: number_of("restarts_refused"),
            restarts_failed: number_of("restarts_failed"),
            orphans_reaped: number_of("orphans_reaped"),
        }
    }
}

impl Epoch {
    fn of(value: &Value) -> Self {
        Self {
            epoch: small(value, "epoch").unwrap_or_default(),
            pid: number(value, "pid").and_then(|pid| pid.try_into().ok()).unwrap_or_default(),
            state: text(value, "state").unwrap_or_default(),
            age_ms: number(value, "age_ms").unwrap_or_default(),
            since: text(value, "since").unwrap_or_default(),
            ready_after_ms: number(value, "ready_after_ms"),
        }
    }
}

impl UnderWay {
    fn of(value: &Value) -> Self {
        Self {
            epoch: small(value, "epoch").unwrap_or_default(),
            stage: text(value, "stage").unwrap_or_default(),
        }
    }
}

impl LastRestart {
    fn of(value: &Value) -> Option<Self> {
        value.is_object().then(|| Self {
            ok: value["ok"] == true,
            message: text(value, "message").unwrap_or_default(),
            epoch: small(value, "epoch"),
            age_ms: number(value, "age_ms").unwrap_or_default(),
            since: text(value, "since").unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_an_object_with_a_command() {
        let request = |command, wait| Ok(Request { version: 1, command, wait });
        assert_eq!(Request::parse(br#"{"command":"status"}"#), request(Command::Status, false));
        assert_eq!(
            Request::parse(br#" {"wait":true,"version":1,"command":"reload"} "#),
            request(Command::Reload, true)
        );
        for command in Command::ALL {
            let line = format!("{{\"command\":\"{command}\"}}");
            assert_eq!(Request::parse(line.as_bytes()), request(command, false));
        }
    }

    #[test]
    fn what_is_none_is_told_why() {
        for (line, why) in [
            ("", "EOF"),
            ("status", "expected value"),
            ("{\"command\":\"status\"", "EOF"),
            ("{\"command\":\"restart\"}", "unknown variant `restart`, expected one of `reload`"),
            ("{\"command\":\"status\",\"force\":1}", "unknown field `force`"),
            ("{\"command\":\"status\"} x", "trailing characters"),
            ("{}", "missing field `command`"),
            ("{\"command\":\"reload\",\"wait\":1}", "expected a boolean"),
            ("{\"version\":2,\"order\":\"x\"}", "version 2 is not spoken here, 1 is"),
            ("{\"command\":\"health\",\"wait\":true}", "answered at once"),
            ("\u{0}\u{1}", "expected value"),
        ] {
            let error = Request::parse(line.as_bytes()).expect_err(line);
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn an_answer_is_a_line() {
        let reply = Reply { epoch: Some(3), ..Reply::new(Kind::Done, true, "two\nlines") };
        let line = reply.line();
        assert_eq!(
            line,
            "{\"version\":1,\"reply\":\"done\",\"ok\":true,\"message\":\"two\\nlines\",\
             \"epoch\":3}\n"
        );
        assert_eq!(Reply::parse(line.as_bytes()), Ok(reply));
    }

    /// Every field of an answer, with a value that nothing else has and no default is.
    fn full() -> Reply {
        Reply {
            version: VERSION,
            reply: Kind::Progress,
            ok: true,
            message: "\u{1b}".into(),
            event: Some("exiting".into()),
            epoch: Some(12),
            ready_after_ms: Some(13),
            exit_code: Some(255),
            output: vec!["e".into(), "f".into()],
            status: Some(Status {
                restarter: "0.1.0".into(),
                pid: u32::MAX,
                phase: "draining".into(),
                healthy: true,
                uptime_ms: u64::MAX,
                since: "then".into(),
                epochs: vec![Epoch {
                    epoch: 2,
                    pid: i32::MAX,
                    state: "ready".into(),
                    age_ms: 3,
                    since: "now".into(),
                    ready_after_ms: Some(4),
                }],
                under_way: Some(UnderWay { epoch: 5, stage: "checking".into() }),
                queued: Some("a".into()),
                last_restart: Some(LastRestart {
                    ok: true,
                    message: "b".into(),
                    epoch: Some(6),
                    age_ms: 7,
                    since: "c".into(),
                }),
                last_failure: Some(LastRestart {
                    ok: true,
                    message: "g".into(),
                    epoch: Some(14),
                    age_ms: 15,
                    since: "h".into(),
                }),
                draining: Some("d".into()),
                admin: Some("lost".into()),
                restarts_done: 8,
                restarts_refused: 9,
                restarts_failed: 10,
                orphans_reaped: 11,
            }),
        }
    }

    /// Fails where a value is what one that is not read is taken for.
    fn assert_no_default(name: &str, value: &Value) {
        match value {
            Value::Null => panic!("{name} is null"),
            Value::Bool(value) => assert!(value, "{name}"),
            Value::Number(number) => assert_ne!(number.as_u64(), Some(0), "{name}"),
            Value::String(text) => assert!(!text.is_empty(), "{name}"),
            Value::Array(values) => {
                assert!(!values.is_empty(), "{name}");
                for value in values {
                    assert_no_default(name, value);
                }
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    assert_no_default(name, value);
                }
            }
        }
    }

    /// What is written is derived, and what is read is not.
    #[test]
    fn every_field_that_is_written_is_read() {
        let written = full().line();
        let value = serde_json::from_str(&written).expect("our own");
        assert_no_default("answer", &value);
        let read = Reply::parse(written.as_bytes()).expect("our own");
        assert_eq!(read.line(), written);
        for reply in [Kind::Taken, Kind::Done, Kind::Error] {
            let reply = Reply { reply, ok: false, ..full() };
            assert_eq!(Reply::parse(reply.line().as_bytes()), Ok(reply));
        }
    }

    #[test]
    fn an_answer_may_have_fields_that_we_do_not_know() {
        let line = br#"{"version":1,"reply":"done","ok":true,"message":"","mood":"good"}"#;
        assert_eq!(Reply::parse(line), Ok(Reply::new(Kind::Done, true, "")));
    }

    #[test]
    fn an_answer_that_is_none_is_told_why() {
        for (line, why) in [
            ("", "is none of a restarter: EOF"),
            ("HTTP/1.1 400 Bad Request", "is none of a restarter: expected value"),
            ("{}", "is none of a restarter: it has no `version`"),
            ("7", "is none of a restarter: it has no `version`"),
            ("{\"version\":1,\"reply\":\"maybe\"}", "it has no `reply`"),
            ("{\"version\":1,\"reply\":\"done\",\"ok\":1}", "it has no `ok`"),
            ("{\"version\":2,\"verdict\":\"x\"}", "is of version 2, and version 1 is spoken"),
        ] {
            let error = Reply::parse(line.as_bytes()).expect_err(line);
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
