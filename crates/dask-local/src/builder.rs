//! What a cluster shall be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::env::Wanted;
use crate::event::{Event, Listener};
use crate::install::Installer;
use crate::process_env::config_variable;
use crate::release::{NEWEST, Release};
use crate::{Error, LocalCluster};

/// How the processes speak with each other and with clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Protocol {
    /// Plain TCP.
    #[default]
    Tcp,
    /// TLS over TCP, with certificates made for this cluster; see [`LocalCluster::tls`].
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Protocol {
    /// The scheme of addresses.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    pub(crate) fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }
}

/// What one worker shall be.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct WorkerSpec {
    /// Its name; its address without one.
    pub name: Option<String>,
    /// How many tasks it runs at a time; at least 1.
    pub threads: usize,
    /// Whether a nanny starts and watches it.
    pub nanny: bool,
    /// Its abstract resources, such as `("GPU", 2.0)`.
    pub resources: Vec<(String, f64)>,
    /// Its memory limit as Dask reads it (`2GB`, `0` for none); Dask's own default without one.
    pub memory_limit: Option<String>,
    /// Environment variables of this worker.
    pub env: BTreeMap<String, String>,
    /// Further arguments of its command line.
    pub args: Vec<String>,
}

impl WorkerSpec {
    /// A worker of one thread, without a nanny.
    pub fn new() -> Self {
        Self { threads: 1, ..Self::default() }
    }

    /// Names the worker.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets how many tasks it runs at a time.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets whether a nanny starts and watches it.
    #[must_use]
    pub fn nanny(mut self, nanny: bool) -> Self {
        self.nanny = nanny;
        self
    }

    /// Gives it an abstract resource.
    #[must_use]
    pub fn resource(mut self, name: impl Into<String>, amount: f64) -> Self {
        self.resources.push((name.into(), amount));
        self
    }

    /// Sets its memory limit, as Dask reads it.
    #[must_use]
    pub fn memory_limit(mut self, limit: impl Into<String>) -> Self {
        self.memory_limit = Some(limit.into());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Adds an argument to its command line.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }
}

/// The settings of a cluster that is being described.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) release: Release,
    pub(crate) protocol: Protocol,
    pub(crate) scheduler_port: u16,
    pub(crate) dashboard: bool,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) scheduler_args: Vec<String>,
    pub(crate) process_deadline: Duration,
    pub(crate) grace: Duration,
    pub(crate) events: Listener,
}

/// Describes a cluster; see [`LocalCluster::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ClusterBuilder {
    release: String,
    workers: usize,
    worker: WorkerSpec,
    names: Vec<String>,
    specs: Vec<WorkerSpec>,
    settings: Settings,
    extras: Vec<String>,
    pythons: Vec<PathBuf>,
    search: bool,
    installer: Installer,
    cache: Option<PathBuf>,
    deadline: Duration,
}

impl Default for ClusterBuilder {
    fn default() -> Self {
        let settings = Settings {
            release: Release::newest(),
            protocol: Protocol::Tcp,
            scheduler_port: 0,
            dashboard: false,
            env: BTreeMap::new(),
            scheduler_args: Vec::new(),
            process_deadline: Duration::from_secs(180),
            grace: Duration::from_secs(3),
            events: Listener::default(),
        };
        Self {
            release: NEWEST.to_owned(),
            workers: 1,
            worker: WorkerSpec::new(),
            names: Vec::new(),
            specs: Vec::new(),
            settings,
            extras: Vec::new(),
            pythons: Vec::new(),
            search: true,
            installer: Installer::Auto,
            cache: None,
            deadline: Duration::from_secs(15 * 60),
        }
    }
}

impl ClusterBuilder {
    /// The release of Dask: `2021.8.1`, `2.30.1`, or `latest` (the default).
    pub fn release(mut self, release: impl Into<String>) -> Self {
        self.release = release.into();
        self
    }

    /// How many workers to start (default 1); 0 is a scheduler alone.
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// Threads of each worker (default 1).
    pub fn threads(mut self, count: usize) -> Self {
        self.worker.threads = count;
        self
    }

    /// Whether a nanny starts and watches each worker (default: no).
    pub fn nanny(mut self, nanny: bool) -> Self {
        self.worker.nanny = nanny;
        self
    }

    /// Names for the workers, in their order; those beyond the list keep their address as name.
    pub fn worker_names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Abstract resources of every worker, such as `[("GPU", 1.0)]`.
    pub fn worker_resources(mut self, list: impl IntoIterator<Item = (impl Into<String>, f64)>) -> Self {
        self.worker.resources = list.into_iter().map(|(name, amount)| (name.into(), amount)).collect();
        self
    }

    /// Memory limit of every worker, as Dask reads it: `2GB`, or `0` for none.
    pub fn memory_limit(mut self, limit: impl Into<String>) -> Self {
        self.worker.memory_limit = Some(limit.into());
        self
    }

    /// Further arguments of every worker's command line.
    pub fn worker_args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.worker.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// One worker more, of its own kind, after those of [`workers`](Self::workers).
    pub fn worker(mut self, spec: WorkerSpec) -> Self {
        self.specs.push(spec);
        self
    }

    /// How the processes speak (default TCP).
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.settings.protocol = protocol;
        self
    }

    /// The scheduler's port; 0 (the default) takes a free one. On Linux nobody else is given it while the cluster
    /// lives, also while its scheduler is killed.
    pub fn scheduler_port(mut self, port: u16) -> Self {
        self.settings.scheduler_port = port;
        self
    }

    /// Further arguments of the scheduler's command line.
    pub fn scheduler_args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.settings.scheduler_args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Whether the scheduler serves its dashboard on a free port of loopback (default: no). It
    /// needs further packages, so it has an environment of its own.
    pub fn dashboard(mut self, dashboard: bool) -> Self {
        self.settings.dashboard = dashboard;
        self
    }

    /// An environment variable of every process.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.env.insert(name.into(), value.into());
        self
    }

    /// A key of Dask's configuration, such as `distributed.scheduler.work-stealing`, for every
    /// process; the value is read as a Python literal where it is one.
    pub fn config(self, key: &str, value: impl Into<String>) -> Self {
        let name = config_variable(key);
        self.env(name, value)
    }

    /// Packages to install beside Dask, numpy and lz4, as requirements: `pandas`, `zstandard<1`.
    pub fn extra_packages(mut self, list: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.extras.extend(list.into_iter().map(Into::into));
        self
    }

    /// Interpreters to try before any other, by path.
    pub fn pythons(mut self, list: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        self.pythons = list.into_iter().map(Into::into).collect();
        self
    }

    /// Whether this machine is searched for interpreters (default: yes), or only those of
    /// [`pythons`](Self::pythons) and `$DASK_LOCAL_PYTHON` are used.
    pub fn search_pythons(mut self, search: bool) -> Self {
        self.search = search;
        self
    }

    /// What makes the environment.
    pub fn installer(mut self, installer: Installer) -> Self {
        self.installer = installer;
        self
    }

    /// Where environments are kept, instead of [`cache_directory`](crate::cache_directory).
    pub fn cache_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cache = Some(directory.into());
        self
    }

    /// Who hears of each step.
    pub fn on_event(mut self, listen: Arc<dyn Fn(&Event) + Send + Sync>) -> Self {
        self.settings.events = Listener::new(listen);
        self
    }

    /// How long [`start`](Self::start) may take in all (default 15 minutes, for a first
    /// installation over a slow network).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long a single process may take to become ready (default three minutes).
    pub fn process_deadline(mut self, deadline: Duration) -> Self {
        self.settings.process_deadline = deadline;
        self
    }

    /// How long the workers, and after them the scheduler, get to end by themselves before they
    /// are killed (default 3 s).
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// Makes the environment if need be, starts every process, and waits until each is ready.
    pub async fn start(mut self) -> Result<LocalCluster, Error> {
        self.settings.release = self.release.parse()?;
        self.check()?;
        let mut extras = self.extras;
        extras.sort();
        extras.dedup();
        let wanted = Wanted {
            release: self.settings.release.clone(),
            extras,
            dashboard: self.settings.dashboard,
            pythons: self.pythons,
            search: self.search,
            installer: self.installer,
            cache: self.cache,
        };
        let mut names = self.names.into_iter();
        let mut specs: Vec<WorkerSpec> = (0..self.workers)
            .map(|_| WorkerSpec {
                name: names.next().or_else(|| self.worker.name.clone()),
                ..self.worker.clone()
            })
            .collect();
        specs.extend(self.specs);
        LocalCluster::start(self.settings, &wanted, specs, self.deadline).await
    }

    fn check(&self) -> Result<(), Error> {
        let option =
            self.extras.iter().find(|extra| extra.trim().is_empty() || extra.trim().starts_with('-'));
        if let Some(extra) = option {
            let reason = format!("`{extra}` is no requirement; give names of packages such as `pandas`");
            return Err(Error::BadSetting { setting: "extra_packages", reason });
        }
        if self.worker.threads == 0 || self.specs.iter().any(|spec| spec.threads == 0) {
            let reason = "a worker has at least one thread".to_owned();
            return Err(Error::BadSetting { setting: "threads", reason });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn options_are_no_packages() {
        let error = LocalCluster::builder().extra_packages(["--index-url=x"]).start().await.unwrap_err();
        assert!(matches!(error, Error::BadSetting { setting: "extra_packages", .. }), "{error}");
    }

    #[tokio::test]
    async fn a_bad_release_is_told_before_anything_is_done() {
        let error = LocalCluster::builder().release("2019.1.0").start().await.unwrap_err();
        assert!(matches!(error, Error::BadRelease { .. }), "{error}");
    }
}
