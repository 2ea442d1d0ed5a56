//! What is behind the proxy.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time;

/// The path of what is answered at once. The proxy leads everything below this to the upstream.
pub(crate) const QUICK: &str = "/upstream/quick";
/// What is answered after so many milliseconds, in one piece.
const WAITS: &str = "/upstream/waits/";
/// What is answered bit by bit over so many milliseconds.
const TRICKLES: &str = "/upstream/trickles/";

const BITS: u32 = 10;

/// A server of HTTP/1.1 and one that sends bytes back, until this goes.
#[derive(Debug)]
pub struct Upstream {
    /// Where HTTP is served, on loopback.
    pub http: u16,
    /// Where bytes come back.
    pub echo: u16,
    /// How many requests it is about to answer.
    serving: Arc<AtomicUsize>,
    _runtime: Runtime,
}

/// The path of a request that takes so long, with an answer at the end or from the beginning on.
pub(crate) fn long(time: Duration, silent: bool) -> String {
    let path = if silent { WAITS } else { TRICKLES };
    format!("{path}{}", time.as_millis())
}

impl Default for Upstream {
    fn default() -> Self {
        Self::new()
    }
}

impl Upstream {
    /// One at free ports.
    pub fn new() -> Self {
        let mut several = Builder::new_multi_thread();
        let runtime = several.worker_threads(1).thread_name("upstream").enable_all().build();
        let runtime = runtime.expect("a thread and an epoll");
        let (http, echo) = runtime.block_on(async { (listener().await, listener().await) });
        let ports = [&http, &echo].map(|one| one.local_addr().expect("it is bound").port());
        let serving = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&serving);
        runtime.spawn(async move {
            while let Ok((stream, _)) = http.accept().await {
                let shared = Arc::clone(&shared);
                // Who goes in the midst of it is the client's business.
                tokio::spawn(async move { drop(serve(stream, &shared).await) });
            }
        });
        runtime.spawn(async move {
            while let Ok((stream, _)) = echo.accept().await {
                tokio::spawn(async move { drop(send_back(stream).await) });
            }
        });
        Self { http: ports[0], echo: ports[1], serving, _runtime: runtime }
    }

    /// How many requests it is about to answer.
    pub fn serving(&self) -> usize {
        self.serving.load(Ordering::Relaxed)
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free")
}

async fn send_back(mut stream: TcpStream) -> io::Result<()> {
    let (mut theirs, mut ours) = stream.split();
    tokio::io::copy(&mut theirs, &mut ours).await?;
    ours.shutdown().await
}

/// Serves requests without a body, one after the other.
async fn serve(stream: TcpStream, serving: &AtomicUsize) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
        }
        line.clear();
        let _one = One::of(serving);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BITS}\r\n\r\n");
        let whole = head.clone() + &".".repeat(BITS.try_into().expect("a few"));
        if let Some(time) = milliseconds(&path, WAITS) {
            time::sleep(time).await;
            stream.write_all(whole.as_bytes()).await?;
        } else if let Some(time) = milliseconds(&path, TRICKLES) {
            stream.write_all(head.as_bytes()).await?;
            for _ in 0..BITS {
                time::sleep(time / BITS).await;
                stream.write_all(b".").await?;
            }
        } else {
            stream.write_all(whole.as_bytes()).await?;
        }
    }
    Ok(())
}

/// One more request, until it goes.
#[derive(Debug)]
struct One<'a>(&'a AtomicUsize);

impl<'a> One<'a> {
    fn of(serving: &'a AtomicUsize) -> Self {
        serving.fetch_add(1, Ordering::Relaxed);
        Self(serving)
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn milliseconds(path: &str, prefix: &str) -> Option<Duration> {
    path.strip_prefix(prefix)?.parse().ok().map(Duration::from_millis)
}
