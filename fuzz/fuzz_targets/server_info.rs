//! See [`fuzz::envoy::server_info`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::envoy::server_info(data));
