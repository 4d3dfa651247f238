//! `dask-rs`: a Dask cluster from the shell.
//!
//! stdout carries data, stderr carries words. Exit codes are in [`failure`].

mod cli;
mod commands;
mod connect;
mod failure;
mod file;
mod hist;
mod json;
mod output;
mod progress;
mod signals;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not mistakes.
            let code = if error.use_stderr() { failure::CONFIG } else { 0 };
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(commands::run(cli));
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(failure::Failure::config(format!("cannot start: {error}"))),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code())
        }
    }
}
