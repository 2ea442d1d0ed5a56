//! Control over the socket: what is asked for, and what is answered.

mod client;
mod crowd;
mod held;
mod json;
mod place;
mod requests;
mod status;
mod stranger;
mod waiting;

use libtest_mimic::Trial;

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    [
        client::trials(),
        place::trials(),
        requests::trials(),
        waiting::trials(),
        status::trials(),
        crowd::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
