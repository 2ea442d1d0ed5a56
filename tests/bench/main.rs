//! Measures the release binary side by side with other inits and prints one table in Markdown.
//!
//! Programs take turns (A B C A B C), figures are medians, and nothing here is a verdict: what
//! is fast on one machine is slow on another, so compare within a row. [`HOW`] is how it is done,
//! and is printed with the table.

mod control;
mod ends;
mod handover;
mod idle;
mod latency;
mod orphans;
mod peers;
mod pid1;
mod restart;
mod start;
mod stats;
mod table;
mod trace;
mod turns;
mod voice;

use std::env;
use std::time::Instant;

use peers::Peer;
use table::Table;

fn main() {
    // `cargo test --benches` and the like only want to know that it builds.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    let peers = peers::all();
    let mut table = Table::new(&peers);
    // A word on the command line chooses the measurements whose names hold it.
    let chosen: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for (name, measure) in MEASUREMENTS {
        if chosen.is_empty() || chosen.iter().any(|word| name.contains(word.as_str())) {
            let begun = Instant::now();
            measure(&peers, &mut table);
            eprintln!("{name} took {:.1} s", begun.elapsed().as_secs_f64());
        }
    }
    println!("{}\n\n{table}\n{HOW}", stats::machine());
}

/// How the rows were taken.
const HOW: &str = "\
Medians; in parentheses, how many times ours. Programs take turns (A B C A B C), the first rounds of
which are left out; one whose rounds of a row have taken 12 s has no more of them, but 3 at least.
Each is PID 1 of a PID namespace of its own with a `/proc` of it, both of which are there before the
clock is read: nothing but `execve` is between that and the init. Standard input, output and error
are `/dev/null`, and the environment has five variables. The target is a static program; its first
instruction is that of its `main`. Our options are the defaults, but for orphans and, where
nothing else is said, restarts, which are measured with `--ready none`, since an epoch that is no
server is looked at for a second. s6-svscan has a folder of one service, and its memory,
descriptors, calls and wake-ups are those of s6-supervise as well. `never`: not within 4 s.
Memory is of `smaps_rollup`, 2.5 s after the start. System calls are counted by strace, those from exec
to exec along the line from the init to its target; wake-ups are context switches, without strace.
Orphans at once are zombies whose parent dies. Processes beside are in the namespace, and nobody's
there. With three living a restart waits for the oldest to end, and is timed from its last
instruction. The rows of `status` and of clients are taken outside of a namespace. Envoy's clients
are 6 that keep their connections and 2 that do not, each of which sends a request every 2 ms; the
second around a handover begins 0.25 s before SIGHUP, the quiet one 1.3 s before it, when an older
epoch has long gone, and a request that is late because the one before took long counts from when it
was due.";

type Measure = fn(&[Peer], &mut Table);

const MEASUREMENTS: [(&str, Measure); 15] = [
    ("start", start::start),
    ("start-to-exit", start::start_to_exit),
    ("start-calls", start::system_calls),
    ("memory", idle::memory),
    ("signal", ends::forwarded),
    ("stop", ends::stop),
    ("unexpected", ends::unexpected),
    ("orphans-burst", orphans::burst),
    ("orphans-growth", orphans::growth),
    ("orphans-stream", orphans::stream),
    ("restart", restart::restart),
    ("envoy", handover::handover),
    ("idle", idle::idle),
    ("status", control::status),
    ("clients", control::hanging_clients),
];
