//! Shared state on the scheduler, among Rust clients and with Python's own client, both ways.
//!
//! Besides the two ends of history: 2020.12.0 (first with logged topics), 2021.3.1 (first with multi-locks), 2021.10.0
//! (first known one with subscriptions), 2024.4.2 (last known one with a lock of its own kind), 2024.11.0 (locks are
//! semaphores, variables are confirmed).

use std::collections::{BTreeMap, HashSet};
use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use dask_client::pickle::{Set, Value as Python};
use dask_client::{Dialect, ErrorKind, Feature, Future, Item, py};
use dask_live_tests::rounds::{another, over, python, releases_and};
use dask_live_tests::scenarios::{Outcome, Stage};
use dask_live_tests::{PATIENCE, TestCluster, checks, ensure, ensure_eq};
use dask_local::Protocol;
use futures::StreamExt;

/// Long enough for something that must not happen.
const A_WHILE: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_is_shared() {
    let releases = releases_and(&["2020.12.0", "2021.3.1", "2021.10.0", "2024.4.2", "2024.11.0"]);
    let settings = |builder: dask_local::ClusterBuilder| {
        builder
            .config("distributed.scheduler.locks.lease-timeout", "4s")
            .config("distributed.scheduler.locks.lease-validation-interval", "250ms")
    };
    let checks = checks![
        variables_hold_values,
        variables_hold_futures,
        queues_hand_out_each_item_once,
        queues_hand_out_many_items,
        queues_lose_nothing_to_abandoned_waits,
        events_wake_who_waits,
        semaphores_bound_who_holds_them,
        leases_are_refreshed_and_run_out,
        locks_exclude,
        abandoned_waits_give_locks_back,
        several_locks_at_once,
        datasets_outlive_their_client,
        metadata_is_a_tree,
        topics_are_logged_and_pushed,
        values_and_futures_pass_to_and_from_python,
        locks_exclude_python,
        several_locks_exclude_python,
        python_hears_what_is_logged,
        open_and_failed_futures_pass_to_python,
        open_and_failed_futures_come_from_python,
    ];
    over(releases, settings, checks).await;
}

#[tokio::test]
async fn subscriptions_outlive_a_scheduler() {
    for release in ["2021.10.0", "2026.8.0"] {
        let cluster = TestCluster::start(release, Protocol::Tcp).await.unwrap();
        let client = cluster.client().connect().await.unwrap();
        let mut topic = client.subscribe("topic").await.unwrap();
        cluster.cluster.restart_scheduler().await.unwrap();
        let mut number = 0;
        // The client comes back in its own time, and what is logged before is not heard.
        let event = loop {
            number += 1;
            drop(client.log_event("topic", &number).await);
            if let Ok(event) = tokio::time::timeout(A_WHILE, topic.next()).await {
                break event.expect("the subscription goes on");
            }
            assert!(number < 100, "{release}: nothing is heard");
        };
        assert!((1..=number).contains(&event.to::<i64>().unwrap()), "{release}: {event:?}");
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

fn kind<T>(outcome: Result<T, dask_client::Error>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind())
}

/// Whether the dialect has an op of the scheduler.
fn has(dialect: Dialect, op: &str) -> bool {
    dialect.request(dask_wire::Peer::Scheduler, op).is_ok()
}

async fn variables_hold_values(stage: &Stage) -> Outcome {
    let variable = stage.client.variable("value");
    ensure_eq!(kind(variable.get::<i64>(A_WHILE).await), Some(ErrorKind::Timeout));
    variable.set(&42).await?;
    ensure_eq!(variable.get::<i64>(PATIENCE).await?.into_value()?, 42);
    ensure_eq!(kind(variable.get::<String>(PATIENCE).await), Some(ErrorKind::Decode));
    ensure_eq!(kind(variable.get::<i64>(PATIENCE).await?.into_future()), Some(ErrorKind::Decode));
    let value = (1, "two", vec![3.5], BTreeMap::from([("four", Some(true)), ("five", None)]));
    variable.set(&value).await?;
    let found: (i64, String, Vec<f64>, BTreeMap<String, Option<bool>>) =
        another(stage).await?.variable("value").get(None).await?.into_value()?;
    ensure_eq!(found.0, 1);
    ensure_eq!(found.3.get("four"), Some(&Some(true)));
    // What msgpack lacks goes as a pickle.
    variable.set(&Set(vec![1, 2])).await?;
    ensure_eq!(variable.get::<HashSet<i64>>(None).await?.into_value()?, HashSet::from([1, 2]));
    variable.set(&serde_bytes::Bytes::new(&[0; 100_000])).await?;
    match variable.get::<Python>(None).await?.into_value()? {
        Python::Bytes(bytes) => ensure_eq!(bytes.len(), 100_000),
        other => return Err(format!("{other:?}").into()),
    }
    variable.delete().await?;
    // Deleting goes over the stream.
    for _ in 0..100 {
        if kind(variable.get::<Python>(Duration::from_millis(100)).await) == Some(ErrorKind::Timeout) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the variable is still there".into())
}

async fn variables_hold_futures(stage: &Stage) -> Outcome {
    let producer = another(stage).await?;
    let future: Future<i64> = producer.submit(py("operator:add").args((40, 2)).key("kept")).await?;
    producer.variable("future").set(&future).await?;
    producer.close().await;
    let variable = stage.client.variable("future");
    let found = variable.get::<i64>(None).await?;
    ensure!(matches!(&found, Item::Future(future) if future.key().to_string() == "kept"), "{found:?}");
    ensure_eq!(found.resolve().await?, 42);
    // A failed task's exception comes with its future.
    let failing: Future<i64> = stage.client.submit(py("operator:truediv").args((1, 0))).await?;
    variable.set(&failing).await?;
    drop(failing);
    let failed = variable.get::<i64>(None).await?.resolve().await;
    ensure_eq!(kind(failed), Some(ErrorKind::Task));
    // A future of another client, and one inside a value, are refused before anything is sent.
    let other = another(stage).await?;
    let foreign: Future<i64> = other.submit(py("operator:add").args((1, 1))).await?;
    ensure_eq!(kind(variable.set(&foreign).await), Some(ErrorKind::Config));
    let own: Future<i64> = stage.client.submit(py("operator:add").args((1, 1))).await?;
    ensure_eq!(kind(variable.set(&[&own]).await), Some(ErrorKind::Encode));
    variable.delete().await?;
    Ok(())
}

async fn queues_hand_out_each_item_once(stage: &Stage) -> Outcome {
    let queue = stage.client.queue("queue", 3).await?;
    let other = another(stage).await?;
    let same = other.queue("queue", 3).await?;
    ensure_eq!(kind(queue.get::<i64>(A_WHILE).await), Some(ErrorKind::Timeout));
    for number in 1..=3 {
        queue.put(&number, None).await?;
    }
    ensure_eq!(queue.size().await?, 3);
    ensure_eq!(kind(queue.put(&4, A_WHILE).await), Some(ErrorKind::Timeout));
    ensure_eq!(same.get::<i64>(PATIENCE).await?.into_value()?, 1);
    let future: Future<i64> = stage.client.submit(py("operator:mul").args((6, 7))).await?;
    queue.put(&future, None).await?;
    drop(future);
    ensure_eq!(queue.get::<i64>(None).await?.into_value()?, 2);
    let rest = same.get_all::<i64>().await?;
    ensure_eq!(rest.len(), 2);
    let mut rest = rest.into_iter();
    let mut next = async || rest.next().ok_or("nothing")?.resolve().await.map_err(|error| error.to_string());
    ensure_eq!(next().await?, 3);
    ensure_eq!(next().await?, 42);
    ensure_eq!(queue.get_all::<i64>().await?.len(), 0);
    queue.close().await?;
    same.close().await?;
    Ok(())
}

async fn queues_hand_out_many_items(stage: &Stage) -> Outcome {
    let queue = stage.client.queue("many", 0).await?;
    for number in 1..=4 {
        queue.put(&number, None).await?;
    }
    let numbers =
        |items: Vec<Item<i64>>| items.into_iter().map(Item::into_value).collect::<Result<Vec<_>, _>>();
    ensure_eq!(numbers(queue.get_many(3, None).await?)?, [1, 2, 3]);
    // What is there when the time is over, and nothing is no error.
    ensure_eq!(numbers(queue.get_many(3, A_WHILE).await?)?, [4]);
    ensure_eq!(queue.get_many::<i64>(3, A_WHILE).await?.len(), 0);
    ensure_eq!(queue.get_many::<i64>(0, None).await?.len(), 0);
    // Given up half-way: what was taken is put back.
    queue.put(&5, None).await?;
    drop(tokio::time::timeout(A_WHILE, queue.get_many::<i64>(2, None)).await);
    ensure_eq!(numbers(queue.get_many(1, PATIENCE).await?)?, [5]);
    Ok(())
}

async fn queues_lose_nothing_to_abandoned_waits(stage: &Stage) -> Outcome {
    let queue = stage.client.queue("abandoned", 0).await?;
    {
        // A wait that has reached the scheduler, and is then dropped.
        let get = queue.get::<i64>(None);
        drop(tokio::time::timeout(A_WHILE, get).await);
    }
    queue.put(&7, None).await?;
    ensure_eq!(queue.get::<i64>(PATIENCE).await?.into_value()?, 7);
    let future: Future<i64> = stage.client.submit(py("operator:sub").args((9, 1))).await?;
    drop(tokio::time::timeout(A_WHILE, queue.get::<i64>(None)).await);
    queue.put(&future, None).await?;
    drop(future);
    ensure_eq!(queue.get::<i64>(PATIENCE).await?.resolve().await?, 8);
    ensure_eq!(queue.size().await?, 0);
    Ok(())
}

async fn events_wake_who_waits(stage: &Stage) -> Outcome {
    let event = stage.client.event("event");
    ensure!(!event.is_set().await?, "set from the start");
    ensure_eq!(kind(event.wait(A_WHILE).await), Some(ErrorKind::Timeout));
    let other = another(stage).await?.event("event");
    let waiting = tokio::spawn(async move { other.wait(None).await });
    // Gives the wait time to begin; without it the event is just set already.
    tokio::time::sleep(A_WHILE).await;
    event.set().await?;
    waiting.await??;
    ensure!(event.is_set().await?, "not set");
    event.clear().await?;
    ensure!(!event.is_set().await?, "not cleared");
    Ok(())
}

async fn semaphores_bound_who_holds_them(stage: &Stage) -> Outcome {
    let other = another(stage).await?;
    let (ours, theirs) = (stage.client.semaphore("two", 2).await?, other.semaphore("two", 2).await?);
    ensure_eq!(kind(other.semaphore("two", 3).await), Some(ErrorKind::Rpc));
    let first = ours.acquire(PATIENCE).await?;
    let second = theirs.try_acquire().await?.ok_or("no second lease")?;
    ensure!(ours.try_acquire().await?.is_none(), "a third lease");
    ensure_eq!(kind(theirs.acquire(A_WHILE).await), Some(ErrorKind::Timeout));
    ensure_eq!(ours.value().await?, 2);
    let waiting = tokio::spawn(async move { (theirs.acquire(None).await, theirs) });
    tokio::time::sleep(A_WHILE).await;
    first.release().await?;
    let (third, theirs) = waiting.await?;
    let third = third?;
    drop((second, third));
    // Dropping releases in the background.
    for _ in 0..100 {
        if theirs.value().await? == 0 {
            theirs.close().await?;
            ensure_eq!(kind(ours.acquire(PATIENCE).await), Some(ErrorKind::Rpc));
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("dropped leases are not released".into())
}

async fn leases_are_refreshed_and_run_out(stage: &Stage) -> Outcome {
    let timeout = Duration::from_secs(4);
    let semaphore = stage.client.semaphore_with("short", 1, timeout).await?;
    let gone = another(stage).await?;
    let lost = gone.semaphore_with("short", 1, timeout).await?.acquire(PATIENCE).await?;
    // Closed first, it can neither refresh nor release.
    gone.close().await;
    let lease = semaphore.acquire(PATIENCE).await?;
    drop(lost);
    tokio::time::sleep(timeout * 2).await;
    ensure_eq!(semaphore.value().await?, 1);
    ensure!(lease.is_current(), "{lease:?}");
    ensure!(semaphore.try_acquire().await?.is_none(), "the lease ran out while it was held");
    lease.release().await?;
    ensure_eq!(semaphore.value().await?, 0);
    Ok(())
}

async fn locks_exclude(stage: &Stage) -> Outcome {
    let lock = stage.client.lock("lock");
    let tells = stage.client.dialect().has(Feature::LockIsSemaphore);
    let is_locked = async || match lock.is_locked().await {
        Err(error) if !tells && error.kind() == ErrorKind::NotAvailable => Ok(None),
        outcome => outcome.map(Some),
    };
    ensure_eq!(is_locked().await?, tells.then_some(false));
    let held = lock.acquire(PATIENCE).await?;
    ensure_eq!(is_locked().await?, tells.then_some(true));
    let other = another(stage).await?.lock("lock");
    ensure_eq!(kind(other.acquire(A_WHILE).await), Some(ErrorKind::Timeout));
    let waiting = tokio::spawn(async move { other.acquire(None).await });
    tokio::time::sleep(A_WHILE).await;
    ensure!(!waiting.is_finished(), "acquired twice");
    held.release().await?;
    let held = waiting.await??;
    drop(held);
    lock.acquire(PATIENCE).await?.release().await?;
    ensure_eq!(is_locked().await?, tells.then_some(false));
    Ok(())
}

async fn abandoned_waits_give_locks_back(stage: &Stage) -> Outcome {
    let lock = stage.client.lock("abandoned");
    for polls in 0..6 {
        let held = lock.acquire(PATIENCE).await?;
        {
            let mut waiting = pin!(lock.acquire(None));
            for _ in 0..polls {
                drop(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        held.release().await?;
        lock.acquire(PATIENCE).await?.release().await?;
    }
    Ok(())
}

async fn several_locks_at_once(stage: &Stage) -> Outcome {
    let both = stage.client.multi_lock(["a", "b"]);
    if !has(stage.client.dialect(), "multi_lock_acquire") {
        ensure_eq!(kind(both.acquire(None).await), Some(ErrorKind::NotAvailable));
        return Ok(());
    }
    ensure_eq!(kind(both.acquire_some(3, None).await), Some(ErrorKind::Config));
    let other = another(stage).await?;
    let held = both.acquire(PATIENCE).await?;
    let others = other.multi_lock(["b", "c"]);
    ensure_eq!(kind(others.acquire(A_WHILE).await), Some(ErrorKind::Timeout));
    others.acquire_some(1, PATIENCE).await?.release().await?;
    let waiting = tokio::spawn(async move { others.acquire(None).await });
    tokio::time::sleep(A_WHILE).await;
    held.release().await?;
    waiting.await??.release().await?;
    Ok(())
}

async fn datasets_outlive_their_client(stage: &Stage) -> Outcome {
    let producer = another(stage).await?;
    let futures: Vec<Future<i64>> = {
        let mut futures = Vec::new();
        for number in [30, 20, 10] {
            futures.push(producer.submit(py("operator:neg").arg(number)).await?);
        }
        futures
    };
    producer.publish("one", &futures[0]).await?;
    producer.publish("nested", &BTreeMap::from([("numbers", &futures)])).await?;
    producer.publish("plain", &(1, "text")).await?;
    ensure_eq!(kind(producer.publish("plain", &2).await), Some(ErrorKind::Rpc));
    producer.publish_over("plain", &2).await?;
    drop(futures);
    producer.close().await;
    let client = &stage.client;
    let mut names = client.datasets().await?;
    names.sort();
    ensure_eq!(names, ["nested", "one", "plain"]);
    let one = client.dataset("one").await?.ok_or("nothing")?;
    ensure_eq!(one.future::<i64>()?.result().await?, -30);
    let nested = client.dataset("nested").await?.ok_or("nothing")?;
    ensure_eq!(kind(nested.future::<i64>()), Some(ErrorKind::Decode));
    let mut results = Vec::new();
    for future in nested.futures() {
        results.push(future.clone().typed::<i64>().result().await?);
    }
    ensure_eq!(results, [-30, -20, -10]);
    ensure_eq!(client.dataset("plain").await?.ok_or("nothing")?.value::<i64>()?, 2);
    for name in names {
        client.unpublish(&name).await?;
    }
    client.unpublish("never published").await?;
    ensure!(client.dataset("one").await?.is_none(), "still there");
    ensure_eq!(client.datasets().await?.len(), 0);
    Ok(())
}

async fn metadata_is_a_tree(stage: &Stage) -> Outcome {
    let client = &stage.client;
    client.set_metadata(&["a", "b"], &1).await?;
    client.set_metadata(&["a", "c"], &["x", "y"]).await?;
    ensure_eq!(client.get_metadata::<i64>(&["a", "b"]).await?, Some(1));
    let all: Option<BTreeMap<String, Python>> = client.get_metadata(&["a"]).await?;
    ensure_eq!(all.map(|all| all.len()), Some(2));
    ensure_eq!(client.get_metadata::<i64>(&["a", "d"]).await?, None);
    ensure_eq!(client.get_metadata::<i64>(&["no", "such", "path"]).await?, None);
    ensure_eq!(kind(client.get_metadata::<i64>(&[]).await), Some(ErrorKind::Config));
    Ok(())
}

async fn topics_are_logged_and_pushed(stage: &Stage) -> Outcome {
    let client = &stage.client;
    if !has(client.dialect(), "log_event") {
        ensure_eq!(kind(client.log_event("topic", &1).await), Some(ErrorKind::NotAvailable));
        ensure_eq!(kind(client.subscribe("topic").await), Some(ErrorKind::NotAvailable));
        return Ok(());
    }
    client.log_event("topic", &("first", 1)).await?;
    let events = client.topic_events("topic").await?;
    ensure_eq!(events.len(), 1);
    ensure_eq!(events[0].to::<(String, i64)>()?, ("first".to_owned(), 1));
    ensure!(events[0].timestamp > 1e9, "{events:?}");
    if !client.dialect().has(dask_client::Feature::Topics) {
        ensure_eq!(kind(client.subscribe("topic").await), Some(ErrorKind::NotAvailable));
        return Ok(());
    }
    // Served in this order, so that what came to the second has come to the first.
    let mut again = client.subscribe_with("topic", 2).await?;
    let mut topic = client.subscribe("topic").await?;
    // The subscription goes over the stream and may come after what is logged next.
    let logger = another(stage).await?;
    let mut tries = 0;
    loop {
        logger.log_event("topic", &0).await?;
        if let Ok(Some(_)) = tokio::time::timeout(A_WHILE, topic.next()).await {
            break;
        }
        tries += 1;
        ensure!(tries < 100, "nothing is pushed");
    }
    for number in 1..=4 {
        logger.log_event("topic", &number).await?;
    }
    let mut seen = 0;
    while seen < 4 {
        let event = topic.next().await.ok_or("ended")?;
        ensure_eq!(event.lagged, 0);
        match event.to::<i64>()? {
            // One of the tries that came late.
            0 if seen == 0 => (),
            number => {
                seen += 1;
                ensure_eq!(number, seen);
            }
        }
    }
    let event = again.next().await.ok_or("ended")?;
    ensure_eq!(event.to::<i64>()?, 3);
    ensure!(event.lagged >= 3, "{event:?}");
    drop(topic);
    // One of two listeners left; the other goes on.
    logger.log_event("topic", &"last").await?;
    ensure_eq!(again.next().await.ok_or("ended")?.to::<i64>()?, 4);
    ensure_eq!(again.next().await.ok_or("ended")?.to::<String>()?, "last");
    // Python's messages arrive, and ours do there.
    python(stage, "client.log_event('topic', {'from': 'python', 'list': [1, 2]})\n").await?;
    let event = again.next().await.ok_or("ended")?;
    ensure_eq!(event.to::<BTreeMap<String, Python>>()?.len(), 2);
    client.log_event("to-python", &BTreeMap::from([("from", "rust")])).await?;
    let printed = python(stage, "print(client.get_events('to-python')[0][1]['from'])").await?;
    ensure_eq!(printed, "rust");
    // The end of the client ends its subscriptions.
    let short = another(stage).await?;
    let mut ending = short.subscribe("topic").await?;
    short.close().await;
    ensure!(ending.next().await.is_none(), "a message after the end");
    Ok(())
}

async fn values_and_futures_pass_to_and_from_python(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let future: Future<i64> = client.submit(py("operator:add").args((1, 2))).await?;
    client.variable("rust-value").set(&(1, "ü", [2.5])).await?;
    client.variable("rust-future").set(&future).await?;
    let queue = client.queue("rust-queue", 0).await?;
    queue.put(&BTreeMap::from([("n", 5)]), None).await?;
    queue.put(&Set(vec![8]), None).await?;
    queue.put(&future, None).await?;
    client.publish("rust-data", &BTreeMap::from([("a", (&future, 7))])).await?;
    let other: Future<i64> = client.submit(py("operator:add").args((2, 2))).await?;
    client.publish("rust-deep", &vec![BTreeMap::from([("deep", ([(&future, "x")], [[&other]]))])]).await?;
    client.set_metadata(&["rust", "meta"], &[1, 2]).await?;
    let script = "
value = Variable('rust-value').get(timeout=10)
assert list(value[:2]) == [1, 'ü'] and list(value[2]) == [2.5], value
assert Variable('rust-future').get(timeout=10).result(timeout=30) == 3
queue = Queue('rust-queue')
assert queue.get(timeout=10) == {'n': 5}
assert queue.get(timeout=10) == {8}
assert queue.get(timeout=10).result(timeout=30) == 3
data = client.get_dataset('rust-data')
assert data['a'][0].result(timeout=30) == 3 and data['a'][1] == 7, data
deep = client.get_dataset('rust-deep')[0]['deep']
assert deep[0][0][0].result(timeout=30) == 3 and deep[0][0][1] == 'x', deep
assert deep[1][0][0].result(timeout=30) == 4, deep
assert list(client.get_metadata(['rust', 'meta'])) == [1, 2]

future = client.submit(add, 20, 22)
Variable('python-value').set({'x': [1, None, 'ä'], 'y': 2.5})
Variable('python-future').set(future)
queue = Queue('python-queue')
queue.put('text')
queue.put(future)
client.publish_dataset([future, client.submit(add, 1, 1)], name='python-list')
client.publish_dataset(future, name='python-one')
client.publish_dataset({'deep': [{'x': (future, 1)}, [[client.submit(add, 2, 2)]]]}, name='python-deep')
client.publish_dataset({'x': 1}, name='python-plain')
client.set_metadata(['python', 'meta'], 'data')
from distributed import wait
wait(future)
";
    python(stage, script).await?;
    drop(future);
    let value: BTreeMap<String, Python> =
        client.variable("python-value").get(PATIENCE).await?.into_value()?;
    ensure_eq!(value.get("y"), Some(&Python::Float(2.5)));
    let future = client.variable("python-future").get::<i64>(PATIENCE).await?;
    ensure_eq!(future.resolve().await?, 42);
    let queue = client.queue("python-queue", 0).await?;
    ensure_eq!(queue.get::<String>(PATIENCE).await?.into_value()?, "text");
    ensure_eq!(queue.get::<i64>(PATIENCE).await?.into_future()?.result().await?, 42);
    let list = client.dataset("python-list").await?.ok_or("nothing")?;
    let mut results = Vec::new();
    for future in list.futures() {
        results.push(future.clone().typed::<i64>().result().await?);
    }
    ensure_eq!(results, [42, 2]);
    let one = client.dataset("python-one").await?.ok_or("nothing")?;
    ensure_eq!(one.future::<i64>()?.result().await?, 42);
    let deep = client.dataset("python-deep").await?.ok_or("nothing")?;
    let mut results = Vec::new();
    for future in deep.futures() {
        results.push(future.clone().typed::<i64>().result().await?);
    }
    ensure_eq!(results, [42, 4]);
    let plain = client.dataset("python-plain").await?.ok_or("nothing")?;
    ensure_eq!(plain.value::<BTreeMap<String, i64>>()?, BTreeMap::from([("x".to_owned(), 1)]));
    ensure_eq!(client.get_metadata::<String>(&["python", "meta"]).await?, Some("data".to_owned()));
    Ok(())
}

async fn locks_exclude_python(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let event = client.event("theirs");
    let script = "
lock, semaphore = Lock('shared'), Semaphore(max_leases=1, name='shared-semaphore')
assert lock.acquire(timeout=30)
assert semaphore.acquire(timeout=30)
Event('theirs').set()
assert Event('ours').wait(30)
lock.release()
semaphore.release()
assert Event('held').wait(30)
assert not semaphore.acquire(timeout=0.2)
assert not lock.acquire(timeout=0.2)
Event('tried').set()
";
    let ours = async {
        event.wait(PATIENCE).await?;
        // One wait that goes on, and not one that is given up: the locks of old releases fail whoever waits with a
        // limit while others wait, too.
        let lock = client.lock("shared");
        let waiting = tokio::spawn(async move { lock.acquire(PATIENCE).await });
        let semaphore = client.semaphore_with("shared-semaphore", 1, Duration::from_secs(4)).await?;
        ensure!(semaphore.try_acquire().await?.is_none(), "a lease that Python holds");
        tokio::time::sleep(A_WHILE).await;
        ensure!(!waiting.is_finished(), "a lock that Python holds");
        client.event("ours").set().await?;
        let lock = waiting.await??;
        let lease = semaphore.acquire(PATIENCE).await?;
        client.event("held").set().await?;
        client.event("tried").wait(PATIENCE).await?;
        lock.release().await?;
        lease.release().await?;
        Outcome::Ok(())
    };
    let (python, ours) = tokio::join!(python(stage, script), ours);
    python?;
    ours
}

async fn several_locks_exclude_python(stage: &Stage) -> Outcome {
    let client = &stage.client;
    if !has(client.dialect(), "multi_lock_acquire") {
        return Ok(());
    }
    let script = "
from distributed import MultiLock
both = MultiLock(['m-a', 'm-b'])
assert both.acquire(timeout=30)
Event('m-theirs').set()
assert Event('m-ours').wait(30)
both.release()
assert Event('m-held').wait(30)
assert not MultiLock(['m-b', 'm-c']).acquire(timeout=0.2)
assert MultiLock(['m-c']).acquire(timeout=30)
Event('m-tried').set()
";
    let ours = async {
        client.event("m-theirs").wait(PATIENCE).await?;
        let locks = client.multi_lock(["m-b", "m-c"]);
        ensure_eq!(kind(locks.acquire(A_WHILE).await), Some(ErrorKind::Timeout));
        locks.acquire_some(1, PATIENCE).await?.release().await?;
        client.event("m-ours").set().await?;
        let held = client.multi_lock(["m-a", "m-b"]).acquire(PATIENCE).await?;
        client.event("m-held").set().await?;
        client.event("m-tried").wait(PATIENCE).await?;
        held.release().await?;
        Outcome::Ok(())
    };
    let (python, ours) = tokio::join!(python(stage, script), ours);
    python?;
    ours
}

async fn python_hears_what_is_logged(stage: &Stage) -> Outcome {
    let client = &stage.client;
    if !client.dialect().has(Feature::Topics) {
        return Ok(());
    }
    let script = "
import time
heard = []
client.subscribe_topic('rust-speaks', heard.append)
for _ in range(3000):
    if heard:
        break
    time.sleep(0.01)
timestamp, message = heard[0]
print(message['from'], list(message['numbers']), timestamp > 1e9)
";
    let heard = python(stage, script);
    let speaking = async {
        loop {
            // Heard from when Python's subscription has arrived.
            client
                .log_event(
                    "rust-speaks",
                    &(BTreeMap::from([("from", Python::Str("rust".to_owned())), ("numbers", numbers())])),
                )
                .await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let heard = tokio::select! {
        heard = heard => heard?,
        error = speaking => return error,
    };
    ensure_eq!(heard, "rust [1, 2] True");
    Ok(())
}

fn numbers() -> Python {
    Python::List(vec![Python::Int(1), Python::Int(2)])
}

/// A call that no worker can run.
fn never() -> dask_client::Call {
    py("operator:add").args((1, 2)).resource("NOWHERE", 1.0)
}

async fn open_and_failed_futures_pass_to_python(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let failed: Future<f64> = client.submit(py("operator:truediv").args((1, 0))).await?;
    drop(failed.finished().await);
    let open: Future<i64> = client.submit(never()).await?;
    let doomed: Future<i64> = client.submit(never()).await?;
    let queue = client.queue("to-python", 0).await?;
    client.variable("to-python-failed").set(&failed).await?;
    client.variable("to-python-open").set(&open).await?;
    for future in [&open, &doomed] {
        queue.put(future, None).await?;
    }
    queue.put(&failed, None).await?;
    let script = "
import time
from concurrent.futures import CancelledError as A
from distributed import CancelledError as B
from asyncio import CancelledError as C
def raised(future):
    try:
        future.result(timeout=30)
    except (Exception, A, B, C) as error:
        return type(error).__name__
failed = Variable('to-python-failed').get(timeout=30)
opened = Variable('to-python-open').get(timeout=30)
queue = Queue('to-python')
opened_too, doomed, failed_too = (queue.get(timeout=30) for _ in range(3))
assert raised(failed) == 'ZeroDivisionError' == raised(failed_too)
assert opened.status == opened_too.status == doomed.status == 'pending'
assert opened.key == opened_too.key
def wanted(key, name, dask_scheduler=None):
    return name in [client.client_key for client in dask_scheduler.tasks[key].who_wants or ()]
# What it wants goes over its stream, and may come after the event that is set next.
while not client.run_on_scheduler(wanted, doomed.key, client.id):
    time.sleep(0.01)
Event('to-python-held').set()
end = raised(doomed)
assert 'Cancelled' in str(end), (end, doomed.status)
assert opened.status == 'pending', opened.status
";
    let cancel = async {
        client.event("to-python-held").wait(PATIENCE).await?;
        client.cancel_for_all([&doomed]).await?;
        Outcome::Ok(())
    };
    let (python, cancelled) = tokio::join!(python(stage, script), cancel);
    python?;
    cancelled?;
    client.variable("to-python-failed").delete().await?;
    client.variable("to-python-open").delete().await?;
    Ok(())
}

async fn open_and_failed_futures_come_from_python(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let script = "
from operator import truediv
from distributed import wait
failed = client.submit(truediv, 1, 0)
wait(failed)
opened, doomed = (client.submit(add, n, 2, resources={'NOWHERE': 1}) for n in range(2))
def known(key, dask_scheduler=None):
    return key in dask_scheduler.tasks
# A scheduler that first hears of a task by a variable forgets what the task asks for.
import time
while not (client.run_on_scheduler(known, opened.key) and client.run_on_scheduler(known, doomed.key)):
    time.sleep(0.01)
Variable('of-python-failed').set(failed)
Variable('of-python-open').set(opened)
queue = Queue('of-python')
for future in (opened, doomed, failed):
    queue.put(future)
Event('of-python-there').set()
assert Event('of-python-held').wait(30)
def wanted(key, name, dask_scheduler=None):
    return name in [client.client_key for client in dask_scheduler.tasks[key].who_wants or ()]
# What it wants goes over its stream, and may come after the event.
while not client.run_on_scheduler(wanted, doomed.key, HELD_BY):
    time.sleep(0.01)
client.cancel([doomed], force=True)
assert Event('of-python-done').wait(30)
";
    let ours = async {
        client.event("of-python-there").wait(PATIENCE).await?;
        let failed = client.variable("of-python-failed").get::<f64>(PATIENCE).await?.into_future()?;
        let open = client.variable("of-python-open").get::<i64>(PATIENCE).await?.into_future()?;
        let queue = client.queue("of-python", 0).await?;
        let open_too = queue.get::<i64>(PATIENCE).await?.into_future()?;
        let doomed = queue.get::<i64>(PATIENCE).await?.into_future()?;
        let failed_too = queue.get::<f64>(PATIENCE).await?.into_future()?;
        for failed in [&failed, &failed_too] {
            let exception = failed.exception().await?.ok_or("no exception")?;
            ensure_eq!(exception.class, "ZeroDivisionError");
        }
        ensure_eq!((open.status(), open_too.status(), doomed.status()), ("pending", "pending", "pending"));
        ensure_eq!(open.key(), open_too.key());
        client.event("of-python-held").set().await?;
        ensure_eq!(kind(doomed.result().deadline(PATIENCE / 2).await), Some(ErrorKind::Cancelled));
        ensure_eq!(open.status(), "pending");
        client.event("of-python-done").set().await?;
        client.variable("of-python-failed").delete().await?;
        client.variable("of-python-open").delete().await?;
        Outcome::Ok(())
    };
    let script = script.replace("HELD_BY", &format!("'{}'", client.name()));
    let (python, ours) = tokio::join!(python(stage, &script), ours);
    // The reason why the script fails may be here.
    ours?;
    python?;
    Ok(())
}
