//! The command line: what is common to all commands, and their list.

mod act;
mod look;
mod measure;
mod probe;

pub(crate) use act::{Cancel, Restart, Retire, Upload};
#[cfg(feature = "top")]
pub(crate) use look::Top;
pub(crate) use look::{Doctor, Dump, Events, Export, Logs, TaskOf, Tasks};
pub(crate) use measure::{Bench, Latency, Shape};
pub(crate) use probe::{ExitStyle, Health, Live, Probe, ProbeFormat, Ready, Report};

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A Dask cluster from the shell: probe it, look at it, run Python callables on it. Speaks to any Dask since 2.30.
#[derive(Debug, Parser)]
#[command(name = "dask-rs", bin_name = "dask-rs", version, propagate_version = true, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// How results are printed on stdout.
    #[arg(short, long, value_enum, default_value_t = Format::Text, global = true, display_order = 900)]
    pub(crate) output: Format,
    /// Says nothing on stderr but errors.
    #[arg(short, long, global = true, display_order = 901)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Examples:
  dask-rs demo
  dask-rs probe ready -s tcp://scheduler:8786 --min-workers 2
  DASK_SCHEDULER_ADDRESS=tcp://scheduler:8786 dask-rs top
  dask-rs bench --rate 200 --duration 30s --html report.html --fail-if 'p99>20ms'

Exit codes:
  0  ok
  1  bad arguments or configuration, nothing attempted
  2  cannot connect (name, TCP, TLS, timeout)
  3  connected but not usable (not Dask, protocol error, request failed or late)
  4  answered but not healthy
  5  a threshold failed
  6  the task failed in Python";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For people, with everything there is to show.
    Wide,
    /// For programs: one JSON value, or one a line where there are many, durations in nanoseconds, sizes in bytes.
    Json,
}

/// Which cluster, and how to reach it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Cluster {
    /// The scheduler's address: tcp://host:port, tls://…, ws://…, wss://…; a bare host:port means tcp. Without one, and
    /// without a scheduler file, that of Dask's own configuration (~/.config/dask, DASK_CONFIG).
    #[arg(short, long, value_name = "ADDR", env = "DASK_SCHEDULER_ADDRESS")]
    pub(crate) scheduler: Option<String>,
    /// A scheduler file, as `dask scheduler --scheduler-file` writes it.
    #[arg(long, value_name = "FILE", env = "DASK_SCHEDULER_FILE")]
    pub(crate) scheduler_file: Option<PathBuf>,
    /// The CA that signed the cluster's certificates.
    #[arg(long, value_name = "FILE", env = "DASK_DISTRIBUTED__COMM__TLS__CA_FILE", hide_env_values = true)]
    pub(crate) tls_ca_file: Option<String>,
    /// This client's certificate.
    #[arg(
        long,
        value_name = "FILE",
        env = "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT",
        hide_env_values = true
    )]
    pub(crate) tls_cert: Option<String>,
    /// This client's private key.
    #[arg(
        long,
        value_name = "FILE",
        env = "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY",
        hide_env_values = true
    )]
    pub(crate) tls_key: Option<String>,
    /// How the server's certificate is judged.
    #[arg(long, value_enum, default_value_t = TlsVerify::Chain)]
    pub(crate) tls_verify: TlsVerify,
    /// How long to wait, in all: 250ms, 10s, 1m. Default 10s; a probe 3s, a scrape of the exporter 5s.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsVerify {
    /// Signed by the CA and made out to the host's name.
    Name,
    /// Signed by the CA, whatever the name, as Dask itself does.
    Chain,
    /// Exactly a certificate of the CA file.
    Pinned,
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) => Err("must be more than nothing".to_owned()),
        Err(error) => Err(format!("{error} (expected something like 250ms or 10s)")),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes a real cluster on this machine, computes a graph on it and shows what happened.
    Demo(Demo),
    /// Clusters on this machine, of any release.
    #[command(subcommand)]
    Local(Local),
    /// The cluster's release, and the versions on scheduler and workers.
    #[command(
        after_help = "Examples:\n  dask-rs versions -s tcp://scheduler:8786\n  dask-rs versions -o json | jq .differing"
    )]
    Versions(Cluster),
    /// The cluster's workers.
    #[command(
        after_help = "Examples:\n  dask-rs workers -s tcp://scheduler:8786\n  dask-rs workers -o wide\n  dask-rs workers -o json | jq 'map(.nthreads) | add'"
    )]
    Workers(Cluster),
    /// Has every worker execute something.
    Health(Health),
    /// Answers by exit code, for Kubernetes, cron and CI.
    #[command(subcommand)]
    Probe(Probe),
    /// Runs a Python callable as a task and prints its result.
    Call(Call),
    /// Computes a graph of calls from a JSON file.
    Graph(Graph),
    /// Dask clusters on Saturn Cloud: start, look at, steer and end them.
    #[command(subcommand)]
    Saturn(crate::commands::saturn::cli::Saturn),
    /// The scheduler, its workers and its tasks in a few lines.
    #[command(after_help = "Example:\n  dask-rs info -s tcp://scheduler:8786")]
    Info(Cluster),
    /// Tasks by name and state, or one by one.
    Tasks(Tasks),
    /// One task: its state, where it is, why it does not run, and its story.
    Task(TaskOf),
    /// What scheduler or workers have logged.
    Logs(Logs),
    /// What scheduler and workers have noted under a topic.
    Events(Events),
    /// Everything the scheduler and its workers know, as JSON.
    Dump(Dump),
    /// A live screen of workers, memory, throughput and task states.
    #[cfg(feature = "top")]
    Top(Top),
    /// Cancels tasks by key.
    Cancel(Cancel),
    /// Has workers hand over their data and end.
    Retire(Retire),
    /// Forgets every task and starts every worker anew. Asks first.
    Restart(Restart),
    /// Puts a Python file on every worker and imports it there.
    Upload(Upload),
    /// Where the time goes, phase by phase, again and again.
    Latency(Latency),
    /// Loads the cluster and reports latency percentiles and throughput.
    Bench(Bench),
    /// Serves the scheduler's metrics to Prometheus, over one session.
    Export(Export),
    /// Walks from the name to the workers and says where it stops and why.
    Doctor(Doctor),
    /// Copies this program into a directory: for images that hold nothing but it, not even a shell.
    #[command(after_help = "Example:\n  dask-rs install /tools")]
    Install {
        /// The directory; it must exist.
        dir: PathBuf,
    },
    /// Completions for a shell, on stdout.
    #[command(
        after_help = "Examples:\n  dask-rs completions bash > /etc/bash_completion.d/dask-rs\n  dask-rs completions fish > ~/.config/fish/completions/dask-rs.fish"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// The manual page, on stdout, or with --dir one page a command as files.
    #[command(
        after_help = "Examples:\n  dask-rs man | man -l -\n  dask-rs man --dir /usr/local/share/man/man1"
    )]
    Man {
        /// Where the pages are written.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Options of `demo`.
#[derive(Debug, Args)]
#[command(after_help = "\
Makes a Python environment with that release first, unless an earlier run did.

Examples:
  dask-rs demo
  dask-rs demo --release 2.30.1 --workers 4
  dask-rs demo -o json | jq .phases_ns")]
pub(crate) struct Demo {
    /// The Dask release to run, for example 2023.4.0.
    #[arg(long, default_value = "newest")]
    pub(crate) release: String,
    /// How many workers.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,
    /// How long everything may take once the cluster is there.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "2m")]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Local {
    /// Starts a cluster, prints one JSON line when it is ready, and stays until it is stopped.
    Up(Up),
}

/// Options of `local up`.
#[derive(Debug, Args)]
#[command(after_help = "\
The line is {\"scheduler\": ADDRESS, \"release\", \"workers\", \"pid\"}, with --tls also the certificates. Ctrl-C or a \
polite kill ends the cluster, and so does the end of this program in any other way.

Examples:
  dask-rs local up --workers 4
  dask-rs local up --release 2.30.1 --tls | jq -r .scheduler")]
pub(crate) struct Up {
    /// The Dask release to run, for example 2023.4.0.
    #[arg(long, default_value = "newest")]
    pub(crate) release: String,
    /// How many workers.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=64))]
    pub(crate) workers: u16,
    /// Threads of each worker.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,
    /// Encrypts, with certificates made for the occasion.
    #[arg(long)]
    pub(crate) tls: bool,
    /// The scheduler's port; by default any free one.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
}

/// Options of `call`.
#[derive(Debug, Args)]
#[command(after_help = r#"With --source the callable is defined by a Python file of this machine, which
goes along with the task: nothing needs to be installed on the cluster. MODULE
is then the name of the file without .py; whatever it is, it is not looked for
on the cluster. The file runs once per process of a worker, and what it imports
must be there.

A task's exception ends with exit code 6: a traceback on stderr, {"error": {"type", "message", "traceback"}} on stdout.

Examples:
  dask-rs call operator:add 1 2
  dask-rs call math:dist '[0, 0]' '[3, 4]'
  dask-rs call operator:add -- -x y
  dask-rs call builtins:sorted '[3, 1, 2]' --kwargs '{"reverse": true}'
  dask-rs call model:score 41 --source model.py"#)]
pub(crate) struct Call {
    /// What to call, as module:name; the name may be dotted.
    #[arg(value_name = "MODULE:QUALNAME")]
    pub(crate) callable: String,
    /// Arguments: JSON, or else a text.
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    pub(crate) args: Vec<String>,
    /// Keyword arguments, as a JSON object.
    #[arg(long, value_name = "JSON")]
    pub(crate) kwargs: Option<String>,
    /// The Python file that defines the callable; - reads it from stdin.
    #[arg(long, value_name = "FILE.py")]
    pub(crate) source: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Options of `graph`.
#[derive(Debug, Args)]
#[command(after_help = r#"The file:
  {"tasks": {"a": {"call": "operator:add", "args": [1, 2]},
             "b": {"call": "operator:mul", "args": [{"$ref": "a"}, 10]}},
   "outputs": ["b"]}
{"$ref": key} may stand anywhere inside args and kwargs.

Examples:
  dask-rs graph graph.json -s tcp://scheduler:8786
  generate | dask-rs graph - -o json | jq .b"#)]
pub(crate) struct Graph {
    /// The graph; - reads it from stdin.
    #[arg(value_name = "FILE.json")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}
