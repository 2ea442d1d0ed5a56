//! What goes on all the time beside what is checked: signals, clients that misbehave, and others
//! who want the processors.

use std::collections::VecDeque;
use std::hint;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::outlet::Outlet;
use crate::handle::Handle;
use crate::random::Random;

/// Signals that change nothing: a request for new logs, and what Envoy does not catch.
const HARMLESS: [i32; 9] = [
    libc::SIGUSR1,
    libc::SIGUSR1,
    libc::SIGUSR1,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGALRM,
    libc::SIGIO,
    libc::SIGPIPE,
];
/// How many clients hang at any time: more than have a place.
const HANGING: usize = 100;

/// Threads that make it, until this goes.
#[derive(Debug, Default)]
pub(super) struct Noise {
    over: Arc<AtomicBool>,
    signals: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Noise {
    fn keep(&mut self, mut what: impl FnMut() -> Option<Duration> + Send + 'static) {
        let over = Arc::clone(&self.over);
        self.threads.push(thread::spawn(move || {
            while !over.load(Ordering::Relaxed)
                && let Some(pause) = what()
            {
                thread::sleep(pause);
            }
        }));
    }

    /// Harmless signals to this process, in bursts at any moment.
    pub(super) fn signal(&mut self, to: Handle, mut random: Random) {
        let sent = Arc::clone(&self.signals);
        self.keep(move || {
            let signal = random.one_of(&HARMLESS);
            for _ in 0..=random.below(12) {
                if !to.signal(signal) {
                    return None;
                }
                sent.fetch_add(1, Ordering::Relaxed);
            }
            Some(random.span_below_ms(250))
        });
    }

    /// Clients that connect and say nothing, say nonsense, or go before they are answered.
    pub(super) fn crowd(&mut self, place: &Path, mut random: Random) {
        let place = place.to_owned();
        let mut hanging = VecDeque::new();
        self.keep(move || {
            if let Ok(client) = UnixStream::connect(&place) {
                hanging.extend(babble(client, &mut random));
                if hanging.len() > HANGING {
                    hanging.pop_front();
                }
            }
            Some(Duration::from_millis(4) + random.span_below_ms(20))
        });
    }

    /// A reader of standard error that comes to a halt for a second now and then.
    pub(super) fn stall(&mut self, outlet: &Arc<Outlet>, mut random: Random) {
        let outlet = Arc::clone(outlet);
        let mut stalled = false;
        self.keep(move || {
            stalled = !stalled;
            outlet.stall(stalled);
            Some(random.span_below_ms(if stalled { 3000 } else { 500 }))
        });
    }

    /// So many threads that want a processor each.
    pub(super) fn busy(&mut self, threads: usize) {
        for _ in 0..threads {
            self.keep(|| {
                for _ in 0..1_000_000 {
                    hint::spin_loop();
                }
                Some(Duration::ZERO)
            });
        }
    }

    /// How many signals were sent.
    pub(super) fn signals(&self) -> u64 {
        self.signals.load(Ordering::Relaxed)
    }

    /// Waits until all of it is over.
    pub(super) fn end(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Misbehaves; who hangs is given back.
fn babble(mut client: UnixStream, random: &mut Random) -> Option<UnixStream> {
    // It may have been heard enough before all is said, and nobody must wait for what it answers.
    let mut say = |words: &[u8]| drop(client.write_all(words));
    match random.below(6) {
        0 | 1 => return Some(client),
        2 => say(b"{\"version\":1,\"command\":\"reload\",\"wait\":true,\"force\":[[[["),
        3 => say(b"{\"version\":7,\"command\":\"stop\"}\n"),
        4 => say(&[0xFF; 3000]),
        _ => {
            say(b"{\"command\":\"status\"}\n");
            let _ = client.set_read_timeout(Some(Duration::from_millis(100)));
            let _ = client.read(&mut [0; 8]);
        }
    }
    None
}
