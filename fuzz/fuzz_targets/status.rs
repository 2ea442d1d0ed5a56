//! See [`fuzz::proc::status`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::proc::status(data));
