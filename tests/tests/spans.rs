//! Every call opens a span with its op, and with a key where there is one; every request one with its op and its peer.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dask_client::{Client, Data, Direct, Feature, Future, Gathered, Graph, py};
use dask_live_tests::{PATIENCE, TestCluster, releases};
use dask_local::{Protocol, WorkerSpec};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

type Fields = BTreeMap<&'static str, String>;

/// Remembers spans by their number.
#[derive(Clone, Default)]
struct Recorder {
    next: Arc<AtomicU64>,
    spans: Arc<Mutex<BTreeMap<u64, (&'static str, Fields)>>>,
}

struct Visitor<'f>(&'f mut Fields);

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.name().starts_with("dask.")
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut fields = Fields::new();
        span.record(&mut Visitor(&mut fields));
        self.spans.lock().unwrap().insert(number, (span.metadata().name(), fields));
        Id::from_u64(number)
    }
    fn record(&self, span: &Id, values: &Record<'_>) {
        if let Some((_, fields)) = self.spans.lock().unwrap().get_mut(&span.into_u64()) {
            values.record(&mut Visitor(fields));
        }
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Recorder {
    /// What was opened since the last call.
    fn take(&self) -> Vec<(&'static str, Fields)> {
        std::mem::take(&mut *self.spans.lock().unwrap()).into_values().collect()
    }

    /// Says of the spans since the last call that there is one of this name with these fields.
    #[track_caller]
    fn expect(&self, release: &str, expected: &[(&str, &[(&str, &str)])]) -> Vec<(&'static str, Fields)> {
        let spans = self.take();
        for (name, fields) in expected {
            let fits = |found: &Fields| {
                fields.iter().all(|(field, value)| found.get(field).map(String::as_str) == Some(*value))
            };
            let found = spans.iter().any(|(found, has)| found == name && fits(has));
            assert!(found, "{release}: no span {name} {fields:?} among {spans:#?}");
        }
        spans
    }
}

#[tokio::test]
async fn calls_and_requests_open_spans() {
    for release in releases() {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        let recorder = Recorder::default();
        // The test's runtime has one thread, so the client's tasks are seen, too.
        let _guard = tracing::subscriber::set_default(recorder.clone());
        let address = cluster.cluster.address();
        let client = cluster.client().direct(Direct::Never).connect().await.unwrap();
        recorder.expect(
            &release,
            &[
                ("dask.connect", &[("peer", &address)]),
                ("dask.rpc", &[("op", "versions"), ("peer", &address)]),
            ],
        );

        let future: Future<i64> =
            client.submit(py("operator:add").args((1, 2)).key("the-sum")).await.unwrap();
        recorder.expect(
            &release,
            &[
                ("dask.submit", &[("key", "the-sum"), ("tasks", "1")]),
                ("dask.rpc", &[("op", "register-client"), ("peer", &address)]),
            ],
        );
        future.finished().await.unwrap();
        recorder.expect(&release, &[("dask.wait", &[("key", "the-sum")])]);
        client.wait(std::slice::from_ref(&future)).await.unwrap();
        recorder.expect(&release, &[("dask.wait", &[("key", "the-sum"), ("keys", "1")])]);
        future.result().await.unwrap();
        let fetched: &[(&str, &str)] =
            &[("key", "the-sum"), ("keys", "1"), ("direct", "0"), ("relayed", "1")];
        let spans = recorder.expect(
            &release,
            &[("dask.gather", fetched), ("dask.rpc", &[("op", "gather"), ("peer", &address)])],
        );
        let bytes = spans.iter().find(|(name, _)| *name == "dask.gather").unwrap().1["bytes"].parse::<u64>();
        assert!(bytes.unwrap() > 0);
        client.gather(std::slice::from_ref(&future)).await.unwrap();
        recorder.expect(&release, &[("dask.gather", fetched)]);
        let mut stream = client.as_completed([future.clone()]);
        stream.next().await.unwrap().1.unwrap();
        recorder.expect(&release, &[("dask.gather", fetched)]);

        client.call::<i64>(py("operator:add").args((1, 2)).key("called")).await.unwrap();
        recorder.expect(
            &release,
            &[
                ("dask.call", &[("key", "called")]),
                ("dask.submit", &[("key", "called")]),
                ("dask.gather", &[("key", "called")]),
            ],
        );
        let mut graph = Graph::new();
        let node = graph.add(py("operator:add").args((1, 2)).key("node"));
        client.compute::<_, i64>(graph, node).await.unwrap();
        recorder.expect(
            &release,
            &[("dask.submit", &[("key", "node"), ("tasks", "1")]), ("dask.gather", &[("key", "node")])],
        );
        let data: Future<Gathered> = client.scatter(Data::value(&[1, 2])).await.unwrap();
        let key = data.key().to_string();
        recorder.expect(
            &release,
            &[("dask.scatter", &[("key", &key), ("keys", "1")]), ("dask.rpc", &[("op", "scatter")])],
        );
        client.detach(&future, "left").await.unwrap();
        client.attach::<i64>("left").await.unwrap();
        recorder.expect(
            &release,
            &[
                ("dask.detach", &[("key", "the-sum"), ("name", "left")]),
                ("dask.attach", &[("key", "the-sum"), ("name", "left")]),
                ("dask.rpc", &[("op", "variable_set")]),
                // A request that waits at the scheduler.
                ("dask.rpc", &[("op", "variable_get"), ("peer", &address), ("name", "left")]),
            ],
        );
        let slow: Future<()> = client.submit(py("time:sleep").arg(0.5).key("slow")).await.unwrap();
        slow.cancel().await.unwrap();
        let spans = recorder.expect(&release, &[("dask.cancel", &[("key", "slow"), ("keys", "1")])]);
        let by_request = spans.iter().any(|(_, fields)| fields.get("op").is_some_and(|op| op == "cancel"));
        assert_eq!(by_request, !client.dialect().has(Feature::CancelOnStream));

        keeps_and_moves(&client, &recorder, &release).await;
        shares_and_looks(&client, &recorder, &release).await;

        // Straight from and to workers.
        let direct = cluster.client().direct(Direct::Always).connect().await.unwrap();
        let there: Future<Gathered> = direct.scatter(Data::value(&[3, 4])).await.unwrap();
        there.result().await.unwrap();
        let peer = direct
            .has_what(Vec::<String>::new())
            .await
            .unwrap()
            .into_iter()
            .find(|(_, keys)| keys.contains(there.key()));
        let peer = peer.unwrap().0;
        recorder.expect(
            &release,
            &[
                ("dask.rpc", &[("op", "update_data"), ("peer", &peer)]),
                ("dask.rpc", &[("op", "get_data"), ("peer", &peer)]),
                ("dask.gather", &[("direct", "1"), ("relayed", "0")]),
            ],
        );
        direct.close().await;

        cluster.cluster.kill_scheduler().await.unwrap();
        cluster.cluster.restart_scheduler().await.unwrap();
        cluster.cluster.add_worker(WorkerSpec::new().name("later")).await.unwrap();
        let again = async {
            while client.statistics().reconnects == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, again).await.expect("not connected again");
        recorder.expect(&release, &[("dask.reconnect", &[("peer", &address), ("attempt", "1")])]);
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

async fn keeps_and_moves(client: &Client, recorder: &Recorder, release: &str) {
    let failed: Future<f64> =
        client.submit(py("operator:truediv").args((1, 0)).key("by-zero")).await.unwrap();
    let other: Future<f64> =
        client.submit(py("operator:truediv").args((2, 0)).key("by-zero-2")).await.unwrap();
    failed.exception().await.unwrap().unwrap();
    other.exception().await.unwrap().unwrap();
    client.retry([&failed, &other]).await.unwrap();
    recorder.expect(
        release,
        &[
            ("dask.stream", &[("op", "update-graph")]),
            ("dask.wait", &[("key", "by-zero")]),
            ("dask.retry", &[("key", "by-zero"), ("keys", "2")]),
            ("dask.rpc", &[("op", "retry")]),
        ],
    );
    drop((failed, other));

    let future: Future<i64> = client.submit(py("operator:add").args((3, 4)).key("moved")).await.unwrap();
    client.replicate([&future], None, &[]).await.unwrap();
    client.rebalance([&future]).await.unwrap();
    client.who_has([&future]).await.unwrap();
    client.nbytes([&future]).await.unwrap();
    let forgotten: Future<()> = client.submit(py("time:sleep").arg(1).key("forgotten")).await.unwrap();
    client.fire_and_forget([&forgotten]).await.unwrap();
    recorder.expect(
        release,
        &[
            ("dask.replicate", &[("key", "moved"), ("keys", "1")]),
            ("dask.rebalance", &[("key", "moved"), ("keys", "1")]),
            ("dask.who_has", &[("key", "moved"), ("keys", "1")]),
            ("dask.nbytes", &[("key", "moved"), ("keys", "1")]),
            ("dask.fire_and_forget", &[("key", "forgotten"), ("keys", "1")]),
            ("dask.stream", &[("op", "client-desires-keys"), ("key", "forgotten"), ("keys", "1")]),
        ],
    );
    drop(future);
    let released = async {
        let is_it = |(name, fields): &(&str, Fields)| {
            *name == "dask.stream"
                && fields.get("op").is_some_and(|op| op == "client-releases-keys")
                && fields.get("key").is_some_and(|key| key == "moved")
        };
        while !recorder.take().iter().any(is_it) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, released).await.expect("no span of the release");
}

async fn shares_and_looks(client: &Client, recorder: &Recorder, release: &str) {
    let future: Future<i64> = client.submit(py("operator:add").args((5, 6)).key("shared")).await.unwrap();
    let variable = client.variable("a-variable");
    variable.set(&future).await.unwrap();
    variable.get::<i64>(PATIENCE).await.unwrap();
    let queue = client.queue("a-queue", 0).await.unwrap();
    for _ in 0..3 {
        queue.put(&future, None).await.unwrap();
    }
    queue.get::<i64>(PATIENCE).await.unwrap();
    queue.get_many::<i64>(1, PATIENCE).await.unwrap();
    queue.get_all::<i64>().await.unwrap();
    client.publish("a-dataset", &[&future]).await.unwrap();
    client.dataset("a-dataset").await.unwrap().unwrap();
    client.unpublish("a-dataset").await.unwrap();
    client.lock("a-lock").acquire(PATIENCE).await.unwrap().release().await.unwrap();
    let spans = recorder.expect(
        release,
        &[
            ("dask.variable_set", &[("key", "shared"), ("name", "a-variable")]),
            ("dask.variable_get", &[("key", "shared"), ("name", "a-variable")]),
            ("dask.queue_put", &[("key", "shared"), ("name", "a-queue")]),
            ("dask.queue_get", &[("key", "shared"), ("name", "a-queue"), ("items", "1")]),
            ("dask.rpc", &[("op", "queue_put"), ("name", "a-queue")]),
            ("dask.publish", &[("key", "shared"), ("keys", "1"), ("name", "a-dataset")]),
            ("dask.dataset", &[("key", "shared"), ("keys", "1"), ("name", "a-dataset")]),
        ],
    );
    let gets = spans.iter().filter(|(name, _)| *name == "dask.queue_get").count();
    assert_eq!(gets, 3, "{release}: {spans:#?}");
    assert!(spans.iter().any(|(_, fields)| fields.get("name").is_some_and(|name| name == "a-lock")));

    let running: Future<()> = client.submit(py("time:sleep").arg(2).key("running")).await.unwrap();
    client.diagnose(running.key()).await.unwrap();
    client.call_stack(Some(&[running.key().clone()])).await.unwrap();
    recorder.expect(
        release,
        &[
            ("dask.diagnose", &[("key", "running")]),
            ("dask.call_stack", &[("key", "running"), ("keys", "1")]),
        ],
    );
    if client.dialect().request(dask_wire::Peer::Scheduler, "get_story").is_ok() {
        client.story(&[running.key().clone()]).await.unwrap();
        recorder.expect(release, &[("dask.story", &[("key", "running"), ("keys", "1")])]);
    }
    let call = py("only_on_workers:Account").arg(1).actor().key("account");
    let made: Future<()> = client.submit(call).await.unwrap();
    let account = client.actor(&made).await.unwrap();
    account.call::<i64>("deposit").arg(2).await.unwrap();
    account.attribute::<i64>("balance").await.unwrap();
    recorder.expect(
        release,
        &[
            ("dask.actor", &[("key", "account")]),
            ("dask.actor_call", &[("key", "account"), ("method", "deposit")]),
            ("dask.actor_attribute", &[("key", "account"), ("attribute", "balance")]),
        ],
    );
}
