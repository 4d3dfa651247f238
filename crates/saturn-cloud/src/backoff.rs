//! How long to wait between two questions.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Waits that double up to half of a bound, each with a random part of as much again at most: dask-saturn's rule. With the
/// defaults of 5 s and 60 s these are 5, 10, 20, 30, 30, … seconds and as much again at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    count: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_secs(5), Duration::from_secs(60))
    }
}

impl Backoff {
    /// No wait is shorter than `least`, and none is longer than `most`, or than `least` if that is more.
    pub const fn new(least: Duration, most: Duration) -> Self {
        Self { least, most, count: 0 }
    }

    /// The same waits, from the first one on.
    pub(crate) const fn restarted(self) -> Self {
        Self::new(self.least, self.most)
    }

    /// The next wait.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let random = RandomState::new().hash_one(self.count);
        let share = f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX);
        self.next_with(share)
    }

    fn next_with(&mut self, share: f64) -> Duration {
        self.count = self.count.saturating_add(1);
        let factor = 2u32.saturating_pow((self.count - 1).min(20));
        let least = self.least.max(Duration::from_millis(1));
        let most = self.most.max(least);
        let base = least.saturating_mul(factor).min(most / 2).max(least);
        base + base.min(most - base).mul_f64(share.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_those_of_dask_saturn() {
        let mut backoff = Backoff::default();
        let least: Vec<u64> = (0..6).map(|_| backoff.next_with(0.0).as_secs()).collect();
        assert_eq!(least, [5, 10, 20, 30, 30, 30]);
        assert_eq!(Backoff::default().next_with(1.0), Duration::from_secs(10));
        // Bounds that leave no room are kept as well.
        let mut narrow = Backoff::new(Duration::from_secs(60), Duration::from_secs(60));
        assert_eq!([narrow.next_with(0.0), narrow.next_with(1.0)], [Duration::from_secs(60); 2]);
        let mut odd = Backoff::new(Duration::from_secs(40), Duration::from_secs(60));
        assert_eq!([odd.next_with(0.0), odd.next_with(1.0)], [40, 60].map(Duration::from_secs));
        for _ in 0..100 {
            let wait = backoff.next_wait();
            assert!(wait >= Duration::from_secs(30) && wait <= Duration::from_secs(60), "{wait:?}");
        }
    }
}
