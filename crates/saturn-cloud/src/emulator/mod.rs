//! A stand-in for Saturn Cloud on this machine: its HTTP API, with real Dask clusters of any release behind a proxy that
//! ends TLS, picks the cluster by the name asked for (SNI), and demands a client certificate of the cluster's authority.
//!
//! It serves loopback only and knows one project, one workspace, one deployment, one job and one token. Clusters are those of `dask-local`; sizes
//! and prices are made up. Every request and every connection is recorded, and whatever can go wrong at the real service
//! can be made to go wrong here.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use saturn_cloud::{SaturnCluster, emulator::Emulator};
//!
//! let emulator = Emulator::builder().release("2.30.1").start()?;
//! let cluster = SaturnCluster::builder(emulator.settings()?)
//!     .project_id(emulator.project_id())
//!     .n_workers(2)
//!     .start()
//!     .await?;
//! # Ok(())
//! # }
//! ```

mod dask;
mod pki;
mod proxy;
mod record;
mod routes;
mod server;
mod state;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::sync::oneshot;

pub use record::{Authorization, Connection, CsrSummary, Recorded};
pub use state::{Chain, Fault, Listener, Outcome};

use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::status::Status;
use state::{Config, Shared};

/// Worker processes of a cluster at most, unless more are allowed.
pub const MOST_WORKERS: usize = 8;
/// How long ending every cluster may take.
const STOP: Duration = Duration::from_secs(60);

/// Describes an [`Emulator`].
#[derive(Clone, Debug)]
#[must_use]
pub struct EmulatorBuilder {
    config: Config,
    port: u16,
}

impl EmulatorBuilder {
    /// The Dask release of clusters, such as `2.30.1` (default: the newest known).
    pub fn release(mut self, release: impl Into<String>) -> Self {
        self.config.release = release.into();
        self
    }

    /// Python packages to install on clusters, as requirements. Images of the service have `dask-saturn`, whose worker
    /// plugin that package sends to its workers.
    pub fn packages(mut self, list: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.config.packages.extend(list.into_iter().map(Into::into));
        self
    }

    /// Whether clusters are real (default), or just words: started at once, with no scheduler behind their address.
    pub fn dask(mut self, real: bool) -> Self {
        self.config.dask = real;
        self
    }

    /// The token that is accepted.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.config.token = token.into();
        self
    }

    /// A token that is refused as expired.
    pub fn expired_token(mut self, token: impl Into<String>) -> Self {
        self.config.expired.push(token.into());
        self
    }

    /// The project that is known.
    pub fn project_id(mut self, id: impl Into<String>) -> Self {
        self.config.project_id = id.into();
        self
    }

    /// The workspace that is known.
    pub fn workspace_id(mut self, id: impl Into<String>) -> Self {
        self.config.workspace_id = id.into();
        self
    }

    /// The deployment that is known.
    pub fn deployment_id(mut self, id: impl Into<String>) -> Self {
        self.config.deployment_id = id.into();
        self
    }

    /// The job that is known.
    pub fn job_id(mut self, id: impl Into<String>) -> Self {
        self.config.job_id = id.into();
        self
    }

    /// How long clusters take to start, beside what Dask itself takes (default: nothing).
    pub fn delay(mut self, delay: Duration) -> Self {
        self.config.delay = delay;
        self
    }

    /// A warning that every cluster gives.
    pub fn warning(mut self, text: impl Into<String>) -> Self {
        self.config.warnings.push(text.into());
        self
    }

    /// What becomes of clusters.
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.config.outcome = outcome;
        self
    }

    /// What certificate requests are answered with.
    pub fn chain(mut self, chain: Chain) -> Self {
        self.config.chain = chain;
        self
    }

    /// Tells addresses of schedulers at which nothing listens.
    pub fn unreachable(mut self, unreachable: bool) -> Self {
        self.config.unreachable = unreachable;
        self
    }

    /// The name of every scheduler's address, instead of one for each cluster: the newest cluster is behind it. With
    /// `localhost`, a name that resolves everywhere, clients need no special way to it.
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.config.host = Some(name.into());
        self
    }

    /// The name that schedulers' certificates are made out to, instead of that of their address.
    pub fn certificate_name(mut self, name: impl Into<String>) -> Self {
        self.config.certificate_name = Some(name.into());
        self
    }

    /// How long clients' certificates are valid (default 30 days); whole seconds. Zero: they have expired when they are
    /// made.
    pub fn certificate_lifetime(mut self, lifetime: Duration) -> Self {
        self.config.certificate_lifetime = lifetime;
        self
    }

    /// Tells this address of every scheduler, such as `tcp://10.0.23.16:8786`.
    pub fn tells_address(mut self, address: impl Into<String>) -> Self {
        self.config.tells_address = Some(address.into());
        self
    }

    /// How requests fail, tried in order.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.config.faults.push(fault);
        self
    }

    /// The port of the HTTP API (default: any free one).
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Worker processes of a cluster at most (default [`MOST_WORKERS`]), whatever is asked for; a cluster of which more are
    /// asked for warns.
    pub fn most_workers(mut self, most: usize) -> Self {
        self.config.most_workers = most;
        self
    }

    /// A line that every scheduler has logged before its own.
    pub fn logged(mut self, line: impl Into<String>) -> Self {
        self.config.logged.push(line.into());
        self
    }

    /// Who hears of the steps of starting real clusters.
    pub fn on_event(mut self, listen: Listener) -> Self {
        self.config.listen = state::Listen(Some(listen));
        self
    }

    /// Starts it, on a thread and runtime of its own.
    ///
    /// # Errors
    /// The port is taken, or this machine has no more threads or sockets.
    pub fn start(self) -> Result<Emulator> {
        let io = |what| move |source| Error::Io { what, source };
        let bind = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let http = bind(self.port).map_err(io("listen for the emulator's HTTP API"))?;
        let proxy = bind(0).map_err(io("listen for the emulator's schedulers"))?;
        let dead = TcpSocket::new_v4().map_err(io("find a free port"))?;
        dead.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(io("find a free port"))?;
        let address = http.local_addr().map_err(io("ask for the emulator's address"))?;
        let proxy_port = proxy.local_addr().map_err(io("ask for the emulator's address"))?.port();
        let shared = Shared::new(self.config, format!("http://{address}"), proxy_port, dead);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("saturn-emulator")
            .enable_all()
            .build()
            .map_err(io("start the emulator's runtime"))?;
        let (stop, stopped) = oneshot::channel();
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("saturn-emulator".to_owned()).spawn(move || {
                runtime.block_on(server::serve(shared, http, proxy, stopped));
                runtime.shutdown_timeout(Duration::from_secs(5));
            })
        };
        let thread = thread.map_err(io("start the emulator's thread"))?;
        Ok(Emulator { shared, stop: Some(stop), thread: Some(thread) })
    }
}

/// A running stand-in for Saturn Cloud. Dropping it ends it and its clusters, and waits for that.
#[derive(Debug)]
pub struct Emulator {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Emulator {
    /// Describes an emulator.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder { config: Config::default(), port: 0 }
    }

    /// Where it is, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The token that it accepts. It opens nothing but this emulator.
    pub fn token(&self) -> &str {
        &self.shared.config.token
    }

    /// The project that it knows.
    pub fn project_id(&self) -> &str {
        &self.shared.config.project_id
    }

    /// The workspace that it knows.
    pub fn workspace_id(&self) -> &str {
        &self.shared.config.workspace_id
    }

    /// The deployment that it knows.
    pub fn deployment_id(&self) -> &str {
        &self.shared.config.deployment_id
    }

    /// The job that it knows.
    pub fn job_id(&self) -> &str {
        &self.shared.config.job_id
    }

    /// The port of every scheduler's address.
    pub fn scheduler_port(&self) -> u16 {
        self.shared.proxy_port
    }

    /// Settings by which a client reaches it.
    ///
    /// # Errors
    /// The token given to the builder can be none.
    pub fn settings(&self) -> Result<Settings> {
        Settings::builder().base_url(self.url()).token(self.token()).build()
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests()
    }

    /// Every TLS connection to a scheduler so far.
    pub fn connections(&self) -> Vec<Connection> {
        self.shared.connections()
    }

    /// Every cluster so far, with what it is doing.
    pub fn clusters(&self) -> Vec<(String, Status)> {
        self.shared.clusters()
    }

    /// Cuts every connection to a scheduler. Clients may connect again.
    pub fn drop_connections(&self) {
        self.shared.dropped.send_modify(|count| *count += 1);
    }

    /// Has every cluster break down: its processes end, and its status is an error.
    pub fn kill_clusters(&self) {
        let killed: Vec<_> = {
            let mut state = self.shared.lock();
            let alive = state.clusters.values_mut().filter(|cluster| !cluster.status.is_over());
            let kill = |cluster: &mut state::Cluster| {
                cluster.generation += 1;
                cluster.status = Status::Error;
                cluster.errors = vec!["the scheduler died".to_owned()];
                cluster.dask.take()
            };
            alive.map(kill).collect()
        };
        drop(killed);
    }

    /// From now on the token is refused as expired.
    pub fn expire_token(&self) {
        self.shared.token_expired.store(true, Ordering::Release);
    }

    /// Adds a way in which requests fail.
    pub fn fail(&self, fault: Fault) {
        self.shared.lock().faults.push(fault);
    }

    /// Ends it and its clusters, and waits for that.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
