//! How long changes took, in little memory whatever their number.

use std::fmt;
use std::time::Duration;

/// Counts of latencies in buckets that are at most 1/32 wide of what they hold.
#[derive(Clone)]
pub struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

/// Below, a bucket holds one microsecond value.
const EXACT: u64 = 1 << (FRACTION_BITS + 1);
/// A bucket is 2^-5 of its power of two.
const FRACTION_BITS: u32 = 5;
/// Up to 2^36 µs: 19 hours. What took longer is counted there.
const BITS_MAX: u32 = 36;

impl Latencies {
    /// Nothing measured.
    #[must_use]
    pub fn new() -> Self {
        let (last, _) = bucket((1 << BITS_MAX) - 1);
        Self {
            counts: vec![0; last + 1],
            total: 0,
        }
    }

    /// Counts one.
    pub fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros())
            .unwrap_or(u64::MAX)
            .min((1 << BITS_MAX) - 1);
        self.counts[bucket(us).0] += 1;
        self.total += 1;
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The latency that `share` (0 to 1) of all did not exceed, rounded up by 3 % at most.
    /// `None`: nothing was counted.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank among counts that are far below 2^53"
        )]
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_micros(highest_of(index)));
            }
        }
        None
    }
}

/// The bucket that counts `us`, and the highest value it counts.
fn bucket(us: u64) -> (usize, u64) {
    if us < EXACT {
        return (usize::try_from(us).unwrap_or(0), us);
    }
    let shift = us.ilog2() - FRACTION_BITS;
    let top = us >> shift;
    let index = u64::from(shift) * (EXACT / 2) + top;
    (
        usize::try_from(index).unwrap_or(0),
        ((top + 1) << shift) - 1,
    )
}

fn highest_of(index: usize) -> u64 {
    let index = index as u64;
    if index < EXACT {
        return index;
    }
    let shift = index / (EXACT / 2) - 1;
    let top = index - shift * (EXACT / 2);
    ((top + 1) << shift) - 1
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latencies")
            .field("count", &self.total)
            .field("median", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_has_no_median() {
        assert_eq!(Latencies::new().quantile(0.5), None);
    }

    #[test]
    fn one_is_every_quantile() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_micros(40));
        for share in [0.0, 0.5, 0.99, 1.0] {
            assert_eq!(latencies.quantile(share), Some(Duration::from_micros(40)));
        }
    }

    #[test]
    fn days_are_counted_too() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_secs(1_000_000));
        latencies.record(Duration::MAX);
        assert_eq!(latencies.count(), 2);
        assert_eq!(
            latencies.quantile(0.5),
            Some(Duration::from_micros((1 << BITS_MAX) - 1))
        );
    }

    proptest! {
        #[test]
        fn a_bucket_holds_what_it_says(us in 0u64..1 << BITS_MAX) {
            let (index, highest) = bucket(us);
            prop_assert_eq!(highest_of(index), highest);
            prop_assert!(highest >= us && (highest - us) * 32 <= us);
            prop_assert!(index == 0 || highest_of(index - 1) < us);
        }

        #[test]
        fn quantiles_agree_with_a_sorted_list(
            mut list in prop::collection::vec(0u64..5_000_000, 1..200),
            percent in 1u32..=100,
        ) {
            let mut latencies = Latencies::new();
            list.iter().for_each(|us| latencies.record(Duration::from_micros(*us)));
            list.sort_unstable();
            let share = f64::from(percent) / 100.0;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let rank = (list.len() as f64 * share).ceil() as usize;
            let exact = list[rank.max(1) - 1];
            let found = latencies.quantile(share).unwrap().as_micros();
            let exact = u128::from(exact);
            prop_assert!(found >= exact && (found - exact) * 32 <= exact, "{found} for {exact}");
        }
    }
}
