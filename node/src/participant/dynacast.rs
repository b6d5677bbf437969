//! Publisher's side of its subscribers: tells the client when a track gets its first one, and which
//! qualities of each codec anybody wants, so that it need not encode the rest. More takes effect at
//! once, less after a delay (LiveKit: rtc/dynacast).

mod image;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use media::types::{Codec, MediaKind};
use protocol::ids::{ParticipantSid, TrackSid};
use protocol::proto;
use protocol::proto::VideoQuality;
use protocol::proto::signal_response::Message;

use super::limits::SUBSCRIBERS_PER_TRACK_MAX;
use super::outputs::Outputs;

#[derive(Debug, Default)]
struct Track {
    subscribers: BTreeMap<ParticipantSid, (Codec, VideoQuality)>,
    /// What the client was told, for each codec.
    told: BTreeMap<Codec, VideoQuality>,
    /// Less is wanted since the pause delay before this.
    lower_at: Option<Instant>,
    told_subscribed: bool,
}

impl Track {
    /// Highest quality wanted, for each codec told or wanted.
    fn wanted(&self) -> BTreeMap<Codec, VideoQuality> {
        let mut wanted: BTreeMap<Codec, VideoQuality> = self
            .told
            .keys()
            .map(|codec| (*codec, VideoQuality::Off))
            .collect();
        for (codec, quality) in self.subscribers.values() {
            let highest = wanted.entry(*codec).or_insert(VideoQuality::Off);
            if rank(*quality) > rank(*highest) {
                *highest = *quality;
            }
        }
        wanted
    }

    fn tell(&mut self, sid: &TrackSid, out: &mut Outputs) {
        self.told = self.wanted();
        self.lower_at = None;
        out.signal(Message::SubscribedQualityUpdate(update(sid, &self.told)));
    }
}

#[derive(Debug)]
pub(crate) struct Dynacast {
    /// The client understands `track_subscribed`.
    tells_first: bool,
    /// How long less must be wanted before it is told.
    pause_delay: Duration,
    tracks: BTreeMap<TrackSid, Track>,
}

impl Dynacast {
    pub(crate) fn new(tells_first: bool, pause_delay: Duration) -> Self {
        Self {
            tells_first,
            pause_delay,
            tracks: BTreeMap::new(),
        }
    }

    pub(crate) fn sids(&self) -> impl Iterator<Item = &TrackSid> {
        self.tracks.keys()
    }

    /// A subscriber began, changed or ended (`wanted` = `None`).
    pub(crate) fn subscriber(
        &mut self,
        now: Instant,
        sid: &TrackSid,
        kind: MediaKind,
        subscriber: ParticipantSid,
        wanted: Option<(Codec, VideoQuality)>,
        out: &mut Outputs,
    ) {
        let track = self.tracks.entry(sid.clone()).or_default();
        let mut moved = false;
        match wanted {
            Some(wanted) if track.subscribers.len() < SUBSCRIBERS_PER_TRACK_MAX => {
                let before = track.subscribers.insert(subscriber, wanted);
                moved = before.is_some_and(|(codec, _)| codec != wanted.0);
                if !std::mem::replace(&mut track.told_subscribed, true) && self.tells_first {
                    let track_sid = sid.0.clone();
                    out.signal(Message::TrackSubscribed(proto::TrackSubscribed {
                        track_sid,
                    }));
                }
            }
            Some(_) => {}
            None => {
                track.subscribers.remove(&subscriber);
            }
        }
        if kind != MediaKind::Video {
            return;
        }
        let wanted = track.wanted();
        let told = |codec: &Codec| track.told.get(codec).copied();
        let more = |(codec, quality): (&Codec, &VideoQuality)| {
            told(codec).is_none_or(|told| rank(*quality) > rank(told))
        };
        // Who moved to another codec does not come back in a moment, as who scrolled away may.
        if wanted.iter().any(more) || moved && wanted != track.told {
            track.tell(sid, out);
        } else if wanted == track.told {
            track.lower_at = None;
        } else if track.lower_at.is_none() {
            track.lower_at = Some(now + self.pause_delay);
        }
    }

    pub(crate) fn remove(&mut self, sid: &TrackSid) {
        self.tracks.remove(sid);
    }

    /// The client came back on a new WebSocket and may have missed what it was told.
    pub(crate) fn tell_again(&mut self, out: &mut Outputs) {
        for (sid, track) in &mut self.tracks {
            if !track.told.is_empty() {
                track.tell(sid, out);
            }
        }
    }

    pub(crate) fn timeout(&mut self, now: Instant, out: &mut Outputs) {
        for (sid, track) in &mut self.tracks {
            if track.lower_at.is_some_and(|at| at <= now) {
                track.tell(sid, out);
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.tracks
            .values()
            .filter_map(|track| track.lower_at)
            .min()
    }
}

/// OFF is the lowest although its number is the highest.
fn rank(quality: VideoQuality) -> u8 {
    match quality {
        VideoQuality::Off => 0,
        VideoQuality::Low => 1,
        VideoQuality::Medium => 2,
        VideoQuality::High => 3,
    }
}

/// Always all three qualities a codec; old clients read the first codec's only.
#[allow(deprecated)]
fn update(sid: &TrackSid, told: &BTreeMap<Codec, VideoQuality>) -> proto::SubscribedQualityUpdate {
    let qualities = |highest: VideoQuality| {
        let all = [VideoQuality::Low, VideoQuality::Medium, VideoQuality::High];
        let entry = |quality: VideoQuality| proto::SubscribedQuality {
            quality: quality as i32,
            enabled: rank(quality) <= rank(highest),
        };
        all.map(entry).to_vec()
    };
    let codecs: Vec<proto::SubscribedCodec> = told
        .iter()
        .map(|(codec, highest)| proto::SubscribedCodec {
            codec: bare_name(*codec),
            qualities: qualities(*highest),
        })
        .collect();
    proto::SubscribedQualityUpdate {
        track_sid: sid.0.clone(),
        subscribed_qualities: codecs
            .first()
            .map(|c| c.qualities.clone())
            .unwrap_or_default(),
        subscribed_codecs: codecs,
    }
}

/// `vp8`: lower case, without the kind.
fn bare_name(codec: Codec) -> String {
    codec
        .mime()
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PAUSE_DELAY: Duration = Duration::from_secs(7);
    use crate::participant::contract::MediaOutput;
    use VideoQuality::{High, Low, Off};

    struct Scene {
        dynacast: Dynacast,
        out: Outputs,
        sid: TrackSid,
    }

    impl Scene {
        fn new() -> Self {
            let sid = TrackSid("TR_VC".into());
            Self {
                dynacast: Dynacast::new(true, PAUSE_DELAY),
                out: Outputs::new(true),
                sid,
            }
        }

        fn wants(&mut self, now: Instant, who: &str, quality: Option<VideoQuality>) {
            let wanted = quality.map(|quality| (Codec::Vp8, quality));
            let who = ParticipantSid(who.into());
            let video = MediaKind::Video;
            self.dynacast
                .subscriber(now, &self.sid, video, who, wanted, &mut self.out);
        }

        /// Enabled flags of each update: LOW, MEDIUM, HIGH.
        fn updates(&mut self) -> Vec<Vec<bool>> {
            let mut updates = Vec::new();
            while let Some(output) = self.out.pop() {
                if let MediaOutput::Signal(Message::SubscribedQualityUpdate(update)) = output {
                    assert_eq!(update.subscribed_codecs[0].codec, "vp8");
                    let flags = &update.subscribed_codecs[0].qualities;
                    updates.push(flags.iter().map(|q| q.enabled).collect());
                }
            }
            updates
        }
    }

    #[test]
    fn more_is_told_at_once_and_less_after_a_delay() {
        let (mut scene, start) = (Scene::new(), Instant::now());
        scene.wants(start, "a", Some(Low));
        assert_eq!(scene.updates(), [[true, false, false]]);
        scene.wants(start, "b", Some(High));
        assert_eq!(scene.updates(), [[true, true, true]]);
        scene.wants(start, "b", None);
        assert!(scene.updates().is_empty());
        assert_eq!(scene.dynacast.deadline(), Some(start + PAUSE_DELAY));
        scene.dynacast.timeout(start + PAUSE_DELAY, &mut scene.out);
        assert_eq!(scene.updates(), [[true, false, false]]);
    }

    #[test]
    fn a_short_dip_is_never_told_and_nobody_left_switches_everything_off() {
        let (mut scene, start) = (Scene::new(), Instant::now());
        scene.wants(start, "a", Some(High));
        scene.updates();
        scene.wants(start, "a", Some(Off));
        scene.wants(start, "a", Some(High));
        assert_eq!(scene.dynacast.deadline(), None);
        scene.wants(start, "a", None);
        let later = scene.dynacast.deadline().unwrap();
        scene.dynacast.timeout(later, &mut scene.out);
        assert_eq!(scene.updates(), [[false, false, false]]);
    }

    #[test]
    fn a_codec_that_everybody_left_for_another_is_switched_off_at_once() {
        let (mut scene, now) = (Scene::new(), Instant::now());
        scene.wants(now, "a", Some(High));
        scene.wants(now, "b", Some(High));
        scene.updates();
        for who in ["a", "b"] {
            let wanted = Some((Codec::H264, High));
            let (who, video) = (ParticipantSid(who.into()), MediaKind::Video);
            let (dynacast, sid) = (&mut scene.dynacast, &scene.sid);
            dynacast.subscriber(now, sid, video, who, wanted, &mut scene.out);
        }
        let vp8 = scene.updates();
        assert_eq!(vp8.last(), Some(&vec![false, false, false]));
        assert_eq!(scene.dynacast.deadline(), None);
    }

    #[test]
    fn the_first_subscriber_is_told_once() {
        let (mut scene, now) = (Scene::new(), Instant::now());
        for who in ["a", "b"] {
            scene.wants(now, who, Some(High));
        }
        let mut told = 0;
        while let Some(output) = scene.out.pop() {
            told += usize::from(matches!(
                output,
                MediaOutput::Signal(Message::TrackSubscribed(_))
            ));
        }
        assert_eq!(told, 1);
    }
}
