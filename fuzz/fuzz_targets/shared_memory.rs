//! See [`fuzz::memory::shared_memory`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::memory::shared_memory(data));
