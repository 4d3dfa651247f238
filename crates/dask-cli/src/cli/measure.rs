//! Options of the commands that measure.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Cluster, duration};

/// Options of `latency`.
#[derive(Debug, Args)]
#[command(after_help = "\
Phases: resolve, tcp, tls, websocket and handshake of a new connection; rpc, a request that asks for nothing; in_memory, \
from submitting a small task until its result is known to be there; fetch, from then until its bytes are here.

On a terminal one live line, otherwise one JSON line an interval; a table of percentiles (with -o json an object) at the \
end. Ctrl-C or a polite kill ends it early, with what was measured until then.

Examples:
  dask-rs latency --duration 10s
  dask-rs latency --count 1000 --pause 0ms -o json | tail -1
  dask-rs latency --intrinsic")]
pub(crate) struct Latency {
    /// Measures this machine alone: how long the processor is taken away, how late timers are, a loopback round trip.
    #[arg(long)]
    pub(crate) intrinsic: bool,
    /// How long to go on; 10s unless --count is given.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// How many rounds.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// The pause between two rounds.
    #[arg(long, value_name = "DURATION", value_parser = pause, default_value = "10ms")]
    pub(crate) pause: Duration,
    /// How often a line is printed.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub(crate) interval: Duration,
    /// Submits no tasks: connections and requests only.
    #[arg(long)]
    pub(crate) no_tasks: bool,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

fn pause(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error} (expected something like 10ms)"))
}

/// What one request of `bench` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// --width tasks that know nothing of each other.
    Map,
    /// --depth tasks, each taking the one before.
    Chain,
    /// --width tasks, combined pair by pair into one.
    Tree,
    /// --width tasks and --width more, each taking all of the first.
    AllToAll,
}

impl Shape {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Shape::Map => "map",
            Shape::Chain => "chain",
            Shape::Tree => "tree",
            Shape::AllToAll => "all-to-all",
        }
    }
}

/// Options of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
A request is one graph of the shape, from submitting it until its results are here. With --rate requests are sent by \
plan, whether earlier ones are done or not (open model); latency counts from the planned time, so a stalled cluster \
cannot hide behind requests that were not sent (coordinated omission), and planned requests that were never sent are \
reported as missed. Without --rate, --in-flight requests are always under way (closed model).

Thresholds: [PHASE.]WHAT COMPARISON VALUE, with the phases total (default), uncorrected, queue, submit, in_memory, fetch; \
WHAT p50, p99.9, mean, max and so on; or one of missed, failed, late, throughput (requests a second). A value is a duration \
(20ms), a number, a share of all requests (1%), or a factor of the run compared with (1.2x). Latencies are judged over \
all requests that were to be made: one that failed or was missed counts as slower than any limit, so that p99 > anything \
holds if more than 1% did, and mean and max > anything with the first.

Examples:
  dask-rs bench --tasks 10000
  dask-rs bench --rate 200 --duration 30s --fail-if 'p99>20ms' --fail-if 'missed>0'
  dask-rs bench --shape tree --width 16 --payload 64KiB --html report.html
  dask-rs bench -o json > new.json && dask-rs bench --compare old.json --fail-if 'p99>1.2x'")]
pub(crate) struct Bench {
    /// Requests a second (open model).
    #[arg(long, value_name = "PER_SECOND")]
    pub(crate) rate: Option<f64>,
    /// How long requests are sent; 10s unless --tasks is given.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// How many tasks are submitted in all; a graph counts with all of its tasks.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tasks: Option<u64>,
    /// What one request is.
    #[arg(long, value_enum, default_value_t = Shape::Map)]
    pub(crate) shape: Shape,
    /// How many tasks stand side by side; by default 1 for map, 8 for tree, 4 for all-to-all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) width: Option<u32>,
    /// How many tasks a chain has.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) depth: u32,
    /// How many bytes each task takes along and gives back: 8, 64KiB, 1MiB.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "8")]
    pub(crate) payload: usize,
    /// How many requests may be under way at once; by default 1 without --rate, 1000 with it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) in_flight: Option<u32>,
    /// Requests of this time are made and not counted.
    #[arg(long, value_name = "DURATION", value_parser = pause, default_value = "1s")]
    pub(crate) warmup: Duration,
    /// Ends with exit code 5 if this holds; may be given repeatedly.
    #[arg(long, value_name = "THRESHOLD")]
    pub(crate) fail_if: Vec<String>,
    /// The JSON result of an earlier run to compare with.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) compare: Option<PathBuf>,
    /// Writes a report with charts, one file without anything from elsewhere.
    #[arg(long, value_name = "FILE.html")]
    pub(crate) html: Option<PathBuf>,
    /// Also writes the JSON result here.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) save: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// The most bytes of one task: messages have limits, and so has memory.
const MOST: u64 = 1 << 30;

fn size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let count: u64 = digits.parse().map_err(|_| "expected something like 8, 64KiB or 1MiB".to_owned())?;
    let unit = match text.get(digits.len()..).unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        unit => return Err(format!("{unit} is no unit of size; expected B, kB, KiB, MB, MiB, GB or GiB")),
    };
    match count.checked_mul(unit).filter(|size| *size <= MOST) {
        Some(size) => usize::try_from(size).map_err(|error| error.to_string()),
        None => Err("at most 1GiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read() {
        for (text, expected) in
            [("8", 8), ("64KiB", 65_536), ("1 MB", 1_000_000), ("2k", 2_000), ("1GiB", 1 << 30)]
        {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["", "KiB", "1.5MB", "5 apples", "2GiB", "-1"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
