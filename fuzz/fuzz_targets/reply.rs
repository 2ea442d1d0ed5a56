//! See [`fuzz::control::reply`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::control::reply(data));
