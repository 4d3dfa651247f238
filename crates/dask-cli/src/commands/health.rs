//! `dask-rs health`

use serde_json::json;

use super::Context;
use crate::cli::Cluster;
use crate::failure::{Failure, UNHEALTHY};
use crate::output;

pub(super) async fn run(context: Context, cluster: &Cluster) -> Result<u8, Failure> {
    let client = cluster.connect().await?;
    let health = client.health(cluster.deadline()).await?;
    client.close().await;
    if context.json() {
        output::line(&json!(health));
    } else {
        output::data(&output::table(
            &["worker", "status"],
            health.iter().map(|(worker, health)| {
                let reason = health.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                vec![worker.clone(), format!("{}{reason}", health.status)]
            }),
        ));
    }
    if health.is_empty() {
        return Err(Failure::new(UNHEALTHY, format!("{} has no workers", client.address())));
    }
    let ill = health.values().filter(|worker| !worker.is_ok()).count();
    if ill > 0 {
        return Err(Failure::new(UNHEALTHY, format!("{ill} of {} workers are not healthy", health.len())));
    }
    Ok(0)
}
