//! What the layers of one stream cost: bytes counted per spatial and temporal layer, averaged over
//! seconds, so that a key frame does not look like a dearer layer. A simulcast layer uses the first
//! row; a stream of several layers uses all.

use std::time::Instant;

use crate::limits::RATE_LAYERS;

/// Time over which rates are averaged, seconds.
const SPAN_S: f64 = 3.0;
/// Less time than this tells nothing, seconds.
const FIRST_S: f64 = 1.0;

#[derive(Debug, Default)]
pub(crate) struct LayerRates {
    bytes: [[u32; RATE_LAYERS]; RATE_LAYERS],
    bps: [[f32; RATE_LAYERS]; RATE_LAYERS],
    rolled: Option<Instant>,
    /// Seconds measured so far, up to the span.
    known_s: f64,
    /// What another shard measured, for each temporal layer; counts instead of all this.
    told: Option<[u64; RATE_LAYERS]>,
}

impl LayerRates {
    pub(crate) fn count(&mut self, spatial: u8, temporal: u8, bytes: usize) {
        let row = self.bytes.get_mut(usize::from(spatial));
        if let Some(slot) = row.and_then(|row| row.get_mut(usize::from(temporal))) {
            *slot += bytes as u32;
        }
    }

    /// Call about every 100 ms.
    pub(crate) fn roll(&mut self, now: Instant) {
        let Some(since) = self.rolled.replace(now) else {
            return;
        };
        let elapsed_s = now.saturating_duration_since(since).as_secs_f64();
        if elapsed_s <= 0.0 {
            return;
        }
        self.known_s = (self.known_s + elapsed_s).min(SPAN_S);
        let weight = (elapsed_s / self.known_s).min(1.0) as f32;
        let rows = self.bytes.iter_mut().zip(&mut self.bps);
        for (bytes, bps) in rows.flat_map(|(bytes, bps)| bytes.iter_mut().zip(bps)) {
            let now_bps = std::mem::take(bytes) as f32 * 8.0 / elapsed_s as f32;
            *bps += (now_bps - *bps) * weight;
        }
    }

    /// Everything up to these layers, bits per second; `None` while too little was seen.
    pub(crate) fn bps(&self, spatial: u8, temporal: u8) -> Option<u64> {
        if let Some(told) = &self.told {
            return told
                .get(usize::from(temporal))
                .or_else(|| told.last())
                .copied();
        }
        let rows = self.bps.iter().take(usize::from(spatial) + 1);
        let sum: f32 = rows
            .flat_map(|row| row.iter().take(usize::from(temporal) + 1))
            .sum();
        (self.known_s >= FIRST_S).then_some(sum as u64)
    }

    /// The track is relayed: who receives it knows what its layers cost.
    pub(crate) fn tell(&mut self, bps: Option<[u64; RATE_LAYERS]>) {
        self.told = bps;
    }

    /// The stream stopped: what it cost says nothing about when it comes back.
    pub(crate) fn clear(&mut self) {
        *self = LayerRates::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rates_are_cumulative_over_layers_and_follow_changes() {
        let start = Instant::now();
        let mut rates = LayerRates::default();
        for tick in 0..30u32 {
            rates.roll(start + Duration::from_millis(100) * tick);
            rates.count(0, 0, 1_250);
            rates.count(0, 2, 1_250);
            rates.count(1, 0, 12_500);
        }
        let near = |bps: Option<u64>, wanted: u64| bps.is_some_and(|b| b.abs_diff(wanted) < 10_000);
        assert!(near(rates.bps(0, 0), 100_000));
        assert!(near(rates.bps(0, 3), 200_000));
        assert!(near(rates.bps(1, 3), 1_200_000));
        for tick in 30..150u32 {
            rates.roll(start + Duration::from_millis(100) * tick);
        }
        assert!(rates.bps(1, 3).is_some_and(|bps| bps < 100_000));
    }
}
