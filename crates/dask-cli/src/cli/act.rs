//! Options of the commands that change a cluster.

use std::path::PathBuf;

use clap::Args;

use super::Cluster;

/// Options of `cancel`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dask-rs cancel train-41 train-42
  dask-rs tasks --state waiting -o json | jq -r '.tasks[].key' | xargs dask-rs cancel")]
pub(crate) struct Cancel {
    /// Keys of tasks, whoever submitted them.
    #[arg(value_name = "KEY", required = true)]
    pub(crate) keys: Vec<String>,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Options of `retire`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  dask-rs retire tcp://10.0.3.9:40021 --timeout 5m")]
pub(crate) struct Retire {
    /// Addresses of workers.
    #[arg(value_name = "WORKER", required = true)]
    pub(crate) workers: Vec<String>,
    /// The workers give up their data and get no more tasks, but are not told to end (Dask's own do, once they notice).
    #[arg(long)]
    pub(crate) keep_running: bool,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Options of `restart`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every task and result of every client is lost. Workers without a nanny end and do not come back by themselves.

Example:
  dask-rs restart --yes --timeout 2m")]
pub(crate) struct Restart {
    /// Does not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Does not wait until as many workers are back.
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Options of `upload`.
#[derive(Debug, Args)]
#[command(after_help = "\
Workers that come later get the file, too (Dask before 2020.12.0: only those that are there now).

Example:
  dask-rs upload model.py && dask-rs call model:score 1 2")]
pub(crate) struct Upload {
    /// A Python module or an egg, zip or wheel.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Only stores it; does not import it. Dask before 2020.12.0, and from 2023.5.0 on.
    #[arg(long)]
    pub(crate) no_load: bool,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}
