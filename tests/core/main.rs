//! The core, without a process.
