//! The log says what happened, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::epochs::numbers;
use super::family::{Family, Process, Status};
use super::{Case, End};

/// A line of the restarter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Line<'a> {
    event: &'a str,
    epoch: Option<u32>,
    pid: Option<i32>,
    message: &'a str,
}

/// What children write to the same place begins so.
const NOISE: &str = "noise";

pub(super) fn judge(case: &mut Case<'_>, family: Option<&Family>) {
    let log = case.facts.log;
    let mut lines = Vec::new();
    for text in log.lines() {
        let is_noise = text.contains(NOISE);
        match line(text).filter(|_| !is_noise) {
            Some(line) => lines.push(line),
            None if case.facts.log_is_whole && !is_noise => {
                case.finds(&format!("no line of a log: {text:?}"));
            }
            None if case.facts.log_is_whole => {}
            // What a child wrote may have been torn by a full disk, and does not end its line.
            None => lines.extend(after_what_was_torn(text)),
        }
    }
    case.demands(!log.contains("a bug of ours"), || "it tells of a bug of its own".to_owned());
    let lost: u64 = lines.iter().filter(|line| line.event == "lost").filter_map(number_lost).sum();
    case.demands(!case.facts.log_is_whole || lost == 0, || {
        format!("{lost} lines were lost, and nothing was in their way")
    });
    exiting(case, &lines);
    if let Some(family) = family {
        starts(case, family, &lines, lost);
        ends(case, family, &lines);
    }
}

/// Whether it says, as a whole, that a stop was asked for, and of no end that began another.
pub(super) fn tells_of_a_stop(case: &Case<'_>) -> bool {
    let all = case.facts.log_is_whole && case.facts.terms.tells_all;
    let lines = || case.facts.log.lines().filter_map(line);
    let asked = |line: &Line<'_>| {
        line.event == "stopping"
            && [" received; ", "control socket; "].iter().any(|why| line.message.contains(why))
    };
    all && lines().any(|line| asked(&line))
        && !lines().any(|line| line.event == "ended-unexpectedly")
}

/// Those that it names as what would not die, and whether there are more; `None` where the log is
/// not whole.
pub(super) fn survivors(case: &Case<'_>) -> Option<(BTreeSet<i32>, bool)> {
    let lines = case.facts.log.lines().filter_map(line).filter(|line| line.event == "survivor");
    let (named, others): (Vec<_>, Vec<_>) = lines.partition(|line| line.pid.is_some());
    let pids = named.iter().filter_map(|line| line.pid).collect();
    case.facts.log_is_whole.then_some((pids, !others.is_empty()))
}

/// A line that stands behind the beginning of another.
fn after_what_was_torn(text: &str) -> Option<Line<'_>> {
    let mut begins = text.match_indices("20").chain(text.match_indices("{\"time"));
    begins.find_map(|(at, _)| line(&text[at..]))
}

fn number_lost(line: &Line<'_>) -> Option<u64> {
    line.message.split(' ').next()?.parse().ok()
}

/// The last line tells the exit code.
fn exiting(case: &mut Case<'_>, lines: &[Line<'_>]) {
    let told = lines.iter().filter(|line| line.event == "exiting");
    let codes: Vec<Option<i32>> = told
        .map(|line| line.message.strip_prefix("exit code ")?.split(':').next()?.parse().ok())
        .collect();
    let End::Code(code) = case.facts.end else { return };
    let level = case.facts.terms.tells_all || code != 0;
    if case.facts.log_is_whole && level {
        let last = lines.last().is_some_and(|line| line.event == "exiting");
        case.demands(last && codes.len() == 1, || "the last line is not about the end".to_owned());
    }
    let right = codes.iter().all(|told| *told == Some(code));
    case.demands(right, || format!("the exit code is {code}, and the log says {codes:?}"));
}

/// A line for each start, and a start for each line.
fn starts(case: &mut Case<'_>, family: &Family, lines: &[Line<'_>], lost: u64) {
    if !case.facts.terms.tells_all {
        return;
    }
    let leaders: Vec<(usize, &Process)> = family.leaders().collect();
    let numbers = numbers(case.facts.journal, &leaders);
    let mut told = lines.iter().filter(|line| line.event == "started").peekable();
    let mut untold: u64 = 0;
    for ((_, leader), number) in leaders.iter().zip(numbers) {
        let own = told.next_if(|line| line.pid == leader.number);
        match own {
            None => untold += 1,
            Some(line) => case.demands(number.is_none() || line.epoch == number, || {
                format!("pid {:?} says that it is epoch {number:?}, the log {line:?}", line.pid)
            }),
        }
    }
    case.demands(told.peek().is_none(), || format!("nobody was started for {:?}", told.peek()));
    if case.facts.log_is_whole {
        case.demands(untold == 0, || format!("{untold} starts have no line"));
    } else if lines.last().is_some_and(|line| line.event == "exiting") {
        case.demands(untold <= lost, || {
            format!("{untold} starts have no line, and {lost} lines were said to be lost")
        });
    }
}

/// What is said of the end of a leader is what the kernel has seen.
fn ends(case: &mut Case<'_>, family: &Family, lines: &[Line<'_>]) {
    let mut told: BTreeMap<i32, Vec<&Line<'_>>> = BTreeMap::new();
    for line in lines {
        let about_end = ["ended", "ended-unexpectedly", "restart-failed"].contains(&line.event);
        if let Some(pid) = line.pid.filter(|_| about_end) {
            told.entry(pid).or_default().push(line);
        }
    }
    for (_, leader) in family.leaders() {
        let (Some(number), Some(status)) = (leader.number, leader.status) else { continue };
        let Some(about) = told.get(&number) else {
            let must = case.facts.log_is_whole && case.facts.terms.tells_all;
            case.demands(!must || leader.reaped.is_none(), || {
                format!("the end of pid {number} is not told")
            });
            continue;
        };
        for line in about {
            let message = line.message;
            let what = match status {
                Status::Exited(code) => format!("exited with {code}"),
                Status::Signaled(signal) => match name(signal) {
                    Some(name) => format!("was ended by {name}"),
                    None => "was ended by SIG".to_owned(),
                },
            };
            let named = !what.ends_with("SIG");
            // A full disk takes the beginning of a line.
            let torn = !case.facts.log_is_whole && what.starts_with(message);
            let right =
                torn || if named { says(message, &what) } else { message.starts_with(&what) };
            case.demands(right || message.starts_with("not ready after "), || {
                format!("pid {number} ended by {status:?}, and the log says {line:?}")
            });
        }
    }
}

/// Whether a message begins with this, as whole words.
fn says(message: &str, what: &str) -> bool {
    message.strip_prefix(what).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGKILL => "SIGKILL",
        libc::SIGTERM => "SIGTERM",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGABRT => "SIGABRT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        _ => return None,
    })
}

/// A line of either format.
fn line(text: &str) -> Option<Line<'_>> {
    if text.starts_with('{') { json(text) } else { plain(text) }
}

/// `TIME LEVEL EVENT epoch=N pid=N: MESSAGE`.
fn plain(text: &str) -> Option<Line<'_>> {
    let (time, rest) = text.split_once(' ')?;
    let (level, rest) = rest.split_once(' ')?;
    let known = ["error", "warn", "info", "debug"].contains(&level);
    if !(known && time.len() == 24 && time.ends_with('Z')) {
        return None;
    }
    let rest = rest.trim_start();
    let (head, message) = rest.split_once(": ").unwrap_or((rest, ""));
    let mut words = head.split(' ');
    let mut line = Line { event: words.next()?, message, ..Line::default() };
    for word in words {
        match word.split_once('=')? {
            ("epoch", number) => line.epoch = Some(number.parse().ok()?),
            ("pid", number) => line.pid = Some(number.parse().ok()?),
            _ => return None,
        }
    }
    Some(line)
}

/// The same words, and nothing in them that this log escapes.
fn json(text: &str) -> Option<Line<'_>> {
    let rest = text.strip_suffix("\"}")?;
    let (head, message) = rest.split_once(",\"message\":\"")?;
    let value = |name: &str| {
        let rest = head.split_once(&format!("\"{name}\":"))?.1;
        Some(rest.split(',').next().unwrap_or(rest).trim_matches('"'))
    };
    value("time")?;
    value("level")?;
    Some(Line {
        event: value("event")?,
        epoch: value("epoch").and_then(|number| number.parse().ok()),
        pid: value("pid").and_then(|number| number.parse().ok()),
        message,
    })
}
