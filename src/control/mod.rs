//! Control without a shell: a socket that the restarter listens to, and `--send`.
//!
//! [`wire`] is what passes over it, [`socket`] where it is, [`client`] is `--send`: it has
//! [`render`] for what it prints, and [`progress`] for the line that shows how far it is.

pub mod client;
mod progress;
mod render;
pub mod socket;
pub mod wire;
