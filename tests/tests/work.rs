//! Submitting and waiting, on the oldest and the newest release (or `DASK_RELEASES`).

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use dask_client::{Diagnosis, ErrorKind, Feature, Future, Graph, Key, WireValue, py, python, python_module};
use dask_live_tests::scenarios::{Outcome, Stage};
use dask_live_tests::{PATIENCE, TestCluster, checks, ensure, ensure_eq, on_each_release};
use dask_local::Protocol;

#[tokio::test]
async fn work_is_done_and_waited_for() {
    on_each_release(checks![
        submits_many_in_few_messages,
        maps_without_end_in_bounded_memory,
        maps_in_order,
        maps_past_errors,
        gives_results_as_they_come,
        goes_on_with_what_is_pushed,
        tells_exceptions,
        waits_for_the_first_and_for_all,
        counts_progress,
        obeys_options_of_a_graph,
        obeys_priorities,
        obeys_the_time_after_which_work_is_later_work,
        nests_calls_in_one_task,
        compiles_python_once_in_each_worker,
        retries_what_failed,
        finishes_what_is_forgotten,
        forgets_what_had_ended_before,
        cancels_with_a_reason,
        cancels_what_others_depend_on,
        takes_up_again_what_was_lost_here,
        cancels_for_others_too,
        knows_its_own_futures,
        hands_all_of_them_over,
        waits_for_room,
        refuses_too_large_graphs,
        says_that_none_fits,
        says_what_runs_and_what_waits,
        says_that_the_scheduler_is_silent,
        says_that_there_is_no_worker,
    ])
    .await;
}

#[tokio::test]
async fn says_that_all_workers_are_paused() {
    // From the first of these on schedulers tell that workers are paused.
    for release in ["2022.7.1", "2026.8.0"] {
        let cluster = TestCluster::start_with(release, Protocol::Tcp, |builder| {
            // Any process uses more than that.
            builder.config("distributed.worker.memory.pause", "0.000001")
        });
        let cluster = cluster.await.unwrap();
        let client = cluster.client().connect().await.unwrap();
        let paused = async {
            loop {
                let info = client.scheduler_info().await.unwrap();
                if info.workers.values().all(|worker| worker.status.as_deref() == Some("paused")) {
                    break info.workers.into_keys().collect::<Vec<_>>();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let paused = tokio::time::timeout(PATIENCE, paused).await.expect("the workers pause");
        let future: Future<i64> = client.submit(py("operator:add").args((1, 2))).await.unwrap();
        let error = future.result().deadline(Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.diagnosis(), Some(&Diagnosis::AllPaused { workers: paused }), "{release}: {error}");
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn says_that_the_worker_that_fits_is_paused() {
    for release in ["2022.7.1", "2026.8.0"] {
        let cluster = TestCluster::start(release, Protocol::Tcp).await.unwrap();
        let client = cluster.client().connect().await.unwrap();
        // The first one offers a SLOT. What it is told to think of its memory makes it pause.
        let pause = "
            worker = dask_worker
            (getattr(worker, 'memory_manager', None) or worker).memory_pause_fraction = 1e-6
        ";
        let run = client.run::<()>(python(pause).kwarg("dask_worker", ())).workers(["first"]);
        run.await.unwrap().into_values().collect::<Result<Vec<_>, _>>().unwrap();
        let paused = async {
            loop {
                let info = client.scheduler_info().await.unwrap();
                let is_paused =
                    |worker: &&dask_client::WorkerInfo| worker.status.as_deref() == Some("paused");
                if let Some(worker) = info.workers.values().find(is_paused) {
                    break worker.address.clone();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let paused = tokio::time::timeout(PATIENCE, paused).await.expect("the worker pauses");
        let call = py("operator:add").args((1, 2)).resource("SLOT", 1.0);
        let future: Future<i64> = client.submit(call).await.unwrap();
        let error = future.result().deadline(Duration::from_secs(1)).await.unwrap_err();
        let Some(Diagnosis::NoneFits { offers, .. }) = error.diagnosis() else {
            panic!("{release}: {error}")
        };
        let offer = offers.iter().find(|offer| offer.worker == paused).unwrap();
        assert_eq!(offer.status.as_deref(), Some("paused"));
        assert!(error.to_string().contains(&format!("{paused} would fit")), "{error}");
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn says_what_is_queued() {
    let cluster = TestCluster::start_with("2026.8.0", Protocol::Tcp, |builder| {
        builder.config("distributed.scheduler.worker-saturation", "1.0")
    });
    let cluster = cluster.await.unwrap();
    let client = cluster.client().connect().await.unwrap();
    // Many alike that depend on nothing wait with the scheduler, two of twenty are with the two workers.
    let futures: Vec<Future<()>> = client
        .submit_many((0..20).map(|n| py("time:sleep").arg(3600 + n).key(format!("alike-{n:032x}"))))
        .await
        .unwrap();
    let last = futures.last().unwrap();
    let asked = async {
        loop {
            let error = last.result().deadline(Duration::from_millis(300)).await.unwrap_err();
            match error.diagnosis() {
                Some(Diagnosis::Queued { others: 17, with_workers: 2, threads: 2 }) => break,
                _ => println!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("17 others are queued and 2 with workers");
    client.close().await;
    cluster.cluster.stop().await.unwrap();
}

/// A call that no worker can run.
fn never() -> dask_client::Call {
    py("operator:add").args((1, 2)).resource("NOWHERE", 1.0)
}

async fn submits_many_in_few_messages(stage: &Stage) -> Outcome {
    let (begun, before) = (std::time::Instant::now(), stage.client.statistics());
    let futures: Vec<Future<i64>> = stage.client.submit_many((0..20_000).map(|_| never())).await?;
    // The last message may still be on its way when its tasks are known.
    stage.client.scheduler_info().await?;
    let after = stage.client.statistics();
    assert_eq!(after.pending - before.pending, 20_000);
    // Four parts, the registration, the request above, and a heartbeat every five seconds.
    let messages = after.messages_out - before.messages_out;
    assert!(messages <= 8 + begun.elapsed().as_secs() / 5, "{messages} messages");
    drop(futures);
    assert_eq!(stage.client.statistics().futures, 0);
    let futures: Vec<Future<i64>> =
        stage.client.submit_many((0..1000).map(|n| py("operator:mul").args((n, 2)))).await?;
    assert_eq!(stage.client.gather(&futures).await?, (0..1000).map(|n| 2 * n).collect::<Vec<i64>>());
    Ok(())
}

async fn maps_without_end_in_bounded_memory(stage: &Stage) -> Outcome {
    let pulled = Rc::new(Cell::new(0usize));
    let counter = Rc::clone(&pulled);
    let inputs = (0i64..).inspect(move |_| counter.set(counter.get() + 1));
    let mut results = stage.client.map(py("operator:add").arg(1), inputs).in_flight(40).as_completed();
    let mut seen = std::collections::HashSet::new();
    for given in 0..300 {
        let (input, result) = results.next().await.ok_or("an endless map ended")?;
        let result: i64 = result?;
        assert_eq!(result, input + 1);
        assert!(seen.insert(input), "{input} twice");
        assert!(pulled.get() - given <= 40, "{} pulled, {given} given out", pulled.get());
    }
    drop(results);
    assert_eq!(stage.client.statistics().futures, 0);
    Ok(())
}

async fn maps_in_order(stage: &Stage) -> Outcome {
    // The first takes longest.
    let inputs: Vec<f64> = (0..60).map(|n| if n == 0 { 0.5 } else { 0.0 }).collect();
    let numbered: Vec<(usize, f64)> = inputs.into_iter().enumerate().collect();
    let call = py("builtins:max").kwarg("key", py("operator:itemgetter").arg(0));
    let calls = numbered.iter().map(|(at, pause)| {
        let slow = (at, py("time:sleep").arg(pause));
        call.clone().arg([slow])
    });
    let mut results =
        stage.client.map(py("builtins:list"), calls.collect::<Vec<_>>()).in_flight(16).ordered();
    let mut next = 0usize;
    while let Some((_, result)) = results.next().await {
        let (at, ()): (usize, ()) = result?;
        assert_eq!(at, next);
        next += 1;
    }
    assert_eq!(next, 60);
    Ok(())
}

async fn maps_past_errors(stage: &Stage) -> Outcome {
    let mut results = stage.client.map::<f64, _>(py("operator:truediv").arg(8), [1, 0, 4]).ordered();
    let mut found = Vec::new();
    while let Some((input, result)) = results.next().await {
        found.push((input, result.map_err(|error| error.kind()).ok()));
    }
    assert_eq!(found, [(1, Some(8.0)), (0, None), (4, Some(2.0))]);
    // What cannot be sent fails by itself.
    let inputs = [1];
    let mut results = stage.client.map::<i64, _>(py("no name"), inputs).as_completed();
    let (_, result) = results.next().await.ok_or("no result")?;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Config);
    assert!(results.next().await.is_none());
    Ok(())
}

async fn gives_results_as_they_come(stage: &Stage) -> Outcome {
    let stuck: Future<i64> = stage.client.submit(never()).await?;
    let bad: Future<i64> = stage.client.submit(py("builtins:int").arg("x")).await?;
    let quick: Vec<Future<i64>> =
        stage.client.submit_many((0..200).map(|n| py("operator:add").args((n, 0)))).await?;
    let mut stream = stage.client.as_completed([stuck.clone()].into_iter().chain(quick).chain([bad]));
    assert_eq!(stream.len(), 202);
    let (mut good, mut errors) = (0, Vec::new());
    while let Some((future, result)) = stream.next().await {
        match result {
            Ok(_) => good += 1,
            Err(error) => errors.push(error.kind()),
        }
        // The one that does not end holds up none of the others.
        if stream.len() == 1 {
            assert_ne!(future.key(), stuck.key());
            stuck.cancel().await?;
        }
    }
    errors.sort_by_key(|kind| *kind == ErrorKind::Cancelled);
    assert_eq!((good, errors.as_slice()), (200, &[ErrorKind::Task, ErrorKind::Cancelled][..]));
    // A deadline ends the stream, with a reason for each that is missing.
    let stuck: Vec<Future<i64>> = stage.client.submit_many([never(), never()]).await?;
    let mut stream = stage.client.as_completed(stuck).deadline(Duration::from_millis(300));
    for _ in 0..2 {
        let (_, result) = stream.next().await.ok_or("it ended early")?;
        let error = result.unwrap_err();
        assert!(matches!(error.diagnosis(), Some(Diagnosis::NoneFits { .. })), "{error}");
    }
    assert!(stream.next().await.is_none());
    Ok(())
}

async fn goes_on_with_what_is_pushed(stage: &Stage) -> Outcome {
    // A walk whose next steps are known only when one is done.
    let step = |n: i64| stage.client.submit::<i64>(py("operator:add").args((n, 1)));
    let mut stream = stage.client.as_completed([step(0).await?]).deadline(PATIENCE);
    let mut seen = Vec::new();
    while let Some((_, result)) = stream.next().await {
        let number = result?;
        seen.push(number);
        if number < 10 {
            stream.push(step(number).await?);
        }
    }
    assert_eq!(seen, (1..=10).collect::<Vec<i64>>());
    // It had ended, and goes on.
    stream.push(step(41).await?);
    assert_eq!(stream.len(), 1);
    assert_eq!(stream.next().await.ok_or("nothing")?.1?, 42);
    assert!(stream.next().await.is_none());
    Ok(())
}

async fn tells_exceptions(stage: &Stage) -> Outcome {
    let good: Future<i64> = stage.client.submit(py("operator:add").args((1, 2))).await?;
    assert!(good.exception().await?.is_none());
    let bad: Future<f64> = stage.client.submit(py("operator:truediv").args((1, 0))).await?;
    let exception = bad.exception().await?.ok_or("no exception")?;
    assert_eq!(exception.class, "ZeroDivisionError");
    let stuck: Future<i64> = stage.client.submit(never()).await?;
    let late = stuck.exception().deadline(Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(late.diagnosis(), Some(Diagnosis::NoneFits { .. })), "{late}");
    stuck.cancel().await?;
    assert_eq!(stuck.exception().await.unwrap_err().kind(), ErrorKind::Cancelled);
    Ok(())
}

async fn waits_for_the_first_and_for_all(stage: &Stage) -> Outcome {
    let stuck: Future<i64> = stage.client.submit(never()).await?;
    let quick: Future<i64> = stage.client.submit(py("operator:add").args((1, 2))).await?;
    let both = [stuck, quick];
    let waited = stage.client.wait(&both).first().await?;
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
    assert!(waited.timeout.is_none());
    let waited = stage.client.wait(&both).all().deadline(Duration::from_millis(300)).await?;
    assert_eq!(waited.done[0].key(), both[1].key());
    assert_eq!(waited.not_done[0].key(), both[0].key());
    let why = waited.timeout.ok_or("no reason")?;
    assert_eq!(why.kind(), ErrorKind::Timeout);
    both[0].cancel().await?;
    let waited = stage.client.wait(&both).await?;
    assert_eq!(waited.done.len(), 2);
    let nothing: [Future<i64>; 0] = [];
    assert!(stage.client.wait(&nothing).await?.done.is_empty());
    let each = stage.client.gather(&both).each().await;
    assert_eq!(each[0].as_ref().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(each[1].as_ref().ok(), Some(&3));
    assert_eq!(stage.client.gather(&both).skip_errors().await, [None, Some(3)]);
    Ok(())
}

async fn counts_progress(stage: &Stage) -> Outcome {
    let mut futures: Vec<Future<i64>> =
        stage.client.submit_many((0..50).map(|n| py("operator:add").args((n, 1)))).await?;
    futures.push(stage.client.submit(py("builtins:int").arg("x")).await?);
    let cancelled: Future<i64> = stage.client.submit(never()).await?;
    futures.push(cancelled.clone());
    let mut progress = stage.client.progress(&futures);
    let first = progress.next().await.ok_or("no counts")?;
    assert_eq!(first.total(), 52);
    cancelled.cancel().await?;
    let (mut last, mut done) = (first, first.done());
    while let Some(counts) = progress.next().await {
        assert!(counts.total() == 52 && counts.done() >= done, "{counts:?} after {last:?}");
        done = counts.done();
        last = counts;
    }
    assert_eq!((last.pending, last.finished, last.erred, last.cancelled, last.lost), (0, 50, 1, 1, 0));
    Ok(())
}

fn file(stage: &Stage, name: &str) -> String {
    stage.cluster.modules.path().join(name).display().to_string()
}

async fn obeys_options_of_a_graph(stage: &Stage) -> Outcome {
    let mut graph =
        Graph::new().retries(2).workers(["second"]).priority(3).fifo_timeout(Duration::from_secs(1));
    let count = graph.add(py("only_on_workers:fail_until").args((file(stage, "graph-options"), 2)));
    let name = |name| py("builtins:getattr").args((py("distributed:get_worker"), name));
    let default = graph.add(name("name"));
    let own = graph.add(name("name").workers(["first"]));
    let found: (i64, String, String) = stage.client.compute(graph, (count, default, own)).await?;
    assert_eq!(found, (3, "second".to_owned(), "first".to_owned()));
    Ok(())
}

async fn obeys_priorities(stage: &Stage) -> Outcome {
    let client = &stage.client;
    // Everything waits behind a task that ends when this file is there.
    let gate = file(stage, "gate");
    let wait = python("import os, time\nwhile not os.path.exists(gate):\n    time.sleep(0.01)");
    let blocker: Future<()> = client.submit(wait.kwarg("gate", &gate).workers(["first"])).await?;
    while !matches!(client.diagnose(blocker.key()).await, Some(Diagnosis::Running { .. })) {
        assert!(!blocker.is_done(), "it was never seen running");
    }
    // When each ran, by one and the same clock; the last to be submitted is the first to run.
    let now = || py("time:monotonic").workers(["first"]);
    let mut graph = Graph::new().priority(-9);
    let last = graph.add(now());
    let last: Vec<Future<f64>> = client.submit_graph(graph, [last.key().clone()]).await?;
    let low: Future<f64> = client.submit(now().priority(-5)).await?;
    let plain: Future<f64> = client.submit(now()).await?;
    let high: Future<f64> = client.submit(now().priority(5)).await?;
    for future in last.iter().chain([&low, &plain, &high]) {
        while matches!(client.diagnose(future.key()).await, Some(Diagnosis::Unknown)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    // What the scheduler has given to the worker arrives there.
    let source = "def arrived(keys, dask_worker):\n    tasks = getattr(dask_worker, 'state', dask_worker).tasks\n    \
                  return all(key in tasks for key in keys)";
    let keys: Vec<String> =
        last.iter().chain([&low, &plain, &high]).map(|future| future.key().to_string()).collect();
    loop {
        let arrived = python_module(source, "arrived").arg(&keys);
        let mut arrived = client.run::<bool>(arrived).workers(["first"]).await?.into_values();
        if arrived.next().ok_or("no worker")?? {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    std::fs::write(&gate, "")?;
    let times = client.gather(&[high, plain, low, last[0].clone()]).await?;
    assert!(times.is_sorted(), "{times:?}");
    Ok(())
}

async fn obeys_the_time_after_which_work_is_later_work(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let source =
        "def generation(key, dask_scheduler):\n    return float(dask_scheduler.tasks[key].priority[1])";
    let mut generations = Vec::new();
    let mut held = Vec::new();
    for timeout in [0, 0, 3600] {
        let mut graph = Graph::new().fifo_timeout(Duration::from_secs(timeout));
        let node = graph.add(never());
        held.extend(client.submit_graph::<i64>(graph, [node.key().clone()]).await?);
        while matches!(client.diagnose(node.key()).await, Some(Diagnosis::Unknown)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let key = node.key().to_string();
        generations.push(client.run_on_scheduler::<f64>(python_module(source, "generation").arg(key)).await?);
    }
    // Later work, unless it comes within the time.
    assert!(generations[0] < generations[1], "{generations:?}");
    assert_eq!(generations[1], generations[2]);
    Ok(())
}

async fn nests_calls_in_one_task(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let source = "def count(dask_scheduler):\n    return len(dask_scheduler.tasks)";
    let count = async || client.run_on_scheduler::<usize>(python_module(source, "count")).await;
    while count().await? > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let inner = py("operator:mul").args((3, 4));
    let list = py("builtins:list").arg((&inner, py("operator:neg").arg(&inner)));
    let nested: Future<i64> = client.submit(py("builtins:sum").arg(&list)).await?;
    assert_eq!(nested.result().await?, 0);
    assert_eq!(count().await?, 1);
    Ok(())
}

async fn compiles_python_once_in_each_worker(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let source = "
import builtins
compiled = []
original = builtins.compile

def count(source, *args, **kwargs):
    if 'to-be-compiled-once' in str(source):
        compiled.append(source)
    return original(source, *args, **kwargs)

def begin():
    builtins.compile = count

def end():
    builtins.compile = original
    return len(compiled)
";
    for done in client.run::<()>(python_module(source, "begin")).await?.into_values() {
        done?;
    }
    let body = "marker = 'to-be-compiled-once'\nreturn n + 1";
    let calls =
        (0..40).map(|n| python(body).kwarg("n", n).workers([if n % 2 == 0 { "first" } else { "second" }]));
    let futures: Vec<Future<i64>> = client.submit_many(calls).await?;
    let numbers = client.gather(&futures).await;
    let counts = client.run::<usize>(python_module(source, "end")).await?;
    assert_eq!(numbers?, (1..=40).collect::<Vec<i64>>());
    for count in counts.into_values() {
        assert_eq!(count?, 1);
    }
    Ok(())
}

async fn retries_what_failed(stage: &Stage) -> Outcome {
    let call = py("only_on_workers:fail_until").args((file(stage, "retries"), 1));
    let failed: Future<i64> = stage.client.submit(call).await?;
    let dependent: Future<i64> = stage.client.submit(py("operator:add").args((&failed, 10))).await?;
    assert_eq!(dependent.result().await.unwrap_err().kind(), ErrorKind::Task);
    assert_eq!(failed.status(), "error");
    stage.client.retry([&dependent, &failed]).await?;
    assert_eq!(dependent.result().deadline(PATIENCE / 2).await?, 12);
    assert_eq!(failed.result().deadline(PATIENCE / 2).await?, 2);
    // Nothing to do is no error.
    failed.retry().await?;
    assert_eq!(failed.result().await?, 2);
    Ok(())
}

async fn finishes_what_is_forgotten(stage: &Stage) -> Outcome {
    let path = file(stage, "forgotten");
    let other = stage.cluster.client().connect().await?;
    let slow = py("time:sleep").arg(1);
    let call = py("builtins:list").arg((&slow, py("only_on_workers:fail_until").args((&path, 0))));
    let future: Future<()> = other.submit(call).await?;
    other.fire_and_forget([&future]).await?;
    future.release();
    other.close().await;
    drop(other);
    for _ in 0..400 {
        if std::fs::metadata(&path).is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the task was not run".into())
}

/// The scheduler lets go of what nobody wants when a task ends, and not later.
async fn forgets_what_had_ended_before(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let done: Future<i64> = client.submit(py("operator:add").args((20, 22)).key("ended-before")).await?;
    done.finished().await?;
    client.fire_and_forget([&done]).await?;
    ensure_eq!(done.result().await?, 42);
    // Done there, and not known to be here: this client hears of it while it hands over.
    let other = stage.cluster.client().connect().await?;
    let same: Future<i64> = other.submit(py("operator:add").args((20, 22)).key("ended-before")).await?;
    other.fire_and_forget([&same]).await?;
    drop((done, same));
    loop {
        let keys: WireValue<'_> = [Key::from("ended-before")].iter().collect();
        let states = client.rpc("get_task_status", [("keys", keys)]).await?;
        if states.as_map().unwrap_or_default().iter().all(|(_, state)| state.is_nil()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    other.close().await;
    Ok(())
}

async fn cancels_with_a_reason(stage: &Stage) -> Outcome {
    let stuck: Future<i64> = stage.client.submit(never()).await?;
    stage.client.cancel_with([&stuck], "the caller hung up").await?;
    let error = stuck.result().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(error.to_string().contains("the caller hung up"), "{error}");
    Ok(())
}

/// Something depends on it that nobody wants: newer schedulers would end the session of who cancels that.
async fn cancels_what_others_depend_on(stage: &Stage) -> Outcome {
    let client = stage.cluster.client().connect().await?;
    let witness: Future<i64> = client.submit(never()).await?;
    for forced in [false, true] {
        let mut graph = Graph::new();
        let first = graph.add(never());
        let between = graph.add(py("operator:add").args((&first, 1)));
        let last = graph.add(py("operator:add").args((&between, 1)));
        let mut futures: Vec<Future<i64>> =
            client.submit_graph(graph, [first.key().clone(), last.key().clone()]).await?;
        let last = futures.pop().ok_or("no last")?;
        match forced {
            false => client.cancel([&futures[0], &last]).await?,
            // On newer releases with the one between, which nobody wants; older ones stop there.
            true => client.cancel_for_all([&futures[0], &last]).await?,
        }
        ensure_eq!(futures[0].status(), "cancelled");
        let states = async || {
            let keys = [first.key(), between.key(), last.key()].into_iter().cloned().collect::<Vec<Key>>();
            let states = client.rpc("get_task_status", [("keys", keys.iter().collect())]).await?;
            let known =
                states.as_map().unwrap_or_default().iter().filter(|(_, state)| !state.is_nil()).count();
            Ok::<_, dask_client::Error>(known)
        };
        while states().await? > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let error = last.result().deadline(PATIENCE).await.err().ok_or("a result")?;
        ensure_eq!(error.kind(), ErrorKind::Cancelled);
    }
    ensure_eq!((client.statistics().reconnects, witness.status()), (0, "pending"));
    client.close().await;
    Ok(())
}

/// A handle that has ended does not keep others of its key from a result.
async fn takes_up_again_what_was_lost_here(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let call = || py("operator:add").args((40, 2)).key("taken-up-again");
    let ours: Future<i64> = client.submit(call()).await?;
    ensure_eq!(ours.result().await?, 42);
    client.detach(&ours, "again").await?;
    client.cancel([&ours]).await?;
    ensure_eq!(ours.status(), "cancelled");
    let again: Future<i64> = client.attach("again").within(PATIENCE).await?;
    ensure_eq!(again.result().deadline(PATIENCE).await?, 42);
    client.forget_detached("again").await?;
    Ok(())
}

async fn knows_its_own_futures(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let other = stage.cluster.client().connect().await?;
    let theirs: Vec<Future<i64>> = vec![other.submit(never()).await?];
    let kind = |error: Option<dask_client::Error>| error.map(|error| error.kind());
    let foreign = Some(ErrorKind::Config);
    ensure_eq!(kind(client.wait(&theirs).await.err()), foreign);
    ensure_eq!(kind(client.gather(&theirs).await.err()), foreign);
    ensure_eq!(kind(client.retry(&theirs).await.err()), foreign);
    ensure_eq!(kind(client.cancel(&theirs).await.err()), foreign);
    ensure_eq!(kind(client.fire_and_forget(&theirs).await.err()), foreign);
    ensure_eq!(kind(client.variable("foreign").set(&theirs[0]).await.err()), foreign);
    let mut completed = client.as_completed(theirs.clone());
    ensure_eq!(kind(completed.next().await.and_then(|(_, result)| result.err())), foreign);
    ensure_eq!(theirs[0].status(), "pending");
    other.close().await;
    Ok(())
}

async fn hands_all_of_them_over(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let known: Future<i64> = client.submit(py("operator:add").args((1, 2))).await?;
    known.finished().await?;
    let cancelled: Future<i64> = client.submit(never()).await?;
    client.cancel([&cancelled]).await?;
    let error = client.fire_and_forget([&cancelled, &known]).await.err().ok_or("a cancelled task")?;
    ensure_eq!(error.kind(), ErrorKind::Cancelled);
    // Large enough to be on its way for a while; the last key is known already.
    let large = vec![7u8; 20_000_000];
    let new: Future<i64> = client.submit(py("builtins:len").arg(serde_bytes::Bytes::new(&large))).await?;
    client.fire_and_forget([&new, &known]).await?;
    let key = [new.key()].into_iter().collect();
    let states = client.rpc("get_task_status", [("keys", key)]).await?;
    let state = states.as_map().and_then(|states| states.first()).and_then(|(_, state)| state.as_str());
    ensure!(state.is_some(), "{states:?}");
    Ok(())
}

async fn cancels_for_others_too(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let other = stage.cluster.client().connect().await?;
    let shared = || never().key("wanted-by-two");
    let ours: Future<i64> = client.submit(shared()).await?;
    let theirs: Future<i64> = other.submit(shared()).await?;
    let source = "def both(key, dask_scheduler):\n    task = dask_scheduler.tasks.get(key)\n    \
                  return task is not None and len(task.who_wants or ()) == 2";
    let both = || python_module(source, "both").arg("wanted-by-two");
    while !client.run_on_scheduler::<bool>(both()).await? {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What another client wants stays. (Older schedulers keep the task, too, but tell everybody that it is cancelled.)
    client.cancel([&ours]).await?;
    assert_eq!(ours.result().await.unwrap_err().kind(), ErrorKind::Cancelled);
    other.scheduler_info().await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    if client.dialect().has(Feature::CancelOnStream) {
        assert_eq!(theirs.status(), "pending");
    }
    drop(ours);
    let ours: Future<i64> = client.submit(shared()).await?;
    client.cancel_for_all_with([&ours], "the day is over").await?;
    let error = theirs.result().deadline(PATIENCE / 2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    if client.release() >= "2025.3.0".parse()? {
        assert!(error.to_string().contains("the day is over"), "{error}");
    }
    drop((ours, theirs));
    // Also without a reason, and by key alone.
    for by_key in [false, true] {
        let ours: Future<i64> = client.submit(never()).await?;
        let theirs: Future<i64> = other.submit(never().key(ours.key().clone())).await?;
        while matches!(other.diagnose(theirs.key()).await, Some(Diagnosis::Unknown)) {}
        match by_key {
            false => client.cancel_for_all([&ours]).await?,
            true => client.cancel_keys([ours.key().clone()]).await?,
        }
        let error = theirs.result().deadline(PATIENCE / 2).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    }
    other.close().await;
    Ok(())
}

async fn waits_for_room(stage: &Stage) -> Outcome {
    let client = stage.cluster.client().max_outstanding(3).connect().await?;
    let stuck: Vec<Future<i64>> = client.submit_many([never(), never()]).await?;
    let quick: Future<i64> = client.submit(py("operator:add").args((1, 2))).await?;
    assert_eq!(quick.result().await?, 3);
    let third: Future<i64> = client.submit(never()).await?;
    let no_room = tokio::time::timeout(Duration::from_millis(200), client.submit::<i64>(never())).await;
    assert!(no_room.is_err(), "there was room for a fourth");
    let error = client.call::<i64>(never()).deadline(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    let waiting = client.submit::<i64>(py("operator:add").args((2, 2)));
    let (fourth, ()) = tokio::join!(waiting, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        third.release();
    });
    assert_eq!(fourth?.result().await?, 4);
    assert_eq!(client.statistics().pending, 2);
    drop(stuck);
    // More at once than there may be: by parts, each when there is room.
    let futures: Vec<Future<i64>> =
        client.submit_many((0..20).map(|n| py("operator:add").args((n, 0)))).await?;
    assert_eq!(client.gather(&futures).await?.len(), 20);
    client.close().await;
    Ok(())
}

async fn refuses_too_large_graphs(stage: &Stage) -> Outcome {
    let client = stage.cluster.client().max_graph_tasks(10).max_graph_bytes(10_000).connect().await?;
    let before = client.statistics().messages_out;
    let error = client.submit_many::<i64>((0..11).map(|_| never())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    assert!(error.to_string().contains("11 tasks"), "{error}");
    let large = py("builtins:len").arg("x".repeat(20_000)).key("the-large-one");
    let error = client.submit_many::<i64>([never(), large]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    assert!(error.to_string().contains("the-large-one"), "{error}");
    assert_eq!(client.statistics().messages_out, before);
    client.close().await;
    Ok(())
}

async fn says_that_none_fits(stage: &Stage) -> Outcome {
    let stuck: Future<i64> = stage.client.submit(never()).await?;
    let error = stuck.result().deadline(Duration::from_millis(300)).await.unwrap_err();
    let Some(Diagnosis::NoneFits { task, resources, workers, offers, .. }) = error.diagnosis() else {
        return Err(format!("{error}").into());
    };
    assert_eq!((task, resources.as_slice()), (stuck.key(), &[("NOWHERE".to_owned(), 1.0)][..]));
    assert!(workers.is_empty());
    assert!(offers.iter().any(|offer| offer.resources == [("SLOT".to_owned(), 1.0)]), "{offers:?}");
    assert!(error.to_string().contains("resources NOWHERE=1"), "{error}");
    // The one that it waits for is named.
    let dependent: Future<i64> = stage.client.submit(py("operator:add").args((&stuck, 1))).await?;
    let error = dependent.finished().deadline(Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error.diagnosis(), Some(Diagnosis::Waiting { .. })), "{error}");
    let mut graph = Graph::new();
    let inner = graph.add(never());
    let outer = graph.add(py("operator:add").args((&inner, 1)));
    let error =
        stage.client.compute::<_, i64>(graph, outer).deadline(Duration::from_millis(300)).await.unwrap_err();
    assert!(
        matches!(error.diagnosis(), Some(Diagnosis::NoneFits { task, .. }) if task == inner.key()),
        "{error}"
    );
    // Workers that are not there.
    let call = py("operator:add").args((1, 2)).workers(["tcp://127.0.0.1:1"]);
    let error = stage.client.call::<i64>(call).deadline(Duration::from_millis(300)).await.unwrap_err();
    assert!(
        matches!(error.diagnosis(), Some(Diagnosis::NoneFits { workers, .. }) if workers == &["tcp://127.0.0.1:1"]),
        "{error}"
    );
    Ok(())
}

async fn says_what_runs_and_what_waits(stage: &Stage) -> Outcome {
    // It runs until it is told, however long the questions take.
    let told = tempfile::tempdir()?;
    let until = "import os, time\nwhile not os.path.exists(path):\n    time.sleep(0.05)";
    let file = told.path().join("told");
    let until = python(until).kwarg("path", file.display().to_string()).workers(["first"]);
    let sleeping: Future<()> = stage.client.submit(until).await?;
    while !matches!(stage.client.diagnose(sleeping.key()).await, Some(Diagnosis::Running { .. })) {
        assert!(!sleeping.is_done(), "it was never seen running");
    }
    let behind: Future<i64> = stage.client.submit(py("operator:add").args((1, 2)).workers(["first"])).await?;
    let dependent: Future<i64> = stage.client.submit(py("builtins:str").arg(&sleeping)).await?;
    let info = stage.client.scheduler_info().await?;
    let first = info.workers.values().find(|worker| worker.name == "first").ok_or("no first worker")?;
    let limit = Duration::from_millis(500);
    let mut tries = 0;
    let (running, assigned, waiting) = loop {
        let asked = tokio::join!(
            async { sleeping.result().deadline(limit).await.unwrap_err() },
            async { behind.result().deadline(limit).await.unwrap_err() },
            async { dependent.finished().deadline(limit).await.unwrap_err() },
        );
        // The worker may not say in time what it does.
        let seen = matches!(asked.0.diagnosis(), Some(Diagnosis::Running { .. }));
        let assigned = matches!(asked.1.diagnosis(), Some(Diagnosis::Assigned { others: 1.., .. }));
        let waits =
            matches!(asked.2.diagnosis(), Some(Diagnosis::Waiting { running }) if !running.is_empty());
        if seen && assigned && waits {
            break asked;
        }
        tries += 1;
        assert!(tries < 20, "{asked:?}");
    };
    assert!(
        matches!(running.diagnosis(), Some(Diagnosis::Running { worker, .. }) if *worker == first.address),
        "{running}"
    );
    assert!(
        matches!(assigned.diagnosis(), Some(Diagnosis::Assigned { worker, others: 1.., .. }) if *worker == first.address),
        "{assigned}"
    );
    let running = match waiting.diagnosis() {
        Some(Diagnosis::Waiting { running }) => running,
        _ => return Err(format!("{waiting}").into()),
    };
    assert_eq!(running.as_slice(), [(sleeping.key().clone(), first.address.clone())]);
    std::fs::write(file, "")?;
    assert_eq!(behind.result().await?, 3);
    assert_eq!(stage.client.diagnose(behind.key()).await, None);
    Ok(())
}

async fn says_that_the_scheduler_is_silent(stage: &Stage) -> Outcome {
    let stuck: Future<i64> = stage.client.submit(never()).await?;
    stage.client.scheduler_info().await?;
    stage.cluster.cluster.pause_scheduler().await?;
    let outcome = stuck.result().deadline(Duration::from_millis(200)).await;
    stage.cluster.cluster.resume_scheduler().await?;
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.diagnosis(), Some(&Diagnosis::SchedulerSilent));
    // And it goes on.
    assert_eq!(stage.client.call::<i64>(py("operator:add").args((1, 2))).await?, 3);
    Ok(())
}

async fn says_that_there_is_no_worker(stage: &Stage) -> Outcome {
    for worker in stage.cluster.cluster.workers() {
        stage.cluster.cluster.stop_worker(worker.index).await?;
    }
    let future: Future<i64> = stage.client.submit(py("operator:add").args((1, 2))).await?;
    for _ in 0..100 {
        let error = future.result().deadline(Duration::from_millis(100)).await.unwrap_err();
        if error.diagnosis() == Some(&Diagnosis::NoWorkers) {
            return Ok(());
        }
    }
    Err("no word of it".into())
}
