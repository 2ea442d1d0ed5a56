//! See [`fuzz::sockets`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::sockets(data));
