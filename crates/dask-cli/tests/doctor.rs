//! `dask-rs doctor`: each step at which the way can end, and what is said there.

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

use common::{FullBacklog, Peer, Run, cluster, dead_port, lonely_scheduler, run, run_on};
use dask_local::Protocol;
use serde_json::Value as Json;

const NEWEST: &str = "2026.8.0";

fn doctor(address: &str, args: &[&str]) -> Run {
    run(&[&["doctor", address, "-o", "json", "--timeout", "3s"], args].concat())
}

/// The step at which it ended, after those before it went well.
fn ended_at(report: &Json) -> &str {
    let steps = report["steps"].as_array().unwrap();
    let (last, before) = steps.split_last().unwrap();
    assert_eq!(last["ok"], false, "{report}");
    assert!(before.iter().all(|step| step["ok"] == true), "{report}");
    assert!(!report["next"].as_array().unwrap().is_empty(), "{report}");
    last["step"].as_str().unwrap()
}

#[test]
fn where_there_is_no_scheduler() {
    let at = |port: u16| format!("tcp://127.0.0.1:{port}");
    let name = doctor("tcp://no-such-host.invalid:8786", &[]).exits(2).json();
    assert_eq!(ended_at(&name), "name");
    let refused = doctor(&at(dead_port()), &[]).exits(2).json();
    assert_eq!(ended_at(&refused), "tcp");
    assert!(refused["verdict"].as_str().unwrap().contains("nobody answers"), "{refused}");
    let full = FullBacklog::new();
    assert_eq!(ended_at(&doctor(&at(full.port()), &[]).exits(2).json()), "tcp");
    for peer in [Peer::Http, Peer::Tls, Peer::Closes, Peer::Silent] {
        let other = doctor(&at(peer.listen()), &[]).exits(3).json();
        assert_eq!(ended_at(&other), "handshake");
        assert!(other["verdict"].as_str().unwrap().contains("no Dask scheduler"), "{other}");
    }
    doctor("udp://127.0.0.1:1", &[]).exits(1);
    run(&["doctor"]).exits(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_when_its_certificate_ends() {
    let cluster = lonely_scheduler(NEWEST, Protocol::Tls).await;
    let report = run_on(&cluster, &["doctor", "-o", "json"]).exits(4).json();
    let steps = report["steps"].as_array().unwrap();
    let tls = steps.iter().find(|step| step["step"] == "tls").unwrap();
    let words = tls["words"].as_str().unwrap();
    assert!(words.starts_with("TLS 1.") && words.contains("expires in 36"), "{words}");
    assert_eq!(report["steps"].as_array().unwrap().last().unwrap()["words"], "there are none", "{report}");

    let directory = tempfile::tempdir().unwrap();
    let stranger = directory.path().join("stranger.pem");
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&stranger, certificate.cert.pem()).unwrap();
    let wrong = doctor(&cluster.address(), &["--tls-ca-file", stranger.to_str().unwrap()]).exits(2).json();
    assert_eq!(ended_at(&wrong), "tls");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_hangs_degrades_and_two_end_it() {
    for release in common::releases() {
        let cluster = cluster(&release).await;
        let well = run_on(&cluster, &["doctor", "-o", "json"]).exits(0).json();
        assert_eq!(well["verdict"], "usable", "{well}");
        cluster.pause_worker(0).await.unwrap();
        let worker = cluster.workers()[0].address.clone();
        let degraded = run_on(&cluster, &["doctor", "-o", "json", "--timeout", "10s"]).exits(0).json();
        assert_eq!(degraded["verdict"], "usable, degraded", "{degraded}");
        assert!(degraded["next"][0].as_str().unwrap().contains(&worker), "{degraded}");
        cluster.pause_worker(1).await.unwrap();
        let none = run_on(&cluster, &["doctor", "-o", "json", "--timeout", "10s"]).exits(4).json();
        assert_eq!(none["verdict"], "no worker executes anything", "{none}");
        cluster.resume_worker(0).await.unwrap();
        cluster.resume_worker(1).await.unwrap();
        cluster.stop().await.unwrap();
    }
}
