//! See [`fuzz::input::command_line`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::input::command_line(data));
