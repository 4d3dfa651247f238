//! `--compare`: this run beside an earlier one.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::report::{Report, SCHEMA};
use crate::failure::Failure;
use crate::hist::SHOWN;
use crate::output::{self, pretty};

/// Figures of both runs and their ratios.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Comparison {
    pub(super) started_unix_s: u64,
    /// Settings and surroundings that differ, in words: with any, the ratios say little.
    pub(super) differences: Vec<String>,
    pub(super) ratios: Vec<Ratio>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Ratio {
    pub(super) figure: String,
    pub(super) old: f64,
    pub(super) new: f64,
    /// New over old; `null` where the old one is 0.
    pub(super) ratio: Option<f64>,
}

/// Reads the result of an earlier run.
pub(super) fn read(path: &Path) -> Result<Report, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::config(format!("cannot read the run to compare with, {shown}: {error}")))?;
    let report: Report = serde_json::from_str(&text).map_err(|error| {
        Failure::config(format!("{shown} is not the JSON result of dask-rs bench: {error}"))
    })?;
    if report.schema != SCHEMA {
        return Err(Failure::config(format!("{shown} is {:?}, where {SCHEMA:?} is expected", report.schema)));
    }
    Ok(report)
}

/// Compares a run with an earlier one.
pub(super) fn with(new: &Report, old: &Report) -> Comparison {
    let mut differences = Vec::new();
    let mut differ = |what: &str, old: String, new: String| {
        if old != new {
            differences.push(format!("{what}: {old} then, {new} now"));
        }
    };
    let (then, now) = (&old.settings, &new.settings);
    let rate = |rate: Option<f64>| rate.map_or_else(|| "none".to_owned(), |rate| rate.to_string());
    differ("model", then.model.clone(), now.model.clone());
    differ("rate", rate(then.rate_per_second), rate(now.rate_per_second));
    differ("shape", then.shape.clone(), now.shape.clone());
    differ("tasks of a request", then.tasks_per_request.to_string(), now.tasks_per_request.to_string());
    differ("payload bytes", then.payload_bytes.to_string(), now.payload_bytes.to_string());
    differ("in flight", then.in_flight.to_string(), now.in_flight.to_string());
    let (then, now) = (&old.environment, &new.environment);
    differ("release", then.scheduler_release.clone(), now.scheduler_release.clone());
    differ("workers", then.workers.to_string(), now.workers.to_string());
    differ("threads", then.threads.to_string(), now.threads.to_string());
    differ("processors here", then.cpus.to_string(), now.cpus.to_string());
    differ("debug build", then.debug_build.to_string(), now.debug_build.to_string());

    #[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53 are 100 days")]
    let float = |count: u64| count as f64;
    let mut ratios =
        vec![Ratio::of("throughput", old.throughput.requests_per_second, new.throughput.requests_per_second)];
    let (then, now) = (&old.latency.corrected, &new.latency.corrected);
    ratios.push(Ratio::of("mean", float(then.mean_ns), float(now.mean_ns)));
    for ((name, then), now) in SHOWN.iter().zip(then.percentiles_ns.all()).zip(now.percentiles_ns.all()) {
        ratios.push(Ratio::of(name, float(then), float(now)));
    }
    ratios.push(Ratio::of("max", float(then.max_ns), float(now.max_ns)));
    // The latencies above are those of completed requests: without these a run that answers few would look fast.
    let (then, now) = (&old.counts, &new.counts);
    ratios.push(Ratio::of("failed", float(then.failed), float(now.failed)));
    ratios.push(Ratio::of("missed", float(then.missed), float(now.missed)));
    Comparison { started_unix_s: old.started_unix_s, differences, ratios }
}

impl Ratio {
    fn of(figure: &str, old: f64, new: f64) -> Self {
        Self { figure: figure.to_owned(), old, new, ratio: (old > 0.0).then(|| new / old) }
    }
}

impl Comparison {
    pub(super) fn text(&self) -> String {
        let shown = |figure: &str, value: f64| match figure {
            "throughput" => format!("{value:.1}/s"),
            "failed" | "missed" => format!("{value:.0}"),
            _ => pretty(Duration::try_from_secs_f64(value / 1e9).unwrap_or(Duration::MAX)),
        };
        let mut text = output::table(
            &["beside the earlier run", "then", "now", "now/then"],
            self.ratios.iter().map(|ratio| {
                vec![
                    ratio.figure.clone(),
                    shown(&ratio.figure, ratio.old),
                    shown(&ratio.figure, ratio.new),
                    ratio.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
                ]
            }),
        );
        for difference in &self.differences {
            text.push_str(&format!("\nnot the same: {difference}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_and_differences_are_told() {
        let mut old = Report::default();
        old.latency.corrected.percentiles_ns.p99 = 10_000_000;
        old.environment.workers = 2;
        let mut new = old.clone();
        new.latency.corrected.percentiles_ns.p99 = 15_000_000;
        new.environment.workers = 3;
        new.counts.failed = 126;
        let comparison = with(&new, &old);
        let p99 = comparison.ratios.iter().find(|ratio| ratio.figure == "p99").unwrap();
        assert_eq!(p99.ratio, Some(1.5));
        assert_eq!(comparison.differences, ["workers: 2 then, 3 now"]);
        assert!(comparison.ratios.iter().any(|ratio| ratio.ratio.is_none()));
        assert!(comparison.text().contains("1.50"));
        let text = comparison.text();
        let failed = text.lines().find(|line| line.contains("failed")).unwrap();
        assert_eq!(failed.split_whitespace().collect::<Vec<_>>(), ["failed", "0", "126", "-"]);
    }
}
