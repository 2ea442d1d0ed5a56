//! What options take: from text to a value, or to one clause that says what is wrong with it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::http::Url;
use crate::log::Format;
use crate::signal::{Meaning, Signal};
use crate::supervisor::Level;

/// The longest time that an option takes: a week. What is longer was meant to be something else.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Seconds, with a fraction of up to nine digits. By hand, since the conversion of floating-point
/// numbers would be a thirtieth of the binary.
pub(super) fn seconds(text: &str) -> Result<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    ensure!(digits(whole) && digits(fraction), "not a number of seconds, as 30 or 0.5 is");
    ensure!(fraction.len() <= 9, "finer than a nanosecond");
    // What is too long for a number is too long for us.
    let seconds = whole.parse().unwrap_or(u64::MAX);
    let nanos = format!("{fraction:0<9}").parse().expect("nine digits");
    let time = Duration::new(seconds, nanos);
    ensure!(time <= LONGEST, "more than a week ({} s)", LONGEST.as_secs());
    Ok(time)
}

pub(super) fn stop_signal(text: &str) -> Result<Signal> {
    let signal: Signal = text.parse()?;
    ensure!(signal.meaning() != Meaning::Uncatchable, "{signal} cannot be caught by the target");
    Ok(signal)
}

/// What `--ready` takes.
#[derive(Debug)]
pub(super) enum Probe {
    Auto,
    None,
    Command(Vec<OsString>),
    Http(Url),
}

pub(super) fn probe(text: &str) -> Result<Probe> {
    if let Some(command) = text.strip_prefix("exec:") {
        return command_words(command).map(Probe::Command);
    }
    if text.starts_with("http:") || text.starts_with("https:") {
        return text.parse().map(Probe::Http);
    }
    match text {
        "auto" => Ok(Probe::Auto),
        "none" => Ok(Probe::None),
        _ => bail!("none of auto, none, exec:COMMAND and http://HOST:PORT/PATH"),
    }
}

/// `--control`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// The usual places, one after the other.
    Usual,
    /// Here.
    At(PathBuf),
    /// Nowhere.
    None,
}

/// The words of a command in one string, as a shell would split it.
pub(super) fn command_words(text: &str) -> Result<Vec<OsString>> {
    let words = shell_words::split(text)?;
    ensure!(words.first().is_some_and(|program| !program.is_empty()), "no program in it");
    Ok(words.into_iter().map(OsString::from).collect())
}

pub(super) fn switch(text: &str) -> Result<bool> {
    match text {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => bail!("none of 1, true, 0 and false"),
    }
}

pub(super) fn max_epochs(text: &str) -> Result<usize> {
    match text {
        "2" => Ok(2),
        "3" => Ok(3),
        _ => bail!("neither 2 nor 3, and Envoy allows no more"),
    }
}

pub(super) fn log_format(text: &str) -> Result<Format> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => bail!("neither text nor json"),
    }
}

pub(super) fn log_level(text: &str) -> Result<Level> {
    [Level::Error, Level::Warn, Level::Info, Level::Debug]
        .into_iter()
        .find(|level| level.as_str() == text)
        .context("none of error, warn, info and debug")
}
