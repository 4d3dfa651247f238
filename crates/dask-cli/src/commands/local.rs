//! `dask-rs local`

use std::sync::Arc;

use dask_local::{Event, LocalCluster, Protocol};
use indicatif::ProgressBar;
use serde_json::json;

use super::Context;
use crate::cli::Up;
use crate::failure::Failure;
use crate::signals::stopped;
use crate::{output, progress};

/// Shows what `dask-local` is doing: on a terminal as a spinner, otherwise as lines on stderr.
pub(super) fn listener(context: Context, spinner: &ProgressBar) -> Arc<dyn Fn(&Event) + Send + Sync> {
    let spinner = spinner.clone();
    Arc::new(move |event| {
        if spinner.is_hidden() {
            if !matches!(event, Event::Installing { .. }) {
                output::say(context.quiet, &format!("  {event}"));
            }
        } else {
            spinner.set_message(event.to_string());
        }
    })
}

pub(super) async fn up(context: Context, options: &Up) -> Result<u8, Failure> {
    let spinner = progress::spinner(context.quiet);
    let cluster = LocalCluster::builder()
        .release(&options.release)
        .workers(options.workers.into())
        .threads(options.threads.into())
        .protocol(if options.tls { Protocol::Tls } else { Protocol::Tcp })
        .scheduler_port(options.port)
        .on_event(listener(context, &spinner))
        .start()
        .await;
    spinner.finish_and_clear();
    let cluster = cluster?;
    let workers: Vec<_> = cluster.workers().into_iter().map(|worker| worker.address).collect();
    let mut ready = json!({
        "scheduler": cluster.address(),
        "release": cluster.release(),
        "workers": workers,
        "pid": cluster.scheduler_pid(),
    });
    if let (Some(tls), Some(ready)) = (cluster.tls(), ready.as_object_mut()) {
        ready.insert("tls_ca_file".into(), json!(tls.ca));
        ready.insert("tls_cert".into(), json!(tls.cert));
        ready.insert("tls_key".into(), json!(tls.key));
    }
    let stopped = stopped();
    output::line(&ready);
    output::say(context.quiet, "running; Ctrl-C stops it");
    stopped.await;
    cluster.stop().await?;
    Ok(0)
}
