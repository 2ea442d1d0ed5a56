//! HTTP/1.1.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;

use crate::{Context, Kind, Loss, Lost, PAUSE, patiently, upstream};

/// No head of an answer is longer.
const HEAD: usize = 8 * 1024;

/// A connection between two requests.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// The server has said that it closes after this answer.
    told: bool,
}

/// One request after the other on a connection that is kept for as long as the server lets us.
pub(crate) async fn keep(context: Arc<Context>) {
    const KIND: Kind = Kind::Kept;
    let mut kept: Option<Connection> = None;
    while context.goes_on() {
        if kept.as_ref().is_some_and(Connection::has_ended) {
            context.count(KIND, |count| count.dropped += 1);
            kept = None;
        }
        context.sent(KIND);
        let answer = patiently(async {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => Connection::open(context.service.http).await?,
            };
            connection.ask(upstream::QUICK, "").await?;
            if connection.told {
                context.count(KIND, |count| count.told += 1);
            } else {
                kept = Some(connection);
            }
            Ok(())
        });
        let answer = answer.await;
        context.became(KIND, &answer);
        time::sleep(PAUSE).await;
    }
}

/// One request after the other, each on a connection of its own, which we tell the server.
pub(crate) async fn renew(context: Arc<Context>) {
    while context.goes_on() {
        once(&context, Kind::Renewed, upstream::QUICK).await;
        time::sleep(PAUSE).await;
    }
}

/// A single request, on a connection of its own.
pub(crate) async fn ask_once(context: Arc<Context>, path: String) {
    once(&context, Kind::Long, &path).await;
}

/// One long request after the other, each on a connection of its own.
pub(crate) async fn keep_asking(context: Arc<Context>, path: String) {
    while context.goes_on() {
        once(&context, Kind::Long, &path).await;
        time::sleep(PAUSE).await;
    }
}

/// A connection that is idle until it is to be asked a long request.
pub(crate) async fn hold(context: Arc<Context>, path: String) {
    let mut held = None;
    context.sent(Kind::Kept);
    let answer = patiently(async {
        let mut connection = Connection::open(context.service.http).await?;
        connection.ask(upstream::QUICK, "").await?;
        held = Some(connection);
        Ok(())
    });
    let answer = answer.await;
    if !context.became(Kind::Kept, &answer) {
        return;
    }
    context.holds();
    while !context.is_released() {
        if !context.goes_on() {
            return;
        }
        time::sleep(PAUSE).await;
    }
    match held.filter(|connection| !connection.told && !connection.has_ended()) {
        Some(mut connection) => {
            context.sent(Kind::Long);
            let answer = patiently(connection.ask(&path, "")).await;
            context.became(Kind::Long, &answer);
        }
        None => context.count(Kind::Kept, |count| count.dropped += 1),
    }
}

async fn once(context: &Context, kind: Kind, path: &str) {
    context.sent(kind);
    let answer = patiently(async {
        let mut connection = Connection::open(context.service.http).await?;
        connection.ask(path, "Connection: close\r\n").await
    });
    let answer = answer.await;
    context.became(kind, &answer);
}

/// A new connection, which does not wait to send little.
pub(crate) async fn connect(address: SocketAddr) -> Result<TcpStream, Lost> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| Lost::new(Loss::Refused, error))?;
    // Where this fails the connection is gone already, which is noticed below.
    let _: io::Result<()> = stream.set_nodelay(true);
    Ok(stream)
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, Lost> {
        Ok(Self { stream: connect(address).await?, told: false })
    }

    /// Whether the server has closed it; between two requests it has nothing else to say.
    fn has_ended(&self) -> bool {
        !matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Asks, and hears the whole answer.
    async fn ask(&mut self, path: &str, header: &str) -> Result<(), Lost> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{header}\r\n");
        let sent = self.stream.write_all(request.as_bytes()).await;
        sent.map_err(|error| Lost::new(Loss::Reset, error))?;
        let mut bytes = Vec::with_capacity(HEAD);
        let (head_length, length) = loop {
            let loss = if bytes.is_empty() { Loss::Reset } else { Loss::Cut };
            self.hear(&mut bytes).await.map_err(|error| Lost::new(loss, error))?;
            if let Some(known) = self.understand(&bytes)? {
                break known;
            }
        };
        while bytes.len() < head_length + length {
            self.hear(&mut bytes).await.map_err(|error| Lost::new(Loss::Cut, error))?;
        }
        if bytes.len() > head_length + length {
            return Err(Lost::new(Loss::Wrong, "more than one answer"));
        }
        Ok(())
    }

    async fn hear(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        match self.stream.read_buf(bytes).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The lengths of head and body, when the head is there.
    fn understand(&mut self, bytes: &[u8]) -> Result<Option<(usize, usize)>, Lost> {
        let wrong = |why: String| Lost::new(Loss::Wrong, why);
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut answer = httparse::Response::new(&mut headers);
        let parsed = answer.parse(bytes).map_err(|error| wrong(error.to_string()))?;
        let httparse::Status::Complete(head_length) = parsed else {
            return if bytes.len() < HEAD { Ok(None) } else { Err(wrong("a long head".into())) };
        };
        let header = |name: &str| {
            let header =
                answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            header.map(|header| String::from_utf8_lossy(header.value).trim().to_ascii_lowercase())
        };
        if answer.code != Some(200) {
            return Err(wrong(format!("status {:?}", answer.code)));
        }
        self.told = header("connection").is_some_and(|value| value == "close");
        let length = header("content-length").and_then(|length| length.parse().ok());
        let length = length.ok_or_else(|| wrong("an answer without a length".into()))?;
        Ok(Some((head_length, length)))
    }
}
