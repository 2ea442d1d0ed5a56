//! Clients that behave as a load balancer does, and the upstream behind an Envoy that they ask.
//!
//! A load balancer that has not noticed yet that a server is going sends to it for seconds more,
//! on the connections that it has and on new ones. It honours what it is told (`Connection:
//! close`, GOAWAY), so whatever is lost to these clients is the server's fault:
//!
//! - A connection that cannot be made, or a request that was sent and not answered in whole with
//!   a 200, is a loss. Nothing is sent again to hide it.
//! - A stream of HTTP/2 that the server says it has not looked at (a GOAWAY with a lower number,
//!   `REFUSED_STREAM`) may be sent again by the protocol's rules, and is, on another connection.
//!   It is counted as repeated, and once more as what became of it.
//! - A kept connection that ends without a word before, while nothing is asked on it, loses
//!   nothing where it is noticed in time. It is counted as dropped; a request that was sent into
//!   it is a loss.

mod figures;
mod front;
mod http1;
mod http2;
mod tcp;
mod upstream;

use std::fmt::Display;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use figures::{Count, Figures, Kind, Loss, Missed};
pub use front::Front;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time;
pub use upstream::Upstream;

/// After this an answer is lost. What is looked for is lost requests, not slow ones.
const PATIENCE: Duration = Duration::from_secs(20);
/// From an answer to the next request on the same connection.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a long request takes.
pub const LONG: Duration = Duration::from_secs(5);

/// Who is asked.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// HTTP/1.1, and HTTP/2 without a negotiation.
    pub http: SocketAddr,
    /// Bytes, which come back as they went.
    pub tcp: SocketAddr,
}

/// How many clients of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mix {
    /// Connections of HTTP/1.1, each with one request after the other.
    pub kept: usize,
    /// Those who open a connection for each request.
    pub renewed: usize,
    /// Connections of HTTP/2, each with several requests at once.
    pub http2: usize,
    /// Those who have one session of bytes after the other.
    pub tcp: usize,
}

impl Mix {
    /// A few of each.
    pub const ALL: Self = Self { kept: 4, renewed: 2, http2: 2, tcp: 3 };

    /// All of it so many times.
    #[must_use]
    pub fn times(self, factor: usize) -> Self {
        let Self { kept, renewed, http2, tcp } = self;
        let [kept, renewed, http2, tcp] = [kept, renewed, http2, tcp].map(|count| count * factor);
        Self { kept, renewed, http2, tcp }
    }
}

/// Clients at work.
#[derive(Debug)]
pub struct Population {
    context: Arc<Context>,
    clients: Vec<JoinHandle<()>>,
    runtime: Runtime,
}

/// What all clients of a population know and write down.
#[derive(Debug)]
struct Context {
    service: Service,
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    figures: Figures,
    /// From then on nothing new is sent.
    cease_at: Option<Instant>,
    /// How many connections are held.
    held: usize,
    /// From now on a long request is sent on each held connection.
    released: bool,
}

impl Population {
    /// Begins to send, and goes on until [`Self::finish`].
    pub fn start(service: Service, mix: Mix) -> Self {
        let state = Mutex::default();
        let context = Arc::new(Context { service, begun: Instant::now(), state });
        let mut several = Builder::new_multi_thread();
        let runtime = several.worker_threads(1).thread_name("clients").enable_all().build();
        let runtime = runtime.expect("a thread and an epoll");
        let mut population = Self { context, clients: Vec::new(), runtime };
        for _ in 0..mix.kept {
            population.spawn(http1::keep);
        }
        for _ in 0..mix.renewed {
            population.spawn(http1::renew);
        }
        for _ in 0..mix.http2 {
            population.spawn(http2::keep);
        }
        for _ in 0..mix.tcp {
            population.spawn(tcp::converse);
        }
        population
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        client: impl FnOnce(Arc<Context>) -> F,
    ) {
        let client = client(Arc::clone(&self.context));
        self.clients.push(self.runtime.spawn(client));
    }

    /// Sends so many long requests on new connections, in turn by HTTP/1.1 and HTTP/2, of which
    /// some are answered at their end and others bit by bit.
    pub fn send_long(&mut self, requests: usize) {
        const SILENT: [bool; 4] = [true, true, false, false];
        for turn in 0..requests {
            let path = upstream::long(LONG, SILENT[turn % 4]);
            if turn % 2 == 0 {
                self.spawn(|context| http1::ask_once(context, path));
            } else {
                self.spawn(|context| http2::ask_once(context, path));
            }
        }
    }

    /// Has so many clients more ask one request after the other that takes this long, each on a new
    /// connection, in turn answered at its end and bit by bit.
    pub fn keep_sending_long(&mut self, clients: usize, time: Duration) {
        for turn in 0..clients {
            let path = upstream::long(time, turn % 2 == 0);
            self.spawn(|context| http1::keep_asking(context, path));
        }
    }

    /// Opens so many connections of HTTP/1.1, and asks once on each; then they are idle.
    pub fn hold(&mut self, connections: usize) {
        for turn in 0..connections {
            let path = upstream::long(LONG, turn % 2 == 0);
            self.spawn(|context| http1::hold(context, path));
        }
    }

    /// How many connections are held.
    pub fn held(&self) -> usize {
        self.context.state().held
    }

    /// Sends a long request on each connection that is held.
    pub fn send_long_on_held(&self) {
        self.context.state().released = true;
    }

    /// What has been counted so far.
    pub fn figures(&self) -> Figures {
        self.context.state().figures.clone()
    }

    /// Goes on for so long, then waits for what was sent and not answered yet.
    pub fn finish(self, in_a_while: Duration) -> Figures {
        let Self { context, clients, runtime } = self;
        context.state().cease_at = Some(Instant::now() + in_a_while);
        runtime.block_on(async {
            for client in clients {
                client.await.expect("a client does not panic");
            }
        });
        let figures = context.state().figures.clone();
        assert_eq!(figures.in_flight(), 0, "a client has forgotten a request: {figures:#?}");
        figures
    }
}

impl Context {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is something to send still.
    fn goes_on(&self) -> bool {
        self.state().cease_at.is_none_or(|at| Instant::now() < at)
    }

    /// Counts a connection that is held.
    fn holds(&self) {
        self.state().held += 1;
    }

    fn is_released(&self) -> bool {
        self.state().released
    }

    fn count(&self, kind: Kind, change: impl FnOnce(&mut Count)) {
        change(self.state().figures.of_mut(kind));
    }

    fn sent(&self, kind: Kind) {
        self.count(kind, |count| count.sent += 1);
    }

    /// Writes down what became of a request; whether it was answered.
    fn became(&self, kind: Kind, answer: &Result<(), Lost>) -> bool {
        let mut state = self.state();
        match answer {
            Ok(()) => state.figures.of_mut(kind).answered += 1,
            Err(Lost { loss, why }) => {
                let at = self.begun.elapsed().as_secs_f64();
                state.figures.lose(kind, *loss, || format!("{kind} at {at:.3} s, {loss}: {why}"));
            }
        }
        answer.is_ok()
    }
}

/// A request that was not answered.
#[derive(Debug)]
struct Lost {
    loss: Loss,
    why: String,
}

impl Lost {
    fn new(loss: Loss, why: impl Display) -> Self {
        Self { loss, why: format!("{why}") }
    }
}

/// Waits for an answer for as long as anybody would.
async fn patiently(answer: impl Future<Output = Result<(), Lost>>) -> Result<(), Lost> {
    match time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Lost::new(Loss::TimedOut, format!("no answer within {PATIENCE:?}"))),
    }
}
