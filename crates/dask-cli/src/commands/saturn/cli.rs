//! The command line of `dask-rs saturn`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::duration;

/// Dask clusters on Saturn Cloud.
#[derive(Debug, Subcommand)]
pub(crate) enum Saturn {
    /// The machines on offer, with their prices.
    #[command(
        after_help = "Example:\n  dask-rs saturn sizes --url https://app.community.saturnenterprise.io"
    )]
    Sizes(Account),
    /// Starts a cluster, or attaches to one, and has every worker execute something.
    Up(Box<Up>),
    /// What a cluster is doing.
    #[command(after_help = "Example:\n  dask-rs saturn status 4f2a…")]
    Status(One),
    /// Changes the number of workers.
    #[command(after_help = "Example:\n  dask-rs saturn scale 4f2a… 10")]
    Scale(Scale),
    /// Lets the number of workers follow the work, within bounds.
    #[command(after_help = "Example:\n  dask-rs saturn adapt 4f2a… 2 20")]
    Adapt(Adapt),
    /// What a cluster has logged.
    #[command(after_help = "Example:\n  dask-rs saturn logs 4f2a… --component scheduler --lines 50")]
    Logs(Logs),
    /// Ends clusters, so that they cost nothing any more.
    #[command(after_help = "Examples:\n  dask-rs saturn down 4f2a…\n  dask-rs saturn down --all --yes")]
    Down(Down),
    /// What runs, and what it costs.
    #[command(after_help = "Example:\n  dask-rs saturn list -o json")]
    List(Account),
    /// Runs a stand-in for Saturn Cloud on this machine, with real Dask clusters, until it is stopped.
    #[command(
        after_help = "Examples:\n  dask-rs saturn emulate --port 8799\n  dask-rs saturn emulate --release 2023.4.0 --outcome error"
    )]
    Emulate(Emulate),
}

/// Where Saturn Cloud is, and the token.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Saturn Cloud")]
pub(crate) struct Account {
    /// Its URL. Default: $SATURN_BASE_URL, else $BASE_URL.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// A file {"token": "…"}. Default: $SATURN_TOKEN. There is no option for the token itself: others could read it in the
    /// list of processes.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Sends the token unencrypted to other machines, too, if the URL begins with http://.
    #[arg(long)]
    pub(crate) allow_plain_http: bool,
    /// How long one HTTP request may take.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub(crate) request_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verify {
    /// Signed by the cluster's authority, whatever the name, as Dask itself does.
    Chain,
    /// Signed by the cluster's authority and made out to the scheduler's name.
    Name,
    /// Exactly a certificate of --tls-ca-file.
    Pinned,
}

/// What only a new cluster can be given.
const OPTIONS: [&str; 7] =
    ["n_workers", "worker_size", "scheduler_size", "nprocs", "nthreads", "worker_is_spot", "reset"];

/// Options of `saturn up`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without a project, a resource or a cluster it is that of the resource which the token belongs to.

A cluster that this command starts is closed again when anything fails on the way, on Ctrl-C, a polite kill or \
the end of the terminal (nohup keeps that away), unless --keep is given. \
When all is well it goes on after the command has ended; see --close-after.

Example:
  dask-rs saturn up --project-id a753… --n-workers 3 --worker-size 8xlarge --scheduler-size 2xlarge --nthreads 32"
)]
pub(crate) struct Up {
    /// The cluster of this project.
    #[arg(long, value_name = "ID", group = "target")]
    pub(crate) project_id: Option<String>,
    /// A new cluster for this workspace.
    #[arg(long, value_name = "ID", group = "target")]
    pub(crate) workspace_id: Option<String>,
    /// A new cluster for this deployment.
    #[arg(long, value_name = "ID", group = "target")]
    pub(crate) deployment_id: Option<String>,
    /// A new cluster for this job.
    #[arg(long, value_name = "ID", group = "target")]
    pub(crate) job_id: Option<String>,
    /// This cluster, which exists, and keeps its own sizes and workers.
    #[arg(long, value_name = "ID", group = "target", conflicts_with_all = OPTIONS)]
    pub(crate) cluster_id: Option<String>,
    /// How many workers.
    #[arg(long, value_name = "N")]
    pub(crate) n_workers: Option<u32>,
    /// The workers' machine; see: dask-rs saturn sizes.
    #[arg(long, value_name = "SIZE")]
    pub(crate) worker_size: Option<String>,
    /// The scheduler's machine.
    #[arg(long, value_name = "SIZE")]
    pub(crate) scheduler_size: Option<String>,
    /// Processes on each worker's machine.
    #[arg(long, value_name = "N")]
    pub(crate) nprocs: Option<u32>,
    /// Threads of each process.
    #[arg(long, value_name = "N")]
    pub(crate) nthreads: Option<u32>,
    /// Whether workers run on spot instances.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub(crate) worker_is_spot: Option<bool>,
    /// Destroys the project's or the token's cluster first, so that the options surely hold.
    #[arg(long)]
    pub(crate) reset: bool,
    /// How long starting may take.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "20m")]
    pub(crate) deadline: Duration,
    /// How long workers may take to come after the scheduler, and then to answer.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
    pub(crate) workers_deadline: Duration,
    /// The least time between two questions to the server.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5s")]
    pub(crate) poll: Duration,
    /// Leaves the cluster running when something fails.
    #[arg(long, conflicts_with = "close_after")]
    pub(crate) keep: bool,
    /// Stays, and closes the cluster when this time has passed since the start, or on Ctrl-C, a polite kill or the end of
    /// the terminal. Killed without mercy it closes nothing.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) close_after: Option<Duration>,
    /// How the scheduler's certificate is judged.
    #[arg(long, value_enum, default_value_t = Verify::Chain)]
    pub(crate) tls_verify: Verify,
    /// The scheduler's own certificate (PEM), for --tls-verify pinned.
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca_file: Option<PathBuf>,
    /// Connects to the scheduler without encryption, too, if that is what the server tells to do.
    #[arg(long)]
    pub(crate) allow_unencrypted: bool,
    /// Connects here instead of to the host (and port) of the scheduler's address.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) connect_via: Option<String>,
    #[command(flatten)]
    pub(crate) account: Account,
}

/// A cluster.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The cluster's id; see: dask-rs saturn list.
    #[arg(value_name = "CLUSTER")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) account: Account,
}

/// Options of `saturn scale`.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    #[command(flatten)]
    pub(crate) one: One,
    /// How many workers.
    #[arg(value_name = "WORKERS")]
    pub(crate) n: u32,
}

/// Options of `saturn adapt`.
#[derive(Debug, Args)]
pub(crate) struct Adapt {
    #[command(flatten)]
    pub(crate) one: One,
    /// Workers at least.
    #[arg(value_name = "MINIMUM")]
    pub(crate) minimum: u32,
    /// Workers at most.
    #[arg(value_name = "MAXIMUM")]
    pub(crate) maximum: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// What manages the cluster inside of Saturn Cloud.
    Kubecluster,
    /// The scheduler.
    Scheduler,
    /// The workers.
    Worker,
}

/// Options of `saturn logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) one: One,
    /// Only of this part.
    #[arg(long, value_enum)]
    pub(crate) component: Option<Part>,
    /// How many of the last lines.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) lines: usize,
}

/// Options of `saturn down`.
#[derive(Debug, Args)]
pub(crate) struct Down {
    /// The clusters' ids; see: dask-rs saturn list.
    #[arg(value_name = "CLUSTER", required_unless_present = "all")]
    pub(crate) ids: Vec<String>,
    /// Every cluster that the token may see, other people's too. Lists them, and asks first.
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    /// Does not ask.
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) account: Account,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Outcome {
    /// Clusters become ready.
    Ready,
    /// Clusters end in an error.
    Error,
    /// Clusters never become ready.
    Never,
    /// Clusters die ten seconds after they have become ready.
    Dies,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Chain {
    /// The client's certificate and its authority's.
    Proper,
    /// The client's certificate alone.
    Short,
    /// Not the authority of the scheduler's certificate.
    Foreign,
    /// A web page.
    Page,
}

/// Options of `saturn emulate`.
#[derive(Debug, Args)]
pub(crate) struct Emulate {
    /// The Dask release of clusters, for example 2023.4.0.
    #[arg(long, default_value = "newest")]
    pub(crate) release: String,
    /// A Python package to install on clusters, as a requirement; may be given again.
    #[arg(long = "package", value_name = "NAME")]
    pub(crate) packages: Vec<String>,
    /// The port of the HTTP API; by default any free one.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// The token that is accepted. It opens nothing but this emulator.
    #[arg(long)]
    pub(crate) token: Option<String>,
    /// A token that is refused as expired.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) expired_token: Option<String>,
    /// The project that is known.
    #[arg(long, value_name = "ID")]
    pub(crate) project_id: Option<String>,
    /// How long clusters take to start, beside what Dask itself takes.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) delay: Option<Duration>,
    /// A warning that every cluster gives; may be given again.
    #[arg(long = "warning", value_name = "TEXT")]
    pub(crate) warnings: Vec<String>,
    /// What becomes of clusters.
    #[arg(long, value_enum, default_value_t = Outcome::Ready)]
    pub(crate) outcome: Outcome,
    /// What certificate requests are answered with.
    #[arg(long, value_enum, default_value_t = Chain::Proper)]
    pub(crate) chain: Chain,
    /// Nothing listens at the schedulers' addresses.
    #[arg(long)]
    pub(crate) unreachable: bool,
    /// Requests whose path ends like this fail, with this status: /csr=500; may be given again.
    #[arg(long = "fail", value_name = "PATH=STATUS")]
    pub(crate) faults: Vec<String>,
    /// Worker processes of a cluster at most, whatever is asked for; a cluster of which more are asked for warns.
    #[arg(long, value_name = "N", default_value_t = saturn_cloud::emulator::MOST_WORKERS)]
    pub(crate) most_workers: usize,
    /// How long clients' certificates are valid.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) certificate_lifetime: Option<Duration>,
    /// Clusters are words alone, without any Dask behind.
    #[arg(long)]
    pub(crate) without_dask: bool,
}
