//! A client's life in a service: the scheduler dies and comes back, calls are dropped at any point.

use std::time::Duration;

use dask_client::{ClientEvent, Data, ErrorKind, Future, Graph, OnReconnect, WireValue, py, python};
use dask_live_tests::impatient::{Impatient, drop_at_every_await, patiently};
use dask_live_tests::{PATIENCE, TestCluster, releases, releases_or};
use dask_local::{Protocol, WorkerSpec};
use futures::StreamExt;

/// Kills the scheduler, starts it again on its port, and sees to it that a worker is there.
async fn replace_scheduler(cluster: &TestCluster) {
    cluster.cluster.kill_scheduler().await.unwrap();
    cluster.cluster.restart_scheduler().await.unwrap();
    cluster.cluster.add_worker(WorkerSpec::new().name("later")).await.unwrap();
}

#[tokio::test]
async fn a_scheduler_that_dies_answers_everybody_and_the_client_comes_back() {
    for release in releases() {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        // Told of nothing that is merely slow.
        let client = cluster.client().slow_after(Duration::MAX).connect().await.unwrap();
        let mut events = Box::pin(client.events());
        let done: Future<i64> = client.submit(py("operator:add").args((1, 2))).await.unwrap();
        assert_eq!(done.result().await.unwrap(), 3, "{release}");
        assert!(matches!(events.next().await, Some(ClientEvent::Connected)));
        let slow: Future<()> = client.submit(py("time:sleep").arg(20)).await.unwrap();
        let waiting = slow.result();
        let (answer, ()) =
            tokio::join!(patiently("the wait", async { waiting.await }), replace_scheduler(&cluster));
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Lost, "{release}: {error}");
        // A finished result is lost with its scheduler, too: it released what this client wanted.
        assert_eq!(done.result().await.unwrap_err().kind(), ErrorKind::Lost);
        let Some(ClientEvent::Disconnected { cause }) = events.next().await else { panic!("not told") };
        assert_eq!(cause.kind(), ErrorKind::ConnectionLost, "{cause}");
        let sum: i64 = patiently("the new scheduler", async {
            loop {
                match client.call(py("operator:add").args((20, 22))).deadline(Duration::from_secs(20)).await {
                    Ok(sum) => break sum,
                    Err(error) => assert_ne!(error.kind(), ErrorKind::Closed, "{release}: {error}"),
                }
            }
        })
        .await;
        assert_eq!(sum, 42, "{release}");
        assert!(matches!(patiently("an event", events.next()).await, Some(ClientEvent::Reconnected)));
        assert_eq!(client.statistics().reconnects, 1);
        // What went with the old scheduler cannot be handed over to the new one.
        let error = patiently("fire and forget", client.fire_and_forget([&done])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Lost, "{release}: {error}");
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn work_is_submitted_again_when_asked_for() {
    for release in releases() {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        let client = cluster.client().on_reconnect(OnReconnect::Resubmit).connect().await.unwrap();
        let mut graph = Graph::new();
        let a = graph.add(py("operator:add").args((1, 2)));
        let b = graph.add(py("operator:mul").args((&a, 10)));
        let futures: Vec<Future<i64>> =
            client.submit_graph(graph, [a.key().clone(), b.key().clone()]).await.unwrap();
        assert_eq!(client.gather(&futures).await.unwrap(), [3, 30]);
        replace_scheduler(&cluster).await;
        assert_eq!(
            patiently("the second run", client.gather(&futures).into_future()).await.unwrap(),
            [3, 30],
            "{release}"
        );
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn dependent_work_is_submitted_again_in_its_order() {
    for release in releases() {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        let client = cluster.client().on_reconnect(OnReconnect::Resubmit).connect().await.unwrap();
        let data: Future<Vec<i64>> = client.scatter(Data::value(&[1, 2, 3])).await.unwrap();
        let of_data: Future<i64> = client.submit(py("builtins:len").arg(&data)).await.unwrap();
        let a: Future<i64> = client.submit(py("operator:add").args((1, 2))).await.unwrap();
        let mut last: Future<i64> = client.submit(py("operator:mul").args((&a, 10))).await.unwrap();
        let mut futures = vec![last.clone()];
        for _ in 0..20 {
            last = client.submit(py("operator:add").args((&last, 1))).await.unwrap();
            futures.push(last.clone());
        }
        let failed: Future<()> = client.submit(py("operator:truediv").args((1, 0))).await.unwrap();
        assert_eq!(failed.result().await.unwrap_err().kind(), ErrorKind::Task);
        let expected: Vec<i64> = (30..=50).collect();
        assert_eq!(client.gather(&futures).await.unwrap(), expected, "{release}");
        assert_eq!(of_data.result().await.unwrap(), 3);
        // What is needed for the others, and what nobody needs in between.
        drop(a);
        futures.drain(1..10);
        replace_scheduler(&cluster).await;
        let expected: Vec<i64> = [30].into_iter().chain(40..=50).collect();
        let again = patiently("the second run", client.gather(&futures).into_future()).await;
        assert_eq!(again.unwrap(), expected, "{release}");
        let lost = patiently("what took data", async { of_data.result().await }).await.unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::Lost, "{release}: {lost}");
        assert!(lost.to_string().contains(&data.key().to_string()), "{lost}");
        assert_eq!(failed.status(), "error");
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_may_not_reconnect_ends() {
    let cluster = TestCluster::start("2026.8.0", Protocol::Tcp).await.unwrap();
    let client = cluster.client().reconnect(None).connect().await.unwrap();
    let mut events = Box::pin(client.events());
    let slow: Future<()> = client.submit(py("time:sleep").arg(60)).await.unwrap();
    cluster.cluster.kill_scheduler().await.unwrap();
    assert_eq!(
        patiently("the wait", async { slow.result().await }).await.unwrap_err().kind(),
        ErrorKind::Lost
    );
    let error = patiently("the call", async { client.call::<i64>(py("os:getpid")).await }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
    let mut next = async || patiently("an event", events.next()).await;
    assert!(matches!(next().await, Some(ClientEvent::Connected)));
    assert!(matches!(next().await, Some(ClientEvent::Disconnected { .. })));
    let Some(ClientEvent::GaveUp { cause }) = next().await else { panic!("not told") };
    assert_eq!(cause.kind(), ErrorKind::ConnectionLost);
    assert!(next().await.is_none());
    // Also what needs no stream, and though somebody answers there again: it may be anybody.
    cluster.cluster.restart_scheduler().await.unwrap();
    for outcome in [client.scheduler_info().await.map(drop), client.variable("x").set(&1).await] {
        assert_eq!(outcome.map_err(|error| error.to_string()), Err(cause.to_string()));
    }
    assert_eq!(client.shutdown().await.map_err(|error| error.kind()), Err(ErrorKind::ConnectionLost));
    cluster.client().connect().await.unwrap().scheduler_info().await.unwrap();
    assert!(patiently("events of an ended client", Box::pin(client.events()).next()).await.is_none());
}

#[tokio::test]
async fn a_stranger_at_the_schedulers_address_is_not_tried_again() {
    let cluster = TestCluster::start("2026.8.0", Protocol::Tcp).await.unwrap();
    let client = cluster.client().connect().await.unwrap();
    let mut events = Box::pin(client.events());
    let _held: Future<i64> = client.submit(py("operator:add").args((1, 2))).await.unwrap();
    let port = cluster.cluster.port();
    cluster.cluster.kill_scheduler().await.unwrap();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let stranger = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            drop(tokio::io::AsyncWriteExt::write_all(&mut socket, b"SSH-2.0-OpenSSH_9.6\r\n").await);
        }
    });
    // The policy would try for ten minutes.
    let cause = patiently("giving up", async {
        loop {
            match events.next().await {
                Some(ClientEvent::GaveUp { cause }) => break cause,
                Some(_) => (),
                None => panic!("no last event"),
            }
        }
    })
    .await;
    assert_eq!(cause.kind(), ErrorKind::NotDask, "{cause}");
    let error = patiently("the call", async { client.call::<i64>(py("os:getpid")).await }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotDask, "{error}");
    stranger.abort();
}

#[tokio::test]
async fn events_tell_of_slow_replies_of_what_was_missed_and_end_with_the_client() {
    let cluster = TestCluster::start("2026.8.0", Protocol::Tcp).await.unwrap();
    // Every reply is slow.
    let client = cluster.client().slow_after(Duration::ZERO).connect().await.unwrap();
    let (mut events, mut idle) = (Box::pin(client.events()), Box::pin(client.events()));
    client.scheduler_info().await.unwrap();
    let first = patiently("an event", events.next()).await;
    assert!(matches!(first, Some(ClientEvent::Slow { op: "identity", .. })), "{first:?}");
    for _ in 0..70 {
        client.scheduler_info().await.unwrap();
    }
    assert_eq!(client.statistics().slow, 71);
    // One that did not listen is told how many it missed and gets the rest.
    assert!(matches!(patiently("an event", idle.next()).await, Some(ClientEvent::Missed(7))));
    client.close().await;
    let rest: Vec<ClientEvent> = patiently("the end", idle.collect()).await;
    assert!(matches!(rest.last(), Some(ClientEvent::Closed)), "{rest:?}");
    // Also of a client whose last handle is dropped.
    let other = cluster.client().connect().await.unwrap();
    let events = Box::pin(other.events());
    drop(other);
    let rest: Vec<ClientEvent> = patiently("the end", events.collect()).await;
    assert!(matches!(rest.as_slice(), [ClientEvent::Closed]), "{rest:?}");
    cluster.cluster.stop().await.unwrap();
}

#[tokio::test]
async fn requests_that_nobody_answers_are_slow_ones() {
    let cluster = TestCluster::start("2026.8.0", Protocol::Tcp).await.unwrap();
    let limits = |time| cluster.client().rpc_timeout(time).slow_after(time / 4);
    let client = limits(Duration::from_secs(2)).connect().await.unwrap();
    let mut events = Box::pin(client.events());
    cluster.cluster.pause_scheduler().await.unwrap();
    // A signal takes a moment to take effect.
    let unanswered = async {
        loop {
            if let Err(error) = client.scheduler_info().await {
                break error;
            }
        }
    };
    let error = patiently("a request", unanswered).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let slow = patiently("an event", events.next()).await;
    assert!(matches!(slow, Some(ClientEvent::Slow { op: "identity", .. })), "{slow:?}");
    assert!(client.statistics().slow >= 1);
    cluster.cluster.resume_scheduler().await.unwrap();
    client.close().await;
    cluster.cluster.stop().await.unwrap();
}

#[tokio::test]
async fn waits_that_nobody_waits_for_are_over_soon() {
    for release in releases() {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        let client = cluster.client().rpc_timeout(Duration::from_secs(5)).connect().await.unwrap();
        let queue = client.queue("empty", 0).await.unwrap();
        let variable = client.variable("unset");
        let semaphore = client.semaphore("taken", 1).await.unwrap();
        let other = cluster.client().connect().await.unwrap();
        let lease = other.semaphore("taken", 1).await.unwrap().acquire(PATIENCE).await.unwrap();
        for _ in 0..5 {
            let queue = Box::pin(queue.get::<i64>(None));
            let variable = Box::pin(variable.get::<i64>(None));
            let semaphore = Box::pin(semaphore.acquire(None));
            let waits = futures::future::join3(queue, variable, semaphore);
            assert!(tokio::time::timeout(Duration::from_millis(100), waits).await.is_err(), "{release}");
        }
        // Longer than one turn, and it still comes.
        let later = async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            other.queue("empty", 0).await.unwrap().put(&7, None).await.unwrap();
        };
        let (item, ()) = patiently("an item", futures::future::join(queue.get::<i64>(None), later)).await;
        assert_eq!(item.unwrap().into_value().unwrap(), 7);
        let mut events = Box::pin(client.events());
        drop((queue, variable, semaphore, client));
        // The last handle is that of the last wait.
        let last = patiently("the end of the client", async {
            while let Some(event) = events.next().await {
                if matches!(event, ClientEvent::Closed) {
                    return true;
                }
            }
            false
        });
        assert!(last.await, "{release}");
        lease.release().await.unwrap();
        other.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_was_idle_speaks_to_the_scheduler_that_took_its_place() {
    // Held for both of them: nobody else is given it in between.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.set_reuseaddr(true).unwrap();
    held.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = held.local_addr().unwrap().port();
    let old = TestCluster::start_with("2.30.1", Protocol::Tcp, |builder| builder.scheduler_port(port));
    let old = old.await.unwrap();
    let client = old.client().connect().await.unwrap();
    client.scheduler_info().await.unwrap();
    old.cluster.stop().await.unwrap();
    let new = TestCluster::start_with("2026.8.0", Protocol::Tcp, |builder| builder.scheduler_port(port));
    let new = new.await.unwrap();
    assert_eq!(client.release().to_string(), "2.30.1");
    assert_eq!(patiently("a request", client.scheduler_info()).await.unwrap().workers.len(), 2);
    assert_eq!(client.release().to_string(), "2026.8.0");
    let sum: i64 =
        patiently("a task", async { client.call(py("operator:add").args((1, 2))).await }).await.unwrap();
    assert_eq!(sum, 3);
    client.close().await;
    new.cluster.stop().await.unwrap();
}

#[tokio::test]
async fn calls_dropped_at_any_await_leave_the_session_usable() {
    for release in releases() {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        let connect = || cluster.client().connect();
        let client = connect().await.unwrap();
        // Registering itself, on a fresh client each time.
        for polls in 0..20 {
            let fresh = connect().await.unwrap();
            let call = async { fresh.call::<i64>(py("operator:add").args((1, 2))).await };
            drop(patiently("registering", Impatient::new(call, polls)).await);
            let sum: i64 =
                patiently("the fresh client", async { fresh.call(py("operator:add").args((1, 2))).await })
                    .await
                    .unwrap();
            assert_eq!(sum, 3);
        }
        drop_at_every_await("connect", &client, connect).await;
        drop_at_every_await("call", &client, || {
            let client = client.clone();
            async move { client.call::<i64>(py("operator:add").args((1, 2))).await }
        })
        .await;
        drop_at_every_await("scheduler_info", &client, || client.scheduler_info()).await;
        drop_at_every_await("versions", &client, || client.versions()).await;
        drop_at_every_await("health", &client, || client.health(Duration::from_secs(5))).await;
        let futures: Vec<Future<i64>> = {
            let mut futures = Vec::new();
            for n in 0..10 {
                futures.push(client.submit(py("operator:add").args((n, n))).await.unwrap());
            }
            futures
        };
        drop_at_every_await("gather", &client, || client.gather(&futures).into_future()).await;
        drop_at_every_await("cancel", &client, || client.cancel(&futures)).await;
        drop_at_every_await("compute", &client, || {
            let mut graph = Graph::new();
            let a = graph.add(py("operator:add").args((1, 2)));
            client.compute::<_, i64>(graph, a).into_future()
        })
        .await;
        drop(futures);
        // Nothing of all that is held any more.
        patiently("letting go", async {
            while client.statistics().futures > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_variable_whose_reader_went_away_can_still_be_deleted() {
    for release in releases() {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        let client = cluster.client().connect().await.unwrap();
        let reader = cluster.client().connect().await.unwrap();
        let future: Future<i64> = client.submit(py("operator:add").args((1, 2))).await.unwrap();
        let variable = client.variable("read-and-left");
        variable.set(&future).await.unwrap();
        let same = reader.variable("read-and-left");
        drop_at_every_await("variable.get", &reader, || async { same.get::<i64>(PATIENCE).await.map(drop) })
            .await;
        let key = future.key().clone();
        drop(future);
        variable.delete().await.unwrap();
        // While the scheduler waits for a confirmation it keeps the task.
        patiently("forgetting", async {
            loop {
                let keys: WireValue<'_> = [&key].into_iter().collect();
                let states = client.rpc("get_task_status", [("keys", keys)]).await.unwrap();
                let state = states.as_map().unwrap().first().map(|(_, state)| state.clone());
                if matches!(state, None | Some(WireValue::Nil)) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        client.close().await;
        reader.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_scheduler_that_is_busy_is_waited_for() {
    // One of each encoding: what a silent server is sent is not in the encoding of the older ones.
    for release in releases_or(&["2.30.1", "2021.3.0", "2026.8.0"]) {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        let client = cluster.client().connect().await.unwrap();
        let started = cluster.modules.path().join("started");
        let block = python("import time\nopen(path, 'w').close()\ntime.sleep(4)")
            .kwarg("path", started.display().to_string());
        let blocked = client.run_on_scheduler::<()>(block);
        let connected = async {
            while !started.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            cluster.client().connect_timeout(PATIENCE).connect().await
        };
        let both = async { tokio::join!(blocked, connected) };
        let (blocked, connected) = patiently("both", both).await;
        blocked.unwrap();
        let another = connected.unwrap_or_else(|error| panic!("{release}: {error}"));
        let sum = another.call::<i64>(py("operator:add").args((1, 2)));
        assert_eq!(patiently("a call", async { sum.await }).await.unwrap(), 3, "{release}");
        another.close().await;
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}
