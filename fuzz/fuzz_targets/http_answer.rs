//! See [`fuzz::http_answer`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::http_answer(data));
