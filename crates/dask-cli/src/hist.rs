//! Histograms of durations.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Durations from 1 ns to an hour, to three digits.
#[derive(Clone, Debug)]
pub(crate) struct Hist(Histogram<u64>);

const HOUR_NS: u64 = 3_600_000_000_000;

impl Default for Hist {
    fn default() -> Self {
        // These bounds are valid ones, and so is the fallback: two digits from 1 on.
        match Histogram::new_with_bounds(1, HOUR_NS, 3).or_else(|_| Histogram::new(2)) {
            Ok(histogram) => Self(histogram),
            Err(_) => Self::default(),
        }
    }
}

impl Hist {
    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(HOUR_NS);
        self.0.saturating_record(nanos.max(1));
    }

    pub(crate) fn merge(&mut self, other: &Hist) {
        // Equal bounds always fit.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The duration that `percent` of all are not above.
    pub(crate) fn at(&self, percent: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_percentile(percent).min(self.0.max()))
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    pub(crate) fn summary(&self) -> Summary {
        let at = |percent| self.at(percent).as_nanos().try_into().unwrap_or(u64::MAX);
        let rounded = |value: f64| Duration::try_from_secs_f64(value / 1e9).unwrap_or_default();
        let empty = self.0.is_empty();
        Summary {
            count: self.0.len(),
            min_ns: if empty { 0 } else { self.0.min() },
            mean_ns: rounded(self.0.mean()).as_nanos().try_into().unwrap_or(u64::MAX),
            stdev_ns: rounded(self.0.stdev()).as_nanos().try_into().unwrap_or(u64::MAX),
            max_ns: self.0.max(),
            percentiles_ns: Percentiles {
                p50: at(50.0),
                p75: at(75.0),
                p90: at(90.0),
                p95: at(95.0),
                p99: at(99.0),
                p99_9: at(99.9),
                p99_99: at(99.99),
            },
            curve: self.curve(),
        }
    }

    /// Percentiles ever closer to 100, each with its duration in nanoseconds.
    fn curve(&self) -> Vec<(f64, u64)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let steps = self
            .0
            .iter_quantiles(4)
            .map(|step| (step.quantile_iterated_to() * 100.0, step.value_iterated_to()));
        // Durations are told up to the largest one, not up to the end of its bucket.
        steps.map(|(percent, nanos)| (percent, nanos.min(self.0.max()))).collect()
    }
}

/// A histogram, summed up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) min_ns: u64,
    pub(crate) mean_ns: u64,
    pub(crate) stdev_ns: u64,
    pub(crate) max_ns: u64,
    pub(crate) percentiles_ns: Percentiles,
    /// Pairs of a percentile and nanoseconds.
    pub(crate) curve: Vec<(f64, u64)>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p75: u64,
    pub(crate) p90: u64,
    pub(crate) p95: u64,
    pub(crate) p99: u64,
    #[serde(rename = "p99.9")]
    pub(crate) p99_9: u64,
    #[serde(rename = "p99.99")]
    pub(crate) p99_99: u64,
}

/// The percentiles that are shown, by name.
pub(crate) const SHOWN: [&str; 7] = ["p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99"];
/// The same as numbers.
pub(crate) const PERCENTS: [f64; 7] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99];

impl Summary {
    /// The nanoseconds that `percent` of all are not above, between two known percentiles in proportion; infinite if
    /// there are not so many.
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53 are 100 days")]
    pub(crate) fn at(&self, percent: f64) -> f64 {
        // Not 100 itself: sums of floating point numbers are not exact.
        if percent.is_nan() || percent > 100.0 + 1e-9 {
            return f64::INFINITY;
        }
        let mut below = (0.0, self.min_ns as f64);
        let mut above = (100.0, self.max_ns as f64);
        let named = PERCENTS.into_iter().zip(self.percentiles_ns.all());
        for (known, nanos) in named.chain(self.curve.iter().copied()) {
            // Where a step of the curve is a named percentile, the named one is told.
            if known <= percent && known > below.0 {
                below = (known, nanos as f64);
            }
            if known >= percent && known < above.0 {
                above = (known, nanos as f64);
            }
        }
        match above.0 - below.0 {
            span if span > 0.0 => {
                below.1 + (above.1 - below.1) * ((percent - below.0) / span).clamp(0.0, 1.0)
            }
            _ => below.1,
        }
    }
}

impl Percentiles {
    pub(crate) fn all(&self) -> [u64; 7] {
        [self.p50, self.p75, self.p90, self.p95, self.p99, self.p99_9, self.p99_99]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let mut hist = Hist::default();
        (1..=1000).for_each(|n| hist.record(Duration::from_micros(n)));
        let summary = hist.summary();
        assert_eq!(summary.count, 1000);
        let near = |found: u64, expected: u64| found.abs_diff(expected) * 1000 <= expected;
        assert!(near(summary.percentiles_ns.p50, 500_000), "{summary:?}");
        assert!(near(summary.percentiles_ns.p99_9, 1_000_000), "{summary:?}");
        assert!(near(summary.max_ns, 1_000_000), "{summary:?}");
        assert!(summary.curve.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        assert_eq!(summary.curve.last().map(|(percent, _)| *percent), Some(100.0));
    }

    #[test]
    fn summaries_know_the_percentiles_between() {
        let mut hist = Hist::default();
        (1..=10_000).for_each(|n| hist.record(Duration::from_micros(n)));
        let summary = hist.summary();
        for percent in [0.5, 33.0, 50.0, 90.5, 99.0, 99.05, 99.5, 99.995, 100.0] {
            let (found, expected) = (summary.at(percent), percent * 100_000.0);
            assert!((found - expected).abs() <= expected * 0.03 + 2000.0, "{percent}: {found}");
        }
        assert!(summary.at(100.1).is_infinite() && summary.at(f64::INFINITY).is_infinite());
        assert!(summary.at(f64::NAN).is_infinite());
    }

    #[test]
    fn nothing_and_too_much_are_no_trouble() {
        assert_eq!(Hist::default().summary().count, 0);
        assert_eq!(Hist::default().summary().min_ns, 0);
        let mut hist = Hist::default();
        hist.record(Duration::MAX);
        hist.record(Duration::ZERO);
        assert_eq!(hist.count(), 2);
    }
}
