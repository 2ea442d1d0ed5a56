//! Who is measured: we, and what Debian packages, as far as it is installed.

use std::env;
use std::path::Path;

use support::restarter;

/// A program that starts another one and reaps orphans.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its column.
    pub(crate) name: String,
    /// The words before those of the program that it starts; it must become a child subreaper.
    pub(crate) words: Vec<String>,
    /// Whether it does become one.
    pub(crate) reaps: bool,
}

/// Ourselves first; then the others; then what `BENCH_PEER` says, split at spaces.
pub(crate) fn all() -> Vec<Peer> {
    let own = restarter().to_str().expect("our path is text").to_owned();
    let mut peers = vec![Peer { name: "hot-restarter".into(), words: vec![own], reaps: true }];
    // dumb-init knows no subreaper, so only its start can be compared without a namespace.
    let packaged = [
        ("tini-static", "/usr/bin/tini-static -s --", true),
        ("tini", "/usr/bin/tini -s --", true),
        ("dumb-init", "/usr/bin/dumb-init --", false),
        ("catatonit", "/usr/bin/catatonit -g --", false),
    ];
    for (name, line, reaps) in packaged {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        if Path::new(&words[0]).exists() {
            peers.push(Peer { name: name.into(), words, reaps });
        } else {
            eprintln!("{name} is not installed, so it is left out");
        }
    }
    if let Ok(line) = env::var("BENCH_PEER") {
        let words = line.split_whitespace().map(str::to_owned).collect();
        peers.push(Peer { name: "BENCH_PEER".into(), words, reaps: true });
    }
    peers
}
