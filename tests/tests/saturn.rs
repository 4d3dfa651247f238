//! Saturn Cloud, as far as it can be tested without an account: the emulator proves itself with the Python package as it
//! was published, and this project's crate with the same requests.

use std::collections::BTreeSet;
use std::time::Duration;

use dask_client::{Data, Future, Provisioner, py};
use dask_live_tests::PATIENCE;
use dask_local::LocalCluster;
use saturn_cloud::emulator::{Emulator, Recorded};
use saturn_cloud::{
    Backoff, ClusterBuilder, ClusterOptions, Component, Error, Resource, SaturnCluster, Status, Verification,
};

const SOON: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));

fn builder(emulator: &Emulator) -> ClusterBuilder {
    SaturnCluster::builder(emulator.settings().unwrap()).backoff(SOON)
}

/// Requests as they have to look.
#[derive(Debug, PartialEq)]
struct Shapes {
    /// Those that do something, in their order, without repetition.
    steps: Vec<String>,
    /// Those that only look. Python makes them whenever it shows a cluster, and asks for sizes after a reset, where this
    /// crate asks before it destroys anything: when and how often does not matter.
    looks: BTreeSet<String>,
}

/// The requests about a cluster and the one that took its place.
fn shapes(requests: &[Recorded], first: &str, second: &str) -> Shapes {
    let (looks, mut steps): (Vec<_>, Vec<_>) = requests
        .iter()
        // dask-saturn has never heard of it: it tells this crate how far the parts of a starting cluster are.
        .filter(|request| !request.path.ends_with("/runtimesummary"))
        .map(|request| request.shape(first).replace(second, "{second}"))
        .partition(|shape| shape.starts_with("GET ") && !shape.contains("/info?is_external=true"));
    steps.dedup();
    Shapes { steps, looks: looks.into_iter().collect() }
}

/// The whole life of a cluster by a published dask-saturn, then by this project's crate, and the requests of both.
async fn both(version: &str, project: bool) -> (Shapes, serde_json::Value) {
    // One environment for the client and, as at the service, for the cluster.
    let package = format!("dask-saturn=={version}");
    let emulator = Emulator::builder()
        .release("2.30.1")
        .packages([&package])
        .warning("this cluster is emulated")
        .start()
        .unwrap();
    let python = LocalCluster::builder()
        .release("2.30.1")
        .workers(0)
        .extra_packages([&package])
        .start()
        .await
        .unwrap();
    let script = include_str!("saturn.py");
    let args = [emulator.url(), emulator.token(), emulator.project_id()];
    let output = python.run_python_within(script, &args, 5 * PATIENCE).await.unwrap();
    python.stop().await.unwrap();
    assert_eq!(output.code, 0, "{}\n{}\n{:#?}", output.stdout, output.stderr, emulator.requests());
    let said: serde_json::Value = serde_json::from_str(output.stdout.trim().lines().last().unwrap()).unwrap();
    assert_eq!(said["version"], version);
    assert_eq!((&said["total"], &said["status"]), (&285.into(), &"running".into()), "{said}");
    assert_eq!((&said["after_reset"], &said["first_status"]), (&9.into(), &"closed".into()), "{said}");
    let theirs = emulator.requests();

    let mut description = builder(&emulator);
    if project {
        description = description.project_id(emulator.project_id());
    }
    let description = description
        .n_workers(2)
        .worker_size("large")
        .scheduler_size("medium")
        .nthreads(1)
        .worker_is_spot(false);
    let cluster = description.start().await.unwrap();
    let client = cluster.connect().await.unwrap();
    let mut total = 0;
    for n in 0..10 {
        total += client.call::<i64>(py("operator:mul").args((n, n))).await.unwrap();
    }
    assert_eq!(total, 285);
    let health = client.health(PATIENCE).await.unwrap();
    assert_eq!(health.len(), 2);
    assert!(
        health.iter().all(|(worker, health)| worker.starts_with("tcp://") && health.is_ok()),
        "{health:?}"
    );
    client.close().await;
    cluster.scale(1).await.unwrap();
    cluster.adapt(1, 2).await.unwrap();
    assert_eq!(cluster.status().await.unwrap(), Status::Running);
    assert!(cluster.scheduler_info().await.unwrap().contains_key("workers"));
    let first = cluster.id().to_owned();
    let options = ClusterOptions::new()
        .n_workers(1)
        .worker_size("medium")
        .scheduler_size("medium")
        .nthreads(1)
        .worker_is_spot(false);
    let cluster = cluster.reset(options).start().await.unwrap();
    let client = cluster.connect().await.unwrap();
    assert_eq!(client.call::<i64>(py("operator:mul").args((3, 3))).await.unwrap(), 9);
    client.close().await;
    let second = cluster.id().to_owned();
    assert_ne!(second, first);
    let legacy = cluster.saturn().legacy(project.then(|| emulator.project_id()));
    assert_eq!(legacy.status(&first).await.unwrap(), Status::Closed);
    cluster.close().await.unwrap();

    let ours = emulator.requests();
    let id = |name: &str| said[name].as_str().unwrap();
    let ours = shapes(&ours[theirs.len()..], &first, &second);
    let theirs = shapes(&theirs, id("first"), id("second"));
    assert_eq!(theirs, ours);
    // The sizes; the first cluster's status, by its own word and by its process's, and its scheduler.
    assert_eq!(ours.looks.len(), 4, "{:#?}", ours.looks);
    assert!(ours.steps.iter().any(|step| step.contains("/reset?")), "{:#?}", ours.steps);
    // Both came by the proxy: with the cluster's name, no protocol, and a certificate of their own.
    // (One that Python was just opening when it closed its client has said nothing yet.)
    let connections: Vec<_> =
        emulator.connections().into_iter().filter(|connection| connection.client.is_some()).collect();
    assert!(connections.len() >= 2, "{connections:?}");
    for connection in connections {
        assert!(
            connection.server_name.is_some_and(|name| name.starts_with("d-")),
            "{:?}",
            connection.refused
        );
        assert_eq!((connection.protocols.len(), connection.refused), (0, None));
        assert!(connection.client.is_some_and(|name| name.starts_with("CN=Dask Client ")));
    }
    emulator.stop().await;
    (ours, said)
}

#[tokio::test]
async fn dask_saturn_0_2_2_and_this_crate_make_the_same_requests() {
    let (requests, said) = both("0.2.2", true).await;
    let log = said["log"].as_array().unwrap();
    let line = |text: &str| log.iter().any(|line| line.as_str().unwrap().contains(text));
    assert!(line("this cluster is emulated") && line("Cluster is ready"), "{log:?}");
    // The line of the story: {'tcp://…': {'status': 'OK'}}
    assert!(line("{'tcp://127.0.0.1:") && line("{'status': 'OK'}"), "{log:?}");
    assert!(requests.steps.iter().any(|request| request.contains("project_id")), "{requests:#?}");
}

#[tokio::test]
async fn dask_saturn_0_4_4_and_this_crate_make_the_same_requests() {
    let (requests, said) = both("0.4.4", false).await;
    assert!(said["log"].as_array().unwrap().iter().any(|line| line == "Success!"), "{said}");
    let mut all = requests.steps.iter().chain(&requests.looks);
    assert!(all.all(|request| request.contains("version=0.4.4")), "{requests:#?}");
}

#[tokio::test]
async fn the_public_api_brings_up_the_newest_release() {
    let emulator = Emulator::builder().start().unwrap();
    let cluster = builder(&emulator)
        .resource(Resource::Workspace(emulator.workspace_id().to_owned()))
        .n_workers(1)
        .nthreads(1)
        .verification(Verification::Name)
        .start()
        .await
        .unwrap();
    let health = cluster.health(PATIENCE).await.unwrap();
    assert_eq!(health.len(), 1);
    let client = cluster.connect().await.unwrap();
    cluster.scale(2).await.unwrap();
    cluster.wait_for_workers(&client, 2, PATIENCE).await.unwrap();
    let error = cluster.wait_for_workers(&client, 3, Duration::from_millis(10)).await.unwrap_err();
    assert!(matches!(error, Error::TooFewWorkers { have: 2, want: 3, .. }), "{error}");
    // Several wishes in a row end with the last one.
    for n in [3, 1, 2] {
        cluster.scale(n).await.unwrap();
    }
    let settled = async {
        let mut in_a_row = 0;
        while in_a_row < 10 {
            let count = client.scheduler_info().await.unwrap().workers.len();
            in_a_row = if count == 2 { in_a_row + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.unwrap();
    let logs = cluster.logs(Some(Component::Scheduler), 1000).await.unwrap();
    assert!(logs.lines.iter().any(|line| line.content.contains("Scheduler at")), "{logs:?}");
    // Each connection has a certificate of its own.
    let requests = emulator.requests();
    assert_eq!(requests.iter().filter(|request| request.csr.is_some()).count(), 2);
    client.close().await;
    cluster.close().await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_dies_is_told_from_one_that_cannot_be_reached() {
    let emulator = Emulator::builder().start().unwrap();
    let cluster = builder(&emulator).n_workers(1).start().await.unwrap();
    let client = cluster.connect().await.unwrap();
    client.scheduler_info().await.unwrap();
    emulator.kill_clusters();
    let error = loop {
        match client.scheduler_info().await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => break error,
        }
    };
    let error = cluster.diagnose(error).await;
    assert!(matches!(error, Error::ClusterDied { status: Status::Error, .. }), "{error}");
}

/// The scheduler's name resolves here as everywhere, and the workers' plain addresses could be dialled: as on a network
/// where somebody else has them.
#[tokio::test]
async fn all_data_goes_through_the_scheduler() {
    for release in ["2.30.1", dask_local::NEWEST] {
        let emulator = Emulator::builder().release(release).host("localhost").start().unwrap();
        let cluster = builder(&emulator).n_workers(2).nthreads(1).start().await.unwrap();
        assert_eq!(cluster.address().host(), "localhost");
        let client = cluster.connect().await.unwrap();
        cluster.wait_for_workers(&client, 2, PATIENCE).await.unwrap();
        let sent: Future = client.scatter(Data::bytes(vec![7; 1 << 20])).await.unwrap();
        let size: i64 = client.call(py("builtins:len").arg(&sent)).await.unwrap();
        assert_eq!(size, 1 << 20);
        let made: Future<Vec<u8>> = client.submit(py("builtins:bytes").arg(1 << 20)).await.unwrap();
        assert_eq!(made.result().await.unwrap().len(), 1 << 20);
        let actor: Future<()> = client.submit(py("collections:deque").arg([1, 2, 1]).actor()).await.unwrap();
        let actor = client.actor(&actor).await.unwrap();
        assert_eq!(actor.call::<i64>("count").arg(1).await.unwrap(), 2);
        let counts = client.statistics();
        assert_eq!((counts.results_direct, counts.sent_direct), (0, 0), "{counts:?}");
        assert!(counts.results_relayed > 0 && counts.sent_relayed > 0, "{counts:?}");
        // Not even if it is asked for: what is encrypted as far as the scheduler is nowhere sent in plain text.
        let direct = cluster.client_builder().await.unwrap().direct(dask_client::Direct::Always);
        let direct = direct.connect().await.unwrap();
        let made: Future<Vec<u8>> = direct.submit(py("builtins:bytes").arg(1 << 20)).await.unwrap();
        assert_eq!(made.result().await.unwrap().len(), 1 << 20);
        let counts = direct.statistics();
        assert_eq!((counts.results_direct, counts.sent_direct), (0, 0), "{counts:?}");
        direct.close().await;
        client.close().await;
        cluster.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_connects_again_has_another_certificate() {
    let lifetime = Duration::from_secs(10);
    let emulator = Emulator::builder().certificate_lifetime(lifetime).start().unwrap();
    let cluster = builder(&emulator).n_workers(1).nthreads(1).start().await.unwrap();
    let client = cluster.connect().await.unwrap();
    cluster.wait_for_workers(&client, 1, PATIENCE).await.unwrap();
    let certificates = || emulator.requests().iter().filter(|request| request.csr.is_some()).count();
    assert!(certificates() >= 1);
    // The stream to the scheduler begins with the first task.
    assert_eq!(client.call::<i64>(py("operator:add").args((1, 1))).await.unwrap(), 2);
    // The first one is of no use any more.
    tokio::time::sleep(lifetime + Duration::from_secs(1)).await;
    let before = certificates();
    emulator.drop_connections();
    let answered = async {
        loop {
            match client.call::<i64>(py("operator:add").args((1, 2))).await {
                Ok(three) => break three,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, answered).await.unwrap(), 3);
    assert!(certificates() > before);
    let counted = async {
        while client.statistics().reconnects != 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap();
    // Connections for further requests are opened with a certificate that still holds.
    tokio::time::sleep(lifetime + Duration::from_secs(1)).await;
    let before = certificates();
    let many = (0..4).map(|_| client.scheduler_info());
    for answer in futures::future::join_all(many).await {
        assert_eq!(answer.unwrap().workers.len(), 1);
    }
    assert!(certificates() > before);
    client.close().await;
    cluster.close().await.unwrap();
}

/// Written against the traits alone.
async fn three_by(provisioner: Box<dyn Provisioner>) {
    let cluster = provisioner.provision().await.unwrap();
    assert!(cluster.address().contains("://"));
    let client = cluster.connect().await.unwrap();
    let three: i64 = client.call(py("operator:add").args((1, 2))).await.unwrap();
    assert_eq!(three, 3);
    cluster.scale(2).await.unwrap();
    let two = async {
        while client.scheduler_info().await.unwrap().workers.len() != 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, two).await.unwrap();
    client.close().await;
    cluster.close().await.unwrap();
}

#[tokio::test]
async fn local_and_saturn_clusters_are_used_alike() {
    let emulator = Emulator::builder().start().unwrap();
    three_by(Box::new(LocalCluster::builder().protocol(dask_local::Protocol::Tls))).await;
    three_by(Box::new(builder(&emulator).n_workers(1).nthreads(1))).await;
    assert_eq!(emulator.clusters()[0].1, Status::Closed);
}
