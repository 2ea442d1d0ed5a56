//! What is fuzzed: everything that reads bytes which others have written.
//!
//! Each target is a function of arbitrary bytes that panics when a promise is broken. The same
//! function runs under `cargo +nightly fuzz run TARGET`, and over every file of its corpus in
//! `cargo test --no-default-features`, on any toolchain. To add one: a function here and its
//! line in [`TARGETS`], a file in `fuzz_targets/` with its `[[bin]]`, and a corpus. Which target
//! is for which file of the program says [`parsers`].

pub mod control;
pub mod envoy;
pub mod http;
pub mod input;
pub mod memory;
pub mod output;
pub mod parsers;
pub mod proc;

/// A target: it panics when a promise is broken.
pub type Target = fn(&[u8]);

/// Every target, by the name of its binary and of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("address", http::address),
    ("arguments", envoy::arguments),
    ("cgroup", proc::cgroup),
    ("check_output", output::check_output),
    ("children", proc::children),
    ("command_line", input::command_line),
    ("http_answer", http::http_answer),
    ("log_line", output::log_line),
    ("maps", envoy::maps),
    ("mountinfo", proc::mountinfo),
    ("pending", envoy::pending),
    ("reply", control::reply),
    ("request", control::request),
    ("script", input::script),
    ("server_info", envoy::server_info),
    ("shared_memory", memory::shared_memory),
    ("sockets", envoy::sockets),
    ("stat", proc::stat),
    ("status", proc::status),
];
