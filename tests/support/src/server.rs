//! A small server for a test: it says what it is told to say, well-behaved or not.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self, UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::eventually;

/// What a server does with each request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Sends this, and closes the connection.
    Bytes(Vec<u8>),
    /// Sends this, then more of it for as long as somebody reads.
    Endless(Vec<u8>),
    /// Keeps the connection open and says nothing.
    Silence,
    /// Does what stands beside the first of these that the request's path begins with; 404 where
    /// none does.
    ByPath(Vec<(&'static str, Reply)>),
}

impl Reply {
    /// A whole answer: a status such as `200 OK`, and a body.
    pub fn whole(status: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
        Self::Bytes((head + body).into_bytes())
    }

    /// A whole answer of Envoy's admin to `/stats`, about requests and about connections that
    /// are no HTTP.
    pub fn pending(requests: u64, connections: u64) -> Self {
        let body = format!(
            "http.admin.downstream_cx_active: 1\nhttp.admin.downstream_rq_active: 1\n\
             http.ingress.downstream_cx_active: 9\nhttp.ingress.downstream_rq_active: {requests}\n\
             listener.admin.downstream_cx_active: 1\n\
             listener.0.0.0.0_1.downstream_cx_active: {}\n\
             listener.0.0.0.0_1.worker_0.downstream_cx_active: 8\n",
            connections + 9
        );
        Self::whole("200 OK", &body)
    }

    fn to(&self, head: &str) -> Self {
        let Self::ByPath(replies) = self else {
            return self.clone();
        };
        let path = head.split(' ').nth(1).unwrap_or_default();
        let found = replies.iter().find(|(prefix, _)| path.starts_with(prefix));
        found.map_or_else(|| Self::whole("404 Not Found", ""), |(_, reply)| reply.to(head))
    }

    /// What Envoy's admin answers to `/server_info`, as far as it matters.
    pub fn server_info(state: &str, epoch: u32, workers: u32) -> Self {
        let options = format!(
            "{{\"base_id\": \"0\", \"concurrency\": {workers}, \"restart_epoch\": {epoch}}}"
        );
        let body = format!("{{\"state\": \"{state}\", \"command_line_options\": {options}}}");
        Self::whole("200 OK", &body)
    }
}

/// A server, which answers until it goes.
#[derive(Debug)]
pub struct Server {
    place: Place,
    shared: Arc<Mutex<Shared>>,
    /// What keeps another server from the other address of `localhost`.
    _reserved: Option<OwnedFd>,
}

#[derive(Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(net::SocketAddr),
}

#[derive(Debug)]
struct Shared {
    reply: Reply,
    requests: Vec<String>,
    over: bool,
}

trait Connection: Read + Write + Send {}
impl Connection for TcpStream {}
impl Connection for UnixStream {}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// A server at a free port of this address, which is one of `localhost`'s. Nobody listens at
    /// that port of the other one.
    pub fn at(address: IpAddr, reply: Reply) -> Self {
        Reserved::at(address).listen(reply)
    }

    /// A server at a free port of 127.0.0.1.
    pub fn tcp(reply: Reply) -> Self {
        Self::at([127, 0, 0, 1].into(), reply)
    }

    /// A server at this Unix socket.
    pub fn unix(path: &Path, reply: Reply) -> Self {
        Self::unix_at(net::SocketAddr::from_pathname(path).expect("a short path"), reply)
    }

    /// A server at an abstract Unix socket.
    pub fn abstract_unix(name: &str, reply: Reply) -> Self {
        Self::unix_at(net::SocketAddr::from_abstract_name(name).expect("a short name"), reply)
    }

    fn unix_at(place: net::SocketAddr, reply: Reply) -> Self {
        let listener = UnixListener::bind_addr(&place).expect("a socket of our own");
        let accept = move || listener.accept().map(|(stream, _)| stream);
        Self::serve(accept, Place::Unix(place), reply, None)
    }

    fn serve<C: Connection + 'static>(
        accept: impl Fn() -> io::Result<C> + Send + 'static,
        place: Place,
        reply: Reply,
        reserved: Option<OwnedFd>,
    ) -> Self {
        let shared = Shared { reply, requests: Vec::new(), over: false };
        let shared = Arc::new(Mutex::new(shared));
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            while let Ok(connection) = accept() {
                if lock(&own).over {
                    break;
                }
                let shared = Arc::clone(&own);
                thread::spawn(move || converse(connection, &shared));
            }
        });
        Self { place, shared, _reserved: reserved }
    }

    /// The port that it listens at.
    pub fn port(&self) -> u16 {
        match &self.place {
            Place::Tcp(address) => address.port(),
            Place::Unix(_) => panic!("a Unix socket has no port"),
        }
    }

    /// What it does with requests from now on.
    pub fn set(&self, reply: Reply) {
        lock(&self.shared).reply = reply;
    }

    /// The heads of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared).requests.clone()
    }

    /// Waits until so many more requests have come.
    pub fn await_more(&self, requests: usize) {
        let before = self.requests().len();
        eventually(&format!("{requests} more requests"), || {
            let seen = self.requests();
            if seen.len() >= before + requests { Ok(()) } else { Err(seen) }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        lock(&self.shared).over = true;
        // Nobody need be there any more; this is for the one who waits for connections.
        match &self.place {
            Place::Tcp(address) => drop(TcpStream::connect(address)),
            Place::Unix(place) => drop(UnixStream::connect_addr(place)),
        }
    }
}

/// Hears one request and answers it.
fn converse(mut connection: impl Connection, shared: &Mutex<Shared>) {
    let mut head = String::new();
    let mut reader = BufReader::new(&mut connection);
    while !head.ends_with("\r\n\r\n") {
        match reader.read_line(&mut head) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let reply = {
        let mut shared = lock(shared);
        let reply = shared.reply.to(&head);
        shared.requests.push(head);
        reply
    };
    // Whoever asked may have gone, which is no business of ours.
    match reply {
        Reply::Bytes(bytes) => drop(connection.write_all(&bytes)),
        Reply::Endless(bytes) => while connection.write_all(&bytes).is_ok() {},
        Reply::Silence | Reply::ByPath(_) => drop(connection.read(&mut [0])),
    }
}

/// A free port at which nobody listens yet: whoever connects is refused.
#[derive(Debug)]
pub struct Reserved {
    socket: OwnedFd,
    address: SocketAddr,
    other: Option<OwnedFd>,
}

impl Reserved {
    /// A port of this address, which is one of `localhost`'s, and of the other one.
    pub fn at(address: IpAddr) -> Self {
        let others = match address {
            IpAddr::V4(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
            IpAddr::V6(_) => IpAddr::from([127, 0, 0, 1]),
        };
        loop {
            let (socket, port) = bound(address, 0).expect("a free port");
            match bound(others, port) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                // The machine may have addresses of one kind only.
                other => {
                    let other = other.ok().map(|(socket, _)| socket);
                    return Self { socket, address: (address, port).into(), other };
                }
            }
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Begins to serve there.
    pub fn listen(self, reply: Reply) -> Server {
        // SAFETY: the call takes integers.
        let result = unsafe { libc::listen(self.socket.as_raw_fd(), 64) };
        assert_eq!(result, 0, "listen: {}", io::Error::last_os_error());
        let listener = TcpListener::from(self.socket);
        let accept = move || listener.accept().map(|(stream, _)| stream);
        Server::serve(accept, Place::Tcp(self.address), reply, self.other)
    }
}

/// Whether this machine has an IPv6 loopback.
pub fn has_ipv6() -> bool {
    bound([0, 0, 0, 0, 0, 0, 0, 1].into(), 0).is_ok()
}

/// A socket that has an address and does not listen, which `std` cannot make.
fn bound(address: IpAddr, port: u16) -> io::Result<(OwnedFd, u16)> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: the call takes integers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let result = match address {
        IpAddr::V4(address) => {
            // SAFETY: all zeroes is an address.
            let mut place: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            place.sin_family = libc::AF_INET.try_into().expect("it is small");
            place.sin_port = port.to_be();
            place.sin_addr.s_addr = u32::from_ne_bytes(address.octets());
            bind(fd, &place)
        }
        IpAddr::V6(address) => {
            // SAFETY: all zeroes is an address.
            let mut place: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            place.sin6_family = libc::AF_INET6.try_into().expect("it is small");
            place.sin6_port = port.to_be();
            place.sin6_addr.s6_addr = address.octets();
            bind(fd, &place)
        }
    };
    result?;
    // `std` asks any socket for its address.
    let listener = TcpListener::from(socket);
    let port = listener.local_addr()?.port();
    Ok((listener.into(), port))
}

fn bind<A>(fd: i32, place: &A) -> io::Result<()> {
    let length = size_of::<A>().try_into().expect("an address is small");
    // SAFETY: the pointer and the length are those of an address that outlives the call.
    match unsafe { libc::bind(fd, std::ptr::from_ref(place).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
