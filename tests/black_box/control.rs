//! Control over the socket: what is asked for, and what is answered.

mod client;

use libtest_mimic::Trial;

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    client::trials()
}
