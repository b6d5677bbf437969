//! What of the outbox survives restarts, torn writes and damage.
#![allow(clippy::unwrap_used, clippy::panic)]

use protocol::proto::Room;

use super::*;

const URLS: [&str; 2] = ["http://a/", "http://b/"];

fn urls() -> Vec<String> {
    URLS.iter().map(|url| (*url).to_owned()).collect()
}

fn entry(sequence: u64, id: &str) -> Arc<Entry> {
    let event = WebhookEvent {
        event: "room_started".into(),
        id: id.into(),
        room: Some(Room {
            name: "r".into(),
            metadata: "m".repeat(1000),
            ..Default::default()
        }),
        ..Default::default()
    };
    Arc::new(Entry {
        sequence,
        bytes: event.encoded_len(),
        event,
    })
}

fn left(directory: &Path) -> Vec<(String, Vec<String>)> {
    let (_, restored) = Outbox::open(directory).unwrap();
    restored
        .into_iter()
        .map(|left| (left.entry.event.id.clone(), left.urls))
        .collect()
}

#[test]
fn what_was_not_delivered_is_there_after_a_restart_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (mut outbox, restored) = Outbox::open(folder.path()).unwrap();
    assert!(restored.is_empty());
    for (sequence, id) in ["EV_0", "EV_1", "EV_2"].iter().enumerate() {
        outbox.store(entry(sequence as u64, id), urls()).unwrap();
    }
    outbox.settle(0, URLS[0]).unwrap();
    outbox.settle(0, URLS[1]).unwrap();
    outbox.settle(2, URLS[0]).unwrap();
    drop(outbox); // as a crash does: nothing is said good-bye to
    let expected = vec![
        ("EV_1".to_owned(), urls()),
        ("EV_2".to_owned(), vec![URLS[1].to_owned()]),
    ];
    assert_eq!(left(folder.path()), expected);
    assert_eq!(left(folder.path()), expected, "opening changes nothing");
    let (outbox, _) = Outbox::open(folder.path()).unwrap();
    assert_eq!(outbox.next_sequence(), 3);
}

#[test]
fn every_torn_end_costs_at_most_the_last_record() {
    let folder = tempfile::tempdir().unwrap();
    let (mut outbox, _) = Outbox::open(folder.path()).unwrap();
    for sequence in 0..3 {
        outbox
            .store(entry(sequence, &format!("EV_{sequence}")), urls())
            .unwrap();
    }
    let whole = fs::read(folder.path().join(FILE)).unwrap();
    let last = outbox.length as usize - record_of(&entry(2, "EV_2"), &urls()).len();
    drop(outbox);
    for cut in (last..whole.len()).step_by(7) {
        fs::write(folder.path().join(FILE), &whole[..cut]).unwrap();
        assert_eq!(left(folder.path()).len(), 2, "cut at {cut}");
    }
    let mut flipped = whole;
    flipped[last + HEAD_BYTES + 3] ^= 1;
    fs::write(folder.path().join(FILE), &flipped).unwrap();
    assert_eq!(left(folder.path()).len(), 2);
}

#[test]
fn a_file_cut_inside_the_magic_is_empty_and_a_foreign_one_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for content in [&b""[..], b"SKN"] {
        fs::write(folder.path().join(FILE), content).unwrap();
        assert!(left(folder.path()).is_empty());
    }
    fs::write(folder.path().join(FILE), b"somebody else's").unwrap();
    assert!(matches!(
        Outbox::open(folder.path()),
        Err(OutboxError::Format(_))
    ));
}

#[test]
fn hostile_lengths_do_not_panic() {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[0xff; 40]);
    assert!(replay(&bytes).is_empty());
    assert!(replay(&bytes[..10]).is_empty());
}

#[test]
fn an_outbox_belongs_to_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let (_held, _) = Outbox::open(folder.path()).unwrap();
    assert!(matches!(
        Outbox::open(folder.path()),
        Err(OutboxError::Locked(_))
    ));
}

#[test]
fn the_file_is_rewritten_when_most_of_it_is_done_with() {
    let folder = tempfile::tempdir().unwrap();
    let (mut outbox, _) = Outbox::open(folder.path()).unwrap();
    outbox.store(entry(0, "EV_kept"), urls()).unwrap();
    let mut longest = 0;
    for sequence in 1..20_000 {
        outbox
            .store(entry(sequence, "EV_x"), vec![URLS[0].to_owned()])
            .unwrap();
        outbox.settle(sequence, URLS[0]).unwrap();
        longest = longest.max(outbox.length);
    }
    assert!(longest < GARBAGE_BYTES_MAX + 10_000, "{longest}");
    let on_disk = fs::metadata(folder.path().join(FILE)).unwrap().len();
    assert_eq!(on_disk, outbox.length);
    drop(outbox);
    assert_eq!(left(folder.path()), [("EV_kept".to_owned(), urls())]);
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (_outbox, _) = Outbox::open(folder.path()).unwrap();
    let mode = fs::metadata(folder.path().join(FILE))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_event_too_large_to_be_read_back_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let (mut outbox, _) = Outbox::open(directory.path()).unwrap();
    let mut event = entry(0, "").event.clone();
    event.room.as_mut().unwrap().metadata = "m".repeat(RECORD_BYTES_MAX);
    let huge = Arc::new(Entry {
        sequence: 0,
        bytes: event.encoded_len(),
        event,
    });
    assert!(outbox.store(huge, urls()).is_err());
    outbox.settle(0, URLS[0]).unwrap();
    outbox.store(entry(1, "EV_1"), urls()).unwrap();
    drop(outbox);
    assert_eq!(left(directory.path()), [("EV_1".to_owned(), urls())]);
}
