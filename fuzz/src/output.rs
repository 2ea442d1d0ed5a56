//! What others have put into what we write.

use hot_restarter::driver::capture::Lines;
use hot_restarter::log::{Format, LINE_LIMIT, Record, line};
use hot_restarter::supervisor::{Level, Pid};

/// What a check prints: however it comes in pieces, the same is passed on, in whole lines that fit,
/// and nothing is lost of it. What is remembered is fit for a terminal.
pub fn check_output(data: &[u8]) {
    let whole = captured(data, data.len().max(1));
    let joined = |passed: &[Vec<u8>]| -> Vec<u8> {
        passed.concat().into_iter().filter(|byte| *byte != b'\n').collect()
    };
    let bytes: Vec<u8> = data.iter().copied().filter(|byte| *byte != b'\n').collect();
    assert_eq!(joined(&whole.0), bytes);
    for piece in [1, 7, LINE_LIMIT - 1] {
        let (passed, remembered) = captured(data, piece);
        assert_eq!(joined(&passed), bytes, "in pieces of {piece}");
        assert_eq!(remembered, whole.1, "in pieces of {piece}");
    }
    // A short line is left as it is.
    if data.split(|byte| *byte == b'\n').all(|line| line.len() + 1 < LINE_LIMIT) {
        let newline: &[u8] = if data.is_empty() || data.ends_with(b"\n") { b"" } else { b"\n" };
        assert_eq!(whole.0.concat(), [data, newline].concat());
    }
}

/// What is passed on, and what is remembered, of what comes in pieces of this size.
fn captured(data: &[u8], piece: usize) -> (Vec<Vec<u8>>, Vec<String>) {
    let mut passed = Vec::new();
    let mut pass_on = |lines: &[u8]| passed.push(lines.to_vec());
    let mut lines = Lines::default();
    for mut piece in data.chunks(piece) {
        // It is read until there is no more, so that everything is taken in.
        lines.take_in(&mut piece, usize::MAX, &mut pass_on).expect("memory can be read");
        assert!(piece.is_empty());
    }
    lines.end(&mut pass_on);
    for lines in &passed {
        assert!(lines.ends_with(b"\n") && lines.len() <= LINE_LIMIT, "{}", lines.len());
    }
    let remembered = lines.remembered();
    assert!(remembered.len() <= 20);
    for line in &remembered {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    (passed, remembered)
}

/// A message with anything in it: one line that fits and moves no cursor, and JSON that can be
/// read.
pub fn log_line(data: &[u8]) {
    let message = String::from_utf8_lossy(data);
    let record = Record {
        level: Level::Error,
        event: "not-started",
        epoch: Some(u32::MAX),
        pid: Some(Pid(i32::MAX)),
        message: &message,
    };
    for format in [Format::Text, Format::Json] {
        let line = line(format, &record);
        assert!(line.len() <= LINE_LIMIT, "{}", line.len());
        let line = line.strip_suffix('\n').expect("it is a line");
        assert!(!line.contains(char::is_control), "{line:?}");
        if format == Format::Json {
            let value: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
            let told = value["message"].as_str().expect("it has a message");
            let plain = !message.contains(char::is_control);
            assert!(!plain || message.starts_with(told), "{told:?}");
            assert_eq!(value["pid"], i32::MAX);
        }
    }
}
