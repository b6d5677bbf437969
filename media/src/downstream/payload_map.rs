//! From a publisher's payload types to a subscriber's numbers for the same codec and profile.

use smallvec::SmallVec;

use crate::types::{Codec, PayloadType};

/// How packets of one incoming payload type are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) pt: u8,
    pub(crate) rtx_pt: Option<u8>,
    /// Take the primary block out of RED: the subscriber has no RED.
    pub(crate) primary_only: bool,
}

#[derive(Debug)]
pub(crate) struct PayloadMap {
    /// The subscriber's, most preferred first.
    offered: Vec<PayloadType>,
    pairs: SmallVec<[(u8, Target); 4]>,
}

impl PayloadMap {
    pub(crate) fn new(offered: Vec<PayloadType>) -> PayloadMap {
        PayloadMap {
            offered,
            pairs: SmallVec::new(),
        }
    }

    pub(crate) fn bind(&mut self, incoming: &[PayloadType]) {
        self.pairs.clear();
        for from in incoming {
            let direct = self.best(from.codec, &from.fmtp).map(|to| (to, false));
            let found = direct.or_else(|| {
                let opus = (from.codec == Codec::Red).then(|| self.best(Codec::Opus, ""))?;
                opus.map(|to| (to, true))
            });
            if let Some((to, primary_only)) = found {
                let target = Target {
                    pt: to.pt,
                    rtx_pt: to.rtx_pt,
                    primary_only,
                };
                self.pairs.push((from.pt, target));
            }
        }
    }

    pub(crate) fn get(&self, incoming: u8) -> Option<Target> {
        self.pairs
            .iter()
            .find(|(from, _)| *from == incoming)
            .map(|(_, target)| *target)
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
        let mut map = PayloadMap::new(vec![
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
        ]);
        map.bind(&[
            pt(Codec::Vp8, 120, ""),
            pt(
                Codec::H264,
                126,
                "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42E034",
            ),
            pt(Codec::Vp9, 98, "profile-id=0"),
        ]);
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
        let mut with = PayloadMap::new(vec![pt(Codec::Red, 50, ""), pt(Codec::Opus, 51, "")]);
        with.bind(&incoming);
        assert_eq!(
            with.get(63).map(|to| (to.pt, to.primary_only)),
            Some((50, false))
        );
        let mut without = PayloadMap::new(vec![pt(Codec::Opus, 51, "")]);
        without.bind(&incoming);
        assert_eq!(
            without.get(63).map(|to| (to.pt, to.primary_only)),
            Some((51, true))
        );
        assert_eq!(
            without.get(111).map(|to| (to.pt, to.primary_only)),
            Some((51, false))
        );
    }
}
