//! Clients in the network of a pod.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::eventually;

/// How long a client waits. An answer takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes this thread, and no other, one of another network.
pub(super) fn enter(network: &File) {
    // SAFETY: the call takes integers, and the descriptor is open.
    let entered = unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(entered, 0, "setns: {}", io::Error::last_os_error());
}

/// The status of an answer on loopback, over a connection of its own.
pub(super) fn ask(port: u16, path: &str) -> io::Result<u16> {
    let answer = Connection::open(port)?.ask(path, "Connection: close\r\n")?;
    Ok(answer.status)
}

/// A client that asks again and again, each time by a new connection.
pub(super) struct Load {
    over: Arc<AtomicBool>,
    client: JoinHandle<Vec<io::Result<u16>>>,
}

impl Load {
    pub(super) fn begin(network: File, port: u16, path: &'static str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let client = thread::spawn(move || {
            enter(&network);
            let mut answers = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                answers.push(ask(port, path));
                // A few hundred a second, since Envoy logs each.
                thread::sleep(Duration::from_millis(2));
            }
            answers
        });
        Self { over, client }
    }

    /// Every request has been answered with 200; how many there were.
    pub(super) fn stop_without_failure(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        let answers = self.client.join().expect("it only asks");
        let failed: Vec<_> = answers.iter().filter(|it| !matches!(it, Ok(200))).collect();
        assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), answers.len(), failed[0]);
        assert!(!answers.is_empty(), "nobody asked");
        answers.len()
    }
}

/// Clients that ask again and again, each on one connection, until they are told to go. Then they
/// have gone: there are other pods.
pub(super) struct Kept(Vec<JoinHandle<Result<usize, String>>>);

impl Kept {
    /// So many, when each has been answered once.
    pub(super) fn begin(network: &File, port: u16, path: &'static str, clients: usize) -> Self {
        let answered = Arc::new(AtomicUsize::new(0));
        let client = |_| {
            let (network, answered) = (network.try_clone().expect("ours"), Arc::clone(&answered));
            thread::spawn(move || {
                enter(&network);
                let mut connection = Connection::open(port).map_err(|error| error.to_string())?;
                for count in 1.. {
                    match connection.ask(path, "") {
                        Ok(Answer { status: 200, last: true }) => return Ok(count),
                        Ok(Answer { status: 200, last: false }) => (),
                        other => return Err(format!("request {count}: {other:?}")),
                    }
                    if count == 1 {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    // A server that forks for each request is behind it.
                    thread::sleep(Duration::from_millis(50));
                }
                unreachable!("it ends by an answer")
            })
        };
        let kept = Self((0..clients).map(client).collect());
        eventually("each client has been answered", || match answered.load(Ordering::Relaxed) {
            count if count == clients => Ok(()),
            count => Err(count),
        });
        kept
    }

    /// How it ended for each: by being told to go, after so many answers, or how it failed.
    pub(super) fn ends(self) -> Vec<Result<usize, String>> {
        self.0.into_iter().map(|client| client.join().expect("it only asks")).collect()
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    /// The server has said that it closes after this one.
    last: bool,
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    /// To a port on loopback.
    fn open(port: u16) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks, and hears the whole answer.
    fn ask(&mut self, path: &str, header: &str) -> io::Result<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: pod\r\n{header}\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let strange = |words: &str| io::Error::new(io::ErrorKind::InvalidData, words.to_owned());
        let (mut status, mut length, mut last) = (None, 0, false);
        loop {
            let mut line = String::new();
            (&mut self.0).take(1 << 16).read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            match (status, line.split_once(": ")) {
                (None, _) => {
                    let number = line.split(' ').nth(1).and_then(|status| status.parse().ok());
                    status = Some(number.ok_or_else(|| strange(&line))?);
                }
                (Some(status), None) => {
                    // Envoy keeps a connection for a second after its last answer.
                    self.0.read_exact(&mut vec![0; length])?;
                    return Ok(Answer { status, last });
                }
                (_, Some(("content-length", value))) => {
                    length = value.parse().map_err(|_| strange(&line))?;
                }
                (_, Some(("connection", "close"))) => last = true,
                _ => (),
            }
        }
    }
}
