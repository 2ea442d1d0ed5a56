//! See [`fuzz::control::request`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::control::request(data));
