//! Fuzzes `skein_media::hostile::sctp`.
#![no_main]

use std::time::Instant;

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_media::hostile::sctp(Instant::now(), data));
