//! See [`fuzz::shared_memory`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::shared_memory(data));
