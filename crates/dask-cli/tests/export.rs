//! `dask-rs export`: metrics over one session, through the scheduler's death and return, on the ends of history.

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

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use common::{cluster, first_line, program, releases, run_on};
use dask_local::LocalCluster;
use serde_json::Value as Json;

fn get(place: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(place).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {place}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn has(metrics: &str, line: &str) -> bool {
    metrics.lines().any(|found| found == line)
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_survive_the_scheduler() {
    for release in releases() {
        let cluster = cluster(&release).await;
        serves(&cluster).await;
        cluster.stop().await.unwrap();
    }
}

async fn serves(cluster: &LocalCluster) {
    let mut exporter = program()
        .args(["export", "--listen", "127.0.0.1:0", "--max-age", "1ms", "--timeout", "5s", "-o", "json"])
        .env("DASK_SCHEDULER_ADDRESS", cluster.address())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let (line, _output) = first_line(&mut exporter);
    let ready: Json = serde_json::from_str(&line).unwrap();
    let place = ready["metrics"].as_str().unwrap().strip_prefix("http://").unwrap();
    let place = place.strip_suffix("/metrics").unwrap().to_owned();

    // A task that stays, so that there is something to count: old and new releases count in different ways.
    let holder = cluster
        .run_python(
            "import os, operator\nfrom distributed import Client\n\
             c = Client(os.environ['DASK_LOCAL_SCHEDULER'])\n\
             f = c.submit(operator.add, 1, 2, key='kept-1')\nf.result()\n\
             c.publish_dataset(kept=f)\n",
            &[],
        )
        .await
        .unwrap();
    holder.ok().unwrap();

    let metrics = get(&place, "/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    for line in ["dask_up 1", "# EOF"] {
        assert!(has(&metrics, line), "{line} in {metrics}");
    }
    // Old releases do not tell the status of workers.
    let workers = |status: &str| has(&metrics, &format!("dask_workers{{status=\"{status}\"}} 2"));
    assert!(workers("running") || workers("unknown"), "{metrics}");
    assert!(has(&metrics, "dask_tasks{name=\"kept\",state=\"memory\"} 1"), "{metrics}");
    assert!(metrics.contains("dask_worker_memory_bytes{"), "{metrics}");
    assert!(metrics.contains("dask_worker_executing{"), "{metrics}");
    assert!(get(&place, "/health").ends_with("ok\n"));
    assert!(get(&place, "/other").starts_with("HTTP/1.1 404"));

    cluster.kill_scheduler().await.unwrap();
    let down = get(&place, "/metrics");
    assert!(has(&down, "dask_up 0") && down.contains("dask_scrape_failures_total 1"), "{down}");
    cluster.restart_scheduler().await.unwrap();
    // Newer releases' workers have ended with it; the scheduler alone answers.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let back = get(&place, "/metrics");
        if has(&back, "dask_up 1") {
            assert!(back.contains("dask_scrape_failures_total"), "{back}");
            break;
        }
        assert!(Instant::now() < deadline, "{back}");
        std::thread::sleep(Duration::from_millis(100));
    }
    exporter.kill().unwrap();
    exporter.wait().unwrap();
    run_on(cluster, &["probe", "live"]).exits(0);
}
