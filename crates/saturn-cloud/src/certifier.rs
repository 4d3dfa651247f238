//! Certificates for the clients of a cluster, made anew whenever one is needed.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use dask_client::{FreshTls, TlsSource};
use futures::future::BoxFuture;

use crate::api::Saturn;
use crate::certificates::{Identity, Verification};
use crate::csr;
use crate::error::Result;
use crate::surface::Surface;

/// Asks the server to certify clients of one cluster.
#[derive(Clone)]
pub(crate) struct Certifier {
    pub(crate) saturn: Saturn,
    pub(crate) surface: Surface,
    pub(crate) id: String,
    pub(crate) verification: Verification,
}

impl Certifier {
    /// A new key, and a certificate for it.
    pub(crate) async fn certify(&self) -> Result<Identity> {
        let application = csr::apply(&self.id).await?;
        let chain = self.surface.legacy(&self.saturn).sign(&self.id, &application.csr).await?;
        Identity::new(&self.id, &chain, application.key)
    }
}

/// What a client gets its TLS settings from: first those that were made to begin with, then others.
pub(crate) struct Certificates {
    certifier: Certifier,
    first: Mutex<Option<Identity>>,
}

impl Certificates {
    pub(crate) fn new(certifier: Certifier, first: Identity) -> Self {
        Self { certifier, first: Mutex::new(Some(first)) }
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("cluster", &self.certifier.id).finish_non_exhaustive()
    }
}

impl TlsSource for Certificates {
    fn tls(&self) -> BoxFuture<'_, Result<FreshTls, Box<dyn std::error::Error + Send + Sync>>> {
        Box::pin(async move {
            let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let identity = match first {
                Some(first) => first,
                None => self.certifier.certify().await?,
            };
            // How long it is good for counts from now.
            Ok(identity.tls(&self.certifier.verification))
        })
    }
}
