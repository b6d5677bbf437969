//! The scenarios: who is in which room, what they send, how they behave. a to f are those LiveKit
//! was measured with on this class of machine; its figures stand beside them.

use std::time::Duration;

use media::types::MediaKind;

use crate::beside::Figures;
use crate::outbound::Rate;
use crate::signal::TrackPlan;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    None,
    /// Nobody publishes.
    Idle,
    /// Viewers come while media flows.
    Storm,
    /// Viewers change their layer again and again.
    Switching,
    /// The rate rises until something gives.
    Ramp,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) rooms: usize,
    /// In every room.
    pub(crate) publishers: usize,
    pub(crate) viewers: usize,
    pub(crate) publishers_subscribe: bool,
    pub(crate) tracks: Vec<TrackPlan>,
    pub(crate) joins_per_second: f64,
    pub(crate) loss: f64,
    pub(crate) nack: bool,
    pub(crate) special: Special,
    /// What another server needed for the same.
    pub(crate) beside: Option<Figures>,
}

impl Scenario {
    pub(crate) fn participants(&self) -> usize {
        self.rooms * (self.publishers + self.viewers)
    }

    /// Streams a viewer, or a publisher that subscribes, receives.
    pub(crate) fn flows(&self, publishes: bool) -> usize {
        let others = match (publishes, self.publishers_subscribe) {
            (true, false) => 0,
            (true, true) => self.publishers - 1,
            (false, _) => self.publishers,
        };
        if self.special == Special::Idle {
            return 0;
        }
        others * self.tracks.len()
    }
}

/// The same, with frames back to back as a client without a pacer sends them.
fn burst(packets_per_frame: usize) -> Rate {
    Rate {
        paced: false,
        ..steady_video(packets_per_frame)
    }
}

/// 25 frames a second of so many packets, every frame alike.
pub(crate) fn steady_video(packets_per_frame: usize) -> Rate {
    Rate {
        frame_interval: Duration::from_millis(40),
        frame_bytes: packets_per_frame * 1_180,
        packet_bytes: 1_180,
        paced: true,
        varies: false,
        width: 1_280,
        height: 720,
    }
}

fn varying(kbps: usize, packet_bytes: usize, width: u16, height: u16) -> Rate {
    Rate {
        frame_interval: Duration::from_millis(40),
        frame_bytes: kbps * 1_000 / 8 / 25,
        packet_bytes,
        paced: true,
        varies: true,
        width,
        height,
    }
}

fn video(layers: Vec<Rate>) -> TrackPlan {
    TrackPlan {
        kind: MediaKind::Video,
        layers,
    }
}

/// Opus at 32 kbit/s, 20 ms.
fn audio() -> TrackPlan {
    TrackPlan {
        kind: MediaKind::Audio,
        layers: vec![Rate {
            frame_interval: Duration::from_millis(20),
            frame_bytes: 80,
            packet_bytes: 80,
            paced: true,
            varies: false,
            width: 0,
            height: 0,
        }],
    }
}

/// Three layers as livekit-client sends 720p.
fn simulcast() -> TrackPlan {
    video(vec![
        varying(160, 1_100, 320, 180),
        varying(450, 1_100, 640, 360),
        varying(1_700, 1_100, 1_280, 720),
    ])
}

/// What a person in a meeting publishes.
pub(crate) fn camera_and_microphone() -> Vec<TrackPlan> {
    vec![simulcast(), audio()]
}

fn plain(id: &'static str, title: &'static str) -> Scenario {
    Scenario {
        id,
        title,
        rooms: 1,
        publishers: 1,
        viewers: 0,
        publishers_subscribe: false,
        tracks: vec![video(vec![steady_video(10)]), audio()],
        joins_per_second: 25.0,
        loss: 0.0,
        nack: true,
        special: Special::None,
        beside: None,
    }
}

/// Rooms of eight, of whom one talks into a small camera.
pub(crate) fn meetings(rooms: usize) -> Scenario {
    Scenario {
        rooms,
        viewers: 7,
        tracks: vec![video(vec![steady_video(1)]), audio()],
        ..plain("meetings", "rooms of 8, one talks")
    }
}

fn livekit(
    us_per_packet: f64,
    video_ms: Option<(f64, f64)>,
    audio_ms: Option<(f64, f64)>,
    participant_kib: f64,
) -> Option<Figures> {
    Some(Figures {
        us_per_packet,
        video_ms,
        audio_ms,
        participant_kib,
    })
}

/// All of them; `full` takes the numbers of participants the references name where the short run
/// has fewer.
pub(crate) fn all(full: bool) -> Vec<Scenario> {
    let mut all = compared();
    all.extend(own(full));
    all
}

/// a to f of the baselines.
fn compared() -> Vec<Scenario> {
    vec![
        Scenario {
            viewers: 8,
            beside: livekit(36.4, Some((0.20, 0.57)), Some((0.21, 1.4)), 5_190.0),
            ..plain("a", "1 publisher to 8")
        },
        Scenario {
            viewers: 50,
            beside: livekit(20.6, Some((0.60, 4.3)), Some((0.81, 1.9)), 2_200.0),
            ..plain("b", "1 publisher to 50")
        },
        Scenario {
            viewers: 150,
            beside: livekit(14.8, Some((5.4, 61.0)), Some((2.1, 56.0)), 1_800.0),
            ..plain("c", "1 publisher to 150")
        },
        Scenario {
            rooms: 3,
            publishers: 8,
            publishers_subscribe: true,
            tracks: vec![video(vec![steady_video(2)]), audio()],
            beside: livekit(26.5, Some((0.32, 1.7)), Some((0.29, 1.9)), 7_790.0),
            ..plain("d", "3 rooms of 8, all publish")
        },
        Scenario {
            publishers: 10,
            viewers: 100,
            tracks: vec![audio()],
            beside: livekit(12.8, None, Some((1.6, 40.0)), 3_340.0),
            ..plain("e", "audio, 10 to 100")
        },
        Scenario {
            publishers: 0,
            viewers: 100,
            special: Special::Idle,
            beside: livekit(0.0, None, None, 980.0),
            ..plain("f", "100 joined, no media")
        },
    ]
}

fn own(full: bool) -> Vec<Scenario> {
    vec![
        Scenario {
            viewers: 8,
            tracks: vec![video(vec![burst(10)]), audio()],
            beside: livekit(30.1, None, None, 5_190.0),
            ..plain("a-burst", "a, frames back to back")
        },
        Scenario {
            viewers: 50,
            tracks: vec![video(vec![burst(10)]), audio()],
            beside: livekit(16.9, None, None, 2_200.0),
            ..plain("b-burst", "b, frames back to back")
        },
        Scenario {
            rooms: if full { 15 } else { 5 },
            publishers: 8,
            publishers_subscribe: true,
            tracks: vec![video(vec![varying(600, 1_000, 640, 480)]), audio()],
            ..plain("rooms", "rooms of 8, 600 kbit/s each")
        },
        Scenario {
            viewers: if full { 1_000 } else { 200 },
            tracks: vec![simulcast(), audio()],
            joins_per_second: 100.0,
            special: Special::Storm,
            ..plain("livestream", "livestream, join storm")
        },
        Scenario {
            publishers: 10,
            viewers: 290,
            publishers_subscribe: true,
            tracks: vec![audio()],
            joins_per_second: 50.0,
            ..plain("audio300", "audio room of 300, 10 speak")
        },
        Scenario {
            viewers: 50,
            tracks: vec![simulcast()],
            special: Special::Switching,
            ..plain("switch", "50 viewers change layers")
        },
        Scenario {
            viewers: 50,
            loss: 0.01,
            beside: livekit(18.5, None, None, 2_200.0),
            ..plain("loss1", "b with 1 % loss")
        },
        Scenario {
            viewers: 50,
            loss: 0.05,
            ..plain("loss5", "b with 5 % loss")
        },
        Scenario {
            publishers: 0,
            viewers: 500,
            joins_per_second: 100.0,
            special: Special::Idle,
            ..plain("idle500", "500 joined, no media")
        },
        Scenario {
            viewers: 50,
            tracks: vec![video(vec![steady_video(30)])],
            special: Special::Ramp,
            ..plain("ramp", "50 viewers, rising rate")
        },
    ]
}
