//! See [`fuzz::proc::mountinfo`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::proc::mountinfo(data));
