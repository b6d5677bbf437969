//! The log against a model: random work, crashes that keep, lose or tear what was not flushed, and
//! damage at every byte of what was. Seeds are printed with every failure and replay.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;

use super::*;
use crate::disk::{DiskFaults, SimDisk};
use crate::splitmix::SplitMix;

const OPTIONS: WalOptions = WalOptions {
    segment_bytes: 40 * 1024,
    record_bytes_max: 2_000,
};
const WAL_ID: u64 = 0x5eed;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    vote: Option<Vec<u8>>,
    purged: Option<Mark>,
    next: u64,
    entries: BTreeMap<u64, Vec<u8>>,
}

impl Model {
    fn first(&self) -> u64 {
        self.purged.as_ref().map_or(0, |(last, _)| last + 1)
    }

    fn of(wal: &mut Wal<SimDisk>) -> Result<Self, WalError> {
        let mut entries = BTreeMap::new();
        for index in wal.first()..wal.next() {
            entries.insert(index, wal.read(index)?);
        }
        Ok(Self {
            vote: wal.vote().map(<[u8]>::to_vec),
            purged: wal.purged().cloned(),
            next: wal.next(),
            entries,
        })
    }
}

fn random_bytes(random: &mut SplitMix, max: u64) -> Vec<u8> {
    let length = random.below(max + 1);
    (0..length).map(|_| random.below(256) as u8).collect()
}

/// The log under test, the model of it, and the states a crash may leave.
struct World {
    disk: SimDisk,
    wal: Wal<SimDisk>,
    model: Model,
    /// States since the last flush that returned; the first of them is that flush's.
    possible: Vec<Model>,
    random: SplitMix,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let wal = Wal::create(disk.reopen(), OPTIONS, WAL_ID).unwrap();
        Self {
            disk,
            wal,
            model: Model::default(),
            possible: vec![Model::default()],
            random: SplitMix(seed),
        }
    }

    fn changed(&mut self) {
        self.possible.push(self.model.clone());
    }

    fn step(&mut self) -> Result<(), WalError> {
        match self.random.below(100) {
            0..=54 => {
                let payload = random_bytes(&mut self.random, 400);
                self.wal.push_entry(self.model.next, &payload)?;
                self.model.entries.insert(self.model.next, payload);
                self.model.next += 1;
                self.changed();
            }
            55..=62 => {
                let vote = random_bytes(&mut self.random, 40);
                self.wal.push_vote(&vote)?;
                self.model.vote = Some(vote);
                self.changed();
            }
            63..=68 => {
                let first = self.model.first();
                let kept = self.random.below(self.model.next - first + 1);
                let next = first + kept;
                self.wal.push_truncate(next)?;
                self.model.entries.split_off(&next);
                self.model.next = next;
                self.changed();
            }
            69..=72 => self.purge()?,
            73..=76 => self.wal.push_committed(self.model.next, b"log id")?,
            77..=93 => {
                self.wal.flush()?;
                self.possible = vec![self.model.clone()];
            }
            _ => {
                self.wal.seal()?;
                self.possible = vec![self.model.clone()];
            }
        }
        Ok(())
    }

    fn purge(&mut self) -> Result<(), WalError> {
        if self.model.next == 0 {
            return Ok(());
        }
        // Sometimes behind the end, as after a snapshot of another node was installed.
        let beyond = self.random.below(8) / 7 * 10;
        let first = self.model.first();
        let last = first + self.random.below(self.model.next - first + beyond);
        let mark = (last, random_bytes(&mut self.random, 30));
        let mut after = self.model.clone();
        after.next = after.next.max(last + 1);
        after.entries = after.entries.split_off(&(last + 1));
        after.purged = Some(mark.clone());
        self.possible.push(after.clone());
        self.wal.purge(mark.0, &mark.1)?;
        self.model = after;
        self.possible = vec![self.model.clone()];
        Ok(())
    }

    fn reopen(&mut self, seed: u64) {
        let opened = Wal::open(self.disk.reopen(), OPTIONS);
        let mut wal = match opened {
            Ok(Opened::Ready(wal)) => wal,
            other => panic!("seed {seed}: {other:?}"),
        };
        let found = Model::of(&mut wal).unwrap();
        assert!(
            self.possible.contains(&found),
            "seed {seed}: recovered {found:?}\nof {:?}",
            self.possible
        );
        self.wal = wal;
        self.model = found.clone();
        self.possible = vec![found];
    }
}

/// Nothing flushed is lost, nothing else than a state in between appears, whatever a crash keeps.
#[test]
fn a_crash_leaves_a_state_between_the_last_flush_and_the_last_write() {
    for seed in 0..400 {
        let mut world = World::new(seed);
        for _ in 0..world.random.below(6) + 1 {
            world.disk.set_faults(DiskFaults {
                changes_left: (seed % 3 == 0).then_some(world.random.below(150)),
                ..DiskFaults::default()
            });
            for _ in 0..world.random.below(120) {
                match world.step() {
                    Ok(()) => {}
                    // What was being done may or may not have happened.
                    Err(WalError::Disk(_)) if seed % 3 == 0 => break,
                    Err(e) => panic!("seed {seed}: {e}"),
                }
            }
            world.disk.set_faults(DiskFaults::default());
            match world.random.below(3) {
                0 => world.disk.kill(),
                _ => world.disk.crash(),
            }
            world.reopen(seed);
        }
    }
}

/// A failing or full disk stops the log; what was flushed before is there when it is opened again.
#[test]
fn a_disk_that_fails_stops_the_log_and_loses_nothing_flushed() {
    let mut failures = 0;
    for seed in 0..200 {
        let mut world = World::new(seed);
        world.disk.set_faults(DiskFaults {
            capacity_bytes: (seed % 2 == 0).then_some(64 * 1024),
            sync_failure_one_in: if seed % 2 == 1 { 40 } else { 0 },
            ..DiskFaults::default()
        });
        let failed = (0..600).any(|_| match world.step() {
            Ok(()) => false,
            Err(WalError::Disk(_)) => true,
            Err(e) => panic!("seed {seed}: {e}"),
        });
        if failed {
            failures += 1;
            assert!(
                matches!(world.wal.flush(), Err(WalError::Stopped)),
                "seed {seed}"
            );
            assert!(matches!(world.wal.push_vote(b"v"), Err(WalError::Stopped)));
        }
        world.disk.set_faults(DiskFaults::default());
        world.changed();
        // The machine lives on: what the log finds now it must keep through the power loss after.
        if seed % 4 < 2 {
            world.disk.kill();
            world.reopen(seed);
        }
        world.disk.crash();
        world.reopen(seed);
    }
    assert!(failures > 100, "the faults must bite: {failures}");
}

/// What stands in `disk` is the model, or the log says it is corrupt. Never anything else.
fn damaged_or_right(disk: &SimDisk, model: &Model, what: &str) -> bool {
    let opened = Wal::open(disk.reopen(), OPTIONS);
    match opened.and_then(|o| match o {
        Opened::Ready(mut wal) => Model::of(&mut wal),
        Opened::Missing(_) => panic!("{what}: the log is gone"),
    }) {
        Ok(found) => {
            assert_eq!(&found, model, "{what}");
            false
        }
        Err(WalError::Corrupt(_)) => true,
        Err(e) => panic!("{what}: {e}"),
    }
}

fn sealed_world(seed: u64, steps: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step().unwrap();
    }
    world.wal.seal().unwrap();
    world.disk.kill();
    world
}

#[test]
fn damage_to_any_byte_of_a_sealed_log_is_found_or_harmless() {
    let world = sealed_world(7, 60);
    let mut found = 0;
    let mut flipped = 0;
    for (name, size) in world.disk.files() {
        for offset in 0..size {
            let fork = world.disk.fork();
            assert!(fork.corrupt(&name, offset, 1 << (offset % 8)));
            flipped += 1;
            found += usize::from(damaged_or_right(
                &fork,
                &world.model,
                &format!("{name} byte {offset}"),
            ));
        }
    }
    // The others held nothing.
    assert!(found > 2_000, "{found} of {flipped}");
}

#[test]
fn damage_to_any_sector_of_a_sealed_log_is_found_or_harmless() {
    for seed in 0..60 {
        let world = sealed_world(seed, 40 + seed * 5);
        for (name, size) in world.disk.files() {
            for offset in (0..size).step_by(512) {
                for byte in [0, 0xff] {
                    let fork = world.disk.fork();
                    fork.corrupt_sector(&name, offset, byte);
                    let what = format!("seed {seed} {name} sector at {offset} filled with {byte}");
                    damaged_or_right(&fork, &world.model, &what);
                }
            }
        }
    }
}

#[test]
fn a_sealed_log_without_one_of_its_segments_is_corrupt() {
    let mut seen = 0;
    for seed in 0..40 {
        let world = sealed_world(seed, 400);
        let files = world.disk.files();
        for (at, (name, _)) in files.iter().enumerate().filter(|_| files.len() > 1) {
            let fork = world.disk.fork();
            fork.reopen().remove(name).unwrap();
            let what = format!("seed {seed} without {name}");
            let found = damaged_or_right(&fork, &world.model, &what);
            // Of the oldest all may have been purged or truncated since.
            assert!(found || at == 0, "{what}: nothing is said");
            seen += usize::from(found);
        }
    }
    assert!(seen > 40, "{seen}");
}

/// The write of a batch cut at every byte: the batch is there as a whole or not at all.
#[test]
fn a_batch_cut_at_any_byte_is_forgotten_as_a_whole() {
    let disk = SimDisk::new(1);
    let mut wal = Wal::create(disk.reopen(), OPTIONS, WAL_ID).unwrap();
    wal.push_entry(0, b"kept").unwrap();
    wal.flush().unwrap();
    let start = wal.tail;
    wal.push_vote(b"lost").unwrap();
    wal.push_entry(1, b"lost too").unwrap();
    wal.flush().unwrap();
    let end = wal.tail;
    let name = file_name(1);
    for cut in start..=end {
        let fork = disk.fork();
        fork.cut(&name, cut);
        let Opened::Ready(mut wal) = Wal::open(fork.reopen(), OPTIONS).unwrap() else {
            panic!("cut at {cut}");
        };
        // Two records of 40 bytes; behind them only padding is cut.
        let whole = cut >= start + 80;
        assert_eq!(wal.next(), if whole { 2 } else { 1 }, "cut at {cut}");
        assert_eq!(wal.vote().is_some(), whole, "cut at {cut}");
        // And it goes on from there.
        wal.push_entry(wal.next(), b"after").unwrap();
        wal.flush().unwrap();
        let next = wal.next();
        let Opened::Ready(wal) = Wal::open(fork.reopen(), OPTIONS).unwrap() else {
            panic!("cut at {cut}");
        };
        assert_eq!(wal.next(), next, "cut at {cut}");
    }
}

#[test]
fn a_batch_costs_one_flush() {
    let disk = SimDisk::new(1);
    let mut wal = Wal::create(disk.reopen(), OPTIONS, WAL_ID).unwrap();
    let before = disk.syncs();
    for index in 0..50 {
        wal.push_entry(index, b"entry").unwrap();
    }
    wal.flush().unwrap();
    assert_eq!(disk.syncs() - before, 1);
}

#[test]
fn purged_segments_are_deleted_and_the_vote_stays() {
    let disk = SimDisk::new(1);
    let mut wal = Wal::create(disk.reopen(), OPTIONS, WAL_ID).unwrap();
    wal.push_vote(b"term 3").unwrap();
    for index in 0..200 {
        wal.push_entry(index, &[7; 1_000]).unwrap();
    }
    wal.flush().unwrap();
    assert!(wal.segments() > 10);
    wal.purge(199, b"log id of 199").unwrap();
    assert_eq!(wal.segments(), 1);
    let Opened::Ready(wal) = Wal::open(disk.reopen(), OPTIONS).unwrap() else {
        panic!("the log is gone");
    };
    assert_eq!(wal.vote(), Some(&b"term 3"[..]));
    assert_eq!((wal.first(), wal.next()), (200, 200));
    assert_eq!(wal.purged().map(|(index, _)| *index), Some(199));
}

#[test]
fn rules_of_the_log_are_refused_without_harm() {
    let mut wal = Wal::create(SimDisk::new(1), OPTIONS, WAL_ID).unwrap();
    assert!(matches!(
        wal.push_entry(5, b"gap"),
        Err(WalError::Misuse(_))
    ));
    assert!(matches!(wal.push_truncate(1), Err(WalError::Misuse(_))));
    assert!(matches!(
        wal.push_entry(0, &[0; 2_001]),
        Err(WalError::TooLarge { max: 2_000, .. })
    ));
    wal.push_entry(0, b"right").unwrap();
    wal.flush().unwrap();
    assert_eq!(wal.read(0).unwrap(), b"right");
}

#[test]
fn the_log_works_on_a_real_directory() {
    let directory = tempfile::tempdir().unwrap();
    let disk = || crate::disk::RealDisk::open(directory.path()).unwrap();
    let mut wal = Wal::create(disk(), OPTIONS, WAL_ID).unwrap();
    for index in 0..100 {
        wal.push_entry(index, &[index as u8; 700]).unwrap();
        wal.flush().unwrap();
    }
    wal.purge(49, b"id").unwrap();
    wal.seal().unwrap();
    drop(wal);
    let Opened::Ready(mut wal) = Wal::open(disk(), OPTIONS).unwrap() else {
        panic!("the log is gone");
    };
    assert_eq!((wal.first(), wal.next()), (50, 100));
    assert_eq!(wal.read(77).unwrap(), [77; 700]);
}

/// Without a seal, later batches are the witnesses: each was written after the one before it was
/// flushed.
#[test]
fn damage_to_any_byte_of_an_unsealed_log_is_found_except_in_its_last_batch() {
    let disk = SimDisk::new(1);
    let mut wal = Wal::create(disk.reopen(), OPTIONS, WAL_ID).unwrap();
    let start = wal.tail;
    let mut last = start;
    for index in 0..5 {
        last = wal.tail;
        wal.push_entry(index * 2, b"one").unwrap();
        wal.push_entry(index * 2 + 1, b"and another").unwrap();
        wal.flush().unwrap();
    }
    let name = file_name(1);
    for offset in start..wal.tail {
        let fork = disk.fork();
        fork.corrupt(&name, offset, 0x04);
        let opened = Wal::open(fork.reopen(), OPTIONS);
        // Records of 40 and 48 bytes; the rest of the block holds nothing.
        let padding = offset % 4_096 >= 88;
        if offset < last && !padding {
            assert!(matches!(opened, Err(WalError::Corrupt(_))), "byte {offset}");
            continue;
        }
        let Ok(Opened::Ready(wal)) = opened else {
            panic!("byte {offset}: a torn write must not cost the log");
        };
        assert_eq!(wal.next(), if padding { 10 } else { 8 }, "byte {offset}");
    }
}
