//! Quantiles of what was measured, and the median of ratios with its interval.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Resamples of a bootstrap interval.
const RESAMPLES: usize = 10_000;

/// The median of paired ratios and the interval that 95 % of the resampled medians lie in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Ratio {
    /// Of pairs measured in the same round: each is divided within its round.
    pub(crate) fn of(numerators: &[f64], denominators: &[f64]) -> Self {
        let ratios: Vec<f64> = numerators.iter().zip(denominators).map(|(one, other)| one / other).collect();
        // The same numbers give the same interval.
        let mut rng = StdRng::seed_from_u64(1);
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let pick =
                    |_| ratios.get(rng.random_range(0..ratios.len().max(1))).copied().unwrap_or(f64::NAN);
                median(&(0..ratios.len()).map(pick).collect::<Vec<_>>())
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        Self { median: median(&ratios), low: at(&medians, 0.025), high: at(&medians, 0.975) }
    }
}

/// The middle of the numbers.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    at(&sorted, 0.5)
}

/// The latency that this share of the requests stayed within.
pub(crate) fn quantile(latencies: &mut [u32], share: f64) -> Duration {
    latencies.sort_unstable();
    let nanos = latencies.get(index(latencies.len(), share)).copied().unwrap_or(u32::MAX);
    Duration::from_nanos(u64::from(nanos))
}

fn at(sorted: &[f64], share: f64) -> f64 {
    let even = sorted.len().is_multiple_of(2) && (share - 0.5).abs() < f64::EPSILON;
    let upper = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
    match sorted.get((sorted.len() / 2).saturating_sub(1)) {
        Some(lower) if even => f64::midpoint(*lower, upper),
        _ => sorted.get(index(sorted.len(), share)).copied().unwrap_or(f64::NAN),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index"
)]
fn index(length: usize, share: f64) -> usize {
    ((length as f64 * share).ceil() as usize).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Ratio, median, quantile};

    #[test]
    fn quantiles_are_found() {
        let mut latencies: Vec<u32> = (1..=1000).rev().collect();
        assert_eq!(quantile(&mut latencies, 0.99), Duration::from_nanos(990));
        assert_eq!(quantile(&mut latencies, 0.5), Duration::from_nanos(500));
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn a_ratio_is_taken_within_its_round() {
        let ratio = Ratio::of(&[10.0, 200.0, 3000.0], &[20.0, 400.0, 6000.0]);
        assert!((ratio.median - 0.5).abs() < f64::EPSILON);
        assert!((ratio.low - 0.5).abs() < f64::EPSILON && (ratio.high - 0.5).abs() < f64::EPSILON);
    }
}
