//! See [`fuzz::server_info`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::server_info(data));
