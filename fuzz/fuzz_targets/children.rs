//! See [`fuzz::proc::children`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::proc::children(data));
