//! See [`fuzz::proc::stat`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::proc::stat(data));
