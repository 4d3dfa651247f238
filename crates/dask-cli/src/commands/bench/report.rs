//! The result of a run, as data and for people. `schema/bench.schema.json` describes the data.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dask_client::{Client, Statistics};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::compare::Comparison;
use super::load::Plan;
use super::record::{PHASES, Record};
use super::shape::Work;
use super::threshold::Verdict;
use crate::cli::Bench;
use crate::failure::Failure;
use crate::hist::{SHOWN, Summary};
use crate::output::{self, bytes, pretty};

/// Says what the data is, and in which version.
pub(super) const SCHEMA: &str = "dask-rs/bench/1";

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) schema: String,
    pub(super) started_unix_s: u64,
    pub(super) settings: Settings,
    pub(super) environment: Environment,
    pub(super) counts: Counts,
    pub(super) elapsed_ns: u64,
    pub(super) throughput: Throughput,
    pub(super) latency: Latency,
    pub(super) phases: PhaseSummaries,
    /// What requests around some percentiles are made of.
    pub(super) composition: Vec<Composition>,
    pub(super) traffic: Traffic,
    pub(super) window_ns: u64,
    pub(super) timeline: Vec<Stretch>,
    pub(super) errors: Vec<Counted>,
    #[serde(default)]
    pub(super) thresholds: Vec<Verdict>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) comparison: Option<Comparison>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Settings {
    /// `open` or `closed`.
    pub(super) model: String,
    pub(super) rate_per_second: Option<f64>,
    pub(super) duration_ns: Option<u64>,
    pub(super) requests: Option<u64>,
    pub(super) shape: String,
    pub(super) tasks_per_request: u64,
    pub(super) payload_bytes: usize,
    pub(super) in_flight: u32,
    pub(super) warmup_ns: u64,
}

/// Where it ran.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Environment {
    pub(super) client_version: String,
    pub(super) debug_build: bool,
    pub(super) cpus: usize,
    pub(super) os: String,
    pub(super) arch: String,
    pub(super) scheduler: String,
    pub(super) scheduler_release: String,
    pub(super) dialect: String,
    pub(super) workers: usize,
    pub(super) threads: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) planned: u64,
    pub(super) sent: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) missed: u64,
    pub(super) late: u64,
    pub(super) tasks_completed: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Throughput {
    pub(super) requests_per_second: f64,
    pub(super) tasks_per_second: f64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Latency {
    /// From the planned time.
    pub(super) corrected: Summary,
    /// From the time of sending.
    pub(super) uncorrected: Summary,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct PhaseSummaries {
    pub(super) queue: Summary,
    pub(super) submit: Summary,
    pub(super) in_memory: Summary,
    pub(super) fetch: Summary,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Composition {
    pub(super) percentile: f64,
    pub(super) queue_ns: u64,
    pub(super) submit_ns: u64,
    pub(super) in_memory_ns: u64,
    pub(super) fetch_ns: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Traffic {
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) messages_in: u64,
    pub(super) messages_out: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Stretch {
    pub(super) start_ns: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) p50_ns: u64,
    pub(super) p99_ns: u64,
    pub(super) max_ns: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counted {
    pub(super) message: String,
    pub(super) count: u64,
}

fn whole(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

impl Environment {
    pub(super) async fn of(client: &Client) -> Result<Self, Failure> {
        let info = client.scheduler_info().await?;
        Ok(Self {
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
            debug_build: cfg!(debug_assertions),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            scheduler: client.address().to_string(),
            scheduler_release: client.release().to_string(),
            dialect: client.dialect().submission().name().to_owned(),
            workers: info.workers.len(),
            threads: info.total_threads,
        })
    }
}

impl Traffic {
    /// What went over the connections in the meantime.
    pub(super) fn between(before: &Statistics, after: &Statistics) -> Self {
        Self {
            bytes_in: after.bytes_in.saturating_sub(before.bytes_in),
            bytes_out: after.bytes_out.saturating_sub(before.bytes_out),
            messages_in: after.messages_in.saturating_sub(before.messages_in),
            messages_out: after.messages_out.saturating_sub(before.messages_out),
        }
    }
}

impl Report {
    pub(super) fn new(
        options: &Bench,
        plan: &Plan,
        work: &Work,
        environment: Environment,
        record: &Record,
        traffic: Traffic,
    ) -> Self {
        let [queue, submit, in_memory, fetch] = &record.phases;
        let seconds = record.elapsed.as_secs_f64().max(1e-9);
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = |count: u64| count as f64 / seconds;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            schema: SCHEMA.to_owned(),
            started_unix_s: started.saturating_sub(record.elapsed).as_secs(),
            settings: Settings {
                model: plan.model().to_owned(),
                rate_per_second: options.rate,
                duration_ns: plan.duration.map(whole),
                requests: plan.requests,
                shape: work.shape.name().to_owned(),
                tasks_per_request: work.tasks(),
                payload_bytes: work.payload_bytes(),
                in_flight: plan.in_flight,
                warmup_ns: whole(plan.warmup),
            },
            environment,
            counts: Counts {
                planned: record.planned,
                sent: record.sent,
                completed: record.completed,
                failed: record.failed,
                missed: record.missed,
                late: record.late,
                tasks_completed: record.completed * work.tasks(),
            },
            elapsed_ns: whole(record.elapsed),
            throughput: Throughput {
                requests_per_second: rate(record.completed),
                tasks_per_second: rate(record.completed * work.tasks()),
            },
            latency: Latency { corrected: record.total.summary(), uncorrected: record.uncorrected.summary() },
            phases: PhaseSummaries {
                queue: queue.summary(),
                submit: submit.summary(),
                in_memory: in_memory.summary(),
                fetch: fetch.summary(),
            },
            composition: [50.0, 90.0, 99.0, 99.9]
                .into_iter()
                .filter_map(|percentile| {
                    let [queue, submit, in_memory, fetch] = record.composition(percentile)?.map(whole);
                    Some(Composition {
                        percentile,
                        queue_ns: queue,
                        submit_ns: submit,
                        in_memory_ns: in_memory,
                        fetch_ns: fetch,
                    })
                })
                .collect(),
            traffic,
            window_ns: whole(record.window),
            timeline: record
                .windows
                .iter()
                .zip(0u32..)
                .map(|(window, index)| Stretch {
                    start_ns: whole(record.window * index),
                    completed: window.hist.count(),
                    failed: window.failed,
                    p50_ns: whole(window.hist.at(50.0)),
                    p99_ns: whole(window.hist.at(99.0)),
                    max_ns: whole(window.hist.max()),
                })
                .collect(),
            errors: record
                .errors
                .iter()
                .map(|(message, count)| Counted { message: message.clone(), count: *count })
                .collect(),
            thresholds: Vec::new(),
            comparison: None,
        }
    }

    pub(super) fn json(&self) -> Json {
        json!(self)
    }

    /// The histogram of a phase, by the name that thresholds use.
    pub(super) fn summary_of(&self, phase: &str) -> Option<&Summary> {
        match phase {
            "total" => Some(&self.latency.corrected),
            "uncorrected" => Some(&self.latency.uncorrected),
            "queue" => Some(&self.phases.queue),
            "submit" => Some(&self.phases.submit),
            "in_memory" => Some(&self.phases.in_memory),
            "fetch" => Some(&self.phases.fetch),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let counts = &self.counts;
        let elapsed = Duration::from_nanos(self.elapsed_ns);
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{} requests in {}: {:.1} requests/s, {:.1} tasks/s",
            counts.completed,
            pretty(elapsed),
            self.throughput.requests_per_second,
            self.throughput.tasks_per_second
        );
        if counts.failed > 0 || self.settings.model == "open" {
            let _ = writeln!(
                text,
                "planned {}, sent {}, failed {}, missed {}, late {}",
                counts.planned, counts.sent, counts.failed, counts.missed, counts.late
            );
        }
        for error in &self.errors {
            let _ = writeln!(text, "  {} times: {}", error.count, error.message);
        }
        if counts.failed + counts.missed > 0 {
            let _ = writeln!(text, "latencies are those of the {} completed requests only", counts.completed);
        }
        text.push('\n');
        let mut header = vec!["phase", "mean"];
        header.extend(SHOWN);
        header.push("max");
        let row = |name: &str, summary: &Summary| {
            let mut cells = vec![name.to_owned()];
            let shown = |nanos: u64| pretty(Duration::from_nanos(nanos));
            cells.push(shown(summary.mean_ns));
            cells.extend(summary.percentiles_ns.all().map(shown));
            cells.push(shown(summary.max_ns));
            cells
        };
        let mut rows = vec![row("total", &self.latency.corrected)];
        if self.settings.model == "open" {
            rows.push(row("(uncorrected)", &self.latency.uncorrected));
        }
        for phase in PHASES {
            match self.summary_of(phase) {
                Some(_) if phase == "queue" && self.settings.model == "closed" => (),
                Some(summary) => rows.push(row(phase, summary)),
                None => (),
            }
        }
        text.push_str(&output::table(&header, rows));
        let _ = write!(
            text,
            "\n\ntraffic: {} out in {} messages, {} in in {} messages",
            bytes(self.traffic.bytes_out),
            self.traffic.messages_out,
            bytes(self.traffic.bytes_in),
            self.traffic.messages_in
        );
        if let Some(comparison) = &self.comparison {
            let _ = write!(text, "\n\n{}", comparison.text());
        }
        for verdict in &self.thresholds {
            let _ = write!(text, "\n{}", verdict.words);
        }
        text
    }
}
