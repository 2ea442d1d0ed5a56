//! What clients of a real Envoy notice of its hot restarts.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::envoy::{Bare, Stage};

use crate::latency::{micros, now_ns};
use crate::peers::Peer;
use crate::stats::median;
use crate::table::Table;

/// How many restarts.
const HANDOVERS: u32 = 20;
/// Seconds that Envoys drain, and after which the older one is told to end.
const DRAIN: (u32, u32) = (1, 2);
/// From one restart to the next: the older Envoy has been gone for more than a second.
const EVERY: Duration = Duration::from_millis(4_500);
/// The second around a handover begins so long before SIGHUP; a handover takes some 100 ms.
const BEFORE: Duration = Duration::from_millis(250);
/// The quiet second ends so long before SIGHUP.
const QUIET_BEFORE: Duration = Duration::from_millis(300);
const SECOND: i64 = 1_000_000_000;
/// Clients that keep their connections, and clients that make a new one for each request.
const KEEPING: usize = 6;
const RENEWING: usize = 2;
/// Each sends a request this often.
const PACE: Duration = Duration::from_millis(2);
/// What is not answered by then has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request: when it was to be sent, how long the answer took from then on, whether it came.
#[derive(Clone, Copy, Debug)]
struct Request {
    due: i64,
    took_us: f64,
    answered: bool,
}

/// Latencies in the seconds around handovers against quiet ones.
pub(crate) fn handover(_: &[Peer], table: &mut Table) {
    let stage = Stage::in_namespace(DRAIN);
    let bare = Bare::start(&stage, &[]);
    stage.await_first(|| bare.output());
    let over = AtomicBool::new(false);
    let (requests, handovers) = thread::scope(|scope| {
        let client = |keeps| {
            let (over, port) = (&over, stage.ingress);
            move || send_until(over, port, keeps)
        };
        let clients: Vec<_> =
            (0..KEEPING + RENEWING).map(|number| scope.spawn(client(number < KEEPING))).collect();
        let mut handovers = Vec::new();
        for epoch in 1..=HANDOVERS {
            thread::sleep(EVERY);
            let sent = now_ns();
            bare.restarter.signal(libc::SIGHUP);
            stage.await_live(epoch);
            handovers.push((sent, now_ns()));
        }
        thread::sleep(EVERY);
        over.store(true, Ordering::Relaxed);
        let requests = clients.into_iter().flat_map(|client| client.join().expect("a client"));
        (requests.collect::<Vec<Request>>(), handovers)
    });
    let within = |from: i64| {
        requests.iter().filter(move |request| (from..from + SECOND).contains(&request.due))
    };
    let before = i64::try_from(BEFORE.as_nanos()).expect("it is short");
    let quiet_before = i64::try_from(QUIET_BEFORE.as_nanos()).expect("it is short");
    let around = handovers.iter().flat_map(|(sent, _)| within(sent - before));
    let quiet = handovers.iter().flat_map(|(sent, _)| within(sent - quiet_before - SECOND));
    let mut took: Vec<f64> = handovers.iter().map(|(sent, live)| micros(*sent, *live)).collect();
    table.ours("real Envoy under load: SIGHUP to LIVE, ms", median(&mut took) / 1_000.0);
    for (name, requests) in [
        ("a quiet second", quiet.collect::<Vec<_>>()),
        ("the second around a handover", around.collect()),
    ] {
        let mut took: Vec<f64> = requests.iter().map(|request| request.took_us).collect();
        took.sort_by(f64::total_cmp);
        for (percentile, per_thousand) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
            let value = took[took.len() * per_thousand / 1_000];
            table.ours(&format!("real Envoy, {percentile} of requests in {name}, µs"), value);
        }
    }
    let failed = requests.iter().filter(|request| !request.answered).count();
    eprintln!("{} requests in all", requests.len());
    #[expect(clippy::cast_precision_loss, reason = "there should be none")]
    table
        .ours(&format!("real Envoy, requests that failed in {HANDOVERS} handovers"), failed as f64);
}

/// Sends one request after the other, at the pace. One that is late because the one before it took
/// long counts from when it was due.
fn send_until(over: &AtomicBool, port: u16, keeps: bool) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut connection: Option<TcpStream> = None;
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let now = Instant::now();
        next += PACE;
        let late = now.saturating_duration_since(next);
        thread::sleep(next.saturating_duration_since(now));
        let begun = now_ns() - i64::try_from(late.as_nanos()).expect("it is short");
        let answered = exchange(&mut connection, port);
        requests.push(Request {
            due: begun,
            took_us: micros(begun, now_ns()),
            answered: answered.is_ok(),
        });
        if !keeps || answered.is_err() {
            connection = None;
        }
    }
    requests
}

/// Sends a request and reads the answer. On a kept connection that the server has closed meanwhile
/// it is sent again on a new one, as clients do.
fn exchange(kept: &mut Option<TcpStream>, port: u16) -> io::Result<()> {
    if let Some(mut stream) = kept.take() {
        match ask(&mut stream) {
            Ok(closes) => {
                *kept = (!closes).then_some(stream);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(error),
            // Nothing of an answer has come.
            Err(_) => {}
        }
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let closes = ask(&mut stream)?;
    *kept = (!closes).then_some(stream);
    Ok(())
}

/// Whether the server closes the connection after its answer. `UnexpectedEof` where the answer is
/// cut, another error where there is none.
fn ask(stream: &mut TcpStream) -> io::Result<bool> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        let read = match stream.read(&mut part) {
            Ok(0) if answer.is_empty() => return Err(io::ErrorKind::ConnectionReset.into()),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            // A read that has a time of its own is not gone on with after any signal (signal(7)).
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if answer.is_empty() => return Err(error),
            Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        answer.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        if body.len() >= length {
            if !head.starts_with("http/1.1 200") {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return Ok(head.contains("connection: close"));
        }
    }
}
