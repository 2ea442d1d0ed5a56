//! Control without a shell: the socket that `--send` speaks to.
//!
//! [`wire`] is what passes over it, [`client`] is `--send`.

pub mod client;
pub mod wire;
