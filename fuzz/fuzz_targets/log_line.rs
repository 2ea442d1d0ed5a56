//! See [`fuzz::output::log_line`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::output::log_line(data));
