//! Clients of the control socket: proper ones, whose answers are looked at, and others.

use std::io::{self, Read, Write};
use std::mem;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use support::random::Random;

/// How long a client waits for the next byte. Nobody is left waiting for longer by a restarter that is
/// not suspended.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connects without ever waiting.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: all zeroes is an address.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX.try_into().expect("a family is small");
    assert!(bytes.len() < address.sun_path.len(), "{} is too long", path.display());
    for (place, byte) in address.sun_path.iter_mut().zip(bytes) {
        *place = byte.cast_signed();
    }
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes integers.
    let fd = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made for us.
    let stream = unsafe { UnixStream::from_raw_fd(fd) };
    let size = libc::socklen_t::try_from(size_of_val(&address)).expect("an address is short");
    // SAFETY: the pointer and the size are those of an address of our own.
    if unsafe { libc::connect(fd, (&raw const address).cast(), size) } != 0 {
        return Err(io::Error::last_os_error());
    }
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What a proper client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It got its one answer.
    Answered,
    /// The connection ended before there was any.
    Nothing,
    /// Nothing came for long.
    Silence,
    /// Something that the protocol does not have.
    Nonsense(String),
}

/// Asks properly, and reads to the end.
pub(super) fn ask(mut stream: UnixStream, command: &str, wait: bool) -> Told {
    let request = format!("{{\"version\":1,\"command\":\"{command}\",\"wait\":{wait}}}\n");
    if stream.write_all(request.as_bytes()).is_err() {
        return Told::Nothing;
    }
    let mut text = Vec::new();
    let read = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    match read {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Told::Silence,
        // It was dropped, with something of ours unread perhaps.
        Err(_) | Ok(_) => {}
    }
    judge(&text, command, wait)
}

/// Exactly one of the lines is the last word, and it is the last line.
fn judge(text: &str, command: &str, wait: bool) -> Told {
    if text.is_empty() {
        return Told::Nothing;
    }
    let waits = wait && ["reload", "stop"].contains(&command);
    let mut finals = 0;
    for line in text.lines() {
        let whole = line.starts_with("{\"version\":1,\"reply\":\"") && line.ends_with('}');
        let reply = line.split('"').nth(5).unwrap_or_default();
        if !whole || !text.ends_with('\n') || finals > 0 {
            return Told::Nonsense(text.to_owned());
        }
        match reply {
            "done" | "error" => finals += 1,
            "taken" if !waits => finals += 1,
            "taken" | "progress" if waits => {}
            _ => return Told::Nonsense(text.to_owned()),
        }
    }
    if finals == 1 { Told::Answered } else { Told::Nothing }
}

/// Misbehaves at once; what is returned goes on doing so until it is dropped.
pub(super) fn misbehave(random: &mut Random, path: &Path) -> Vec<UnixStream> {
    let number = random.one_of(&[1, 1, 2, 5, 20, 100, 300]);
    let how = random.below(5);
    let mut held = Vec::new();
    for _ in 0..number {
        let Ok(mut stream) = connect(path) else { break };
        let words: &[u8] = match how {
            0 => b"",
            1 => b"{\"version\":1,\"comm",
            2 => b"GET / HTTP/1.1\r\n\r\n",
            3 => b"{\"version\":1,\"command\":\"status\"}\n",
            _ => b"{\"version\":7,\"command\":\"reload\",\"wait\":true}\n{}\n{}\n",
        };
        let _ = stream.write_all(words);
        if how == 4 {
            // Pages of nothing, as far as they are taken.
            let _ = stream.set_nonblocking(true).and_then(|()| stream.write(&[b'x'; 4096]));
        }
        held.push(stream);
    }
    if random.percent(50) { Vec::new() } else { held }
}
