//! Everything the packet plane is told and tells survives the way to another node, in that node's
//! room; golden bytes hold the format.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use consensus::ids::NodeId;
use media::event::{TransportState, TransportStats};
use media::relay::frame::RelayId;
use media::types::*;
use media::{Command, DownTrackKey, Event, LinkKey, RoomKey, TrackKey, TransportKey};

use super::commands::{self, Here};
use super::*;
use crate::cluster::relay::places::{Place, Places};
use crate::participant::KeySpace;

/// The room's number at its home.
const THERE: u32 = 5;
const HERE: Here = Here {
    number: (1 << 23) + 1,
    shard: 1,
};

fn key(number: u32, at: u64) -> u64 {
    KeySpace::new(number, 7).allocator().transport().0 + at
}

fn credentials() -> IceCredentials {
    IceCredentials {
        ufrag: "1abc".into(),
        pwd: "secret".into(),
    }
}

fn payload_type() -> PayloadType {
    PayloadType {
        codec: Codec::Vp8,
        pt: 96,
        rtx_pt: Some(97),
        fmtp: "x=1".into(),
        nack: true,
    }
}

fn extensions() -> Extensions {
    Extensions {
        mid: Some(1),
        audio_level: Some(4),
        video_orientation: Some(14),
        ..Extensions::default()
    }
}

fn config() -> TrackConfig {
    TrackConfig {
        kind: MediaKind::Video,
        layer_mode: LayerMode::OneStream,
        rids: vec!["q".into(), "h".into()],
        encrypted: true,
        screen_share: true,
        build_red: true,
    }
}

fn candidate() -> RemoteCandidate {
    RemoteCandidate {
        protocol: Protocol::Tcp,
        address: "[2001:db8::1]:9".parse().unwrap(),
        priority: 77,
    }
}

/// What a room may say, in the room with that number; `link` as the speaker numbers it.
fn commands(number: u32, room: RoomKey, link: LinkKey) -> Vec<Command> {
    let transport = TransportKey(key(number, 0));
    let track = TrackKey(key(number, 1));
    let down_track = DownTrackKey(key(number, 2));
    let limit = LayerLimit {
        max_spatial: 1,
        max_temporal: 2,
    };
    let relay = RelayId(1 << 40 | 3);
    let section = ReceiveSection {
        mid: "0".into(),
        kind: MediaKind::Video,
        payload_types: [payload_type()].into(),
        extensions: extensions(),
        rids: vec!["q".into()],
        ssrcs: vec![SsrcInfo {
            ssrc: 9,
            repairs: Some(8),
            layer: Some(0),
        }],
        track: Some(track),
    };
    let unclaimed = ReceiveSection {
        kind: MediaKind::Audio,
        track: None,
        ..section.clone()
    };
    vec![
        Command::AddTransport {
            transport,
            room,
            local: credentials(),
            spare: false,
        },
        Command::SetRemote {
            transport,
            remote: RemoteTransport {
                ice: credentials(),
                fingerprint: Fingerprint {
                    algorithm: "sha-256".into(),
                    digest: vec![1, 2],
                },
                role: DtlsRole::Client,
                sctp: Some(SctpParameters {
                    port: 5000,
                    max_message_size_bytes: 3,
                }),
                candidates: vec![candidate()],
            },
        },
        Command::AddRemoteCandidate {
            transport,
            candidate: candidate(),
        },
        Command::RestartIce {
            transport,
            local: credentials(),
        },
        Command::OpenChannel {
            transport,
            label: "_lossy".into(),
            reliability: Reliability::Lossy,
        },
        Command::SendData {
            transport,
            label: "_reliable".into(),
            payload: Bytes::from_static(b"data"),
            binary: true,
        },
        Command::SetReceive {
            transport,
            sections: vec![section, unclaimed],
        },
        Command::AddTrack {
            track,
            room,
            transport,
            config: config(),
        },
        Command::SetTrackMuted { track, muted: true },
        Command::AddDownTrack {
            down_track,
            track,
            transport,
            section: SendSection {
                mid: "3".into(),
                ssrc: 1,
                rtx_ssrc: Some(2),
                payload_types: [payload_type()].into(),
                extensions: extensions(),
            },
            limit,
            paused: true,
        },
        Command::UpdateDownTrack {
            down_track,
            limit,
            paused: true,
        },
        Command::SwitchDownTrack { down_track, track },
        Command::SetPriority {
            down_track,
            priority: 9,
        },
        Command::SetBandwidthPolicy {
            transport,
            policy: BandwidthPolicy {
                enabled: true,
                may_pause: true,
                fixed_bps: Some(4),
            },
        },
        Command::SetPlayoutDelay {
            transport,
            bounds: PlayoutDelay {
                min_ms: 1,
                max_ms: 2,
            },
        },
        Command::RemoveDownTrack { down_track },
        Command::RequestKeyFrame { track },
        Command::RelayTrack { track, link, relay },
        Command::StopRelay { track, link },
        Command::AddRelayedTrack {
            track,
            room,
            link,
            relay,
            config: config(),
            payload_types: vec![payload_type()],
        },
        Command::SetRelayedPayloadTypes {
            track,
            payload_types: vec![payload_type()],
        },
        Command::RemoveTrack { track },
        Command::CloseTransport { transport },
    ]
}

#[test]
fn commands_arrive_as_they_were_said_in_the_room_of_the_reader() {
    let (home, guest) = (Places::new(NodeId(1)), Places::new(NodeId(2)));
    // Numbered otherwise on either side.
    let third = |places: &Places, first| {
        let place = |node, shard| Place {
            node: NodeId(node),
            shard,
        };
        places.index(place(first, 0)).unwrap();
        places.link(place(3, 4)).unwrap()
    };
    let (link_there, link_here) = (third(&home, 2), third(&guest, 9));
    guest.index(Place {
        node: NodeId(8),
        shard: 0,
    });
    let room = KeySpace::room_on(KeySpace::new(THERE, 0).room, 33);
    let said = commands(THERE, room, link_there);
    let expected = commands(HERE.number, HERE.room(), link_here);
    for (said, expected) in said.into_iter().zip(expected) {
        let name = format!("{said:?}");
        let told = commands::write(said, &home).unwrap_or_else(|| panic!("{name}"));
        let frame = ToGuest::Told(Box::new(told)).encode();
        let ToGuest::Told(told) = ToGuest::decode(frame[4], frame.slice(5..)).unwrap() else {
            panic!("{name}");
        };
        let read = told.read(HERE, &guest);
        assert_eq!(format!("{:?}", read.unwrap()), format!("{expected:?}"));
    }
}

fn events(number: u32, room: RoomKey) -> Vec<Event> {
    let transport = TransportKey(key(number, 0));
    let track = TrackKey(key(number, 1));
    let down_track = DownTrackKey(key(number, 2));
    let label = || "_reliable".to_owned();
    vec![
        Event::Transport {
            transport,
            state: TransportState::Failed,
        },
        Event::PathSelected {
            transport,
            path: Path {
                protocol: Protocol::Udp,
                local: "192.0.2.1:1".parse().unwrap(),
                remote: "192.0.2.2:2".parse().unwrap(),
            },
        },
        Event::ChannelOpen {
            transport,
            label: label(),
        },
        Event::ChannelClosed {
            transport,
            label: label(),
        },
        Event::Data {
            transport,
            label: label(),
            payload: Bytes::from_static(b"x"),
            binary: true,
        },
        Event::TrackStarted {
            track,
            codec: Codec::Av1,
            layer: 0,
            ssrc: 7,
        },
        Event::LayerActive {
            track,
            layer: 2,
            active: true,
        },
        Event::LayerSelected {
            down_track,
            spatial: Some(0),
            temporal: 3,
        },
        Event::LayerSelected {
            down_track,
            spatial: None,
            temporal: 0,
        },
        Event::StreamPaused {
            down_track,
            paused: true,
        },
        Event::Speakers {
            room,
            levels: vec![(track, 0.5)],
        },
        Event::Stats {
            transport,
            stats: TransportStats {
                packets_in: 1,
                firs_in: 2,
                loss_out: 0.25,
                jitter_in: Duration::from_micros(1_500),
                rtt: Some(Duration::from_micros(700)),
                score: Some(90.0),
                estimate_bps: Some(1 << 40),
                ..TransportStats::default()
            },
        },
    ]
}

#[test]
fn facts_arrive_as_they_were_said_in_the_room_of_the_reader() {
    let part = KeySpace::room_on(KeySpace::new(THERE, 0).room, 77);
    for (said, expected) in events(HERE.number, HERE.room())
        .into_iter()
        .zip(events(THERE, part))
    {
        let frame = encode_fact(&events::write(said).unwrap());
        let fact = decode_fact(frame[4], frame.slice(5..)).unwrap().unwrap();
        let read = fact.read(THERE, part).unwrap();
        assert_eq!(format!("{read:?}"), format!("{expected:?}"));
    }
}

#[test]
fn what_a_newer_node_says_is_passed_over_and_what_is_broken_refused() {
    let unknown = ToGuest::decode(200, Bytes::from_static(b"anything")).unwrap();
    assert_eq!(unknown, ToGuest::Unknown);
    // A kind of command that this version has not.
    let told = [0x08, 0x7f];
    let Ok(ToGuest::Told(told)) = ToGuest::decode(2, Bytes::copy_from_slice(&told)) else {
        panic!("a message");
    };
    assert!(told.read(HERE, &Places::new(NodeId(1))).is_none());
    assert!(ToGuest::decode(2, Bytes::from_static(&[0xff])).is_err());
    // A key with a room's number in it would reach into another room.
    let foreign = Told::decode(&[0x08, 5, 0x10, 0x81, 0x80, 0x80, 0x80, 0x80, 0x20][..]);
    let read = foreign.unwrap().read(HERE, &Places::new(NodeId(1)));
    assert!(read.is_none(), "{read:?}");
    let newer = Hello {
        version: VERSION + 1,
        ..Hello::default()
    };
    let frame = ToGuest::Hello(newer).encode();
    assert!(ToGuest::decode(frame[4], frame.slice(5..)).is_err());
}

#[test]
fn the_bytes_nodes_exchange_do_not_change() {
    let hello = ToGuest::Hello(Hello {
        version: VERSION,
        room: "r".into(),
        epoch: 7,
        shard: 1,
    });
    let golden = [0, 0, 0, 9, 1, 8, 1, 18, 1, b'r', 24, 7, 32, 1];
    assert_eq!(hello.encode()[..], golden);
    let close = Command::CloseTransport {
        transport: TransportKey(key(THERE, 0)),
    };
    let told = commands::write(close, &Places::new(NodeId(1))).unwrap();
    let golden = [0, 0, 0, 7, 2, 8, 5, 16, 0x81, 0x80, 0x80, 0x38];
    assert_eq!(ToGuest::Told(Box::new(told)).encode()[..], golden);
}
