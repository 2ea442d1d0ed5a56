//! See [`fuzz::input::script`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::input::script(data));
