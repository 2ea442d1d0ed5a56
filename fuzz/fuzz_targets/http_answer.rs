//! See [`fuzz::http::http_answer`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::http::http_answer(data));
