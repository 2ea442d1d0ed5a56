//! What the clients make of servers that go in good and in bad ways.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use clients::{Figures, Kind, Loss, Mix, Population, Service, Upstream};
use h2::Reason;
use h2::server::{self, SendResponse};
use http::Response;
use support::eventually;
use support::server::Reserved;

const KEPT: Mix = Mix { kept: 2, renewed: 0, http2: 0, tcp: 0 };
const HTTP2: Mix = Mix { kept: 0, renewed: 0, http2: 2, tcp: 0 };
const TCP: Mix = Mix { kept: 0, renewed: 0, http2: 0, tcp: 2 };

/// A server that does this with each connection; it has its thread as long as the process lives.
fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A server that reads the heads of requests and says these words to each, until there is none.
fn saying(words: &'static str, times: usize) -> SocketAddr {
    server(move |mut stream| {
        for _ in 0..times {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read_exact(&mut byte).is_err() {
                    return;
                }
                head.extend(byte);
            }
            let _ = stream.write_all(words.as_bytes());
        }
    })
}

/// Has clients ask until their figures are these, and returns the last ones.
fn asked(address: SocketAddr, mix: Mix, enough: impl Fn(&Figures) -> bool) -> Figures {
    let population = Population::start(Service { http: address, tcp: address }, mix);
    eventually("the clients have seen enough", || {
        let figures = population.figures();
        if enough(&figures) { Ok(()) } else { Err(figures.to_string()) }
    });
    population.finish(Duration::ZERO)
}

/// Has clients ask until one has lost something, and fails if it is lost in any other way.
fn lost(address: SocketAddr, mix: Mix, kind: Kind, loss: Loss) {
    let figures = asked(address, mix, |figures| figures.all().failed() > 0);
    let all = figures.all();
    assert_eq!(figures.of(kind).lost_by(loss), all.failed(), "{figures}");
}

#[test]
fn a_server_that_says_so_may_close() {
    let words = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let all = asked(saying(words, 1), KEPT, |figures| figures.all().told > 5).all();
    assert_eq!((all.failed(), all.dropped), (0, 0));
}

#[test]
fn one_that_says_nothing_has_dropped_the_connection() {
    let words = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let all = asked(saying(words, 3), KEPT, |figures| figures.all().dropped > 5).all();
    // Where this machine is slow a request may be on its way when the server closes.
    assert_eq!((all.failed(), all.told), (all.lost_by(Loss::Reset), 0));
}

#[test]
fn requests_are_lost_in_ways_that_are_told_apart() {
    lost(saying("", 1), KEPT, Kind::Kept, Loss::Reset);
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    lost(saying(half, 1), KEPT, Kind::Kept, Loss::Cut);
    let unavailable = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    lost(saying(unavailable, 9), KEPT, Kind::Kept, Loss::Wrong);
    let nobody = Reserved::at(Ipv4Addr::LOCALHOST.into());
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, nobody.port()));
    lost(nobody, KEPT, Kind::Kept, Loss::Refused);
    lost(nobody, HTTP2, Kind::Http2, Loss::Refused);
    lost(nobody, TCP, Kind::Tcp, Loss::Refused);
}

#[test]
fn sessions_are_lost_in_ways_that_are_told_apart() {
    lost(server(drop), TCP, Kind::Tcp, Loss::Reset);
    let short = server(|mut stream| {
        let mut piece = [0; 100];
        let _ = stream.read_exact(&mut piece);
        let _ = stream.write_all(&piece);
    });
    lost(short, TCP, Kind::Tcp, Loss::Cut);
}

/// A server of HTTP/2 that does this with each request, then this with the connection.
fn http2_server(
    answer: impl Fn(SendResponse<Bytes>) + Clone + Send + 'static,
    after: impl Fn(&mut server::Connection<tokio::net::TcpStream, Bytes>) -> bool
    + Clone
    + Send
    + 'static,
) -> SocketAddr {
    server(move |stream| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("an epoll").block_on(async {
            stream.set_nonblocking(true).expect("a socket");
            let stream = tokio::net::TcpStream::from_std(stream).expect("a socket");
            let Ok(mut connection) = server::handshake(stream).await else {
                return;
            };
            while let Some(Ok((_, stream))) = connection.accept().await {
                answer(stream);
                if !after(&mut connection) {
                    return;
                }
            }
        });
    })
}

/// Answers with 200 and nothing.
fn ok(mut stream: SendResponse<Bytes>) {
    // The client may have gone.
    let _ = stream.send_response(Response::new(()), true);
}

#[test]
fn a_server_of_http2_that_says_so_may_close() {
    let address = http2_server(ok, |connection| {
        connection.graceful_shutdown();
        true
    });
    let all = asked(address, HTTP2, |figures| figures.all().told > 5).all();
    assert_eq!((all.failed(), all.dropped), (0, 0));
}

#[test]
fn a_stream_that_nobody_has_looked_at_is_repeated() {
    let refuse = |mut stream: SendResponse<Bytes>| {
        if stream.stream_id().as_u32() % 16 == 1 {
            stream.send_reset(Reason::REFUSED_STREAM);
        } else {
            ok(stream);
        }
    };
    // One of several streams is refused on each connection, and in the end nobody is left to ask.
    let figures =
        asked(http2_server(refuse, |_| true), HTTP2, |figures| figures.all().repeated > 5);
    assert!(figures.all().answered > 0, "{figures}");
    for loss in [Loss::Reset, Loss::Cut, Loss::TimedOut, Loss::Wrong] {
        assert_eq!(figures.all().lost_by(loss), 0, "{figures}");
    }
}

#[test]
fn a_server_of_http2_that_just_goes_loses_requests() {
    lost(http2_server(drop, |_| false), HTTP2, Kind::Http2, Loss::Reset);
}

#[test]
fn long_requests_are_answered_by_the_upstream_itself() {
    let upstream = Upstream::new();
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let service = Service { http: address(upstream.http), tcp: address(upstream.echo) };
    let mut population = Population::start(service, Mix { http2: 0, ..Mix::ALL });
    // Those by HTTP/2 would need a proxy.
    population.send_long(1);
    eventually("the long one is being served", || match upstream.serving() {
        0 => Err(population.figures().to_string()),
        _ => Ok(()),
    });
    let figures = population.finish(Duration::ZERO);
    assert_eq!(figures.all().failed(), 0, "{figures}");
    assert_eq!(figures.of(Kind::Long).answered, 1, "{figures}");
    assert!(figures.of(Kind::Tcp).answered > 0, "{figures}");
}
