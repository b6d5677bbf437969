//! What a room does about its standby: one that cannot, one that is silent, one that goes on.

use super::hall::Hall;
use super::*;
use crate::room::journal::{CannotReason, MediaChange, StandbyWord};
use crate::room::limits::{LAST_WORDS_PATIENCE, MEDIA_ENTRIES_MAX, WARM_WITHIN};
use crate::room::protection::Protected;

fn hall() -> (Hall, media::TransportKey) {
    let mut hall = Hall::new();
    hall.join("alice", true);
    hall.offer("alice");
    let guarded = Vec::from_iter(hall.room.protection.guarded());
    let [transport] = guarded[..] else {
        panic!("{guarded:?}");
    };
    let _ = hall.room.media_journal();
    (hall, transport)
}

fn within(transport: media::TransportKey) -> u64 {
    KeySpace::within_room(transport.0)
}

fn said(hall: &mut Hall, transport: media::TransportKey, word: StandbyWord) {
    let transport = within(transport);
    hall.input(RoomInput::StandbySaid { transport, word });
}

fn has(ready: bool) -> StandbyWord {
    StandbyWord::Has {
        version: u32::MAX,
        addresses: Vec::new(),
        ready,
    }
}

fn image(transport: media::TransportKey, version: u32) -> RoomInput {
    RoomInput::Shard(media::Event::TransportImage {
        transport,
        version,
        probe: false,
        image: Bytes::from_static(b"image"),
    })
}

#[test]
fn every_acknowledgement_says_whether_the_client_would_notice() {
    let (mut hall, transport) = hall();
    let protected = |hall: &Hall| hall.room.protection.of(&[(transport, true)]);
    hall.input(image(transport, 1));
    assert_eq!(protected(&hall), Protected::ByResume);
    said(&mut hall, transport, has(true));
    assert_eq!(protected(&hall), Protected::Warm);
    said(&mut hall, transport, has(false));
    assert_eq!(protected(&hall), Protected::ByResume);
}

#[test]
fn a_move_had_better_wait_for_a_standby_that_only_just_follows() {
    let (mut hall, transport) = hall();
    assert!(hall.room.is_unready());
    hall.input(image(transport, 1));
    said(&mut hall, transport, has(true));
    assert!(!hall.room.is_unready());
    said(&mut hall, transport, StandbyWord::Ready(false));
    assert!(hall.room.is_unready());
    hall.wait(WARM_WITHIN);
    assert!(!hall.room.is_unready(), "it will not be better");
    let (mut hall, transport) = self::hall();
    let cannot = StandbyWord::Cannot(CannotReason::Full);
    said(&mut hall, transport, cannot);
    assert!(!hall.room.is_unready());
}

#[test]
fn clients_hear_of_the_standby_when_they_leave_the_choice_of_the_path_to_the_home() {
    let (mut hall, transport) = hall();
    let told = |hall: &Hall| {
        let candidates = hall.clients["alice"].heard.iter();
        let of_standby = |message: &&Message| match message {
            Message::Trickle(trickle) => trickle.candidate_init.contains("10.9.9.9"),
            _ => false,
        };
        candidates.filter(of_standby).count()
    };
    let word = StandbyWord::Has {
        version: 1,
        addresses: vec!["10.9.9.9:7882".parse().unwrap()],
        ready: false,
    };
    said(&mut hall, transport, word.clone());
    assert_eq!(told(&hall), 0);
    let takeovers = 0;
    let in_control = || {
        RoomInput::Shard(media::Event::InControl {
            transport,
            takeovers,
        })
    };
    hall.input(in_control());
    assert_eq!(told(&hall), 1);
    said(&mut hall, transport, word);
    hall.input(in_control());
    assert_eq!(told(&hall), 1, "once");
    said(&mut hall, transport, StandbyWord::Stale);
    hall.input(in_control());
    assert_eq!(told(&hall), 2, "it looks for the client again");
}

#[test]
fn what_the_standby_cannot_do_binds_nothing_and_is_not_asked_again() {
    let (mut hall, transport) = hall();
    let followed = |hall: &Hall| hall.shards.followed[&within(transport)];
    assert!(followed(&hall));
    said(&mut hall, transport, has(true));
    said(
        &mut hall,
        transport,
        StandbyWord::Cannot(CannotReason::Full),
    );
    assert!(!followed(&hall));
    let protected = hall.room.protection.of(&[(transport, true)]);
    assert_eq!(protected, Protected::ByResume);
    said(&mut hall, transport, StandbyWord::Stale);
    said(&mut hall, transport, StandbyWord::Ready(true));
    let label = "_late".to_owned();
    let opened = media::Event::ChannelOpen { transport, label };
    hall.input(RoomInput::Shard(opened));
    assert!(!followed(&hall));
    let protected = hall.room.protection.of(&[(transport, true)]);
    assert_eq!(protected, Protected::ByResume);
}

#[test]
fn a_silent_standby_is_complained_of_once_each_time() {
    let (mut hall, transport) = hall();
    assert!(!hall.room.take_silence());
    let silent = media::Event::StandbySilent { transport };
    hall.input(RoomInput::Shard(silent));
    assert!(hall.room.take_silence());
    assert!(!hall.room.take_silence());
}

#[test]
fn a_standby_that_may_have_missed_something_is_told_who_is_left() {
    let (mut hall, transport) = hall();
    for version in 0..=u32::try_from(MEDIA_ENTRIES_MAX).unwrap() {
        hall.input(image(transport, version));
    }
    let mut entries = hall.room.media_journal();
    let last = entries.pop().unwrap();
    assert_eq!(last.change, MediaChange::Only(vec![within(transport)]));
    hall.input(image(transport, 1));
    assert_eq!(hall.room.media_journal().len(), 1);
}

#[test]
fn a_room_that_goes_on_elsewhere_says_the_last_of_its_transports() {
    let (mut hall, transport) = hall();
    hall.input(RoomInput::Fence { resume: true });
    assert!(hall.shards.frozen.contains(&within(transport)));
    assert_eq!((hall.last_words, hall.room.ended), (0, false));
    hall.input(image(transport, 7));
    let snapshot = Bytes::new();
    hall.input(RoomInput::Shard(media::Event::Frozen {
        transport,
        snapshot,
    }));
    assert_eq!((hall.last_words, hall.room.ended), (1, false));
    let entries = hall.room.media_journal();
    assert!(matches!(&entries[..], [entry] if entry.transport == within(transport)));
    hall.wait(Duration::ZERO);
    assert!(hall.room.ended);
    assert_eq!(hall.last_words, 1);
}

#[test]
fn who_goes_on_elsewhere_unnoticed_keeps_a_websocket_of_this_node() {
    let (mut hall, transport) = hall();
    hall.input(image(transport, 1));
    said(&mut hall, transport, has(true));
    let session = hall.clients["alice"].session.unwrap();
    let sid = hall.room.roster.iter().next().unwrap().sid.0.clone();
    hall.input(RoomInput::Fence { resume: true });
    let [SessionMessage::Elsewhere(attach)] = &hall.moved[..] else {
        panic!("{:?}", hall.moved);
    };
    assert_eq!(
        (attach.session, &*attach.claims.identity),
        (session, "alice")
    );
    let kind = AttachKind::Rebind {
        participant_sid: sid,
        missed: true,
    };
    assert_eq!(attach.kind, kind);
    let message = Box::new(SignalRequest::PingReq(proto::Ping::default()));
    hall.input(RoomInput::Signal { session, message });
    let last = hall.moved.last();
    assert!(matches!(last, Some(SessionMessage::Unheard(_))), "{last:?}");
}

#[test]
fn who_would_notice_a_move_comes_back_by_itself() {
    let (mut hall, _) = hall();
    hall.input(RoomInput::Fence { resume: true });
    assert!(hall.moved.is_empty(), "{:?}", hall.moved);
    assert!(hall.clients["alice"].closed);
}

#[test]
fn shards_that_say_nothing_hold_a_move_up_for_a_moment_only() {
    let (mut hall, _) = hall();
    hall.input(RoomInput::Fence { resume: true });
    hall.wait(LAST_WORDS_PATIENCE - Duration::from_millis(1));
    assert_eq!((hall.last_words, hall.room.ended), (0, false));
    hall.wait(Duration::from_millis(1));
    assert_eq!((hall.last_words, hall.room.ended), (1, true));
}

#[test]
fn who_lost_its_data_channels_in_a_takeover_starts_over() {
    let (mut hall, transport) = hall();
    hall.input(RoomInput::Shard(media::Event::ChannelsLost { transport }));
    let heard = hall.clients["alice"].heard.iter();
    let starts_over = |message: &Message| match message {
        Message::Leave(leave) => leave.action() == Action::Reconnect,
        _ => false,
    };
    assert!(heard.clone().any(starts_over));
}
