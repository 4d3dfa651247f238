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

use common::{Peer, Run, cluster, dead_port, lonely_scheduler, program, run, run_on, same_as_kept};
use dask_local::{LocalCluster, Protocol};

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
    let mut slow = run_on(&cluster, &["call", "time:sleep", "20", "--timeout", "3s"]);
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

/// As [`shown`], with a name for a file that lies elsewhere each time.
fn shown_of(mut run: Run, file: &std::path::Path, name: &str) -> String {
    let path = file.to_str().unwrap();
    for text in [&mut run.command, &mut run.stdout, &mut run.stderr] {
        *text = text.replace(path, name);
    }
    shown(&run)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor() {
    let at = |port: u16| format!("tcp://127.0.0.1:{port}");
    same_as_kept("doctor_refused", &shown(&run(&["doctor", &at(dead_port()), "--timeout", "3s"])));
    same_as_kept("doctor_http", &shown(&run(&["doctor", &at(Peer::Http.listen()), "--timeout", "3s"])));
    same_as_kept("doctor_silent", &shown(&run(&["doctor", &at(Peer::Silent.listen()), "--timeout", "2s"])));
    let cluster = cluster("2026.8.0").await;
    same_as_kept("doctor_well", &shown(&run_on(&cluster, &["doctor"])));
    cluster.pause_worker(0).await.unwrap();
    let mut hanging = run_on(&cluster, &["doctor", "--timeout", "10s"]);
    // Of two workers either may be the first in a list.
    hanging.stdout = hanging.stdout.replace(&cluster.workers()[0].address, "tcp://127.0.0.1:1");
    same_as_kept("doctor_degraded", &shown(&hanging));
    same_as_kept("ill_worker", &shown(&run_on(&cluster, &["probe", "ready", "--timeout", "10s"])));
    cluster.resume_worker(0).await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_that_is_not_agreed_on() {
    let cluster = lonely_scheduler("2026.8.0", Protocol::Tls).await;
    let address = cluster.address();
    let tls = cluster.tls().unwrap();
    let ca = tls.ca.to_str().unwrap();
    let args = ["versions", "-s", &address, "--timeout", "3s"];
    same_as_kept("tls_no_settings", &shown(&run(&args)));
    let certless = run(&[&args[..], &["--tls-ca-file", ca]].concat());
    same_as_kept("tls_no_client_certificate", &shown_of(certless, &tls.ca, "ca.pem"));
    let directory = tempfile::tempdir().unwrap();
    let stranger = directory.path().join("stranger.pem");
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&stranger, certificate.cert.pem()).unwrap();
    let wrong = run_on(&cluster, &["versions", "--tls-ca-file", stranger.to_str().unwrap()]);
    same_as_kept("tls_wrong_ca", &shown_of(wrong, &stranger, "stranger.pem"));
    let missing = run_on(&cluster, &["versions", "--tls-ca-file", "/no/such/ca.pem"]);
    same_as_kept("tls_no_ca_file", &shown(&missing));
    let plain = run(&["versions", "-s", &address.replace("tls://", "tcp://"), "--timeout", "10s"]);
    same_as_kept("plain_to_tls", &shown(&plain));

    let clear = lonely_scheduler("2026.8.0", Protocol::Tcp).await;
    let mut command = program();
    command.args(["versions", "--timeout", "3s"]);
    command.env("DASK_SCHEDULER_ADDRESS", clear.address().replace("tcp://", "tls://"));
    command.env("DASK_DISTRIBUTED__COMM__TLS__CA_FILE", &tls.ca);
    let reverse = common::finish(command, "versions --timeout 3s".to_owned());
    same_as_kept("tls_to_plain", &shown(&reverse));
    clear.stop().await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_a_cluster() {
    let cluster = cluster("2026.8.0").await;
    let first = cluster.workers()[0].address.clone();
    let mut crossed = run_on(&cluster, &["bench", "--tasks", "3", "--warmup", "0s", "--fail-if", "p99>1ns"]);
    // The figures differ each time, and the line before the error tells them.
    crossed.stdout.clear();
    crossed.stderr = crossed.stderr.lines().last().map(|line| format!("{line}\n")).unwrap();
    same_as_kept("crossed_threshold", &shown(&crossed));

    let directory = tempfile::tempdir().unwrap();
    let module = directory.path().join("module.py");
    std::fs::write(&module, "def f():\n    return 1\n").unwrap();
    let upload = |module: &std::path::Path| run_on(&cluster, &["upload", module.to_str().unwrap()]);
    same_as_kept("upload", &shown_of(upload(&module), &module, "module.py"));
    let broken = directory.path().join("broken.py");
    std::fs::write(&broken, "def f(:\n").unwrap();
    same_as_kept("upload_broken", &shown_of(upload(&broken), &broken, "broken.py"));
    same_as_kept("upload_no_file", &shown(&upload(std::path::Path::new("/no/such/file.py"))));

    same_as_kept(
        "retire_stranger",
        &shown_of(
            run_on(&cluster, &["retire", "tcp://10.0.0.1:1"]),
            std::path::Path::new(&first),
            "tcp://127.0.0.1:1",
        ),
    );
    same_as_kept("retire", &shown(&run_on(&cluster, &["retire", &first])));
    let taken = run(&["local", "up", "--port", &cluster.port().to_string()]);
    let mut taken = taken;
    taken.command = "local up --port PORT".to_owned();
    taken.stderr = taken.stderr.replace(&cluster.port().to_string(), "PORT");
    same_as_kept("port_taken", &shown(&taken));
    let exporter =
        run(&["export", "--listen", &format!("127.0.0.1:{}", cluster.port()), "-s", "tcp://127.0.0.1:1"]);
    same_as_kept("export_port_taken", &shown(&exporter));
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_kills_its_workers() {
    let builder = LocalCluster::builder().release("2026.8.0").workers(1).nanny(true);
    let cluster = builder.config("distributed.scheduler.allowed-failures", "0").start().await.unwrap();
    let killed = run_on(&cluster, &["call", "os:_exit", "1", "--timeout", "60s"]);
    assert_eq!(killed.code, 6, "{killed:#?}");
    same_as_kept("killed_worker", &shown(&killed));
    cluster.stop().await.unwrap();
}
