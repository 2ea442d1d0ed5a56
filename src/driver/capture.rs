//! What a check prints: passed on to our standard error as it comes, and its end remembered for
//! whoever wants to know why the restart was refused.

use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};

use crate::log::{self, LINE_LIMIT, Log};
use crate::supervisor::Pid;
use crate::sys;

/// How many of the last lines are remembered.
const LINES: usize = 20;
/// How much of a line is remembered, in bytes.
const REMEMBERED: usize = 512;
/// How often is read before signals and exits are looked at again: enough for the 64 KiB that a pipe
/// holds, of which each read takes half a buffer at least.
const READS_A_TURN: usize = 40;
/// And at the end: a check may have made its pipe larger, up to 1 MiB (`pipe-max-size`) unless root
/// has changed that, and one that somebody else goes on filling must have its bound.
const READS_AT_END: usize = 16 * READS_A_TURN;

/// The output of the check that runs, or ran last.
#[derive(Debug, Default)]
pub(super) struct Capture {
    /// The check, while it runs.
    check: Option<Pid>,
    /// Our end of the pipe, while the check runs and somebody may write into it.
    pipe: Option<File>,
    lines: Lines,
}

impl Capture {
    /// Makes a pipe for a check that is to be started, and returns the end to write into. What the
    /// one before it has printed is remembered no more.
    ///
    /// There is no pipe where none can be made, nor where passing on could block us: then the
    /// check writes to our standard error itself.
    pub(super) fn begin(&mut self, log: &mut Log) -> Option<OwnedFd> {
        let (ours, theirs) = if log.may_block() { None } else { pipe().ok() }.unzip();
        *self = Self { pipe: ours, ..Self::default() };
        theirs
    }

    /// The check has been started. Where it has not, nobody holds the other end.
    pub(super) fn started(&mut self, check: Pid) {
        self.check = Some(check);
    }

    /// What is to be waited for.
    pub(super) fn poll_fd(&self) -> Option<PollFd<'_>> {
        Some(PollFd::new(self.pipe.as_ref()?.as_fd(), PollFlags::POLLIN))
    }

    /// Passes on what has come, as much of it as one turn has time for.
    pub(super) fn take_in(&mut self, log: &mut Log) -> io::Result<()> {
        self.read(READS_A_TURN, log)
    }

    fn read(&mut self, times: usize, log: &mut Log) -> io::Result<()> {
        if let Some(pipe) = &mut self.pipe
            && !self.lines.take_in(pipe, times, &mut |lines| log.pass_on(lines))?
        {
            // The check may go on, but nobody will write any more.
            self.close(log);
        }
        Ok(())
    }

    /// Passes on what is left when the check of this process group has ended or been killed.
    ///
    /// What has left the group may hold the pipe for as long as it likes, and is heard no more.
    pub(super) fn end(&mut self, group: Pid, log: &mut Log) {
        if self.check.take_if(|check| *check == group).is_some() {
            // What cannot be read even now is lost.
            let _ = self.read(READS_AT_END, log);
            self.close(log);
        }
    }

    fn close(&mut self, log: &mut Log) {
        self.pipe = None;
        self.lines.end(&mut |lines| log.pass_on(lines));
    }

    /// Remembers nothing of it any more.
    pub(super) fn forget(&mut self) {
        self.lines.last.clear();
    }

    /// The last lines of the check that runs, or ran last, fit for a terminal.
    pub(super) fn last_lines(&self) -> Vec<String> {
        self.lines.remembered()
    }
}

/// A pipe for a check: our end, from which reading never waits, and the one to write into. Neither
/// is inherited by anybody.
fn pipe() -> io::Result<(File, OwnedFd)> {
    let (ours, theirs) = io::pipe()?;
    let ours = sys::above_stdio(ours.into())?;
    // The other end is an open file of its own, and blocks as whoever writes there expects.
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((ours.into(), sys::above_stdio(theirs.into())?))
}

/// Cuts output into lines. No more than one line is held back.
#[derive(Debug, Default)]
pub struct Lines {
    /// The line that has begun, shorter than [`LINE_LIMIT`] without its end.
    begun: Vec<u8>,
    /// The first part of that line was too long to be held, and has been passed on.
    goes_on: bool,
    /// The last whole lines, each cut to what makes [`told`] see that it was longer.
    last: Vec<Vec<u8>>,
}

impl Lines {
    /// Reads so many times at most, and no more than there is; whether more may ever come.
    pub fn take_in(
        &mut self,
        from: &mut impl Read,
        times: usize,
        pass_on: &mut impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        use io::ErrorKind::{Interrupted, WouldBlock};
        for _ in 0..times {
            match self.read(from, pass_on) {
                Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => return Ok(true),
                Err(error) => return Err(error),
                Ok(0) => return Ok(false),
                Ok(_) => {}
            }
        }
        Ok(true)
    }

    /// Reads once, and passes on what lines that makes, several at a time but no more than
    /// [`LINE_LIMIT`] bytes; how many bytes were read.
    fn read(&mut self, from: &mut impl Read, pass_on: &mut impl FnMut(&[u8])) -> io::Result<usize> {
        let before = self.begun.len();
        self.begun.resize(LINE_LIMIT, 0);
        let read = from.read(&mut self.begun[before..]);
        self.begun.truncate(before + read.as_ref().unwrap_or(&0));
        if let Some(newline) = self.begun.iter().rposition(|byte| *byte == b'\n') {
            self.pass(newline + 1, pass_on);
        } else if self.begun.len() == LINE_LIMIT {
            let end = last_boundary(&self.begun);
            self.begun.insert(end, b'\n');
            self.pass(end + 1, pass_on);
            self.goes_on = true;
        }
        read
    }

    /// Passes on a last line that has no end.
    pub fn end(&mut self, pass_on: &mut impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            self.begun.push(b'\n');
            self.pass(self.begun.len(), pass_on);
        }
        self.begun = Vec::new();
        self.goes_on = false;
    }

    /// The last lines, fit for a terminal.
    pub fn remembered(&self) -> Vec<String> {
        self.last.iter().map(|line| told(line)).collect()
    }

    /// Passes on so many bytes, which are whole lines.
    fn pass(&mut self, length: usize, pass_on: &mut impl FnMut(&[u8])) {
        let lines = &self.begun[..length];
        pass_on(lines);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if mem::take(&mut self.goes_on) {
                continue;
            }
            // Under a flood of lines the room of the oldest is used again.
            let mut room = if self.last.len() < LINES { Vec::new() } else { self.last.remove(0) };
            room.clear();
            // One byte more tells that there was more.
            room.extend_from_slice(&line[..(line.len() - 1).min(REMEMBERED + 1)]);
            self.last.push(room);
        }
        self.begun.drain(..length);
    }
}

/// Where text that is too long is cut so that no character is, which takes four bytes at most.
fn last_boundary(text: &[u8]) -> usize {
    let begins = |at: &usize| text[*at] & 0b1100_0000 != 0b1000_0000;
    let last = text.len() - 1;
    (last - 3..=last).rev().find(begins).unwrap_or(last)
}

/// A remembered line as text, cut to its length: whoever reads it may have a terminal that obeys
/// escape sequences.
fn told(line: &[u8]) -> String {
    let mut text = log::escaped(&String::from_utf8_lossy(line));
    // Nothing becomes shorter by being escaped.
    if text.len() > REMEMBERED {
        let end = (0..=REMEMBERED).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is passed on and what is remembered of this output, read in pieces of this size.
    fn captured(output: &[u8], piece: usize) -> (Vec<Vec<u8>>, Vec<String>) {
        let mut passed = Vec::new();
        let mut pass_on = |lines: &[u8]| passed.push(lines.to_vec());
        let mut lines = Lines::default();
        for mut piece in output.chunks(piece) {
            while !piece.is_empty() {
                lines.read(&mut piece, &mut pass_on).expect("memory can be read");
                assert!(lines.begun.len() < LINE_LIMIT, "there is room for more");
            }
        }
        lines.end(&mut pass_on);
        for lines in &passed {
            assert!(lines.ends_with(b"\n") && lines.len() <= LINE_LIMIT, "{}", lines.len());
        }
        (passed, lines.remembered())
    }

    const PIECES: [usize; 4] = [3, 4095, 4096, 100_000];

    #[test]
    fn whole_lines_are_passed_on_as_they_are() {
        let long = "x".repeat(LINE_LIMIT - 1) + "\n";
        let many: Vec<String> = (0..5000).map(|number| format!("line {number}\n")).collect();
        let many = many.concat();
        for output in ["", "\n", "a\n\nb\n", "\u{1b}[2J\r\0\n", &long, &many] {
            for piece in PIECES {
                let (passed, _) = captured(output.as_bytes(), piece);
                assert_eq!(passed.concat(), output.as_bytes(), "in pieces of {piece}");
            }
        }
        let (passed, last) = captured(b"\xff\xfe\nend", 100);
        assert_eq!(passed, [&b"\xff\xfe\n"[..], b"end\n"], "and a last one gets its end");
        assert_eq!(last, ["\u{fffd}\u{fffd}", "end"]);
    }

    #[test]
    fn many_lines_go_at_once() {
        let (passed, _) = captured("y\n".repeat(10_000).as_bytes(), 100_000);
        assert_eq!(passed.len(), 20_000_usize.div_ceil(LINE_LIMIT));
    }

    #[test]
    fn what_is_too_long_is_passed_on_in_parts() {
        for character in ["a", "é", "€", "🦀"] {
            let line = character.repeat(10_000);
            let output = format!("before\n{line}\nafter\n");
            for piece in PIECES {
                let (passed, last) = captured(output.as_bytes(), piece);
                let passed = String::from_utf8(passed.concat()).expect("no character is cut");
                let parts: Vec<&str> = passed.lines().collect();
                let [before, parts @ .., after] = &parts[..] else { panic!("{passed}") };
                assert_eq!((*before, *after, parts.concat()), ("before", "after", line.clone()));
                assert_eq!(parts.len(), line.len().div_ceil(LINE_LIMIT - 4));
                let [before, begin, after] = &last[..] else { panic!("{last:?}") };
                assert_eq!((&before[..], &after[..]), ("before", "after"), "it is one line");
                let begin = begin.strip_suffix('…').expect("it is cut, and says so");
                assert!(line.starts_with(begin) && begin.len() > REMEMBERED - 4, "{begin}");
            }
        }
        // No text at all.
        let (passed, _) = captured(&[0x80; 3 * LINE_LIMIT], 1000);
        let passed: Vec<u8> = passed.concat().into_iter().filter(|byte| *byte != b'\n').collect();
        assert_eq!(passed, [0x80; 3 * LINE_LIMIT]);
    }

    #[test]
    fn one_turn_empties_a_pipe_and_comes_to_an_end() {
        const PIPE: usize = 1 << 16;
        for length in [1, 2, 80, 1365, 2047, 2048, 2049, 3000, 4000, 4095, 4096, 4097, 9999, PIPE] {
            let line = [&vec![b'x'; length - 1][..], b"\n"].concat();
            let output: Vec<u8> = line.into_iter().cycle().take(2 * PIPE).collect();
            let mut lines = Lines::default();
            let mut rest = &output[..PIPE];
            lines.take_in(&mut rest, READS_A_TURN, &mut |_| ()).expect("memory can be read");
            assert_eq!(rest.len(), 0, "lines of {length}");
            // Now with a line that has begun.
            let mut rest = &output[PIPE..];
            lines.take_in(&mut rest, READS_A_TURN, &mut |_| ()).expect("memory can be read");
            assert_eq!(rest.len(), 0, "lines of {length}");
        }
        let mut passed = 0;
        let more = Lines::default().take_in(&mut io::repeat(b'y'), READS_A_TURN, &mut |lines| {
            passed += lines.len();
            assert!(passed < 4 * PIPE, "there is no end to it");
        });
        assert!(more.expect("this can be read"));
    }

    #[test]
    fn the_last_lines_are_remembered() {
        for number in [0, 1, LINES - 1, LINES, LINES + 1, 1000] {
            let lines: Vec<String> = (0..number).map(|number| number.to_string()).collect();
            for piece in PIECES {
                let (_, last) = captured(lines.join("\n").as_bytes(), piece);
                assert_eq!(last, lines[number.saturating_sub(LINES)..]);
            }
        }
    }

    #[test]
    fn nothing_that_is_told_moves_a_cursor_or_is_long() {
        let escape = "\u{1b}[31mred\u{9b}2J\u{7f}\r";
        let (_, last) = captured(escape.as_bytes(), 100);
        assert_eq!(last, ["\\u001b[31mred\\u009b2J\\u007f\\u000d"]);
        let exact = "x".repeat(REMEMBERED);
        assert_eq!(captured(exact.as_bytes(), 100).1, [exact]);
        for long in [&[b'x'; 513][..], &[0x1b; 4000], &[0xff; 4000], "€".repeat(999).as_bytes()] {
            let (_, last) = captured(long, 100);
            let [line] = &last[..] else { panic!("{last:?}") };
            let text = line.strip_suffix('…').expect("it is cut, and says so");
            assert!((REMEMBERED - 4..=REMEMBERED).contains(&text.len()), "{text}");
            assert!(!text.contains(char::is_control), "{text}");
        }
    }
}
