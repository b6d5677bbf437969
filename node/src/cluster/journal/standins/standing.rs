//! One room's transports that this node stands by for: which, on which shard, how far; what its
//! shards have to be told of what the home says. No locks, no channels; owned by `standins`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::{Add, Sub};

use consensus::state::Mandate;
use media::{Command, TransportKey};

use super::Reserved;
use crate::cluster::journal::wire::FromStandby;
use crate::cluster::limits::{STAND_INS_BYTES_MAX, STAND_INS_MAX};
use crate::participant::KeySpace;
use crate::room::journal::{MediaChange, StandbyWord};

pub(super) struct StandIn {
    pub(super) participant_sid: String,
    /// How many transports the participant had when this one's newest image was made.
    of: u32,
    pub(super) shard: usize,
    pub(super) ready: bool,
    /// The home was told where its client would reach this node.
    pub(super) told: bool,
    /// Of its newest image and what was added to that.
    bytes: usize,
}

/// What transports cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) count: usize,
    pub(super) bytes: usize,
}

impl Add for Weight {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl Sub for Weight {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            count: self.count - other.count,
            bytes: self.bytes - other.bytes,
        }
    }
}

impl Weight {
    /// For one node.
    pub(super) fn is_too_much(self) -> bool {
        self.count > STAND_INS_MAX || self.bytes > STAND_INS_BYTES_MAX
    }
}

/// What comes of what a home says.
pub(super) enum Told {
    Nothing,
    /// Changes of something that is not here.
    Unknown,
    Shard(usize, Command),
}

pub(super) struct Standing {
    pub(super) mandate: Mandate,
    /// The room's part of every key.
    pub(super) reserved: Reserved,
    pub(super) transports: BTreeMap<u64, StandIn>,
    bytes: usize,
}

impl Standing {
    pub(super) fn new(mandate: Mandate, reserved: Reserved) -> Self {
        Self {
            mandate,
            reserved,
            transports: BTreeMap::new(),
            bytes: 0,
        }
    }

    pub(super) fn weight(&self) -> Weight {
        Weight {
            count: self.transports.len(),
            bytes: self.bytes,
        }
    }

    fn number(&self) -> u32 {
        self.reserved.reservation.number
    }

    pub(super) fn key(&self, transport: u64) -> TransportKey {
        TransportKey(KeySpace::new(self.number(), 0).room.0 | transport)
    }

    /// Participants all of whose transports are ready.
    pub(super) fn ready(&self) -> HashSet<String> {
        let mut counts: HashMap<&str, (u32, u32)> = HashMap::new();
        for one in self.transports.values() {
            let count = counts.entry(&one.participant_sid).or_default();
            // An image that was made before another transport came tells of fewer.
            *count = (count.0 + u32::from(one.ready), count.1.max(one.of));
        }
        let all = counts
            .into_iter()
            .filter(|(_, (ready, of))| ready == of && *of > 0);
        all.map(|(sid, _)| sid.to_owned()).collect()
    }

    /// `shards`: how many this node has.
    pub(super) fn apply(&mut self, number: u64, change: MediaChange, shards: usize) -> Told {
        let transport = self.key(number);
        match change {
            MediaChange::Image {
                participant_sid,
                transports,
                shard,
                probe,
                image,
            } => {
                let known = self.transports.get(&number);
                let shard = known.map_or(shard as usize % shards, |one| one.shard);
                let one = StandIn {
                    participant_sid,
                    of: transports,
                    shard,
                    // A shard says it once, however many images follow.
                    ready: known.is_some_and(|one| one.ready),
                    // The home may ask for want of them: it forgets over an ICE restart.
                    told: false,
                    bytes: image.len(),
                };
                self.bytes = self.bytes + one.bytes - known.map_or(0, |one| one.bytes);
                self.transports.insert(number, one);
                let room = KeySpace::new(self.number(), 0).room;
                let room = KeySpace::room_on(room, shard);
                let command = Command::AddStandby {
                    transport,
                    room,
                    probe,
                    image,
                };
                Told::Shard(shard, command)
            }
            MediaChange::Delta(delta) => match self.transports.get_mut(&number) {
                Some(one) => {
                    one.bytes += delta.len();
                    self.bytes += delta.len();
                    Told::Shard(one.shard, Command::UpdateStandby { transport, delta })
                }
                None => Told::Unknown,
            },
            MediaChange::Gone => match self.remove(number) {
                Some((shard, command)) => Told::Shard(shard, command),
                None => Told::Nothing,
            },
            MediaChange::Only(_) => Told::Nothing,
        }
    }

    /// What its shard is told.
    pub(super) fn remove(&mut self, number: u64) -> Option<(usize, Command)> {
        let one = self.transports.remove(&number)?;
        self.bytes -= one.bytes;
        let transport = self.key(number);
        Some((one.shard, Command::DropStandby { transport }))
    }

    /// To be said to the home.
    pub(super) fn word(&self, room: &str, transport: u64, word: StandbyWord) -> FromStandby {
        FromStandby::Media {
            room: room.to_owned(),
            tenure: self.mandate.into(),
            transport,
            word,
        }
    }
}
