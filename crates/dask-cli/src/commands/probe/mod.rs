//! `dask-rs probe`: an answer by exit code.

mod ready;
mod report;

use std::time::{Duration, Instant};

use dask_client::Client;

use self::report::Outcome;
use super::Context;
use crate::cli::{Cluster, Live, Ready};
use crate::connect::PROBE_TIMEOUT;
use crate::failure::{Failure, UNUSABLE};

/// Connects, shakes hands and asks for the scheduler's identity, all within the timeout. Registers nothing.
pub(super) async fn live(context: Context, options: &Live) -> Result<u8, Failure> {
    let timeout = options.cluster.timeout.unwrap_or(PROBE_TIMEOUT);
    let mut outcome = Outcome::default();
    let checked = tokio::time::timeout(timeout, check_live(&options.cluster, timeout, &mut outcome)).await;
    outcome.end(checked.unwrap_or_else(|_| Err(late(timeout))));
    Ok(report::print(context, options.report, &outcome))
}

/// As [`live`], and the cluster can take work.
pub(super) async fn ready(context: Context, options: &Ready) -> Result<u8, Failure> {
    let timeout = options.cluster.timeout.unwrap_or(PROBE_TIMEOUT);
    let mut outcome = Outcome::default();
    let checked = tokio::time::timeout(timeout, ready::check(options, timeout, &mut outcome)).await;
    outcome.end(checked.unwrap_or_else(|_| Err(late(timeout))));
    Ok(report::print(context, options.report, &outcome))
}

fn late(timeout: Duration) -> Failure {
    Failure::new(
        UNUSABLE,
        format!("the cluster did not answer within {timeout:?}; give it longer with --timeout"),
    )
}

async fn check_live(cluster: &Cluster, timeout: Duration, outcome: &mut Outcome) -> Result<(), Failure> {
    let start = Instant::now();
    let client = connect(cluster, timeout, outcome).await?;
    let mark = Instant::now();
    client.scheduler_info().await?;
    outcome.phase("identity", mark.elapsed());
    outcome.phase("total", start.elapsed());
    client.close().await;
    Ok(())
}

/// Connects and notes how long each step took.
async fn connect(cluster: &Cluster, timeout: Duration, outcome: &mut Outcome) -> Result<Client, Failure> {
    let client = cluster.builder(timeout)?.connect().await?;
    let steps = client.connect_phases();
    outcome.phase("resolve", steps.resolve);
    outcome.phase("tcp", steps.tcp);
    if let Some(tls) = steps.tls {
        outcome.phase("tls", tls);
    }
    if let Some(websocket) = steps.websocket {
        outcome.phase("websocket", websocket);
    }
    outcome.phase("handshake", steps.handshake);
    outcome.release = Some((client.release().to_string(), client.dialect().submission().name()));
    Ok(client)
}
