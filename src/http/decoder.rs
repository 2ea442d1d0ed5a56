//! What a server says: an HTTP/1 answer, decoded from pieces of any size.

use std::fmt;

use httparse::{EMPTY_HEADER, Header, Status, parse_chunk_size};

/// The most bytes of an answer that are taken, its head and the framing of its body included. The
/// longest that is ever asked for, Envoy's `/server_info`, has 124 kB.
pub const ANSWER_LIMIT: usize = 1 << 20;
/// The most bytes of a head, and of any line between the chunks of a body.
pub const HEAD_LIMIT: usize = 16 << 10;
const HEADERS_LIMIT: usize = 64;
/// How many interim answers (1xx) may precede the final one.
const INTERIM_LIMIT: u32 = 8;

/// How much of an answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The status alone: a body, even one that never ends, is not read.
    Status,
    /// Everything.
    Body,
}

/// A server's final answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body; empty where only the status was wanted.
    pub body: Vec<u8>,
}

/// Why what came is no answer: one clause for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

const TOO_LONG: Malformed = Malformed("the answer is longer than 1 MiB");

/// Decodes one answer. It makes no system call, and takes time linear in what it is fed, however
/// that is cut into pieces.
#[derive(Debug)]
pub struct Decoder {
    wanted: Wanted,
    state: State,
    /// The head so far, or the line so far.
    text: Vec<u8>,
    /// Where in the text the current line begins.
    line: usize,
    /// How many bytes were fed.
    taken: usize,
    interim: u32,
    response: Response,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// A body, or a chunk, of which so much is left.
    Body {
        left: usize,
        chunked: bool,
    },
    /// A body that ends with the connection.
    BodyUntilEnd,
    ChunkSize,
    /// The end of the line after a chunk.
    ChunkEnd,
    Trailers,
    Nothing,
}

impl Decoder {
    /// Nothing has been heard yet.
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            state: State::Head,
            text: Vec::new(),
            line: 0,
            taken: 0,
            interim: 0,
            response: Response::default(),
        }
    }

    /// Takes the next piece; gives the answer as soon as it is whole. What comes after it is
    /// nobody's. Not to be fed again after an answer or an error.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Response>, Malformed> {
        let room = ANSWER_LIMIT - self.taken;
        let mut rest = &bytes[..bytes.len().min(room)];
        self.taken += rest.len();
        while self.state != State::Nothing && !rest.is_empty() {
            let used = self.step(rest)?;
            rest = &rest[used..];
        }
        if self.state == State::Nothing {
            return Ok(Some(std::mem::take(&mut self.response)));
        }
        if bytes.len() > room { Err(TOO_LONG) } else { Ok(None) }
    }

    /// The server has closed the connection before the answer was known to be whole.
    pub fn end(&mut self) -> Result<Response, Malformed> {
        match self.state {
            State::BodyUntilEnd | State::Nothing => Ok(std::mem::take(&mut self.response)),
            State::Head if self.taken == 0 => {
                Err(Malformed("the connection was closed without an answer"))
            }
            State::Head
            | State::Body { .. }
            | State::ChunkSize
            | State::ChunkEnd
            | State::Trailers => Err(Malformed("the answer is cut off")),
        }
    }

    /// Uses at least one of these bytes; says how many.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self.state {
            State::Head | State::ChunkSize | State::ChunkEnd | State::Trailers => {
                let newline = bytes.iter().position(|byte| *byte == b'\n');
                let used = newline.map_or(bytes.len(), |at| at + 1);
                self.text.extend_from_slice(&bytes[..used]);
                if self.text.len() > HEAD_LIMIT {
                    return Err(Malformed("its head or a line of it is longer than 16 KiB"));
                }
                if newline.is_some() {
                    self.take_line()?;
                }
                Ok(used)
            }
            State::Body { left, chunked } => {
                let used = left.min(bytes.len());
                self.response.body.extend_from_slice(&bytes[..used]);
                self.state = match (left - used, chunked) {
                    (0, false) => State::Nothing,
                    (0, true) => State::ChunkEnd,
                    (left, chunked) => State::Body { left, chunked },
                };
                Ok(used)
            }
            State::BodyUntilEnd => {
                self.response.body.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            State::Nothing => Ok(bytes.len()),
        }
    }

    /// Acts on a line that is whole.
    fn take_line(&mut self) -> Result<(), Malformed> {
        let line = &self.text[self.line..];
        let blank = matches!(line, b"\r\n" | b"\n");
        self.state = match self.state {
            State::Head if !blank => {
                // A head is parsed once, when all of it is there.
                self.line = self.text.len();
                return Ok(());
            }
            State::Head => self.after_head()?,
            State::ChunkSize => self.after_chunk_size(line)?,
            State::ChunkEnd if blank => State::ChunkSize,
            State::ChunkEnd => return Err(Malformed("a chunk is longer than it says")),
            State::Trailers if blank => State::Nothing,
            State::Trailers => State::Trailers,
            State::Body { .. } | State::BodyUntilEnd | State::Nothing => self.state,
        };
        self.text.clear();
        self.line = 0;
        Ok(())
    }

    fn after_head(&mut self) -> Result<State, Malformed> {
        let mut headers = [EMPTY_HEADER; HEADERS_LIMIT];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = match head.parse(&self.text) {
            Ok(Status::Complete(_)) => head.code.zip(head.version),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Malformed("it has more than 64 headers"));
            }
            Ok(Status::Partial) | Err(_) => None,
        };
        let (status, version) = parsed.ok_or(Malformed("its head is not HTTP/1"))?;
        match status {
            // 101 would end HTTP, and nobody asked for that.
            0..=99 | 101 => return Err(Malformed("its status makes no sense here")),
            100..=199 => {
                self.interim += 1;
                if self.interim > INTERIM_LIMIT {
                    return Err(Malformed("interim answers do not end"));
                }
                return Ok(State::Head);
            }
            _ => self.response.status = status,
        }
        if self.wanted == Wanted::Status || matches!(status, 204 | 304) {
            return Ok(State::Nothing);
        }
        body(head.headers, version)
    }

    fn after_chunk_size(&self, line: &[u8]) -> Result<State, Malformed> {
        // The parser takes a size without a digit for 0, which would pass for a whole body.
        let size = match parse_chunk_size(line) {
            Ok(Status::Complete((_, size))) if line[0].is_ascii_hexdigit() => size,
            Ok(Status::Complete(_) | Status::Partial) | Err(_) => {
                return Err(Malformed("the size of a chunk is not one"));
            }
        };
        Ok(match within_limit(size, self.response.body.len())? {
            0 => State::Trailers,
            left => State::Body { left, chunked: true },
        })
    }
}

/// How the body of an answer ends (RFC 9112, section 6.3), which its server must say in one way
/// only.
fn body(headers: &[Header<'_>], version: u8) -> Result<State, Malformed> {
    let mut length = None;
    let mut chunked = false;
    for Header { name, value } in headers {
        if name.eq_ignore_ascii_case("content-length") {
            let digits = std::str::from_utf8(value).unwrap_or_default();
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse::<u64>().ok().filter(|_| plain);
            let number = number.ok_or(Malformed("its Content-Length is no number"))?;
            if length.is_some_and(|before| before != number) {
                return Err(Malformed("it has two lengths"));
            }
            length = Some(number);
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || version == 0 || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed("its Transfer-Encoding is other than chunked"));
            }
            chunked = true;
        }
    }
    match (length, chunked) {
        (Some(_), true) => Err(Malformed("it has both a length and chunks")),
        (None, true) => Ok(State::ChunkSize),
        (None, false) => Ok(State::BodyUntilEnd),
        (Some(0), false) => Ok(State::Nothing),
        (Some(length), false) => Ok(State::Body { left: within_limit(length, 0)?, chunked: false }),
    }
}

/// A length that a server announces, beside what it has sent already.
fn within_limit(announced: u64, before: usize) -> Result<usize, Malformed> {
    usize::try_from(announced)
        .ok()
        .filter(|length| *length <= ANSWER_LIMIT - before)
        .ok_or(TOO_LONG)
}

#[cfg(test)]
mod tests;
