//! Fuzzes `skein_node::signal::hostile::signal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_node::signal::hostile::signal(data));
