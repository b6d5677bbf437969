//! Data packets, replay, RPC, data tracks, blobs.

use prost::Message as _;
use proto::data_packet::Value;

use super::*;

#[allow(deprecated)]
fn user(text: &str, sequence: u32) -> proto::DataPacket {
    proto::DataPacket {
        sequence,
        participant_identity: "mallory".into(),
        value: Some(Value::User(proto::UserPacket {
            payload: text.into(),
            participant_identity: "mallory".into(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn text(packet: &proto::DataPacket) -> String {
    match &packet.value {
        Some(Value::User(user)) => String::from_utf8(user.payload.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

impl House {
    fn send_packet(&mut self, identity: &str, label: &str, packet: &proto::DataPacket) {
        let payload = Bytes::from(packet.encode_to_vec());
        self.media(
            identity,
            MediaOutput::Data {
                label: label.into(),
                payload,
            },
        );
    }

    fn packets(&mut self, identity: &str, label: &str) -> Vec<proto::DataPacket> {
        self.sent_data(identity, label)
            .into_iter()
            .map(|payload| proto::DataPacket::decode(payload).unwrap())
            .collect()
    }
}

#[test]
#[allow(deprecated)]
fn a_packet_reaches_the_others_with_the_true_sender() {
    let mut house = House::new();
    house.enter("alice");
    house.enter("bob");
    house.send_packet("alice", "_lossy", &user("hi", 0));
    let packets = house.packets("bob", "_lossy");
    let packet = &packets[0];
    assert_eq!(packet.participant_identity, "alice");
    assert_eq!(packet.kind(), proto::data_packet::Kind::Lossy);
    let Some(Value::User(inner)) = &packet.value else {
        panic!()
    };
    assert_eq!(inner.participant_identity, "alice");
    assert_eq!(inner.participant_sid, house.sid("alice"));
    assert!(house.packets("alice", "_lossy").is_empty(), "no echo");
}

#[test]
fn repeated_reliable_packets_are_dropped_and_the_last_is_remembered() {
    let mut house = House::new();
    house.enter("alice");
    house.enter("bob");
    for (word, sequence) in [("a", 1), ("again", 1), ("b", 2)] {
        house.send_packet("alice", "_reliable", &user(word, sequence));
    }
    let packets = house.packets("bob", "_reliable");
    assert_eq!(packets.iter().map(text).collect::<Vec<_>>(), ["a", "b"]);
    assert!(
        packets
            .iter()
            .all(|p| p.participant_sid == house.sid("alice"))
    );
    let again = house.resume("alice");
    let heard = house.heard(again);
    assert!(matches!(&heard[0], Message::Reconnect(r) if r.last_message_seq == 2));
}

#[test]
fn destinations_hidden_senders_and_missing_rights_are_respected() {
    let mut house = House::new();
    house.enter("alice");
    house.enter("bob");
    house.enter("carol");
    let mut packet = user("secret", 0);
    packet.destination_identities = vec!["bob".into()];
    house.send_packet("alice", "_reliable", &packet);
    assert_eq!(house.packets("bob", "_reliable").len(), 1);
    assert!(house.packets("carol", "_reliable").is_empty());
    house.attach("ghost", |a| a.claims.video.as_mut().unwrap().hidden = true);
    house.send_packet("ghost", "_reliable", &user("boo", 0));
    let boo = house.packets("bob", "_reliable").pop().unwrap();
    assert!(boo.participant_identity.is_empty() && boo.participant_sid.is_empty());
    house.attach("mute", |a| {
        a.claims.video.as_mut().unwrap().can_publish_data = Some(false);
    });
    house.send_packet("mute", "_reliable", &user("forbidden", 0));
    assert!(house.packets("bob", "_reliable").is_empty());
}

#[test]
fn only_agents_transcribe_and_they_speak_for_others() {
    let mut house = House::new();
    house.enter("alice");
    house.enter("bob");
    house.attach("agent", |a| a.claims.kind = "agent".into());
    let packet = proto::DataPacket {
        participant_identity: "alice".into(),
        value: Some(Value::Transcription(proto::Transcription::default())),
        ..Default::default()
    };
    house.send_packet("alice", "_reliable", &packet);
    assert!(house.packets("bob", "_reliable").is_empty());
    house.send_packet("agent", "_reliable", &packet);
    assert_eq!(
        house.packets("bob", "_reliable")[0].participant_identity,
        "alice"
    );
}

#[test]
fn reliable_packets_wait_for_a_joiner_within_bounds() {
    let mut house = House::new();
    house.enter("alice");
    house.join("bob");
    house.send_packet("alice", "_reliable", &user("early", 1));
    for sequence in 2..20 {
        house.send_packet("alice", "_reliable", &user(&"x".repeat(10_000), sequence));
    }
    assert!(house.packets("bob", "_reliable").is_empty());
    house.media("bob", MediaOutput::DataReady);
    let packets = house.packets("bob", "_reliable");
    assert_eq!(text(&packets[0]), "early");
    assert!(packets.len() < 12, "bounded");
}

#[test]
fn the_newest_lossy_packets_wait_for_a_joiner_too() {
    let mut house = House::new();
    house.enter("alice");
    house.join("bob");
    for number in 0..40 {
        house.send_packet("alice", "_lossy", &user(&number.to_string(), 0));
    }
    house.media("bob", MediaOutput::DataReady);
    let lossy: Vec<_> = house.packets("bob", "_lossy").iter().map(text).collect();
    let newest: Vec<_> = (8..40).map(|number| number.to_string()).collect();
    assert_eq!(lossy, newest);
}

#[test]
fn lossy_packets_take_no_room_from_reliable_ones() {
    let mut house = House::new();
    house.enter("alice");
    house.join("bob");
    for _ in 0..40 {
        house.send_packet("alice", "_lossy", &user(&"x".repeat(15_000), 0));
    }
    for sequence in 1..7 {
        house.send_packet("alice", "_reliable", &user(&"y".repeat(15_000), sequence));
    }
    house.media("bob", MediaOutput::DataReady);
    assert_eq!(house.packets("bob", "_reliable").len(), 6);
}

#[test]
fn a_resumed_client_gets_again_what_it_missed_of_the_last_two_seconds() {
    let mut house = House::new();
    house.enter("alice");
    let bob = house.enter("bob");
    house.send_packet("alice", "_reliable", &user("old", 1));
    house.wait(3 * S);
    for sequence in 2..5 {
        house.send_packet("alice", "_reliable", &user("new", sequence));
    }
    house.packets("bob", "_reliable");
    house.input(RoomInput::SessionClosed(bob));
    let again = house.resume("bob");
    let state = proto::SyncState {
        datachannel_receive_states: vec![proto::DataChannelReceiveState {
            publisher_sid: house.sid("alice"),
            last_seq: 2,
        }],
        ..Default::default()
    };
    house.signal(again, SignalRequest::SyncState(state));
    let sequences: Vec<_> = house
        .packets("bob", "_reliable")
        .iter()
        .map(|packet| packet.sequence)
        .collect();
    assert_eq!(sequences, [3, 4]);
}

#[test]
fn send_data_has_no_sender_and_a_nonce_counts_once() {
    let mut house = House::new();
    house.enter("alice");
    let request = |data: &str, nonce: &[u8]| {
        RoomCall::SendData(proto::SendDataRequest {
            data: data.into(),
            nonce: nonce.to_vec(),
            ..Default::default()
        })
    };
    house.call(request("once", &[1; 16])).unwrap();
    house.call(request("twice", &[1; 16])).unwrap();
    let refused = house.call(request("x", b"short")).unwrap_err();
    let message = "nonce should be 16-bytes or not present, got: 5 bytes";
    assert_eq!(refused, RoomError::InvalidArgument(message.into()));
    let packets = house.packets("alice", "_reliable");
    assert_eq!(packets.iter().map(text).collect::<Vec<_>>(), ["once"]);
    assert!(packets[0].participant_identity.is_empty());
}

fn rpc(identity: &str) -> RoomCall {
    RoomCall::PerformRpc(proto::PerformRpcRequest {
        destination_identity: identity.into(),
        method: "greet".into(),
        payload: "hi".into(),
        response_timeout_ms: 3000,
        ..Default::default()
    })
}

#[test]
fn an_rpc_of_the_server_is_answered_or_fails_with_its_code() {
    let mut house = House::new();
    house.enter("alice");
    house.join("bob");
    assert!(matches!(
        house.call(rpc("")),
        Err(RoomError::InvalidArgument(_))
    ));
    assert!(matches!(
        house.call(rpc("nobody")),
        Err(RoomError::NotFound(_))
    ));
    let unready = house.call(rpc("bob")).unwrap_err();
    assert_eq!(
        unready,
        RoomError::Internal("data channel is not available".into())
    );

    let start = |house: &mut House| {
        house.input(RoomInput::Call {
            call: CallId(9),
            request: rpc("alice"),
        });
        match house.packets("alice", "_reliable").pop().unwrap().value {
            Some(Value::RpcRequest(request)) => request.id,
            other => panic!("{other:?}"),
        }
    };
    let answer = |id: &str, value| proto::DataPacket {
        value: Some(Value::RpcResponse(proto::RpcResponse {
            request_id: id.into(),
            value: Some(value),
        })),
        ..Default::default()
    };
    let id = start(&mut house);
    let payload = proto::rpc_response::Value::Payload("hello".into());
    house.send_packet("bob", "_reliable", &answer(&id, payload.clone()));
    assert!(house.replies.is_empty(), "only the one asked may answer");
    house.send_packet("alice", "_reliable", &answer(&id, payload));
    assert!(matches!(house.replies.pop(), Some(Ok(RoomReply::Rpc(r))) if r.payload == "hello"));

    let id = start(&mut house);
    let failure = proto::RpcError {
        code: 1500,
        message: "broken".into(),
        data: "d".into(),
    };
    let failure = proto::rpc_response::Value::Error(failure);
    house.send_packet("alice", "_reliable", &answer(&id, failure));
    let expected = RoomError::Internal("RpcError 1500: broken: d".into());
    assert_eq!(house.replies.pop().unwrap().unwrap_err(), expected);

    start(&mut house);
    house.wait(3 * S);
    let expected = RoomError::Canceled("RpcError 1501: Connection timeout".into());
    assert_eq!(house.replies.pop().unwrap().unwrap_err(), expected);
}

fn data_track(pub_handle: u32, name: &str) -> SignalRequest {
    let name = name.to_owned();
    SignalRequest::PublishDataTrackRequest(proto::PublishDataTrackRequest {
        pub_handle,
        name,
        ..Default::default()
    })
}

#[test]
fn a_data_track_is_forwarded_under_the_subscribers_handle() {
    let mut house = House::new();
    let alice = house.enter("alice");
    let bob = house.enter("bob");
    house.heard(alice);
    house.signal(alice, data_track(1, "d"));
    let sid = match &house.heard(alice)[0] {
        Message::PublishDataTrackResponse(response) => response.info.clone().unwrap().sid,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        house.infos(bob, "alice").last().unwrap().data_tracks[0].sid,
        sid
    );
    let updates = vec![proto::update_data_subscription::Update {
        track_sid: sid.clone(),
        subscribe: true,
        options: None,
    }];
    let request = proto::UpdateDataSubscription { updates };
    house.signal(bob, SignalRequest::UpdateDataSubscription(request));
    let Some(Message::DataTrackSubscriberHandles(handles)) = house.heard(bob).pop() else {
        panic!("no handles")
    };
    let (handle, entry) = handles.sub_handles.iter().next().unwrap();
    assert_eq!(
        (entry.track_sid.as_str(), entry.publisher_identity.as_str()),
        (sid.as_str(), "alice")
    );
    let mut packet = vec![0x18, 0, 0, 1];
    packet.extend_from_slice(&[7; 20]);
    let payload = Bytes::from(packet.clone());
    house.media(
        "alice",
        MediaOutput::Data {
            label: "_data_track".into(),
            payload,
        },
    );
    let forwarded = house.sent_data("bob", "_data_track").pop().unwrap();
    packet[2..4].copy_from_slice(&u16::try_from(*handle).unwrap().to_be_bytes());
    assert_eq!(forwarded, packet);
    let request = proto::UnpublishDataTrackRequest { pub_handle: 1 };
    house.signal(alice, SignalRequest::UnpublishDataTrackRequest(request));
    assert!(house.heard(bob).iter().any(|m| matches!(m,
        Message::DataTrackSubscriberHandles(handles) if handles.sub_handles.is_empty())));
}

#[test]
fn data_tracks_that_are_invalid_are_refused() {
    use proto::request_response::Reason;
    let mut house = House::new();
    let alice = house.join("alice");
    house.signal(alice, data_track(1, "one"));
    for (request, reason) in [
        (data_track(0, "x"), Reason::InvalidHandle),
        (data_track(70_000, "x"), Reason::InvalidHandle),
        (data_track(2, ""), Reason::InvalidName),
        (data_track(1, "two"), Reason::DuplicateHandle),
        (data_track(2, "one"), Reason::DuplicateName),
    ] {
        house.signal(alice, request);
        let Some(Message::RequestResponse(response)) = house.heard(alice).pop() else {
            panic!("no response")
        };
        assert_eq!(response.reason(), reason);
    }
}

#[test]
fn blobs_are_stored_read_and_limited() {
    use proto::request_response::Reason;
    let mut house = House::new();
    let alice = house.join("alice");
    let bob = house.join("bob");
    let key = proto::DataBlobKey {
        key: Some(proto::data_blob_key::Key::Generic("k".into())),
    };
    let store = |contents: Vec<u8>| {
        let blob = Some(proto::DataBlob {
            key: Some(key.clone()),
            contents,
        });
        SignalRequest::StoreDataBlobRequest(proto::StoreDataBlobRequest {
            request_id: 4,
            blob,
        })
    };
    house.heard(alice);
    house.signal(alice, store(b"contents".to_vec()));
    assert!(
        matches!(&house.heard(alice)[0], Message::StoreDataBlobResponse(r) if r.request_id == 4)
    );
    let read = |identity: &str| {
        SignalRequest::GetDataBlobRequest(proto::GetDataBlobRequest {
            request_id: 5,
            participant_identity: identity.into(),
            key: Some(key.clone()),
        })
    };
    house.heard(bob);
    house.signal(bob, read("alice"));
    assert!(
        matches!(&house.heard(bob)[0], Message::GetDataBlobResponse(r)
        if r.blob.as_ref().unwrap().contents == b"contents")
    );
    for (request, reason) in [
        (read("nobody"), Reason::NotFound),
        (store(vec![0; 70_000]), Reason::LimitExceeded),
        (store(Vec::new()), Reason::InvalidRequest),
    ] {
        house.signal(bob, request);
        assert!(
            matches!(&house.heard(bob)[0], Message::RequestResponse(r) if r.reason() == reason)
        );
    }
}
