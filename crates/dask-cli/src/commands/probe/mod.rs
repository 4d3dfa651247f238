//! `dask-rs probe`: an answer by exit code.

mod ready;
pub(super) mod report;

use std::time::{Duration, Instant};

use dask_client::Client;

use self::report::Outcome;
use super::Context;
use crate::cli::{Cluster, Live, Ready};
use crate::connect::PROBE_TIMEOUT;
use crate::failure::{Failure, UNHEALTHY, UNUSABLE};

/// Connects, shakes hands and asks for the scheduler's identity, all within the timeout. Registers nothing.
pub(super) async fn live(context: Context, options: &Live) -> Result<u8, Failure> {
    let timeout = options.cluster.timeout.unwrap_or(PROBE_TIMEOUT);
    let mut outcome = Outcome::default();
    let checked = match connect(context, &options.cluster, timeout, &mut outcome).await {
        Ok(client) => {
            let left = left(context, timeout);
            match tokio::time::timeout(left, check_live(context, &client, &mut outcome)).await {
                Ok(checked) => checked,
                Err(_) => Err(late(timeout)),
            }
        }
        Err(failure) => Err(failure),
    };
    outcome.end(checked);
    Ok(report::print(context, options.report, &outcome))
}

/// As [`live`], and the cluster can take work.
pub(super) async fn ready(context: Context, options: &Ready) -> Result<u8, Failure> {
    let timeout = options.cluster.timeout.unwrap_or(PROBE_TIMEOUT);
    let mut outcome = Outcome::default();
    let checked = match connect(context, &options.cluster, timeout, &mut outcome).await {
        Ok(client) => {
            let left = left(context, timeout);
            let checking = ready::check(context, options, &client, timeout, &mut outcome);
            let checked = tokio::time::timeout(left, checking).await;
            checked.unwrap_or_else(|_| Err(late(timeout)))
        }
        Err(failure) => Err(failure),
    };
    // What is known to be wrong says more than that something else was not found out in time.
    let failed = outcome.failed_checks();
    outcome.end(match checked {
        Ok(()) | Err(_) if !failed.is_empty() => Err(Failure::new(UNHEALTHY, failed.join("; "))),
        checked => checked,
    });
    Ok(report::print(context, options.report, &outcome))
}

/// What is left of the time.
fn left(context: Context, timeout: Duration) -> Duration {
    let left = timeout.saturating_sub(context.started.elapsed());
    Duration::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(10))
}

fn late(timeout: Duration) -> Failure {
    Failure::new(
        UNUSABLE,
        format!("the cluster did not answer within {timeout:?}; give it longer with --timeout"),
    )
}

async fn check_live(context: Context, client: &Client, outcome: &mut Outcome) -> Result<(), Failure> {
    let mark = Instant::now();
    client.scheduler_info().await?;
    outcome.phase("identity", mark.elapsed());
    outcome.phase("total", context.started.elapsed());
    client.close().await;
    Ok(())
}

/// Connects and notes how long each step took.
pub(super) async fn connect(
    context: Context,
    cluster: &Cluster,
    timeout: Duration,
    outcome: &mut Outcome,
) -> Result<Client, Failure> {
    let client = cluster.open(context, timeout).await?;
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
