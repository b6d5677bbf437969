//! The fuzz entries on pseudo-random and on mutated real input: nothing panics.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::network::{CLIENT, Network, SERVER};
use crate::demux::fuzz_demux;
use crate::transport::stun::fuzz_stun;
use crate::transport::tcp_framing::fuzz_tcp_framing;
use crate::transport::{fuzz_client_hello, fuzz_dcep};

#[test]
fn parsers_take_anything() {
    let mut rng = ChaCha12Rng::seed_from_u64(40);
    for round in 0..20_000 {
        let mut data = vec![0u8; (rng.next_u32() % 300) as usize];
        rng.fill_bytes(&mut data);
        if round % 2 == 0 && data.len() > 20 {
            // Close enough to get past the first checks.
            let head = [0, 1, 0, (data.len() - 20) as u8, 0x21, 0x12, 0xA4, 0x42];
            data[..8].copy_from_slice(&head);
        }
        for fuzz in [
            fuzz_demux,
            fuzz_stun,
            fuzz_dcep,
            fuzz_client_hello,
            fuzz_tcp_framing,
        ] {
            fuzz(&data);
        }
    }
}

/// Real datagrams of a connection with bytes changed, cut and lengthened, at every stage.
#[test]
fn a_transport_takes_mutated_datagrams_of_its_own_connection() {
    let mut recorded = Network::new(41);
    recorded.connect();
    recorded.send_rtp(CLIENT, 1, 1);
    recorded.send_rtcp(CLIENT, 1);
    let script = recorded.hosts[CLIENT].sent.clone();

    let mut rng = ChaCha12Rng::seed_from_u64(42);
    for _ in 0..60 {
        let mut network = Network::new(43);
        network.introduce();
        for (path, datagram) in &script {
            let mut copy = datagram.to_vec();
            for _ in 0..rng.next_u32() % 4 {
                let at = rng.next_u32() as usize % copy.len();
                copy[at] = rng.next_u32() as u8;
            }
            match rng.next_u32() % 8 {
                0 => copy.truncate(rng.next_u32() as usize % copy.len()),
                1 => copy.extend_from_slice(&[0xFF; 9]),
                _ => {}
            }
            network.send(CLIENT, *path, &copy);
            network.run(std::time::Duration::from_millis(12));
        }
        network.run_until(std::time::Duration::from_secs(30), |n| {
            n.hosts[SERVER].transport.selected_path().is_some()
        });
    }
}
