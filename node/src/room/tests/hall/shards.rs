//! What shards were told, in a form that can be compared between nodes.
#![allow(clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use media::Command;

use crate::participant::KeySpace;

/// What shards know, by keys without their room: two nodes that were told the same are equal.
#[derive(Debug, Default)]
pub(in crate::room::tests) struct ShardModel {
    pub(in crate::room::tests) transports: BTreeMap<u64, String>,
    pub(in crate::room::tests) tracks: BTreeMap<u64, String>,
    pub(in crate::room::tests) muted: BTreeMap<u64, bool>,
    /// By where they go and what they carry: their numbers follow the order of random sids.
    pub(in crate::room::tests) downs: BTreeMap<(u64, u64), String>,
    pub(in crate::room::tests) keys: BTreeMap<u64, (u64, u64)>,
    pub(in crate::room::tests) receive: BTreeMap<u64, String>,
    /// Transports and streams of channels that were there before.
    pub(in crate::room::tests) adopted: BTreeSet<(u64, u16)>,
    /// Transports a standby follows, or did.
    pub(in crate::room::tests) followed: BTreeMap<u64, bool>,
    pub(in crate::room::tests) frozen: BTreeSet<u64>,
}

impl PartialEq for ShardModel {
    fn eq(&self, other: &Self) -> bool {
        let all = |one: &Self| {
            let maps = (
                one.transports.clone(),
                one.tracks.clone(),
                one.receive.clone(),
            );
            (maps, one.muted.clone(), one.downs.clone())
        };
        all(self) == all(other)
    }
}

fn low(key: u64) -> u64 {
    KeySpace::within_room(key)
}

impl ShardModel {
    pub(super) fn hear(&mut self, command: &Command) {
        match command {
            Command::AddTransport { transport, .. } => {
                assert!(!self.transports.contains_key(&low(transport.0)), "twice");
                self.transports.insert(low(transport.0), String::new());
            }
            Command::TakeOver { transport } => {
                self.transports.insert(low(transport.0), String::new());
            }
            Command::CloseTransport { transport } => {
                let key = low(transport.0);
                self.transports.remove(&key);
                self.receive.remove(&key);
            }
            Command::SetBandwidthPolicy { transport, policy } => {
                let known = self.transports.get_mut(&low(transport.0));
                *known.expect("a transport") = format!("{policy:?}");
            }
            Command::SetReceive {
                transport,
                sections,
            } => {
                let mut sections = sections.clone();
                for section in &mut sections {
                    section.track = section.track.map(|track| media::TrackKey(low(track.0)));
                }
                assert!(
                    self.transports.contains_key(&low(transport.0)),
                    "{command:?}"
                );
                self.receive
                    .insert(low(transport.0), format!("{sections:?}"));
            }
            Command::AddTrack {
                track,
                transport,
                config,
                ..
            } => {
                let transport = low(transport.0);
                assert!(self.transports.contains_key(&transport), "{command:?}");
                self.tracks
                    .insert(low(track.0), format!("{transport} {config:?}"));
            }
            Command::SetTrackMuted { track, muted } => {
                self.muted.insert(low(track.0), *muted);
            }
            Command::RemoveTrack { track } => {
                self.tracks.remove(&low(track.0));
                self.muted.remove(&low(track.0));
            }
            Command::AddDownTrack {
                down_track,
                track,
                transport,
                section,
                limit,
                paused,
            } => {
                assert!(self.tracks.contains_key(&low(track.0)), "{command:?}");
                assert!(
                    self.transports.contains_key(&low(transport.0)),
                    "{command:?}"
                );
                let mut section = section.clone();
                section.mid.clear();
                section.ssrc = 0;
                section.rtx_ssrc = section.rtx_ssrc.map(|_| 0);
                let (to, from) = (low(transport.0), low(track.0));
                let text = format!("{section:?} {limit:?} {paused}");
                self.downs.insert((to, from), text);
                self.keys.insert(low(down_track.0), (to, from));
            }
            Command::RemoveDownTrack { down_track } => {
                if let Some(at) = self.keys.remove(&low(down_track.0)) {
                    self.downs.remove(&at);
                }
            }
            Command::UpdateDownTrack {
                down_track,
                limit,
                paused,
            } => {
                let at = self.keys[&low(down_track.0)];
                let known = self.downs.get_mut(&at).expect("a down track");
                let at = known.find(" LayerLimit").expect("a limit");
                known.replace_range(at.., &format!(" {limit:?} {paused}"));
            }
            Command::AdoptChannel {
                transport, stream, ..
            } => {
                self.adopted.insert((low(transport.0), *stream));
            }
            Command::Replicate { transport, on, .. } => {
                self.followed.insert(low(transport.0), *on);
            }
            Command::Freeze { transport } => {
                self.frozen.insert(low(transport.0));
            }
            _ => {}
        }
    }
}
