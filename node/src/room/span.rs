//! On which shard each participant of a room is, of this node or of another, and what that means
//! for commands: they go to the shard they concern, and a track watched on another shard is
//! relayed there for as long as somebody watches. A core: the room asks it, it sees neither
//! shards nor packets.

mod image;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use media::relay::frame::RelayId;
use media::types::{PayloadType, TrackConfig};
use media::{Command, DownTrackKey, LinkKey, RoomKey, TrackKey, TransportKey};

use super::environment::FarShard;
use super::limits::SHARD_BUSY_PERMILLE;
use crate::cluster::relay::places::{is_near, slot_of};
use crate::participant::KeySpace;

/// Names tracks on links: between the shards of the process, and between other nodes for rooms
/// whose home this one is.
#[derive(Clone, Debug, Default)]
pub struct RelayIds(Arc<AtomicU64>);

impl RelayIds {
    /// From now on no other node gives out the same ones: `life` is never used twice in a cluster.
    pub fn live(&self, life: u32) {
        self.0.store(u64::from(life) << 32, Ordering::Relaxed);
    }

    fn next(&self) -> RelayId {
        RelayId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// How many participants of one room are enough, until every place has as many; `None`: however
/// many there are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Full {
    pub(super) shard: Option<usize>,
    pub(super) node: Option<usize>,
}

/// Where a track comes from.
#[derive(Debug)]
struct Track {
    shard: usize,
    transport: TransportKey,
    config: TrackConfig,
    /// Other shards it is relayed to, and how many down tracks it has there.
    relayed: BTreeMap<usize, u32>,
}

/// Where a down track is, and what it forwards.
#[derive(Clone, Copy, Debug)]
struct Down {
    shard: usize,
    transport: TransportKey,
    track: TrackKey,
}

/// See the file header.
#[derive(Debug)]
pub(super) struct Span {
    room: RoomKey,
    home: usize,
    ids: RelayIds,
    /// Place of each participant, by number: a shard of this node or of another.
    members: BTreeMap<u16, usize>,
    tracks: BTreeMap<TrackKey, Track>,
    payload_types: BTreeMap<TrackKey, Vec<PayloadType>>,
    downs: BTreeMap<DownTrackKey, Down>,
}

impl Span {
    pub(super) fn new(room: RoomKey, home: usize, ids: RelayIds) -> Span {
        Span {
            room,
            home,
            ids,
            members: BTreeMap::new(),
            tracks: BTreeMap::new(),
            payload_types: BTreeMap::new(),
            downs: BTreeMap::new(),
        }
    }

    /// Gives a newcomer its place: the room's own shard until that one has enough of its
    /// participants or too much to do, then another one of this node or of others, where the
    /// bounds allow any; each further one costs relays. `near`: share of its core each shard of
    /// this node used lately, in thousandths.
    pub(super) fn place(
        &mut self,
        number: u16,
        full: Full,
        near: &[u16],
        far: &[FarShard],
    ) -> usize {
        let near = (0..near.len().max(1)).map(|shard| FarShard {
            index: shard,
            busy_permille: near.get(shard).copied().unwrap_or(0),
        });
        let mut choice: Vec<FarShard> = match full.shard {
            Some(_) => near.collect(),
            None => near.filter(|one| one.index == self.home).collect(),
        };
        if full.node.is_some() {
            choice.extend_from_slice(far);
        }
        let chosen = choice
            .iter()
            .min_by_key(|one| self.rank(one, full, &choice));
        let shard = chosen.map_or(self.home, |one| one.index);
        self.members.insert(number, shard);
        shard
    }

    /// How bad a place is: the most crowded node last, then the most crowded shard, then where the
    /// room is not yet, then the busier one.
    fn rank(&self, one: &FarShard, full: Full, choice: &[FarShard]) -> impl Ord + use<> {
        let node = slot_of(one.index);
        let mut busy = (0u32, 0u32);
        for other in choice.iter().filter(|other| slot_of(other.index) == node) {
            busy = (busy.0 + u32::from(other.busy_permille), busy.1 + 1);
        }
        let count = |at: &dyn Fn(usize) -> bool| self.members.values().filter(|m| at(**m)).count();
        let here = count(&|at| at == one.index);
        let on_node = count(&|at| slot_of(at) == node);
        let crowded = |count: usize, full: Option<usize>, busy: u32| {
            let by_count = full.map_or(0, |full| count / full.max(1));
            by_count + usize::from(busy >= u32::from(SHARD_BUSY_PERMILLE))
        };
        let by_node = crowded(on_node, full.node, busy.0 / busy.1.max(1));
        let by_shard = crowded(here, full.shard, one.busy_permille.into());
        let distance = match (one.index == self.home, here, on_node) {
            (true, ..) => 0,
            (_, 1.., _) => 1,
            (_, _, 1..) if full.shard.is_none() => 3,
            _ => 2,
        };
        let load = one.busy_permille;
        (
            by_node,
            by_shard,
            distance,
            !is_near(one.index),
            load,
            one.index,
        )
    }

    /// Who is on a place.
    pub(super) fn members_on(&self, shard: usize) -> Vec<u16> {
        let members = self.members.iter().filter(|(_, at)| **at == shard);
        members.map(|(number, _)| *number).collect()
    }

    pub(super) fn shard(&self, number: u16) -> usize {
        self.members.get(&number).copied().unwrap_or(self.home)
    }

    pub(super) fn forget(&mut self, number: u16) {
        self.members.remove(&number);
        self.payload_types
            .retain(|track, _| KeySpace::participant_of(track.0) != number);
    }

    /// Hands `tell` what which shard is told.
    pub(super) fn route(&mut self, command: Command, tell: &mut impl FnMut(usize, Command)) {
        match command {
            Command::AddTransport {
                transport,
                local,
                spare,
                ..
            } => {
                let shard = self.shard_of(transport.0);
                let room = KeySpace::room_on(self.room, shard);
                let command = Command::AddTransport {
                    transport,
                    room,
                    local,
                    spare,
                };
                tell(shard, command);
            }
            Command::SetReceive { ref sections, .. } => {
                for section in sections {
                    if let Some(track) = section.track {
                        self.set_payload_types(track, &section.payload_types, tell);
                    }
                }
                tell(self.shard_of_command(&command), command);
            }
            Command::AddTrack {
                track,
                transport,
                config,
                ..
            } => self.add_track(track, transport, config, tell),
            Command::RemoveTrack { track } => self.remove_track(track, tell),
            Command::AddDownTrack {
                down_track,
                track,
                transport,
                ..
            } => {
                let down = Down {
                    shard: self.shard_of(transport.0),
                    transport,
                    track,
                };
                self.bring(track, down.shard, tell);
                self.downs.insert(down_track, down);
                tell(down.shard, command);
            }
            Command::SwitchDownTrack { down_track, track } => {
                self.switch(down_track, track, tell);
            }
            Command::RemoveDownTrack { down_track } => {
                tell(self.shard_of(down_track.0), command);
                if let Some(down) = self.downs.remove(&down_track) {
                    self.leave(down.track, down.shard, tell);
                }
            }
            Command::CloseTransport { transport } => self.close(transport, tell),
            other => tell(self.shard_of_command(&other), other),
        }
    }

    /// The shard of the participant that issued a key.
    fn shard_of(&self, key: u64) -> usize {
        self.shard(KeySpace::participant_of(key))
    }

    fn shard_of_command(&self, command: &Command) -> usize {
        self.shard_of(command.subject().key())
    }

    fn set_payload_types(
        &mut self,
        track: TrackKey,
        payload_types: &[PayloadType],
        tell: &mut impl FnMut(usize, Command),
    ) {
        let known = self.payload_types.entry(track).or_default();
        if known == payload_types {
            return;
        }
        *known = payload_types.to_vec();
        let relayed = self.tracks.get(&track).map(|track| &track.relayed);
        for shard in relayed.into_iter().flat_map(BTreeMap::keys) {
            let payload_types = payload_types.to_vec();
            let command = Command::SetRelayedPayloadTypes {
                track,
                payload_types,
            };
            tell(*shard, command);
        }
    }

    fn add_track(
        &mut self,
        track: TrackKey,
        transport: TransportKey,
        config: TrackConfig,
        tell: &mut impl FnMut(usize, Command),
    ) {
        let shard = self.shard_of(transport.0);
        let known = Track {
            shard,
            transport,
            config: config.clone(),
            relayed: BTreeMap::new(),
        };
        self.tracks.entry(track).or_insert(known);
        let room = KeySpace::room_on(self.room, shard);
        let command = Command::AddTrack {
            track,
            room,
            transport,
            config,
        };
        tell(shard, command);
    }

    fn remove_track(&mut self, track: TrackKey, tell: &mut impl FnMut(usize, Command)) {
        self.payload_types.remove(&track);
        let Some(known) = self.tracks.remove(&track) else {
            return tell(self.shard_of(track.0), Command::RemoveTrack { track });
        };
        tell(known.shard, Command::RemoveTrack { track });
        for shard in known.relayed.into_keys() {
            tell(shard, Command::RemoveTrack { track });
        }
    }

    fn switch(
        &mut self,
        down_track: DownTrackKey,
        track: TrackKey,
        tell: &mut impl FnMut(usize, Command),
    ) {
        let command = Command::SwitchDownTrack { down_track, track };
        let Some(down) = self.downs.get(&down_track).copied() else {
            return tell(self.shard_of(down_track.0), command);
        };
        self.bring(track, down.shard, tell);
        self.downs.insert(down_track, Down { track, ..down });
        tell(down.shard, command);
        self.leave(down.track, down.shard, tell);
    }

    /// A transport takes its tracks and down tracks with it.
    fn close(&mut self, transport: TransportKey, tell: &mut impl FnMut(usize, Command)) {
        tell(
            self.shard_of(transport.0),
            Command::CloseTransport { transport },
        );
        let downs = self.downs.iter();
        let gone: Vec<_> = downs
            .filter(|(_, down)| down.transport == transport)
            .map(|(key, down)| (*key, *down))
            .collect();
        for (key, down) in gone {
            self.downs.remove(&key);
            self.leave(down.track, down.shard, tell);
        }
        let tracks = self.tracks.iter();
        let gone: Vec<_> = tracks
            .filter(|(_, track)| track.transport == transport)
            .map(|(key, _)| *key)
            .collect();
        for track in gone {
            self.payload_types.remove(&track);
            let relayed = self.tracks.remove(&track).map(|track| track.relayed);
            for shard in relayed.into_iter().flat_map(BTreeMap::into_keys) {
                tell(shard, Command::RemoveTrack { track });
            }
        }
    }

    /// One more down track of `track` on a shard: the first makes it available there.
    fn bring(&mut self, key: TrackKey, shard: usize, tell: &mut impl FnMut(usize, Command)) {
        let Some(track) = self.tracks.get_mut(&key) else {
            return;
        };
        if track.shard == shard {
            return;
        }
        let users = track.relayed.entry(shard).or_insert(0);
        *users += 1;
        if *users > 1 {
            return;
        }
        let relay = self.ids.next();
        let there = Command::AddRelayedTrack {
            track: key,
            room: KeySpace::room_on(self.room, shard),
            link: LinkKey(track.shard as u64),
            relay,
            config: track.config.clone(),
            payload_types: self.payload_types.get(&key).cloned().unwrap_or_default(),
        };
        let here = Command::RelayTrack {
            track: key,
            link: LinkKey(shard as u64),
            relay,
        };
        tell(track.shard, here);
        tell(shard, there);
    }

    /// One less: the last ends it.
    fn leave(&mut self, key: TrackKey, shard: usize, tell: &mut impl FnMut(usize, Command)) {
        let Some(track) = self.tracks.get_mut(&key) else {
            return;
        };
        let Some(users) = track.relayed.get_mut(&shard) else {
            return;
        };
        *users -= 1;
        if *users > 0 {
            return;
        }
        track.relayed.remove(&shard);
        tell(shard, Command::RemoveTrack { track: key });
        let link = LinkKey(shard as u64);
        tell(track.shard, Command::StopRelay { track: key, link });
    }
}

#[cfg(test)]
mod tests;
