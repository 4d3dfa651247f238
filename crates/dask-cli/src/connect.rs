//! From options to a client, and how long all of it may take.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dask_client::{Client, ClientBuilder, TlsConfig, Verify};

use crate::cli::{Cluster, TlsVerify};
use crate::commands::Context;
use crate::failure::{Failure, UNUSABLE};
use crate::{output, progress};

/// The default of `--timeout`.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The default of `--timeout` for probes.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// What knows better why it was late ends at the deadline; what does not is ended this much later.
const GRACE: Duration = Duration::from_millis(100);

impl Cluster {
    /// How long the command may take, in all.
    pub(crate) fn deadline(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// What is left of that.
    pub(crate) fn left(&self, context: Context) -> Duration {
        let (deadline, spent) = (self.deadline(), context.started.elapsed());
        // What it took to start is nothing to speak of, in messages that tell the time, either.
        if spent < GRACE / 2 {
            return deadline;
        }
        let left = deadline.saturating_sub(spent).as_millis();
        Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX).max(1))
    }

    /// A client's settings: by these options and their variables, else as Dask's own configuration has them.
    pub(crate) fn builder(&self, timeout: Duration) -> Result<ClientBuilder, Failure> {
        let mut builder = ClientBuilder::from_env()?;
        if let Some(address) = self.scheduler.as_deref().filter(|address| !address.is_empty()) {
            builder = builder.address(address);
        } else if let Some(file) = &self.scheduler_file {
            builder = builder.scheduler_file(file)?;
        } else if builder.get_address().is_none_or(str::is_empty) {
            return Err(Failure::config(
                "which cluster? Give --scheduler ADDR, set DASK_SCHEDULER_ADDRESS, or give --scheduler-file FILE \
                 (or try: dask-rs demo)",
            ));
        }
        let tls = builder.get_tls().cloned();
        if tls.is_some() || self.tls_ca_file.is_some() || self.tls_cert.is_some() {
            let mut tls = tls.unwrap_or_else(TlsConfig::new).verify(match self.tls_verify {
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
        let encrypted =
            builder.get_address().and_then(|address| address.parse::<dask_client::Address>().ok());
        if let Some(address) = encrypted.filter(|address| address.scheme().is_encrypted())
            && builder.get_tls().is_none()
        {
            return Err(Failure::config(format!(
                "{address} needs the cluster's CA file, a client certificate and its key: --tls-ca-file, --tls-cert and \
                 --tls-key, or Dask's own settings of these"
            )));
        }
        Ok(builder.connect_timeout(timeout).rpc_timeout(timeout))
    }

    /// The scheduler's address, from wherever the client has it.
    pub(crate) fn address(&self) -> Result<String, Failure> {
        Ok(self.builder(self.deadline())?.get_address().unwrap_or_default().to_owned())
    }

    /// Connects within what is left of the deadline; requests get as much.
    pub(crate) async fn connect(&self, context: Context) -> Result<Client, Failure> {
        self.open(context, self.left(context)).await
    }

    /// As [`Cluster::connect`], but no request gets so long that nothing is left to tell what came of the others.
    pub(crate) async fn connect_to_ask_many(&self, context: Context) -> Result<Client, Failure> {
        let left = self.left(context);
        self.open_with(context, left, self.builder(left)?.rpc_timeout(left * 3 / 4)).await
    }

    /// Connects within a time. Says once if the scheduler's release is not a known one.
    pub(crate) async fn open(&self, context: Context, timeout: Duration) -> Result<Client, Failure> {
        self.open_with(context, timeout, self.builder(timeout)?).await
    }

    async fn open_with(
        &self,
        context: Context,
        timeout: Duration,
        builder: ClientBuilder,
    ) -> Result<Client, Failure> {
        let address = builder.get_address().unwrap_or_default().to_owned();
        let opening = tokio::time::timeout(timeout + GRACE / 2, builder.connect());
        let client = match progress::patient(context.quiet, &format!("connecting to {address}"), opening)
            .await
        {
            Ok(client) => client?,
            // Each step up to the handshake ends by the deadline itself: what is late is the first answer.
            Err(_) => {
                let words =
                    format!("{address} does not answer within {timeout:?}, though it accepts connections");
                return Err(Failure::new(UNUSABLE, words));
            }
        };
        tell_unknown_release(context, &client);
        Ok(client)
    }

    /// Does something that must be over by the deadline, with a spinner where it takes long.
    pub(crate) async fn within<T>(
        &self,
        context: Context,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let work = tokio::time::timeout(self.left(context) + GRACE, work);
        match progress::patient(context.quiet, "waiting for the cluster", work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::new(
                UNUSABLE,
                format!(
                    "the cluster did not answer everything within {:?}; give it longer with --timeout",
                    self.deadline()
                ),
            )),
        }
    }
}

/// Says once that a scheduler's release is not a known one.
fn tell_unknown_release(context: Context, client: &Client) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let dialect = client.dialect();
    if dialect.is_known() || TOLD.swap(true, Ordering::Relaxed) {
        return;
    }
    let words = format!(
        "{dialect} is not among those this program was checked against (up to {}); it speaks the newest dialect",
        dask_wire::dialect::NEWEST_KNOWN
    );
    output::say(context.quiet, &words);
}
