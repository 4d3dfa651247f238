//! `dask-rs probe` and `health` where something is wrong: which step was reached decides the exit code.

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

use common::{FullBacklog, Peer, cluster, dead_port, program, releases, run, run_on};
use serde_json::json;

/// Enough rounds that a race between two timers would show.
const ROUNDS: usize = 10;

#[test]
fn a_port_that_accepts_nobody_is_code_2() {
    let full = FullBacklog::new();
    let address = format!("tcp://127.0.0.1:{}", full.port());
    for round in 0..ROUNDS {
        let probe = if round % 2 == 0 { "live" } else { "ready" };
        let run = run(&["probe", probe, "-s", &address, "--timeout", "300ms"]).exits(2);
        assert!(run.stdout.contains("opening the TCP connection"), "{run:#?}");
    }
    let health = run(&["health", "-s", &address, "--timeout", "300ms"]).exits(2);
    assert!(health.stdout.is_empty() && health.stderr.contains("TCP connection"), "{health:#?}");
}

#[test]
fn a_tls_port_that_says_nothing_is_code_2_and_a_plain_one_code_3() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&ca, certificate.cert.pem()).unwrap();
    let port = Peer::Silent.listen();
    for _ in 0..ROUNDS {
        let address = format!("tls://127.0.0.1:{port}");
        let ca = ca.to_str().unwrap();
        let run = run(&["probe", "live", "-s", &address, "--tls-ca-file", ca, "--timeout", "300ms"]).exits(2);
        assert!(run.stdout.contains("the TLS handshake"), "{run:#?}");
    }
    for _ in 0..ROUNDS {
        let address = format!("tcp://127.0.0.1:{port}");
        let run = run(&["probe", "live", "-s", &address, "--timeout", "300ms"]).exits(3);
        assert!(run.stdout.contains("says nothing"), "{run:#?}");
    }
}

#[test]
fn quiet_probes_answer_by_exit_code_alone() {
    let address = format!("tcp://127.0.0.1:{}", dead_port());
    let text = run(&["probe", "live", "-q", "-s", &address]).exits(2);
    assert!(text.stdout.is_empty() && text.stderr.contains("nothing listens"), "{text:#?}");
    // Who asks for data gets data.
    let json = run(&["probe", "live", "-q", "-o", "json", "-s", &address]).exits(2);
    assert_eq!(json.json()["status"], "failing");
}

#[test]
fn nobody_who_reads_the_words_changes_no_exit_code() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut health = program();
    health.args(["health", "-s", &format!("tcp://127.0.0.1:{}", dead_port())]);
    assert_eq!(health.stdout(writer.try_clone().unwrap()).stderr(writer).status().unwrap().code(), Some(2));
}

#[test]
fn health_speaks_the_notations_of_probes() {
    let address = format!("tcp://127.0.0.1:{}", dead_port());
    let nagios = run(&["health", "--format", "nagios", "-s", &address]).exits(2);
    assert!(nagios.stdout.starts_with("DASK CRITICAL - cannot connect"), "{nagios:#?}");
    let nowhere = run(&["health", "--format", "nagios"]).exits(3);
    assert!(nowhere.stdout.starts_with("DASK UNKNOWN - "), "{nowhere:#?}");
    let metrics = run(&["health", "--format", "prometheus", "-s", &address]).exits(2);
    assert!(metrics.stdout.lines().any(|line| line == "dask_probe_success 0"), "{metrics:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_hangs_is_code_4_and_named() {
    for release in releases() {
        let cluster = cluster(&release).await;
        let workers: Vec<String> = cluster.workers().into_iter().map(|worker| worker.address).collect();
        let health = run_on(&cluster, &["health", "--format", "nagios"]).exits(0);
        assert!(
            health.stdout.starts_with("DASK OK - ") && health.stdout.contains("healthy=2;;;0;2"),
            "{health:#?}"
        );
        let health = run_on(&cluster, &["health", "--format", "prometheus"]).exits(0);
        let line = format!("dask_probe_worker_healthy{{worker=\"{}\"}} 1", workers[0]);
        assert!(health.stdout.lines().any(|found| found == line), "{line} in {health:#?}");
        let health = run_on(&cluster, &["health", "--format", "json", "-q"]).exits(0).json();
        assert_eq!(health[&workers[1]], json!({ "status": "OK" }));

        cluster.pause_worker(0).await.unwrap();
        for strict in [&["--strict-versions"][..], &[]] {
            let args = [&["probe", "ready", "-o", "json", "--timeout", "8s"], strict].concat();
            let ready = run_on(&cluster, &args).exits(4).json();
            assert!(ready["reason"].as_str().unwrap().contains(&workers[0]), "{ready}");
            assert!(!ready["reason"].as_str().unwrap().contains(&workers[1]), "{ready}");
            let check = |name: &str| {
                ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).cloned()
            };
            assert_eq!(check("all_execute").unwrap()["ok"], false, "{ready}");
            assert_eq!(check("versions").is_some(), !strict.is_empty(), "{ready}");
        }
        let health = run_on(&cluster, &["health", "-o", "json", "--timeout", "8s"]).exits(4);
        assert_eq!(health.json()[&workers[0]]["status"], "timeout", "{health:#?}");
        let versions = run_on(&cluster, &["versions", "-o", "json", "--timeout", "8s"]).exits(0).json();
        assert!(versions["silent"][&workers[0]].is_string(), "{versions}");
        assert!(versions["workers"][&workers[1]].is_object(), "{versions}");
        assert_eq!(health.json()[&workers[1]]["status"], "OK", "{health:#?}");
        let nagios = run_on(&cluster, &["health", "--format", "nagios", "--timeout", "8s"]).exits(2);
        assert!(nagios.stdout.starts_with("DASK CRITICAL - 1 of 2 workers"), "{nagios:#?}");
        // The scheduler itself can be asked all the same.
        run_on(&cluster, &["probe", "live", "--timeout", "20s"]).exits(0);
        run_on(
            &cluster,
            &["probe", "ready", "--scheduler-only", "--timeout", "20s", "--max-age-last-seen", "10m"],
        )
        .exits(0);
        cluster.resume_worker(0).await.unwrap();
        cluster.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_hangs_is_code_3_in_time() {
    let cluster = cluster("2026.8.0").await;
    cluster.pause_scheduler().await.unwrap();
    for args in [
        &["probe", "live", "--timeout", "1s"][..],
        &["probe", "ready", "--timeout", "1s"],
        &["health", "--timeout", "1s"],
        &["workers", "--timeout", "1s"],
        &["doctor", "--timeout", "1s"],
    ] {
        run_on(&cluster, args).exits(3);
    }
    cluster.resume_scheduler().await.unwrap();
    cluster.stop().await.unwrap();
}
