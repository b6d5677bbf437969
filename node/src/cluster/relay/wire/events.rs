//! `media::Event` between nodes, as commands are. A fact that only a newer node tells, or that
//! lacks something, is none here.

use std::time::Duration;

use bytes::Bytes;
use media::event::{TransportState, TransportStats};
use media::types::Codec;
use media::{DownTrackKey, Event, RoomKey, TrackKey, TransportKey};

use super::values::{Route, bare, in_room};

mod kind {
    pub(super) const TRANSPORT: u32 = 1;
    pub(super) const PATH_SELECTED: u32 = 2;
    pub(super) const CHANNEL_OPEN: u32 = 3;
    pub(super) const CHANNEL_CLOSED: u32 = 4;
    pub(super) const DATA: u32 = 5;
    pub(super) const TRACK_STARTED: u32 = 6;
    pub(super) const LAYER_ACTIVE: u32 = 7;
    pub(super) const LAYER_SELECTED: u32 = 8;
    pub(super) const STREAM_PAUSED: u32 = 9;
    pub(super) const SPEAKERS: u32 = 10;
    pub(super) const STATS: u32 = 11;
    pub(super) const STREAM_LEARNED: u32 = 12;
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Fact {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint64, tag = "2")]
    transport: u64,
    #[prost(uint64, tag = "3")]
    track: u64,
    #[prost(uint64, tag = "4")]
    down_track: u64,
    /// 0 connecting, 1 connected, 2 disconnected, 3 failed, 4 closed.
    #[prost(uint32, tag = "5")]
    state: u32,
    #[prost(message, optional, tag = "6")]
    route: Option<Route>,
    #[prost(string, tag = "7")]
    label: String,
    #[prost(bytes = "bytes", tag = "8")]
    payload: Bytes,
    #[prost(bool, tag = "9")]
    binary: bool,
    /// MIME type.
    #[prost(string, tag = "10")]
    codec: String,
    #[prost(uint32, optional, tag = "11")]
    layer: Option<u32>,
    #[prost(uint32, tag = "12")]
    ssrc: u32,
    /// Active, paused, or retransmissions.
    #[prost(bool, tag = "13")]
    on: bool,
    #[prost(uint32, tag = "14")]
    temporal: u32,
    #[prost(message, repeated, tag = "15")]
    levels: Vec<Level>,
    #[prost(message, optional, tag = "16")]
    stats: Option<Stats>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Level {
    #[prost(uint64, tag = "1")]
    track: u64,
    #[prost(float, tag = "2")]
    level: f32,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Stats {
    #[prost(uint64, tag = "1")]
    packets_in: u64,
    #[prost(uint64, tag = "2")]
    bytes_in: u64,
    #[prost(uint64, tag = "3")]
    packets_out: u64,
    #[prost(uint64, tag = "4")]
    bytes_out: u64,
    #[prost(uint64, tag = "5")]
    packets_dropped: u64,
    #[prost(uint64, tag = "6")]
    nacks_in: u64,
    #[prost(uint64, tag = "7")]
    nacks_out: u64,
    #[prost(uint64, tag = "8")]
    plis_in: u64,
    #[prost(uint64, tag = "9")]
    firs_in: u64,
    #[prost(uint64, tag = "10")]
    plis_out: u64,
    #[prost(uint64, tag = "11")]
    retransmitted: u64,
    #[prost(float, tag = "12")]
    loss_in: f32,
    #[prost(float, tag = "13")]
    loss_out: f32,
    #[prost(uint64, tag = "14")]
    jitter_in_us: u64,
    #[prost(uint64, optional, tag = "15")]
    rtt_us: Option<u64>,
    #[prost(float, optional, tag = "16")]
    score: Option<f32>,
    #[prost(uint64, optional, tag = "17")]
    estimate_bps: Option<u64>,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl From<&TransportStats> for Stats {
    fn from(given: &TransportStats) -> Self {
        Self {
            packets_in: given.packets_in,
            bytes_in: given.bytes_in,
            packets_out: given.packets_out,
            bytes_out: given.bytes_out,
            packets_dropped: given.packets_dropped,
            nacks_in: given.nacks_in,
            nacks_out: given.nacks_out,
            plis_in: given.plis_in,
            firs_in: given.firs_in,
            plis_out: given.plis_out,
            retransmitted: given.retransmitted,
            loss_in: given.loss_in,
            loss_out: given.loss_out,
            jitter_in_us: micros(given.jitter_in),
            rtt_us: given.rtt.map(micros),
            score: given.score,
            estimate_bps: given.estimate_bps,
        }
    }
}

impl Stats {
    fn read(self) -> TransportStats {
        TransportStats {
            packets_in: self.packets_in,
            bytes_in: self.bytes_in,
            packets_out: self.packets_out,
            bytes_out: self.bytes_out,
            packets_dropped: self.packets_dropped,
            nacks_in: self.nacks_in,
            nacks_out: self.nacks_out,
            plis_in: self.plis_in,
            firs_in: self.firs_in,
            plis_out: self.plis_out,
            retransmitted: self.retransmitted,
            loss_in: self.loss_in,
            loss_out: self.loss_out,
            jitter_in: Duration::from_micros(self.jitter_in_us),
            rtt: self.rtt_us.map(Duration::from_micros),
            score: self.score,
            estimate_bps: self.estimate_bps,
        }
    }
}

fn fact(kind: u32) -> Fact {
    Fact {
        kind,
        ..Fact::default()
    }
}

fn of_transport(kind: u32, transport: TransportKey) -> Fact {
    Fact {
        transport: bare(transport.0),
        ..fact(kind)
    }
}

fn of_track(kind: u32, track: TrackKey) -> Fact {
    Fact {
        track: bare(track.0),
        ..fact(kind)
    }
}

fn of_down_track(kind: u32, down_track: DownTrackKey) -> Fact {
    Fact {
        down_track: bare(down_track.0),
        ..fact(kind)
    }
}

/// `None`: it is nothing to the room's home.
pub fn write(event: Event) -> Option<Fact> {
    Some(match event {
        Event::Transport { transport, state } => Fact {
            state: match state {
                TransportState::Connecting => 0,
                TransportState::Connected => 1,
                TransportState::Disconnected => 2,
                TransportState::Failed => 3,
                TransportState::Closed => 4,
            },
            ..of_transport(kind::TRANSPORT, transport)
        },
        Event::PathSelected { transport, path } => Fact {
            route: Some(path.into()),
            ..of_transport(kind::PATH_SELECTED, transport)
        },
        Event::ChannelOpen { transport, label } => Fact {
            label,
            ..of_transport(kind::CHANNEL_OPEN, transport)
        },
        Event::ChannelClosed { transport, label } => Fact {
            label,
            ..of_transport(kind::CHANNEL_CLOSED, transport)
        },
        Event::Data {
            transport,
            label,
            payload,
            binary,
        } => Fact {
            label,
            payload,
            binary,
            ..of_transport(kind::DATA, transport)
        },
        Event::Stats { transport, stats } => Fact {
            stats: Some((&stats).into()),
            ..of_transport(kind::STATS, transport)
        },
        other => return write_of_tracks(other),
    })
}

fn write_of_tracks(event: Event) -> Option<Fact> {
    Some(match event {
        Event::TrackStarted {
            track,
            codec,
            layer,
            ssrc,
        } => Fact {
            codec: codec.mime().to_owned(),
            layer: Some(layer.into()),
            ssrc,
            ..of_track(kind::TRACK_STARTED, track)
        },
        Event::StreamLearned {
            track,
            layer,
            ssrc,
            repair,
        } => Fact {
            layer: Some(layer.into()),
            ssrc,
            on: repair,
            ..of_track(kind::STREAM_LEARNED, track)
        },
        Event::LayerActive {
            track,
            layer,
            active,
        } => Fact {
            layer: Some(layer.into()),
            on: active,
            ..of_track(kind::LAYER_ACTIVE, track)
        },
        Event::LayerSelected {
            down_track,
            spatial,
            temporal,
        } => Fact {
            layer: spatial.map(u32::from),
            temporal: temporal.into(),
            ..of_down_track(kind::LAYER_SELECTED, down_track)
        },
        Event::StreamPaused { down_track, paused } => Fact {
            on: paused,
            ..of_down_track(kind::STREAM_PAUSED, down_track)
        },
        Event::Speakers { levels, .. } => {
            let level = |(track, level): &(TrackKey, f32)| Level {
                track: bare(track.0),
                level: *level,
            };
            Fact {
                levels: levels.iter().map(level).collect(),
                ..fact(kind::SPEAKERS)
            }
        }
        _ => return None,
    })
}

impl Fact {
    /// `number`: the room's at the reader; `room`: its part at the place that tells this.
    pub fn read(self, number: u32, room: RoomKey) -> Option<Event> {
        let transport = in_room(number, self.transport).map(TransportKey);
        let layer = self.layer.and_then(|layer| u8::try_from(layer).ok());
        let label = self.label;
        Some(match self.kind {
            kind::TRANSPORT => Event::Transport {
                transport: transport?,
                state: match self.state {
                    0 => TransportState::Connecting,
                    1 => TransportState::Connected,
                    2 => TransportState::Disconnected,
                    3 => TransportState::Failed,
                    4 => TransportState::Closed,
                    _ => return None,
                },
            },
            kind::PATH_SELECTED => Event::PathSelected {
                transport: transport?,
                path: self.route?.read()?,
            },
            kind::CHANNEL_OPEN => Event::ChannelOpen {
                transport: transport?,
                label,
            },
            kind::CHANNEL_CLOSED => Event::ChannelClosed {
                transport: transport?,
                label,
            },
            kind::DATA => Event::Data {
                transport: transport?,
                label,
                payload: self.payload,
                binary: self.binary,
            },
            kind::STATS => Event::Stats {
                transport: transport?,
                stats: self.stats?.read(),
            },
            kind::TRACK_STARTED => Event::TrackStarted {
                track: TrackKey(in_room(number, self.track)?),
                codec: Codec::from_mime(&self.codec)?,
                layer: layer?,
                ssrc: self.ssrc,
            },
            kind::STREAM_LEARNED => Event::StreamLearned {
                track: TrackKey(in_room(number, self.track)?),
                layer: layer?,
                ssrc: self.ssrc,
                repair: self.on,
            },
            kind::LAYER_ACTIVE => Event::LayerActive {
                track: TrackKey(in_room(number, self.track)?),
                layer: layer?,
                active: self.on,
            },
            kind::LAYER_SELECTED => Event::LayerSelected {
                down_track: DownTrackKey(in_room(number, self.down_track)?),
                spatial: layer,
                temporal: u8::try_from(self.temporal).unwrap_or(u8::MAX),
            },
            kind::STREAM_PAUSED => Event::StreamPaused {
                down_track: DownTrackKey(in_room(number, self.down_track)?),
                paused: self.on,
            },
            kind::SPEAKERS => {
                let level = |told: &Level| {
                    let track = TrackKey(in_room(number, told.track)?);
                    Some((track, told.level))
                };
                Event::Speakers {
                    room,
                    levels: self.levels.iter().filter_map(level).collect(),
                }
            }
            _ => return None,
        })
    }
}
