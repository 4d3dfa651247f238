//! What shall be started, and how.

use std::sync::Arc;
use std::time::Duration;

use crate::api::public::Resource;
use crate::backoff::Backoff;
use crate::certificates::{Verification, check_pin};
use crate::error::{Error, Result};
use crate::guard::Guard;
use crate::options::ClusterOptions;
use crate::settings::Settings;
use crate::start::Starting;
use crate::surface::Surface;

/// Which cluster is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// That of a project, as dask-saturn 0.2.2 names it.
    Project(String),
    /// That of the resource which the token belongs to, as dask-saturn since 0.3.0 does.
    Token,
    /// A new one for a resource.
    Resource(Resource),
    /// One that exists.
    Cluster(String),
    /// A new one for the resource of this one, which is destroyed.
    Replacement(String),
}

/// Describes a cluster to be started or attached to. Made by [`SaturnCluster::builder`](crate::SaturnCluster::builder).
///
/// Without a project, a resource or a cluster it is that of the resource which the token belongs to.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until start is called"]
pub struct ClusterBuilder {
    pub(crate) settings: Settings,
    pub(crate) target: Target,
    pub(crate) options: ClusterOptions,
    pub(crate) deadline: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) verification: Verification,
    pub(crate) via: Option<(String, Option<u16>)>,
    pub(crate) connect_timeout: Duration,
    pub(crate) keep: Option<bool>,
    pub(crate) close_after: Option<Duration>,
    pub(crate) reset: bool,
    pub(crate) allow_unencrypted: bool,
    /// That of the cluster which is replaced.
    pub(crate) guard: Option<Arc<Guard>>,
}

impl ClusterBuilder {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            target: Target::Token,
            options: ClusterOptions::default(),
            deadline: Duration::from_secs(1200),
            backoff: Backoff::default(),
            verification: Verification::default(),
            via: None,
            connect_timeout: Duration::from_secs(30),
            keep: None,
            close_after: None,
            reset: false,
            allow_unencrypted: false,
            guard: None,
        }
    }

    /// The cluster of this project, as dask-saturn's `ExternalConnection(project_id=…)`.
    pub fn project_id(mut self, id: impl Into<String>) -> Self {
        self.target = Target::Project(id.into());
        self
    }

    /// A new cluster for this workspace, deployment or job, by the public API.
    pub fn resource(mut self, resource: Resource) -> Self {
        self.target = Target::Resource(resource);
        self
    }

    /// A cluster that exists, by its id; it is started if it is stopped. It keeps its own options: none may be given.
    pub fn cluster_id(mut self, id: impl Into<String>) -> Self {
        self.target = Target::Cluster(id.into());
        self
    }

    /// What the cluster shall be, all at once. A cluster that is found running is not changed.
    pub fn options(mut self, options: ClusterOptions) -> Self {
        self.options = options;
        self
    }

    /// How many workers.
    pub fn n_workers(mut self, n: u32) -> Self {
        self.options = self.options.n_workers(n);
        self
    }

    /// The size of the workers' machines.
    pub fn worker_size(mut self, name: impl Into<String>) -> Self {
        self.options = self.options.worker_size(name);
        self
    }

    /// The size of the scheduler's machine.
    pub fn scheduler_size(mut self, name: impl Into<String>) -> Self {
        self.options = self.options.scheduler_size(name);
        self
    }

    /// How many worker processes on each worker's machine.
    pub fn nprocs(mut self, n: u32) -> Self {
        self.options = self.options.nprocs(n);
        self
    }

    /// How many threads in each worker process.
    pub fn nthreads(mut self, n: u32) -> Self {
        self.options = self.options.nthreads(n);
        self
    }

    /// Whether workers run on spot instances.
    pub fn worker_is_spot(mut self, spot: bool) -> Self {
        self.options = self.options.worker_is_spot(spot);
        self
    }

    /// How long starting may take (default 20 minutes). One request that is under way then is still waited for.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long to wait between two questions.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How the scheduler's certificate is judged.
    pub fn verification(mut self, verification: Verification) -> Self {
        self.verification = verification;
        self
    }

    /// Connects to this host, and port if given, instead of those of the scheduler's address, which then only name it
    /// (for TLS). For port forwards and names that do not resolve here. Hosts ending in `.localhost` need none.
    pub fn connect_via(mut self, host: impl Into<String>, port: Option<u16>) -> Self {
        self.via = Some((host.into(), port));
        self
    }

    /// How long connecting to the scheduler may take (default 30 s).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Whether the cluster goes on when this program lets go of it. By default one that this call has started is
    /// closed, and one that it found running is kept, unless there is a time limit ([`ClusterBuilder::close_after`]). A
    /// time limit holds for a cluster that is kept, too.
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = Some(keep);
        self
    }

    /// Closes the cluster when this time has passed since its start began, whatever happens to it until then and whatever
    /// [`ClusterBuilder::keep`] says about letting go of it, for as long as this program runs and holds the cluster.
    pub fn close_after(mut self, time: Duration) -> Self {
        self.close_after = Some(time);
        self
    }

    /// Destroys the cluster of the project, or of the resource which the token belongs to, first, so that the options
    /// surely hold. For others see [`SaturnCluster::reset`](crate::SaturnCluster::reset).
    pub fn reset(mut self) -> Self {
        self.reset = true;
        self
    }

    /// Connects without encryption, too, if that is what the server tells to do. Default: only to this machine.
    pub fn allow_unencrypted(mut self, allow: bool) -> Self {
        self.allow_unencrypted = allow;
        self
    }

    /// Starts. Nothing happens until the result is awaited or read as a stream.
    pub fn start(self) -> Starting {
        Starting::new(self)
    }

    pub(crate) fn surface(&self) -> Surface {
        match &self.target {
            Target::Project(id) => Surface::Legacy { project_id: Some(id.clone()) },
            Target::Token => Surface::Legacy { project_id: None },
            Target::Resource(_) | Target::Cluster(_) | Target::Replacement(_) => Surface::Public,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let bad = |option, reason: &str| Err(Error::BadOption { option, reason: reason.to_owned() });
        match &self.target {
            Target::Project(id) if id.trim().is_empty() => return bad("project_id", "it is empty"),
            Target::Cluster(id) if id.trim().is_empty() => return bad("cluster_id", "it is empty"),
            Target::Resource(resource) if resource.parts().1.trim().is_empty() => {
                return bad("resource", "its id is empty");
            }
            Target::Resource(_) | Target::Cluster(_) if self.reset => {
                return bad("reset", "only the cluster of a project or of the token's resource can be reset");
            }
            Target::Cluster(_) => {
                if let Some(option) = self.options.set().next() {
                    return bad(
                        option,
                        "a cluster that exists keeps its own; scale it, or reset it to change it",
                    );
                }
            }
            _ => {}
        }
        if let Verification::Pinned(pem) = &self.verification {
            // Later it would be noticed only when the cluster costs already.
            check_pin(pem).map_err(|reason| Error::BadOption { option: "verification", reason })?;
        }
        match (self.options.nprocs, self.options.nthreads) {
            (Some(0), _) => bad("nprocs", "a worker has at least one process"),
            (_, Some(0)) => bad("nthreads", "a worker has at least one thread"),
            _ => Ok(()),
        }
    }
}
