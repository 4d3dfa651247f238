//! `dask-rs health`

use std::time::{Duration, Instant};

use dask_client::WorkerHealth;

use super::Context;
use super::probe::report::{self, Outcome};
use crate::cli::Health;
use crate::failure::{Failure, UNHEALTHY};

pub(super) async fn run(context: Context, options: &Health) -> Result<u8, Failure> {
    let mut outcome = Outcome::by_worker();
    let checked = options.cluster.within(context, check(context, options, &mut outcome)).await;
    outcome.end(checked);
    Ok(report::print(context, options.report, &outcome))
}

async fn check(context: Context, options: &Health, outcome: &mut Outcome) -> Result<(), Failure> {
    let cluster = &options.cluster;
    let client = super::probe::connect(context, cluster, cluster.left(context), outcome).await?;
    let mark = Instant::now();
    // But for the way back, so that it is known which workers were late.
    let patience = cluster.left(context).mul_f64(0.9).max(Duration::from_millis(1));
    let health = client.health(patience).await?;
    client.close().await;
    outcome.phase("execute", mark.elapsed());
    let ill = health.values().filter(|worker| !worker.is_ok()).count();
    let count = health.len();
    outcome.health = Some(health);
    match (count, ill) {
        (0, _) => Err(Failure::new(UNHEALTHY, format!("{} has no workers", client.address()))),
        (_, 0) => Ok(()),
        _ => Err(Failure::new(UNHEALTHY, format!("{ill} of {count} workers are not healthy"))),
    }
}

/// What is wrong with a worker.
pub(super) fn words(health: &WorkerHealth) -> String {
    match (health.status.as_str(), &health.reason) {
        ("timeout", _) => "does not answer".to_owned(),
        (_, Some(reason)) => format!("does not execute ({reason})"),
        (status, None) => format!("does not execute ({status})"),
    }
}
