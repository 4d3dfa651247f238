//! What failures print, word by word, kept in `messages/`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test fails by panic"
)]

mod common;

use common::{Peer, Run, cluster, dead_port, lonely_scheduler, run, run_on, same_as_kept};
use dask_local::Protocol;

/// A run as text: exit code, stdout, stderr.
fn shown(run: &Run) -> String {
    format!("$ dask-rs {}\n[{}]\n--- stdout\n{}--- stderr\n{}", run.command, run.code, run.stdout, run.stderr)
}

#[test]
fn without_a_cluster() {
    same_as_kept("no_address", &shown(&run(&["versions"])));
    same_as_kept("dashboard_address", &shown(&run(&["versions", "-s", "http://127.0.0.1:8787"])));
    same_as_kept("unknown_scheme", &shown(&run(&["versions", "-s", "udp://127.0.0.1:8786"])));
    same_as_kept("bad_duration", &shown(&run(&["versions", "--timeout", "soon"])));
    same_as_kept("bad_threshold", &shown(&run(&["bench", "-s", "tcp://127.0.0.1:1", "--fail-if", "p99"])));
    same_as_kept("bad_kwargs", &shown(&run(&["call", "a:b", "--kwargs", "{", "-s", "tcp://127.0.0.1:1"])));
    same_as_kept("no_graph_file", &shown(&run(&["graph", "/no/such/file.json", "-s", "tcp://127.0.0.1:1"])));
}

#[test]
fn where_no_dask_is() {
    let at = |port: u16| format!("tcp://127.0.0.1:{port}");
    let versions = |address: &str| run(&["versions", "-s", address, "--timeout", "2s"]);
    same_as_kept("refused", &shown(&versions(&at(dead_port()))));
    same_as_kept("silent", &shown(&versions(&at(Peer::Silent.listen()))));
    same_as_kept("http", &shown(&versions(&at(Peer::Http.listen()))));
    same_as_kept("tls_port", &shown(&versions(&at(Peer::Tls.listen()))));
    same_as_kept("closes", &shown(&versions(&at(Peer::Closes.listen()))));
    let live = run(&["probe", "live", "-s", &at(dead_port()), "-o", "json"]);
    same_as_kept("probe_refused", &shown(&live));
    let nagios = run(&["probe", "ready", "--format", "nagios", "-s", &at(dead_port())]);
    same_as_kept("probe_refused_nagios", &shown(&nagios));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_cluster() {
    let cluster = cluster("2026.8.0").await;
    same_as_kept("task_exception", &shown(&run_on(&cluster, &["call", "operator:truediv", "1", "0"])));
    same_as_kept("unknown_module", &shown(&run_on(&cluster, &["call", "no_such_module:thing", "1"])));
    same_as_kept("no_callable", &shown(&run_on(&cluster, &["call", "add", "1"])));
    // What follows the first line says what the task is doing at that moment.
    let mut slow = run_on(&cluster, &["call", "time:sleep", "20", "--timeout", "1s"]);
    assert!(slow.stderr.contains("  next "), "{slow:#?}");
    slow.stderr = slow.stderr.lines().take(1).map(|line| format!("{line}\n")).collect();
    same_as_kept("slow_task", &shown(&slow));
    same_as_kept("unknown_task", &shown(&run_on(&cluster, &["task", "ghost"])));
    same_as_kept("restart_without_terminal", &shown(&run_on(&cluster, &["restart"])));
    same_as_kept("too_few_workers", &shown(&run_on(&cluster, &["probe", "ready", "--min-workers", "5"])));
    let workers = run_on(&cluster, &["workers", "-o", "json"]).json();
    let worker = workers[0]["address"].as_str().unwrap();
    same_as_kept("worker_address", &shown(&run(&["call", "operator:add", "1", "2", "-s", worker])));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cycle.json");
    let cycle = r#"{"tasks": {"a": {"call": "operator:neg", "args": [{"$ref": "b"}]},
        "b": {"call": "operator:neg", "args": [{"$ref": "a"}]}}, "outputs": ["a"]}"#;
    std::fs::write(&path, cycle).unwrap();
    let mut cycle = run_on(&cluster, &["graph", path.to_str().unwrap()]);
    cycle.command = "graph cycle.json".to_owned();
    same_as_kept("cycle", &shown(&cycle));
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_scheduler_without_workers() {
    let cluster = lonely_scheduler("2.30.1", Protocol::Tcp).await;
    same_as_kept("no_workers", &shown(&run_on(&cluster, &["health"])));
    same_as_kept("not_in_this_release", &shown(&run_on(&cluster, &["events"])));
    cluster.stop().await.unwrap();
}
