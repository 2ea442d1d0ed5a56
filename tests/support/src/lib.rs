//! What the tests and the benchmark share: the binaries under test, and waiting for conditions.

pub mod container;
pub mod control;
pub mod descriptor;
pub mod docker;
pub mod envoy;
pub mod inherit;
pub mod journal;
pub mod load;
pub mod manager;
pub mod namespace;
pub mod podman;
pub mod processes;
pub mod scene;
pub mod server;
pub mod terminal;
pub mod trial;

use std::env;
use std::fmt::Debug;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything that will happen may take on a machine that is busy with other things.
pub const BOUND: Duration = Duration::from_secs(30);

/// The machine that the static binaries are built for.
const TRIPLE: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-musl"
} else {
    "x86_64-unknown-linux-musl"
};

/// The restarter under test: our release binary, or what `RESTARTER_UNDER_TEST` names.
pub fn restarter() -> PathBuf {
    env::var_os("RESTARTER_UNDER_TEST").map_or_else(|| built("hot-restarter"), PathBuf::from)
}

/// The child that tells what it was given and which signals it gets.
pub fn probe() -> PathBuf {
    built("probe")
}

/// The top of the project.
pub fn project() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tests/support is two folders down").to_owned()
}

fn built(name: &str) -> PathBuf {
    let path = project().join("target").join(TRIPLE).join("release").join(name);
    assert!(path.exists(), "{} is missing; `make build` makes it", path.display());
    path
}

/// Waits until something is so, and returns it; where it is not within [`BOUND`], fails with
/// what was seen last.
pub fn eventually<T, S: Debug>(what: &str, mut look: impl FnMut() -> Result<T, S>) -> T {
    let since = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if since.elapsed() > BOUND => {
                panic!("not within {BOUND:?}: {what}; seen last: {seen:#?}")
            }
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}
