//! Every parser of foreign bytes as one function from bytes to nothing, for the fuzz targets in
//! `fuzz/` and their stable twin `tests/hostile_bytes.rs`. A panic or a hang is the only failure.

use std::time::Instant;

use crate::demux;
use crate::negotiate::{
    ClientQuirks, EnabledCodec, Negotiator, NegotiatorConfig, PeerRole, parse_candidate,
};
use crate::relay::frame::Frame;
use crate::rtcp::{self, Packet};
use crate::rtp::RtpHeader;
use crate::rtp::dependency_structure::StructureState;
use crate::rtp::extensions::ExtensionMap;
use crate::rtp::frame::FrameInfo;
use crate::rtp::{red, vp8, vp9};
use crate::transport::{self, stun, tcp_framing::FrameDecoder};
use crate::turn;
use crate::types::{Codec, Extensions, Fingerprint};

const CODECS: [Codec; 7] = [
    Codec::Opus,
    Codec::Red,
    Codec::Vp8,
    Codec::Vp9,
    Codec::H264,
    Codec::H265,
    Codec::Av1,
];

/// First bytes of any datagram: classification and STUN.
pub fn stun(data: &[u8]) {
    demux::fuzz_demux(data);
    stun::fuzz_stun(data);
}

/// A datagram or the beginning of a stream at the TURN ports.
pub fn turn(data: &[u8]) {
    turn::fuzz_turn(data);
}

/// A decrypted RTP packet: header, extensions, every codec's descriptor.
pub fn rtp(data: &[u8]) {
    let Some(header) = RtpHeader::parse(data) else {
        return;
    };
    let mut map = ExtensionMap::default();
    map.merge(&Extensions {
        mid: Some(1),
        rid: Some(2),
        repaired_rid: Some(3),
        audio_level: Some(4),
        transport_cc: Some(5),
        abs_send_time: Some(6),
        abs_capture_time: Some(7),
        playout_delay: Some(8),
        dependency_descriptor: Some(9),
        frame_marking: Some(10),
        video_orientation: Some(11),
    });
    let extensions = map.read(&header, data);
    let payload = header.payload.of(data);
    let descriptor = extensions.dependency_descriptor.of(data);
    for codec in CODECS {
        let described = StructureState::default().read(descriptor);
        FrameInfo::parse(codec, payload, descriptor, described);
    }
    if let Some(red) = red::Red::parse(payload) {
        red.blocks().for_each(|block| {
            block.payload.of(payload);
        });
    }
    red::renumber(&mut payload.to_vec(), 96);
    vp9::Vp9Descriptor::parse(payload);
    if let Some(parsed) = vp8::Vp8Descriptor::parse(payload) {
        parsed.rewrite(&mut payload.to_vec(), 1, 2, 3);
    }
}

/// A decrypted compound RTCP packet, with every list inside it walked.
pub fn rtcp(data: &[u8]) {
    for packet in rtcp::packets(data) {
        match packet {
            Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } => {
                blocks.iter().count();
            }
            Packet::Bye { ssrcs } => {
                ssrcs.iter().count();
            }
            Packet::Nack { pairs, .. } => {
                pairs.nacked().count();
            }
            Packet::FullIntraRequest { entries } => {
                rtcp::fir_targets(entries).count();
            }
            Packet::PictureLoss { .. } | Packet::Remb { .. } | Packet::TransportFeedback { .. } => {
            }
        }
    }
}

/// Packets of a peer inside the encryption, to a standing SCTP association.
pub fn sctp(now: Instant, data: &[u8]) {
    transport::fuzz_sctp(now, data);
}

/// Datagrams of a stranger, to the DTLS end of a transport.
pub fn dtls(now: Instant, data: &[u8]) {
    transport::fuzz_dtls(now, data);
}

/// A frame of another shard or node, and the RTP packet it may carry.
pub fn relay(data: &[u8]) {
    match Frame::parse(data) {
        Some(Frame::Media(_, packet)) => rtp(packet),
        Some(Frame::Nack { numbers, .. }) => {
            numbers.iter().count();
        }
        _ => {}
    }
}

/// Bytes of an ICE-TCP connection, in two reads.
pub fn tcp_framing(data: &[u8]) {
    let mut decoder = FrameDecoder::new();
    let (first, second) = data.split_at(data.len() / 2);
    for read in [first, second] {
        decoder.push(read);
        while let Ok(Some(_)) = decoder.next_frame() {}
    }
}

/// A client's offer in both kinds of connection, and the same text as an answer and a candidate.
pub fn sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for role in [PeerRole::Publisher, PeerRole::Single, PeerRole::Subscriber] {
        let mut negotiator = Negotiator::new(config(role));
        if role == PeerRole::Subscriber {
            let _ = negotiator.create_offer(false);
            let _ = negotiator.accept_answer(&text);
        } else if negotiator.accept_offer(&text).is_ok() {
            let _ = negotiator.create_answer();
        }
    }
    let _ = parse_candidate(&text);
}

fn config(role: PeerRole) -> NegotiatorConfig {
    NegotiatorConfig {
        role,
        publish_codecs: CODECS.map(EnabledCodec::from).to_vec(),
        subscribe_codecs: CODECS.map(EnabledCodec::from).to_vec(),
        retransmission: true,
        send_side_bandwidth: false,
        playout_delay: true,
        fingerprint: Fingerprint {
            algorithm: "sha-256".to_string(),
            digest: vec![0xab; 32],
        },
        candidates: Vec::new(),
        quirks: ClientQuirks::default(),
        ufrag_prefix: None,
        seed: [7; 32],
    }
}
