//! Answers as text for people. What they say comes from outside, so nothing of it reaches a
//! terminal as anything but text.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::wire::{Reply, Status};
use crate::supervisor::Seconds;

/// What became of it, with the last lines of a check that failed.
pub fn answer(reply: &Reply) -> String {
    if let Some(status) = &reply.status {
        return self::status(status);
    }
    let mut text = Plain(&reply.message).to_string();
    if !reply.output.is_empty() && !text.ends_with(':') {
        text.push(':');
    }
    text.push('\n');
    for line in &reply.output {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}", Plain(line));
    }
    text
}

/// How things stand: a line, a table of the epochs, and what else there is to know.
fn status(status: &Status) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_status(&mut text, status);
    text
}

fn write_status(text: &mut String, status: &Status) -> fmt::Result {
    let Status { restarter, pid, phase, since, .. } = status;
    let [restarter, phase, since] = [restarter, phase, since].map(|field| Plain(field));
    let up = Age(status.uptime_ms);
    let unwell = if status.healthy || phase.0 != "serving" { "" } else { ", no epoch is ready" };
    writeln!(
        text,
        "hot-restarter {restarter} (pid {pid}), up {up} since {since}: {phase}{unwell}"
    )?;
    let mut rows =
        vec![["EPOCH", "PID", "STATE", "AGE", "READY-AFTER", "SINCE"].map(str::to_owned)];
    rows.extend(status.epochs.iter().map(|epoch| {
        let ready = epoch.ready_after_ms.map(Duration::from_millis);
        [
            epoch.epoch.to_string(),
            epoch.pid.to_string(),
            Plain(&epoch.state).to_string(),
            Age(epoch.age_ms).to_string(),
            ready.map_or_else(|| "-".to_owned(), |after| format!("{} s", Seconds(after))),
            Plain(&epoch.since).to_string(),
        ]
    }));
    write_table(text, &rows)?;
    if let Some(under_way) = &status.under_way {
        writeln!(text, "restart: epoch {}, {}", under_way.epoch, Plain(&under_way.stage))?;
    }
    for (what, why) in
        [("queued", &status.queued), ("draining", &status.draining), ("admin", &status.admin)]
    {
        if let Some(why) = why {
            writeln!(text, "{what}: {}", Plain(why))?;
        }
    }
    let failure =
        status.last_failure.as_ref().filter(|_| status.last_failure != status.last_restart);
    for (what, last) in [("restart", status.last_restart.as_ref()), ("failure", failure)] {
        if let Some(last) = last {
            let (message, ago) = (Plain(&last.message), Age(last.age_ms));
            writeln!(text, "last {what}: {message} ({ago} ago)")?;
        }
    }
    let Status { restarts_done, restarts_refused, restarts_failed, orphans_reaped, .. } = status;
    writeln!(
        text,
        "restarts: {restarts_done} done, {restarts_refused} refused, {restarts_failed} failed; \
         orphans reaped: {orphans_reaped}"
    )
}

/// Columns as wide as they must be, two spaces apart.
fn write_table<const N: usize>(text: &mut String, rows: &[[String; N]]) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    for row in rows {
        for (column, cell) in row[..N - 1].iter().enumerate() {
            write!(text, "{cell:<width$}  ", width = width(column))?;
        }
        writeln!(text, "{}", row[N - 1])?;
    }
    Ok(())
}

/// Text in which nothing controls a terminal.
pub struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_char('\t')?,
                control if control.is_control() => write!(f, "\\u{:04x}", control as u32)?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// Milliseconds as kubectl tells ages: the two greatest units.
struct Age(u64);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000;
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds}s"),
            (0, 0, _) => write!(f, "{minutes}m{}s", seconds % 60),
            (0, _, _) => write!(f, "{hours}h{}m", minutes % 60),
            (_, _, _) => write!(f, "{days}d{}h", hours % 24),
        }
    }
}

/// As much of a text as fits into so many columns of a terminal, in one line.
pub(super) fn fitted(text: &str, columns: usize) -> String {
    let mut left = columns;
    // A tab is as wide as where it is.
    let text = Plain(text).to_string().replace('\t', " ");
    let fits = |character: &char| {
        // From the first script on whose characters may be two columns wide.
        let width = if *character < '\u{1100}' { 1 } else { 2 };
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    text.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::{Epoch, Kind, LastRestart, UnderWay};

    fn epoch(
        number: u32,
        pid: i32,
        state: &str,
        age_ms: u64,
        ready_after_ms: Option<u64>,
    ) -> Epoch {
        let since = format!("2026-01-01T0{number}:00:00Z");
        Epoch { epoch: number, pid, state: state.to_owned(), age_ms, since, ready_after_ms }
    }

    fn quiet() -> Status {
        Status {
            restarter: "0.1.0".to_owned(),
            pid: 1,
            phase: "serving".to_owned(),
            healthy: true,
            uptime_ms: 11_520_000,
            since: "2026-01-01T00:00:00Z".to_owned(),
            epochs: vec![epoch(0, 7, "ready", 11_519_000, Some(412))],
            under_way: None,
            queued: None,
            last_restart: None,
            last_failure: None,
            draining: None,
            admin: None,
            restarts_done: 0,
            restarts_refused: 0,
            restarts_failed: 0,
            orphans_reaped: 0,
        }
    }

    #[test]
    fn a_quiet_status_is_short() {
        let expected = "\
hot-restarter 0.1.0 (pid 1), up 3h12m since 2026-01-01T00:00:00Z: serving
EPOCH  PID  STATE  AGE    READY-AFTER  SINCE
0      7    ready  3h11m  0.412 s      2026-01-01T00:00:00Z
restarts: 0 done, 0 refused, 0 failed; orphans reaped: 0
";
        assert_eq!(status(&quiet()), expected);
    }

    /// The line about it stands beside that of the last restart, unless they are the same.
    #[test]
    fn the_last_failure_is_told_once() {
        let restart = |ok, message: &str, age_ms| LastRestart {
            ok,
            message: message.to_owned(),
            epoch: Some(3),
            age_ms,
            since: String::new(),
        };
        let failed =
            || restart(false, "epoch 3 failed: exited with 1; epoch 2 still serves", 300_000);
        let lines = |last_restart, last_failure| {
            let text = status(&Status { last_restart, last_failure, ..quiet() });
            text.lines().filter(|line| line.starts_with("last ")).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(
            lines(Some(failed()), Some(failed())),
            "last restart: epoch 3 failed: exited with 1; epoch 2 still serves (5m0s ago)"
        );
        assert_eq!(
            lines(Some(restart(true, "epoch 3 ready after 1 s", 2000)), Some(failed())),
            "last restart: epoch 3 ready after 1 s (2s ago)\n\
             last failure: epoch 3 failed: exited with 1; epoch 2 still serves (5m0s ago)"
        );
    }

    #[test]
    fn a_status_tells_all_that_there_is() {
        let busy = Status {
            healthy: false,
            epochs: vec![
                epoch(8, 123_456, "draining", 90_061_000, Some(2000)),
                epoch(9, 7, "starting", 999, None),
            ],
            under_way: Some(UnderWay { epoch: 9, stage: "starting".to_owned() }),
            queued: Some("epoch 9 is not ready yet".to_owned()),
            draining: Some("2 requests".to_owned()),
            admin: Some("lost".to_owned()),
            last_restart: Some(LastRestart {
                ok: false,
                message: "refused: two\nlines".to_owned(),
                epoch: None,
                age_ms: 61_000,
                since: String::new(),
            }),
            restarts_done: 3,
            ..quiet()
        };
        let expected = "\
hot-restarter 0.1.0 (pid 1), up 3h12m since 2026-01-01T00:00:00Z: serving, no epoch is ready
EPOCH  PID     STATE     AGE   READY-AFTER  SINCE
8      123456  draining  1d1h  2 s          2026-01-01T08:00:00Z
9      7       starting  0s    -            2026-01-01T09:00:00Z
restart: epoch 9, starting
queued: epoch 9 is not ready yet
draining: 2 requests
admin: lost
last restart: refused: two\\nlines (1m1s ago)
restarts: 3 done, 0 refused, 0 failed; orphans reaped: 0
";
        assert_eq!(status(&busy), expected);
    }

    #[test]
    fn nothing_in_an_answer_controls_the_terminal() {
        let output = vec!["\u{1b}]0;title\u{7}".to_owned(), "a\tb\u{9b}31m".to_owned()];
        let message = "refused: the check exited with 1";
        let refused = Reply { output, ..Reply::new(Kind::Done, false, message) };
        assert_eq!(
            answer(&refused),
            "refused: the check exited with 1:\n  \\u001b]0;title\\u0007\n  a\tb\\u009b31m\n"
        );
        assert_eq!(fitted("\r: \n", 80), "\\u000d: \\n");
    }

    #[test]
    fn what_is_shown_fits_into_the_terminal() {
        assert_eq!(fitted("abc", 3), "abc");
        assert_eq!(fitted("abc", 2), "ab");
        assert_eq!(fitted("äöü", 2), "äö");
        assert_eq!(fitted("日本語a", 5), "日本");
        assert_eq!(fitted("a\u{1b}b", 4), "a\\u0");
        assert_eq!(fitted("a", 0), "");
    }
}
