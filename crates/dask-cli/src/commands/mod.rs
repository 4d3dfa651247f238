//! One file for each command.

mod act;
mod bench;
mod call;
mod demo;
mod doctor;
mod export;
mod graph;
mod health;
mod intrinsic;
mod latency;
mod local;
mod look;
mod pages;
mod probe;
pub(crate) mod saturn;
mod skew;
mod versions;
mod workers;

use std::time::Instant;

use crate::cli::{Cli, Command, Format, Local, Probe};
use crate::failure::Failure;

/// What every command knows of the command line besides its own options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub(crate) output: Format,
    pub(crate) quiet: bool,
    /// When the command began: `--timeout` counts from here.
    pub(crate) started: Instant,
}

impl Context {
    pub(crate) fn json(self) -> bool {
        self.output == Format::Json
    }

    pub(crate) fn wide(self) -> bool {
        self.output == Format::Wide
    }
}

/// Runs a command; the exit code, or why there is none but that of the failure.
pub(crate) async fn run(cli: Cli) -> Result<u8, Failure> {
    let context = Context { output: cli.output, quiet: cli.quiet, started: Instant::now() };
    match cli.command {
        Command::Demo(options) => demo::run(context, &options).await,
        Command::Local(Local::Up(options)) => local::up(context, &options).await,
        Command::Versions(cluster) => cluster.within(context, versions::run(context, &cluster)).await,
        Command::Workers(cluster) => cluster.within(context, workers::run(context, &cluster)).await,
        Command::Health(options) => health::run(context, &options).await,
        Command::Probe(Probe::Live(options)) => probe::live(context, &options).await,
        Command::Probe(Probe::Ready(options)) => probe::ready(context, &options).await,
        Command::Call(options) => call::run(context, &options).await,
        Command::Graph(options) => graph::run(context, &options).await,
        Command::Saturn(command) => saturn::run(context, command).await,
        Command::Info(cluster) => cluster.within(context, look::info::run(context, &cluster)).await,
        Command::Tasks(options) => options.cluster.within(context, look::tasks::run(context, &options)).await,
        Command::Task(options) => options.cluster.within(context, look::task::run(context, &options)).await,
        Command::Logs(options) => options.cluster.within(context, look::logs::run(context, &options)).await,
        Command::Events(options) => look::events::run(context, &options).await,
        Command::Dump(options) => options.cluster.within(context, look::dump::run(context, &options)).await,
        #[cfg(feature = "top")]
        Command::Top(options) => look::top::run(context, &options).await,
        Command::Cancel(options) => options.cluster.within(context, act::cancel(context, &options)).await,
        Command::Retire(options) => options.cluster.within(context, act::retire(context, &options)).await,
        Command::Restart(options) => act::restart(context, &options).await,
        Command::Upload(options) => options.cluster.within(context, act::upload(context, &options)).await,
        Command::Latency(options) => latency::run(context, &options).await,
        Command::Bench(options) => bench::run(context, &options).await,
        Command::Export(options) => export::run(context, &options).await,
        Command::Doctor(options) => doctor::run(context, &options).await,
        Command::Install { dir } => pages::install(context, &dir),
        Command::Completions { shell } => Ok(pages::completions(shell)),
        Command::Man { dir } => pages::manual(dir.as_deref()),
    }
}

/// A request that asks for nothing: what any request costs (op `who_has` of no key).
async fn round_trip(client: &dask_client::Client) -> Result<(), Failure> {
    let nothing = dask_client::WireValue::Array(Vec::new());
    client.rpc("who_has", [("keys", nothing)]).await?;
    Ok(())
}
