//! The same calls without an async runtime, on the oldest and the newest release (or `DASK_RELEASES`).

use std::collections::BTreeSet;
use std::time::Duration;

use dask_client::blocking::{Iterate, Wait};
use dask_client::{Client, ClientEvent, Counts, ErrorKind, Feature, Future, Graph, Item, WorkerChange, py};
use dask_live_tests::scenarios::Failure;
use dask_live_tests::{PATIENCE, TestCluster, ensure, ensure_eq, releases};
use dask_local::Protocol;

/// For a wait that must end in vain.
const A_WHILE: Duration = Duration::from_millis(300);

type Check = fn(&Client) -> Result<(), Failure>;

#[test]
fn every_call_can_be_waited_for() {
    // Clusters are started and stopped in a runtime, in which nothing else happens.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for release in releases() {
        // Newer releases drop copies that no task needs.
        let start = TestCluster::start_with(&release, Protocol::Tcp, |builder| {
            builder.config("distributed.scheduler.active-memory-manager.start", "False")
        });
        let cluster = runtime.block_on(start).unwrap();
        let client = cluster.client().connect().wait().unwrap();
        let checks: &[(&str, Check)] = &[
            ("works", works),
            ("iterates", iterates),
            ("moves_data", moves_data),
            ("runs_outside_of_tasks", runs_outside_of_tasks),
            ("shares_state", shares_state),
            ("looks", looks),
            ("has_deadlines", has_deadlines),
        ];
        for (name, check) in checks {
            check(&client).unwrap_or_else(|error| panic!("{release} {name}: {error}"));
        }
        // In a runtime each wait is refused, and the client lives on.
        let refused = runtime.block_on(async { client.scheduler_info().wait() });
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Config, "{release}");
        let there = runtime.block_on(async { client.scheduler_info().await });
        assert_eq!(there.unwrap().workers.len(), 2, "{release}");
        // Dropped in the middle of work, with a future and a lease in hand.
        let other = cluster.client().connect().wait().unwrap();
        let stuck: Future<()> =
            other.submit(py("time:sleep").arg(3600).resource("NOWHERE", 1.0)).wait().unwrap();
        let lease = other.lock("dropped").acquire(PATIENCE).wait().unwrap();
        drop((other, stuck, lease));
        client.lock("dropped").acquire(PATIENCE).wait().unwrap().release().wait().unwrap();
        client.close().wait().unwrap();
        assert_eq!(client.scheduler_info().wait().unwrap_err().kind(), ErrorKind::Closed, "{release}");
        runtime.block_on(cluster.cluster.stop()).unwrap();
    }
}

fn works(client: &Client) -> Result<(), Failure> {
    let mut events = client.events().iterate().each_within(PATIENCE);
    let future: Future<i64> = client.submit(py("operator:add").args((1, 2))).wait()?;
    let connected = events.next().ok_or("no event")??;
    ensure!(matches!(connected, ClientEvent::Connected), "{connected:?}");
    ensure_eq!(future.result().deadline(PATIENCE).wait()?, 3);
    ensure_eq!(client.call::<i64>(py("operator:mul").args((&future, 7))).wait()?, 21);
    let mut graph = Graph::new();
    let a = graph.add(py("operator:add").args((1, 2)));
    let b = graph.add(py("operator:mul").args((&a, 10)));
    let (x, y): (i64, i64) = client.compute(graph, (a, b)).wait()?;
    ensure_eq!((x, y), (3, 30));
    let futures: Vec<Future<i64>> = client.submit_many((0..10).map(|n| py("operator:neg").arg(n))).wait()?;
    ensure_eq!(client.gather(&futures).wait()?, (0..10).map(|n| -n).collect::<Vec<i64>>());
    ensure_eq!(client.gather(&futures).each().wait()?.len(), 10);
    ensure_eq!(client.wait(&futures).wait()?.done.len(), 10);
    let failed = client.call::<f64>(py("operator:truediv").args((1, 0))).wait();
    ensure_eq!(failed.map_err(|error| error.kind()), Err(ErrorKind::Task));
    futures[0].cancel().wait()?;
    ensure_eq!(futures[0].result().wait().map_err(|error| error.kind()), Err(ErrorKind::Cancelled));
    Ok(())
}

fn iterates(client: &Client) -> Result<(), Failure> {
    let mut sum = 0;
    for item in
        client.map::<i64, _>(py("operator:add").arg(1), 0i64..50).deadline(PATIENCE).ordered().iterate()
    {
        let (input, result) = item?;
        ensure_eq!(result?, input + 1);
        sum += input;
    }
    ensure_eq!(sum, 1225);
    let futures: Vec<Future<i64>> =
        client.submit_many((0..20).map(|n| py("operator:add").args((n, 0)))).wait()?;
    let progress = client.progress(&futures).at_most_every(Duration::from_millis(1)).iterate();
    let counts: Vec<Counts> = progress.collect::<Result<_, _>>()?;
    ensure_eq!(counts.last().ok_or("no counts")?.finished, 20);
    let mut seen = BTreeSet::new();
    for item in client.as_completed(futures).deadline(PATIENCE).iterate() {
        seen.insert(item?.1?);
    }
    ensure_eq!(seen.len(), 20);
    let changes = client.watch_workers(Duration::from_secs(1)).iterate().each_within(PATIENCE);
    for change in changes.take(2) {
        ensure!(matches!(change??, WorkerChange::Joined { .. }), "a worker left");
    }
    if client.dialect().has(Feature::Topics) {
        let mut topic = client.subscribe("blocking").wait()?.iterate().each_within(A_WHILE);
        let mut number = 0;
        let event = loop {
            number += 1;
            client.log_event("blocking", &number).wait()?;
            match topic.next().ok_or("the topic ended")? {
                Ok(event) => break event,
                Err(late) => ensure!(number < 100 && late.kind() == ErrorKind::Timeout, "{late}"),
            }
        };
        ensure!(event.to::<i64>()? <= number, "{event:?}");
    }
    Ok(())
}

fn moves_data(client: &Client) -> Result<(), Failure> {
    let list: Future<Vec<i64>> = client.scatter(dask_client::Data::value(&[1, 2, 3])).wait()?;
    ensure_eq!(client.call::<i64>(py("builtins:sum").arg(&list)).wait()?, 6);
    client.replicate([&list], None, &[]).wait()?;
    ensure_eq!(client.who_has([&list]).wait()?[list.key()].len(), 2);
    Ok(())
}

fn runs_outside_of_tasks(client: &Client) -> Result<(), Failure> {
    ensure_eq!(client.run::<i64>(py("os:getpid")).deadline(PATIENCE).wait()?.len(), 2);
    client.run_on_scheduler::<i64>(py("os:getpid")).wait()?;
    let health = client.health(PATIENCE).wait()?;
    ensure!(health.len() == 2 && health.values().all(|worker| worker.is_ok()), "{health:?}");
    let account: Future<()> = client.submit(py("only_on_workers:Account").arg(10).actor()).wait()?;
    let account = client.actor(&account).wait()?;
    ensure_eq!(account.call::<i64>("deposit").arg(5).wait()?, 15);
    Ok(())
}

fn shares_state(client: &Client) -> Result<(), Failure> {
    let variable = client.variable("blocking");
    variable.set(&42).wait()?;
    ensure_eq!(variable.get::<i64>(PATIENCE).wait()?.resolve().wait()?, 42);
    variable.delete().wait()?;
    let queue = client.queue("blocking", 0).wait()?;
    queue.put("text", None).wait()?;
    let item: Item<String> = queue.get(PATIENCE).wait()?;
    ensure_eq!(item.into_value()?, "text");
    let late = queue.get::<String>(A_WHILE).wait();
    ensure_eq!(late.map(drop).map_err(|error| error.kind()), Err(ErrorKind::Timeout));
    client.event("blocking").set().wait()?;
    client.event("blocking").wait(PATIENCE).wait()?;
    let semaphore = client.semaphore("blocking", 1).wait()?;
    let lease = semaphore.acquire(PATIENCE).wait()?;
    ensure!(semaphore.try_acquire().wait()?.is_none(), "a second lease");
    lease.release().wait()?;
    client.publish("blocking", &7).wait()?;
    ensure_eq!(client.dataset("blocking").wait()?.ok_or("nothing")?.value::<i64>()?, 7);
    client.unpublish("blocking").wait()?;
    client.set_metadata(&["blocking"], &1).wait()?;
    ensure_eq!(client.get_metadata::<i64>(&["blocking"]).wait()?, Some(1));
    Ok(())
}

fn looks(client: &Client) -> Result<(), Failure> {
    ensure_eq!(client.scheduler_info().wait()?.workers.len(), 2);
    ensure_eq!(client.versions().wait()?.workers.len(), 2);
    ensure_eq!(client.wait_for_workers(2, PATIENCE).wait()?, 2);
    ensure_eq!(client.nthreads().wait()?.len(), 2);
    ensure!(!client.scheduler_logs(Some(5)).wait()?.is_empty(), "no log");
    ensure_eq!(client.retire_workers(Vec::<String>::new()).wait()?.len(), 0);
    Ok(())
}

fn has_deadlines(client: &Client) -> Result<(), Failure> {
    let stuck: Future<()> = client.submit(py("os:getpid").resource("NOWHERE", 1.0)).wait()?;
    let error = stuck.result().deadline(A_WHILE).wait().err().ok_or("a result")?;
    ensure!(error.kind() == ErrorKind::Timeout && error.diagnosis().is_some(), "{error}");
    let error = stuck.finished().wait_within(A_WHILE).err().ok_or("an end")?;
    ensure_eq!(error.kind(), ErrorKind::Timeout);
    Ok(())
}
