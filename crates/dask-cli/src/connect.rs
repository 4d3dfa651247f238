//! From options to a client.

use std::time::Duration;

use dask_client::{Client, ClientBuilder, TlsConfig, Verify};

use crate::cli::{Cluster, TlsVerify};
use crate::failure::Failure;

/// The default of `--timeout`.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The default of `--timeout` for probes.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

impl Cluster {
    /// How long the command may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// A client's settings by these options.
    pub(crate) fn builder(&self, timeout: Duration) -> Result<ClientBuilder, Failure> {
        let mut builder =
            Client::builder().address(self.address()?).connect_timeout(timeout).rpc_timeout(timeout);
        if self.tls_ca_file.is_some() || self.tls_cert.is_some() {
            let mut tls = TlsConfig::new().verify(match self.tls_verify {
                TlsVerify::Name => Verify::Name,
                TlsVerify::Chain => Verify::Chain,
                TlsVerify::Pinned => Verify::Pinned,
            });
            if let Some(ca) = &self.tls_ca_file {
                tls = tls.ca(ca.as_str());
            }
            if let Some(cert) = &self.tls_cert {
                tls = tls.cert(cert.as_str());
            }
            if let Some(key) = &self.tls_key {
                tls = tls.key(key.as_str());
            }
            builder = builder.tls(tls);
        }
        Ok(builder)
    }

    /// Connects within the deadline.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        Ok(self.builder(self.deadline())?.connect().await?)
    }

    /// The scheduler's address: by option or environment, else out of a scheduler file.
    pub(crate) fn address(&self) -> Result<String, Failure> {
        if let Some(address) = self.scheduler.as_deref().filter(|address| !address.is_empty()) {
            return Ok(address.to_owned());
        }
        let Some(path) = &self.scheduler_file else {
            return Err(Failure::config(
                "which cluster? Give --scheduler ADDR, set DASK_SCHEDULER_ADDRESS, or give --scheduler-file FILE \
                 (or try: dask-rs demo)",
            ));
        };
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::config(format!("cannot read the scheduler file {shown}: {error}")))?;
        let file: serde_json::Value = serde_json::from_str(&text)
            .map_err(|error| Failure::config(format!("the scheduler file {shown} is not JSON: {error}")))?;
        file.get("address")
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| Failure::config(format!("the scheduler file {shown} has no address")))
    }
}
