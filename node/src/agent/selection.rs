//! Which of several workers is asked first. Pure; `jobs` calls it.

use rand::{Rng, RngExt};

/// A worker that reports no load is not infinitely better than one at 1 %; one that reports more
/// than it can carry still has a chance when all do.
const WEIGHT_MIN: f32 = 0.01;

/// Draws one of the available workers, weighted by what they have left (`1 - load`, as upstream).
/// Those at `target_load` or above are asked only when all are.
pub(crate) fn pick<T: Copy>(
    rng: &mut impl Rng,
    target_load: f32,
    workers: impl Iterator<Item = (T, f32)>,
) -> Option<T> {
    let all: Vec<(T, f32)> = workers.collect();
    let relaxed: Vec<_> = all
        .iter()
        .copied()
        .filter(|(_, load)| *load < target_load)
        .collect();
    let candidates = if relaxed.is_empty() { all } else { relaxed };
    let weight = |load: f32| (1.0 - load).max(WEIGHT_MIN);
    let total: f32 = candidates.iter().map(|(_, load)| weight(*load)).sum();
    let mut left = rng.random::<f32>() * total;
    for (worker, load) in &candidates {
        left -= weight(*load);
        if left <= 0.0 {
            return Some(*worker);
        }
    }
    candidates.last().map(|(worker, _)| *worker)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha12Rng;

    use super::*;

    fn draws(workers: &[(char, f32)]) -> Vec<char> {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        (0..1000)
            .filter_map(|_| pick(&mut rng, 0.7, workers.iter().copied()))
            .collect()
    }

    fn share(of: char, draws: &[char]) -> usize {
        draws.iter().filter(|drawn| **drawn == of).count()
    }

    #[test]
    fn nobody_is_picked_from_nobody() {
        assert!(draws(&[]).is_empty());
    }

    #[test]
    fn the_less_loaded_is_picked_more_often_but_not_always() {
        let drawn = draws(&[('a', 0.0), ('b', 0.5)]);
        assert!(
            (560..770).contains(&share('a', &drawn)),
            "{}",
            share('a', &drawn)
        );
    }

    #[test]
    fn workers_above_the_target_wait_for_the_others_to_fill_up() {
        assert_eq!(share('b', &draws(&[('a', 0.6), ('b', 0.7)])), 0);
        let both = draws(&[('a', 0.9), ('b', 1.5)]);
        assert!(share('a', &both) > 0 && share('b', &both) > 0);
    }
}
