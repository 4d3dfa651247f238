//! Local clusters, handled like those of any other kind.

use dask_client::{Client, Cluster, ProvisionError, Provisioner, TlsConfig};
use futures::future::BoxFuture;

use crate::{ClusterBuilder, LocalCluster, WorkerSpec};

impl Provisioner for ClusterBuilder {
    fn provision(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Cluster>, ProvisionError>> {
        Box::pin(async move { Ok(Box::new(self.start().await?) as Box<dyn Cluster>) })
    }
}

impl Cluster for LocalCluster {
    fn address(&self) -> String {
        self.address()
    }

    fn connect(&self) -> BoxFuture<'_, Result<Client, ProvisionError>> {
        Box::pin(async move {
            let mut builder = Client::builder().address(self.address());
            if let Some(tls) = self.tls() {
                let tls = TlsConfig::new().ca(tls.ca.clone()).cert(tls.cert.clone()).key(tls.key.clone());
                builder = builder.tls(tls);
            }
            Ok(builder.connect().await?)
        })
    }

    /// Workers that are added have one thread; the last ones are stopped first.
    fn scale(&self, workers: u32) -> BoxFuture<'_, Result<(), ProvisionError>> {
        Box::pin(async move {
            let want = usize::try_from(workers)?;
            let running: Vec<usize> = self
                .workers()
                .into_iter()
                .filter(|worker| worker.running)
                .map(|worker| worker.index)
                .collect();
            for _ in running.len()..want {
                self.add_worker(WorkerSpec::new()).await?;
            }
            for index in running.iter().skip(want).rev() {
                self.stop_worker(*index).await?;
            }
            Ok(())
        })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<(), ProvisionError>> {
        Box::pin(async move { Ok(self.stop().await?) })
    }
}
