//! Options of the commands that look at a cluster.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Cluster, duration};

/// The states in which a scheduler may have a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Waiting,
    NoWorker,
    Queued,
    Processing,
    Memory,
    Erred,
    Released,
}

impl State {
    /// As the scheduler calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::NoWorker => "no-worker",
            State::Queued => "queued",
            State::Processing => "processing",
            State::Memory => "memory",
            State::Erred => "erred",
            State::Released => "released",
        }
    }
}

/// Options of `tasks`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dask-rs tasks
  dask-rs tasks --state erred
  dask-rs tasks --worker tcp://10.0.3.9:40021 -o json")]
pub(crate) struct Tasks {
    /// One line for each task instead of counts.
    #[arg(long)]
    pub(crate) list: bool,
    /// Only tasks in this state. Lists them.
    #[arg(long, value_name = "STATE", value_enum, ignore_case = true)]
    pub(crate) state: Option<State>,
    /// Only tasks that this worker, by address or name, runs or whose results it holds. Lists them.
    #[arg(long, value_name = "WORKER")]
    pub(crate) worker: Option<String>,
    /// Only tasks whose name starts so. Lists them.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// How many tasks are listed.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Options of `task`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dask-rs task train-41
  dask-rs task \"('x-f00', 3)\" -o json")]
pub(crate) struct TaskOf {
    /// The task's key; a key that is a tuple as Python shows it.
    pub(crate) key: String,
    /// Does without the scheduler's own record of the task if there are more tasks than this: it would tell all of them.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) limit: u64,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Options of `logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
With -o json each line of a log is a JSON object on a line of its own.

Examples:
  dask-rs logs
  dask-rs logs --workers -n 20
  dask-rs logs --worker tcp://10.0.3.9:40021 --level warning")]
pub(crate) struct Logs {
    /// The logs of all workers instead of the scheduler's.
    #[arg(long)]
    pub(crate) workers: bool,
    /// The log of this worker; may be given repeatedly.
    #[arg(long, value_name = "ADDR")]
    pub(crate) worker: Vec<String>,
    /// The logs of the workers' nannies instead of their own.
    #[arg(long)]
    pub(crate) nanny: bool,
    /// How many of the last lines of each.
    #[arg(short, value_name = "N", default_value_t = 100)]
    pub(crate) n: u32,
    /// Only lines of this level or above: debug, info, warning, error, critical.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) level: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Options of `events`.
#[derive(Debug, Args)]
#[command(after_help = "\
Topics are what programs choose; Dask itself uses all, scheduler, and the addresses of workers. With -o json the list of \
topics is one JSON array, and each event of a topic a JSON object on a line of its own.

--follow subscribes, which registers a client with the scheduler, and the scheduler notes that under all. Releases before \
2021.9.1 have no subscriptions: they are asked again and again, and stderr says when events may have been lost.

Examples:
  dask-rs events
  dask-rs events all --follow -o json")]
pub(crate) struct Events {
    /// The topic; without one the topics are listed.
    pub(crate) topic: Option<String>,
    /// Goes on printing what comes.
    #[arg(short, long, requires = "topic")]
    pub(crate) follow: bool,
    /// How often is asked with --follow where there are no subscriptions.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub(crate) every: Duration,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Options of `dump`.
#[derive(Debug, Args)]
#[command(after_help = "\
Of workers that do not answer in time the dump has {\"silent\": {WORKER: WHY}} instead; the exit code is 4 then.

Examples:
  dask-rs dump state.json
  dask-rs dump | jq '.scheduler.tasks | length'")]
pub(crate) struct Dump {
    /// Where it is written; stdout without it.
    pub(crate) file: Option<PathBuf>,
    /// Leaves out attributes of this name; may be given repeatedly.
    #[arg(long, value_name = "NAME", default_value = "run_spec")]
    pub(crate) exclude: Vec<String>,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Options of `top`.
#[cfg(feature = "top")]
#[derive(Debug, Args)]
#[command(after_help = "\
Keys: q leaves, arrows scroll, s changes the order. Done are all tasks that finished, also those whose results are gone \
already: the scheduler records them from the first time it is asked, as it does for its dashboard. Queued tasks and those \
that no worker can run are counted anew every ten seconds, by a function in the scheduler, which it notes under the topic \
all.

Examples:
  dask-rs top -s tcp://scheduler:8786
  dask-rs top --every 250ms")]
pub(crate) struct Top {
    /// How often the cluster is asked.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub(crate) every: Duration,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Options of `export`.
#[derive(Debug, Args)]
#[command(after_help = "\
GET /metrics asks the cluster, unless it did so less than --max-age ago; GET /health says whether the exporter runs. Queued \
tasks and those that no worker can run are counted anew every ten seconds at most, by a function in the scheduler, which it \
notes under the topic all. A scrape takes five seconds at most, or --timeout.

Example:
  dask-rs export -s tcp://scheduler:8786 --listen 127.0.0.1:9797")]
pub(crate) struct Export {
    /// Where metrics are served; port 0 takes a free one and prints it.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: SocketAddr,
    /// Answers may be this old.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub(crate) max_age: Duration,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
It stops at the first step that fails, and says why; the exit code is that of the step (2 not reached, 3 no answer of a \
Dask scheduler, 4 no worker executes anything). A cluster that works although something is amiss (a worker that hangs or \
is paused, versions that differ, a certificate that expires soon) is \"usable, degraded\", exit code 0; scripts that want \
it to fail use: dask-rs probe ready --strict-versions

Examples:
  dask-rs doctor tls://scheduler.internal:8786 --tls-ca-file ca.pem --tls-cert me.pem --tls-key me.key
  dask-rs doctor")]
pub(crate) struct Doctor {
    /// The scheduler's address, as with --scheduler.
    #[arg(value_name = "ADDR")]
    pub(crate) address: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}
