//! What one participant may make the room do to everybody else.

use proto::request_response::Reason;

use super::*;
use crate::room::limits::DATA_SUBSCRIPTIONS_MAX;

impl House {
    fn answer(&mut self, session: SessionId, request: SignalRequest) -> Option<Reason> {
        self.heard(session);
        self.signal(session, request);
        self.heard(session)
            .into_iter()
            .find_map(|message| match message {
                Message::RequestResponse(response) => Some(response.reason()),
                _ => None,
            })
    }

    fn handles(&mut self, session: SessionId) -> Option<usize> {
        let told = self.heard(session).into_iter().rev();
        told.into_iter().find_map(|message| match message {
            Message::DataTrackSubscriberHandles(handles) => Some(handles.sub_handles.len()),
            _ => None,
        })
    }
}

fn data_track(pub_handle: u32) -> proto::PublishDataTrackRequest {
    proto::PublishDataTrackRequest {
        pub_handle,
        name: format!("track {pub_handle}"),
        ..Default::default()
    }
}

#[test]
fn schemas_and_encodings_of_data_tracks_are_short() {
    use proto::data_track_frame_encoding::Value as Frames;
    let mut house = House::new();
    let alice = house.enter("alice");
    let mut long = data_track(1);
    long.schema = Some(proto::DataTrackSchemaId {
        name: "x".repeat(257),
        encoding: None,
    });
    let refused = house.answer(alice, SignalRequest::PublishDataTrackRequest(long));
    assert_eq!(refused, Some(Reason::InvalidRequest));
    let mut custom = data_track(1);
    custom.frame_encoding = Some(proto::DataTrackFrameEncoding {
        value: Some(Frames::Custom("x".repeat(33))),
    });
    let refused = house.answer(alice, SignalRequest::PublishDataTrackRequest(custom));
    assert_eq!(refused, Some(Reason::InvalidRequest));
    assert!(house.member("alice").info.data_tracks.is_empty());
}

#[test]
fn nobody_gets_more_data_tracks_than_there_are_handles() {
    let mut house = House::new();
    let listener = house.attach("listener", |a| a.auto_subscribe_data_track = true);
    for publisher in 0..5 {
        let session = house.enter(&format!("publisher {publisher}"));
        for handle in 1..=256 {
            let request = SignalRequest::PublishDataTrackRequest(data_track(handle));
            house.signal(session, request);
        }
    }
    assert_eq!(house.handles(listener), Some(DATA_SUBSCRIPTIONS_MAX));
}

#[test]
fn a_data_track_can_be_refused_although_all_are_subscribed() {
    let mut house = House::new();
    let alice = house.enter("alice");
    let bob = house.attach("bob", |a| a.auto_subscribe_data_track = true);
    let request = SignalRequest::PublishDataTrackRequest(data_track(1));
    house.signal(alice, request);
    assert_eq!(house.handles(bob), Some(1));
    let track_sid = house.member("alice").info.data_tracks[0].sid.clone();
    let updates = vec![proto::update_data_subscription::Update {
        track_sid,
        subscribe: false,
        options: None,
    }];
    let request = proto::UpdateDataSubscription { updates };
    house.signal(bob, SignalRequest::UpdateDataSubscription(request));
    assert_eq!(house.handles(bob), Some(0), "told that none is left");
}

#[test]
fn a_subscription_is_looked_at_once_for_each_track() {
    let mut house = House::new();
    let alice = house.enter("alice");
    let mut track_sids = vec![String::new(); 1000];
    track_sids.extend(vec!["TR_x".to_owned(); 1000]);
    track_sids.push("x".repeat(10_000));
    house.script("alice").lock().unwrap().heard.clear();
    let request = proto::UpdateSubscription {
        track_sids,
        subscribe: true,
        ..Default::default()
    };
    house.signal(alice, SignalRequest::Subscription(request));
    let script = house.script("alice");
    let heard = &script.lock().unwrap().heard;
    let wishes = heard
        .iter()
        .filter(|input| matches!(input, MediaInput::Subscribe { .. }));
    assert_eq!(wishes.count(), 1);
}

#[test]
fn sources_nobody_knows_allow_nothing() {
    let mut house = House::new();
    house.attach("alice", |a| {
        let video = a.claims.video.as_mut().unwrap();
        video.can_publish_sources = vec!["camra".into()];
    });
    let permission = house.member("alice").permission().clone();
    assert_eq!(permission.can_publish_sources, [0]);
}

#[test]
fn a_token_that_fits_no_url_is_sent_without_metadata_which_the_room_keeps() {
    let mut house = House::new();
    let metadata = "m".repeat(100_000);
    let alice = house.attach("alice", |a| a.claims.metadata.clone_from(&metadata));
    let token = house
        .heard(alice)
        .into_iter()
        .find_map(|message| match message {
            Message::RefreshToken(token) => Some(token),
            _ => None,
        });
    assert!(token.unwrap().len() < 60_000);
    house.join("alice");
    assert_eq!(house.member("alice").info.metadata, metadata);
}

#[test]
fn a_hidden_participant_does_not_come_back_with_the_batch() {
    let mut house = House::new();
    house.enter("alice");
    let bob = house.enter("bob");
    house.wait(10 * S);
    house.enter("carol");
    house.heard(bob);
    let mut permission = house.member("carol").permission().clone();
    permission.hidden = true;
    let request = proto::UpdateParticipantRequest {
        identity: "carol".into(),
        permission: Some(permission),
        ..Default::default()
    };
    house.call(RoomCall::UpdateParticipant(request)).unwrap();
    house.wait(10 * S);
    let states: Vec<_> = house
        .infos(bob, "carol")
        .iter()
        .map(|i| i.state())
        .collect();
    assert_eq!(states, [State::Disconnected]);
}

#[test]
#[allow(deprecated)]
fn a_room_left_with_only_recorders_ends_even_if_they_became_so_late() {
    let mut house = House::new();
    house.enter("alice");
    let mut permission = house.member("alice").permission().clone();
    permission.recorder = true;
    let request = proto::UpdateParticipantRequest {
        identity: "alice".into(),
        permission: Some(permission),
        ..Default::default()
    };
    house.call(RoomCall::UpdateParticipant(request)).unwrap();
    house.wait(60 * S);
    assert!(house.ended);
}

#[test]
fn who_left_while_a_dead_websocket_looked_alive_is_told_after_a_resume() {
    let mut house = House::new();
    house.enter("alice");
    house.enter("bob");
    house.input(RoomInput::Call {
        call: CallId(1),
        request: RoomCall::RemoveParticipant {
            identity: "bob".into(),
        },
    });
    house.wait(20 * S);
    let again = house.resume("alice");
    let told = house.infos(again, "bob");
    assert_eq!(
        told.first().map(|info| info.state()),
        Some(State::Disconnected)
    );
}

#[test]
fn a_one_shot_session_lives_through_the_grace_after_its_transport_failed() {
    let mut house = House::new();
    let whip = house.attach("encoder", |a| a.kind = AttachKind::OneShot);
    house.media("encoder", MediaOutput::Connected);
    house.media("encoder", MediaOutput::TransportFailed { lived: None });
    assert!(!house.is_closed(whip));
    house.wait(6 * S);
    assert!(house.is_closed(whip));
}

#[test]
fn a_second_session_of_an_identity_keeps_its_agent() {
    let mut house = House::new();
    house.enter("alice");
    let launched = house.launched.len();
    house.enter("alice");
    assert_eq!(house.launched.len(), launched);
}

#[test]
fn the_room_is_over_before_whoever_deleted_it_hears_so() {
    let mut house = House::new();
    house.room.handle(
        house.now,
        RoomInput::Call {
            call: CallId(1),
            request: RoomCall::Delete,
        },
    );
    let mut last = None;
    while let Some(output) = house.room.poll() {
        last = Some(output);
    }
    assert!(matches!(last, Some(RoomOutput::Reply { .. })));
}

#[test]
fn the_time_of_day_follows_the_clock_when_it_is_set() {
    let mut house = House::new();
    let wall = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    house.room.set_clock(house.now, wall);
    house.enter("alice");
    assert_eq!(house.member("alice").info.joined_at, 1_800_000_000);
}

#[test]
fn a_room_without_a_name_is_refused() {
    let request = proto::CreateRoomRequest::default();
    let refused = RoomOptions::from_request(&request, &RoomsConfig::default());
    assert!(matches!(refused, Err(RoomError::InvalidArgument(_))));
}

#[test]
fn whoever_may_use_tcp_only_gets_something_where_there_is_no_tcp() {
    let mut house = House::new();
    let tcp = Some(ice_preference::IcePreference::Tcp);
    house.room.ice_preferences.set(house.now, "alice", tcp);
    let udp: Arc<[LocalCandidate]> = both_protocols()
        .iter()
        .filter(|candidate| candidate.protocol == Protocol::Udp)
        .cloned()
        .collect();
    let only_udp = udp.clone();
    let services = Services {
        config: house.room.services.config.clone(),
        shards: Arc::new(Endpoint {
            candidates: only_udp,
            fingerprint: Fingerprint {
                algorithm: "sha-256".into(),
                digest: vec![0; 32],
            },
            ufrag_prefix: 'a',
            spare: None,
        }),
        relay_ids: Default::default(),
        media: house.room.services.media.clone(),
        keys: house.room.services.keys.clone(),
    };
    house.room.services = Arc::new(services);
    house.enter("alice");
    let script = house.script("alice");
    assert_eq!(script.lock().unwrap().candidates, udp);
}

#[test]
fn an_rpc_answered_with_compression_is_an_error() {
    use prost::Message as _;
    use proto::data_packet::Value;
    let mut house = House::new();
    house.enter("alice");
    house.input(RoomInput::Call {
        call: CallId(9),
        request: RoomCall::PerformRpc(proto::PerformRpcRequest {
            destination_identity: "alice".into(),
            ..Default::default()
        }),
    });
    let asked = house.sent_data("alice", "_reliable").pop().unwrap();
    let asked = proto::DataPacket::decode(asked).unwrap();
    let Some(Value::RpcRequest(request)) = asked.value else {
        panic!("no request")
    };
    let answer = proto::DataPacket {
        value: Some(Value::RpcResponse(proto::RpcResponse {
            request_id: request.id,
            value: Some(proto::rpc_response::Value::CompressedPayload(vec![1])),
        })),
        ..Default::default()
    };
    house.media(
        "alice",
        MediaOutput::Data {
            label: "_reliable".into(),
            payload: Bytes::from(answer.encode_to_vec()),
        },
    );
    assert!(matches!(house.replies.pop(), Some(Err(_))));
}
