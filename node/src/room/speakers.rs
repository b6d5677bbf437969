//! Who speaks: deltas of quantised loudness, told to the speaker and to those who hear it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use media::TrackKey;
use protocol::proto;
use protocol::proto::signal_response::Message;

use super::Room;
use crate::participant::KeySpace;

/// Loudness is told in steps of 1/8, so that small changes are no news.
const STEPS: f32 = 8.0;
/// Loudness of simulated speech, in steps.
const SIMULATED_STEPS: u8 = 7;

#[derive(Default)]
pub(super) struct Speakers {
    /// Loudness last told, in steps; silent participants are absent.
    told: BTreeMap<u16, u8>,
    /// What each shard heard last.
    heard: BTreeMap<usize, Vec<(TrackKey, f32)>>,
    /// Simulated speech and its end.
    simulated: BTreeMap<u16, Instant>,
}

impl Speakers {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.simulated.values().min().copied()
    }

    pub(super) fn forget(&mut self, number: u16) {
        self.told.remove(&number);
        self.simulated.remove(&number);
        for levels in self.heard.values_mut() {
            levels.retain(|(track, _)| KeySpace::participant_of(track.0) != number);
        }
    }

    /// Takes over what is heard now; returns what changed, as `(who, steps)`, loudest first.
    fn hear(&mut self) -> Vec<(u16, u8)> {
        let mut now: BTreeMap<u16, u8> = self
            .simulated
            .keys()
            .map(|number| (*number, SIMULATED_STEPS))
            .collect();
        for (track, level) in self.heard.values().flatten() {
            let steps = (level.clamp(0.0, 1.0) * STEPS).ceil() as u8;
            if steps > 0 {
                let loudest = now.entry(KeySpace::participant_of(track.0)).or_insert(0);
                *loudest = steps.max(*loudest);
            }
        }
        let stopped = self.told.keys().filter(|number| !now.contains_key(number));
        let mut changes: Vec<(u16, u8)> = stopped.map(|number| (*number, 0)).collect();
        changes.extend(
            now.iter()
                .filter(|(number, steps)| self.told.get(number) != Some(steps))
                .map(|(number, steps)| (*number, *steps)),
        );
        changes.sort_by_key(|(number, steps)| (std::cmp::Reverse(*steps), *number));
        self.told = now;
        changes
    }
}

impl Room {
    /// The levels of everybody one shard hears.
    pub(super) fn speakers_heard(&mut self, shard: usize, levels: Vec<(TrackKey, f32)>) {
        self.speakers.heard.insert(shard, levels);
        self.tell_speakers();
    }

    fn tell_speakers(&mut self) {
        let changes = self.speakers.hear();
        if changes.is_empty() {
            return;
        }
        let changes: Vec<(u16, proto::SpeakerInfo)> = changes
            .into_iter()
            .filter_map(|(number, steps)| Some((number, self.speaker(number, steps)?)))
            .collect();
        for listener in self.roster.numbers() {
            let Some(member) = self.roster.get(listener) else {
                continue;
            };
            let publishers = member.media.publishers();
            let speakers: Vec<_> = changes
                .iter()
                .filter(|(number, _)| {
                    *number == listener
                        || self
                            .roster
                            .get(*number)
                            .is_some_and(|speaker| publishers.contains(&speaker.sid))
                })
                .map(|(_, info)| info.clone())
                .collect();
            if !speakers.is_empty() {
                self.tell(
                    listener,
                    Message::SpeakersChanged(proto::SpeakersChanged { speakers }),
                );
            }
        }
    }

    /// A subscription began or ended: what it says about the speaker's loudness.
    pub(super) fn tell_speaker_to(&mut self, listener: u16, speaker: u16) {
        let Some(steps) = self.speakers.told.get(&speaker).copied() else {
            return;
        };
        let hears = match (self.roster.get(listener), self.roster.get(speaker)) {
            (Some(listener), Some(speaker)) => listener.media.subscribes_to(&speaker.sid),
            _ => return,
        };
        if let Some(info) = self.speaker(speaker, if hears { steps } else { 0 }) {
            let speakers = vec![info];
            self.tell(
                listener,
                Message::SpeakersChanged(proto::SpeakersChanged { speakers }),
            );
        }
    }

    fn speaker(&self, number: u16, steps: u8) -> Option<proto::SpeakerInfo> {
        let sid = self.roster.get(number)?.sid.0.clone();
        Some(proto::SpeakerInfo {
            sid,
            level: f32::from(steps) / STEPS,
            active: steps > 0,
        })
    }

    /// After a thaw nobody knows what a client was told of who speaks: it is told of all it hears.
    pub(super) fn settle_speakers_of(&mut self, listener: u16) {
        let Some(member) = self.roster.get_mut(listener) else {
            return;
        };
        if !std::mem::take(&mut member.speakers_unknown) {
            return;
        }
        let heard = member.media.publishers().into_iter();
        let heard: Vec<u16> = heard
            .filter_map(|sid| self.roster.of_sid(sid.as_str()))
            .chain([listener])
            .collect();
        let told = |number: &u16| self.speakers.told.get(number).copied().unwrap_or(0);
        let speakers: Vec<_> = heard
            .iter()
            .filter_map(|number| self.speaker(*number, told(number)))
            .collect();
        let changed = proto::SpeakersChanged { speakers };
        self.tell(listener, Message::SpeakersChanged(changed));
    }

    pub(super) fn simulate_speech(&mut self, number: u16, speech: Duration) {
        self.speakers.simulated.insert(number, self.now + speech);
        self.tell_speakers();
    }

    pub(super) fn speaker_timers(&mut self) {
        let now = self.now;
        let before = self.speakers.simulated.len();
        self.speakers.simulated.retain(|_, until| *until > now);
        if self.speakers.simulated.len() != before {
            self.tell_speakers();
        }
    }
}
