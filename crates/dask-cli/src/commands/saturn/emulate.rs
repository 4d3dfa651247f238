//! `dask-rs saturn emulate`

use std::time::Duration;

use saturn_cloud::emulator::{Chain, Emulator, Fault, Outcome};
use serde_json::json;

use super::super::Context;
use super::super::local::listener;
use super::cli;
use crate::failure::Failure;
use crate::output;
use crate::signals::stopped;

/// How long clusters live that shall die.
const LIFE: Duration = Duration::from_secs(10);

pub(super) async fn run(context: Context, options: cli::Emulate) -> Result<u8, Failure> {
    let spinner = output::spinner(context.quiet);
    let mut builder = Emulator::builder()
        .release(&options.release)
        .packages(options.packages)
        .dask(!options.without_dask)
        .port(options.port)
        .unreachable(options.unreachable)
        .most_workers(options.most_workers)
        .outcome(match options.outcome {
            cli::Outcome::Ready => Outcome::Ready,
            cli::Outcome::Error => Outcome::Error(vec!["this cluster shall end in an error".to_owned()]),
            cli::Outcome::Never => Outcome::Never,
            cli::Outcome::Dies => Outcome::Dies(LIFE),
        })
        .chain(match options.chain {
            cli::Chain::Proper => Chain::Proper,
            cli::Chain::Short => Chain::Short,
            cli::Chain::Foreign => Chain::Foreign,
            cli::Chain::Page => Chain::Page,
        })
        .on_event(listener(context, &spinner));
    if let Some(token) = options.token {
        builder = builder.token(token);
    }
    if let Some(token) = options.expired_token {
        builder = builder.expired_token(token);
    }
    if let Some(id) = options.project_id {
        builder = builder.project_id(id);
    }
    if let Some(delay) = options.delay {
        builder = builder.delay(delay);
    }
    if let Some(lifetime) = options.certificate_lifetime {
        builder = builder.certificate_lifetime(lifetime);
    }
    for text in options.warnings {
        builder = builder.warning(text);
    }
    for fault in &options.faults {
        let bad = || Failure::config(format!("--fail {fault:?} is not PATH=STATUS, such as /csr=500"));
        let (path, status) = fault.rsplit_once('=').ok_or_else(bad)?;
        let status = status.parse().ok().filter(|status| (400..600).contains(status)).ok_or_else(bad)?;
        builder = builder.fault(Fault::new(path, status, "this request shall fail"));
    }
    let emulator = builder.start()?;
    let stopped = stopped();
    output::line(&json!({
        "url": emulator.url(),
        "token": emulator.token(),
        "project_id": emulator.project_id(),
        "workspace_id": emulator.workspace_id(),
        "deployment_id": emulator.deployment_id(),
        "job_id": emulator.job_id(),
        "scheduler_port": emulator.scheduler_port(),
    }));
    let text = format!(
        "to use it:\n  export SATURN_BASE_URL={} SATURN_TOKEN={}\n  dask-rs saturn up --project-id {} --n-workers 2\n\
         running; Ctrl-C stops it and its clusters",
        emulator.url(),
        emulator.token(),
        emulator.project_id(),
    );
    output::say(context.quiet, &text);
    stopped.await;
    spinner.finish_and_clear();
    emulator.stop().await;
    Ok(0)
}
