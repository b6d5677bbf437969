//! What disks and earlier processes do to a log, one case each: names and pages that are seen but
//! not durable, blocks lost as a whole, handles that run out, bytes of a newer program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rustix::io::Errno;

use super::*;
use crate::disk::{DiskFaults, SimDisk};

const OPTIONS: WalOptions = WalOptions {
    segment_bytes: 40 * 1024,
    record_bytes_max: 2_000,
};
const SEEDS: u64 = 100;

fn create(disk: &SimDisk) -> Wal<SimDisk> {
    Wal::create(disk.reopen(), OPTIONS, 0x5eed).unwrap()
}

fn open(disk: &SimDisk) -> Wal<SimDisk> {
    match Wal::open(disk.reopen(), OPTIONS).unwrap() {
        Opened::Ready(wal) => wal,
        Opened::Missing(_) => panic!("the log is gone"),
    }
}

fn with_changes_left(disk: &SimDisk, changes_left: u64) {
    disk.set_faults(DiskFaults {
        changes_left: Some(changes_left),
        ..DiskFaults::default()
    });
}

/// Killed at each step of beginning a segment, gone on, then power is lost.
#[test]
fn a_segment_another_process_began_is_kept_through_a_power_loss() {
    for seed in 0..SEEDS {
        for steps in 0..8 {
            let disk = SimDisk::new(seed);
            let mut wal = create(&disk);
            wal.push_entry(0, b"before").unwrap();
            wal.flush().unwrap();
            with_changes_left(&disk, steps);
            let _ = wal.guarded(Wal::rotate);
            disk.set_faults(DiskFaults::default());
            disk.kill();
            let mut wal = open(&disk);
            wal.push_entry(1, b"after").unwrap();
            wal.push_vote(b"term 2").unwrap();
            wal.flush().unwrap();
            disk.crash();
            let wal = open(&disk);
            assert_eq!(wal.next(), 2, "seed {seed}, {steps} steps");
            assert_eq!(wal.vote(), Some(&b"term 2"[..]), "seed {seed}");
        }
    }
}

#[test]
fn a_log_another_process_created_is_kept_through_a_power_loss() {
    for seed in 0..SEEDS {
        for steps in 0..6 {
            let disk = SimDisk::new(seed);
            with_changes_left(&disk, steps);
            let created = Wal::create(disk.reopen(), OPTIONS, 1).is_ok();
            disk.set_faults(DiskFaults::default());
            disk.kill();
            let Opened::Ready(mut wal) = Wal::open(disk.reopen(), OPTIONS).unwrap() else {
                assert!(!created, "seed {seed}");
                continue;
            };
            wal.push_vote(b"term 1").unwrap();
            wal.flush().unwrap();
            disk.crash();
            assert_eq!(open(&disk).vote(), Some(&b"term 1"[..]), "seed {seed}");
        }
    }
}

/// A sync that failed leaves pages that are seen, are clean and are nowhere else.
#[test]
fn what_a_failed_sync_left_in_the_cache_is_written_again_before_it_counts() {
    let mut seen = 0;
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        let mut wal = create(&disk);
        wal.push_entry(0, b"before").unwrap();
        wal.flush().unwrap();
        wal.push_entry(1, &[7; 1_500]).unwrap();
        disk.set_faults(DiskFaults {
            sync_failure_one_in: 1,
            ..DiskFaults::default()
        });
        assert!(matches!(wal.flush(), Err(WalError::Disk(_))), "seed {seed}");
        disk.set_faults(DiskFaults::default());
        disk.kill();
        let mut wal = open(&disk);
        wal.flush().unwrap();
        let found = wal.next();
        seen += found - 1;
        disk.crash();
        assert_eq!(open(&disk).next(), found, "seed {seed}");
    }
    assert!(seen > 0);
}

/// A block that is lost as a whole while power fails holds nothing that was flushed.
#[test]
fn a_flushed_batch_survives_the_loss_of_the_block_written_next() {
    for seed in 0..SEEDS * 4 {
        let disk = SimDisk::new(seed);
        let mut wal = create(&disk);
        wal.push_entry(0, b"flushed").unwrap();
        wal.flush().unwrap();
        if seed % 2 == 0 {
            wal.push_entry(1, b"torn").unwrap();
        }
        with_changes_left(&disk, 1);
        // Writes, and dies before the sync: a batch, or a seal.
        assert!(wal.seal().is_err());
        disk.set_faults(DiskFaults::default());
        disk.crash();
        assert!(open(&disk).next() >= 1, "seed {seed}");
    }
}

#[test]
fn a_lack_of_handles_is_no_damage_and_a_medium_that_cannot_be_read_is() {
    let disk = SimDisk::new(1);
    let mut wal = create(&disk);
    wal.push_vote(b"term 1").unwrap();
    wal.flush().unwrap();
    let failing = |code: Errno, times| {
        disk.kill();
        disk.set_faults(DiskFaults {
            read_failures: Some((code.raw_os_error(), times)),
            ..DiskFaults::default()
        });
        Wal::open(disk.reopen(), OPTIONS)
    };
    for lack in [Errno::MFILE, Errno::NOMEM, Errno::ACCESS] {
        let opened = failing(lack, 1);
        assert!(matches!(opened, Err(WalError::Disk(_))), "{opened:?}");
    }
    let passing = failing(Errno::IO, 1);
    assert!(matches!(passing, Ok(Opened::Ready(_))), "{passing:?}");
    let lasting = failing(Errno::IO, u64::MAX);
    assert!(matches!(lasting, Err(WalError::Corrupt(_))), "{lasting:?}");
}

#[test]
fn what_a_newer_program_wrote_is_neither_damage_nor_a_torn_write() {
    let disk = SimDisk::new(1);
    let mut wal = create(&disk);
    wal.push_entry(0, b"known").unwrap();
    wal.flush().unwrap();
    let (salt, tail, batch) = (wal.header.salt(), wal.tail as u64, wal.batch + 1);
    let header = Header {
        kind: Kind::Entry,
        argument: 1,
        batch,
        closes_batch: true,
        payload_bytes: 3,
    };
    let mut newer = Vec::new();
    record::push(&mut newer, salt, header, b"new");
    newer[24] = 77;
    record::close_batch(&mut newer, 0, salt);
    let records = disk.fork();
    records.reopen().write(&file_name(1), tail, &newer).unwrap();
    let opened = Wal::open(records.reopen(), OPTIONS);
    let found =
        |found| move |e: &WalError| matches!(e, WalError::TooNew { found: f, .. } if *f == found);
    assert!(opened.as_ref().is_err_and(found(77)), "{opened:?}");

    let mut header = wal.header.encode()[..40].to_vec();
    header[8] = 2;
    let crc = record::checksum(0, &header[..36]);
    header[36..].copy_from_slice(&crc.to_le_bytes());
    disk.reopen().write(&file_name(1), 0, &header).unwrap();
    let opened = Wal::open(disk.reopen(), OPTIONS);
    assert!(opened.as_ref().is_err_and(found(2)), "{opened:?}");
}

/// Killed between the naming of a segment and the mark in its predecessor.
#[test]
fn a_newest_segment_that_is_lost_is_noticed_although_its_mark_was_written_late() {
    for steps in 5..7 {
        let disk = SimDisk::new(1);
        let mut wal = create(&disk);
        wal.push_vote(b"term 1").unwrap();
        wal.flush().unwrap();
        with_changes_left(&disk, steps);
        assert!(wal.guarded(Wal::rotate).is_err());
        disk.set_faults(DiskFaults::default());
        disk.kill();
        assert_eq!(open(&disk).segments(), 2);
        disk.crash();
        disk.reopen().remove(&file_name(2)).unwrap();
        let opened = Wal::open(disk.reopen(), OPTIONS);
        assert!(matches!(opened, Err(WalError::Corrupt(_))), "{steps} steps");
    }
}

#[test]
fn a_purge_of_less_than_is_purged_changes_nothing() {
    let disk = SimDisk::new(1);
    let mut wal = create(&disk);
    for index in 0..10 {
        wal.push_entry(index, b"entry").unwrap();
    }
    wal.purge(7, b"seven").unwrap();
    wal.purge(3, b"three").unwrap();
    let mark = Some((7, b"seven".to_vec()));
    assert_eq!((wal.first(), wal.purged().cloned()), (8, mark.clone()));
    let wal = open(&disk);
    assert_eq!((wal.first(), wal.purged().cloned()), (8, mark));
}

#[test]
fn a_length_no_record_has_is_refused_before_anything_is_summed() {
    let mut bytes = vec![0; 2 * WAL_RECORD_BYTES_MAX];
    let header = Header {
        kind: Kind::Entry,
        argument: 0,
        batch: 1,
        closes_batch: true,
        payload_bytes: 0,
    };
    for (payload_bytes, known) in [
        (WAL_RECORD_BYTES_MAX, true),
        (WAL_RECORD_BYTES_MAX + 1, false),
    ] {
        bytes.clear();
        record::push(&mut bytes, 1, header, &vec![7; payload_bytes]);
        assert_eq!(record::parse(&bytes, 0, 1).is_some(), known);
    }
}

fn with_room_for(disk: &SimDisk, segments: u64) {
    disk.set_faults(DiskFaults {
        capacity_bytes: Some(segments * OPTIONS.segment_bytes + OPTIONS.segment_bytes / 2),
        ..DiskFaults::default()
    });
}

/// Until the log refuses; the next index.
fn fill(wal: &mut Wal<SimDisk>) -> (u64, WalError) {
    let mut next = wal.next();
    loop {
        let pushed = wal.push_entry(next, &[7; 1_000]);
        match pushed.and_then(|()| wal.flush()) {
            Ok(()) => next += 1,
            Err(error) => return (next, error),
        }
    }
}

#[test]
fn a_full_disk_is_got_out_of_by_a_purge() {
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        let mut wal = create(&disk);
        with_room_for(&disk, 2);
        let (next, error) = fill(&mut wal);
        assert!(
            matches!(error, WalError::Disk(DiskError::Full { .. })),
            "seed {seed}: {error}"
        );
        match seed % 2 {
            0 => disk.kill(),
            _ => disk.crash(),
        }
        let mut wal = open(&disk);
        assert_eq!(wal.next(), next, "seed {seed}");
        wal.purge(next - 2, b"log id").unwrap();
        assert_eq!(wal.segments(), 1, "seed {seed}");
        for index in next..next + 20 {
            wal.push_entry(index, &[8; 1_000]).unwrap();
            wal.purge(index - 1, b"log id").unwrap();
        }
    }
}

#[test]
fn too_many_segments_are_got_out_of_by_a_purge() {
    let disk = SimDisk::new(1);
    let mut wal = create(&disk);
    let (next, error) = fill(&mut wal);
    assert!(matches!(error, WalError::TooManySegments(_)), "{error}");
    disk.kill();
    let mut wal = open(&disk);
    wal.purge(next - 2, b"log id").unwrap();
    assert_eq!(wal.segments(), 1);
    wal.push_entry(next, b"goes on").unwrap();
    wal.flush().unwrap();
}

/// Killed between the mark and the removals it stands for.
#[test]
fn what_was_purged_is_removed_when_the_log_is_opened() {
    let disk = SimDisk::new(1);
    let mut wal = create(&disk);
    with_room_for(&disk, 3);
    let (next, _) = fill(&mut wal);
    disk.kill();
    let mut wal = open(&disk);
    // Its write and its sync.
    with_changes_left(&disk, 2);
    wal.purge(next - 2, b"log id").unwrap_err();
    disk.set_faults(DiskFaults::default());
    disk.kill();
    assert_eq!(open(&disk).segments(), 1);
}

#[test]
fn a_segment_that_was_prepared_is_there_when_the_disk_is_full() {
    for seed in 0..SEEDS {
        let disk = SimDisk::new(seed);
        let mut wal = create(&disk);
        wal.prepare().unwrap();
        wal.prepare().unwrap();
        with_room_for(&disk, 0);
        let (next, _) = fill(&mut wal);
        assert_eq!(wal.segments(), 2, "seed {seed}");
        match seed % 2 {
            0 => disk.kill(),
            _ => disk.crash(),
        }
        assert_eq!(open(&disk).next(), next, "seed {seed}");
        // One that was not needed is not kept.
        disk.set_faults(DiskFaults::default());
        let mut wal = open(&disk);
        wal.prepare().unwrap();
        assert_eq!(disk.files().len(), 3, "seed {seed}");
        disk.kill();
        open(&disk);
        assert_eq!(disk.files().len(), 2, "seed {seed}");
    }
}
