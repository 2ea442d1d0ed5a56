//! HTTP load from real load generators, and what they counted.
//!
//! wrk keeps its connections, hey opens a new one for each request. Everything that is not a
//! 200 is a failure.

use std::fmt;
use std::ops::Add;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::envoy::Stage;
use crate::{eventually, project};

/// Bounds a generator that nobody stops, in seconds.
const AT_MOST: u32 = 900;
/// After this an answer has failed. Far longer than any takes on a busy machine: what is looked
/// for is lost requests, not slow ones.
const TIMEOUT: u32 = 20;

/// Whether the machine has both generators.
pub fn possible() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |name| std::env::split_paths(&path).any(|folder| folder.join(name).exists());
    found("wrk") && found("hey")
}

/// What a generator saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Answers with 200.
    pub answered: u64,
    /// Everything else: other answers, and errors of connect, read, write and timeout.
    pub failed: u64,
    /// How long it went on.
    pub lasted: Duration,
}

impl Add for Counted {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            answered: self.answered + other.answered,
            failed: self.failed + other.failed,
            lasted: self.lasted.max(other.lasted),
        }
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, failed, lasted } = self;
        #[expect(clippy::cast_precision_loss, reason = "it is for people")]
        let rate = *answered as f64 / lasted.as_secs_f64();
        let seconds = lasted.as_secs_f64();
        write!(
            f,
            "{answered} requests answered and {failed} failed in {seconds:.1} s, {rate:.0} a second"
        )
    }
}

/// Load of both kinds.
#[derive(Debug)]
pub struct Load {
    keeping: Generator,
    renewing: Generator,
}

impl Load {
    /// Some 300 requests a second on kept connections and 50 on new ones: many tests that run
    /// beside each other have this.
    pub fn modest(stage: &Stage) -> Self {
        Self::start(
            stage,
            Rate { connections: 8, pause_ms: 25 },
            Rate { connections: 2, pause_ms: 40 },
        )
    }

    /// Some 1,800 requests a second on kept connections and 1,200 on new ones.
    pub fn heavy(stage: &Stage) -> Self {
        Self::start(
            stage,
            Rate { connections: 40, pause_ms: 20 },
            Rate { connections: 28, pause_ms: 20 },
        )
    }

    /// Starts it, and waits until requests are served.
    fn start(stage: &Stage, kept: Rate, new: Rate) -> Self {
        let load =
            Self { keeping: keeping(&stage.url(), kept), renewing: renewing(&stage.url(), new) };
        eventually("the load has begun", || match stage.requests() {
            few @ 0..50 => Err(few),
            _ => Ok(()),
        });
        load
    }

    /// Ends it; what the kept connections counted, and the new ones.
    pub fn stop(self) -> (Counted, Counted) {
        (self.keeping.stop(), self.renewing.stop())
    }

    /// Ends it, and fails if one request did.
    pub fn stop_without_failure(self) -> Counted {
        let (kept, new) = self.stop();
        assert_eq!((kept.failed, new.failed), (0, 0), "kept connections: {kept}; new: {new}");
        kept + new
    }
}

/// How much: each connection waits this long before its next request.
#[derive(Clone, Copy, Debug)]
struct Rate {
    connections: u32,
    pause_ms: u32,
}

#[derive(Debug)]
struct Generator {
    name: &'static str,
    child: Option<Child>,
    since: Instant,
    figures: fn(&str) -> Option<(u64, u64)>,
}

/// Without a pause wrk would take every processor and measure itself.
fn keeping(url: &str, rate: Rate) -> Generator {
    let Rate { connections, pause_ms } = rate;
    let mut wrk = Command::new("wrk");
    wrk.arg("--threads=1")
        .arg(format!("--connections={connections}"))
        .arg(format!("--duration={AT_MOST}s"))
        .arg(format!("--timeout={TIMEOUT}s"))
        .arg("--script")
        .arg(project().join("docker/demo/pace.lua"))
        .args([url, &pause_ms.to_string()]);
    Generator::start("wrk", wrk, wrk_figures)
}

fn renewing(url: &str, rate: Rate) -> Generator {
    let Rate { connections, pause_ms } = rate;
    let per_second = (1000 / pause_ms).to_string();
    let mut hey = Command::new("hey");
    hey.args(["-z", &format!("{AT_MOST}s"), "-c", &connections.to_string(), "-q", &per_second])
        .args(["-t", &TIMEOUT.to_string(), "-disable-keepalive", url]);
    Generator::start("hey", hey, hey_figures)
}

impl Generator {
    fn start(
        name: &'static str,
        mut command: Command,
        figures: fn(&str) -> Option<(u64, u64)>,
    ) -> Self {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = piped.spawn().unwrap_or_else(|error| {
            panic!("cannot run {name}: {error}; Debian has it in the package {name}")
        });
        Self { name, child: Some(child), since: Instant::now(), figures }
    }

    /// Has it report and end.
    fn stop(mut self) -> Counted {
        let name = self.name;
        let mut child = self.child.take().expect("it is stopped once");
        let lasted = self.since.elapsed();
        let early = child.try_wait().expect("it is our child");
        assert!(early.is_none(), "{name} ended before its time: {early:?}");
        let pid = child.id().try_into().expect("a pid");
        // SAFETY: kill takes two numbers, and the child has not been waited for.
        unsafe { libc::kill(pid, libc::SIGINT) };
        // Each of its requests in flight ends within its timeout, and then it does.
        let output = child.wait_with_output().expect("it is our child");
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let (answered, failed) = (self.figures)(&said).unwrap_or_else(|| {
            panic!("{name} ({}) reports nothing: {said}{errors}", output.status)
        });
        if failed > 0 {
            eprintln!("{name}:\n{said}");
        }
        Counted { answered, failed, lasted }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Answered and failed, from wrk's report.
fn wrk_figures(said: &str) -> Option<(u64, u64)> {
    let completed = number(said.split(" requests in ").next()?.rsplit(['\n', ' ']).next()?)?;
    let refused = number_after(said, "Non-2xx or 3xx responses: ");
    let broken: u64 = ["connect ", "read ", "write ", "timeout "]
        .map(|kind| {
            said.split_once("Socket errors: ").map_or(0, |(_, rest)| number_after(rest, kind))
        })
        .iter()
        .sum();
    Some((completed.checked_sub(refused)?, refused + broken))
}

/// Answered and failed, from hey's report: `[200] N responses`, and `[N] error`.
fn hey_figures(said: &str) -> Option<(u64, u64)> {
    let (_, distributions) = said.split_once("Status code distribution:").or_else(|| {
        said.split_once("Error distribution:").map(|(before, _)| (before, &said[before.len()..]))
    })?;
    let (statuses, errors) =
        distributions.split_once("Error distribution:").unwrap_or((distributions, ""));
    let mut answered = 0;
    let mut failed = 0;
    for line in statuses.lines().map(str::trim) {
        if let Some((status, count)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']'))
        {
            let count = number(count.split_whitespace().next()?)?;
            *(if status == "200" { &mut answered } else { &mut failed }) += count;
        }
    }
    for line in errors.lines().map(str::trim) {
        if let Some((count, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            failed += number(count)?;
        }
    }
    Some((answered, failed))
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The number that follows these words; 0 where they are missing.
fn number_after(text: &str, words: &str) -> u64 {
    let rest = text.split_once(words).map_or("", |(_, rest)| rest);
    rest.split(|character: char| !character.is_ascii_digit()).next().and_then(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_understood() {
        let said = "  2 threads\n  1000 requests in 2.00s, 1MB read\n  \
            Socket errors: connect 1, read 2, write 3, timeout 4\n  \
            Non-2xx or 3xx responses: 5\n";
        assert_eq!(wrk_figures(said), Some((995, 15)));
        assert_eq!(wrk_figures("  7 requests in 2.00s, 1MB read\n"), Some((7, 0)));
        assert_eq!(wrk_figures("unable to connect to 127.0.0.1"), None);
    }

    #[test]
    fn hey_is_understood() {
        let said = "Status code distribution:\n  [200]\t90 responses\n  [503]\t2 responses\n\n\
            Error distribution:\n  [3]\tGet: EOF\n  [4]\tGet: connection refused\n";
        assert_eq!(hey_figures(said), Some((90, 9)));
        assert_eq!(hey_figures("Error distribution:\n  [3]\tGet: EOF\n"), Some((0, 3)));
        assert_eq!(hey_figures("Status code distribution:\n  [200]\t9 responses\n"), Some((9, 0)));
        assert_eq!(hey_figures(""), None);
    }
}
