//! Bytes that come back as they went, through a proxy of TCP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time;

use crate::http1::connect;
use crate::{Context, Kind, Loss, Lost, PAUSE, patiently};

/// How long a session goes on before it ends by itself.
const SESSION: Duration = Duration::from_secs(3);
/// From a session that was lost to the next.
const RETRY: Duration = Duration::from_millis(500);
/// How many bytes go each time.
const PIECE: usize = 100;

/// One session after the other, each on a connection of its own.
pub(crate) async fn converse(context: Arc<Context>) {
    while context.goes_on() {
        context.sent(Kind::Tcp);
        let ended = patiently(session(&context)).await;
        let pause = if context.became(Kind::Tcp, &ended) { PAUSE } else { RETRY };
        time::sleep(pause).await;
    }
}

/// Sends and hears for a while, and takes leave.
async fn session(context: &Context) -> Result<(), Lost> {
    let cut = |error| Lost::new(Loss::Cut, error);
    let mut stream = connect(context.service.tcp).await?;
    let since = Instant::now();
    let mut number = 0u8;
    let mut heard_before = false;
    while since.elapsed() < SESSION {
        number = number.wrapping_add(1);
        let (piece, mut back) = ([number; PIECE], [0; PIECE]);
        // A connection that only the kernel has accepted never was one of the server's.
        let loss = if heard_before { Loss::Cut } else { Loss::Reset };
        stream.write_all(&piece).await.map_err(|error| Lost::new(loss, error))?;
        stream.read_exact(&mut back).await.map_err(|error| Lost::new(loss, error))?;
        if back != piece {
            return Err(Lost::new(Loss::Wrong, "other bytes came back"));
        }
        heard_before = true;
        time::sleep(PAUSE).await;
    }
    stream.shutdown().await.map_err(cut)?;
    match stream.read(&mut [0]).await.map_err(cut)? {
        0 => Ok(()),
        _ => Err(Lost::new(Loss::Wrong, "bytes that nobody sent")),
    }
}
