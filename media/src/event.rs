//! What a shard tells the control plane: facts, at control rate, never per packet (data-channel
//! messages excepted). Losing the receiver of events never blocks a shard.

use std::time::Duration;

use bytes::Bytes;

use crate::ids::{DownTrackKey, RoomKey, TrackKey, TransportKey};
use crate::types::{Codec, Path};

#[derive(Debug)]
pub enum Event {
    Transport {
        transport: TransportKey,
        state: TransportState,
    },
    /// The selected pair changed (first selection included).
    PathSelected { transport: TransportKey, path: Path },
    /// A channel is open in both directions, ours or the client's.
    ChannelOpen {
        transport: TransportKey,
        label: String,
    },
    ChannelClosed {
        transport: TransportKey,
        label: String,
    },
    Data {
        transport: TransportKey,
        label: String,
        payload: Bytes,
        binary: bool,
    },
    /// The first packet of a track arrived; `layer` is its spatial layer, `ssrc` its SSRC.
    TrackStarted {
        track: TrackKey,
        codec: Codec,
        layer: u8,
        ssrc: u32,
    },
    /// What an SSRC carries was learned from its packets' MID and RID, which clients stop writing
    /// once it was acknowledged: another node has to be told. `repair`: retransmissions.
    StreamLearned {
        track: TrackKey,
        layer: u8,
        ssrc: u32,
        repair: bool,
    },
    /// A layer came alive or fell silent (simulcast, SVC).
    LayerActive {
        track: TrackKey,
        layer: u8,
        active: bool,
    },
    /// Down track forwards this layer from now on; `None` = nothing.
    LayerSelected {
        down_track: DownTrackKey,
        spatial: Option<u8>,
        temporal: u8,
    },
    /// The down track was stopped for lack of bandwidth, or goes on.
    StreamPaused {
        down_track: DownTrackKey,
        paused: bool,
    },
    /// Loudness of everyone speaking in a room, once per `audio.update_interval`; 0.0..=1.0.
    /// Tracks not listed are silent.
    Speakers {
        room: RoomKey,
        levels: Vec<(TrackKey, f32)>,
    },
    /// Per-transport figures, once a second.
    Stats {
        transport: TransportKey,
        stats: TransportStats,
    },
    /// All a standby needs to go on with a followed transport; for `Command::AddStandby` there.
    TransportImage {
        transport: TransportKey,
        version: u32,
        /// It only asks whether the standby can read it: nothing may be taken over with it.
        probe: bool,
        image: Bytes,
    },
    /// What changed since the version before; for `Command::UpdateStandby`.
    TransportDelta {
        transport: TransportKey,
        version: u32,
        delta: Bytes,
    },
    /// The client lets this node choose the path: it may hear where the standby is, and will not go
    /// there before it is told to. Once for each `Command::Replicate`.
    InControl {
        transport: TransportKey,
        /// How many standbys went on with it so far: the next one's candidates have to be above
        /// theirs.
        takeovers: u32,
    },
    /// The standby here knows everything up to `version`: for `Command::Replicated` at the primary.
    StandbyHas {
        transport: TransportKey,
        version: u32,
        /// As `StandbyReady`: whoever missed that hears it here.
        ready: bool,
    },
    /// The standby here cannot read what it was given and has dropped the transport.
    StandbyCannot { transport: TransportKey },
    /// The standby of a followed transport has acknowledged nothing for `STANDBY_SILENT`: soon it
    /// has used up what it may. Said again after as long.
    StandbySilent { transport: TransportKey },
    /// The standby here missed something: the primary is to send a new image.
    StandbyStale { transport: TransportKey },
    /// Whether the client could be taken over here without noticing. It could not where it does
    /// not reach this node over UDP: then it has to be told to resume.
    StandbyReady {
        transport: TransportKey,
        ready: bool,
    },
    /// The answer to `Command::TakeOver`, as soon as the client answered here (`heard`), or a
    /// second later if it did not: then it has to be told to resume.
    TakenOver {
        transport: TransportKey,
        heard: bool,
    },
    /// The client followed a takeover and answers for `CHANNELS_PATIENCE` already; its data
    /// channels did not, and carry nothing any more.
    ChannelsLost { transport: TransportKey },
    /// The answer to `Command::Freeze`.
    Frozen {
        transport: TransportKey,
        snapshot: Bytes,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportState {
    /// ICE selected a pair, DTLS is under way.
    Connecting,
    /// ICE and DTLS are done: media may flow.
    Connected,
    /// No check was answered for 10 s.
    Disconnected,
    /// 5 s after `Disconnected`, or DTLS failed.
    Failed,
    Closed,
}

/// Counters since the transport began, except where a unit says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TransportStats {
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
    pub packets_dropped: u64,
    pub nacks_in: u64,
    pub nacks_out: u64,
    pub plis_in: u64,
    /// Requests for key frames by FIR, which count as PLIs as well.
    pub firs_in: u64,
    pub plis_out: u64,
    pub retransmitted: u64,
    /// Lost packets over expected ones of the last second, upstream, 0.0..=1.0.
    pub loss_in: f32,
    /// The same as the subscriber reports it.
    pub loss_out: f32,
    pub jitter_in: Duration,
    pub rtt: Option<Duration>,
    /// How good its worst stream is, 0.0..=100.0, as LiveKit scores it; `None`: it has none.
    pub score: Option<f32>,
    /// What the client says it can receive (REMB) or we estimated, bits per second.
    pub estimate_bps: Option<u64>,
}
