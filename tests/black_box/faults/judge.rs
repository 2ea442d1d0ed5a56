//! Whether a life kept what we promise although a call failed, and what came of it in words.

use support::probe;

use super::errnos::told;
use super::play::Seen;
use super::table::Spared;
use super::tracer::CALLS;

/// How many lines its log may have.
const LINES: usize = 120;

/// What a life must not do: each broken promise as a sentence.
pub(super) fn broken(seen: &Seen, code: i32, errnos: &[&str], spared: &Spared) -> Vec<String> {
    let mut broken = Vec::new();
    let mut say = |what: String| broken.push(what);
    match seen.code {
        None => say("it never ended, even without the fault".into()),
        Some(_) if seen.lasted && !spared.lasts => {
            say("it did not end while the fault lasted".into());
        }
        Some(_) => {}
    }
    // Who cannot be killed, or is not known, is left to others, and that is said.
    let given_up = ["would not die of SIGKILL", "/proc does not tell who is left"];
    let given_up = given_up.iter().any(|words| seen.log.contains(words));
    if !seen.left.is_empty() && !spared.leaves && !given_up {
        say(format!("it left processes behind: {:?}", seen.left));
    }
    if seen.zombies > 0 && !spared.lasts {
        say(format!("{} zombies were not reaped", seen.zombies));
    }
    if seen.count > CALLS {
        say(format!("it made {} calls, so it ran in circles", seen.count));
    }
    let lines = seen.log.lines().count();
    if lines > LINES {
        say(format!("its log has {lines} lines"));
    }
    if seen.log.contains("a bug of ours") {
        say("it panicked".into());
    }
    let told = errnos.iter().any(|errno| told(&seen.log, errno));
    let differs = !seen.missing.is_empty() || seen.code != Some(code);
    if (differs || seen.silent) && !told && !spared.silent {
        say("it never said why".into());
    }
    broken
}

/// What its log complains of, each complaint once.
pub(super) fn complaints(seen: &Seen) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for line in seen.log.lines().filter_map(|line| message(line, &seen.folder)) {
        if !said.contains(&line) {
            said.push(line);
        }
    }
    // Which of two faults shows first is the kernel's business.
    said.sort();
    said
}

/// What came of it, the same words each time; what a life without a fault complains of is `usual`.
pub(super) fn outcome(seen: &Seen, code: i32, usual: &[String]) -> String {
    let mut parts: Vec<String> = Vec::new();
    if seen.code != Some(code) {
        parts.push(seen.code.map_or_else(|| "no exit".into(), |code| format!("exit {code}")));
    }
    parts.extend(seen.missing.iter().cloned());
    if seen.lasted {
        parts.push("no end before the fault is over".to_owned());
    }
    let said: Vec<String> =
        complaints(seen).into_iter().filter(|line| !usual.contains(line)).collect();
    if !said.is_empty() {
        parts.push(format!("“{}”", said.join("”, “")));
    }
    if parts.is_empty() { "no change".to_owned() } else { parts.join("; ") }
}

/// What a line of the log complains of; `None` of one that does not.
fn message(line: &str, folder: &str) -> Option<String> {
    let program = probe().display().to_string();
    let line = without_control(&line.replace(folder, "…").replace(&program, "PROGRAM"));
    let rest = match line.split_once(' ') {
        Some((time, rest)) if time.ends_with('Z') => {
            let level = ["warn ", "error"].iter().find_map(|level| rest.strip_prefix(level))?;
            level.trim_start().to_owned()
        }
        // What is said before there is a log, or by the C library.
        _ => line,
    };
    let rest = rest.strip_prefix("exiting: ").map_or_else(|| rest.clone(), |_| String::new());
    if rest.is_empty() || rest == "say checked" || rest.ends_with(" say checked") {
        return None;
    }
    Some(numbers_hidden(&without_os_error(&rest)).replace('|', "\\|"))
}

/// The place of a control socket has a number of its own.
fn without_control(line: &str) -> String {
    let Some((before, after)) = line.split_once("/tmp/hot-restarter-control/") else {
        return line.to_owned();
    };
    let end = after.find(|it: char| !it.is_ascii_digit() && it != '-').unwrap_or(after.len());
    format!("{before}CONTROL{}", &after[end..])
}

/// The text of an errno says what its number says.
fn without_os_error(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(begin) = text.find(" (os error ") {
        let end = text[begin..].find(')').map_or(text.len(), |end| begin + end + 1);
        text.replace_range(begin..end, "");
    }
    text
}

/// Numbers of three digits and more are pids, sizes and ports; in a PID namespace a pid is shorter.
fn numbers_hidden(text: &str) -> String {
    let mut hidden = String::new();
    let mut digits = String::new();
    for character in text.chars().chain(['\0']) {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        let is_pid = ["pid=", "group ", "process "].iter().any(|word| hidden.ends_with(word));
        let is_hidden = digits.len() > 2 || (is_pid && !digits.is_empty());
        hidden.push_str(if is_hidden { "N" } else { &digits });
        digits.clear();
        hidden.push(character);
    }
    hidden.truncate(hidden.len() - 1);
    hidden
}
