//! See [`fuzz::http::address`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::http::address(data));
