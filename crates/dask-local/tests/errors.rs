//! What goes wrong is told apart, and nothing is left over.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use dask_local::{Error, Installer, LocalCluster};

/// Runs a test of this program in a process with other environment variables.
fn passes(test: &str, variables: &[(&str, &str)]) {
    let output = common::again(test).envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
async fn a_taken_port_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port();
    let error = LocalCluster::builder().scheduler_port(taken).start().await.unwrap_err();
    assert!(matches!(error, Error::PortTaken { port } if port == taken), "{error}");
}

#[tokio::test]
async fn a_release_that_does_not_exist_is_told() {
    let cache = tempfile::tempdir().unwrap();
    let start = LocalCluster::builder().release("2099.1.0").cache_directory(cache.path()).start();
    let error = start.await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::UnknownRelease { .. }), "{text}");
    assert!(text.contains("2099.1.0") && text.contains(dask_local::NEWEST), "{text}");
    // Half an environment is not kept.
    let left: Vec<_> =
        std::fs::read_dir(cache.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().ends_with(".lock")), "{left:?}");
}

#[tokio::test]
async fn no_suitable_python_is_told() {
    let start = LocalCluster::builder().pythons(["/nonexistent/python3"]).search_pythons(false).start();
    let error = start.await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::NoPython { .. }), "{text}");
    assert!(text.contains("/nonexistent/python3") && text.contains("3.13"), "{text}");
}

#[tokio::test]
async fn child_only_named_pythons() {
    if !common::is_child() {
        return;
    }
    let error = LocalCluster::builder().search_pythons(false).start().await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/of-the-environment"), "{error}");
}

#[test]
fn the_variable_names_pythons() {
    if common::is_child() {
        return;
    }
    passes("child_only_named_pythons", &[("DASK_LOCAL_PYTHON", "/nonexistent/of-the-environment")]);
}

#[tokio::test]
async fn child_without_network() {
    if !common::is_child() {
        return;
    }
    let start = LocalCluster::builder().installer(Installer::Pip).start();
    let error = start.await.unwrap_err();
    assert!(matches!(error, Error::NoNetwork { .. }), "{error}");
    assert!(error.to_string().contains("PIP_INDEX_URL"), "{error}");
}

#[test]
fn an_index_that_cannot_be_reached_is_told() {
    if common::is_child() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    // Bound, so that nobody else is given it, and never listening.
    let unused = tokio::net::TcpSocket::new_v4().unwrap();
    unused.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let unused_address = unused.local_addr().unwrap();
    let index = format!("http://{unused_address}/simple");
    passes(
        "child_without_network",
        &[
            ("DASK_LOCAL_CACHE", cache.path().to_str().unwrap()),
            ("PIP_INDEX_URL", &index),
            ("PIP_RETRIES", "0"),
            ("PIP_CACHE_DIR", cache.path().join("pip").to_str().unwrap()),
        ],
    );
}

#[tokio::test]
async fn a_process_that_is_not_ready_in_time_is_told() {
    let start = LocalCluster::builder().process_deadline(Duration::from_millis(1)).start();
    let error = start.await.unwrap_err();
    assert!(matches!(error, Error::StartTimeout { .. }), "{error}");
}

#[tokio::test]
async fn a_process_that_ends_at_once_is_told_with_its_log() {
    let error = LocalCluster::builder().scheduler_args(["--no-such-option"]).start().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Exited { .. }), "{text}");
    assert!(text.contains("no-such-option"), "{text}");
}
