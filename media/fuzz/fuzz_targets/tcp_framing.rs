//! Fuzzes `skein_media::hostile::tcp_framing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_media::hostile::tcp_framing(data));
