//! What the live tests share: clusters of any release, and the list of scenarios that every release must pass.

pub mod fake;
pub mod impatient;
pub mod rounds;
pub mod scenarios;
pub mod told;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dask_client::Client;
use dask_local::{ClusterBuilder, Event, LocalCluster, Protocol, WorkerSpec};

/// How long any one thing in a test may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long a check of several such things may take.
pub const ROUND: Duration = Duration::from_secs(300);

/// A module that only workers can import: the scheduler of these clusters does not know it.
pub const WORKER_MODULE: &str = include_str!("worker_module.py");

/// A cluster for a test, with the module `only_on_workers` where its workers find it.
#[derive(Debug)]
pub struct TestCluster {
    /// The running cluster.
    pub cluster: LocalCluster,
    /// Holds the module; removed with the value.
    pub modules: tempfile::TempDir,
}

impl TestCluster {
    /// Two workers of one thread. The first offers one `SLOT`, the second is called `second`.
    pub async fn start(release: &str, protocol: Protocol) -> Result<Self, dask_local::Error> {
        Self::start_with(release, protocol, |builder| builder).await
    }

    /// As [`TestCluster::start`], with more settings.
    pub async fn start_with(
        release: &str,
        protocol: Protocol,
        settings: impl FnOnce(ClusterBuilder) -> ClusterBuilder,
    ) -> Result<Self, dask_local::Error> {
        let io = |error: std::io::Error| dask_local::Error::BadSetting {
            setting: "modules",
            reason: error.to_string(),
        };
        let modules = tempfile::tempdir().map_err(io)?;
        std::fs::write(modules.path().join("only_on_workers.py"), WORKER_MODULE).map_err(io)?;
        let worker =
            |name: &str| WorkerSpec::new().name(name).env("PYTHONPATH", modules.path().display().to_string());
        let builder = LocalCluster::builder()
            .release(release)
            .workers(0)
            .worker(worker("first").resource("SLOT", 1.0))
            .worker(worker("second"))
            .protocol(protocol)
            .on_event(Arc::new(tell));
        let cluster = settings(builder).start().await?;
        Ok(Self { cluster, modules })
    }

    /// Settings of a client for this cluster.
    pub fn client(&self) -> dask_client::ClientBuilder {
        let mut builder = Client::builder().address(self.cluster.address()).rpc_timeout(PATIENCE);
        if let Some(tls) = self.cluster.tls() {
            builder = builder.tls(
                dask_client::TlsConfig::new().ca(tls.ca.clone()).cert(tls.cert.clone()).key(tls.key.clone()),
            );
        }
        builder
    }
}

/// Installing takes long enough that a person wants to know.
#[expect(clippy::print_stderr, reason = "test output")]
fn tell(event: &Event) {
    if matches!(
        event,
        Event::CreatingEnvironment { .. } | Event::PythonFailed { .. } | Event::InstallerFailed { .. }
    ) {
        eprintln!("    {event}");
    }
}

/// The releases to test: `DASK_RELEASES`, a list or `all`, else the two ends of history.
pub fn releases() -> Vec<String> {
    releases_or(&["2.30.1", "2026.8.0"])
}

/// The releases to test: `DASK_RELEASES`, a list or `all`, else these.
pub fn releases_or(default: &[&str]) -> Vec<String> {
    let wanted = std::env::var("DASK_RELEASES").unwrap_or_default();
    match wanted.trim() {
        "" => default.iter().map(ToString::to_string).collect(),
        "all" => dask_local::known_releases().iter().map(ToString::to_string).collect(),
        list => list.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect(),
    }
}

/// Where a run leaves what it found, for the table in the README: `DASK_COMPATIBILITY_DIR`.
///
/// Cargo runs a test in the directory of its package but a program where it was called, so a relative path would be two
/// places: it is taken as relative to the workspace.
pub fn report_directory() -> Option<PathBuf> {
    std::env::var_os("DASK_COMPATIBILITY_DIR").map(|directory| workspace().join(directory))
}

/// The top of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The texts of the Rust files in a folder and below it.
///
/// # Panics
/// One cannot be read.
pub fn sources(directory: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    let entries =
        std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            texts.append(&mut sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(std::fs::read_to_string(&path).expect("a source file"));
        }
    }
    texts
}

/// A list of checks by name, for [`on_each_release`].
#[macro_export]
macro_rules! checks {
    ($($name:ident),+ $(,)?) => {
        &[$((stringify!($name), (|stage| Box::pin($name(stage))) as $crate::scenarios::Scenario)),+]
    };
}

/// Runs checks one after the other on one cluster of each release to test, and panics with all that failed.
pub async fn on_each_release(checks: &[(&str, scenarios::Scenario)]) {
    rounds::over(releases(), |builder| builder, checks).await;
}
