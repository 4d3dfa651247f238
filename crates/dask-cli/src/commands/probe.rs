//! `dask-rs probe`: an answer by exit code.

use std::time::Instant;

use serde_json::{Map, Value as Json, json};

use super::Context;
use crate::cli::Cluster;
use crate::connect::PROBE_TIMEOUT;
use crate::failure::{Failure, UNUSABLE};
use crate::output;

/// Connects, shakes hands and asks for the scheduler's identity, all within the timeout. Registers nothing.
pub(super) async fn live(context: Context, cluster: &Cluster) -> Result<u8, Failure> {
    let timeout = cluster.timeout.unwrap_or(PROBE_TIMEOUT);
    let mut phases = Map::new();
    let checked = tokio::time::timeout(timeout, check_live(cluster, timeout, &mut phases)).await;
    let outcome = checked.unwrap_or_else(|_| {
        Err(Failure::new(UNUSABLE, format!("the scheduler did not answer within {timeout:?}")))
    });
    match (&outcome, context.json()) {
        (Ok(_), true) => output::line(&json!({ "status": "ok", "phases_ns": phases })),
        (Ok(release), false) => {
            let total = phases.get("total").and_then(Json::as_u64).unwrap_or(0);
            let total = output::pretty(std::time::Duration::from_nanos(total));
            output::data(&format!("ok: {release}, answered in {total}"));
        }
        (Err(failure), true) => {
            output::line(&json!({ "status": "failing", "reason": failure.message(), "phases_ns": phases }));
        }
        (Err(failure), false) => output::data(&format!("failing: {}", failure.message())),
    }
    Ok(outcome.map_or_else(|failure| failure.code(), |_| 0))
}

async fn check_live(
    cluster: &Cluster,
    timeout: std::time::Duration,
    phases: &mut Map<String, Json>,
) -> Result<String, Failure> {
    let start = Instant::now();
    let client = cluster.builder(timeout)?.connect().await?;
    let steps = client.connect_phases();
    phases.insert("resolve".into(), output::nanos(steps.resolve));
    phases.insert("tcp".into(), output::nanos(steps.tcp));
    if let Some(tls) = steps.tls {
        phases.insert("tls".into(), output::nanos(tls));
    }
    if let Some(websocket) = steps.websocket {
        phases.insert("websocket".into(), output::nanos(websocket));
    }
    phases.insert("handshake".into(), output::nanos(steps.handshake));
    let mark = Instant::now();
    client.scheduler_info().await?;
    phases.insert("identity".into(), output::nanos(mark.elapsed()));
    phases.insert("total".into(), output::nanos(start.elapsed()));
    client.close().await;
    Ok(client.release().to_string())
}
