//! Who is speaking: the audio-level extension (RFC 6464) of every track, windowed the way LiveKit
//! does (sfu/audio/audiolevel.go): a share of an interval must be loud, then the loudest packet,
//! weighted by that share, is smoothed exponentially.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::ids::RoomKey;
use crate::shard::AudioLevelSettings;

/// Level of a packet without sound, −dBov.
const SILENCE_DBOV: u8 = 127;

/// Loudness of one track.
#[derive(Debug)]
pub(crate) struct AudioLevel {
    loudest_dbov: u8,
    active: Duration,
    observed: Duration,
    last_timestamp: Option<u32>,
    last_observed: Option<Instant>,
    /// Linear, 0.0..=1.0.
    smoothed: f32,
}

impl Default for AudioLevel {
    fn default() -> Self {
        AudioLevel {
            loudest_dbov: SILENCE_DBOV,
            active: Duration::ZERO,
            observed: Duration::ZERO,
            last_timestamp: None,
            last_observed: None,
            smoothed: 0.0,
        }
    }
}

impl AudioLevel {
    /// `level` is the extension's byte; how long the packet sounds follows from the timestamps.
    pub(crate) fn observe(
        &mut self,
        now: Instant,
        settings: &AudioLevelSettings,
        level: u8,
        timestamp: u32,
        clock_hz: u32,
    ) {
        self.last_observed = Some(now);
        let Some(last) = self.last_timestamp.replace(timestamp) else {
            return;
        };
        let elapsed = timestamp.wrapping_sub(last);
        if elapsed == 0 || elapsed > u32::MAX / 2 {
            self.last_timestamp = Some(last); // late: already part of the window
            return;
        }
        let micros = u64::from(elapsed) * 1_000_000 / u64::from(clock_hz.max(1));
        // After a silence without packets (DTX, mute) one packet speaks for itself only.
        let duration = Duration::from_micros(micros).min(settings.update_interval);
        self.observed += duration;
        let level = level & 0x7f;
        if level <= settings.active_level_dbov {
            self.active += duration;
            self.loudest_dbov = self.loudest_dbov.min(level);
        }
        if self.observed >= settings.update_interval {
            self.close_window(settings);
        }
    }

    fn close_window(&mut self, settings: &AudioLevelSettings) {
        let interval = settings.update_interval.as_secs_f32();
        let share = self.active.as_secs_f32() / interval.max(f32::EPSILON);
        if share * 100.0 >= f32::from(settings.min_percentile) && share > 0.0 {
            let weighted_dbov = f32::from(self.loudest_dbov) - 20.0 * share.log10();
            let factor = 2.0 / (settings.smooth_intervals.max(1) as f32 + 1.0);
            self.smoothed += (linear(weighted_dbov) - self.smoothed) * factor;
        } else {
            self.smoothed = 0.0;
        }
        self.loudest_dbov = SILENCE_DBOV;
        (self.active, self.observed) = (Duration::ZERO, Duration::ZERO);
    }

    /// Loudness while the track counts as speaking.
    pub(crate) fn speaking(&mut self, now: Instant, settings: &AudioLevelSettings) -> Option<f32> {
        let stale = self
            .last_observed
            .is_none_or(|last| now.saturating_duration_since(last) > settings.update_interval * 2);
        if stale {
            self.smoothed = 0.0;
        }
        let threshold = linear(f32::from(settings.active_level_dbov));
        (self.smoothed >= threshold).then(|| self.smoothed.min(1.0))
    }

    /// Nothing of the past counts (mute).
    pub(crate) fn reset(&mut self) {
        *self = AudioLevel::default();
    }
}

fn linear(dbov: f32) -> f32 {
    10f32.powf(-dbov / 20.0)
}

/// When each room's speakers are told next.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    rooms: BTreeMap<RoomKey, RoomSpeakers>,
}

#[derive(Debug)]
struct RoomSpeakers {
    due: Instant,
    audio_tracks: Vec<u32>,
    /// The last event named somebody, so silence is news.
    anybody: bool,
}

impl Rooms {
    pub(crate) fn add(&mut self, now: Instant, room: RoomKey, track: u32, interval: Duration) {
        let entry = self.rooms.entry(room).or_insert_with(|| RoomSpeakers {
            due: now + interval,
            audio_tracks: Vec::new(),
            anybody: false,
        });
        entry.audio_tracks.push(track);
    }

    pub(crate) fn remove(&mut self, room: RoomKey, track: u32) {
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        entry.audio_tracks.retain(|known| *known != track);
        // A room that still owes its silence stays until it has told it.
        if entry.audio_tracks.is_empty() && !entry.anybody {
            self.rooms.remove(&room);
        }
    }

    /// Calls `tell(room, levels)` for each room whose interval is over and that has news. `level`
    /// gives the loudness of a track by index, if it is speaking.
    pub(crate) fn update<K>(
        &mut self,
        now: Instant,
        interval: Duration,
        mut level: impl FnMut(u32) -> Option<(K, f32)>,
        mut tell: impl FnMut(RoomKey, Vec<(K, f32)>),
    ) {
        self.rooms.retain(|key, room| {
            if room.due > now {
                return true;
            }
            // A shard that was away does not make up for missed intervals.
            room.due = (room.due + interval).max(now);
            let levels: Vec<_> = room.audio_tracks.iter().filter_map(|t| level(*t)).collect();
            let anybody = !levels.is_empty();
            if anybody || room.anybody {
                tell(*key, levels);
            }
            room.anybody = anybody;
            anybody || !room.audio_tracks.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: fn() -> AudioLevelSettings = AudioLevelSettings::default;

    /// Feeds 20 ms packets; every `loud_of.1`-th group has `loud_of.0` loud ones.
    fn feed(level: &mut AudioLevel, start: Instant, packets: u32, loud: impl Fn(u32) -> bool) {
        for index in 0..packets {
            let at = start + Duration::from_millis(u64::from(index) * 20);
            let dbov = if loud(index) { 20 } else { 90 };
            level.observe(at, &SETTINGS(), dbov, index * 960, 48_000);
        }
    }

    #[test]
    fn steady_speech_is_heard_and_silence_is_not() {
        let start = Instant::now();
        let end = start + Duration::from_secs(2);
        let (mut loud, mut quiet) = (AudioLevel::default(), AudioLevel::default());
        feed(&mut loud, start, 100, |_| true);
        feed(&mut quiet, start, 100, |_| false);
        let heard = loud.speaking(end, &SETTINGS());
        assert!(
            heard.is_some_and(|level| (0.08..=0.11).contains(&level)),
            "{heard:?}"
        );
        assert_eq!(quiet.speaking(end, &SETTINGS()), None);
    }

    #[test]
    fn less_than_forty_percent_of_an_interval_is_noise() {
        let start = Instant::now();
        let end = start + Duration::from_secs(2);
        let mut clicks = AudioLevel::default();
        feed(&mut clicks, start, 100, |index| index % 10 < 3);
        assert_eq!(clicks.speaking(end, &SETTINGS()), None);
        let mut words = AudioLevel::default();
        feed(&mut words, start, 100, |index| index % 10 < 5);
        assert!(words.speaking(end, &SETTINGS()).is_some());
    }

    #[test]
    fn a_speaker_whose_packets_stop_is_forgotten() {
        let start = Instant::now();
        let mut level = AudioLevel::default();
        feed(&mut level, start, 100, |_| true);
        assert_eq!(
            level.speaking(start + Duration::from_secs(4), &SETTINGS()),
            None
        );
    }

    #[test]
    fn a_room_tells_its_silence_once() {
        let start = Instant::now();
        let interval = Duration::from_millis(400);
        let mut rooms = Rooms::default();
        rooms.add(start, RoomKey(1), 7, interval);
        let mut told = Vec::new();
        for step in 1..=6u32 {
            let level = |track| (step == 2 || step == 3).then_some((track, 0.5f32));
            rooms.update(start + interval * step, interval, level, |_, levels| {
                told.push((step, levels.len()));
            });
        }
        assert_eq!(told, [(2, 1), (3, 1), (4, 0)]);
    }
}
