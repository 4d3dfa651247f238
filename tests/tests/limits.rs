//! What bounds a client: room for work, deadlines over all steps, transfers that stall, connections.

use std::future::Future as StdFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dask_client::{Client, Data, Direct, ErrorKind, Future, Gathered, Graph, Reconnect, py, python_module};
use dask_live_tests::fake::{self, Caller, Liar};
use dask_live_tests::{PATIENCE, TestCluster, releases};
use dask_local::Protocol;
use dask_wire::{Payload, Value};
use serde::{Serialize, Serializer};
use tokio::sync::watch;

async fn patiently<T>(what: &str, work: impl StdFuture<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(value) => value,
        Err(_) => panic!("{what} hangs"),
    }
}

#[tokio::test]
async fn a_scheduler_that_does_not_read_is_not_flooded() {
    // It registers a client and never reads again.
    let address = fake::scheduler(
        |_| None,
        |caller| async move {
            let _held = caller;
            std::future::pending::<()>().await;
        },
    )
    .await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let client = Client::builder()
        .address(address)
        .max_unsent_bytes(1 << 20)
        .room_timeout(Duration::from_millis(300))
        .rpc_timeout(Duration::from_secs(1))
        // The network is patient, too.
        .tcp_timeout(Duration::from_secs(3600))
        .connect()
        .await
        .unwrap();
    let large = "x".repeat(256 << 10);
    let mut futures: Vec<Future<i64>> = Vec::new();
    // Far more than what the network buffers.
    let error = patiently("the flood", async {
        for _ in 0..1000 {
            match client.submit(py("builtins:len").arg(&large)).await {
                Ok(future) => futures.push(future),
                Err(error) => return error,
            }
        }
        panic!("250 MB are queued")
    })
    .await;
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    assert!(error.to_string().contains("max_unsent_bytes"), "{error}");
    let call = client.call::<i64>(py("builtins:len").arg(&large)).deadline(Duration::from_millis(300));
    let error = patiently("the call", call.into_future()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    // Nor does anybody try for ever to send it when the client is gone: only the scheduler's end of the stream is left.
    drop((client, futures));
    patiently("the end", async {
        while tasks() > before + 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn every_step_is_within_the_deadline() {
    let cluster = TestCluster::start("2026.8.0", Protocol::Tcp).await.unwrap();
    let builder = cluster.client().max_outstanding(1).room_timeout(Duration::from_millis(300));
    let client = builder.connect().await.unwrap();
    let sleeping: Future<()> = client.submit(py("time:sleep").arg(600)).await.unwrap();
    let full = |error: dask_client::Error| {
        assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
        assert!(error.to_string().contains("max_outstanding"), "{error}");
    };
    full(patiently("submit", client.submit::<i64>(py("os:getpid"))).await.unwrap_err());
    let call = client.call::<i64>(py("os:getpid")).deadline(Duration::from_millis(500));
    full(patiently("call", call.into_future()).await.unwrap_err());
    let mut graph = Graph::new();
    let node = graph.add(py("os:getpid"));
    let compute = client.compute::<_, i64>(graph, node).deadline(Duration::from_millis(500));
    full(patiently("compute", compute.into_future()).await.unwrap_err());
    assert_eq!(client.statistics().futures, 1);
    // Room that is made in time is used.
    let (_, pid) = patiently("room", async {
        tokio::join!(sleeping.cancel(), client.call::<i64>(py("os:getpid")).deadline(PATIENCE).into_future())
    })
    .await;
    pid.unwrap();
    client.close().await;
    cluster.cluster.stop().await.unwrap();
}

#[tokio::test]
async fn who_waits_for_several_learns_of_each_by_its_key() {
    let cluster = TestCluster::start("2026.8.0", Protocol::Tcp).await.unwrap();
    let client = cluster.client().connect().await.unwrap();
    let mut futures: Vec<Future<()>> = Vec::new();
    for _ in 0..4 {
        // No worker offers that.
        futures.push(client.submit(py("time:sleep").arg(0).resource("UNICORN", 1.0)).await.unwrap());
    }
    let each = patiently("each", client.gather(&futures).deadline(Duration::from_millis(500)).each()).await;
    for (future, result) in futures.iter().zip(each) {
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.key()), (ErrorKind::Timeout, Some(future.key())), "{error}");
        assert!(
            error.to_string().contains(&future.key().to_string()) && error.diagnosis().is_some(),
            "{error}"
        );
    }
    let mut stream = client.as_completed(futures.clone()).deadline(Duration::from_millis(500));
    let mut seen = 0;
    while let Some((future, result)) = patiently("the stream", stream.next()).await {
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.key()), (ErrorKind::Timeout, Some(future.key())), "{error}");
        seen += 1;
    }
    assert_eq!(seen, 4);
    // One that fails is not kept waiting for by the others.
    let failing: Future<()> = client.submit(py("operator:truediv").args((1, 0))).await.unwrap();
    let both = [futures[3].clone(), failing.clone()];
    let error = patiently("gather", client.gather(&both).into_future()).await.unwrap_err();
    assert_eq!(error.key(), Some(failing.key()), "{error}");
    client.close().await;
    cluster.cluster.stop().await.unwrap();
}

/// An input of which every third cannot be sent.
#[derive(Clone, Copy)]
struct Input(usize);

impl Serialize for Input {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 3 {
            0 => Err(serde::ser::Error::custom("no such value")),
            _ => self.0.serialize(serializer),
        }
    }
}

#[tokio::test]
async fn maps_pull_no_more_than_they_may_and_end_in_time() {
    let cluster = TestCluster::start("2026.8.0", Protocol::Tcp).await.unwrap();
    let client = cluster.client().connect().await.unwrap();
    let pulled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pulled);
    let inputs = (0..300).map(move |n| {
        count.fetch_add(1, Ordering::Relaxed);
        Input(n)
    });
    let mut results = client.map::<i64, _>(py("operator:neg"), inputs).in_flight(8).as_completed();
    let (mut given, mut refused) = (0, 0);
    while let Some((Input(n), result)) = patiently("the map", results.next()).await {
        let ahead = pulled.load(Ordering::Relaxed) - given;
        assert!(ahead <= 8, "{ahead} are pulled and not given out");
        given += 1;
        match result {
            Ok(negative) => assert_eq!(negative, -(n as i64)),
            Err(error) => {
                assert_eq!((error.kind(), n % 3), (ErrorKind::Encode, 0), "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!((given, refused), (300, 100));

    // Without end, read slowly: there is always a result to give out.
    let mut endless = client.map::<i64, _>(py("operator:neg"), 0u64..).in_flight(50);
    endless = endless.deadline(Duration::from_secs(1));
    let mut endless = endless.as_completed();
    patiently("an endless map", async {
        while endless.next().await.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    client.close().await;
    cluster.cluster.stop().await.unwrap();
}

/// A value that takes long to be written, all that time without a byte.
const SLOW: &str = "
import time

class Slow:
    def __reduce__(self):
        time.sleep(9)
        return (int, (7,))

def make():
    return Slow()
";

#[tokio::test]
async fn results_may_take_longer_than_a_request() {
    for release in releases() {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        for direct in [Direct::Never, Direct::Always] {
            let builder = cluster.client().rpc_timeout(Duration::from_secs(4)).direct(direct);
            let client = builder.connect().await.unwrap();
            let slow: Future<Gathered> = client.submit(python_module(SLOW, "make")).await.unwrap();
            let result = patiently("the result", async { slow.result().await }).await;
            result.unwrap_or_else(|error| panic!("{release} {direct:?}: {error}"));
            client.close().await;
        }
        cluster.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn waiting_for_a_connection_is_not_a_worker_out_of_reach() {
    let cluster = TestCluster::start("2026.8.0", Protocol::Tcp).await.unwrap();
    let client = cluster.client().connections(1).direct(Direct::Always).connect().await.unwrap();
    let future: Future<Gathered> = client
        .submit(py("operator:mul").args((dask_client::pickle::PyBytes("ab".into()), 1000)))
        .await
        .unwrap();
    future.finished().await.unwrap();
    let (ran, result) = patiently("both", async {
        // The one connection is taken for longer than a worker may take to be reached.
        tokio::join!(client.run(py("time:sleep").arg(3)).into_future(), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            future.result().await
        })
    })
    .await;
    let _: std::collections::BTreeMap<String, Result<(), _>> = ran.unwrap();
    result.unwrap();
    assert_eq!((client.statistics().results_direct, client.statistics().results_relayed), (1, 0));
    client.close().await;
    cluster.cluster.stop().await.unwrap();
}

/// A gathered reply of the bytes of one result.
fn gathered(key: Value<'static>) -> Value<'static> {
    let data: Value<'_> = [(key, Payload::bytes("the first"))].into_iter().collect();
    [("status", Value::from("OK")), ("data", data)].into_iter().collect()
}

/// Tells that the first task of each graph is done, and under which key.
async fn all_done(mut caller: Caller, keys: &watch::Sender<Vec<Value<'static>>>, done: usize) {
    while let Some(message) = caller.next().await {
        let value = message.value().unwrap();
        for op in value.as_array().unwrap_or_default() {
            if op.get("op").and_then(Value::as_str) != Some("update-graph") {
                continue;
            }
            let key = op.get("keys").unwrap().as_array().unwrap()[0].clone().into_owned();
            keys.send_modify(|keys| keys.push(key.clone()));
            if keys.borrow().len() <= done {
                let done: Value<'_> = [("op", "key-in-memory".into()), ("key", key)].into_iter().collect();
                caller.send(&Value::Array(vec![done])).await;
            }
        }
    }
}

#[tokio::test]
async fn a_scheduler_that_collects_for_long_is_asked_even_when_no_connection_is_free() {
    let (keys, first) = watch::channel(Vec::<Value<'static>>::new());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let answer = move |op: String, mut caller: Caller| {
        let (first, asked) = (first.clone(), Arc::clone(&count));
        async move {
            if op == "ncores" {
                asked.fetch_add(1, Ordering::SeqCst);
                caller.send(&Value::Map(Vec::new())).await;
            } else {
                assert_eq!(op, "gather");
                // Until it was asked twice whether it is there.
                while asked.load(Ordering::SeqCst) < 2 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                let key = first.borrow()[0].clone();
                caller.send(&gathered(key)).await;
            }
            Some(caller)
        }
    };
    let keys = Arc::new(keys);
    let stream = move |caller| {
        let keys = Arc::clone(&keys);
        async move { all_done(caller, &keys, 1).await }
    };
    let address = Liar::new("2026.8.0").listen_and_answer(answer, stream).await;
    let builder = Client::builder().address(address).direct(Direct::Never).connections(1);
    let client = builder.rpc_timeout(Duration::from_secs(1)).connect().await.unwrap();
    let _: Gathered = patiently("the result", client.call(py("builtins:bytes")).into_future()).await.unwrap();
    assert!(asked.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn a_result_that_comes_after_its_deadline_is_not_taken_for_another() {
    let (keys, first) = watch::channel(Vec::<Value<'static>>::new());
    let (release, released) = watch::channel(false);
    let answer = move |_: String, mut caller: Caller| {
        let (first, mut released) = (first.clone(), released.clone());
        async move {
            drop(released.wait_for(|released| *released).await);
            let key = first.borrow()[0].clone();
            caller.send(&gathered(key)).await;
            Some(caller)
        }
    };
    let keys = Arc::new(keys);
    let stream = move |caller| {
        let keys = Arc::clone(&keys);
        async move { all_done(caller, &keys, 1).await }
    };
    let address = Liar::new("2026.8.0").listen_and_answer(answer, stream).await;
    let client = Client::builder().address(address).direct(Direct::Never).connect().await.unwrap();
    let slow: Future<Gathered> = client.submit(py("builtins:bytes")).await.unwrap();
    patiently("the first", slow.finished()).await.unwrap();
    let mut stream = client.as_completed([slow]).deadline(Duration::from_millis(100));
    let (_, late) = patiently("the deadline", stream.next()).await.unwrap();
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
    // One that is never done comes in its place.
    let open: Future<Gathered> = client.submit(py("builtins:bytes").arg(1)).await.unwrap();
    stream.push(open);
    release.send_replace(true);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (_, result) = patiently("the second", stream.next()).await.unwrap();
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(patiently("the end", stream.next()).await.is_none());
}

#[tokio::test]
async fn a_result_that_vanishes_is_not_waited_for_beyond_the_deadline() {
    let keys = Arc::new(watch::Sender::new(Vec::new()));
    let stream = move |caller| {
        let keys = Arc::clone(&keys);
        async move { all_done(caller, &keys, 1).await }
    };
    // It has the first result, it says, but never gives it; and says nothing of it when asked.
    let reply = |op: &str| {
        let gone: Value<'_> =
            [("status", Value::from("error")), ("keys", Value::Array(Vec::new()))].into_iter().collect();
        (op == "gather").then_some(gone)
    };
    let address = fake::scheduler(reply, stream).await;
    let builder = Client::builder().address(address).direct(Direct::Never);
    let client = builder.connect().await.unwrap();
    let vanished: Future<Gathered> = client.submit(py("builtins:bytes")).await.unwrap();
    patiently("the first", vanished.finished()).await.unwrap();
    let open: Future<Gathered> = client.submit(py("builtins:bytes").arg(1)).await.unwrap();
    let futures = [vanished, open];
    let each = client.gather(&futures).deadline(Duration::from_millis(100)).each();
    let each = tokio::time::timeout(PATIENCE, each).await.expect("it waits beyond its deadline");
    for (future, result) in futures.iter().zip(each) {
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.key()), (ErrorKind::Timeout, Some(future.key())), "{error}");
    }
}

#[tokio::test]
async fn times_too_long_for_a_clock_are_no_limit() {
    let streams = Arc::new(AtomicUsize::new(0));
    let stream = move |mut caller: Caller| {
        let first = streams.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            caller.next().await;
            if !first {
                while caller.next().await.is_some() {}
            }
        }
    };
    let reply = |op: &str| match op {
        "queue_create" => Some(Value::Nil),
        "queue_get" => Some([("type", "msgpack"), ("value", "x")].into_iter().collect()),
        "get_task_status" => None,
        _ => Some([("tcp://10.0.0.1:1", 1)].into_iter().collect()),
    };
    let address = fake::scheduler(reply, stream).await;
    let long = Duration::MAX;
    let mut reconnect = Reconnect::default();
    reconnect.within = long;
    let builder = Client::builder().address(address).connect_timeout(long).rpc_timeout(long);
    let builder = builder.heartbeat(long).room_timeout(long).tcp_timeout(long).reconnect(reconnect);
    let client = patiently("connecting", builder.connect()).await.unwrap();
    assert_eq!(patiently("workers", client.wait_for_workers(1, long)).await.unwrap(), 1);
    let scatter = client.scatter::<i64>(Data::value(&1)).timeout(long);
    // Held, so that the first thing on the stream is the task.
    let _scattered = patiently("sending", scatter.into_future()).await.unwrap();
    let future: Future<i64> = client.submit(py("operator:add").args((1, 2))).await.unwrap();
    let lost = patiently("the loss", future.result().deadline(long).into_future()).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Lost, "{lost}");
    // Reached again.
    let again: Future<i64> =
        patiently("the next", client.submit(py("operator:add").args((1, 2)))).await.unwrap();
    assert_eq!(client.statistics().reconnects, 1);
    let queue = client.queue("q", 0).await.unwrap();
    let items = patiently("items", queue.get_many::<String>(2, long)).await.unwrap();
    assert_eq!(items.len(), 2);
    drop(again);
    patiently("closing", client.close()).await;
}
