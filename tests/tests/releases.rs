//! One list of scenarios against any release: `DASK_RELEASES="2021.8.1 2025.7.0" cargo test --test releases`, or `all`.
//!
//! Without the variable the two ends of history are run. A release for which this machine has no Python is reported as
//! not run, and so is one whose installation fails, unless `DASK_RELEASES_STRICT` is set. With `DASK_COMPATIBILITY_DIR`
//! each release leaves a JSON file there, from which the README's table is made.

use std::collections::BTreeMap;
use std::time::Instant;

use dask_client::{Client, Dialect, Feature};
use dask_live_tests::scenarios::{self, Stage};
use dask_live_tests::{TestCluster, releases, report_directory};
use dask_local::Protocol;
use serde_json::{Value as Json, json};

const PROTOCOLS: [(Protocol, &str); 4] =
    [(Protocol::Tcp, "tcp"), (Protocol::Tls, "tls"), (Protocol::Ws, "ws"), (Protocol::Wss, "wss")];

/// What scenarios are run over protocols other than tcp: connecting, and both ways of moving data.
const OVER_OTHERS: &[&str] =
    &["looks_around", "checks_health", "computes_a_graph", "gathers_compressible_bytes"];

/// Releases that run every scenario over every protocol: one of each message encoding and each way to submit a graph.
const ALL_OVER_ALL: &[&str] = &["2.30.1", "2021.3.0", "2022.7.1", "2024.8.2", "2026.8.0"];

#[tokio::test]
async fn every_release_passes_every_scenario() {
    let strict = std::env::var_os("DASK_RELEASES_STRICT").is_some();
    let mut failures = Vec::new();
    let (mut ran, mut not_run) = (0, Vec::new());
    let wanted = releases();
    for release in &wanted {
        let start = Instant::now();
        // What an earlier run left says nothing about this one.
        report(release, None);
        let mut run = Run { release, ..Run::default() };
        match run.everything().await {
            Ok(()) => {
                ran += 1;
                let outcome = if run.failures.is_empty() { "ok" } else { "FAILED" };
                println!("{release}: {outcome} in {:.1?} {:?}", start.elapsed(), run.passed);
                report(release, Some(run.to_json()));
                failures.extend(run.failures);
            }
            Err(error) => {
                println!("{release}: not run: {error}");
                report(release, Some(json!({"release": release, "not_run": error.to_string()})));
                if strict && !matches!(error, dask_local::Error::NoPython { .. }) {
                    failures
                        .push(format!("{release}: a Python is here, but it cannot be installed: {error}"));
                }
                not_run.push(release.as_str());
            }
        }
    }
    println!("{ran} of {} releases ran", wanted.len());
    if !not_run.is_empty() {
        let line = "!".repeat(100);
        println!("{line}\nNOT RUN, and so not tested here: {}\n{line}", not_run.join(" "));
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(ran > 0, "no release could be run");
}

/// What one release did.
#[derive(Default)]
struct Run<'r> {
    release: &'r str,
    dialect: Option<Dialect>,
    python: String,
    /// By protocol: how many scenarios passed.
    passed: BTreeMap<&'static str, usize>,
    failures: Vec<String>,
}

impl Run<'_> {
    /// Runs the release over each protocol that it has; an error if it cannot be run at all.
    async fn everything(&mut self) -> Result<(), dask_local::Error> {
        for (protocol, name) in PROTOCOLS {
            if matches!(protocol, Protocol::Ws | Protocol::Wss) && !self.dialect.is_some_and(has_websockets) {
                continue;
            }
            let cluster = match TestCluster::start(self.release, protocol).await {
                Ok(cluster) => cluster,
                Err(error) if protocol == Protocol::Tcp && cannot_install(&error) => return Err(error),
                Err(error) => {
                    self.failures
                        .push(format!("{} {name}: the cluster does not start: {error}", self.release));
                    continue;
                }
            };
            self.python = cluster.cluster.environment().python_version.to_string();
            match cluster.client().connect().await {
                Ok(client) => self.over(name, cluster, client).await,
                Err(error) => self.failures.push(format!("{} {name} connect: {error}", self.release)),
            }
        }
        Ok(())
    }

    async fn over(&mut self, protocol: &'static str, cluster: TestCluster, client: Client) {
        self.dialect = Some(client.dialect());
        let stage = Stage { client, cluster };
        let log_before = stage.cluster.cluster.scheduler_log().len();
        let all = protocol == "tcp" || ALL_OVER_ALL.contains(&self.release);
        let chosen = scenarios::ALL.iter().filter(|(scenario, _)| all || OVER_OTHERS.contains(scenario));
        let mut passed = 0;
        for (scenario, run) in chosen {
            match scenarios::run(*run, &stage).await {
                Ok(()) => passed += 1,
                Err(error) => self.failures.push(format!("{} {protocol} {scenario}: {error}", self.release)),
            }
        }
        self.passed.insert(protocol, passed);
        stage.client.close().await;
        let complaints = complaints(&stage, log_before);
        self.failures
            .extend(complaints.iter().map(|line| format!("{} {protocol} log: {line}", self.release)));
        drop(stage.cluster.cluster.stop().await);
    }

    fn to_json(&self) -> Json {
        json!({
            "release": self.release,
            "dialect": self.dialect.map(|dialect| dialect.submission().name()),
            "python": self.python,
            "scenarios": scenarios::ALL.len(),
            "passed": self.passed,
            "failures": self.failures,
        })
    }
}

/// Leaves what there is to say of a release for the README's table; `None` takes away what is there.
fn report(release: &str, found: Option<Json>) {
    let Some(directory) = report_directory() else { return };
    let path = directory.join(format!("{release}.json"));
    match found {
        None => drop(std::fs::remove_file(path)),
        Some(found) => {
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(path, format!("{found:#}\n")).unwrap();
        }
    }
}

fn has_websockets(dialect: Dialect) -> bool {
    dialect.has(Feature::WebSockets)
}

fn cannot_install(error: &dask_local::Error) -> bool {
    use dask_local::Error;
    matches!(
        error,
        Error::NoPython { .. }
            | Error::Environment { .. }
            | Error::NoNetwork { .. }
            | Error::InstallTimeout { .. }
    )
}

/// Lines of the scheduler's log since our client came that a well-behaved client does not cause.
fn complaints(stage: &Stage, from: usize) -> Vec<String> {
    let log = stage.cluster.cluster.scheduler_log();
    let log = log.get(from..).unwrap_or_default();
    let bad = ["ERROR", "Connection closed before handshake", "No handler", "not found in extra"];
    log.lines()
        .filter(|line| bad.iter().any(|bad| line.contains(bad)))
        // Graphs that cannot be unpickled there are logged as errors by design.
        .filter(|line| !line.contains("deserialization of the task graph"))
        .map(str::to_owned)
        .collect()
}
