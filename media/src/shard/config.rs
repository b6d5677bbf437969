//! Settings of a shard, as the operator may change them; defaults are LiveKit's. What nobody
//! should change is a constant in `limits.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::transport::DtlsIdentity;

/// Everything a shard is made from.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Root of all randomness of this shard (ICE, SCTP, SSRCs of feedback).
    pub seed: [u8; 32],
    /// The node's certificate; its fingerprint is what our SDP says.
    pub identity: Arc<DtlsIdentity>,
    /// Another one, for `Command::AddTransport::spare`.
    pub spare: Arc<DtlsIdentity>,
    /// Where its UDP sockets are bound: standbys check clients from there.
    pub udp_addresses: Vec<SocketAddr>,
    pub audio_level: AudioLevelSettings,
    pub key_frame_throttle: KeyFrameThrottle,
    pub packet_buffers: PacketBuffers,
}

impl ShardConfig {
    pub fn new(seed: [u8; 32], identity: Arc<DtlsIdentity>) -> ShardConfig {
        ShardConfig {
            seed,
            spare: Arc::clone(&identity),
            identity,
            udp_addresses: Vec::new(),
            audio_level: AudioLevelSettings::default(),
            key_frame_throttle: KeyFrameThrottle::default(),
            packet_buffers: PacketBuffers::default(),
        }
    }
}

/// When somebody counts as speaking (`audio:` of livekit.yaml, defaults of its code).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevelSettings {
    /// Quieter packets are silence; dBov below full scale, so smaller is louder.
    pub active_level_dbov: u8,
    /// Share of an interval that must be active, percent.
    pub min_percentile: u8,
    pub update_interval: Duration,
    /// Intervals the exponential average spans; 0 = none.
    pub smooth_intervals: u32,
}

impl Default for AudioLevelSettings {
    fn default() -> Self {
        AudioLevelSettings {
            active_level_dbov: 35,
            min_percentile: 40,
            update_interval: Duration::from_millis(400),
            smooth_intervals: 2,
        }
    }
}

/// Least time between two key-frame requests to one layer (`rtc.pli_throttle`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFrameThrottle {
    pub low: Duration,
    pub mid: Duration,
    pub high: Duration,
}

impl Default for KeyFrameThrottle {
    fn default() -> Self {
        KeyFrameThrottle {
            low: Duration::from_millis(500),
            mid: Duration::from_secs(1),
            high: Duration::from_secs(1),
        }
    }
}

/// Packets kept per layer to answer NACKs (`rtc.packet_buffer_size_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketBuffers {
    pub video_packets: usize,
    pub audio_packets: usize,
}

impl Default for PacketBuffers {
    fn default() -> Self {
        PacketBuffers {
            video_packets: 500,
            audio_packets: 200,
        }
    }
}
