//! What a starting cluster tells its caller.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One step of finding a Python, building its environment, or starting and stopping processes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The machine is searched for Python interpreters.
    FindingPython,
    /// An environment is about to be made with this interpreter.
    UsingPython {
        /// The interpreter, by absolute path.
        path: PathBuf,
        /// Its version, such as `3.12.1`.
        version: String,
    },
    /// Another process builds the same environment; this one waits for it.
    WaitingForEnvironment {
        /// The lock file.
        lock: PathBuf,
    },
    /// A virtual environment is made.
    CreatingEnvironment {
        /// Where.
        path: PathBuf,
        /// `uv` or `pip`.
        installer: &'static str,
    },
    /// A line from the installer.
    Installing {
        /// What it printed.
        line: String,
    },
    /// This installer did not do; the next one is tried.
    InstallerFailed {
        /// `uv` or `pip`.
        installer: &'static str,
        /// Why, in one line.
        reason: String,
    },
    /// This interpreter did not do; the next one is tried.
    PythonFailed {
        /// The interpreter.
        path: PathBuf,
        /// Why, in one line.
        reason: String,
    },
    /// The environment can be used.
    EnvironmentReady {
        /// Where it is.
        path: PathBuf,
        /// Whether it had been made before.
        cached: bool,
        /// How long finding or making it took.
        elapsed: Duration,
    },
    /// The scheduler process is started.
    StartingScheduler {
        /// The release, such as `2026.8.0`.
        release: String,
    },
    /// The scheduler accepts connections.
    SchedulerReady {
        /// Its address, such as `tcp://127.0.0.1:8786`.
        address: String,
        /// Its process.
        pid: u32,
        /// How long it took to start.
        elapsed: Duration,
    },
    /// A worker process is started.
    StartingWorker {
        /// Its index in the cluster, counted from 0.
        index: usize,
    },
    /// The scheduler has registered the worker.
    WorkerReady {
        /// Its index in the cluster.
        index: usize,
        /// Its address.
        address: String,
        /// How long it took to start.
        elapsed: Duration,
    },
    /// Every process of the cluster is being ended.
    Stopping,
    /// Every process has ended and the private directory is gone.
    Stopped {
        /// How long it took.
        elapsed: Duration,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FindingPython => write!(f, "looking for Python"),
            Self::UsingPython { path, version } => write!(f, "using Python {version} ({})", path.display()),
            Self::WaitingForEnvironment { lock } => {
                write!(f, "waiting for another process to finish this environment ({})", lock.display())
            }
            Self::CreatingEnvironment { path, installer } => {
                write!(f, "creating {} with {installer}", path.display())
            }
            Self::Installing { line } => write!(f, "{line}"),
            Self::InstallerFailed { installer, reason } => write!(f, "{installer} did not do: {reason}"),
            Self::PythonFailed { path, reason } => write!(f, "{} did not do: {reason}", path.display()),
            Self::EnvironmentReady { path, cached, elapsed } => {
                let how = if *cached { "found" } else { "made" };
                write!(f, "environment {how} in {elapsed:.1?}: {}", path.display())
            }
            Self::StartingScheduler { release } => write!(f, "starting the scheduler of Dask {release}"),
            Self::SchedulerReady { address, pid, elapsed } => {
                write!(f, "scheduler ready in {elapsed:.1?} at {address} (process {pid})")
            }
            Self::StartingWorker { index } => write!(f, "starting worker {index}"),
            Self::WorkerReady { index, address, elapsed } => {
                write!(f, "worker {index} ready in {elapsed:.1?} at {address}")
            }
            Self::Stopping => write!(f, "stopping the cluster"),
            Self::Stopped { elapsed } => write!(f, "stopped in {elapsed:.1?}"),
        }
    }
}

type Listen = dyn Fn(&Event) + Send + Sync;

/// Who hears the events.
#[derive(Clone, Default)]
pub(crate) struct Listener(Option<Arc<Listen>>);

impl Listener {
    pub(crate) fn new(listen: Arc<Listen>) -> Self {
        Self(Some(listen))
    }

    pub(crate) fn send(&self, event: Event) {
        tracing::debug!(target: "dask_local", "{event}");
        if let Some(listen) = &self.0 {
            listen(&event);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Listener(set)" } else { "Listener(none)" })
    }
}
