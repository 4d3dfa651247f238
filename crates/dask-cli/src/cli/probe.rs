//! Options of `probe` and `health`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{Cluster, duration};

#[derive(Debug, Subcommand)]
pub(crate) enum Probe {
    /// The scheduler accepts a connection and answers.
    Live(Live),
    /// The cluster can take work: enough workers, each of them answers, none is paused or silent.
    Ready(Ready),
}

/// How the outcome is told.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Report {
    /// How the outcome is printed; by default as --output says.
    #[arg(long, value_enum)]
    pub(crate) format: Option<ProbeFormat>,
    /// What the exit code means; nagios with --format nagios, else as `dask-rs --help` says.
    #[arg(long, value_enum)]
    pub(crate) exit_style: Option<ExitStyle>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProbeFormat {
    /// For people: with --quiet nothing but the reason of a failure, on stderr.
    Text,
    /// One JSON object.
    Json,
    /// A line of a monitoring plugin, with performance data.
    Nagios,
    /// Metrics for a textfile collector.
    Prometheus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExitStyle {
    /// As every other command: 0 ok, 1 configuration, 2 no connection, 3 unusable, 4 not healthy.
    Dask,
    /// 0 ok, 1 warning, 2 critical, 3 unknown (bad configuration).
    Nagios,
}

/// Options of `health`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each worker computes something in its event loop, so that one whose threads are all busy is healthy. As JSON it is a map \
from worker to {\"status\": \"OK\"}, or another status and the reason.

Examples:
  dask-rs health -s tcp://scheduler:8786
  dask-rs health -o json | jq 'map_values(.status)'
  dask-rs health --format prometheus > /var/lib/node_exporter/dask_workers.prom")]
pub(crate) struct Health {
    #[command(flatten)]
    pub(crate) report: Report,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Options of `probe live`.
#[derive(Debug, Args)]
#[command(after_help = "\
Opens one connection, shakes hands and asks for the scheduler's identity, all within --timeout. It registers nothing, \
leaves no line in the scheduler's log and never touches the HTTP port.

Examples:
  dask-rs probe live -s tcp://scheduler:8786
  dask-rs probe live --timeout 500ms --quiet && echo alive
  dask-rs probe live --format prometheus > /var/lib/node_exporter/dask.prom")]
pub(crate) struct Live {
    #[command(flatten)]
    pub(crate) report: Report,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Options of `probe ready`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dask-rs probe ready --min-workers 2 && echo deployed
  dask-rs probe ready --rtt-critical 250ms --max-age-last-seen 15s --strict-versions
  dask-rs probe ready --format nagios --rtt-warning 50ms --rtt-critical 500ms")]
pub(crate) struct Ready {
    /// How many workers there must be.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) min_workers: usize,
    /// How many threads all workers together must have.
    #[arg(long, value_name = "N")]
    pub(crate) min_threads: Option<u64>,
    /// No worker may be silent for longer than this, by the scheduler's record and this machine's clock.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub(crate) max_age_last_seen: Duration,
    /// A round trip to the scheduler longer than this is worth a warning, which does not fail the probe.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) rtt_warning: Option<Duration>,
    /// A round trip to the scheduler longer than this fails the probe.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) rtt_critical: Option<Duration>,
    /// Paused workers are no failure.
    #[arg(long)]
    pub(crate) allow_paused: bool,
    /// Does not have every worker execute something; asks the scheduler alone.
    #[arg(long)]
    pub(crate) scheduler_only: bool,
    /// Fails if scheduler and workers differ in the packages that must agree, or if the release is not a known one.
    #[arg(long)]
    pub(crate) strict_versions: bool,
    #[command(flatten)]
    pub(crate) report: Report,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}
