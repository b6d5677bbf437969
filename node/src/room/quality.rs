//! Connection quality as clients show it: of each participant the score of its worst stream, told
//! every 5 s if a grade changed. The packet plane scores streams; the scale is LiveKit's
//! (`connectionquality/scorer.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use media::TransportKey;
use media::event::TransportStats;
use metrics::histogram;
use protocol::proto;
use protocol::proto::ConnectionQuality;
use protocol::proto::participant_info::State;
use protocol::proto::signal_response::Message;

use super::Room;
use super::limits::QUALITY_INTERVAL;
use super::member::Member;
use super::roster::Roster;

/// First protocol with connection quality, and with the grade LOST.
const PROTOCOL_WITH_QUALITY: i32 = 5;
const PROTOCOL_WITH_LOST: i32 = 11;
/// Points of somebody who neither sends nor gets anything.
const BEST: f32 = 100.0;
/// Transports of one participant that are remembered: two connections and their successors.
const TRANSPORTS_MAX: usize = 8;

pub(super) struct Quality {
    next: Instant,
    /// Grades of the last round.
    told: BTreeMap<u16, ConnectionQuality>,
}

impl Quality {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next: now + QUALITY_INTERVAL,
            told: BTreeMap::new(),
        }
    }

    /// Somebody is active: rounds that nobody needed are skipped, not made up for.
    pub(super) fn resume(&mut self, now: Instant) {
        if self.next < now {
            let rounds = (now - self.next).as_millis() / QUALITY_INTERVAL.as_millis() + 1;
            self.next += QUALITY_INTERVAL * u32::try_from(rounds).unwrap_or(u32::MAX);
        }
    }

    /// An empty room needs no rounds.
    pub(super) fn deadline(&self, roster: &Roster) -> Option<Instant> {
        roster
            .iter()
            .any(|member| member.was_active)
            .then_some(self.next)
    }
}

impl Room {
    pub(super) fn transport_measured(
        &mut self,
        number: u16,
        transport: TransportKey,
        stats: &TransportStats,
    ) {
        if let Some(member) = self.roster.glance_mut(number) {
            if member.scores.len() >= TRANSPORTS_MAX && !member.scores.contains_key(&transport) {
                member.scores.pop_first();
            }
            member.scores.insert(transport, stats.score.unwrap_or(BEST));
        }
    }

    pub(super) fn quality_timer(&mut self) {
        if self.quality.next > self.now {
            return;
        }
        self.quality.next = self.now + QUALITY_INTERVAL;
        let scores: BTreeMap<u16, f32> = self
            .roster
            .iter()
            .filter(|member| member.state() == State::Active)
            .map(|member| (member.number, score(member)))
            .collect();
        let grades: BTreeMap<u16, ConnectionQuality> = scores
            .iter()
            .map(|(number, score)| (*number, grade(*score)))
            .collect();
        for (number, score) in &scores {
            record(grades.get(number), *score);
        }
        let news = grades
            .iter()
            .any(|(number, grade)| self.quality.told.get(number) != Some(grade));
        self.quality.told = grades;
        if news {
            for listener in self.roster.numbers() {
                self.tell_quality(listener, &scores);
            }
        }
    }

    /// A participant hears of itself and of those it subscribes to.
    fn tell_quality(&mut self, listener: u16, scores: &BTreeMap<u16, f32>) {
        let Some(member) = self.roster.get(listener) else {
            return;
        };
        if member.state() != State::Active || member.protocol() < PROTOCOL_WITH_QUALITY {
            return;
        }
        let knows_lost = member.protocol() >= PROTOCOL_WITH_LOST;
        let publishers = member.media.publishers();
        let heard = publishers
            .iter()
            .filter_map(|sid| self.roster.of_sid(sid.as_str()));
        let about: BTreeSet<u16> = heard.chain([listener]).collect();
        let updates: Vec<_> = about
            .into_iter()
            .filter_map(|number| {
                let (about, score) = (self.roster.get(number)?, scores.get(&number)?);
                let quality = match grade(*score) {
                    ConnectionQuality::Lost if !knows_lost => ConnectionQuality::Poor,
                    grade => grade,
                };
                Some(proto::ConnectionQualityInfo {
                    participant_sid: about.sid.0.clone(),
                    quality: quality.into(),
                    score: mean_opinion(*score),
                })
            })
            .collect();
        if !updates.is_empty() {
            let update = proto::ConnectionQualityUpdate { updates };
            self.tell(listener, Message::ConnectionQuality(update));
        }
    }
}

/// 0..=100 points.
fn score(member: &Member) -> f32 {
    if member.transport_failed {
        return 0.0;
    }
    let scores = member.scores.values();
    scores.fold(BEST, |worst, score| worst.min(*score))
}

/// Names and values are LiveKit's (`telemetry/prometheus/quality.go`).
fn record(grade: Option<&ConnectionQuality>, score: f32) {
    if let Some(grade) = grade {
        histogram!("livekit_quality_rating").record(f64::from(*grade as i32));
    }
    histogram!("livekit_quality_score").record(f64::from(mean_opinion(score)));
}

fn grade(score: f32) -> ConnectionQuality {
    match score {
        score if score > 80.0 => ConnectionQuality::Excellent,
        score if score > 40.0 => ConnectionQuality::Good,
        score if score > 20.0 => ConnectionQuality::Poor,
        _ => ConnectionQuality::Lost,
    }
}

/// Points as a mean opinion score of 1.0..=4.5 (ITU-T G.107, annex B).
fn mean_opinion(score: f32) -> f32 {
    if score <= 0.0 {
        return 1.0;
    }
    (1.0 + 0.035 * score + score * (score - 60.0) * (100.0 - score) * 7.0e-6).clamp(1.0, 4.5)
}
