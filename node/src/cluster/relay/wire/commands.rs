//! `media::Command` between nodes: one message with a kind and the fields that kind has. A kind
//! that only a newer node knows is dropped, and so is one that lacks something. Kinds and tags are
//! never used again; golden bytes hold them.

use bytes::Bytes;
use media::types::Reliability;
use media::{Command, DownTrackKey, LinkKey, RoomKey, TrackKey, TransportKey};

use super::values::{
    Candidate, Credentials, Delay, Limit, Payload, PlaceOnWire, Policy, Receive, Relayed, Remote,
    Send, Track, bare, in_room, payloads, read_payloads,
};
use crate::cluster::relay::places::Places;
use crate::participant::KeySpace;

mod kind;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Told {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint64, tag = "2")]
    transport: u64,
    #[prost(uint64, tag = "3")]
    track: u64,
    #[prost(uint64, tag = "4")]
    down_track: u64,
    #[prost(message, optional, tag = "5")]
    local: Option<Credentials>,
    #[prost(message, optional, tag = "6")]
    remote: Option<Remote>,
    #[prost(message, optional, tag = "7")]
    candidate: Option<Candidate>,
    #[prost(string, tag = "8")]
    label: String,
    #[prost(bool, tag = "9")]
    lossy: bool,
    #[prost(bytes = "bytes", tag = "10")]
    payload: Bytes,
    #[prost(bool, tag = "11")]
    binary: bool,
    #[prost(message, repeated, tag = "12")]
    receive: Vec<Receive>,
    #[prost(message, optional, tag = "13")]
    config: Option<Track>,
    /// Muted, or paused.
    #[prost(bool, tag = "14")]
    held: bool,
    #[prost(message, optional, tag = "15")]
    send: Option<Send>,
    #[prost(message, optional, tag = "16")]
    limit: Option<Limit>,
    #[prost(uint32, tag = "17")]
    priority: u32,
    #[prost(message, optional, tag = "18")]
    policy: Option<Policy>,
    #[prost(message, optional, tag = "19")]
    delay: Option<Delay>,
    #[prost(message, repeated, tag = "20")]
    payload_types: Vec<Payload>,
    #[prost(message, optional, tag = "21")]
    relayed: Option<Relayed>,
    #[prost(message, optional, tag = "22")]
    link: Option<PlaceOnWire>,
    /// Of SCTP.
    #[prost(uint32, tag = "23")]
    stream: u32,
}

/// A kind and the keys most kinds have.
fn told(kind: u32) -> Told {
    Told {
        kind,
        ..Told::default()
    }
}

fn of_transport(kind: u32, TransportKey(key): TransportKey) -> Told {
    Told {
        transport: bare(key),
        ..told(kind)
    }
}

fn of_track(kind: u32, TrackKey(key): TrackKey) -> Told {
    Told {
        track: bare(key),
        ..told(kind)
    }
}

fn of_down_track(kind: u32, DownTrackKey(key): DownTrackKey) -> Told {
    Told {
        down_track: bare(key),
        ..told(kind)
    }
}

/// `None`: it cannot be told another node (moving transports is not done this way).
pub fn write(command: Command, places: &Places) -> Option<Told> {
    Some(match command {
        Command::AddTransport {
            transport, local, ..
        } => Told {
            local: Some((&local).into()),
            ..of_transport(kind::ADD_TRANSPORT, transport)
        },
        Command::SetRemote { transport, remote } => Told {
            remote: Some((&remote).into()),
            ..of_transport(kind::SET_REMOTE, transport)
        },
        Command::AddRemoteCandidate {
            transport,
            candidate,
        } => Told {
            candidate: Some((&candidate).into()),
            ..of_transport(kind::ADD_REMOTE_CANDIDATE, transport)
        },
        Command::RestartIce { transport, local } => Told {
            local: Some((&local).into()),
            ..of_transport(kind::RESTART_ICE, transport)
        },
        Command::CloseTransport { transport } => of_transport(kind::CLOSE_TRANSPORT, transport),
        Command::OpenChannel {
            transport,
            label,
            reliability,
        } => Told {
            label,
            lossy: reliability == Reliability::Lossy,
            ..of_transport(kind::OPEN_CHANNEL, transport)
        },
        Command::AdoptChannel {
            transport,
            stream,
            label,
            reliability,
        } => Told {
            label,
            lossy: reliability == Reliability::Lossy,
            stream: stream.into(),
            ..of_transport(kind::ADOPT_CHANNEL, transport)
        },
        Command::SendData {
            transport,
            label,
            payload,
            binary,
        } => Told {
            label,
            payload,
            binary,
            ..of_transport(kind::SEND_DATA, transport)
        },
        Command::SetReceive {
            transport,
            sections,
        } => Told {
            receive: sections.iter().map(Receive::from).collect(),
            ..of_transport(kind::SET_RECEIVE, transport)
        },
        Command::SetBandwidthPolicy { transport, policy } => Told {
            policy: Some(policy.into()),
            ..of_transport(kind::SET_BANDWIDTH_POLICY, transport)
        },
        Command::SetPlayoutDelay { transport, bounds } => Told {
            delay: Some(bounds.into()),
            ..of_transport(kind::SET_PLAYOUT_DELAY, transport)
        },
        other => return write_of_tracks(other, places),
    })
}

fn write_of_tracks(command: Command, places: &Places) -> Option<Told> {
    Some(match command {
        Command::AddTrack {
            track,
            transport,
            config,
            ..
        } => Told {
            transport: bare(transport.0),
            config: Some((&config).into()),
            ..of_track(kind::ADD_TRACK, track)
        },
        Command::SetTrackMuted { track, muted } => Told {
            held: muted,
            ..of_track(kind::SET_TRACK_MUTED, track)
        },
        Command::RemoveTrack { track } => of_track(kind::REMOVE_TRACK, track),
        Command::RequestKeyFrame { track } => of_track(kind::REQUEST_KEY_FRAME, track),
        Command::RelayTrack { track, link, relay } => Told {
            relayed: Some(Relayed::new(places.of_link(link)?, relay)),
            ..of_track(kind::RELAY_TRACK, track)
        },
        Command::StopRelay { track, link } => Told {
            link: Some(places.of_link(link)?.into()),
            ..of_track(kind::STOP_RELAY, track)
        },
        Command::AddRelayedTrack {
            track,
            link,
            relay,
            config,
            payload_types,
            ..
        } => Told {
            relayed: Some(Relayed::new(places.of_link(link)?, relay)),
            config: Some((&config).into()),
            payload_types: payloads(&payload_types),
            ..of_track(kind::ADD_RELAYED_TRACK, track)
        },
        Command::SetRelayedPayloadTypes {
            track,
            payload_types,
        } => Told {
            payload_types: payloads(&payload_types),
            ..of_track(kind::SET_RELAYED_PAYLOAD_TYPES, track)
        },
        other => return write_of_down_tracks(other),
    })
}

fn write_of_down_tracks(command: Command) -> Option<Told> {
    Some(match command {
        Command::AddDownTrack {
            down_track,
            track,
            transport,
            section,
            limit,
            paused,
        } => Told {
            track: bare(track.0),
            transport: bare(transport.0),
            send: Some((&section).into()),
            limit: Some(limit.into()),
            held: paused,
            ..of_down_track(kind::ADD_DOWN_TRACK, down_track)
        },
        Command::UpdateDownTrack {
            down_track,
            limit,
            paused,
        } => Told {
            limit: Some(limit.into()),
            held: paused,
            ..of_down_track(kind::UPDATE_DOWN_TRACK, down_track)
        },
        Command::SwitchDownTrack { down_track, track } => Told {
            track: bare(track.0),
            ..of_down_track(kind::SWITCH_DOWN_TRACK, down_track)
        },
        Command::SetPriority {
            down_track,
            priority,
        } => Told {
            priority: priority.into(),
            ..of_down_track(kind::SET_PRIORITY, down_track)
        },
        Command::RemoveDownTrack { down_track } => {
            of_down_track(kind::REMOVE_DOWN_TRACK, down_track)
        }
        _ => return None,
    })
}

/// The room as the reader knows it: its number there, and the shard it is on.
#[derive(Clone, Copy, Debug)]
pub struct Here {
    pub number: u32,
    pub shard: u8,
}

impl Here {
    pub fn room(self) -> RoomKey {
        KeySpace::room_on(KeySpace::new(self.number, 0).room, self.shard.into())
    }
}

impl Told {
    fn transport(&self, here: Here) -> Option<TransportKey> {
        in_room(here.number, self.transport).map(TransportKey)
    }

    fn track(&self, here: Here) -> Option<TrackKey> {
        in_room(here.number, self.track).map(TrackKey)
    }

    fn down_track(&self, here: Here) -> Option<DownTrackKey> {
        in_room(here.number, self.down_track).map(DownTrackKey)
    }

    pub fn read(self, here: Here, places: &Places) -> Option<Command> {
        let transport = self.transport(here);
        Some(match self.kind {
            kind::ADD_TRANSPORT => Command::AddTransport {
                transport: transport?,
                room: here.room(),
                local: self.local?.read(),
                spare: false,
            },
            kind::SET_REMOTE => Command::SetRemote {
                transport: transport?,
                remote: self.remote?.read()?,
            },
            kind::ADD_REMOTE_CANDIDATE => Command::AddRemoteCandidate {
                transport: transport?,
                candidate: self.candidate?.remote()?,
            },
            kind::RESTART_ICE => Command::RestartIce {
                transport: transport?,
                local: self.local?.read(),
            },
            kind::CLOSE_TRANSPORT => Command::CloseTransport {
                transport: transport?,
            },
            kind::OPEN_CHANNEL => Command::OpenChannel {
                transport: transport?,
                label: self.label,
                reliability: match self.lossy {
                    true => Reliability::Lossy,
                    false => Reliability::Reliable,
                },
            },
            kind::ADOPT_CHANNEL => Command::AdoptChannel {
                transport: transport?,
                stream: u16::try_from(self.stream).ok()?,
                label: self.label,
                reliability: match self.lossy {
                    true => Reliability::Lossy,
                    false => Reliability::Reliable,
                },
            },
            kind::SEND_DATA => Command::SendData {
                transport: transport?,
                label: self.label,
                payload: self.payload,
                binary: self.binary,
            },
            kind::SET_RECEIVE => Command::SetReceive {
                transport: transport?,
                sections: {
                    let sections = self.receive.into_iter();
                    sections.map(|one| one.read(here.number)).collect()
                },
            },
            kind::SET_BANDWIDTH_POLICY => Command::SetBandwidthPolicy {
                transport: transport?,
                policy: self.policy?.read(),
            },
            kind::SET_PLAYOUT_DELAY => Command::SetPlayoutDelay {
                transport: transport?,
                bounds: self.delay?.read(),
            },
            _ => return self.read_of_tracks(here, places),
        })
    }

    fn read_of_tracks(self, here: Here, places: &Places) -> Option<Command> {
        let relayed = |told: &Self| -> Option<(LinkKey, _)> {
            let (place, relay) = told.relayed.as_ref()?.read()?;
            Some((places.link(place)?, relay))
        };
        if let Some(down_track) = self.down_track(here) {
            return self.read_of_down_tracks(here, down_track);
        }
        let track = self.track(here)?;
        Some(match self.kind {
            kind::ADD_TRACK => Command::AddTrack {
                track,
                room: here.room(),
                transport: self.transport(here)?,
                config: self.config?.read(),
            },
            kind::SET_TRACK_MUTED => Command::SetTrackMuted {
                track,
                muted: self.held,
            },
            kind::REMOVE_TRACK => Command::RemoveTrack { track },
            kind::REQUEST_KEY_FRAME => Command::RequestKeyFrame { track },
            kind::RELAY_TRACK => {
                let (link, relay) = relayed(&self)?;
                Command::RelayTrack { track, link, relay }
            }
            kind::STOP_RELAY => Command::StopRelay {
                track,
                link: places.link(self.link?.read()?)?,
            },
            kind::ADD_RELAYED_TRACK => {
                let (link, relay) = relayed(&self)?;
                Command::AddRelayedTrack {
                    track,
                    room: here.room(),
                    link,
                    relay,
                    config: self.config?.read(),
                    payload_types: read_payloads(self.payload_types),
                }
            }
            kind::SET_RELAYED_PAYLOAD_TYPES => Command::SetRelayedPayloadTypes {
                track,
                payload_types: read_payloads(self.payload_types),
            },
            _ => return None,
        })
    }

    fn read_of_down_tracks(self, here: Here, down_track: DownTrackKey) -> Option<Command> {
        Some(match self.kind {
            kind::ADD_DOWN_TRACK => Command::AddDownTrack {
                down_track,
                track: self.track(here)?,
                transport: self.transport(here)?,
                section: self.send?.read(),
                limit: self.limit?.read(),
                paused: self.held,
            },
            kind::UPDATE_DOWN_TRACK => Command::UpdateDownTrack {
                down_track,
                limit: self.limit?.read(),
                paused: self.held,
            },
            kind::SWITCH_DOWN_TRACK => Command::SwitchDownTrack {
                down_track,
                track: self.track(here)?,
            },
            kind::SET_PRIORITY => Command::SetPriority {
                down_track,
                priority: u8::try_from(self.priority).unwrap_or(u8::MAX),
            },
            kind::REMOVE_DOWN_TRACK => Command::RemoveDownTrack { down_track },
            _ => return None,
        })
    }
}
