//! Connections to workers that have gone are closed. Alone in its file, since it counts what the process has open.

use std::time::Duration;

use dask_client::{Direct, Future, Gathered, py};
use dask_live_tests::{PATIENCE, TestCluster};
use dask_local::{Protocol, WorkerSpec};

fn open_sockets() -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

#[tokio::test]
async fn workers_that_come_and_go_leave_nothing_open() {
    let cluster = TestCluster::start("2026.8.0", Protocol::Tcp).await.unwrap();
    let client = cluster.client().direct(Direct::Always).connect().await.unwrap();
    let fetch = async |worker: &str| {
        let value = dask_client::pickle::PyBytes("ab".into());
        let call = py("operator:mul").args((value, 1000)).workers([worker]);
        let future: Future<Gathered> = client.submit(call).await.unwrap();
        future.result().deadline(PATIENCE).await.unwrap();
    };
    fetch("first").await;
    let (idle, sockets) = (client.statistics().idle_connections, open_sockets());
    for n in 0..4 {
        let name = format!("passing-{n}");
        let index = cluster.cluster.add_worker(WorkerSpec::new().name(name.as_str())).await.unwrap();
        fetch(&name).await;
        cluster.cluster.stop_worker(index).await.unwrap();
    }
    assert_eq!(client.statistics().results_direct, 5, "not from the workers themselves");
    let flat = async {
        while client.statistics().idle_connections > idle || open_sockets() > sockets {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, flat).await.is_err() {
        let now = (client.statistics().idle_connections, open_sockets());
        panic!("(idle, sockets) were {:?} and are {now:?}", (idle, sockets));
    }
    client.close().await;
    cluster.cluster.stop().await.unwrap();
}
