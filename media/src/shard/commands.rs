//! Commands about transports and published tracks. A command for a key that is gone, or that exists
//! already, is ignored and counted: removal races with everything.

use std::time::Instant;

use bytes::Bytes;
use rand::RngExt;

use crate::command::Command;
use crate::event::{Event, TransportState};
use crate::ids::{RoomKey, TrackKey, TransportKey};
use crate::relay::track::RelayCopy;
use crate::shard::Shard;
use crate::shard::slot::TransportSlot;
use crate::transport::{Transport, TransportOptions};
use crate::types::{IceCredentials, MediaKind, ReceiveSection, TrackConfig};
use crate::upstream::UpTrack;

impl Shard {
    pub(super) fn command(&mut self, now: Instant, command: Command) {
        if self.carry_out(now, command).is_none() {
            self.counters.commands_ignored += 1;
        }
    }

    fn carry_out(&mut self, now: Instant, command: Command) -> Option<()> {
        match command {
            Command::AddTransport {
                transport,
                room: _,
                local,
                spare,
            } => self.add_transport(now, transport, (local, spare)),
            Command::SetRemote { transport, remote } => {
                self.on_transport(transport, |t| t.set_remote(now, remote))
            }
            Command::AddRemoteCandidate {
                transport,
                candidate,
            } => self.on_transport(transport, |t| t.add_remote_candidate(now, candidate)),
            Command::RestartIce { transport, local } => {
                let (index, ufrag) = (self.find(transport)?, local.ufrag.clone());
                if self.ufrags.get(&ufrag).is_some_and(|known| *known != index) {
                    return None;
                }
                self.on_transport(transport, |t| t.restart_ice(now, local))?;
                self.learn_ufrag(index, ufrag)
            }
            Command::CloseTransport { transport } => self.close_transport(now, transport),
            Command::Nominate { transport, path } => {
                let index = self.find(transport)?;
                self.keep_path(index, path);
                self.on_transport(transport, |t| t.nominate(now, path))
            }
            Command::SetReceive {
                transport,
                sections,
            } => self.set_receive(now, transport, sections),
            Command::AddTrack {
                track,
                room,
                transport,
                config,
            } => self.add_track(now, track, room, transport, config),
            Command::SetTrackMuted { track, muted } => self.set_muted(track, muted),
            Command::RemoveTrack { track } => self.remove_track(track),
            Command::RequestKeyFrame { track } => self.request_key_frame(track),
            Command::Freeze { transport } => self.freeze(now, transport),
            Command::Thaw {
                transport,
                room: _,
                snapshot,
            } => self.thaw(now, transport, &snapshot),
            other => self.carry_out_of_standbys(now, other),
        }
    }

    /// Standing by, and data channels.
    fn carry_out_of_standbys(&mut self, now: Instant, command: Command) -> Option<()> {
        match command {
            Command::OpenChannel {
                transport,
                label,
                reliability,
            } => self.on_transport(transport, |t| t.open_channel(now, &label, reliability)),
            Command::AdoptChannel {
                transport,
                stream,
                label,
                reliability,
            } => self.on_transport(transport, |t| {
                t.adopt_channel(now, stream, &label, reliability)
            }),
            Command::SendData {
                transport,
                label,
                payload,
                binary,
            } => self.on_transport(transport, |t| {
                t.send_data(now, &label, &payload, binary);
            }),
            Command::Replicate {
                transport,
                on,
                sought,
            } => self.replicate(now, transport, (on, sought)),
            Command::Replicated { transport, version } => self.replicated(now, transport, version),
            Command::AddStandby {
                transport,
                room,
                probe,
                image,
            } => self.add_standby(now, transport, room, (probe, &image)),
            Command::UpdateStandby { transport, delta } => {
                self.update_standby(now, transport, &delta)
            }
            Command::TakeOver { transport } => self.take_over(now, transport),
            Command::DropStandby { transport } => self.drop_standby(transport),
            Command::DropStandbys { room } => self.drop_standbys(room),
            other => self.carry_out_subscription(now, other),
        }
    }

    pub(super) fn find(&self, transport: TransportKey) -> Option<u32> {
        self.transport_index.get(&transport).copied()
    }

    /// Lets a transport act and takes over what it wants done.
    fn on_transport(&mut self, key: TransportKey, act: impl FnOnce(&mut Transport)) -> Option<()> {
        let index = self.find(key)?;
        act(&mut self.transports.get_mut(index)?.transport);
        self.drain_transport(index);
        Some(())
    }

    fn add_transport(
        &mut self,
        now: Instant,
        key: TransportKey,
        (local, spare): (IceCredentials, bool),
    ) -> Option<()> {
        if self.transport_index.contains_key(&key) || self.ufrags.contains_key(&local.ufrag) {
            return None;
        }
        let ufrag = local.ufrag.clone();
        let seed = self.rng.random();
        let options = TransportOptions::default();
        let identity = match spare {
            true => &self.config.spare,
            false => &self.config.identity,
        };
        let transport = Transport::new(now, local, identity, options, seed);
        self.insert_transport(now, key, ufrag, transport);
        Some(())
    }

    pub(super) fn insert_transport(
        &mut self,
        now: Instant,
        key: TransportKey,
        ufrag: String,
        transport: Transport,
    ) {
        // 1 is what libwebrtc uses itself before it sends media; anything but 0 will do.
        let feedback_ssrc = self.rng.random_range(1..=u32::MAX);
        let slot = TransportSlot::new(now, key, transport, feedback_ssrc);
        let index = self.transports.insert(slot);
        self.transport_index.insert(key, index);
        self.learn_ufrag(index, ufrag);
        self.ticker.watch(now);
        self.drain_transport(index);
    }

    fn close_transport(&mut self, now: Instant, key: TransportKey) -> Option<()> {
        let index = self.find(key)?;
        if let Some(slot) = self.transports.get_mut(index) {
            slot.transport.close(now);
        }
        self.drain_transport(index);
        self.forget_transport(index);
        Some(())
    }

    /// Ends everything that hangs on a transport.
    fn forget_transport(&mut self, index: u32) -> Option<()> {
        let slot = self.transports.get(index)?;
        let (key, tracks, downs) = (
            slot.key,
            slot.tracks.clone(),
            slot.sender.down_tracks.clone(),
        );
        for down in downs {
            self.remove_down_track_at(down);
        }
        for track in tracks {
            self.remove_track_at(track);
        }
        self.transport_index.remove(&key);
        self.forget_addresses(index);
        self.ready.retain(|known| *known != index);
        self.paced.forget(index);
        self.timers.forget(index);
        self.transports.remove(index);
        Some(())
    }

    fn set_receive(
        &mut self,
        now: Instant,
        key: TransportKey,
        sections: Vec<ReceiveSection>,
    ) -> Option<()> {
        let index = self.find(key)?;
        self.transports
            .get_mut(index)?
            .receiver
            .set_sections(sections);
        self.rebind(now, index);
        Some(())
    }

    /// Connects the sections of a transport with its tracks.
    fn rebind(&mut self, now: Instant, index: u32) {
        let Some(slot) = self.transports.get_mut(index) else {
            return;
        };
        let (own, known) = (&slot.tracks, &self.track_index);
        let find = |section: &ReceiveSection| {
            let track = known.get(&section.track?).copied()?;
            own.contains(&track).then_some(track)
        };
        slot.receiver.rebind(&mut self.tracks, find);
        let tracks = slot.tracks.clone();
        for track in tracks {
            let Some(track) = self.tracks.get(track) else {
                continue;
            };
            for subscriber in &track.subscribers {
                if let Some(down) = self.down_tracks.get_mut(subscriber.down_track) {
                    down.rebind(track);
                }
            }
        }
        self.deliver_parked(now, index);
    }

    fn add_track(
        &mut self,
        now: Instant,
        key: TrackKey,
        room: RoomKey,
        transport: TransportKey,
        config: TrackConfig,
    ) -> Option<()> {
        let index = self.find(transport)?;
        if self.track_index.contains_key(&key) {
            return None;
        }
        let kind = config.kind;
        let track = self.tracks.insert(UpTrack::new(key, room, index, config));
        self.track_index.insert(key, track);
        self.transports.get_mut(index)?.tracks.push(track);
        if kind == MediaKind::Audio {
            let interval = self.config.audio_level.update_interval;
            self.rooms.add(now, room, track, interval);
        }
        self.rebind(now, index);
        Some(())
    }

    fn set_muted(&mut self, key: TrackKey, muted: bool) -> Option<()> {
        let index = *self.track_index.get(&key)?;
        let track = self.tracks.get_mut(index)?;
        track.muted = muted;
        if muted {
            track.level.reset();
        }
        track.copies.iter_mut().for_each(RelayCopy::changed);
        self.retarget_track(index);
        Some(())
    }

    fn remove_track(&mut self, key: TrackKey) -> Option<()> {
        let index = *self.track_index.get(&key)?;
        self.remove_track_at(index);
        Some(())
    }

    fn remove_track_at(&mut self, index: u32) {
        self.unlink_track(index);
        let Some(track) = self.tracks.get(index) else {
            return;
        };
        let (key, room, transport) = (track.key, track.room, track.transport);
        let subscribers: Vec<u32> = track.subscribers.iter().map(|s| s.down_track).collect();
        // They wait for another source, or for their own end.
        for down in subscribers {
            self.orphan(down);
        }
        if let Some(slot) = self.transports.get_mut(transport) {
            slot.tracks.retain(|known| *known != index);
            slot.receiver.forget_track(index);
        }
        self.rooms.remove(room, index);
        self.track_index.remove(&key);
        self.tracks.remove(index);
    }

    fn request_key_frame(&mut self, key: TrackKey) -> Option<()> {
        let track = self.tracks.get_mut(*self.track_index.get(&key)?)?;
        for (_, layer) in track.layers_mut().filter(|(_, layer)| layer.active) {
            layer.key_frames.request();
        }
        Some(())
    }

    fn freeze(&mut self, now: Instant, key: TransportKey) -> Option<()> {
        let index = self.find(key)?;
        let snapshot = self.transports.get_mut(index)?.transport.freeze(now)?;
        self.last_image(now, index, &snapshot);
        self.drain_transport(index);
        self.events.push_back(Event::Frozen {
            transport: key,
            snapshot,
        });
        Some(())
    }

    fn thaw(&mut self, now: Instant, key: TransportKey, snapshot: &Bytes) -> Option<()> {
        if self.transport_index.contains_key(&key) {
            return None;
        }
        let (seed, options) = (self.rng.random(), TransportOptions::default());
        let identity = &self.config.identity;
        match Transport::thaw(now, snapshot, identity, options, seed) {
            Ok(transport) => {
                let ufrag = transport.local_ufrag().to_string();
                self.insert_transport(now, key, ufrag, transport);
            }
            Err(error) => {
                tracing::warn!(%error, "a frozen transport cannot go on here");
                self.events.push_back(Event::Transport {
                    transport: key,
                    state: TransportState::Failed,
                });
            }
        }
        Some(())
    }
}
