//! Whatever is dropped at any await leaves the session usable, and nothing behind on the scheduler.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use dask_client::{
    Client, Data, Dialect, Direct, Error, ErrorKind, Feature, Future, Graph, Key, LogLevel, Plugin, py,
    python_module,
};
use dask_live_tests::impatient::{Impatient, drop_at_every_await, drop_at_every_await_and, patiently};
use dask_live_tests::scenarios::Failure;
use dask_live_tests::{PATIENCE, TestCluster, ensure, ensure_eq, releases, sources, workspace};
use dask_local::{Protocol, WorkerSpec};
use futures::StreamExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_at_any_await_leaves_nothing_behind() {
    for release in releases() {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        let client = cluster.client().connect().await.unwrap();
        // Registered, and what the first call of all makes is made.
        client.call::<i64>(py("operator:add").args((1, 2))).await.unwrap();
        let before = patiently("letting go", async {
            loop {
                let before = leftovers(&client).await.unwrap();
                if before["tasks"] == 0 {
                    break before;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        work(&client).await;
        println!("{release}: work");
        data(&client).await;
        for direct in [Direct::Always, Direct::Never] {
            let client = cluster.client().direct(direct).connect().await.unwrap();
            data(&client).await;
            client.close().await;
        }
        println!("{release}: data");
        state(&client).await;
        println!("{release}: state");
        outside_of_tasks(&client).await;
        println!("{release}: outside of tasks");
        looking(&client).await;
        println!("{release}: looking");
        // The last: workers of old releases may lose their scheduler for a moment when an actor is released (2.30.1).
        actors(&client).await;
        println!("{release}: actors");
        client.wait_for_workers(2, PATIENCE).await.unwrap();
        let last = nothing_is_left(&client, &before).await;
        assert!(last.is_ok(), "{release}: {last:?}");
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

/// Every public call of the client that waits stands above or below; of those that give a value to await (`gather`, `wait`, …)
/// the compiler knows nothing here.
#[test]
fn every_call_that_waits_is_tried() {
    let own = include_str!("cancel_safety.rs");
    let mut untried = Vec::new();
    for text in sources(&workspace().join("crates/dask-client/src")) {
        let mut names: Vec<&str> =
            text.lines().filter_map(|line| line.trim().strip_prefix("pub async fn ")).collect();
        // Those with a limit of their own.
        let functions = text.split("pub fn ").skip(1);
        names.extend(
            functions.filter(|it| it.split('{').next().is_some_and(|head| head.contains("-> Limited<"))),
        );
        for name in names.into_iter().filter_map(|rest| rest.split(['(', '<']).next()) {
            if !own.contains(&format!(".{name}(")) && !own.contains(&format!(".{name}::<")) {
                untried.push(name.to_owned());
            }
        }
    }
    // Made of `submit` and `gather`, on workers that have pandas; see tables.rs.
    untried.retain(|name| name != "to_arrow");
    assert!(untried.is_empty(), "not tried: {untried:?}");
}

/// Restarts take the workers away, so that they have a cluster of their own, with nannies that bring them back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_dropped_at_any_await_leave_a_cluster_that_works() {
    for release in releases() {
        let cluster = TestCluster::start_with(&release, Protocol::Tcp, |builder| {
            builder.workers(0).worker(WorkerSpec::new().name("guarded").nanny(true))
        });
        let cluster = cluster.await.unwrap();
        let client = cluster.client().connect().await.unwrap();
        client.call::<i64>(add(1)).await.unwrap();
        // A restart that goes on without its caller ends tasks that are submitted meanwhile, and says so.
        let comes_back = async |polls: usize| {
            let again = async {
                loop {
                    match client.call::<i64>(add(polls as i64)).await {
                        Ok(sum) => break sum,
                        Err(error) if matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Lost) => (),
                        Err(error) => panic!("{release}: after a restart dropped at poll {polls}: {error}"),
                    }
                }
            };
            assert_eq!(patiently("the session after a restart", again).await, polls as i64 + 1);
        };
        drop_at_every_await_and("restart", || client.restart(PATIENCE), comes_back).await;
        drop_at_every_await_and(
            "restart_without_waiting",
            || client.restart_without_waiting(PATIENCE),
            comes_back,
        )
        .await;
        if has(client.dialect(), "restart_workers") {
            let restart = || async {
                loop {
                    // One that was dropped may still have the worker away, or be about to.
                    client.wait_for_workers(1, PATIENCE).await?;
                    match client.restart_workers(["guarded"], PATIENCE).await {
                        Err(error) if error.kind() == ErrorKind::Config => (),
                        outcome => break outcome,
                    }
                }
            };
            drop_at_every_await_and("restart_workers", restart, comes_back).await;
        }
        assert_eq!(client.statistics().pending, 0);
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

fn is_the_end(error: &Error) -> bool {
    use ErrorKind::{Closed, Connect, ConnectionLost, Lost};
    matches!(error.kind(), Closed | Connect | ConnectionLost | Lost)
}

/// Whatever a shutdown had done when it was dropped: the client answers, and the next shutdown is the last.
#[tokio::test]
async fn a_shutdown_dropped_at_any_await_leaves_a_client_that_answers() {
    for release in releases() {
        for polls in 0.. {
            let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
            let client = cluster.client().reconnect(None).connect().await.unwrap();
            let held = client.submit::<i64>(add(1)).await.unwrap();
            held.finished().await.unwrap();
            let outcome = patiently("shutdown", Impatient::new(client.shutdown(), polls)).await;
            match patiently("a call after a shutdown", client.call::<i64>(add(1)).into_future()).await {
                Ok(sum) => assert_eq!(sum, 2),
                Err(error) => assert!(is_the_end(&error), "{release}, poll {polls}: {error}"),
            }
            let is_done = outcome.is_some();
            match outcome {
                Some(done) => done.unwrap(),
                // Again, unless that one did its work unseen.
                None => match patiently("the next shutdown", client.shutdown()).await {
                    Ok(()) => (),
                    Err(error) => assert!(is_the_end(&error), "{release}, poll {polls}: {error}"),
                },
            }
            patiently("the end of the scheduler", async {
                while cluster.cluster.scheduler_is_running() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
            patiently("close", client.close()).await;
            cluster.cluster.stop().await.unwrap();
            if is_done {
                println!("{release}: shutdown is done after {polls} polls");
                break;
            }
        }
    }
}

fn has(dialect: Dialect, op: &str) -> bool {
    dialect.request(dask_wire::Peer::Scheduler, op).is_ok()
}

fn add(n: i64) -> dask_client::Call {
    py("operator:add").args((n, 1))
}

async fn work(client: &Client) {
    drop_at_every_await("submit", client, || client.submit::<i64>(add(1))).await;
    drop_at_every_await("submit_many", client, || client.submit_many::<i64>((0..10).map(add))).await;
    drop_at_every_await("submit_graph", client, || {
        let mut graph = Graph::new();
        let a = graph.add(add(1));
        let b = graph.add(py("operator:mul").args((&a, 2)));
        client.submit_graph::<i64>(graph, [a.key().clone(), b.key().clone()])
    })
    .await;
    drop_at_every_await("call", client, || client.call::<i64>(add(1)).into_future()).await;
    drop_at_every_await("compute", client, || {
        let mut graph = Graph::new();
        let a = graph.add(add(1));
        client.compute::<_, i64>(graph, a).into_future()
    })
    .await;
    drop_at_every_await("map", client, || async {
        let mut results =
            client.map::<i64, _>(py("operator:add").arg(1), 0i64..6).in_flight(2).as_completed();
        let mut seen = 0;
        while let Some((_, result)) = results.next().await {
            result?;
            seen += 1;
        }
        assert_eq!(seen, 6);
        Ok::<_, Error>(())
    })
    .await;
    drop_at_every_await("as_completed", client, || async {
        let futures = client.submit_many::<i64>((0..4).map(add)).await?;
        let mut results = client.as_completed(futures).deadline(PATIENCE);
        while let Some((_, result)) = results.next().await {
            result?;
        }
        Ok::<_, Error>(())
    })
    .await;
    drop_at_every_await("wait", client, || async {
        let futures = client.submit_many::<i64>((0..4).map(add)).await?;
        client.wait(&futures).first().await?;
        assert_eq!(client.wait(&futures).await?.done.len(), 4);
        Ok::<_, Error>(())
    })
    .await;
    drop_at_every_await("progress", client, || async {
        let futures = client.submit_many::<i64>((0..4).map(add)).await?;
        let mut progress = client.progress(&futures).at_most_every(Duration::from_millis(1));
        while progress.next().await.is_some() {}
        Ok::<_, Error>(())
    })
    .await;
    drop_at_every_await("a wait with a reason", client, || async {
        let stuck = client.submit::<i64>(add(1).resource("NOWHERE", 1.0)).await?;
        let late = stuck.result().deadline(Duration::from_millis(1)).await;
        assert!(late.is_err_and(|error| error.diagnosis().is_some()), "no reason");
        Ok::<_, Error>(())
    })
    .await;
    let failed: Future<f64> = client.submit(py("operator:truediv").args((1, 0))).await.unwrap();
    drop_at_every_await("exception", client, || failed.exception().into_future()).await;
    drop_at_every_await("retry", client, || client.retry([&failed])).await;
    assert!(patiently("the retried task", failed.exception().into_future()).await.unwrap().is_some());
    drop_at_every_await("fire_and_forget", client, || async {
        let future = client.submit::<i64>(add(1)).await?;
        client.fire_and_forget([&future]).await
    })
    .await;
    drop_at_every_await("cancel", client, || async {
        let stuck = client.submit::<i64>(add(1).resource("NOWHERE", 1.0)).await?;
        client.cancel([&stuck]).await
    })
    .await;
    drop_at_every_await("cancel_for_all_with", client, || async {
        let stuck = client.submit::<i64>(add(1).resource("NOWHERE", 1.0)).await?;
        client.cancel_for_all_with([&stuck], "dropped").await
    })
    .await;
    drop_at_every_await("cancel_keys", client, || async {
        let stuck = client.submit::<i64>(add(1).resource("NOWHERE", 1.0)).await?;
        client.cancel_keys([stuck.key().clone()]).await
    })
    .await;
    drop_at_every_await("cancel_for_all", client, || async {
        let stuck = client.submit::<i64>(add(1).resource("NOWHERE", 1.0)).await?;
        client.cancel_for_all([&stuck]).await
    })
    .await;
    drop_at_every_await("cancel_with", client, || async {
        let stuck = client.submit::<i64>(add(1).resource("NOWHERE", 1.0)).await?;
        client.cancel_with([&stuck], "dropped").await
    })
    .await;
}

async fn data(client: &Client) {
    let futures: Vec<Future<i64>> = client.submit_many((0..10).map(add)).await.unwrap();
    client.wait(&futures).await.unwrap();
    drop_at_every_await("gather", client, || client.gather(&futures).into_future()).await;
    drop_at_every_await("gather each", client, || async {
        Ok::<_, Error>(client.gather(&futures).each().await)
    })
    .await;
    let large: Future<dask_client::Gathered> =
        client.submit(py("builtins:bytes").arg(1_000_000)).await.unwrap();
    drop_at_every_await("a large result", client, || large.result().into_future()).await;
    drop_at_every_await("scatter", client, || {
        client.scatter::<Vec<i64>>(Data::value(&[1, 2, 3])).hash(false).into_future()
    })
    .await;
    let bytes = bytes::Bytes::from(vec![1; 300_000]);
    drop_at_every_await("scatter large bytes", client, || {
        client.scatter::<dask_client::Gathered>(Data::bytes(bytes.clone())).hash(false).into_future()
    })
    .await;
    drop_at_every_await("scatter_many", client, || {
        client.scatter_many::<i64, _>([1, 2].map(|n| Data::value(&n))).hash(false).broadcast().into_future()
    })
    .await;
    drop_at_every_await("replicate", client, || client.replicate([&large], None, &[])).await;
    drop_at_every_await("rebalance", client, || client.rebalance(&futures)).await;
    drop_at_every_await("who_has", client, || client.who_has(&futures)).await;
    drop_at_every_await("has_what", client, || client.has_what(Vec::<String>::new())).await;
    drop_at_every_await("nbytes", client, || client.nbytes(&futures)).await;
    drop_at_every_await("rebalance_among", client, || client.rebalance_among(&futures, &["first", "second"]))
        .await;
    drop_at_every_await("who_has_everything", client, || client.who_has_everything()).await;
    drop_at_every_await("nbytes_by_name", client, || client.nbytes_by_name()).await;
}

async fn state(client: &Client) {
    let future: Future<i64> = client.submit(add(41)).await.unwrap();
    let variable = client.variable("dropped");
    drop_at_every_await("variable.set", client, || variable.set(&1)).await;
    drop_at_every_await("variable.get", client, || variable.get::<i64>(PATIENCE)).await;
    drop_at_every_await("variable.set a future", client, || variable.set(&future)).await;
    drop_at_every_await("variable.get a future", client, || async {
        variable.get::<i64>(PATIENCE).await?.resolve().await
    })
    .await;
    drop_at_every_await("variable.delete", client, || variable.delete()).await;
    drop_at_every_await("detach", client, || client.detach(&future, "dropped")).await;
    drop_at_every_await("attach", client, || client.attach::<i64>("dropped").within(PATIENCE).into_future())
        .await;
    drop_at_every_await("forget_detached", client, || client.forget_detached("dropped")).await;

    let queue = drop_at_every_await("queue", client, || client.queue("dropped", 0)).await;
    drop_at_every_await("queue.put", client, || queue.put(&1, PATIENCE)).await;
    drop_at_every_await("queue.put a future", client, || queue.put(&future, PATIENCE)).await;
    drop_at_every_await("queue.size", client, || queue.size()).await;
    // At least as many as are taken at once below.
    queue.put(&1, None).await.unwrap();
    queue.put(&future, None).await.unwrap();
    drop_at_every_await("queue.get", client, || queue.get::<i64>(PATIENCE)).await;
    queue.put(&1, None).await.unwrap();
    drop_at_every_await("queue.get_many", client, || queue.get_many::<i64>(2, PATIENCE)).await;
    drop_at_every_await("queue.get_all", client, || queue.get_all::<i64>()).await;
    drop_at_every_await("queue.close", client, || async { client.queue("closed", 0).await?.close().await })
        .await;

    let event = client.event("dropped");
    drop_at_every_await("event.set", client, || event.set()).await;
    drop_at_every_await("event.is_set", client, || event.is_set()).await;
    drop_at_every_await("event.wait", client, || event.wait(PATIENCE)).await;
    drop_at_every_await("event.clear", client, || event.clear()).await;

    let lock = client.lock("dropped");
    if client.dialect().has(Feature::LockIsSemaphore) {
        drop_at_every_await("lock.is_locked", client, || lock.is_locked()).await;
    }
    drop_at_every_await("lock", client, || async { lock.acquire(PATIENCE).await?.release().await }).await;
    drop(drop_at_every_await("dropped lease of a lock", client, || lock.acquire(PATIENCE)).await);
    let semaphore = client.semaphore("dropped", 1).await.unwrap();
    drop_at_every_await("semaphore", client, || async { semaphore.acquire(PATIENCE).await?.release().await })
        .await;
    drop_at_every_await("try_acquire", client, || semaphore.try_acquire()).await;
    drop_at_every_await("semaphore.value", client, || semaphore.value()).await;
    drop_at_every_await("semaphore_with", client, || async {
        let semaphore = client.semaphore_with("closed", 1, PATIENCE).await?;
        semaphore.close().await
    })
    .await;
    if has(client.dialect(), "multi_lock_acquire") {
        let locks = client.multi_lock(["dropped a", "dropped b"]);
        drop_at_every_await("multi_lock", client, || async {
            locks.acquire(PATIENCE).await?.release().await
        })
        .await;
        drop_at_every_await("acquire_some", client, || async {
            locks.acquire_some(1, PATIENCE).await?.release().await
        })
        .await;
    }

    let published = [&future];
    let number = Cell::new(0);
    drop_at_every_await("publish", client, || {
        number.set(number.get() + 1);
        let name = format!("dropped {}", number.get());
        async move { client.publish(name, &[1]).await }
    })
    .await;
    for n in 1..=number.get() {
        client.unpublish(&format!("dropped {n}")).await.unwrap();
    }
    drop_at_every_await("publish_over", client, || client.publish_over("dropped", &published)).await;
    drop_at_every_await("dataset", client, || client.dataset("dropped")).await;
    drop_at_every_await("datasets", client, || client.datasets()).await;
    drop_at_every_await("unpublish", client, || client.unpublish("dropped")).await;
    drop_at_every_await("set_metadata", client, || client.set_metadata(&["dropped"], &1)).await;
    drop_at_every_await("get_metadata", client, || client.get_metadata::<i64>(&["dropped"])).await;
    if has(client.dialect(), "log_event") {
        drop_at_every_await("log_event", client, || client.log_event("dropped", &1)).await;
        drop_at_every_await("topic_events", client, || client.topic_events("dropped")).await;
    }
    if client.dialect().has(Feature::Topics) {
        drop_at_every_await("subscribe", client, || async {
            drop(client.subscribe("dropped").await?);
            let mut topic = client.subscribe_with("dropped", 2).await?;
            // The subscription goes over the stream and may come after what is logged next.
            loop {
                client.log_event("dropped", &1).await?;
                let next = tokio::time::timeout(Duration::from_millis(50), topic.next()).await;
                if let Ok(Some(_)) = next {
                    return Ok::<_, Error>(());
                }
            }
        })
        .await;
    }
}

async fn outside_of_tasks(client: &Client) {
    drop_at_every_await("run", client, || client.run::<i64>(py("os:getpid")).into_future()).await;
    drop_at_every_await("run_on_scheduler", client, || client.run_on_scheduler::<i64>(py("os:getpid"))).await;
    drop_at_every_await("run_on_nannies", client, || {
        client.run_on_nannies::<i64>(py("os:getpid")).into_future()
    })
    .await;
    drop_at_every_await("run.start", client, || client.run::<()>(py("asyncio:sleep").arg(0)).start()).await;
    drop_at_every_await("start_on_scheduler", client, || {
        client.start_on_scheduler(py("asyncio:sleep").arg(0))
    })
    .await;
    let plugin = || Plugin::of("distributed.diagnostics.plugin:WorkerPlugin").name("dropped");
    drop_at_every_await("register_worker_plugin", client, || client.register_worker_plugin(plugin())).await;
    if has(client.dialect(), "unregister_worker_plugin") {
        drop_at_every_await("unregister_worker_plugin", client, || async {
            // One that was dropped may have removed it.
            client.register_worker_plugin(plugin()).await?;
            client.unregister_worker_plugin("dropped").await
        })
        .await;
    }
    if has(client.dialect(), "register_nanny_plugin") {
        let plugin = || Plugin::of("distributed.diagnostics.plugin:NannyPlugin").name("dropped");
        drop_at_every_await("nanny plugins", client, || async {
            client.register_nanny_plugin(plugin()).await?;
            client.unregister_nanny_plugin("dropped").await
        })
        .await;
    }
    if has(client.dialect(), "register_scheduler_plugin") {
        let plugin = || Plugin::of("distributed.diagnostics.plugin:SchedulerPlugin").name("dropped");
        drop_at_every_await("register_scheduler_plugin", client, || {
            client.register_scheduler_plugin(plugin())
        })
        .await;
    }
    if has(client.dialect(), "unregister_scheduler_plugin") {
        let plugin = || Plugin::of("distributed.diagnostics.plugin:SchedulerPlugin").name("dropped");
        drop_at_every_await("unregister_scheduler_plugin", client, || async {
            client.register_scheduler_plugin(plugin()).await?;
            client.unregister_scheduler_plugin("dropped").await
        })
        .await;
    }
    let number = Cell::new(0);
    drop_at_every_await("upload_bytes", client, || {
        number.set(number.get() + 1);
        let name = format!("dropped_{}.py", number.get());
        async move { client.upload_bytes(&name, b"answer = 42\n", true).await }
    })
    .await;
    let file = tempfile::Builder::new().prefix("dropped_").suffix(".py").tempfile().unwrap();
    drop_at_every_await("upload_file", client, || client.upload_file(file.path())).await;
    if client.dialect().has(Feature::Topics) {
        drop(
            drop_at_every_await("forward_logs", client, || client.forward_logs("dropped", LogLevel::Info))
                .await,
        );
    }
}

async fn actors(client: &Client) {
    drop_at_every_await("an actor", client, || async {
        let future: Future<()> = client.submit(py("only_on_workers:Account").arg(10).actor()).await?;
        let account = client.actor(&future).await?;
        assert_eq!(account.call::<i64>("deposit").arg(5).await?, 15);
        assert_eq!(account.attribute::<i64>("balance").await?, 15);
        Ok::<_, Error>(())
    })
    .await;
}

async fn looking(client: &Client) {
    let future: Future<i64> = client.submit(add(1).key("looked-at")).await.unwrap();
    future.finished().await.unwrap();
    let key = [Key::from("looked-at")];
    drop_at_every_await("scheduler_info", client, || client.scheduler_info()).await;
    drop_at_every_await("scheduler_summary", client, || client.scheduler_summary()).await;
    drop_at_every_await("versions", client, || client.versions()).await;
    drop_at_every_await("health", client, || client.health(PATIENCE)).await;
    drop_at_every_await("nthreads", client, || client.nthreads()).await;
    drop_at_every_await("processing", client, || client.processing()).await;
    drop_at_every_await("call_stack", client, || client.call_stack(Some(&key))).await;
    drop_at_every_await("profile", client, || client.profile(None)).await;
    drop_at_every_await("task_stream", client, || client.task_stream(None, None, None)).await;
    drop_at_every_await("diagnose", client, || async { Ok::<_, Error>(client.diagnose(&key[0]).await) })
        .await;
    drop_at_every_await("scheduler_logs", client, || client.scheduler_logs(None)).await;
    drop_at_every_await("worker_logs", client, || client.worker_logs(None)).await;
    drop_at_every_await("worker_logs_of", client, || client.worker_logs_of(["second"], None)).await;
    drop_at_every_await("nanny_logs", client, || client.nanny_logs(None)).await;
    drop_at_every_await("nanny_logs_of", client, || client.nanny_logs_of([""; 0], None)).await;
    drop_at_every_await("rpc", client, || client.rpc("ncores", [])).await;
    let worker = client.nthreads().await.unwrap().into_keys().next().unwrap().parse().unwrap();
    drop_at_every_await("rpc_at_worker", client, || client.rpc_at_worker(&worker, "versions", [])).await;
    drop_at_every_await("wait_for_workers", client, || client.wait_for_workers(2, PATIENCE)).await;
    drop_at_every_await("adaptive_target", client, || client.adaptive_target(None)).await;
    drop_at_every_await("retire_workers", client, || client.retire_workers(Vec::<String>::new())).await;
    drop_at_every_await("retire_some", client, || client.retire_some(0, 0)).await;
    drop_at_every_await("retire_workers_without_closing", client, || {
        client.retire_workers_without_closing(Vec::<String>::new())
    })
    .await;
    drop_at_every_await("watch_workers", client, || async {
        client.watch_workers(Duration::from_secs(1)).next().await.expect("a worker")
    })
    .await;
    if has(client.dialect(), "get_story") {
        drop_at_every_await("story", client, || client.story(&key)).await;
    }
    if has(client.dialect(), "get_cluster_state") {
        drop_at_every_await("cluster_dump", client, || client.cluster_dump(&["run_spec"], PATIENCE)).await;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dump").display().to_string();
        drop_at_every_await("cluster_dump_to", client, || {
            client.cluster_dump_to(&path, "msgpack", &["run_spec"], PATIENCE)
        })
        .await;
    }
}

/// What a scheduler keeps for clients: tasks, what they want, leases and locks, items of queues, variables, datasets,
/// plugins, subscriptions.
const LEFTOVERS: &str = "
def leftovers(dask_scheduler):
    extensions = dask_scheduler.extensions
    def each(name, attribute):
        held = getattr(extensions.get(name), attribute, None) or {}
        return sum(len(of_one) for of_one in held.values())
    queues = extensions['queues'].queues.values()
    events = extensions.get('events')
    topics = getattr(events, 'subscribers', None) or getattr(dask_scheduler, 'event_subscriber', None)
    if topics is None:
        topics = getattr(getattr(dask_scheduler, '_broker', None), '_topics', None) or {}
        topics = {name: topic.subscribers for name, topic in topics.items()}
    clients = dask_scheduler.clients.values()
    return {
        'tasks': len(dask_scheduler.tasks),
        'wanted': sum(len(client.wants_what) for client in clients),
        'leases': each('semaphores', 'leases'),
        'locks': len(getattr(extensions.get('locks'), 'ids', ())),
        'multi-locks': each('multi_locks', 'locks'),
        'items': sum(queue.qsize() for queue in queues),
        'variables': len(extensions['variables'].variables),
        'datasets': len(extensions['publish'].datasets),
        'forwards': sum('forwarded-logs' in str(name) for name in getattr(dask_scheduler, 'worker_plugins', ())),
        'listeners': sum(len(listeners) for listeners in topics.values()),
    }
";

/// Whose they are, for the message.
const OWNERS: &str = "
def owners(dask_scheduler):
    clients = dask_scheduler.clients.items()
    return {str(name): [str(task.key) for task in client.wants_what] for name, client in clients}
";

type Leftovers = BTreeMap<String, i64>;

async fn leftovers(client: &Client) -> Result<Leftovers, Error> {
    client.run_on_scheduler(python_module(LEFTOVERS, "leftovers")).await
}

async fn nothing_is_left(client: &Client, before: &Leftovers) -> Result<(), Failure> {
    let mut found = Leftovers::new();
    let queue = client.queue("dropped", 0).await?;
    for _ in 0..1200 {
        // What a dropped wait had taken comes back to the queue when it arrives.
        queue.get_all::<i64>().await?;
        found = leftovers(client).await?;
        if client.statistics().futures == 0 && found == *before {
            // The functions that counted them were no task.
            ensure_eq!(client.statistics().pending, 0);
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(client.statistics().futures == 0, "{} futures are held", client.statistics().futures);
    let owners: BTreeMap<String, Vec<String>> =
        client.run_on_scheduler(python_module(OWNERS, "owners")).await?;
    Err(format!("{found:?}, and before {before:?}; wanted by {owners:?}").into())
}
