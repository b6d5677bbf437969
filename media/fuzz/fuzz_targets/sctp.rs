//! Fuzzes `skein_media::hostile::sctp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_media::hostile::sctp(data));
