//! What publishers were told of the qualities of their tracks, as records and back. Who wants what
//! follows from the subscriptions.

use protocol::ids::TrackSid;
use protocol::proto::VideoQuality;

use super::{Dynacast, Track};
use crate::participant::contract::WallClock;
use crate::participant::image::records::{DynacastRecord, ToldQualityRecord};
use crate::participant::image::{codec_number, codec_of};
use crate::participant::limits::PUBLICATIONS_MAX;

impl Dynacast {
    pub(crate) fn image(&self, clock: &WallClock) -> Vec<DynacastRecord> {
        let tracks = self.tracks.iter();
        tracks
            .map(|(sid, track)| DynacastRecord {
                sid: sid.0.clone(),
                told_subscribed: track.told_subscribed,
                lower_at: track.lower_at.map(|at| clock.unix_micros_of(at)),
                told: told(track),
            })
            .collect()
    }

    pub(crate) fn thaw(&mut self, records: &[DynacastRecord], clock: &WallClock) {
        for record in records.iter().take(PUBLICATIONS_MAX) {
            let told = record.told.iter().filter_map(|one| {
                let quality = VideoQuality::try_from(one.quality).ok()?;
                Some((codec_of(one.codec)?, quality))
            });
            let track = Track {
                told: told.collect(),
                lower_at: record.lower_at.map(|at| clock.instant_of(at)),
                told_subscribed: record.told_subscribed,
                ..Track::default()
            };
            self.tracks.insert(TrackSid(record.sid.clone()), track);
        }
    }
}

fn told(track: &Track) -> Vec<ToldQualityRecord> {
    let told = track.told.iter();
    told.map(|(codec, quality)| ToldQualityRecord {
        codec: codec_number(*codec),
        quality: i32::from(*quality),
    })
    .collect()
}
