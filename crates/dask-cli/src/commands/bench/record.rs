//! What is kept of a run while it goes on: bounded, however long it is.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::hist::Hist;

/// The parts of one request, in their order.
pub(super) const PHASES: [&str; 4] = ["queue", "submit", "in_memory", "fetch"];

/// How long one request took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// From the planned time until it was sent: 0 in the closed model.
    pub(super) queue: Duration,
    /// Encoding and queueing the graph.
    pub(super) submit: Duration,
    /// Until every result is known to be in memory.
    pub(super) in_memory: Duration,
    /// Until the results are here.
    pub(super) fetch: Duration,
}

impl Sample {
    pub(super) fn phases(&self) -> [Duration; 4] {
        [self.queue, self.submit, self.in_memory, self.fetch]
    }

    /// From when it was sent.
    pub(super) fn uncorrected(&self) -> Duration {
        self.submit + self.in_memory + self.fetch
    }

    /// From when it was planned.
    pub(super) fn total(&self) -> Duration {
        self.queue + self.uncorrected()
    }
}

/// How one request ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// When, since the start.
    pub(super) at: Duration,
    pub(super) outcome: Result<Sample, String>,
}

/// One stretch of the timeline.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    pub(super) hist: Hist,
    pub(super) failed: u64,
}

/// The most windows; then two become one.
const WINDOWS: usize = 240;
/// The most samples kept one by one, for what the slow ones are made of.
const SAMPLES: usize = 100_000;
/// The most different errors.
const ERRORS: usize = 20;

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) total: Hist,
    pub(super) uncorrected: Hist,
    pub(super) phases: [Hist; 4],
    pub(super) window: Duration,
    pub(super) windows: Vec<Window>,
    samples: Vec<Sample>,
    stride: u64,
    pub(super) planned: u64,
    pub(super) sent: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) missed: u64,
    pub(super) late: u64,
    pub(super) elapsed: Duration,
    /// Told to stop before its end.
    pub(super) interrupted: bool,
    pub(super) errors: BTreeMap<String, u64>,
}

impl Record {
    pub(super) fn new(duration: Option<Duration>) -> Self {
        let window = duration.map_or(Duration::from_millis(100), |duration| duration / 40);
        Self {
            total: Hist::default(),
            uncorrected: Hist::default(),
            phases: Default::default(),
            window: window.max(Duration::from_millis(100)),
            windows: Vec::new(),
            samples: Vec::new(),
            stride: 1,
            planned: 0,
            sent: 0,
            completed: 0,
            failed: 0,
            missed: 0,
            late: 0,
            elapsed: Duration::ZERO,
            interrupted: false,
            errors: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, ended: Ended) {
        let window = self.window_at(ended.at);
        match ended.outcome {
            Ok(sample) => {
                if let Some(window) = window {
                    window.hist.record(sample.total());
                }
                self.completed += 1;
                self.total.record(sample.total());
                self.uncorrected.record(sample.uncorrected());
                self.phases.iter_mut().zip(sample.phases()).for_each(|(hist, took)| hist.record(took));
                self.keep(sample);
            }
            Err(message) => {
                if let Some(window) = window {
                    window.failed += 1;
                }
                self.failed += 1;
                if self.errors.len() < ERRORS || self.errors.contains_key(&message) {
                    *self.errors.entry(message).or_default() += 1;
                }
            }
        }
    }

    fn window_at(&mut self, at: Duration) -> Option<&mut Window> {
        loop {
            let index = usize::try_from(at.as_nanos() / self.window.as_nanos().max(1)).unwrap_or(usize::MAX);
            if index < WINDOWS {
                if self.windows.len() <= index {
                    self.windows.resize_with(index + 1, Window::default);
                }
                return self.windows.get_mut(index);
            }
            self.window *= 2;
            self.windows = self
                .windows
                .chunks(2)
                .map(|pair| {
                    let mut both = Window::default();
                    for window in pair {
                        both.hist.merge(&window.hist);
                        both.failed += window.failed;
                    }
                    both
                })
                .collect();
        }
    }

    /// Keeps every sample, then every second, then every fourth, …
    fn keep(&mut self, sample: Sample) {
        if self.completed.is_multiple_of(self.stride) {
            self.samples.push(sample);
            if self.samples.len() >= SAMPLES {
                let mut odd = false;
                self.samples.retain(|_| {
                    odd = !odd;
                    odd
                });
                self.stride *= 2;
            }
        }
    }

    /// What requests around a percentile are made of: the mean of each phase over the nearest ones.
    pub(super) fn composition(&self, percent: f64) -> Option<[Duration; 4]> {
        let mut order: Vec<&Sample> = self.samples.iter().collect();
        order.sort_by_key(|sample| sample.total());
        let count = order.len();
        if count == 0 {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index below 100,000"
        )]
        let middle = ((percent / 100.0 * count as f64) as usize).min(count - 1);
        let reach = count / 200;
        let near = order.get(middle.saturating_sub(reach)..(middle + reach + 1).min(count))?;
        let mut sums = [Duration::ZERO; 4];
        for sample in near {
            sums.iter_mut().zip(sample.phases()).for_each(|(sum, took)| *sum += took);
        }
        let share = u32::try_from(near.len()).unwrap_or(u32::MAX).max(1);
        Some(sums.map(|sum| sum / share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(at_ms: u64, took_ms: u64) -> Ended {
        let sample = Sample { in_memory: Duration::from_millis(took_ms), ..Sample::default() };
        Ended { at: Duration::from_millis(at_ms), outcome: Ok(sample) }
    }

    #[test]
    fn windows_stay_few_and_lose_nothing() {
        let mut record = Record::new(None);
        for n in 0..10_000 {
            record.add(ended(n * 50, 1 + n % 7));
        }
        assert!(record.windows.len() <= WINDOWS, "{}", record.windows.len());
        assert_eq!(record.windows.iter().map(|window| window.hist.count()).sum::<u64>(), 10_000);
        assert!(
            record.window * u32::try_from(record.windows.len()).unwrap() >= Duration::from_millis(499_950)
        );
    }

    #[test]
    fn samples_stay_few_and_tell_what_slow_ones_are_made_of() {
        let mut record = Record::new(Some(Duration::from_secs(1)));
        for n in 0..(3 * SAMPLES as u64) {
            record.add(ended(0, if n % 100 == 0 { 500 } else { 10 }));
        }
        assert!(record.samples.len() < SAMPLES);
        assert_eq!(record.composition(50.0).unwrap()[2], Duration::from_millis(10));
        assert_eq!(record.composition(99.9).unwrap()[2], Duration::from_millis(500));
    }

    #[test]
    fn errors_are_counted_by_message_and_bounded() {
        let mut record = Record::new(None);
        for n in 0..100 {
            let outcome = Err(format!("error {}", n % 50));
            record.add(Ended { at: Duration::ZERO, outcome });
        }
        assert_eq!(record.failed, 100);
        assert_eq!(record.errors.len(), ERRORS);
        assert_eq!(record.errors.values().sum::<u64>(), 40);
    }
}
