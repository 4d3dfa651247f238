//! What the emulator knows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dask_local::LocalCluster;
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::sync::watch;

use super::pki::Authority;
use super::record::{Connection, Recorded};
use crate::options::ClusterOptions;
use crate::sizes::InstanceSize;
use crate::status::Status;

/// Requests and connections that are remembered at most; the oldest are forgotten first.
const REMEMBERED: usize = 10_000;

/// What becomes of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It becomes ready.
    #[default]
    Ready,
    /// It ends in an error with these messages.
    Error(Vec<String>),
    /// It never becomes ready.
    Never,
    /// It becomes ready, and its processes die that long after.
    Dies(Duration),
}

/// What certificate requests are answered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Chain {
    /// The client's certificate and that of the cluster's authority.
    #[default]
    Proper,
    /// The client's certificate alone.
    Short,
    /// Both, but the scheduler's certificate comes from another authority.
    Foreign,
    /// A web page.
    Page,
}

/// How a request fails.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Only requests of this method.
    pub method: Option<String>,
    /// Only requests whose path ends like this.
    pub path_ends: String,
    /// Requests that are let through first.
    pub skip: u32,
    /// Requests that fail after those.
    pub times: u32,
    /// The status of the answer.
    pub status: u16,
    /// The type of the answer.
    pub content_type: String,
    /// The answer.
    pub body: String,
    /// The request is carried out first, and only its answer is lost.
    pub executes: bool,
    /// The connection is cut instead of answering.
    pub cuts: bool,
    /// How long the answer takes. Given alone, the request is carried out and answered properly.
    pub delay: Duration,
    passes: bool,
}

impl Fault {
    /// Every request whose path ends like this fails with a status and a message.
    pub fn new(path_ends: impl Into<String>, status: u16, message: &str) -> Self {
        Self {
            method: None,
            path_ends: path_ends.into(),
            skip: 0,
            times: u32::MAX,
            status,
            content_type: "application/json".to_owned(),
            body: json!({ "message": message }).to_string(),
            executes: false,
            cuts: false,
            delay: Duration::ZERO,
            passes: false,
        }
    }

    /// Requests whose path ends like this are not answered: the connection is cut.
    pub fn cut(path_ends: impl Into<String>) -> Self {
        Self { cuts: true, ..Self::new(path_ends, 500, "") }
    }

    /// Requests whose path ends like this are carried out at once, and answered after that long.
    pub fn slow(path_ends: impl Into<String>, delay: Duration) -> Self {
        Self { passes: true, executes: true, delay, ..Self::new(path_ends, 500, "") }
    }

    /// The request is carried out first; then it fails.
    #[must_use]
    pub fn after_executing(mut self) -> Self {
        self.executes = true;
        self
    }

    /// Every request whose path ends like this gets a web page.
    pub fn page(path_ends: impl Into<String>, status: u16) -> Self {
        let body = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Sign in</body></html>"
            .to_owned();
        Self { content_type: "text/html; charset=utf-8".to_owned(), body, ..Self::new(path_ends, status, "") }
    }

    /// Only requests of this method.
    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Lets that many requests through first.
    #[must_use]
    pub fn skip(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Fails that many requests and no more.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Whether it is answered properly, only late.
    pub(super) fn passes(&self) -> bool {
        self.passes
    }

    /// Whether this request fails; counts it.
    fn hits(&mut self, method: &str, path: &str) -> bool {
        let meant = self.method.as_ref().is_none_or(|own| own == method) && path.ends_with(&self.path_ends);
        if !meant || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

/// Who hears of the steps of starting real clusters.
pub type Listener = Arc<dyn Fn(&dask_local::Event) + Send + Sync>;

#[derive(Clone)]
pub(super) struct Listen(pub(super) Option<Listener>);

impl std::fmt::Debug for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listen({})", self.0.is_some())
    }
}

#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) release: String,
    pub(super) packages: Vec<String>,
    pub(super) dask: bool,
    pub(super) token: String,
    pub(super) expired: Vec<String>,
    pub(super) project_id: String,
    pub(super) workspace_id: String,
    pub(super) deployment_id: String,
    pub(super) job_id: String,
    pub(super) delay: Duration,
    pub(super) warnings: Vec<String>,
    pub(super) outcome: Outcome,
    pub(super) chain: Chain,
    pub(super) unreachable: bool,
    pub(super) host: Option<String>,
    pub(super) certificate_name: Option<String>,
    pub(super) certificate_lifetime: Duration,
    pub(super) tells_address: Option<String>,
    pub(super) faults: Vec<Fault>,
    pub(super) most_workers: usize,
    /// What every scheduler has logged to begin with.
    pub(super) logged: Vec<String>,
    pub(super) listen: Listen,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            release: dask_local::NEWEST.to_owned(),
            packages: Vec::new(),
            dask: true,
            token: "0123456789abcdef0123456789abcdef".to_owned(),
            expired: Vec::new(),
            project_id: "a753517c0d4b40b598823cb759a83f50".to_owned(),
            workspace_id: "b862e5e0c0c24a42b4b9b0dbe4b6c8a1".to_owned(),
            deployment_id: "d1f07c6a9e5b4b0c8a3d2e4f60718293".to_owned(),
            job_id: "e27c90b4f1a84d7f9b6c5a4938271605".to_owned(),
            delay: Duration::ZERO,
            warnings: Vec::new(),
            outcome: Outcome::Ready,
            chain: Chain::Proper,
            unreachable: false,
            host: None,
            certificate_name: None,
            certificate_lifetime: Duration::from_secs(30 * 24 * 60 * 60),
            tells_address: None,
            faults: Vec::new(),
            most_workers: super::MOST_WORKERS,
            logged: Vec::new(),
            listen: Listen(None),
        }
    }
}

/// A cluster that was asked for.
pub(super) struct Cluster {
    pub(super) id: String,
    /// Whose it is: the project's, the token's, the workspace's, the deployment's or the job's.
    pub(super) owner: String,
    pub(super) options: ClusterOptions,
    pub(super) status: Status,
    pub(super) warnings: Vec<String>,
    pub(super) errors: Vec<String>,
    pub(super) created_at: String,
    pub(super) authority: Arc<Authority>,
    pub(super) dask: Option<Arc<LocalCluster>>,
    /// The name by which TLS clients ask for it.
    pub(super) host: String,
    /// Held while workers are started or stopped.
    pub(super) scaling: Arc<tokio::sync::Mutex<()>>,
    /// Counts starts, so that a start that was overtaken changes nothing any more.
    pub(super) generation: u64,
}

impl Cluster {
    /// What a user should know about it.
    pub(super) fn warnings(&self, shared: &Shared) -> Vec<String> {
        let most = shared.config.most_workers;
        let shortage = super::dask::shortage(&self.options, most).filter(|_| shared.config.dask);
        self.warnings.iter().cloned().chain(shortage).collect()
    }

    pub(super) fn describe(&self, shared: &Shared) -> Value {
        let url = &shared.url;
        let worker_size = self.options.worker_size.clone().unwrap_or_else(|| "medium".to_owned());
        let scheduler_size = self.options.scheduler_size.clone().unwrap_or_else(|| "medium".to_owned());
        json!({
            "id": self.id,
            "name": self.owner,
            "resource_type": "dask",
            "tags": null,
            "worker_size": worker_size,
            "worker_size_display": worker_size,
            "worker_is_spot": self.options.worker_is_spot.unwrap_or(false),
            "scheduler_size": scheduler_size,
            "scheduler_size_display": scheduler_size,
            "n_workers": self.options.n_workers.unwrap_or(1),
            "nprocs": self.options.nprocs.unwrap_or(1),
            "nthreads": self.options.nthreads.unwrap_or(2),
            "scheduler_url": self.dask.as_ref().map(|dask| dask.address()),
            "subdomain": self.host,
            "image": "emulated",
            "created_at": self.created_at,
            "status": self.status,
            "warnings": self.warnings(shared),
            "errors": self.errors,
            "url": format!("{url}/dashboard/{}", self.id),
            "owner": { "name": "emulated" },
            "deployment_id": self.owner.strip_prefix("deployment "),
            "job_id": self.owner.strip_prefix("job "),
            "workspace_id": self.owner.strip_prefix("workspace "),
        })
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) faults: Vec<Fault>,
    pub(super) clusters: BTreeMap<String, Cluster>,
    /// Ids in the order in which the clusters were made.
    pub(super) order: Vec<String>,
    requests: VecDeque<Recorded>,
    connections: VecDeque<Connection>,
}

pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) url: String,
    pub(super) proxy_port: u16,
    /// Bound, so that nobody else gets its port, and not listening.
    dead: TcpSocket,
    /// Changes when every connection to a scheduler is to end.
    pub(super) dropped: watch::Sender<u64>,
    pub(super) token_expired: AtomicBool,
    state: Mutex<State>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("url", &self.url)
            .field("clusters", &self.clusters())
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(config: Config, url: String, proxy_port: u16, dead: TcpSocket) -> Arc<Self> {
        let state = State { faults: config.faults.clone(), ..State::default() };
        let (dropped, token_expired) = (watch::Sender::new(0), AtomicBool::new(false));
        Arc::new(Self { config, url, proxy_port, dead, dropped, token_expired, state: Mutex::new(state) })
    }

    /// The name by which TLS clients ask for a cluster.
    pub(super) fn host_of(&self, id: &str) -> String {
        let own = || format!("d-{}.localhost", id.get(..12).unwrap_or(id));
        self.config.host.clone().unwrap_or_else(own)
    }

    /// The scheduler's address for clients outside.
    pub(super) fn outside(&self, cluster: &Cluster) -> String {
        let dead = || self.dead.local_addr().map_or(1, |address| address.port());
        let port = if self.config.unreachable { dead() } else { self.proxy_port };
        self.config.tells_address.clone().unwrap_or_else(|| format!("tls://{}:{port}", cluster.host))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn requests(&self) -> Vec<Recorded> {
        self.lock().requests.iter().cloned().collect()
    }

    pub(super) fn connections(&self) -> Vec<Connection> {
        self.lock().connections.iter().cloned().collect()
    }

    pub(super) fn clusters(&self) -> Vec<(String, Status)> {
        let state = self.lock();
        let known = state.order.iter().filter_map(|id| state.clusters.get(id));
        known.map(|cluster| (cluster.id.clone(), cluster.status.clone())).collect()
    }

    pub(super) fn record(&self, request: Recorded) {
        remember(&mut self.lock().requests, request);
    }

    pub(super) fn connected(&self, connection: Connection) {
        remember(&mut self.lock().connections, connection);
    }

    /// The fault that this request runs into.
    pub(super) fn fault(&self, method: &str, path: &str) -> Option<Fault> {
        self.lock().faults.iter_mut().find_map(|fault| fault.hits(method, path).then(|| fault.clone()))
    }

    /// Changes a cluster, unless it was started anew since.
    pub(super) fn change(&self, id: &str, generation: u64, change: impl FnOnce(&mut Cluster)) -> bool {
        let mut state = self.lock();
        let cluster = state.clusters.get_mut(id).filter(|cluster| cluster.generation == generation);
        cluster.map(change).is_some()
    }
}

fn remember<T>(list: &mut VecDeque<T>, one: T) {
    if list.len() >= REMEMBERED {
        list.pop_front();
    }
    list.push_back(one);
}

/// The machines on offer. Names are like those of the service, prices made up.
pub(super) fn sizes() -> Vec<InstanceSize> {
    let size = |name: &str, cores: u32, memory: &str, price: f64| InstanceSize {
        name: name.to_owned(),
        display: format!("{name} - {cores} cores - {memory}"),
        cores: Some(cores),
        memory: Some(memory.to_owned()),
        gpu: 0,
        price_per_hour: Some(price),
        disabled: false,
        disabled_message: String::new(),
    };
    let mut list = vec![
        size("medium", 2, "4Gi", 0.06),
        size("large", 2, "16Gi", 0.15),
        size("xlarge", 4, "32Gi", 0.3),
        size("2xlarge", 8, "64Gi", 0.6),
        size("4xlarge", 16, "128Gi", 1.2),
        size("8xlarge", 32, "256Gi", 2.4),
        size("16xlarge", 64, "512Gi", 4.8),
    ];
    list.push(InstanceSize {
        gpu: 1,
        disabled: true,
        disabled_message: "there are no graphics processors in this emulator".to_owned(),
        ..size("g4dnxlarge", 4, "16Gi", 0.9)
    });
    list
}
