//! Whom to ask: addresses and URLs as they are written on a command line.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::socket::{
    SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect, socket,
};

use crate::sys;

/// The port of a URL that names none.
const HTTP_PORT: u16 = 80;

/// A server: `HOST:PORT`, `unix:/path`, or `unix:@name` for the abstract namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// By TCP.
    Tcp {
        /// As the `Host` header says it.
        host: String,
        /// Tried in this order.
        addresses: Vec<SocketAddr>,
    },
    /// By a Unix stream socket.
    Unix(UnixAddr),
}

impl Address {
    /// What the `Host` header says; a socket's path has no place there.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Tcp { host, .. } => host,
            Self::Unix(_) => "localhost",
        }
    }

    /// Begins to connect to the place of this turn, counted from 0; `None` after the last one.
    pub(super) fn connect(&self, turn: usize) -> Option<io::Result<OwnedFd>> {
        match self {
            Self::Tcp { addresses, .. } => {
                let place = SockaddrStorage::from(*addresses.get(turn)?);
                Some(begin_to_connect(&place))
            }
            Self::Unix(place) => (turn == 0).then(|| begin_to_connect(place)),
        }
    }
}

fn begin_to_connect(place: &dyn SockaddrLike) -> io::Result<OwnedFd> {
    let family = place.family().ok_or(Errno::EAFNOSUPPORT)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = sys::above_stdio(socket(family, SockType::Stream, flags, None)?)?;
    match connect(socket.as_raw_fd(), place) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        // No event says when there is room again, so whoever asks may ask anew.
        Err(Errno::EAGAIN) => Err(io::Error::other("its queue of connections is full")),
        Err(error) => Err(error.into()),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, .. } => f.write_str(host),
            Self::Unix(place) => match (place.path(), place.as_abstract()) {
                (Some(path), _) => write!(f, "unix:{}", path.display()),
                (None, name) => write!(f, "unix:@{}", name.unwrap_or_default().escape_ascii()),
            },
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.strip_prefix("unix:") {
            Some(path) => unix(path),
            None => tcp(text),
        }
    }
}

fn unix(path: &str) -> Result<Address> {
    let address = if let Some(name) = path.strip_prefix('@') {
        ensure!(!name.is_empty(), "the abstract socket has no name");
        UnixAddr::new_abstract(name.as_bytes())
    } else {
        ensure!(path.starts_with('/'), "the path of a Unix socket must begin with a slash");
        UnixAddr::new(path)
    };
    // The only other error is a NUL, which no argument and no variable has.
    address.ok().map(Address::Unix).context("a Unix socket's path has at most 107 bytes")
}

fn tcp(text: &str) -> Result<Address> {
    let (host, port) = text.rsplit_once(':').context("neither HOST:PORT nor unix:/path")?;
    // The number's own parser takes a plus as well.
    let number = port.parse::<u16>().ok().filter(|number| *number > 0 && !port.starts_with('+'));
    let port = number.with_context(|| format!("the port {port:?} is not one from 1 to 65535"))?;
    let addresses = if host.eq_ignore_ascii_case("localhost") {
        // A server listens on either or on both.
        vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
    } else if let Ok(address) = text.parse() {
        vec![address]
    } else if host.parse::<Ipv6Addr>().is_ok() {
        bail!("an IPv6 address needs brackets: [{host}]:{port}");
    } else {
        bail!(
            "{host:?} is neither an IP address nor localhost, and names are not looked up, since \
             that would block"
        );
    };
    // The zone of fe80::1%2 is ours and means nothing to the server.
    let host = match host.split_once('%') {
        Some((address, _)) => format!("{address}]:{port}"),
        None => text.to_owned(),
    };
    Ok(Address::Tcp { host, addresses })
}

/// `http://HOST:PORT/PATH?QUERY`. Without a port it is 80, without a path `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// The server.
    pub address: Address,
    /// The path and the query, fit for a request line.
    pub path: String,
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        ensure!(
            text.bytes().all(|byte| byte.is_ascii_graphic()),
            "it has a space, a control character or one beyond ASCII, which must be %-escaped"
        );
        ensure!(!text.starts_with("https:"), "we speak no TLS; let exec: run a program that does");
        let rest = text.strip_prefix("http://").context("it does not begin with http://")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        ensure!(!path.contains('#'), "a fragment (from # on) is not for a server");
        ensure!(!authority.contains('@'), "a user or a password in a URL is not supported");
        let address = if authority.contains(':') && !authority.ends_with(']') {
            tcp(authority)
        } else {
            tcp(&format!("{authority}:{HTTP_PORT}"))
        }?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { address, path: format!("{slash}{path}") })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: FromStr<Err = Error> + fmt::Debug>(text: &str) -> String {
        match text.parse::<T>() {
            Ok(parsed) => panic!("{text:?} was taken as {parsed:?}"),
            Err(error) => format!("{error:#}"),
        }
    }

    fn places(text: &str) -> (String, Vec<String>) {
        match text.parse().expect(text) {
            Address::Tcp { host, addresses } => {
                (host, addresses.iter().map(ToString::to_string).collect())
            }
            Address::Unix(place) => panic!("{text} became {place}"),
        }
    }

    #[test]
    fn addresses_are_literal_or_localhost() {
        let owned = |host: &str, places: &[&str]| {
            (host.to_owned(), places.iter().copied().map(str::to_owned).collect())
        };
        for (text, host, expected) in [
            ("127.0.0.1:9901", "127.0.0.1:9901", ["127.0.0.1:9901"].as_slice()),
            ("[::1]:1", "[::1]:1", &["[::1]:1"]),
            ("[fe80::1%2]:80", "[fe80::1]:80", &["[fe80::1%2]:80"]),
            ("localhost:65535", "localhost:65535", &["127.0.0.1:65535", "[::1]:65535"]),
            ("LocalHost:80", "LocalHost:80", &["127.0.0.1:80", "[::1]:80"]),
        ] {
            assert_eq!(places(text), owned(host, expected));
        }
    }

    #[test]
    fn bad_addresses_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "HOST:PORT"),
            ("9901", "HOST:PORT"),
            ("localhost", "HOST:PORT"),
            ("localhost:", "port"),
            ("localhost:0", "port"),
            ("localhost:65536", "port"),
            ("localhost:-1", "port"),
            ("localhost:+1", "port"),
            ("127.0.0.1:http", "port"),
            ("[::1]", "port"),
            ("::1:9901", "brackets"),
            ("[::1:9901", "neither an IP address"),
            ("127.0.0.256:1", "not looked up"),
            ("envoy.example:9901", "not looked up"),
            (":9901", "not looked up"),
            ("unix:", "slash"),
            ("unix:run/admin.sock", "slash"),
            ("unix:@", "no name"),
        ] {
            let refusal = refusal::<Address>(text);
            assert!(refusal.contains(reason), "{text:?}: {refusal}");
        }
    }

    #[test]
    fn unix_sockets_are_kept_to_their_length() {
        for text in ["unix:/run/admin.sock", "unix:@admin"] {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.to_string(), text);
        }
        for first in ["/", "@"] {
            let longest = format!("unix:{first}{}", "x".repeat(106));
            assert_eq!(longest.parse::<Address>().expect("it fits").to_string(), longest);
            let refusal = refusal::<Address>(&format!("{longest}xx"));
            assert!(refusal.contains("107 bytes"), "{refusal}");
        }
    }

    #[test]
    fn urls_are_split_into_server_and_path() {
        for (text, host, path) in [
            ("http://127.0.0.1:8080/ready", "127.0.0.1:8080", "/ready"),
            ("http://localhost", "localhost:80", "/"),
            ("http://localhost/", "localhost:80", "/"),
            ("http://[::1]/a/b?c=d&e", "[::1]:80", "/a/b?c=d&e"),
            ("http://[::1]:81?x", "[::1]:81", "/?x"),
            ("http://127.0.0.1/a:b@c", "127.0.0.1:80", "/a:b@c"),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!((url.address.host(), url.path.as_str()), (host, path), "{text}");
        }
    }

    #[test]
    fn bad_urls_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "http://"),
            ("localhost:80/", "http://"),
            ("ftp://localhost/", "http://"),
            ("https://localhost/", "exec:"),
            ("http://", "neither an IP address"),
            ("http:///ready", "neither an IP address"),
            ("http://localhost:/", "port"),
            ("http://localhost:0/", "port"),
            ("http://example.org/", "not looked up"),
            ("http://me@localhost/", "user"),
            ("http://me:word@localhost/", "user"),
            ("http://localhost/#part", "fragment"),
            ("http://localhost#part", "fragment"),
            ("http://localhost/a b", "%-escaped"),
            ("http://localhost/\r\nX: y", "%-escaped"),
            ("http://localhost/\u{fc}", "%-escaped"),
        ] {
            let refusal = refusal::<Url>(text);
            assert!(refusal.contains(reason), "{text:?}: {refusal}");
        }
    }
}
