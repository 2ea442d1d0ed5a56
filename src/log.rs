//! One line per event on standard error, which must never stop or end us.
//!
//! What we inherited is never set to `O_NONBLOCK`: that would be so for every process that shares
//! it. A pipe or a terminal is opened once more for ourselves, a socket is asked per message, a
//! file does not block.

use std::fmt::{self, Write as _};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::supervisor::{Level, Notice, Pid};
use crate::sys;

const STDERR: RawFd = libc::STDERR_FILENO;

/// The longest line, newline included: `PIPE_BUF`, up to which a pipe takes all or nothing, and
/// what kubelet shows of a termination log.
pub const LINE_LIMIT: usize = 4096;

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The way to standard error.
#[derive(Debug)]
enum Sink {
    /// Opened anew for ourselves, without blocking.
    Own(OwnedFd),
    /// A socket.
    Socket,
    /// What never blocks.
    File,
    /// What may block and could not be opened anew; asked before each line.
    Asked,
    /// We were started without one.
    Closed,
}

/// The log.
#[derive(Debug)]
pub struct Log {
    format: Format,
    level: Level,
    /// Found at the first line, so that the first epoch does not wait for it.
    sink: Option<Sink>,
    lost: u64,
    /// What was written last is the beginning of a line: a disk was full in the middle of it.
    torn: bool,
}

/// What a line is made of.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// How much it matters.
    pub level: Level,
    /// The event's name.
    pub event: &'a str,
    /// The epoch that it is about.
    pub epoch: Option<u32>,
    /// The process that it is about.
    pub pid: Option<Pid>,
    /// Why, or what.
    pub message: &'a dyn fmt::Display,
}

impl Log {
    /// A log that has written nothing yet.
    pub fn new(format: Format, level: Level) -> Self {
        Self { format, level, sink: None, lost: 0, torn: false }
    }

    /// Whether lines of this level are written.
    pub fn tells(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Whether much that is written at once could block us in the end: a terminal of another user
    /// has room for something, and does not say for how much.
    pub fn may_block(&mut self) -> bool {
        matches!(self.sink.get_or_insert_with(Sink::find), Sink::Asked)
            && sys::file_type(STDERR).is_ok_and(|kind| kind == libc::S_IFCHR)
    }

    /// Writes a notice of the core.
    pub fn notice(&mut self, notice: &Notice) {
        let (level, event) = notice.what.kind();
        let Notice { epoch, pid, ref what } = *notice;
        self.write(&Record { level, event, epoch, pid, message: what });
    }

    /// Writes a line that is about no epoch.
    pub fn say(&mut self, level: Level, event: &str, message: &dyn fmt::Display) {
        self.write(&Record { level, event, epoch: None, pid: None, message });
    }

    /// Writes a line, when it matters enough.
    pub fn write(&mut self, record: &Record<'_>) {
        if self.tells(record.level) {
            self.pass_on(line(self.format, record).as_bytes());
        }
    }

    /// Writes lines that are whole, as they are: what a program of ours has said. More than
    /// [`LINE_LIMIT`] bytes at once may be torn apart by what others write.
    pub fn pass_on(&mut self, lines: &[u8]) {
        if self.lost > 0 {
            let message = &format_args!("{} lines before this one were lost", self.lost);
            let lost =
                Record { level: Level::Warn, event: "lost", epoch: None, pid: None, message };
            // One that was torn does not tear this one.
            let end = if self.torn { "\n" } else { "" };
            if self.put(format!("{end}{}", line(self.format, &lost)).as_bytes()) == 0 {
                self.lost = 0;
            }
        }
        // While lines are lost, later ones are as well, so that the count stands where they were.
        self.lost += if self.lost > 0 { number_of(lines) } else { self.put(lines) };
    }

    /// Writes whole lines; how many of them were not, or not to their end.
    fn put(&mut self, lines: &[u8]) -> u64 {
        let written = match self.sink.get_or_insert_with(Sink::find) {
            Sink::Own(own) => sys::write(own.as_raw_fd(), lines),
            Sink::Socket => sys::send_without_waiting(STDERR, lines),
            Sink::File => sys::write(STDERR, lines),
            Sink::Asked => write_if_ready(lines),
            Sink::Closed => return 0,
        };
        let (written, missing) = lines.split_at(written.unwrap_or(0));
        if let Some(last) = written.last() {
            self.torn = *last != b'\n';
        }
        number_of(missing)
    }
}

impl Sink {
    fn find() -> Self {
        match sys::file_type(STDERR) {
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => Self::Closed,
            // A file system that does not answer, say.
            Err(_) => Self::Asked,
            Ok(libc::S_IFSOCK) => Self::Socket,
            // A file opened anew would be written from its beginning.
            Ok(libc::S_IFREG | libc::S_IFBLK) => Self::File,
            Ok(_) => {
                let again = OpenOptions::new()
                    .write(true)
                    .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
                    .open("/proc/self/fd/2");
                // Of another user, or /proc is not there.
                let own = again.and_then(|file| sys::above_stdio(file.into()));
                own.map_or(Self::Asked, Self::Own)
            }
        }
    }
}

/// Writes to standard error if it would take the bytes now.
///
/// Where the kernel cannot promise that, it is asked first, and what else writes there may fill
/// it between the question and the write.
pub fn write_if_ready(bytes: &[u8]) -> io::Result<usize> {
    match sys::write_without_waiting(STDERR, bytes) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
        written => return written,
    }
    let stderr = borrowed_stderr()?;
    let mut asked = [PollFd::new(stderr, PollFlags::POLLOUT)];
    poll(&mut asked, PollTimeout::ZERO)?;
    let ready = asked[0].revents().unwrap_or(PollFlags::empty());
    if !ready.contains(PollFlags::POLLOUT) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    sys::write(STDERR, bytes)
}

fn borrowed_stderr() -> io::Result<BorrowedFd<'static>> {
    sys::file_type(STDERR)?;
    Ok(sys::stderr())
}

/// A message as a line by itself.
pub fn one_line(message: &str) -> String {
    let mut line = escaped(message);
    line.push('\n');
    line
}

/// A message without what would end its line or move a terminal's cursor.
pub fn escaped(message: &str) -> String {
    let mut line = String::new();
    // Writing to a string cannot fail.
    let _ = Escaped { line: &mut line, json: false }.write_str(message);
    line
}

fn number_of(lines: &[u8]) -> u64 {
    lines.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// A record as the log writes it, with its newline.
pub fn line(format: Format, record: &Record<'_>) -> String {
    let mut line = String::new();
    // Writing to a string cannot fail.
    let _ = match format {
        Format::Text => text(&mut line, record),
        Format::Json => json(&mut line, record),
    };
    line
}

fn text(line: &mut String, record: &Record<'_>) -> fmt::Result {
    time(line)?;
    write!(line, " {:<5} {}", record.level.as_str(), record.event)?;
    if let Some(epoch) = record.epoch {
        write!(line, " epoch={epoch}")?;
    }
    if let Some(pid) = record.pid {
        write!(line, " pid={pid}")?;
    }
    line.push_str(": ");
    let colon = line.len();
    write!(Escaped { line, json: false }, "{}", record.message)?;
    if line.len() == colon {
        // Nothing to add.
        line.truncate(colon - 2);
    }
    line.push('\n');
    Ok(())
}

fn json(line: &mut String, record: &Record<'_>) -> fmt::Result {
    line.push_str("{\"time\":\"");
    time(line)?;
    write!(line, "\",\"level\":\"{}\",\"event\":\"{}\"", record.level.as_str(), record.event)?;
    if let Some(epoch) = record.epoch {
        write!(line, ",\"epoch\":{epoch}")?;
    }
    if let Some(pid) = record.pid {
        write!(line, ",\"pid\":{pid}")?;
    }
    line.push_str(",\"message\":\"");
    write!(Escaped { line, json: true }, "{}", record.message)?;
    line.push_str("\"}\n");
    Ok(())
}

/// A time since 1970 as the log writes it: RFC 3339, in UTC, with milliseconds.
pub fn timestamp(since_1970: Duration) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = put_time(&mut text, since_1970);
    text
}

fn time(line: &mut String) -> fmt::Result {
    put_time(line, sys::wall_clock())
}

fn put_time(line: &mut String, since_1970: Duration) -> fmt::Result {
    let [year, month, day, hour, minute, second] = sys::utc(since_1970);
    let millis = since_1970.subsec_millis();
    write!(line, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Keeps a message on its line, and a line within its limit.
struct Escaped<'a> {
    line: &'a mut String,
    json: bool,
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Room for one escape and for what closes the line.
        const END: usize = 16;
        for character in text.chars() {
            if self.line.len() + END > LINE_LIMIT {
                return Ok(());
            }
            match character {
                '"' | '\\' if self.json => self.line.extend(['\\', character]),
                '\n' => self.line.push_str("\\n"),
                control if control.is_control() => write!(self.line, "\\u{:04x}", control as u32)?,
                other => self.line.push(other),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, message: &str) -> String {
        line(
            format,
            &Record {
                level: Level::Warn,
                event: "ready",
                epoch: Some(3),
                pid: Some(Pid(17)),
                message: &message,
            },
        )
    }

    #[test]
    fn a_line_says_when_how_much_what_and_why() {
        let line = written(Format::Text, "two\nlines");
        let (time, rest) = line.split_once(' ').expect("words");
        assert_eq!(rest, "warn  ready epoch=3 pid=17: two\\nlines\n");
        assert_eq!(time.len(), "2026-01-01T00:00:00.000Z".len());
    }

    #[test]
    fn json_is_escaped() {
        let line = written(Format::Json, "a \"b\" \\ \u{1}");
        assert!(
            line.ends_with(
                "\"event\":\"ready\",\"epoch\":3,\"pid\":17,\
                 \"message\":\"a \\\"b\\\" \\\\ \\u0001\"}\n"
            ),
            "{line}"
        );
    }

    #[test]
    fn a_line_fits_into_a_pipe_at_once() {
        for character in ["a", "\"", "\u{1}", "€"] {
            for format in [Format::Text, Format::Json] {
                let line = written(format, &character.repeat(10_000));
                assert!(line.len() <= LINE_LIMIT && line.ends_with('\n'), "{}", line.len());
                assert_eq!(line.matches('\n').count(), 1);
            }
            let line = one_line(&character.repeat(10_000));
            assert!(line.len() <= LINE_LIMIT && line.len() > LINE_LIMIT - 32, "{}", line.len());
            assert_eq!(line.matches('\n').count(), 1);
        }
    }

    #[test]
    fn the_date_is_utc() {
        let new_year = Duration::from_secs(1_767_225_600);
        assert_eq!(sys::utc(new_year), [2026, 1, 1, 0, 0, 0]);
        assert_eq!(sys::utc(Duration::from_secs(1_767_225_599)), [2025, 12, 31, 23, 59, 59]);
    }
}
