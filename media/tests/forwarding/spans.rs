//! A control plane as small as can be: sends every command to the shard it concerns, and makes and
//! ends relays as down tracks of tracks on other shards come and go.

use std::collections::BTreeMap;

use skein_media::ids::{DownTrackKey, LinkKey, RoomKey, TrackKey};
use skein_media::relay::frame::RelayId;
use skein_media::types::{PayloadType, TrackConfig};
use skein_media::{Command, Subject};

/// Clients are dealt out in the order of their keys.
#[allow(clippy::modulo_one)] // the bench that includes this has one shard
pub(crate) fn shard_of(transport: u64) -> usize {
    transport as usize % crate::SHARDS
}

struct Track {
    shard: usize,
    room: RoomKey,
    config: TrackConfig,
}

#[derive(Default)]
pub(crate) struct Spans {
    tracks: BTreeMap<TrackKey, Track>,
    payload_types: BTreeMap<TrackKey, Vec<PayloadType>>,
    /// What each down track forwards, and where it is.
    downs: BTreeMap<DownTrackKey, (TrackKey, usize)>,
    relays: u64,
}

impl Spans {
    pub(crate) fn route(&mut self, command: Command) -> Vec<(usize, Command)> {
        match command {
            Command::SetReceive {
                transport,
                sections,
            } => {
                for section in &sections {
                    if let Some(track) = section.track {
                        let types = section.payload_types.to_vec();
                        self.payload_types.insert(track, types);
                    }
                }
                let command = Command::SetReceive {
                    transport,
                    sections,
                };
                vec![(shard_of(transport.0), command)]
            }
            Command::AddTrack {
                track,
                room,
                transport,
                config,
            } => {
                let shard = shard_of(transport.0);
                let known = Track {
                    shard,
                    room,
                    config: config.clone(),
                };
                self.tracks.entry(track).or_insert(known);
                let command = Command::AddTrack {
                    track,
                    room,
                    transport,
                    config,
                };
                vec![(shard, command)]
            }
            Command::RemoveTrack { track } => {
                let mut shards: Vec<usize> = self.watching(track);
                shards.push(self.tracks.get(&track).map_or(0, |track| track.shard));
                self.downs.retain(|_, (of, _)| *of != track);
                self.tracks.remove(&track);
                let remove = |shard| (shard, Command::RemoveTrack { track });
                shards.into_iter().map(remove).collect()
            }
            Command::AddDownTrack {
                down_track,
                track,
                transport,
                ..
            } => {
                let shard = shard_of(transport.0);
                let mut commands = self.bring(track, shard);
                self.downs.insert(down_track, (track, shard));
                commands.push((shard, command));
                commands
            }
            Command::SwitchDownTrack { down_track, track } => {
                let Some((old, shard)) = self.downs.get(&down_track).copied() else {
                    return vec![(0, command)];
                };
                let mut commands = self.bring(track, shard);
                self.downs.insert(down_track, (track, shard));
                commands.push((shard, command));
                commands.extend(self.leave(old, shard));
                commands
            }
            Command::RemoveDownTrack { down_track } => {
                let Some((track, shard)) = self.downs.remove(&down_track) else {
                    return vec![(0, command)];
                };
                let mut commands = vec![(shard, command)];
                commands.extend(self.leave(track, shard));
                commands
            }
            other => {
                let shard = self.shard_of_command(&other);
                vec![(shard, other)]
            }
        }
    }

    fn shard_of_command(&self, command: &Command) -> usize {
        match command.subject() {
            Subject::Transport(transport) => shard_of(transport.0),
            Subject::Track(track) => self.tracks.get(&track).map_or(0, |track| track.shard),
            Subject::DownTrack(down) => self.downs.get(&down).map_or(0, |(_, shard)| *shard),
            Subject::Room(_) => 0,
        }
    }

    /// Shards a track is relayed to.
    fn watching(&self, track: TrackKey) -> Vec<usize> {
        let home = self.tracks.get(&track).map(|track| track.shard);
        let downs = self.downs.values().filter(|(of, _)| *of == track);
        let mut shards: Vec<usize> = downs.map(|(_, shard)| *shard).collect();
        shards.sort_unstable();
        shards.dedup();
        shards.retain(|shard| Some(*shard) != home);
        shards
    }

    /// Makes a track available on a shard.
    fn bring(&mut self, track: TrackKey, shard: usize) -> Vec<(usize, Command)> {
        let Some(known) = self.tracks.get(&track) else {
            return Vec::new();
        };
        if known.shard == shard || self.watching(track).contains(&shard) {
            return Vec::new();
        }
        self.relays += 1;
        let relay = RelayId(self.relays);
        let there = Command::AddRelayedTrack {
            track,
            room: known.room,
            link: LinkKey(known.shard as u64),
            relay,
            config: known.config.clone(),
            payload_types: self.payload_types.get(&track).cloned().unwrap_or_default(),
        };
        let link = LinkKey(shard as u64);
        let here = Command::RelayTrack { track, link, relay };
        vec![(known.shard, here), (shard, there)]
    }

    /// Ends a relay nobody needs any more.
    fn leave(&mut self, track: TrackKey, shard: usize) -> Vec<(usize, Command)> {
        let Some(home) = self.tracks.get(&track).map(|track| track.shard) else {
            return Vec::new();
        };
        if home == shard || self.watching(track).contains(&shard) {
            return Vec::new();
        }
        let link = LinkKey(shard as u64);
        vec![
            (shard, Command::RemoveTrack { track }),
            (home, Command::StopRelay { track, link }),
        ]
    }
}
