//! `hot-restarter`: PID 1 for a server that can hand over its sockets.
//!
//! What the README promises is the contract that comments and tests speak of. The map of the
//! house, from the inside out:
//!
//! - [`supervisor`]: the core. Every rule of the contract, as a state machine that makes no
//!   system call. Start here.
//! - [`driver`]: the shell around it. One thread, one wait: what the kernel says becomes events,
//!   and the core's actions are performed.
//! - [`signal`] and [`exit`]: the words that both share: what each signal means, what each exit
//!   code says.
//! - [`program`]: how epochs, checks and probes are started. [`envoy`]: how an epoch is found
//!   ready, and what a failed one leaves behind. [`http`]: questions over HTTP. [`watch`]: files
//!   that change.
//! - [`control`]: the socket at which a running restarter is asked for something, and `--send`, the
//!   client that asks.
//! - [`procfs`], [`memory`], [`terminal`], [`log`], [`termination`], [`notify`]: one thing each that
//!   the shell needs.
//! - [`sys`]: the kernel's interface, and all of the `unsafe` but that of `main` itself.
//! - [`cli`]: from arguments and environment to a checked configuration.

#![deny(unsafe_code)]

pub mod cli;
pub mod control;
pub mod driver;
pub mod envoy;
pub mod exit;
pub mod http;
pub mod log;
pub mod memory;
pub mod notify;
pub mod procfs;
pub mod program;
pub mod signal;
pub mod supervisor;
pub mod sys;
pub mod terminal;
pub mod termination;
pub mod watch;
