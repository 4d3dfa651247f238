//! A cluster on Saturn Cloud that can be connected to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dask_client::{Address, Client, ClientBuilder, Direct, ErrorKind, WorkerHealth};
use serde_json::{Map, Value};

use crate::api::Saturn;
use crate::api::public::{Component, Logs};
use crate::backoff::Backoff;
use crate::builder::{ClusterBuilder, Target};
use crate::certificates::{Identity, Verification};
use crate::certifier::{Certificates, Certifier};
use crate::diagnose::{self, Finding};
use crate::error::{Aftermath, Error, Result};
use crate::guard::Guard;
use crate::options::ClusterOptions;
use crate::run::FAILURES_IN_A_ROW;
use crate::settings::Settings;
use crate::start::GivenUp;
use crate::status::Status;
use crate::surface::Surface;

/// Between two looks at the workers that have come.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A cluster whose scheduler can be connected to.
///
/// One that [`ClusterBuilder::start`] has started is closed when this value is dropped, so that nothing is left to pay
/// for; [`SaturnCluster::keep`] lets it go on. Dropping waits for the server's answer, since the program may end right after:
/// a few request timeouts at most ([`SettingsBuilder::request_timeout`](crate::SettingsBuilder::request_timeout)).
/// [`SaturnCluster::close`] does the same without blocking the thread, and tells of failures. After a failure it is tried
/// again in the background, with growing pauses. A process that is killed closes nothing.
pub struct SaturnCluster {
    saturn: Saturn,
    surface: Surface,
    id: String,
    address: Address,
    dashboard: Option<String>,
    cost: Option<f64>,
    verification: Verification,
    via: Option<(String, Option<u16>)>,
    connect_timeout: Duration,
    backoff: Backoff,
    guard: Option<Arc<Guard>>,
    options_apply: bool,
}

impl fmt::Debug for SaturnCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaturnCluster")
            .field("id", &self.id)
            .field("address", &self.address)
            .field("closes_on_drop", &self.closes_on_drop())
            .finish_non_exhaustive()
    }
}

impl SaturnCluster {
    /// Describes a cluster to be started or attached to.
    pub fn builder(settings: Settings) -> ClusterBuilder {
        ClusterBuilder::new(settings)
    }

    #[expect(clippy::too_many_arguments, reason = "called once")]
    pub(crate) fn new(
        saturn: Saturn,
        surface: Surface,
        id: String,
        address: Address,
        dashboard: Option<String>,
        cost: Option<f64>,
        builder: &ClusterBuilder,
        guard: Option<Arc<Guard>>,
        options_apply: bool,
    ) -> Self {
        Self {
            saturn,
            surface,
            id,
            address,
            dashboard,
            cost,
            verification: builder.verification.clone(),
            via: builder.via.clone(),
            connect_timeout: builder.connect_timeout,
            backoff: builder.backoff,
            guard,
            options_apply,
        }
    }

    /// The cluster's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The scheduler's address for connections from outside.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The dashboard's URL, where there is one.
    pub fn dashboard(&self) -> Option<&str> {
        self.dashboard.as_deref()
    }

    /// The API it is steered by.
    pub fn saturn(&self) -> &Saturn {
        &self.saturn
    }

    /// What it cost in US dollars an hour when it was started, where sizes and prices are known. Spot workers cost less.
    pub fn cost_per_hour(&self) -> Option<f64> {
        self.cost
    }

    /// Settings of a client for this cluster: what is not about reaching the cluster can be changed before connecting. The
    /// certificate is new, and replaced by another before it expires and when the client connects again. All data goes
    /// through the scheduler.
    ///
    /// # Errors
    /// The certificate cannot be had or used.
    pub async fn client_builder(&self) -> Result<ClientBuilder> {
        Ok(self.prepare().await?.0)
    }

    async fn prepare(&self) -> Result<(ClientBuilder, Option<Identity>)> {
        // Workers have addresses of a network that is not ours: whoever answers there from here is somebody else.
        let mut builder = Client::builder()
            .address(self.address.to_string())
            .connect_timeout(self.connect_timeout)
            .direct(Direct::Never);
        if let Some((host, port)) = self.way() {
            builder = builder.connect_via(host, port);
        }
        if !self.address.scheme().is_encrypted() {
            return Ok((builder, None));
        }
        let certifier = Certifier {
            saturn: self.saturn.clone(),
            surface: self.surface.clone(),
            id: self.id.clone(),
            verification: self.verification.clone(),
        };
        let identity = self.certified(&certifier).await.map_err(|error| self.connecting(error))?;
        let source = Certificates::new(certifier, identity.clone());
        Ok((builder.tls_source(Arc::new(source)), Some(identity)))
    }

    /// A certificate. Asked for again, within the time to connect, when the server fails for a moment.
    async fn certified(&self, certifier: &Certifier) -> Result<Identity> {
        let (begun, mut backoff, mut failures) = (Instant::now(), self.backoff.restarted(), 0);
        loop {
            let error = match certifier.certify().await {
                Err(error) if error.is_transient() => error,
                outcome => return outcome,
            };
            failures += 1;
            let left = self.connect_timeout.saturating_sub(begun.elapsed());
            if failures >= FAILURES_IN_A_ROW || left.is_zero() {
                return Err(error);
            }
            tracing::warn!(cluster = self.id, %error, "no certificate; asking again");
            tokio::time::sleep(backoff.next_wait().min(left)).await;
        }
    }

    /// Where to connect to instead of the address's own host and port.
    fn way(&self) -> Option<(String, u16)> {
        match &self.via {
            Some((host, port)) => Some((host.clone(), port.unwrap_or(self.address.port()))),
            // Such names are this machine by definition (RFC 6761), whether or not its resolver knows.
            None if self.address.host().ends_with(".localhost") => {
                Some(("127.0.0.1".to_owned(), self.address.port()))
            }
            None => None,
        }
    }

    /// Connects a client, with a certificate made for it. All data goes through the scheduler: nothing else of the
    /// cluster can be reached from outside.
    ///
    /// # Errors
    /// The certificate cannot be had, the scheduler cannot be reached or is not the cluster's, or the cluster has died.
    pub async fn connect(&self) -> Result<Client> {
        let (builder, identity) = self.prepare().await?;
        match builder.connect().await {
            Ok(client) => Ok(client),
            Err(error) => Err(self.explain(error, identity.as_ref()).await),
        }
    }

    /// Finds out why the scheduler could not be used: has the cluster died, is the network in the way, or somebody else?
    ///
    /// Asks the server, and the scheduler's address once more.
    pub async fn diagnose(&self, error: dask_client::Error) -> Error {
        self.explain(error, None).await
    }

    async fn explain(&self, error: dask_client::Error, identity: Option<&Identity>) -> Error {
        let id = self.id.clone();
        let status = match error.kind() {
            ErrorKind::Config if identity.is_some() => {
                return self.with_aftermath(Error::BadChain {
                    id,
                    reason: error.to_string(),
                    after: Aftermath::Left,
                });
            }
            ErrorKind::Connect | ErrorKind::ConnectionLost | ErrorKind::NotDask | ErrorKind::Timeout => {
                self.status().await
            }
            _ => return self.with_aftermath(Error::Dask { id, source: error, after: Aftermath::Left }),
        };
        let address = self.address.to_string();
        match status {
            Err(Error::UnknownCluster { .. }) => Error::ClusterDied { id, status: Status::Closed },
            Ok(status) if status.is_over() || status == Status::Stopping => Error::ClusterDied { id, status },
            status => {
                let finding = match identity {
                    Some(identity) => self.look(identity).await,
                    None => Finding::Silent,
                };
                let after = Aftermath::Left;
                let hint = match finding {
                    Finding::Foreign => {
                        return self.with_aftermath(Error::WrongAuthority { id, address, after });
                    }
                    Finding::Untrusted(reason) => {
                        return self.with_aftermath(Error::Untrusted { id, address, reason, after });
                    }
                    Finding::Refused(reason) => {
                        return self.with_aftermath(Error::CertificateRefused { id, address, reason, after });
                    }
                    Finding::Nothing => "are connections to that port allowed from here?",
                    Finding::Silent => {
                        "something takes connections there: look into the scheduler's logs, and try again in a moment"
                    }
                };
                let status = status.unwrap_or_else(|_| Status::Other("of unknown status".to_owned()));
                let source = error;
                self.with_aftermath(Error::SchedulerUnreachable { id, address, status, source, hint, after })
            }
        }
    }

    async fn look(&self, identity: &Identity) -> Finding {
        diagnose::look(&self.address, self.way(), identity, &self.verification, self.connect_timeout).await
    }

    /// A failure on the way to a client, with the cluster and what becomes of it.
    fn connecting(&self, error: Error) -> Error {
        let after = Aftermath::Left;
        self.with_aftermath(match error.aftermath() {
            Some(_) => error,
            None => Error::Connecting { id: self.id.clone(), source: Box::new(error), after },
        })
    }

    fn with_aftermath(&self, error: Error) -> Error {
        error.with_aftermath(match &self.guard {
            Some(guard) if guard.has_closed(&self.id) => Aftermath::Closed,
            Some(guard) if guard.closes() => Aftermath::Guarded,
            _ => Aftermath::Left,
        })
    }

    /// Waits until the cluster has this many workers.
    ///
    /// # Errors
    /// [`Error::TooFewWorkers`] when they have not come in time; or the scheduler does not answer.
    pub async fn wait_for_workers(&self, client: &Client, want: usize, deadline: Duration) -> Result<()> {
        self.wait_and_tell(client, want, deadline, |_| ()).await
    }

    /// As [`SaturnCluster::wait_for_workers`]; `tell` hears how many there are, each time that is looked at.
    ///
    /// # Errors
    /// As [`SaturnCluster::wait_for_workers`].
    pub async fn wait_and_tell(
        &self,
        client: &Client,
        want: usize,
        deadline: Duration,
        mut tell: impl FnMut(usize),
    ) -> Result<()> {
        let begun = Instant::now();
        loop {
            let have = match client.scheduler_info().await {
                Ok(info) => info.workers.len(),
                Err(error) => return Err(self.explain(error, None).await),
            };
            tell(have);
            if have >= want {
                return Ok(());
            }
            let left = deadline.saturating_sub(begun.elapsed());
            if left.is_zero() {
                let error = Error::TooFewWorkers {
                    id: self.id.clone(),
                    have,
                    want,
                    waited: deadline,
                    after: Aftermath::Left,
                };
                return Err(self.with_aftermath(error));
            }
            tokio::time::sleep(LOOK_AGAIN.min(left)).await;
        }
    }

    /// Has every worker execute something, each within `deadline`: `{'tcp://10.0.23.16:43141': {'status': 'OK'}}`, by the
    /// workers' addresses inside of Saturn Cloud. Empty if there is no worker yet.
    ///
    /// # Errors
    /// As [`SaturnCluster::connect`], or the scheduler does not answer.
    pub async fn health(&self, deadline: Duration) -> Result<BTreeMap<String, WorkerHealth>> {
        let client = self.connect().await?;
        let health = client.health(deadline).await;
        client.close().await;
        match health {
            Ok(health) => Ok(health),
            Err(error) => Err(self.explain(error, None).await),
        }
    }

    /// Has the cluster run `n` workers.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn scale(&self, n: u32) -> Result<()> {
        self.surface.scale(&self.saturn, &self.id, n).await
    }

    /// Has the cluster run as many workers as its work needs, between `minimum` and `maximum`.
    ///
    /// # Errors
    /// The bounds cannot be, or the server cannot be reached or refuses.
    pub async fn adapt(&self, minimum: u32, maximum: u32) -> Result<()> {
        if minimum > maximum {
            let reason = format!("the minimum of {minimum} is above the maximum of {maximum}");
            return Err(Error::BadOption { option: "adapt", reason });
        }
        self.surface.adapt(&self.saturn, &self.id, minimum, maximum).await
    }

    /// What the server says the cluster is doing.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn status(&self) -> Result<Status> {
        self.surface.status(&self.saturn, &self.id).await
    }

    /// The scheduler's description of itself and its workers, as the server passes it on.
    ///
    /// # Errors
    /// The server cannot be reached or refuses, or the cluster does not run any more.
    pub async fn scheduler_info(&self) -> Result<Map<String, Value>> {
        self.surface.legacy(&self.saturn).scheduler_info(&self.id).await
    }

    /// What the cluster has logged last, of one component or of all: the last `most` lines.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, or has no logs (servers before 2026).
    pub async fn logs(&self, component: Option<Component>, most: usize) -> Result<Logs> {
        self.saturn.public().logs(&self.id, component, most).await
    }

    /// Whether the cluster was made with the options that were asked for. One that existed before keeps its own.
    pub fn options_apply(&self) -> bool {
        self.options_apply
    }

    /// Whether the cluster is closed when this value is dropped.
    pub fn closes_on_drop(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.closes())
    }

    /// Lets the cluster go on when this value is dropped, and beyond the time of [`ClusterBuilder::close_after`]. From now
    /// on somebody else has to see to its end.
    pub fn keep(&mut self) {
        if let Some(guard) = self.guard.take() {
            guard.forget();
        }
    }

    /// Closes the cluster when this much time has passed from now (`None`: no limit), or when this value is dropped before.
    ///
    /// # Errors
    /// This machine has no thread left to watch the time.
    pub fn close_after(&mut self, time: Option<Duration>) -> Result<()> {
        // A time beyond what the clock knows is no limit.
        let deadline = time.and_then(|time| Instant::now().checked_add(time));
        match &self.guard {
            Some(guard) => {
                guard.set_keep(Some(false));
                guard.set_deadline(deadline);
            }
            None => {
                let settings = self.saturn.settings().clone();
                let guard = Guard::holding(settings, self.surface.clone(), &self.id, deadline)?;
                self.guard = Some(Arc::new(guard));
            }
        }
        Ok(())
    }

    /// Destroys the cluster and starts another for the same project or resource, with other options. Whether and when the
    /// cluster is closed, and how it is connected to, stay as they were. When the new start fails or is given up, nothing
    /// is left running, unless the cluster was to be kept.
    pub fn reset(mut self, options: ClusterOptions) -> ClusterBuilder {
        let mut builder = ClusterBuilder::new(self.saturn.settings().clone()).options(options);
        builder.target = match &self.surface {
            Surface::Legacy { project_id: Some(id) } => Target::Project(id.clone()),
            Surface::Legacy { project_id: None } => Target::Token,
            Surface::Public => Target::Replacement(self.id.clone()),
        };
        builder.reset = matches!(self.surface, Surface::Legacy { .. });
        builder.keep = Some(!self.closes_on_drop());
        builder.verification = self.verification.clone();
        builder.via = self.via.clone();
        builder.connect_timeout = self.connect_timeout;
        builder.backoff = self.backoff.restarted();
        builder.allow_unencrypted = !self.address.scheme().is_encrypted();
        builder.guard = self.guard.take();
        builder
    }

    /// Closes the cluster, so that it costs nothing any more, and waits for the server's word.
    ///
    /// # Errors
    /// The server cannot be reached or refuses: the cluster may still run. It is tried further in the background then.
    pub async fn close(mut self) -> Result<()> {
        match self.guard.take() {
            Some(guard) => {
                guard.set_keep(Some(false));
                guard.close().await.map(drop)
            }
            None => self
                .surface
                .close(&self.saturn, &self.id)
                .await
                .map_err(|source| Error::NotClosed { id: self.id.clone(), source: Box::new(source) }),
        }
    }

    /// Closes what is guarded; what became of the cluster.
    pub(crate) async fn let_go(mut self) -> Result<GivenUp> {
        match self.guard.take() {
            Some(guard) => guard.close().await.map(GivenUp::from),
            None => Ok(GivenUp::Left { id: self.id.clone() }),
        }
    }
}
