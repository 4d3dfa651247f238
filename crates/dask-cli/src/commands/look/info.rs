//! `dask-rs info`

use serde_json::json;

use super::survey;
use crate::cli::Cluster;
use crate::commands::Context;
use crate::failure::Failure;
use crate::output;

pub(in crate::commands) async fn run(context: Context, cluster: &Cluster) -> Result<u8, Failure> {
    let client = cluster.connect(context).await?;
    let info = client.scheduler_info().await?;
    let states = survey::Counter::default().count(&client).await?;
    client.close().await;
    let sums = survey::sums(&states);
    let threads = info.total_threads;
    let used = info.workers.values().filter_map(|worker| worker.memory_bytes).fold(0, u64::saturating_add);
    // A worker without a limit makes the sum meaningless.
    let limit = (info.workers.values())
        .try_fold(0, |sum: u64, worker| Some(sum.saturating_add(worker.memory_limit_bytes?)));
    let limit = limit.filter(|_| !info.workers.is_empty());
    let dialect = client.dialect();
    if context.json() {
        output::line(&json!({
            "address": client.address().to_string(),
            "own_address": info.address,
            "id": info.id,
            "release": dialect.release().to_string(),
            "dialect": dialect.submission().name(),
            "known": dialect.is_known(),
            "started_unix_s": info.started,
            "services": info.services,
            "workers": info.workers.len(),
            "threads": threads,
            "memory_bytes": used,
            "memory_limit_bytes": limit,
            "tasks": sums,
        }));
        return Ok(0);
    }
    let mut rows = vec![
        ("scheduler", client.address().to_string()),
        ("id", info.id.clone()),
        ("release", format!("{} (dialect {})", dialect.release(), dialect.submission().name())),
    ];
    if info.address != client.address().to_string() {
        rows.push(("calls itself", info.address.clone()));
    }
    if let Some(started) = info.started {
        rows.push(("runs since", format!("{} ({})", super::clock(started), super::ago(started))));
    }
    rows.push(("workers", format!("{}, {threads} threads", info.workers.len())));
    let limit = limit.map_or_else(|| "no limit".to_owned(), output::bytes);
    rows.push(("memory", format!("{} of {limit}", output::bytes(used))));
    let sums: Vec<String> = sums.iter().map(|(state, count)| format!("{count} {state}")).collect();
    rows.push(("tasks", if sums.is_empty() { "none".to_owned() } else { sums.join(", ") }));
    if !info.services.is_empty() {
        let services: Vec<String> =
            info.services.iter().map(|(name, port)| format!("{name} {port}")).collect();
        rows.push(("other ports", services.join(", ")));
    }
    for (name, value) in rows {
        output::data(&format!("{name:<13} {value}"));
    }
    Ok(0)
}
