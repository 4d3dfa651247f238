//! What a cluster shall be.

use serde::{Deserialize, Serialize};

/// What a cluster shall be. What is not set is left to the server, and not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// How many workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_workers: Option<u32>,
    /// The size of each worker's machine, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_size: Option<String>,
    /// Whether workers run on spot instances: cheaper, and taken away when others pay more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_is_spot: Option<bool>,
    /// The size of the scheduler's machine, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_size: Option<String>,
    /// How many worker processes on each worker's machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nprocs: Option<u32>,
    /// How many threads in each worker process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nthreads: Option<u32>,
}

impl ClusterOptions {
    /// Everything left to the server.
    pub fn new() -> Self {
        Self::default()
    }

    /// The names of those that are set.
    pub(crate) fn set(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            ("n_workers", self.n_workers.is_some()),
            ("worker_size", self.worker_size.is_some()),
            ("worker_is_spot", self.worker_is_spot.is_some()),
            ("scheduler_size", self.scheduler_size.is_some()),
            ("nprocs", self.nprocs.is_some()),
            ("nthreads", self.nthreads.is_some()),
        ];
        all.into_iter().filter_map(|(name, set)| set.then_some(name))
    }

    /// Sets the number of workers.
    #[must_use]
    pub fn n_workers(mut self, n: u32) -> Self {
        self.n_workers = Some(n);
        self
    }

    /// Sets the size of the workers' machines.
    #[must_use]
    pub fn worker_size(mut self, name: impl Into<String>) -> Self {
        self.worker_size = Some(name.into());
        self
    }

    /// Sets whether workers run on spot instances.
    #[must_use]
    pub fn worker_is_spot(mut self, spot: bool) -> Self {
        self.worker_is_spot = Some(spot);
        self
    }

    /// Sets the size of the scheduler's machine.
    #[must_use]
    pub fn scheduler_size(mut self, name: impl Into<String>) -> Self {
        self.scheduler_size = Some(name.into());
        self
    }

    /// Sets the number of processes on each worker's machine.
    #[must_use]
    pub fn nprocs(mut self, n: u32) -> Self {
        self.nprocs = Some(n);
        self
    }

    /// Sets the number of threads of each process.
    #[must_use]
    pub fn nthreads(mut self, n: u32) -> Self {
        self.nthreads = Some(n);
        self
    }
}
