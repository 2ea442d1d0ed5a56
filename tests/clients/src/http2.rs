//! HTTP/2, without TLS and by prior knowledge.

use std::future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Error, Reason};
use http::{Request, StatusCode};
use tokio::time;

use crate::http1::connect;
use crate::{Context, Kind, Loss, Lost, PATIENCE, PAUSE, patiently, upstream};

/// Requests at once on one connection.
const STREAMS: usize = 4;
/// How often a request is sent at most.
const ATTEMPTS: usize = 5;

/// What became of an attempt to ask.
#[derive(Debug)]
enum Attempt {
    Answered,
    Lost(Lost),
    /// Nothing was sent, since the connection takes no more streams: the server has said so, or
    /// has ended it.
    Over {
        told: bool,
    },
    /// The server says that it has not looked at the request.
    Untouched,
}

/// Several requests at once, then again, on a connection that is kept for as long as the server
/// lets us.
pub(crate) async fn keep(context: Arc<Context>) {
    let mut kept = None;
    while context.goes_on() {
        ask(&context, Kind::Http2, &mut kept, upstream::QUICK, STREAMS).await;
        time::sleep(PAUSE).await;
    }
}

/// A single request, on a connection of its own.
pub(crate) async fn ask_once(context: Arc<Context>, path: String) {
    ask(&context, Kind::LongHttp2, &mut None, &path, 1).await;
}

/// So many requests at once; what could not be sent, or need not count as sent, goes to a new
/// connection.
async fn ask(
    context: &Context,
    kind: Kind,
    kept: &mut Option<SendRequest<Bytes>>,
    path: &str,
    requests: usize,
) {
    for _ in 0..requests {
        context.sent(kind);
    }
    let mut left = requests;
    for _ in 0..ATTEMPTS {
        let connection = match kept.take() {
            Some(connection) => connection,
            None => match open(context.service.http).await {
                Ok(connection) => connection,
                Err(lost) => return lose(context, kind, left, lost),
            },
        };
        let streams: Vec<_> =
            (0..left).map(|_| tokio::spawn(attempt(connection.clone(), path.to_owned()))).collect();
        left = 0;
        let mut over = None;
        for stream in streams {
            match stream.await.expect("a stream does not panic") {
                Attempt::Answered => drop(context.became(kind, &Ok(()))),
                Attempt::Lost(lost) => drop(context.became(kind, &Err(lost))),
                Attempt::Over { told } => {
                    left += 1;
                    over = Some(told);
                }
                Attempt::Untouched => {
                    context.count(kind, |count| count.repeated += 1);
                    left += 1;
                    over = Some(true);
                }
            }
        }
        match over {
            None => *kept = Some(connection),
            Some(true) => context.count(kind, |count| count.told += 1),
            Some(false) => context.count(kind, |count| count.dropped += 1),
        }
        if left == 0 {
            return;
        }
    }
    let why = format!("sent away from {ATTEMPTS} connections");
    lose(context, kind, left, Lost::new(Loss::Refused, why));
}

fn lose(context: &Context, kind: Kind, requests: usize, lost: Lost) {
    let lost = Err(lost);
    for _ in 0..requests {
        context.became(kind, &lost);
    }
}

async fn open(address: SocketAddr) -> Result<SendRequest<Bytes>, Lost> {
    let opened = time::timeout(PATIENCE, async {
        let stream = connect(address).await?;
        let (connection, driver) =
            client::handshake(stream).await.map_err(|error| Lost::new(Loss::Reset, error))?;
        // It ends with the connection; what that means each stream learns.
        tokio::spawn(async move { drop(driver.await) });
        Ok(connection)
    });
    opened.await.unwrap_or_else(|_| Err(Lost::new(Loss::TimedOut, "no connection")))
}

async fn attempt(connection: SendRequest<Bytes>, path: String) -> Attempt {
    let mut attempt = Attempt::Answered;
    let outcome = patiently(async {
        attempt = exchange(connection, &path).await;
        Ok(())
    });
    match outcome.await {
        Ok(()) => attempt,
        Err(lost) => Attempt::Lost(lost),
    }
}

async fn exchange(connection: SendRequest<Bytes>, path: &str) -> Attempt {
    let request = Request::get(format!("http://test{path}")).body(()).expect("a request");
    let mut connection = match connection.ready().await {
        Ok(connection) => connection,
        Err(error) => return over(&error),
    };
    let answer = match connection.send_request(request, true) {
        Ok((answer, _)) => answer.await,
        Err(error) => return over(&error),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return broken(&error, Loss::Reset),
    };
    if answer.status() != StatusCode::OK {
        return Attempt::Lost(Lost::new(Loss::Wrong, answer.status()));
    }
    let mut body = answer.into_body();
    while let Some(bytes) = future::poll_fn(|context| body.poll_data(context)).await {
        match bytes {
            Ok(bytes) => drop(body.flow_control().release_capacity(bytes.len())),
            Err(error) => return broken(&error, Loss::Cut),
        }
    }
    Attempt::Answered
}

/// Why nothing could be sent.
fn over(error: &Error) -> Attempt {
    Attempt::Over { told: error.is_go_away() && error.is_remote() }
}

/// Why there is no whole answer to what was sent.
fn broken(error: &Error, loss: Loss) -> Attempt {
    let untouched = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
    if untouched && error.is_remote() {
        Attempt::Untouched
    } else {
        Attempt::Lost(Lost::new(loss, error))
    }
}
