//! See [`fuzz::output::check_output`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::output::check_output(data));
