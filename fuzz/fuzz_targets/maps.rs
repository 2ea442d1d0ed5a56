//! See [`fuzz::envoy::maps`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::envoy::maps(data));
