//! What the examples share: a cluster to run on.

use dask_client::Client;
use dask_local::LocalCluster;

/// A client, and the cluster it runs on unless that is somebody else's.
#[derive(Debug)]
pub struct Stage {
    /// Connected.
    pub client: Client,
    local: Option<LocalCluster>,
}

impl Stage {
    /// Connects to the cluster at `DASK_SCHEDULER_ADDRESS`, or starts one on this machine.
    ///
    /// # Errors
    /// No cluster can be reached or started.
    pub async fn set() -> Result<Self, Box<dyn std::error::Error>> {
        if let Ok(address) = std::env::var("DASK_SCHEDULER_ADDRESS") {
            return Ok(Self { client: Client::connect(address).await?, local: None });
        }
        let cluster = LocalCluster::builder().workers(2).start().await?;
        let client = Client::connect(cluster.address()).await?;
        Ok(Self { client, local: Some(cluster) })
    }

    /// Says goodbye, and stops what was started.
    ///
    /// # Errors
    /// Something does not stop.
    pub async fn clear(self) -> Result<(), dask_local::Error> {
        self.client.close().await;
        match self.local {
            Some(cluster) => cluster.stop().await,
            None => Ok(()),
        }
    }
}

/// The code of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
