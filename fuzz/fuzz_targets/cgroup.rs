//! See [`fuzz::proc::cgroup`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::proc::cgroup(data));
