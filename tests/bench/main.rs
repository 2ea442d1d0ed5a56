//! Measures the release binary side by side with other inits and prints one table in Markdown.
//!
//! Programs take turns (A B C A B C), figures are medians, and nothing here is a verdict: what
//! is fast on one machine is slow on another, so compare within a row.

mod control;
mod idle;
mod latency;
mod orphans;
mod peers;
mod stats;
mod table;

use std::env;

use peers::Peer;
use table::Table;

fn main() {
    // `cargo test --benches` and the like only want to know that it builds.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    let peers = peers::all();
    let names: Vec<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
    let mut table = Table::new(&names);
    // A word on the command line chooses the measurements whose names hold it.
    let chosen: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for (name, measure) in MEASUREMENTS {
        if chosen.is_empty() || chosen.iter().any(|word| name.contains(word.as_str())) {
            measure(&peers, &mut table);
        }
    }
    println!("{}\n\n{table}", stats::machine());
}

type Measure = fn(&[Peer], &mut Table);

const MEASUREMENTS: [(&str, Measure); 11] = [
    ("start", latency::start),
    ("start-to-exit", latency::start_to_exit),
    ("restart", latency::restart),
    ("end", latency::end),
    ("reopen", latency::reopen),
    ("orphans-burst", |peers, table| orphans::burst(peers, 1_000, table)),
    ("orphans-stream", |peers, table| orphans::stream(peers, 20_000, table)),
    ("memory", idle::memory),
    ("idle", idle::system_calls),
    ("status", control::status),
    ("clients", control::hanging_clients),
];
