//! `dask-rs workers`

use serde_json::json;

use super::Context;
use crate::cli::Cluster;
use crate::failure::Failure;
use crate::output;

pub(super) async fn run(context: Context, cluster: &Cluster) -> Result<u8, Failure> {
    let client = cluster.connect(context).await?;
    let info = client.scheduler_info().await?;
    client.close().await;
    if context.json() {
        let workers: Vec<_> = info.workers.values().map(|worker| json!(worker)).collect();
        output::line(&serde_json::Value::Array(workers));
        return Ok(0);
    }
    if context.wide() {
        output::data(&wide(&info));
        return Ok(0);
    }
    let rows = info.workers.values().map(|worker| {
        vec![
            worker.address.clone(),
            worker.name.clone(),
            worker.nthreads.to_string(),
            worker.memory_bytes.map_or_else(|| "-".to_owned(), output::bytes),
            worker.memory_limit_bytes.map_or_else(|| "none".to_owned(), output::bytes),
            worker.status.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    output::data(&output::table(&["address", "name", "threads", "memory", "limit", "status"], rows));
    Ok(0)
}

/// Everything there is to show.
fn wide(info: &dask_client::SchedulerInfo) -> String {
    let rows = info.workers.values().map(|worker| {
        let dash = || "-".to_owned();
        let resources: Vec<String> =
            worker.resources.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        vec![
            worker.address.clone(),
            worker.name.clone(),
            format!("{}/{}", worker.executing.map_or_else(dash, |count| count.to_string()), worker.nthreads),
            worker.memory_bytes.map_or_else(dash, output::bytes),
            worker.memory_limit_bytes.map_or_else(|| "none".to_owned(), output::bytes),
            worker.status.clone().unwrap_or_else(dash),
            worker.last_seen.map_or_else(dash, |seen| format!("{} ago", super::look::ago(seen))),
            if resources.is_empty() { dash() } else { resources.join(",") },
            worker.nanny.clone().unwrap_or_else(dash),
        ]
    });
    output::table(
        &["address", "name", "running", "memory", "limit", "status", "seen", "resources", "nanny"],
        rows,
    )
}
