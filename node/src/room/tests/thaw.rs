//! A room that is thawed in the middle of things goes on as one that never was: its clients are
//! told the same, its shards know the same, at whatever moment it happens.

use prost::Message as _;
use proto::TrackSource::{Camera, Microphone};

use super::hall::{Hall, transcript};
use super::*;
use crate::room::contract::JobUpdate;

type Step = (&'static str, fn(&mut Hall));

fn metadata(hall: &mut Hall) {
    let request = proto::UpdateParticipantMetadata {
        name: "Alice the First".into(),
        metadata: "new".into(),
        attributes: [("mood".to_owned(), "good".to_owned())].into(),
        request_id: 9,
    };
    hall.signal("alice", SignalRequest::UpdateMetadata(request));
}

fn permit(hall: &mut Hall, can_subscribe: bool) {
    let permission = proto::ParticipantPermission {
        can_subscribe,
        can_publish: true,
        can_publish_data: true,
        ..Default::default()
    };
    hall.call(RoomCall::UpdateParticipant(
        proto::UpdateParticipantRequest {
            identity: "bob".into(),
            permission: Some(permission),
            ..Default::default()
        },
    ));
}

fn restrict(hall: &mut Hall, all: bool) {
    let permission = proto::SubscriptionPermission {
        all_participants: all,
        track_permissions: vec![proto::TrackPermission {
            participant_identity: "bob".into(),
            track_sids: vec![hall.track("alice", Microphone)],
            ..Default::default()
        }],
    };
    hall.signal("alice", SignalRequest::SubscriptionPermission(permission));
}

fn subscribe(hall: &mut Hall, subscribe: bool) {
    let request = proto::UpdateSubscription {
        track_sids: vec![hall.track("alice", Camera)],
        subscribe,
        ..Default::default()
    };
    hall.signal("bob", SignalRequest::Subscription(request));
}

fn settings(hall: &mut Hall) {
    let request = proto::UpdateTrackSettings {
        track_sids: vec![hall.track("alice", Camera)],
        width: 640,
        height: 360,
        fps: 15,
        priority: 3,
        ..Default::default()
    };
    hall.signal("bob", SignalRequest::TrackSetting(request));
}

pub(super) fn reliable(hall: &mut Hall, sequence: u32) {
    let packet = proto::DataPacket {
        sequence,
        value: Some(proto::data_packet::Value::User(proto::UserPacket {
            payload: vec![1, 2, 3],
            ..Default::default()
        })),
        ..Default::default()
    };
    let number = hall.member("bob").number;
    let transport = KeySpace::new(hall.room.number, number)
        .allocator()
        .transport();
    hall.input(RoomInput::Shard(media::Event::Data {
        transport,
        label: "_reliable".into(),
        payload: packet.encode_to_vec().into(),
        binary: true,
    }));
}

fn data_track(hall: &mut Hall) {
    let request = proto::PublishDataTrackRequest {
        pub_handle: 4,
        name: "positions".into(),
        ..Default::default()
    };
    hall.signal("alice", SignalRequest::PublishDataTrackRequest(request));
    let sid = hall.member("alice").info.data_tracks[0].sid.clone();
    let update = proto::update_data_subscription::Update {
        track_sid: sid,
        subscribe: true,
        ..Default::default()
    };
    let request = proto::UpdateDataSubscription {
        updates: vec![update],
    };
    hall.signal("bob", SignalRequest::UpdateDataSubscription(request));
}

fn dispatch(hall: &mut Hall) {
    hall.call(RoomCall::CreateDispatch(
        proto::CreateAgentDispatchRequest {
            agent_name: "helper".into(),
            room: "hall".into(),
            ..Default::default()
        },
    ));
    let job = hall.launched.last().expect("a job").clone();
    hall.input(RoomInput::Job(JobUpdate {
        room: "hall".into(),
        job_id: job.id,
        dispatch_id: job.dispatch_id,
        state: proto::JobState {
            status: proto::JobStatus::JsRunning.into(),
            worker_id: "AW_1".into(),
            participant_identity: "agent-1".into(),
            ..Default::default()
        },
    }));
}

fn mute(hall: &mut Hall, muted: bool) {
    let sid = hall.track("alice", Microphone);
    let request = proto::MuteTrackRequest { sid, muted };
    hall.signal("alice", SignalRequest::Mute(request));
}

fn unpublish(hall: &mut Hall) {
    let client = hall.clients.get_mut("alice").expect("alice");
    client.sections[1] = client.sections[1].replace("a=sendonly", "a=inactive");
    hall.offer("alice");
}

const SCENARIO: [Step; 27] = [
    ("alice joins", |hall| hall.join("alice", false)),
    ("alice shows herself", |hall| {
        hall.publish("alice", "cam", Camera)
    }),
    ("alice speaks", |hall| {
        hall.publish("alice", "mic", Microphone)
    }),
    ("bob joins", |hall| hall.join("bob", false)),
    ("packets come", |hall| hall.packets("alice")),
    ("bob wants a middle layer", settings),
    ("bob sends data", |hall| reliable(hall, 1)),
    ("alice mutes", |hall| mute(hall, true)),
    ("dave joins", |hall| hall.join("dave", true)),
    ("dave offers", |hall| hall.offer("dave")),
    ("dave speaks", |hall| {
        hall.publish("dave", "mic2", Microphone)
    }),
    ("bob publishes", |hall| hall.publish("bob", "cam3", Camera)),
    ("an agent is asked for", dispatch),
    ("bob may not subscribe", |hall| permit(hall, false)),
    ("bob may subscribe", |hall| permit(hall, true)),
    ("alice restricts", |hall| restrict(hall, false)),
    ("alice permits", |hall| restrict(hall, true)),
    ("alice changes", metadata),
    ("alice publishes data", data_track),
    ("bob unsubscribes", |hall| subscribe(hall, false)),
    ("alice unmutes", |hall| mute(hall, false)),
    ("bob subscribes", |hall| subscribe(hall, true)),
    ("bob sends more data", |hall| reliable(hall, 2)),
    ("alice hides herself", unpublish),
    ("carol joins", |hall| hall.join("carol", false)),
    ("alice leaves", |hall| {
        hall.signal(
            "alice",
            SignalRequest::Leave(proto::LeaveRequest::default()),
        );
    }),
    ("carol speaks", |hall| {
        hall.publish("carol", "mic4", Microphone)
    }),
];

/// Plays everything; before step `thaw_at` the room moves.
fn play(thaw_at: Option<usize>) -> Hall {
    let mut hall = Hall::new();
    for (index, (_, step)) in SCENARIO.iter().enumerate() {
        if thaw_at == Some(index) {
            hall.thaw(true);
            hall.rebind();
        }
        step(&mut hall);
        hall.wait(Duration::from_millis(1300));
    }
    hall.wait(Duration::from_secs(20));
    hall
}

#[test]
fn whenever_a_room_moves_warm_its_clients_are_told_the_same_and_its_shards_know_the_same() {
    let mut one = play(None);
    let expected = transcript(&mut one);
    let mut wrong = Vec::new();
    for (thaw_at, (before, _)) in SCENARIO.iter().enumerate().skip(1) {
        let mut other = play(Some(thaw_at));
        let told = transcript(&mut other);
        let differs = expected.iter().zip(&told).find(|(one, other)| one != other);
        if differs.is_some() || expected.len() != told.len() {
            wrong.push(format!("moved before '{before}': told {differs:#?}"));
        }
        if one.shards != other.shards {
            let shards = (&one.shards, &other.shards);
            wrong.push(format!("moved before '{before}': shards {shards:#?}"));
        }
        if one.webhooks != other.webhooks {
            wrong.push(format!("moved before '{before}': {:?}", other.webhooks));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a client says that resumes: its answers and its offer have new credentials.
fn come_back(hall: &mut Hall, identity: &str) {
    come_back_with(hall, identity, Vec::new());
}

/// `got`: the last reliable packet of each of the others.
pub(super) fn come_back_with(
    hall: &mut Hall,
    identity: &str,
    got: Vec<proto::DataChannelReceiveState>,
) {
    let tracks = hall.member(identity).info.tracks.clone();
    let client = hall.clients.get_mut(identity).expect("a client");
    client.generation += 1;
    client.heard.clear();
    let (offers, single) = (client.offers > 0, client.single);
    let participant_sid = hall.member(identity).sid.0.clone();
    let kind = AttachKind::Resume {
        participant_sid,
        reason: 0,
    };
    hall.attach(identity, kind);
    let published = |track: proto::TrackInfo| proto::TrackPublishedResponse {
        cid: String::new(),
        track: Some(track),
    };
    let state = proto::SyncState {
        publish_tracks: tracks.into_iter().map(published).collect(),
        subscription: Some(proto::UpdateSubscription::default()),
        data_channels: channels(single),
        datachannel_receive_states: got,
        ..Default::default()
    };
    hall.signal(identity, SignalRequest::SyncState(state));
    if offers {
        hall.offer(identity);
    }
}

/// What a client has: it opened its own, and on `/rtc` the server opened others.
fn channels(single: bool) -> Vec<proto::DataChannelInfo> {
    let named = |(label, id, target): (&str, u32, proto::SignalTarget)| proto::DataChannelInfo {
        label: label.into(),
        id,
        target: target as i32,
    };
    use proto::SignalTarget::{Publisher, Subscriber};
    let mut all = vec![("_lossy", 0, Publisher), ("_reliable", 2, Publisher)];
    if !single {
        all.extend([("_lossy", 3, Subscriber), ("_reliable", 1, Subscriber)]);
    }
    all.into_iter().map(named).collect()
}

#[test]
fn clients_that_resume_in_a_room_that_moved_cold_lose_nothing() {
    let mut one = play(None);
    transcript(&mut one);
    for thaw_at in [4, 8, 12, 19, 23, SCENARIO.len()] {
        let mut other = Hall::new();
        for (index, (_, step)) in SCENARIO.iter().enumerate() {
            if thaw_at == index {
                move_cold(&mut other);
            }
            step(&mut other);
            other.wait(Duration::from_millis(1300));
        }
        if thaw_at == SCENARIO.len() {
            move_cold(&mut other);
        }
        other.wait(Duration::from_secs(60));
        assert_eq!(one.shards, other.shards, "moved before step {thaw_at}");
        assert_eq!(one.webhooks, other.webhooks, "moved before step {thaw_at}");
    }
}

fn move_cold(hall: &mut Hall) {
    hall.thaw(false);
    for client in hall.clients.values_mut() {
        client.session = None;
        client.heard.clear();
    }
    let roster = hall.room.roster.iter();
    let here: Vec<(String, bool)> = roster
        .map(|member| (member.identity().to_owned(), member.single_peer_connection))
        .collect();
    hall.wait(Duration::from_secs(3));
    let mut back: Vec<&str> = Vec::new();
    for (identity, single) in &here {
        come_back(hall, identity);
        let heard = std::mem::take(&mut hall.clients.get_mut(identity).unwrap().heard);
        let kinds = kinds(&heard);
        let expected = ["reconnect", "update", "room_update", "refresh_token"];
        let all = expected.iter().all(|kind| kinds.contains(kind));
        assert!(all && kinds[0] == "reconnect", "{kinds:?}");
        let offered = heard.iter().any(|one| matches!(one, Message::Offer(_)));
        assert_eq!(offered, !single, "{identity}: {kinds:?}");
        assert!(!kinds.contains(&"leave"), "{kinds:?}");
        for before in &back {
            let heard = std::mem::take(&mut hall.clients.get_mut(*before).unwrap().heard);
            let told = heard.iter().filter(|one| matches!(one, Message::Update(_)));
            assert_eq!(told.count(), 0, "{before} hears of {identity}: {heard:?}");
        }
        let sent = &hall.member(identity).media.image(&hall.room.clock).unwrap();
        for transport in sent.transports() {
            let adopted = hall
                .shards
                .adopted
                .iter()
                .filter(|(on, _)| *on == transport);
            assert_eq!(adopted.count(), 3, "{identity}");
        }
        back.push(identity);
    }
}

#[test]
fn a_client_that_cannot_be_taken_over_is_told_to_resume_and_a_stranger_to_reconnect() {
    let action = |hall: &Hall, identity: &str| {
        let leave = leave_of(&hall.clients[identity].heard);
        assert!(hall.clients[identity].closed);
        leave.action()
    };
    let mut hall = Hall::new();
    hall.join("alice", false);
    hall.join("bob", false);
    hall.thaw(true);
    let transport = hall.member("alice").media.image(&hall.room.clock).unwrap();
    let transport = transport.transports().next().unwrap();
    let key = KeySpace::new(hall.room.number, 0).room.0 | transport;
    hall.input(RoomInput::Shard(media::Event::TakenOver {
        transport: media::TransportKey(key),
        heard: false,
    }));
    hall.rebind();
    assert_eq!(action(&hall, "alice"), Action::Resume);
    assert!(!hall.clients["bob"].closed);
    let kind = AttachKind::Rebind {
        participant_sid: "PA_other".into(),
        missed: true,
    };
    hall.attach("bob", kind);
    assert_eq!(action(&hall, "bob"), Action::Reconnect);
    hall.thaw(false);
    hall.clients
        .values_mut()
        .for_each(|client| client.heard.clear());
    hall.rebind();
    assert_eq!(action(&hall, "alice"), Action::Resume, "cold");
}

#[test]
#[allow(clippy::print_stdout)] // figures for whoever wants to see them
fn records_are_small_and_few() {
    let mut hall = play(None);
    let members: Vec<usize> = hall
        .records
        .iter()
        .filter(|(key, _)| matches!(key, journal::RecordKey::Member(_)))
        .map(|(_, bytes)| *bytes)
        .collect();
    let largest = members.iter().max().copied().unwrap_or_default();
    let of_room = |(key, _): &&(_, usize)| *key == journal::RecordKey::Room;
    let rooms = hall.records.iter().filter(of_room).count();
    println!(
        "{} member records, the largest of {largest} bytes; {rooms} of the room; image {} bytes",
        members.len(),
        hall.image.bytes()
    );
    assert!(largest <= 8 * 1024, "{largest} bytes");
    hall.records.clear();
    for sequence in 10..20 {
        reliable(&mut hall, sequence);
    }
    let transport = KeySpace::new(3, hall.member("bob").number)
        .allocator()
        .transport();
    hall.input(RoomInput::Shard(media::Event::Stats {
        transport,
        stats: Default::default(),
    }));
    hall.signal("bob", SignalRequest::Ping(1));
    let packet = |key: &journal::RecordKey| matches!(key, journal::RecordKey::Packet(_));
    assert_eq!(hall.records.len(), 10, "figures and pings are no records");
    assert!(hall.records.iter().all(|(key, _)| packet(key)));
}
