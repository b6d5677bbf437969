//! Fuzzes `skein_media::hostile::relay`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_media::hostile::relay(data));
