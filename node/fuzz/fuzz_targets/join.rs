//! Fuzzes `skein_node::signal::hostile::join`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_node::signal::hostile::join(data));
