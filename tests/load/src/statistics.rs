//! Percentiles of samples. Pure.

/// The value below which `share` of the samples lie; sorts what it is given.
pub(crate) fn percentile(samples: &mut [f64], share: f64) -> Option<f64> {
    samples.sort_unstable_by(f64::total_cmp);
    let last = samples.len().checked_sub(1)?;
    samples.get((last as f64 * share).round() as usize).copied()
}

/// p50, p99, p99.9 of microseconds, in milliseconds.
pub(crate) fn spread_ms(samples_us: &[u32]) -> Option<[f64; 3]> {
    let mut samples: Vec<f64> = samples_us.iter().map(|us| f64::from(*us) / 1e3).collect();
    Some([
        percentile(&mut samples, 0.5)?,
        percentile(&mut samples, 0.99)?,
        percentile(&mut samples, 0.999)?,
    ])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_set() {
        let samples: Vec<u32> = (0..=1_000).rev().map(|n| n * 1_000).collect();
        assert_eq!(spread_ms(&samples), Some([500.0, 990.0, 999.0]));
        assert_eq!(spread_ms(&[]), None);
    }
}
