//! See [`fuzz::children`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::children(data));
