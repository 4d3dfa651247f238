//! One list of scenarios against any release: `DASK_RELEASES="2021.8.1 2025.7.0" cargo test --test releases`, or `all`.
//!
//! Without the variable the two ends of history are run. A release that cannot be installed on this machine is reported
//! as not run. With `DASK_COMPATIBILITY_DIR` each release leaves a JSON file there, from which the README's table is
//! made.

use std::time::Instant;

use dask_client::Feature;
use dask_live_tests::scenarios::{self, Stage};
use dask_live_tests::{TestCluster, releases, report_directory};
use dask_local::Protocol;
use serde_json::json;

/// What scenarios are run over the other protocols: connecting, and both ways of moving data.
const OVER_OTHERS: &[&str] =
    &["looks_around", "checks_health", "computes_a_graph", "gathers_compressible_bytes"];

#[tokio::test]
async fn every_release_passes_every_scenario() {
    let mut failures = Vec::new();
    let (mut ran, mut not_run) = (0, Vec::new());
    for release in releases() {
        let start = Instant::now();
        match try_release(&release).await {
            Ok(failed) => {
                ran += 1;
                println!(
                    "{release}: {} in {:.1?}",
                    if failed.is_empty() { "ok" } else { "FAILED" },
                    start.elapsed()
                );
                failures.extend(failed);
            }
            Err(reason) => {
                println!("{release}: not run: {reason}");
                not_run.push(release);
            }
        }
    }
    println!("{ran} releases ran, {} could not be installed here: {}", not_run.len(), not_run.join(" "));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(ran > 0, "no release could be run");
}

/// The failures of one release, or why it could not be run at all.
async fn try_release(release: &str) -> Result<Vec<String>, String> {
    let mut failures = Vec::new();
    let mut protocols = Vec::new();
    let mut dialect = None;
    let mut python = String::new();
    for (protocol, name) in
        [(Protocol::Tcp, "tcp"), (Protocol::Tls, "tls"), (Protocol::Ws, "ws"), (Protocol::Wss, "wss")]
    {
        if matches!(protocol, Protocol::Ws | Protocol::Wss) && !dialect.is_some_and(has_websockets) {
            continue;
        }
        let cluster = match TestCluster::start(release, protocol).await {
            Ok(cluster) => cluster,
            Err(error) if protocol == Protocol::Tcp && cannot_install(&error) => {
                return Err(error.to_string());
            }
            Err(error) => {
                failures.push(format!("{release} {name}: the cluster does not start: {error}"));
                continue;
            }
        };
        python = cluster.cluster.environment().python_version.to_string();
        let before = failures.len();
        let log_before = cluster.cluster.scheduler_log().len();
        match cluster.client().connect().await {
            Ok(client) => {
                dialect = Some(client.dialect());
                let stage = Stage { client, cluster };
                let chosen = scenarios::ALL
                    .iter()
                    .filter(|(scenario, _)| name == "tcp" || OVER_OTHERS.contains(scenario));
                for (scenario, run) in chosen {
                    if let Err(error) = scenarios::run(*run, &stage).await {
                        failures.push(format!("{release} {name} {scenario}: {error}"));
                    }
                }
                stage.client.close().await;
                failures.extend(
                    complaints(&stage, log_before)
                        .into_iter()
                        .map(|line| format!("{release} {name} log: {line}")),
                );
                drop(stage.cluster.cluster.stop().await);
            }
            Err(error) => failures.push(format!("{release} {name} connect: {error}")),
        }
        if failures.len() == before {
            protocols.push(name);
        }
    }
    if let (Some(directory), Some(dialect)) = (report_directory(), dialect) {
        let report = json!({
            "release": release,
            "dialect": dialect.submission().name(),
            "python": python,
            "protocols": protocols,
            "scenarios": scenarios::ALL.len(),
            "failures": failures,
        });
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!("{release}.json")), format!("{report:#}\n")).unwrap();
    }
    Ok(failures)
}

fn has_websockets(dialect: dask_client::Dialect) -> bool {
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
