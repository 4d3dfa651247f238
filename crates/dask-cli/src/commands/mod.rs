//! One file for each command.

mod call;
mod demo;
mod graph;
mod health;
mod local;
mod probe;
pub(crate) mod saturn;
mod versions;
mod workers;

use crate::cli::{Cli, Command, Format, Local, Probe};
use crate::failure::Failure;

/// What every command knows of the command line besides its own options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub(crate) output: Format,
    pub(crate) quiet: bool,
}

impl Context {
    pub(crate) fn json(self) -> bool {
        self.output == Format::Json
    }
}

/// Runs a command; the exit code, or why there is none but that of the failure.
pub(crate) async fn run(cli: Cli) -> Result<u8, Failure> {
    let context = Context { output: cli.output, quiet: cli.quiet };
    match cli.command {
        Command::Demo(options) => demo::run(context, &options).await,
        Command::Local(Local::Up(options)) => local::up(context, &options).await,
        Command::Versions(cluster) => versions::run(context, &cluster).await,
        Command::Workers(cluster) => workers::run(context, &cluster).await,
        Command::Health(cluster) => health::run(context, &cluster).await,
        Command::Probe(Probe::Live(cluster)) => probe::live(context, &cluster).await,
        Command::Call(options) => call::run(context, &options).await,
        Command::Graph(options) => graph::run(context, &options).await,
        Command::Saturn(command) => saturn::run(context, command).await,
    }
}
