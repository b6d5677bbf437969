//! The frames of a session: what comes out is what went in, hostile bytes are refused, and the
//! bytes of version 1 never change.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use futures_util::StreamExt;
use protocol::grants::{Claims, VideoGrant};

use super::*;

fn attach() -> Attach {
    Attach {
        asked: Instant::now(),
        session: SessionId(7),
        room: "daily".into(),
        claims: Claims {
            issuer: "devkey".into(),
            identity: "alice".into(),
            exp: 1_760_000_000,
            video: Some(VideoGrant {
                room_join: true,
                room: "daily".into(),
                can_publish: Some(false),
                ..VideoGrant::default()
            }),
            attributes: BTreeMap::from([("a".into(), "b".into())]),
            room_config: Some(serde_json::json!({ "emptyTimeout": 5 })),
            ..Claims::default()
        },
        kind: AttachKind::Resume {
            participant_sid: "PA_1".into(),
            reason: 2,
        },
        client: proto::ClientInfo {
            sdk: proto::client_info::Sdk::Js as i32,
            protocol: 16,
            ..Default::default()
        },
        auto_subscribe: true,
        auto_subscribe_data_track: false,
        adaptive_stream: true,
        subscriber_allow_pause: Some(false),
        disable_ice_lite: false,
        single_peer_connection: true,
        attributes: BTreeMap::from([("k".into(), "v".into())]),
        publisher_offer: Some(proto::SessionDescription {
            sdp: "v=0".into(),
            ..Default::default()
        }),
        add_tracks: vec![proto::AddTrackRequest {
            cid: "c1".into(),
            ..Default::default()
        }],
    }
}

fn split(frame: &[u8]) -> (u8, &[u8]) {
    let length = u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
    assert_eq!(length, frame.len() - HEADER_BYTES);
    (frame[4], &frame[HEADER_BYTES..])
}

#[test]
fn a_rebind_arrives_as_it_was() {
    for missed in [false, true] {
        let original = Attach {
            kind: AttachKind::Rebind {
                participant_sid: "PA_1".into(),
                missed,
            },
            ..attach()
        };
        let hello = ToHome::Hello {
            epoch: Epoch(1),
            attach: Box::new(original.clone()),
        };
        let bytes = hello.encode();
        let (kind, body) = split(&bytes);
        let ToHome::Hello { attach, .. } = ToHome::decode(kind, body, SessionId(1)).unwrap() else {
            panic!("no hello");
        };
        assert_eq!(attach.kind, original.kind);
    }
}

#[test]
fn an_attach_arrives_as_it_was_but_for_its_session() {
    let original = attach();
    let hello = ToHome::Hello {
        epoch: Epoch(42),
        attach: Box::new(original.clone()),
    };
    let bytes = hello.encode();
    let (kind, body) = split(&bytes);
    let ToHome::Hello { epoch, attach } = ToHome::decode(kind, body, SessionId(99)).unwrap() else {
        panic!("no hello");
    };
    assert_eq!(epoch, Epoch(42));
    let expected = Attach {
        asked: attach.asked,
        session: SessionId(99),
        ..original
    };
    assert_eq!(format!("{attach:?}"), format!("{expected:?}"));
}

#[test]
fn every_refusal_arrives_as_it_was() {
    for error in [
        AttachError::RoomNotFound,
        AttachError::ClosedByMedia,
        AttachError::NodeFull,
        AttachError::ShuttingDown,
        AttachError::Invalid("no such preset".into()),
        AttachError::Unreachable("no quorum".into()),
    ] {
        let bytes = ToGateway::Refused(error.clone()).encode();
        let (kind, body) = split(&bytes);
        match ToGateway::decode(kind, body).unwrap() {
            ToGateway::Refused(told) => assert_eq!(told, error),
            other => panic!("{other:?}"),
        }
    }
    let bytes = ToGateway::Refused(AttachError::Elsewhere).encode();
    let (kind, body) = split(&bytes);
    assert!(matches!(
        ToGateway::decode(kind, body),
        Ok(ToGateway::NotHere)
    ));
}

#[test]
fn the_bytes_of_version_1_do_not_change() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let hello = ToHome::Hello {
        epoch: Epoch(42),
        attach: Box::new(attach()),
    };
    let golden = include_str!("hello.golden.hex").trim();
    assert_eq!(hex(&hello.encode()), golden);
    assert_eq!(hex(&ToGateway::Close.encode()), "0000000003");
    assert_eq!(hex(&ToGateway::NotHere.encode()), "0000000005");
    let refused = ToGateway::Refused(AttachError::Invalid("x".into()));
    assert_eq!(
        hex(&refused.encode()),
        "0000000504".to_owned() + "0805120178"
    );
}

#[test]
fn hostile_bodies_are_refused() {
    let session = SessionId(1);
    let newer = [VERSION + 1, 8, 1];
    let decoded = ToHome::decode(kind::HELLO, &newer, session);
    assert!(matches!(decoded, Err(WireError::Version(2))));
    for body in [&[][..], &[VERSION, 0xff, 0xff], &[VERSION], b"\x01\x20\x09"] {
        assert!(
            ToHome::decode(kind::HELLO, body, session).is_err(),
            "{body:?}"
        );
    }
    assert!(ToHome::decode(kind::SIGNAL, &[], session).is_err());
    assert!(ToHome::decode(kind::CLOSE, &[], session).is_err());
    assert!(ToGateway::decode(kind::HELLO, &[]).is_err());
    assert!(ToGateway::decode(77, &[]).is_err());
}

#[tokio::test]
async fn frames_end_cleanly_only_between_frames_and_are_bounded() {
    let close = ToGateway::Close.encode();
    let signal = ToGateway::Signal(Box::default()).encode();
    let whole = [&close[..], &signal[..]].concat();
    let read: Vec<_> = frames(&whole[..]).collect().await;
    assert_eq!(read.len(), 2);
    assert!(read.iter().all(Result::is_ok));
    let torn: Vec<_> = frames(&whole[..7]).collect().await;
    assert!(torn[0].is_ok() && matches!(torn[1], Err(WireError::Io(_))));
    let huge = [0xff, 0xff, 0xff, 0xff, 2];
    let refused: Vec<_> = frames(&huge[..]).collect().await;
    assert!(matches!(refused[..], [Err(WireError::TooLarge(_))]));
}
