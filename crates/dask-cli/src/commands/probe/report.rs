//! What `probe` and `health` found, in four notations.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use dask_client::WorkerHealth;
use serde_json::{Map, Value as Json, json};

use crate::cli::{ExitStyle, ProbeFormat, Report};
use crate::commands::Context;
use crate::failure::{CONFIG, Failure};
use crate::output::{self, nanos, pretty};

/// One thing that must hold.
#[derive(Debug)]
pub(in crate::commands) struct Check {
    pub(super) name: &'static str,
    pub(super) ok: bool,
    /// What is wrong, unless it is right.
    pub(super) words: String,
}

impl Check {
    pub(super) fn new(name: &'static str, ok: bool, words: String) -> Self {
        Self { name, ok, words: if ok { String::new() } else { words } }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(in crate::commands) struct Outcome {
    phases: Vec<(&'static str, Duration)>,
    failure: Option<Failure>,
    /// The release and the name of its dialect.
    pub(super) release: Option<(String, &'static str)>,
    pub(super) workers: Option<usize>,
    pub(super) threads: Option<u64>,
    pub(super) paused: Option<usize>,
    pub(super) oldest_last_seen: Option<Duration>,
    pub(super) checks: Vec<Check>,
    pub(super) warnings: Vec<String>,
    /// Whether each worker is asked, and the answers are what is printed.
    by_worker: bool,
    /// What each worker answered.
    pub(in crate::commands) health: Option<BTreeMap<String, WorkerHealth>>,
    /// Warning and failure of the round trip.
    pub(super) limits: (Option<Duration>, Option<Duration>),
}

impl Outcome {
    /// Of asking each worker.
    pub(in crate::commands) fn by_worker() -> Self {
        Self { by_worker: true, ..Self::default() }
    }

    pub(in crate::commands) fn phase(&mut self, name: &'static str, took: Duration) {
        self.phases.push((name, took));
    }

    pub(in crate::commands) fn end(&mut self, result: Result<(), Failure>) {
        self.failure = result.err();
    }

    /// What is wrong.
    pub(super) fn failed_checks(&self) -> Vec<String> {
        self.checks.iter().filter(|check| !check.ok).map(|check| check.words.clone()).collect()
    }

    fn took(&self, phase: &str) -> Option<Duration> {
        self.phases.iter().find(|(name, _)| *name == phase).map(|(_, took)| *took)
    }

    /// What is there, in a few words.
    fn summary(&self) -> String {
        let mut words = vec![self.release.as_ref().map(|(release, _)| release.clone()).unwrap_or_default()];
        if let (Some(workers), Some(threads)) = (self.workers, self.threads) {
            let plural = |count: u64| if count == 1 { "" } else { "s" };
            words.push(format!("{workers} worker{}", plural(workers as u64)));
            words.push(format!("{threads} thread{}", plural(threads)));
        }
        if let Some(health) = &self.health {
            let ok = health.values().filter(|worker| worker.is_ok()).count();
            words.push(format!("{ok} of {} workers execute", health.len()));
        }
        match (self.took("round_trip"), self.took("total")) {
            (Some(took), _) => words.push(format!("round trip {}", pretty(took))),
            (None, Some(took)) => words.push(format!("answered in {}", pretty(took))),
            (None, None) => (),
        }
        words.join(", ")
    }
}

/// Prints the outcome; the exit code.
pub(in crate::commands) fn print(context: Context, report: Report, outcome: &Outcome) -> u8 {
    let format = report.format.unwrap_or(if context.json() { ProbeFormat::Json } else { ProbeFormat::Text });
    match format {
        ProbeFormat::Text => print_text(context, outcome),
        ProbeFormat::Json => print_json(outcome),
        ProbeFormat::Nagios => output::data(&nagios(outcome)),
        ProbeFormat::Prometheus => output::data(prometheus(outcome).trim_end()),
    }
    let default = if format == ProbeFormat::Nagios { ExitStyle::Nagios } else { ExitStyle::Dask };
    exit_code(report.exit_style.unwrap_or(default), outcome)
}

/// A line, or, where workers were asked one by one, a table of them.
fn print_text(context: Context, outcome: &Outcome) {
    match (&outcome.health, &outcome.failure) {
        (None, Some(failure)) if context.quiet || outcome.by_worker => failure.print(),
        (None, None) if context.quiet => (),
        (None, _) => output::data(&text(outcome)),
        (Some(health), _) => {
            output::data(&table(health));
            if let Some(failure) = &outcome.failure {
                failure.print();
            }
        }
    }
}

fn print_json(outcome: &Outcome) {
    if !outcome.by_worker {
        return output::line(&json(outcome));
    }
    if let Some(health) = &outcome.health {
        output::line(&json!(health));
    }
    if let Some(failure) = &outcome.failure {
        failure.print();
    }
}

fn table(health: &BTreeMap<String, WorkerHealth>) -> String {
    let row = |(worker, health): (&String, &WorkerHealth)| {
        let reason = health.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        vec![worker.clone(), format!("{}{reason}", health.status)]
    };
    output::table(&["worker", "status"], health.iter().map(row))
}

fn exit_code(style: ExitStyle, outcome: &Outcome) -> u8 {
    match (style, &outcome.failure) {
        (ExitStyle::Dask, None) => 0,
        (ExitStyle::Dask, Some(failure)) => failure.code(),
        (ExitStyle::Nagios, None) => u8::from(!outcome.warnings.is_empty()),
        (ExitStyle::Nagios, Some(failure)) if failure.code() == CONFIG => 3,
        (ExitStyle::Nagios, Some(_)) => 2,
    }
}

fn text(outcome: &Outcome) -> String {
    let mut text = match &outcome.failure {
        None => format!("ok: {}", outcome.summary()),
        Some(failure) => format!("failing: {}", failure.message()),
    };
    for warning in &outcome.warnings {
        let _ = write!(text, "\nwarning: {warning}");
    }
    text
}

fn json(outcome: &Outcome) -> Json {
    let mut object = Map::new();
    let mut set = |name: &str, value: Json| drop(object.insert(name.to_owned(), value));
    match &outcome.failure {
        None => set("status", "ok".into()),
        Some(failure) => {
            set("status", "failing".into());
            set("reason", failure.message().into());
        }
    }
    let phases: Map<String, Json> =
        outcome.phases.iter().map(|(name, took)| ((*name).to_owned(), nanos(*took))).collect();
    set("phases_ns", phases.into());
    if let Some((release, dialect)) = &outcome.release {
        set("release", release.as_str().into());
        set("dialect", (*dialect).into());
    }
    if let Some(workers) = outcome.workers {
        set("workers", workers.into());
        set("threads", outcome.threads.into());
        set("paused", outcome.paused.into());
        set("oldest_last_seen_ns", outcome.oldest_last_seen.map_or(Json::Null, nanos));
    }
    if !outcome.checks.is_empty() {
        let check = |check: &Check| match check.ok {
            true => json!({ "name": check.name, "ok": true }),
            false => json!({ "name": check.name, "ok": false, "reason": check.words }),
        };
        set("checks", outcome.checks.iter().map(check).collect::<Vec<_>>().into());
    }
    if !outcome.warnings.is_empty() {
        set("warnings", outcome.warnings.clone().into());
    }
    object.into()
}

fn nagios(outcome: &Outcome) -> String {
    let (status, words) = match &outcome.failure {
        Some(failure) if failure.code() == CONFIG => ("UNKNOWN", failure.message().to_owned()),
        Some(failure) => ("CRITICAL", failure.message().to_owned()),
        None if !outcome.warnings.is_empty() => ("WARNING", outcome.warnings.join("; ")),
        None => ("OK", outcome.summary()),
    };
    // A pipe divides words from numbers, and a line is all there is.
    let words = words.replace('|', "/").replace('\n', " ");
    let seconds = |duration: Duration| format!("{:.6}s", duration.as_secs_f64());
    let limit = |limit: Option<Duration>| limit.map(|limit| format!("{:.6}", limit.as_secs_f64()));
    let mut numbers = Vec::new();
    for (name, took) in &outcome.phases {
        let (warning, critical) = match *name {
            "round_trip" => outcome.limits,
            _ => (None, None),
        };
        numbers.push(format!(
            "{name}={};{};{};0",
            seconds(*took),
            limit(warning).unwrap_or_default(),
            limit(critical).unwrap_or_default()
        ));
    }
    if let (Some(workers), Some(threads)) = (outcome.workers, outcome.threads) {
        numbers.push(format!("workers={workers};;;0"));
        numbers.push(format!("threads={threads};;;0"));
    }
    if let Some(health) = &outcome.health {
        let ok = health.values().filter(|worker| worker.is_ok()).count();
        numbers.push(format!("healthy={ok};;;0;{}", health.len()));
    }
    match numbers.is_empty() {
        true => format!("DASK {status} - {words}"),
        false => format!("DASK {status} - {words} | {}", numbers.join(" ")),
    }
}

fn prometheus(outcome: &Outcome) -> String {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::registry::{Registry, Unit};
    type Labels = Vec<(&'static str, String)>;
    type Seconds = Gauge<f64, std::sync::atomic::AtomicU64>;

    let mut registry = Registry::with_prefix("dask_probe");
    let success = Gauge::<i64>::default();
    success.set(i64::from(outcome.failure.is_none()));
    registry.register("success", "Whether the probe succeeded", success);
    let phases = Family::<Labels, Seconds>::default();
    for (name, took) in &outcome.phases {
        phases.get_or_create(&vec![("phase", (*name).to_owned())]).set(took.as_secs_f64());
    }
    registry.register_with_unit("phase", "How long each step took", Unit::Seconds, phases);
    let number = |value: u64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        gauge
    };
    if let (Some(workers), Some(threads), Some(paused)) = (outcome.workers, outcome.threads, outcome.paused) {
        registry.register("workers", "Workers of the cluster", number(workers as u64));
        registry.register("threads", "Threads of all workers", number(threads));
        registry.register("workers_not_running", "Workers that are paused or closing", number(paused as u64));
    }
    if let Some(health) = &outcome.health {
        let workers = Family::<Labels, Gauge>::default();
        for (worker, health) in health {
            workers.get_or_create(&vec![("worker", worker.clone())]).set(i64::from(health.is_ok()));
        }
        registry.register("worker_healthy", "Whether each worker executed something", workers);
    }
    if let Some(oldest) = outcome.oldest_last_seen {
        let gauge = Seconds::default();
        gauge.set(oldest.as_secs_f64());
        registry.register_with_unit(
            "oldest_last_seen",
            "Age of the oldest last sign of life of a worker",
            Unit::Seconds,
            gauge,
        );
    }
    if !outcome.checks.is_empty() {
        let checks = Family::<Labels, Gauge>::default();
        for check in &outcome.checks {
            checks.get_or_create(&vec![("check", check.name.to_owned())]).set(i64::from(check.ok));
        }
        registry.register("check", "Whether each check passed", checks);
    }
    if let Some((release, dialect)) = &outcome.release {
        let info = Family::<Labels, Gauge>::default();
        let labels = vec![("release", release.clone()), ("dialect", (*dialect).to_owned())];
        info.get_or_create(&labels).set(1);
        registry.register("scheduler", "The scheduler's release", info);
    }
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{CONNECT, UNHEALTHY};

    fn outcome(failure: Option<Failure>) -> Outcome {
        let mut outcome = Outcome {
            release: Some(("2026.8.0".to_owned(), "expr")),
            workers: Some(2),
            threads: Some(8),
            paused: Some(0),
            oldest_last_seen: Some(Duration::from_millis(500)),
            checks: vec![Check::new("min_workers", true, String::new())],
            limits: (Some(Duration::from_millis(5)), None),
            ..Outcome::default()
        };
        outcome.phase("round_trip", Duration::from_micros(410));
        outcome.end(failure.map_or(Ok(()), Err));
        outcome
    }

    #[test]
    fn each_notation_says_the_same() {
        let good = outcome(None);
        assert_eq!(text(&good), "ok: 2026.8.0, 2 workers, 8 threads, round trip 410 us");
        assert_eq!(json(&good)["phases_ns"]["round_trip"], 410_000);
        assert_eq!(
            nagios(&good),
            "DASK OK - 2026.8.0, 2 workers, 8 threads, round trip 410 us | \
             round_trip=0.000410s;0.005000;;0 workers=2;;;0 threads=8;;;0"
        );
        let metrics = prometheus(&good);
        for line in [
            "dask_probe_success 1",
            "dask_probe_phase_seconds{phase=\"round_trip\"} 0.00041",
            "dask_probe_workers 2",
            "dask_probe_check{check=\"min_workers\"} 1",
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
        }
    }

    #[test]
    fn exit_codes_follow_the_style() {
        let good = outcome(None);
        let mut warned = outcome(None);
        warned.warnings.push("slow".to_owned());
        let unhealthy = outcome(Some(Failure::new(UNHEALTHY, "no workers")));
        let gone = outcome(Some(Failure::new(CONNECT, "nobody | there")));
        let confused = outcome(Some(Failure::config("which cluster?")));
        let all = [&good, &warned, &unhealthy, &gone, &confused];
        assert_eq!(all.map(|outcome| exit_code(ExitStyle::Dask, outcome)), [0, 0, 4, 2, 1]);
        assert_eq!(all.map(|outcome| exit_code(ExitStyle::Nagios, outcome)), [0, 1, 2, 2, 3]);
        assert!(nagios(&gone).starts_with("DASK CRITICAL - nobody / there |"), "{}", nagios(&gone));
    }
}
