//! Bad input: each mistake is a typed error that names the thing and the next step, and nothing hangs.

use std::time::Duration;

use dask_client::{Client, ErrorKind, Future, Graph, TlsConfig, Verify, py, python};
use dask_live_tests::{PATIENCE, TestCluster, releases};
use dask_local::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn failure_of(address: &str) -> dask_client::Error {
    failure_within(address, Duration::from_secs(20)).await
}

async fn failure_within(address: &str, limit: Duration) -> dask_client::Error {
    let connect = Client::builder().address(address).connect_timeout(limit).connect();
    tokio::time::timeout(PATIENCE, connect)
        .await
        .expect("connecting hangs")
        .expect_err("connected to nothing")
}

fn says(error: &dask_client::Error, kind: ErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{text:?} lacks one of {words:?}");
}

/// A server that reads what comes and answers with these bytes.
async fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                if stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                    drop(stream.write_all(answer).await);
                }
                // Stays open, so that only its words can give it away.
                drop(stream.read(&mut buffer).await);
            });
        }
    });
    address
}

#[tokio::test]
async fn addresses_that_lead_nowhere() {
    says(&failure_of("http://127.0.0.1:8787").await, ErrorKind::Config, &["dashboard", "tcp://"]);
    says(
        &failure_of("tcp://no-such-host.invalid:8786").await,
        ErrorKind::Connect,
        &["no-such-host.invalid", "resolv"],
    );
    // Bound, so that nobody else is given it, and never listening.
    let unused = tokio::net::TcpSocket::new_v4().unwrap();
    unused.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let free = unused.local_addr().unwrap();
    says(
        &failure_of(&free.to_string()).await,
        ErrorKind::Connect,
        &["nothing listens", &free.port().to_string()],
    );
    says(&failure_of(&format!("tls://{free}")).await, ErrorKind::Connect, &["nothing listens"]);
}

#[tokio::test]
async fn ports_that_are_not_dask() {
    let http = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    says(&failure_of(&http).await, ErrorKind::NotDask, &["HTTP", "8786"]);
    let tls = answering(&[0x15, 3, 3, 0, 2, 2, 70]).await;
    says(&failure_of(&tls).await, ErrorKind::NotDask, &["tls://"]);
    let silent = answering(b"").await;
    says(&failure_within(&silent, Duration::from_secs(4)).await, ErrorKind::NotDask, &["says nothing"]);
    let websocket = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.replace("tcp", "ws");
    says(&failure_of(&websocket).await, ErrorKind::NotDask, &["WebSocket"]);
}

#[tokio::test]
async fn servers_of_dask_that_are_no_scheduler() {
    for release in releases() {
        let start = TestCluster::start_with(&release, Protocol::Tcp, |builder| {
            builder.workers(0).worker(dask_local::WorkerSpec::new().nanny(true))
        });
        let cluster = start.await.unwrap();
        let client = cluster.client().connect().await.unwrap();
        let info = client.scheduler_info().await.unwrap();
        let scheduler = cluster.cluster.address();
        for (address, worker) in &info.workers {
            let error = failure_of(address).await;
            says(&error, ErrorKind::NotDask, &[address, "is a Dask worker", "its scheduler is", &scheduler]);
            if let Some(nanny) = &worker.nanny {
                says(&failure_of(nanny).await, ErrorKind::NotDask, &[nanny, "is a Dask nanny", "scheduler"]);
            }
        }
        assert!(info.workers.values().any(|worker| worker.nanny.is_some()), "{info:?}");
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_closes_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    says(&failure_of(&address).await, ErrorKind::ConnectionLost, &["closed"]);
}

#[tokio::test]
async fn graphs_that_cannot_run_and_futures_of_a_closed_client() {
    for release in releases() {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        let client = cluster.client().connect().await.unwrap();

        let mut graph = Graph::new();
        let (a, b) = (graph.declare("a"), graph.declare("b"));
        graph.add(py("operator:neg").arg(&b).key(a.key().clone()));
        graph.add(py("operator:neg").arg(&a).key(b.key().clone()));
        let error = client.compute::<_, i64>(graph, a.clone()).await.unwrap_err();
        says(&error, ErrorKind::Graph, &["cycle", &a.key().to_string(), "->"]);

        let mut graph = Graph::new();
        let ghost = graph.declare("ghost");
        let haunted = graph.add(py("operator:neg").arg(&ghost));
        let error = client.compute::<_, i64>(graph, haunted).await.unwrap_err();
        says(&error, ErrorKind::Graph, &[&ghost.key().to_string(), "neither"]);

        let mut graph = Graph::new();
        graph.add(py("operator:neg").arg(1).key("same"));
        let twice = graph.add(py("operator:neg").arg(2).key("same"));
        let error = client.compute::<_, i64>(graph, twice).await.unwrap_err();
        says(&error, ErrorKind::Graph, &["two tasks", "same"]);

        let error = client.call::<i64>(py("not a name")).await.unwrap_err();
        says(&error, ErrorKind::Config, &["not a name", "module:name"]);

        // A result of another type than asked for.
        let error = client.call::<i64>(py("builtins:str").arg(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{error}");

        // A wait has an end, and its task can still be waited for.
        let gate = cluster.modules.path().join("gate");
        let wait = python("import os, time\nwhile not os.path.exists(path): time.sleep(0.02)");
        let wait = wait.kwarg("path", gate.display().to_string());
        let slow: Future<()> = client.submit(wait).await.unwrap();
        let error = slow.result().deadline(Duration::from_millis(100)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        std::fs::write(gate, "").unwrap();
        slow.result().await.unwrap();

        let future: Future<i64> = client.submit(py("operator:add").args((1, 2))).await.unwrap();
        let other = client.clone();
        client.close().await;
        let error = future.result().await.unwrap_err();
        says(&error, ErrorKind::Closed, &["closed"]);
        let error = other.call::<i64>(py("operator:add").args((1, 2))).await.unwrap_err();
        says(&error, ErrorKind::Closed, &["closed"]);
        cluster.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn tls_that_does_not_fit() {
    let cluster = TestCluster::start("2026.8.0", Protocol::Tls).await.unwrap();
    let tls = cluster.cluster.tls().unwrap().clone();
    let address = cluster.cluster.address();

    // Plain TCP to a TLS port, and no settings at all.
    says(&failure_of(&address.replace("tls://", "tcp://")).await, ErrorKind::NotDask, &["tls://"]);
    says(&failure_of(&address).await, ErrorKind::Config, &["CA"]);

    let connect = |tls: TlsConfig| {
        let builder = Client::builder().address(&address).connect_timeout(Duration::from_secs(20)).tls(tls);
        async move { builder.connect().await }
    };
    let with_ca = || TlsConfig::new().ca(tls.ca.clone());
    let right = || with_ca().cert(tls.cert.clone()).key(tls.key.clone());
    connect(right()).await.unwrap();
    connect(right().verify(Verify::Name)).await.unwrap();

    let error = connect(with_ca()).await.unwrap_err();
    says(&error, ErrorKind::Connect, &["client certificate"]);
    let error = connect(right().verify(Verify::Name).server_name("elsewhere.example")).await.unwrap_err();
    says(&error, ErrorKind::Connect, &["another name"]);
    let error = connect(right().verify(Verify::Pinned)).await.unwrap_err();
    says(&error, ErrorKind::Connect, &["not signed by the given CA"]);

    let other = TestCluster::start("2026.8.0", Protocol::Tls).await.unwrap();
    let foreign = other.cluster.tls().unwrap().clone();
    let error = connect(right().ca(foreign.ca.clone())).await.unwrap_err();
    says(&error, ErrorKind::Connect, &["not signed by the given CA"]);
    let error = connect(with_ca().cert(foreign.cert.clone()).key(foreign.key.clone())).await.unwrap_err();
    says(&error, ErrorKind::Connect, &["does not accept this client's certificate"]);
    let error = connect(right().key("/no/such/key")).await.unwrap_err();
    says(&error, ErrorKind::Config, &["/no/such/key"]);

    // TLS to a plain port.
    let plain = TestCluster::start("2026.8.0", Protocol::Tcp).await.unwrap();
    let address = plain.cluster.address().replace("tcp://", "tls://");
    let error = Client::builder().address(address).tls(right()).connect().await.unwrap_err();
    says(&error, ErrorKind::Connect, &["does not speak TLS"]);
    drop((cluster, other, plain));
}
