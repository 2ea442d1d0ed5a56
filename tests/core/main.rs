//! The core, without a process.
//!
//! - [`kernel`]: fake processes and a fake clock. [`world`]: the core in its loop over them.
//! - [`ledger`]: the contract, written a second time as a judge of every single action.
//! - [`rules`]: the contract's sentences, each with its test.
//! - [`table`]: what the core does in each state upon each event, as a page to read.
//! - [`explore`]: every sequence of events up to a depth.
//! - [`simulate`]: long random lives, each from a number that replays it.
//! - [`controls`]: proof that the judge can find a core guilty.

mod controls;
mod explore;
mod kernel;
mod ledger;
mod rules;
mod simulate;
mod story;
mod table;
mod words;
mod world;
