//! What runs, and what it costs.

use serde::Serialize;

use crate::api::Saturn;
use crate::api::public::DaskCluster;
use crate::error::{Error, Result};

/// A cluster that runs, or may run, and costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Running {
    /// The cluster.
    #[serde(flatten)]
    pub cluster: DaskCluster,
    /// US dollars an hour, where the server tells prices; spot workers cost less.
    #[serde(rename = "cost_per_hour_usd")]
    pub cost_per_hour: Option<f64>,
}

impl Saturn {
    /// Every cluster that the token may see and that is not surely stopped, with its price (public API).
    ///
    /// # Errors
    /// The server cannot be reached or refuses. Prices that cannot be had are left out.
    pub async fn running(&self) -> Result<Vec<Running>> {
        let list = self.public().list().await?;
        let sizes = self.public().sizes().await.unwrap_or_default();
        let running = list.into_iter().filter(|cluster| cluster.status.may_cost());
        Ok(running.map(|cluster| Running { cost_per_hour: cluster.cost_per_hour(&sizes), cluster }).collect())
    }

    /// Ends a cluster, however it was started: by dask-saturn's request, or by the public API where the server does not
    /// know that any more.
    ///
    /// # Errors
    /// The server cannot be reached or refuses: the cluster may still run.
    pub async fn close(&self, id: &str) -> Result<()> {
        let gone = match self.legacy(None).close(id).await {
            Err(
                error @ (Error::UnknownCluster { .. }
                | Error::NotSaturn { .. }
                | Error::Server { status: 405, .. }),
            ) => error,
            outcome => return outcome,
        };
        match self.public().end(id).await {
            Err(Error::UnknownCluster { .. }) => Err(gone),
            outcome => outcome,
        }
    }
}
