//! What a standby is told and when, without a network.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use consensus::ids::{Epoch, LogIndex};

use super::*;
use crate::room::journal::MediaChange;

const TENURE: Tenure = tenure(4);

const fn tenure(epoch: u64) -> Tenure {
    Tenure {
        epoch: Epoch(epoch),
        since: LogIndex(30),
    }
}

fn put(number: u16, bytes: usize) -> JournalEntry {
    JournalEntry {
        key: RecordKey::Member(number),
        record: Some(vec![number as u8; bytes].into()),
    }
}

fn next(outbox: &mut Outbox) -> Option<Batch> {
    let frame = outbox.next_frame()?;
    match ToStandby::decode(frame[4], frame.slice(5..)).unwrap() {
        ToStandby::Batch(batch) => Some(batch),
        other => panic!("{other:?}"),
    }
}

fn keys(batch: &Batch) -> Vec<RecordKey> {
    batch.entries.iter().map(|entry| entry.key).collect()
}

#[test]
fn a_room_says_everything_first_and_then_what_changed_merged_by_key() {
    let (mut outbox, now) = (Outbox::default(), Instant::now());
    let ticket = outbox.follow("daily", TENURE);
    assert!(next(&mut outbox).is_none(), "nothing was said yet");
    outbox.changed(now, "daily", ticket, vec![put(1, 10), put(2, 10)]);
    let first = next(&mut outbox).unwrap();
    assert_eq!(
        (first.seq, first.extent, first.last),
        (1, Extent::Begins, true)
    );
    assert!(outbox.could_go_on("daily") && !outbox.is_settled("daily"));
    outbox.changed(now, "daily", ticket, vec![put(1, 20)]);
    outbox.changed(now, "daily", ticket, vec![put(1, 30), put(3, 5)]);
    let second = next(&mut outbox).unwrap();
    assert_eq!((second.seq, second.extent), (2, Extent::Change));
    assert_eq!(second.entries, [put(1, 30), put(3, 5)]);
    outbox.acked(1);
    assert!(!outbox.is_settled("daily"));
    outbox.acked(2);
    assert!(outbox.is_settled("daily"));
    assert_eq!(outbox.waiting_bytes(), 0);
    outbox.acked(7);
    outbox.changed(now, "daily", ticket, vec![put(1, 1)]);
    assert!(next(&mut outbox).is_some());
    assert!(
        !outbox.is_settled("daily"),
        "what was never sent is not acknowledged"
    );
}

#[test]
fn a_large_room_lets_others_pass_and_ends_with_what_changed_meanwhile() {
    let (mut outbox, now) = (Outbox::default(), Instant::now());
    let large = outbox.follow("large", TENURE);
    let half = JOURNAL_BATCH_BYTES / 2;
    outbox.changed(now, "large", large, (1..=4).map(|n| put(n, half)).collect());
    let small = outbox.follow("small", TENURE);
    outbox.changed(now, "small", small, vec![put(9, 1)]);
    let first = next(&mut outbox).unwrap();
    assert_eq!((first.extent, first.last), (Extent::Begins, false));
    assert_eq!(next(&mut outbox).unwrap().room, "small");
    outbox.changed(now, "large", large, vec![put(1, 3)]);
    let second = next(&mut outbox).unwrap();
    assert_eq!((second.extent, second.last), (Extent::Continues, true));
    let expected = [1, 3, 4].map(RecordKey::Member);
    assert_eq!(keys(&second), expected);
    assert!(outbox.could_go_on("large"));
}

#[test]
fn what_was_said_for_an_earlier_stream_is_not_sent_on_a_new_one() {
    let (mut outbox, now) = (Outbox::default(), Instant::now());
    let old = outbox.follow("daily", TENURE);
    outbox.changed(now, "daily", old, vec![put(1, 10)]);
    next(&mut outbox).unwrap();
    outbox.changed(now, "daily", old, vec![put(2, 10)]);
    let asked = outbox.restart();
    let [(room, new)] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert_eq!(room, "daily");
    outbox.changed(now, "daily", old, vec![put(3, 10)]);
    assert!(next(&mut outbox).is_none());
    assert!(!outbox.could_go_on("daily"));
    outbox.changed(now, "daily", *new, vec![put(1, 10), put(2, 10), put(3, 10)]);
    let again = next(&mut outbox).unwrap();
    assert_eq!(
        (again.seq, again.extent, again.last),
        (1, Extent::Begins, true)
    );
}

#[test]
fn a_standby_that_acknowledges_nothing_is_sent_a_bounded_amount_and_memory_is_bounded_too() {
    let (mut outbox, now) = (Outbox::default(), Instant::now());
    let ticket = outbox.follow("daily", TENURE);
    let record = 1 << 20;
    let mut said = 0;
    while outbox.dropped() == 0 {
        said += 1;
        outbox.changed(now, "daily", ticket, vec![put(said, record)]);
        while outbox.next_frame().is_some() {}
        assert!(outbox.unacked_bytes < JOURNAL_UNACKED_BYTES_MAX + 2 * record);
        assert!(outbox.waiting_bytes() <= JOURNAL_WAITING_BYTES_MAX);
    }
    assert_eq!(outbox.waiting_bytes(), 0);
    assert!(!outbox.could_go_on("daily"));
    // Not at once: a room that never fits must not be written out all the time.
    assert!(outbox.resync(now).is_empty());
    let later = outbox.deadline().unwrap();
    assert_eq!(later, now + JOURNAL_RESYNC_AFTER);
    let again = outbox.resync(later);
    assert_eq!(again.len(), 1);
    outbox.acked(outbox.sent);
    outbox.changed(later, "daily", again[0].1, vec![put(1, 1)]);
    assert_eq!(next(&mut outbox).unwrap().extent, Extent::Begins);
}

#[test]
fn a_room_that_is_refused_or_forgotten_is_not_sent_any_more() {
    let (mut outbox, now) = (Outbox::default(), Instant::now());
    let ticket = outbox.follow("daily", TENURE);
    outbox.changed(now, "daily", ticket, vec![put(1, 1)]);
    next(&mut outbox).unwrap();
    outbox.refused(now, "daily", tenure(3));
    assert!(outbox.could_go_on("daily"), "of an earlier life");
    outbox.refused(now, "daily", TENURE);
    outbox.changed(now, "daily", ticket, vec![put(1, 2)]);
    assert!(next(&mut outbox).is_none());
    assert!(
        outbox.could_go_on("daily"),
        "the room may be its own by now"
    );
    assert_eq!(outbox.resync(now + Duration::from_secs(60)).len(), 1);
    assert!(outbox.could_go_on("daily"));
    outbox.follow("daily", tenure(9));
    assert!(
        !outbox.could_go_on("daily"),
        "of a later life it knows nothing"
    );
    outbox.follow("daily", TENURE);
    assert!(!outbox.could_go_on("daily"));

    outbox.forget("daily");
    assert!(outbox.is_empty());
    assert!(
        outbox.next_frame().is_none(),
        "of this life nothing was sent"
    );
    let ticket = outbox.follow("weekly", TENURE);
    outbox.changed(now, "weekly", ticket, vec![put(1, 1)]);
    next(&mut outbox).unwrap();
    outbox.changed(now, "weekly", ticket, vec![put(2, 1)]);
    outbox.forget("weekly");
    let frame = outbox.next_frame().unwrap();
    let said = ToStandby::decode(frame[4], frame.slice(5..)).unwrap();
    let room = "weekly".to_owned();
    assert_eq!(
        said,
        ToStandby::Forget {
            room,
            tenure: TENURE
        }
    );
    assert!(outbox.next_frame().is_none());
    assert_eq!(outbox.waiting_bytes(), 0);
}

#[test]
fn what_shards_say_follows_what_the_room_said_in_its_order() {
    let (mut outbox, now) = (Outbox::default(), Instant::now());
    let ticket = outbox.follow("daily", TENURE);
    let delta = |number: u8| MediaEntry {
        transport: 7,
        change: MediaChange::Delta(vec![number].into()),
    };
    outbox.media(now, "daily", ticket, vec![delta(0)]);
    assert!(next(&mut outbox).is_none(), "the room is unknown there");
    outbox.changed(now, "daily", ticket, vec![put(1, 10)]);
    outbox.media(now, "daily", ticket, vec![delta(1), delta(2)]);
    outbox.media(now, "daily", ticket, vec![delta(1)]);
    let batch = next(&mut outbox).unwrap();
    assert_eq!(keys(&batch), [RecordKey::Member(1)]);
    assert_eq!(batch.media, [delta(1), delta(2), delta(1)]);
    assert!(!outbox.is_settled("daily"));
    outbox.acked(batch.seq);
    assert!(outbox.is_settled("daily") && outbox.waiting_bytes() == 0);
    outbox.media(now, "daily", ticket, vec![delta(3)]);
    assert_eq!(next(&mut outbox).unwrap().media, [delta(3)]);
}
