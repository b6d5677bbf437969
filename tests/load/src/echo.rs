//! What a datagram's way to the server's core and back costs without a server: a plain UDP echo
//! there, a client here. Its latency is what the machine adds to everybody's.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::monotonic_ns;
use crate::statistics::spread_ms;

const DATAGRAM_BYTES: usize = 1_216;
const PINGS: usize = 1_000;
const INTERVAL: Duration = Duration::from_millis(2);

/// p50, p99, p99.9 in milliseconds.
pub(crate) fn spread(core: usize) -> io::Result<[f64; 3]> {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = server.local_addr()?;
    server.set_read_timeout(Some(Duration::from_millis(100)))?;
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let echo = std::thread::spawn(move || {
        pin(core);
        let mut buffer = [0_u8; 2_048];
        while !stop.load(Ordering::Relaxed) {
            if let Ok((length, from)) = server.recv_from(&mut buffer) {
                let _ = server.send_to(&buffer[..length], from);
            }
        }
    });
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    client.connect(address)?;
    client.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut samples = Vec::with_capacity(PINGS);
    let mut buffer = [0_u8; DATAGRAM_BYTES];
    for _ in 0..PINGS {
        let sent = monotonic_ns();
        client.send(&buffer)?;
        if client.recv(&mut buffer).is_ok() {
            let micros = (monotonic_ns() - sent) / 1_000;
            samples.push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
        std::thread::sleep(INTERVAL);
    }
    done.store(true, Ordering::Relaxed);
    let _ = echo.join();
    spread_ms(&samples).ok_or_else(|| io::Error::other("the echo never answered"))
}

/// Keeps the calling thread on one core, if there is such a core.
pub(crate) fn pin(core: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
}
