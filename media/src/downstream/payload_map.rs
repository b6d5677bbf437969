//! From a publisher's payload types to a subscriber's numbers for the same codec and profile.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::types::{Codec, PayloadType, TrackConfig};

/// How packets of one incoming payload type are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) pt: u8,
    pub(crate) rtx_pt: Option<u8>,
    pub(crate) red: RedRule,
}

/// What is done about RED on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RedRule {
    AsItCame,
    /// RED stays RED; the subscriber knows Opus by this number.
    Renumber {
        opus_pt: u8,
    },
    /// Take the primary block out: the subscriber has no RED.
    Unwrap,
    /// Add the frames before: the publisher has no RED. The blocks are of this payload type.
    Wrap {
        opus_pt: u8,
    },
}

#[derive(Debug)]
pub(crate) struct PayloadMap {
    /// The subscriber's, most preferred first.
    offered: Arc<[PayloadType]>,
    pairs: SmallVec<[(u8, Target); 4]>,
}

impl PayloadMap {
    pub(crate) fn new(offered: Arc<[PayloadType]>) -> PayloadMap {
        PayloadMap {
            offered,
            pairs: SmallVec::new(),
        }
    }

    pub(crate) fn bind(&mut self, incoming: &[PayloadType], config: &TrackConfig) {
        self.pairs.clear();
        for from in incoming {
            if let Some((to, red)) = self.target(from, config) {
                let target = Target {
                    pt: to.pt,
                    rtx_pt: to.rtx_pt,
                    red,
                };
                self.pairs.push((from.pt, target));
            }
        }
    }

    /// What is end-to-end encrypted is nobody's to take apart or to repeat.
    fn target(&self, from: &PayloadType, config: &TrackConfig) -> Option<(&PayloadType, RedRule)> {
        let direct = self.best(from.codec, &from.fmtp);
        let opus = self.best(Codec::Opus, "");
        match (from.codec, direct) {
            (_, direct) if config.encrypted => Some((direct?, RedRule::AsItCame)),
            (Codec::Red, Some(red)) => Some(match opus {
                Some(opus) => (red, RedRule::Renumber { opus_pt: opus.pt }),
                None => (red, RedRule::AsItCame),
            }),
            (Codec::Red, None) => Some((opus?, RedRule::Unwrap)),
            (Codec::Opus, Some(opus)) => Some(match self.best(Codec::Red, "") {
                Some(red) if config.build_red => (red, RedRule::Wrap { opus_pt: opus.pt }),
                _ => (opus, RedRule::AsItCame),
            }),
            (_, direct) => Some((direct?, RedRule::AsItCame)),
        }
    }

    /// The subscriber finds lost frames in later packets by itself.
    pub(crate) fn takes_red(&self) -> bool {
        self.offered.iter().any(|to| to.codec == Codec::Red)
    }

    pub(crate) fn get(&self, incoming: u8) -> Option<Target> {
        self.pairs
            .iter()
            .find(|(from, _)| *from == incoming)
            .map(|(_, target)| *target)
    }

    /// What the first of the incoming payload types is sent as.
    pub(crate) fn first(&self) -> Option<&PayloadType> {
        let (_, target) = self.pairs.first()?;
        self.offered.iter().find(|to| to.pt == target.pt)
    }

    /// A payload type of retransmissions, for packets that are only padding.
    pub(crate) fn any_rtx(&self) -> Option<u8> {
        self.pairs.iter().find_map(|(_, target)| target.rtx_pt)
    }

    /// Same codec, most alike in profile; the first of equals.
    fn best(&self, codec: Codec, fmtp: &str) -> Option<&PayloadType> {
        let alike = |other: &PayloadType| likeness(fmtp, &other.fmtp);
        let same = self.offered.iter().filter(|other| other.codec == codec);
        same.rev().max_by_key(|other| alike(other))
    }
}

/// Counts profile parameters that agree.
fn likeness(a: &str, b: &str) -> usize {
    let value = |fmtp: &str, key: &str| {
        fmtp.split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value.to_ascii_lowercase())
    };
    let keys = ["packetization-mode", "profile-id", "profile", "tier-flag"];
    let equal = keys
        .iter()
        .filter(|key| value(a, key) == value(b, key))
        .count();
    // Of a profile-level-id the level (last two digits) does not matter.
    let profile = |fmtp: &str| {
        value(fmtp, "profile-level-id")?
            .get(..4)
            .map(str::to_string)
    };
    let same_profile = profile(a) == profile(b);
    equal + if same_profile { keys.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LayerMode, MediaKind};

    const PLAIN: TrackConfig = TrackConfig {
        kind: MediaKind::Audio,
        layer_mode: LayerMode::OneStreamPerLayer,
        rids: Vec::new(),
        encrypted: false,
        screen_share: false,
        build_red: false,
    };

    fn pt(codec: Codec, pt: u8, fmtp: &str) -> PayloadType {
        PayloadType {
            codec,
            pt,
            rtx_pt: Some(pt + 1),
            fmtp: fmtp.to_string(),
            nack: true,
        }
    }

    #[test]
    fn numbers_follow_codec_and_profile() {
        let mut map = PayloadMap::new(
            [
                pt(Codec::Vp8, 96, ""),
                pt(
                    Codec::H264,
                    102,
                    "packetization-mode=1;profile-level-id=42001f",
                ),
                pt(
                    Codec::H264,
                    106,
                    "profile-level-id=42e01f;packetization-mode=1",
                ),
            ]
            .into(),
        );
        map.bind(
            &[
                pt(Codec::Vp8, 120, ""),
                pt(
                    Codec::H264,
                    126,
                    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42E034",
                ),
                pt(Codec::Vp9, 98, "profile-id=0"),
            ],
            &PLAIN,
        );
        assert_eq!(map.get(120).map(|to| to.pt), Some(96));
        assert_eq!(map.get(126).map(|to| to.pt), Some(106));
        assert_eq!(map.get(98), None);
    }

    #[test]
    fn red_becomes_opus_only_where_there_is_no_red() {
        let incoming = [
            pt(Codec::Red, 63, "111/111"),
            pt(Codec::Opus, 111, "minptime=10"),
        ];
        let rule = |map: &PayloadMap, from| map.get(from).map(|to| (to.pt, to.red));
        let mut with = PayloadMap::new([pt(Codec::Red, 50, ""), pt(Codec::Opus, 51, "")].into());
        with.bind(&incoming, &PLAIN);
        let renumber = RedRule::Renumber { opus_pt: 51 };
        assert_eq!(rule(&with, 63), Some((50, renumber)));
        assert_eq!(rule(&with, 111), Some((51, RedRule::AsItCame)));
        let mut without = PayloadMap::new([pt(Codec::Opus, 51, "")].into());
        without.bind(&incoming, &PLAIN);
        assert_eq!(rule(&without, 63), Some((51, RedRule::Unwrap)));
        assert_eq!(rule(&without, 111), Some((51, RedRule::AsItCame)));
        assert!(with.takes_red() && !without.takes_red());
    }

    #[test]
    fn opus_becomes_red_where_asked_for_and_encrypted_audio_stays_as_it_is() {
        let incoming = [pt(Codec::Opus, 111, ""), pt(Codec::Red, 63, "")];
        let offered = || Arc::from([pt(Codec::Red, 50, ""), pt(Codec::Opus, 51, "")]);
        let rule = |map: &PayloadMap, from| map.get(from).map(|to| (to.pt, to.red));
        let build = TrackConfig {
            build_red: true,
            ..PLAIN
        };
        let mut map = PayloadMap::new(offered());
        map.bind(&incoming, &build);
        assert_eq!(rule(&map, 111), Some((50, RedRule::Wrap { opus_pt: 51 })));
        let encrypted = TrackConfig {
            encrypted: true,
            ..build
        };
        map.bind(&incoming, &encrypted);
        assert_eq!(rule(&map, 111), Some((51, RedRule::AsItCame)));
        assert_eq!(rule(&map, 63), Some((50, RedRule::AsItCame)));
        let mut plain = PayloadMap::new([pt(Codec::Opus, 51, "")].into());
        plain.bind(&incoming, &encrypted);
        assert_eq!(rule(&plain, 63), None, "nobody can open it");
    }
}
