//! See [`fuzz::status`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::status(data));
