//! The socket that clients connect to.

use std::path::PathBuf;

use nix::unistd;

/// Where it is unless somebody says otherwise, in the order in which the places are tried: the
/// second is for who is not root, or has a root file system that is read-only.
pub fn usual_places() -> [PathBuf; 2] {
    let own = format!("/dev/shm/hot-restarter-{}.sock", unistd::geteuid());
    ["/run/hot-restarter.sock".into(), own.into()]
}
