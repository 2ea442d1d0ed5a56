//! See [`fuzz::envoy::pending`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::envoy::pending(data));
