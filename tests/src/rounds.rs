//! Rounds of checks over several releases, for subjects that have a test file of their own.

use dask_client::Client;
use dask_local::{ClusterBuilder, Protocol};

use crate::scenarios::{self, Scenario, Stage};
use crate::{PATIENCE, TestCluster, releases};

/// Ends a check with a message unless a condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+).into());
        }
    };
}

/// Ends a check with a message unless two values are equal.
#[macro_export]
macro_rules! ensure_eq {
    ($found:expr, $expected:expr) => {{
        let (found, expected) = (&$found, &$expected);
        $crate::ensure!(found == expected, "{} is {:?}, not {:?}", stringify!($found), found, expected);
    }};
}

/// The releases of `DASK_RELEASES`; without it the two ends of history and some more where a subject changed.
pub fn releases_and(more: &[&str]) -> Vec<String> {
    let mut list = releases();
    if std::env::var("DASK_RELEASES").unwrap_or_default().trim().is_empty() {
        list.splice(1..1, more.iter().map(|release| (*release).to_owned()));
    }
    list
}

/// Runs checks one after the other on one cluster of each release, with these settings, and panics with all that
/// failed. `DASK_CHECK` picks one check.
pub async fn over(
    releases: Vec<String>,
    settings: impl Fn(ClusterBuilder) -> ClusterBuilder,
    checks: &[(&str, Scenario)],
) {
    let only = std::env::var("DASK_CHECK").unwrap_or_default();
    let mut failures = Vec::new();
    for release in releases {
        let cluster = match TestCluster::start_with(&release, Protocol::Tcp, &settings).await {
            Ok(cluster) => cluster,
            Err(error) => {
                failures.push(format!("{release}: the cluster does not start: {error}"));
                continue;
            }
        };
        let client = match cluster.client().connect().await {
            Ok(client) => client,
            Err(error) => {
                failures.push(format!("{release}: {error}"));
                continue;
            }
        };
        let stage = Stage { client, cluster };
        for (name, check) in checks.iter().filter(|(name, _)| only.is_empty() || *name == only) {
            let start = std::time::Instant::now();
            // One that panics does not keep the others from running.
            let check = std::panic::AssertUnwindSafe(scenarios::run(*check, &stage));
            match futures::FutureExt::catch_unwind(check).await {
                Ok(Ok(())) => (),
                Ok(Err(error)) => failures.push(format!("{release} {name}: {error}")),
                Err(_) => failures.push(format!("{release} {name}: it panicked, see above")),
            }
            println!("{release} {name}: {:.1?}", start.elapsed());
        }
        stage.client.close().await;
        drop(stage.cluster.cluster.stop().await);
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Another client on the stage's cluster.
///
/// # Errors
/// It does not connect.
pub async fn another(stage: &Stage) -> Result<Client, dask_client::Error> {
    stage.cluster.client().connect().await
}

/// Runs a script with Python's own client, which it finds as `client`. Gives what the script prints.
///
/// # Errors
/// The script fails.
pub async fn python(stage: &Stage, script: &str) -> Result<String, crate::scenarios::Failure> {
    let code = format!("{PRELUDE}\n{script}\nclient.close()\n");
    let output = stage.cluster.cluster.run_python_within(&code, &[], PATIENCE).await?;
    Ok(output.ok()?.trim().to_owned())
}

const PRELUDE: &str = "
import os
from operator import add
from distributed import Client, Event, Lock, Queue, Semaphore, Variable
client = Client(os.environ['DASK_LOCAL_SCHEDULER'])
";
