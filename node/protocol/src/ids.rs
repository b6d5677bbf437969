//! Sids: what the server issues and clients quote back. The prefixes are LiveKit's
//! (`utils/guid/id.go` of livekit/protocol).

use std::fmt;

use rand::{Rng, RngExt};

/// Length of the random part, in characters.
const RANDOM_CHARS: usize = 12;
const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// `prefix` followed by 12 random characters without look-alikes, as `PA_7hYxQ2kVn3Bd`.
pub fn random(rng: &mut impl Rng, prefix: &str) -> String {
    let mut id = String::with_capacity(prefix.len() + RANDOM_CHARS);
    id.push_str(prefix);
    for _ in 0..RANDOM_CHARS {
        id.push(char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]));
    }
    id
}

macro_rules! sid {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub String);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub fn random(rng: &mut impl Rng) -> Self {
                Self(random(rng, Self::PREFIX))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

sid!(
    /// A room from its creation to its end; the same name gets a new sid afterwards.
    RoomSid, "RM_");
sid!(
    /// One session of a participant.
    ParticipantSid, "PA_");
sid!(
    /// One published track; see [`TrackSid::for_track`] for its first letters.
    TrackSid, "TR_");
sid!(DataTrackSid, "DTR_");
sid!(NodeId, "ND_");
sid!(DispatchId, "AD_");
sid!(JobId, "AJ_");
sid!(WorkerId, "AW_");
sid!(WebhookEventId, "EV_");

impl TrackSid {
    /// `TR_` + `A`/`V` + source letter (`C` camera, `M` microphone, `S` screen, `s` screen audio) +
    /// random, as upstream: people read the letters in logs.
    pub fn for_track(
        rng: &mut impl Rng,
        kind: livekit_protocol::TrackType,
        source: livekit_protocol::TrackSource,
    ) -> Self {
        use livekit_protocol::{TrackSource, TrackType};
        let kind = if kind == TrackType::Video { 'V' } else { 'A' };
        let source = match source {
            TrackSource::Camera => "C",
            TrackSource::Microphone => "M",
            TrackSource::ScreenShare => "S",
            TrackSource::ScreenShareAudio => "s",
            TrackSource::Unknown => "",
        };
        Self(random(rng, &format!("TR_{kind}{source}")))
    }
}
