//! See [`fuzz::maps`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::maps(data));
