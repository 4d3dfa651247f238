//! Clusters on Saturn Cloud, handled like those of any other kind.

use dask_client::{Client, Cluster, ProvisionError, Provisioner};
use futures::future::BoxFuture;

use crate::{ClusterBuilder, SaturnCluster};

impl Provisioner for ClusterBuilder {
    fn provision(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Cluster>, ProvisionError>> {
        Box::pin(async move { Ok(Box::new(self.start().await?) as Box<dyn Cluster>) })
    }
}

impl Cluster for SaturnCluster {
    fn address(&self) -> String {
        self.address().to_string()
    }

    fn connect(&self) -> BoxFuture<'_, Result<Client, ProvisionError>> {
        Box::pin(async move { Ok(self.connect().await?) })
    }

    fn scale(&self, workers: u32) -> BoxFuture<'_, Result<(), ProvisionError>> {
        Box::pin(async move { Ok(self.scale(workers).await?) })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<(), ProvisionError>> {
        Box::pin(async move { Ok((*self).close().await?) })
    }
}
