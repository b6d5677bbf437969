//! Fuzzes `skein_media::hostile::sdp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_media::hostile::sdp(data));
