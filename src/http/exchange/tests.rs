use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::poll::{PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};

use super::*;

/// The time by which exchanges are late; real time does not matter to them.
const NOW: Moment = Moment(Duration::from_secs(1000));
/// How long a test waits for what must come.
const BOUND: Duration = Duration::from_secs(20);

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn get(address: &Address, wanted: Wanted) -> Exchange {
    Exchange::begin(NOW, address, Method::Get, "/ready?x", wanted)
}

/// Drives an exchange as the loop does; the outcome, and how many turns that took.
fn drive(mut exchange: Exchange) -> (Result<Response, Failure>, u32) {
    let began = Instant::now();
    for turns in 1.. {
        if let Some(outcome) = exchange.advance(NOW) {
            assert!(exchange.advance(NOW + BOUND).is_none(), "told twice");
            assert!(exchange.poll_fd().is_none(), "it is over and still open");
            return (outcome, turns);
        }
        let waited_for = exchange.poll_fd().expect("there is something to wait for");
        let ready = poll(&mut [waited_for], PollTimeout::try_from(BOUND).expect("it fits"));
        assert_ne!(ready, Ok(0), "nothing came: {exchange:?}");
        assert!(began.elapsed() < BOUND, "no end after {turns} turns: {exchange:?}");
    }
    unreachable!("the turns are endless")
}

/// Serves one connection: reads the request, which the thread returns, and runs the script.
fn serve(script: impl FnOnce(&mut TcpStream) + Send + 'static) -> (Address, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = tcp(&listener);
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let request = read_request(&mut stream);
        script(&mut stream);
        request
    });
    (address, server)
}

fn tcp(listener: &TcpListener) -> Address {
    let place = listener.local_addr().expect("it is bound");
    place.to_string().parse().expect("an address")
}

/// A place that refuses: bound, so that nobody else gets it, and not listened at.
fn refusing() -> (OwnedFd, std::net::SocketAddr) {
    let flags = SockFlag::SOCK_CLOEXEC;
    let holder = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("a socket");
    bind(holder.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).expect("a port");
    let bound: SockaddrIn = getsockname(holder.as_raw_fd()).expect("it is bound");
    (holder, std::net::SocketAddrV4::from(bound).into())
}

fn read_request(stream: &mut impl Read) -> Vec<u8> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a request");
        request.push(byte[0]);
    }
    request
}

/// Writes until the other side has had enough.
fn flood(stream: &mut TcpStream, piece: &[u8]) {
    while stream.write_all(piece).is_ok() {}
}

fn hello() -> Response {
    Response { status: 200, body: b"hello".to_vec() }
}

#[test]
fn a_question_is_asked_and_answered() {
    let (address, server) = serve(|stream| stream.write_all(OK).expect("it listens"));
    let exchange = Exchange::begin(NOW, &address, Method::Get, "/ready?x", Wanted::Body);
    assert_eq!(drive(exchange).0.expect("an answer"), hello());
    let expected = format!(
        "GET /ready?x HTTP/1.1\r\nHost: {address}\r\nUser-Agent: hot-restarter/{}\r\n\
         Connection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    let request = server.join().expect("the server is well");
    assert_eq!(String::from_utf8_lossy(&request), expected);
}

#[test]
fn an_answer_may_come_in_pieces() {
    let (address, server) = serve(|stream| {
        stream.set_nodelay(true).expect("TCP");
        for byte in OK.chunks(1) {
            stream.write_all(byte).expect("it listens");
            thread::yield_now();
        }
    });
    assert_eq!(drive(get(&address, Wanted::Body)).0.expect("an answer"), hello());
    server.join().expect("the server is well");
}

#[test]
fn a_body_ends_by_chunks_or_with_the_connection() {
    for answer in [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".as_slice(),
        b"HTTP/1.0 200 OK\r\n\r\nhello",
    ] {
        let (address, server) = serve(move |stream| stream.write_all(answer).expect("it listens"));
        assert_eq!(drive(get(&address, Wanted::Body)).0.expect("an answer"), hello());
        server.join().expect("the server is well");
    }
}

#[test]
fn the_status_is_told_while_the_body_goes_on() {
    let (address, server) = serve(|stream| {
        stream.write_all(b"HTTP/1.1 503 Not yet\r\n\r\n").expect("it listens");
        flood(stream, &[b'x'; PIECE]);
    });
    let (outcome, _) = drive(get(&address, Wanted::Status));
    assert_eq!(outcome.expect("an answer"), Response { status: 503, body: Vec::new() });
    server.join().expect("the server is well");
}

#[test]
fn a_server_that_never_ends_is_cut_off() {
    for (start, piece, reason) in [
        (b"".as_slice(), b"A: b\r\n".as_slice(), "16 KiB"),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", "16 KiB"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "interim"),
        (b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; PIECE], "1 MiB"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", "1 MiB"),
        (b"", b"\0\xff\r\n\r\n", "not HTTP/1"),
    ] {
        let (address, server) = serve(move |stream| {
            let _ = stream.write_all(start);
            flood(stream, piece);
        });
        let (outcome, _) = drive(get(&address, Wanted::Body));
        let refusal = outcome.expect_err("it never ends").to_string();
        assert!(refusal.contains(reason), "{refusal}");
        server.join().expect("the server is well");
    }
}

#[test]
fn a_turn_ends_however_much_has_come() {
    let (full, is_full) = mpsc::channel();
    let (address, server) = serve(move |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("it listens");
        // As much as the kernel takes before anybody reads, a few megabytes.
        stream.set_nonblocking(true).expect("a socket");
        flood(stream, &[b'x'; PIECE]);
        stream.set_nonblocking(false).expect("a socket");
        full.send(()).expect("it waits");
        flood(stream, &[b'x'; PIECE]);
    });
    let mut exchange = get(&address, Wanted::Body);
    assert!(exchange.advance(NOW).is_none());
    is_full.recv_timeout(BOUND).expect("the kernel takes no more");
    let (outcome, turns) = drive(exchange);
    assert!(outcome.is_err_and(|failure| failure.to_string().contains("1 MiB")));
    assert!(turns >= 4, "it took more than a quarter of that in a turn: {turns}");
    server.join().expect("the server is well");
}

#[test]
fn what_is_no_answer_is_told_as_such() {
    for (answer, reason) in [
        (b"".as_slice(), "closed without an answer"),
        (b"HTTP/1.1 200 OK\r\n", "cut off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", "cut off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n", "1 MiB"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "cut off"),
    ] {
        let (address, server) = serve(move |stream| stream.write_all(answer).expect("it listens"));
        let refusal = drive(get(&address, Wanted::Body)).0.expect_err("no answer").to_string();
        assert!(refusal.contains(reason), "{refusal}");
        server.join().expect("the server is well");
    }
}

/// Passes the time of an exchange that gets nothing more: late when its deadline has come, not
/// before, and once.
fn outwait(mut exchange: Exchange) {
    let deadline = exchange.deadline();
    assert_eq!(deadline, NOW + PATIENCE);
    let before = Moment(deadline.0.checked_sub(Duration::from_nanos(1)).expect("it is later"));
    assert!(exchange.advance(before).is_none());
    let waited_for = exchange.poll_fd().expect("it is open");
    assert_eq!(poll(&mut [waited_for], PollTimeout::ZERO), Ok(0), "the loop would spin");
    let outcome = exchange.advance(deadline);
    assert!(matches!(outcome, Some(Err(Failure::Late))), "{outcome:?}");
    assert!(exchange.advance(deadline).is_none(), "told twice");
}

#[test]
fn silence_is_an_answer_when_the_time_is_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    outwait(get(&tcp(&listener), Wanted::Status));
    // A server that says a part and no more.
    let mut exchange = get(&tcp(&listener), Wanted::Status);
    assert!(exchange.advance(NOW).is_none());
    let (_, _) = listener.accept().expect("the first one");
    let (mut stream, _) = listener.accept().expect("the second one");
    read_request(&mut stream);
    stream.write_all(b"HTTP/1.1 200 OK\r\n").expect("it listens");
    let ready = poll(
        &mut [exchange.poll_fd().expect("it is open")],
        PollTimeout::try_from(BOUND).expect("it fits"),
    );
    assert_eq!(ready, Ok(1));
    outwait(exchange);
}

/// The kernel drops the connections for which a listener has no room, and they stay on their way.
#[test]
fn a_connection_that_is_not_accepted_is_late() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listen(&listener, Backlog::new(0).expect("a number")).expect("it listens already");
    let mut exchanges: Vec<_> = (0..4).map(|_| get(&tcp(&listener), Wanted::Status)).collect();
    assert!(exchanges.iter_mut().all(|exchange| exchange.advance(NOW).is_none()));
    let stuck = exchanges.into_iter().find(|exchange| exchange.sent == 0);
    outwait(stuck.expect("one had no room"));
}

/// Checks an exchange that fails without having waited for anything.
fn is_unreachable(exchange: Exchange, reason: &str) {
    let (outcome, _) = drive(exchange);
    match outcome {
        Err(Failure::Unreachable(error)) => {
            assert!(error.to_string().contains(reason), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_listens() {
    let (_holder, refuses) = refusing();
    let address = refuses.to_string().parse().expect("an address");
    is_unreachable(get(&address, Wanted::Status), "refused");
    for missing in ["unix:/no/such/socket", "unix:@hot-restarter-no-such-socket"] {
        let exchange = get(&missing.parse().expect("an address"), Wanted::Status);
        assert_eq!(exchange.deadline(), NOW, "it can be told at once");
        assert!(exchange.poll_fd().is_none());
        is_unreachable(exchange, if missing.contains('@') { "refused" } else { "No such file" });
    }
    let nowhere = Address::Tcp { host: "nowhere".to_owned(), addresses: Vec::new() };
    is_unreachable(get(&nowhere, Wanted::Status), "os error 99");
}

#[test]
fn the_second_place_is_asked_where_the_first_refuses() {
    let (_holder, refuses) = refusing();
    let (address, server) = serve(|stream| stream.write_all(OK).expect("it listens"));
    let Address::Tcp { host, mut addresses } = address else { panic!("it is TCP") };
    addresses.insert(0, refuses);
    let exchange = get(&Address::Tcp { host, addresses }, Wanted::Body);
    assert_eq!(drive(exchange).0.expect("an answer"), hello());
    server.join().expect("the server is well");
    // Where both refuse, the first one's reason is told.
    let addresses = vec![refuses, "255.255.255.255:1".parse().expect("an address")];
    let address = Address::Tcp { host: "both".to_owned(), addresses };
    is_unreachable(get(&address, Wanted::Body), "refused");
}

#[test]
fn a_reset_is_no_end_of_a_body() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut exchange = get(&tcp(&listener), Wanted::Body);
    assert!(exchange.advance(NOW).is_none());
    let (mut stream, _) = listener.accept().expect("a connection");
    assert_eq!(stream.peek(&mut [0]).expect("a request"), 1);
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").expect("it listens");
    // Closed with the request unread, which makes the kernel reset the connection.
    drop(stream);
    let (outcome, _) = drive(exchange);
    assert!(matches!(outcome, Err(Failure::Broken(_))), "{outcome:?}");
}

#[test]
fn unix_sockets_are_asked_like_any_other() {
    let name = format!("hot-restarter-test-{}", std::process::id());
    let path = std::env::temp_dir().join(&name);
    let by_path = UnixListener::bind(&path).expect("a socket");
    let abstract_address = SocketAddr::from_abstract_name(&name).expect("it fits");
    let by_name = UnixListener::bind_addr(&abstract_address).expect("a socket");
    for (listener, address) in
        [(by_path, format!("unix:{}", path.display())), (by_name, format!("unix:@{name}"))]
    {
        let address: Address = address.parse().expect("an address");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let request = read_request(&mut stream);
            stream.write_all(OK).expect("it listens");
            (request, listener)
        });
        assert_eq!(drive(get(&address, Wanted::Body)).0.expect("an answer"), hello());
        let (request, listener) = server.join().expect("the server is well");
        let request = String::from_utf8(request).expect("it is text");
        assert!(request.contains("\r\nHost: localhost\r\n"), "{request}");
        // A full queue of connections is told at once rather than waited for.
        listen(&listener, Backlog::new(0).expect("a number")).expect("it listens already");
        let queued: Vec<_> = (0..4).map(|_| get(&address, Wanted::Body)).collect();
        let turned_away = queued.into_iter().find(|exchange| exchange.poll_fd().is_none());
        is_unreachable(turned_away.expect("one had no room"), "queue of connections is full");
    }
    fs::remove_file(path).expect("it is there");
}

#[test]
fn the_socket_neither_blocks_nor_is_inherited() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let exchange = get(&tcp(&listener), Wanted::Status);
    let fd = exchange.socket.as_ref().expect("it is open").as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).expect("/proc");
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags");
    let flags = i32::from_str_radix(flags.trim(), 8).expect("octal");
    assert_eq!(flags & libc::O_CLOEXEC, libc::O_CLOEXEC);
    assert_eq!(flags & libc::O_NONBLOCK, libc::O_NONBLOCK);
}
