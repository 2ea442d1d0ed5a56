//! Control without a shell: a socket that the restarter listens to, and `--send`.
//!
//! [`wire`] is what passes over it, [`socket`] where it is, [`server`] who is connected to it,
//! [`status`] how things stand, and [`client`] is `--send`, which prints by [`render`], and by
//! `progress` while it waits.

pub mod client;
mod progress;
pub mod render;
pub mod server;
pub mod socket;
pub mod status;
pub mod wire;
