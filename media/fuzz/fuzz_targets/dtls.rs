//! Fuzzes `skein_media::hostile::dtls`.
#![no_main]

use std::time::Instant;

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_media::hostile::dtls(Instant::now(), data));
