//! `--fail-if`: what a run must not do.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::report::{Counts, Report};
use crate::failure::Failure;
use crate::hist::{PERCENTS, SHOWN, Summary};
use crate::output::pretty;

/// One threshold, such as `p99>20ms`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Threshold {
    text: String,
    subject: Subject,
    above: bool,
    or_equal: bool,
    value: Value,
}

#[derive(Clone, Debug, PartialEq)]
enum Subject {
    Latency { phase: String, what: String },
    Count(&'static str),
    Throughput,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Nanos(f64),
    Number(f64),
    /// Of all planned requests.
    Percent(f64),
    /// Of the same figure of the run compared with.
    Factor(f64),
}

/// How a threshold was met.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Verdict {
    pub(super) threshold: String,
    /// Whether it holds, so that the run fails.
    pub(super) crossed: bool,
    /// The figure: nanoseconds, a number, or requests a second; `null` is slower than any limit.
    pub(super) actual: Option<f64>,
    /// What it was measured against, in the same unit; `null` if the earlier run was slower than any limit.
    pub(super) limit: Option<f64>,
    pub(super) words: String,
}

const PHASES: [&str; 6] = ["total", "uncorrected", "queue", "submit", "in_memory", "fetch"];
const COUNTS: [&str; 3] = ["missed", "failed", "late"];

impl FromStr for Threshold {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let refuse = |why: String| {
            Failure::config(format!(
                "--fail-if {text:?}: {why}; expected something like p99>20ms or missed>1%"
            ))
        };
        let at = text.find(['<', '>']).ok_or_else(|| refuse("there is no < or >".to_owned()))?;
        let (subject, rest) = text.split_at(at);
        let above = rest.starts_with('>');
        let rest = rest.get(1..).unwrap_or_default();
        let or_equal = rest.starts_with('=');
        let value = rest.strip_prefix('=').unwrap_or(rest).trim();
        let subject = Self::subject(subject.trim()).map_err(refuse)?;
        let value = Self::value(value, &subject).map_err(refuse)?;
        Ok(Self { text: text.to_owned(), subject, above, or_equal, value })
    }
}

impl Threshold {
    fn subject(text: &str) -> Result<Subject, String> {
        if let Some(name) = COUNTS.into_iter().find(|name| *name == text) {
            return Ok(Subject::Count(name));
        }
        if text == "throughput" {
            return Ok(Subject::Throughput);
        }
        let (phase, what) = match text.split_once('.') {
            Some((phase, what)) if PHASES.contains(&phase) => (phase, what),
            _ => ("total", text),
        };
        if !SHOWN.contains(&what) && !["mean", "max", "min"].contains(&what) {
            return Err(format!(
                "{text:?} is nothing that is measured; there are {}, mean, min, max, {}, throughput",
                SHOWN.join(", "),
                COUNTS.join(", ")
            ));
        }
        Ok(Subject::Latency { phase: phase.to_owned(), what: what.to_owned() })
    }

    fn value(text: &str, subject: &Subject) -> Result<Value, String> {
        let number =
            |text: &str| text.trim().parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
        if let Some(factor) = text.strip_suffix('x').and_then(number) {
            return Ok(Value::Factor(factor));
        }
        match subject {
            Subject::Latency { .. } => match humantime::parse_duration(text) {
                Ok(duration) => Ok(Value::Nanos(duration.as_secs_f64() * 1e9)),
                Err(_) => Err(format!("{text:?} is no duration")),
            },
            Subject::Count(_) => match text.strip_suffix('%') {
                Some(share) => number(share).map(Value::Percent),
                None => number(text).map(Value::Number),
            }
            .ok_or_else(|| format!("{text:?} is no number")),
            Subject::Throughput => {
                number(text).map(Value::Number).ok_or_else(|| format!("{text:?} is no number"))
            }
        }
    }

    /// Whether it needs another run.
    pub(super) fn is_relative(&self) -> bool {
        matches!(self.value, Value::Factor(_))
    }

    /// Measures a run against the threshold.
    pub(super) fn judge(&self, report: &Report, old: Option<&Report>) -> Result<Verdict, Failure> {
        let actual = self.figure(report);
        #[expect(clippy::cast_precision_loss, reason = "a share of them")]
        let planned = report.counts.planned as f64;
        let limit = match self.value {
            Value::Nanos(value) | Value::Number(value) => value,
            // In this order a whole number of them comes out whole.
            Value::Percent(percent) => percent * planned / 100.0,
            Value::Factor(factor) => match old {
                Some(old) => factor * self.figure(old),
                None => {
                    return Err(Failure::config("a factor needs a run to compare with: --compare old.json"));
                }
            },
        };
        let crossed = match (self.above, self.or_equal) {
            // Also where the earlier run did no better.
            (true, _) if actual.is_infinite() => true,
            (true, false) => actual > limit,
            (true, true) => actual >= limit,
            (false, false) => actual < limit,
            (false, true) => actual <= limit,
        };
        let shown = |value: f64| match self.subject {
            _ if value.is_infinite() => "slower than any limit".to_owned(),
            Subject::Latency { .. } => {
                pretty(Duration::try_from_secs_f64(value / 1e9).unwrap_or(Duration::MAX))
            }
            Subject::Count(_) => format!("{value:.0}"),
            Subject::Throughput => format!("{value:.1}/s"),
        };
        let mut figure = match self.value {
            // What a share or a factor comes to is not to be seen from the threshold.
            Value::Percent(_) | Value::Factor(_) => format!("{} against {}", shown(actual), shown(limit)),
            _ => shown(actual),
        };
        if actual.is_infinite() {
            let counts = &report.counts;
            figure.push_str(&format!(
                " ({} of {} requests failed, {} were missed)",
                counts.failed, counts.planned, counts.missed
            ));
        }
        let words = format!("{} {}: {figure}", if crossed { "crossed" } else { "kept" }, self.text);
        let finite = |value: f64| value.is_finite().then_some(value);
        Ok(Verdict {
            threshold: self.text.clone(),
            crossed,
            actual: finite(actual),
            limit: finite(limit),
            words,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53 are 100 days")]
    fn figure(&self, report: &Report) -> f64 {
        match &self.subject {
            Subject::Count("missed") => report.counts.missed as f64,
            Subject::Count("failed") => report.counts.failed as f64,
            Subject::Count(_) => report.counts.late as f64,
            Subject::Throughput => report.throughput.requests_per_second,
            Subject::Latency { phase, what } => {
                report.summary_of(phase).map_or(0.0, |summary| latency(summary, what, &report.counts))
            }
        }
    }
}

/// A figure over all requests that were to be made: those without a latency of their own, failed or missed, are slower
/// than any limit. Otherwise a cluster that answers nobody would be a fast one.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53 are 100 days")]
fn latency(summary: &Summary, what: &str, counts: &Counts) -> f64 {
    let lost = counts.failed + counts.missed;
    let percent = SHOWN.iter().zip(PERCENTS).find(|(name, _)| **name == what).map(|(_, percent)| percent);
    let nanos = match (what, percent) {
        ("mean" | "max", _) if lost > 0 => return f64::INFINITY,
        ("min", _) if lost > 0 && counts.completed == 0 => return f64::INFINITY,
        ("mean", _) => summary.mean_ns,
        ("min", _) => summary.min_ns,
        ("max", _) => summary.max_ns,
        (_, Some(percent)) => {
            let stretch = (counts.completed + lost) as f64 / counts.completed as f64;
            return if lost == 0 { summary.at(percent) } else { summary.at(percent * stretch) };
        }
        (_, None) => 0,
    };
    nanos as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read() {
        let read =
            |text: &str| text.parse::<Threshold>().map(|threshold| (threshold.subject, threshold.value));
        let latency =
            |phase: &str, what: &str| Subject::Latency { phase: phase.to_owned(), what: what.to_owned() };
        assert_eq!(read("p99>20ms").unwrap(), (latency("total", "p99"), Value::Nanos(2e7)));
        assert_eq!(read("p99.9 >= 1s").unwrap(), (latency("total", "p99.9"), Value::Nanos(1e9)));
        assert_eq!(read("fetch.p50>1ms").unwrap(), (latency("fetch", "p50"), Value::Nanos(1e6)));
        assert_eq!(read("mean>1.2x").unwrap(), (latency("total", "mean"), Value::Factor(1.2)));
        assert_eq!(read("missed>1%").unwrap(), (Subject::Count("missed"), Value::Percent(1.0)));
        assert_eq!(read("throughput<100").unwrap(), (Subject::Throughput, Value::Number(100.0)));
    }

    #[test]
    fn other_texts_say_what_is_wrong() {
        for (text, why) in [
            ("p99", "no < or >"),
            ("p42>1ms", "nothing that is measured"),
            ("p99>soon", "no duration"),
            ("missed>many", "no number"),
            ("p99>-1x", "no duration"),
            ("", "no < or >"),
        ] {
            let failure = text.parse::<Threshold>().unwrap_err();
            assert!(failure.message().contains(why), "{text}: {}", failure.message());
            assert_eq!(failure.code(), crate::failure::CONFIG);
        }
    }

    /// A run of so many completed, failed and missed requests, whose latencies are 1 ms, 2 ms, … in turn.
    fn run(completed: u64, failed: u64, missed: u64) -> Report {
        let mut hist = crate::hist::Hist::default();
        (1..=completed).for_each(|n| hist.record(Duration::from_millis(n)));
        let mut report = Report::default();
        report.counts.planned = completed + failed + missed;
        report.counts.completed = completed;
        report.counts.failed = failed;
        report.counts.missed = missed;
        report.latency.corrected = hist.summary();
        report
    }

    fn judge(text: &str, report: &Report, old: Option<&Report>) -> Verdict {
        text.parse::<Threshold>().unwrap().judge(report, old).unwrap()
    }

    #[test]
    fn a_run_is_judged() {
        let mut report = run(1000, 0, 0);
        report.latency.corrected.percentiles_ns.p99 = 25_000_000;
        report.throughput.requests_per_second = 90.0;
        let mut old = report.clone();
        old.latency.corrected.percentiles_ns.p99 = 20_000_000;
        for (text, crossed) in [
            ("p99>20ms", true),
            ("p99>25ms", false),
            ("p99>=25ms", true),
            ("p99>1.2x", true),
            ("p99>1.3x", false),
            ("failed>0", false),
            ("throughput<100", true),
        ] {
            let verdict = judge(text, &report, Some(&old));
            assert_eq!(verdict.crossed, crossed, "{}", verdict.words);
        }
        let missing = run(980, 0, 20);
        for (text, crossed) in [("missed>1%", true), ("missed>2%", false), ("missed>=2%", true)] {
            assert_eq!(judge(text, &missing, None).crossed, crossed, "{text}");
        }
    }

    #[test]
    fn failed_and_missed_requests_are_slower_than_any_limit() {
        for stalled in [run(74, 126, 0), run(74, 0, 126), run(74, 63, 63), run(0, 200, 0)] {
            for text in ["p50>500ms", "p99>500ms", "p99>=500ms", "mean>500ms", "max>500ms", "fetch.p90>1h"] {
                let verdict = judge(text, &stalled, None);
                assert!(verdict.crossed && verdict.actual.is_none(), "{verdict:?}");
                assert!(verdict.words.contains("slower than any limit"), "{verdict:?}");
            }
            assert!(!judge("p50<500ms", &stalled, None).crossed);
        }
        // 5 of 100: the slowest that count are the 95 others.
        let some = run(95, 3, 2);
        for (text, crossed) in [
            ("p50>52ms", false),
            ("p50>48ms", true),
            ("p95>96ms", false),
            ("p95>94ms", true),
            ("p99>1h", true),
            ("min>2ms", false),
        ] {
            let verdict = judge(text, &some, None);
            assert_eq!(verdict.crossed, crossed, "{}", verdict.words);
        }
    }

    #[test]
    fn so_are_those_of_the_run_compared_with() {
        let (well, stalled) = (run(200, 0, 0), run(74, 126, 0));
        assert!(!judge("p99>1.2x", &well, Some(&stalled)).crossed);
        assert!(judge("p99>1.2x", &stalled, Some(&well)).crossed);
        // No better than before is not good.
        assert!(judge("p99>1.2x", &stalled, Some(&stalled)).crossed);
        let kept = serde_json::to_string(&judge("p99>1.2x", &well, Some(&stalled))).unwrap();
        assert!(kept.contains("\"limit\":null"), "{kept}");
        assert_eq!(serde_json::from_str::<Verdict>(&kept).unwrap().limit, None);
    }
}
