//! Moving data, on the oldest and the newest release (or `DASK_RELEASES`).

use std::collections::HashSet;
use std::time::Duration;

use dask_client::{
    Client, ClientBuilder, Data, Direct, ErrorKind, Future, Gathered, NdArray, Statistics, py,
};
use dask_live_tests::rounds::over;
use dask_live_tests::scenarios::{Failure, Outcome, Stage};
use dask_live_tests::{PATIENCE, checks, releases};
use dask_local::ClusterBuilder;
use dask_wire::family::Decoded;

#[tokio::test]
async fn data_goes_where_it_should() {
    let checks = checks![
        scatters_and_gathers_back,
        shares_keys_of_equal_content,
        scatters_to_chosen_workers,
        takes_the_shortest_way_for_small_results,
        fetches_many_from_workers,
        large_bytes_go_both_ways,
        large_arrays_go_both_ways,
        goes_through_the_scheduler_behind_a_proxy,
        knows_where_data_lies,
        stops_halfway_without_harm,
        tells_when_nobody_takes_data,
        survives_a_lost_worker,
    ];
    // Newer releases drop copies that no task needs.
    let keeps = |builder: ClusterBuilder| {
        builder.config("distributed.scheduler.active-memory-manager.start", "False")
    };
    over(releases(), keeps, checks).await;
}

const LARGE: usize = 80_000_000;

async fn scatters_and_gathers_back(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let list: Future<Vec<i64>> = client.scatter(Data::value(&[1, 2, 3])).await?;
    assert_eq!(list.result().await?, [1, 2, 3]);
    assert_eq!(client.call::<i64>(py("builtins:sum").arg(&list)).await?, 6);
    let array = NdArray::from_slice(&[1.0, 2.0, 3.0, 4.0], [2, 2])?;
    let array: Future<NdArray> = client.scatter(&array).await?;
    assert_eq!(array.result().await?.shape(), [2, 2]);
    assert_eq!(client.call::<f64>(py("numpy:sum").arg(&array)).await?, 10.0);
    let bytes: Future = client.scatter(Data::bytes("abc")).await?;
    assert_eq!(client.call::<String>(py("builtins:str").args((&bytes, "ascii"))).await?, "abc");
    let many: Vec<Future<String>> = client.scatter_many(["a", "b", "c"].map(Data::value)).await?;
    assert_eq!(client.gather(&many).await?, ["a", "b", "c"]);
    let none: Vec<Future<String>> = client.scatter_many(Vec::<Data>::new()).await?;
    assert!(none.is_empty());
    Ok(())
}

async fn shares_keys_of_equal_content(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let one: Future<i64> = client.scatter(Data::value(&41)).await?;
    let sent = client.statistics().sent_relayed + client.statistics().sent_direct;
    let two: Future<i64> = client.scatter(Data::value(&41)).await?;
    assert_eq!(one.key(), two.key());
    assert_eq!(client.statistics().sent_relayed + client.statistics().sent_direct, sent);
    let unique: Future<i64> = client.scatter(Data::value(&41)).hash(false).await?;
    assert_ne!(one.key(), unique.key());
    drop(one);
    assert_eq!((two.result().await?, unique.result().await?), (41, 41));
    let named: Future<i64> = client.scatter(Data::value(&42).key("forty-two")).await?;
    assert_eq!(named.key().to_string(), "forty-two");
    // The same value twice in one go.
    let twice: Vec<Future<i64>> = client.scatter_many([Data::value(&7), Data::value(&7)]).await?;
    assert_eq!(client.gather(&twice).await?, [7, 7]);
    Ok(())
}

async fn addresses(client: &Client) -> Result<(String, String), Box<dyn std::error::Error + Send + Sync>> {
    let info = client.scheduler_info().await?;
    let of = |name: &str| {
        info.workers.values().find(|worker| worker.name == name).map(|worker| worker.address.clone())
    };
    Ok((of("first").ok_or("no first worker")?, of("second").ok_or("no second worker")?))
}

async fn scatters_to_chosen_workers(stage: &Stage) -> Outcome {
    let (first, second) = addresses(&stage.client).await?;
    for direct in [Direct::Never, Direct::Always] {
        let client = stage.cluster.client().direct(direct).connect().await?;
        let there: Future<i64> = client.scatter(Data::value(&1)).hash(false).workers([&second]).await?;
        assert_eq!(client.who_has([&there]).await?[there.key()], std::slice::from_ref(&second), "{direct:?}");
        let everywhere: Future<i64> = client.scatter(Data::value(&2)).hash(false).broadcast().await?;
        let holders: HashSet<String> =
            client.who_has([&everywhere]).await?[everywhere.key()].iter().cloned().collect();
        assert_eq!(holders, HashSet::from([first.clone(), second.clone()]), "{direct:?}");
        // In turn: two values on two workers.
        let two: Vec<Future<i64>> = client.scatter_many([3, 4].map(|n| Data::value(&n))).hash(false).await?;
        let holders = client.who_has(&two).await?;
        assert_ne!(holders[two[0].key()], holders[two[1].key()], "{direct:?}");
        let statistics = client.statistics();
        let expected = if direct == Direct::Never { (0, 4) } else { (4, 0) };
        assert_eq!((statistics.sent_direct, statistics.sent_relayed), expected, "{direct:?}");
        assert_eq!(client.gather(&two).await?, [3, 4]);
        client.close().await;
    }
    Ok(())
}

/// How many messages went out and came in meanwhile.
fn messages(before: Statistics, after: Statistics) -> (u64, u64) {
    (after.messages_out - before.messages_out, after.messages_in - before.messages_in)
}

/// A client that has reached both workers if it may, so that neither is passed over for being slow to take a connection;
/// what it had counted by then, and what it holds.
async fn at_hand(
    builder: ClientBuilder,
    direct: Direct,
) -> Result<(Client, Statistics, Vec<Future<Gathered>>), Failure> {
    for _ in 0..100 {
        let client = builder.clone().direct(direct).connect().await?;
        if direct == Direct::Never {
            return Ok((client, Statistics::default(), Vec::new()));
        }
        let two = [1, 2].map(|byte| Data::bytes(vec![byte; 1 << 18]));
        let held = client.scatter_many(two).hash(false).await?;
        let statistics = client.statistics();
        if statistics.sent_direct == 2 {
            return Ok((client, statistics, held));
        }
        client.close().await;
    }
    Err("the workers are not reached".into())
}

async fn takes_the_shortest_way_for_small_results(stage: &Stage) -> Outcome {
    // No heartbeats, so that every message counts.
    let builder = stage.cluster.client().heartbeat(Duration::from_secs(3600));
    let (client, at_first, _held) = at_hand(builder, Direct::Auto).await?;
    let small: Future<i64> = client.submit(py("operator:add").args((1, 2))).await?;
    small.finished().await?;
    // The connection for requests is open from now on.
    client.scheduler_info().await?;
    let before = client.statistics();
    assert_eq!(small.result().await?, 3);
    assert_eq!(messages(before, client.statistics()), (1, 1));
    // What this client sent is fetched from where it went.
    let large: Future = client.scatter(Data::bytes(vec![1; 1 << 20])).await?;
    assert_eq!(client.statistics().sent_direct - at_first.sent_direct, 1);
    let before = client.statistics();
    let _: Gathered = large.clone().typed().result().await?;
    // The request, its reply, and the word that it has arrived.
    // (On the stream the scheduler may still be telling of the data.)
    assert_eq!(messages(before, client.statistics()).0, 2);
    client.close().await;
    Ok(())
}

async fn fetches_many_from_workers(stage: &Stage) -> Outcome {
    let (client, at_first, _held) = at_hand(stage.cluster.client(), Direct::Auto).await?;
    let futures: Vec<Future<i64>> =
        client.submit_many((0..500).map(|n| py("operator:add").args((n, 1)))).await?;
    let numbers = client.gather(&futures).await?;
    assert_eq!(numbers, (1..=500).collect::<Vec<i64>>());
    let statistics = client.statistics();
    let direct = statistics.results_direct - at_first.results_direct;
    assert_eq!((direct, statistics.results_relayed), (500, 0));
    client.close().await;
    Ok(())
}

async fn large_bytes_go_both_ways(stage: &Stage) -> Outcome {
    let pattern: Vec<u8> = (0..250).collect();
    let bytes: bytes::Bytes = pattern.repeat(LARGE / 250).into();
    for direct in [Direct::Auto, Direct::Never] {
        let (client, at_first, _held) = at_hand(stage.cluster.client(), direct).await?;
        let future: Future<Gathered> = client.scatter(Data::bytes(bytes.clone())).hash(false).await?;
        assert_eq!(client.call::<usize>(py("builtins:len").arg(&future)).await?, LARGE);
        let back = future.result().await?;
        assert!(matches!(&*back, Decoded::Bytes(back) if *back == bytes), "{direct:?}: other bytes");
        let statistics = client.statistics();
        let sent_direct = statistics.sent_direct - at_first.sent_direct;
        let ways = (sent_direct, statistics.sent_relayed, statistics.results_direct);
        assert_eq!(ways, if direct == Direct::Auto { (1, 0, 1) } else { (0, 1, 0) }, "{direct:?}");
        client.close().await;
    }
    Ok(())
}

async fn large_arrays_go_both_ways(stage: &Stage) -> Outcome {
    let items: Vec<f64> = [1.0, 2.5, -3.0, 1e300].repeat(LARGE / 32);
    let array = NdArray::from_slice(&items, [100, LARGE / 800])?;
    for direct in [Direct::Auto, Direct::Never] {
        let (client, at_first, _held) = at_hand(stage.cluster.client(), direct).await?;
        let future: Future<NdArray> = client.scatter(&array).await?;
        // Made there, so that it is fetched by what its type tells.
        let double: Future<NdArray> = client.submit(py("operator:mul").args((&future, 2.0))).await?;
        let back = double.result().await?;
        assert_eq!(back.shape(), array.shape());
        let slice = back.as_slice::<f64>().ok_or("other elements")?;
        assert!(*slice == [2.0, 5.0, -6.0, 2e300].repeat(LARGE / 32), "{direct:?}: other elements");
        let statistics = client.statistics();
        let sent_direct = statistics.sent_direct - at_first.sent_direct;
        let ways = (sent_direct, statistics.results_direct, statistics.results_relayed);
        assert_eq!(ways, if direct == Direct::Auto { (1, 1, 0) } else { (0, 0, 1) }, "{direct:?}");
        client.close().await;
    }
    Ok(())
}

async fn goes_through_the_scheduler_behind_a_proxy(stage: &Stage) -> Outcome {
    let client =
        stage.cluster.client().connect_via("127.0.0.1", stage.cluster.cluster.port()).connect().await?;
    let future: Future<Gathered> = client.scatter(Data::bytes(vec![7; 1 << 20])).await?;
    let Decoded::Bytes(back) = &*future.result().await? else { return Err("no bytes".into()) };
    assert_eq!(back.len(), 1 << 20);
    let statistics = client.statistics();
    assert_eq!((statistics.sent_direct, statistics.results_direct), (0, 0));
    client.close().await;
    Ok(())
}

async fn knows_where_data_lies(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let (first, second) = addresses(client).await?;
    let call = py("operator:mul").args((dask_client::pickle::PyBytes("x".into()), 1000)).workers([&first]);
    let future: Future<Gathered> = client.submit(call).await?;
    future.finished().await?;
    assert_eq!(client.who_has([&future]).await?[future.key()], std::slice::from_ref(&first));
    let held = client.has_what([&first, &second]).await?;
    assert!(held[&first].contains(future.key()) && !held[&second].contains(future.key()), "{held:?}");
    assert_eq!(client.has_what(Vec::<String>::new()).await?.len(), 2);
    let size = client.nbytes([&future]).await?[future.key()];
    assert!((1000..1200).contains(&size), "{size} bytes");
    assert!(client.nbytes_by_name().await?.get("mul").is_some_and(|bytes| *bytes >= 1000));
    client.replicate([&future], None, &[]).await?;
    assert_eq!(client.who_has([&future]).await?[future.key()].len(), 2);
    client.replicate([&future], Some(1), &[]).await?;
    for _ in 0..1200 {
        if client.who_has([&future]).await?[future.key()].len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(client.who_has([&future]).await?[future.key()].len(), 1);
    client.rebalance([&future]).await?;
    client.rebalance(Vec::<&Future<i64>>::new()).await?;
    client.rebalance_among([&future], &["first", &second]).await?;
    let error = client.rebalance_among([&future], &["no such"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    // Also what only others asked for.
    let other = stage.cluster.client().connect().await?;
    let theirs: Future<i64> = other.submit(py("operator:add").args((1, 2)).key("theirs")).await?;
    theirs.finished().await?;
    let all = client.who_has_everything().await?;
    assert!(all.contains_key(future.key()) && all.contains_key(theirs.key()), "{all:?}");
    other.close().await;
    Ok(())
}

async fn stops_halfway_without_harm(stage: &Stage) -> Outcome {
    let client = stage.cluster.client().connect().await?;
    let data = Data::bytes(vec![3; 8_000_000]);
    for polls in 0..12 {
        // Dropped after some polls, whatever it was doing then.
        let mut left = polls;
        let scatter = client.scatter::<Gathered>(data.clone()).hash(false).into_future();
        let mut scatter = scatter;
        std::future::poll_fn(|cx| {
            let ready = scatter.as_mut().poll(cx).is_ready();
            left -= i32::from(left > 0);
            if ready || left == 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        drop(scatter);
    }
    let future: Future<Gathered> = client.scatter(data).await?;
    let mut fetch = future.result().into_future();
    std::future::poll_fn(|cx| {
        drop(fetch.as_mut().poll(cx));
        std::task::Poll::Ready(())
    })
    .await;
    drop(fetch);
    let Decoded::Bytes(back) = &*future.result().await? else { return Err("no bytes".into()) };
    assert_eq!(back.len(), 8_000_000);
    for _ in 0..1200 {
        // The transfers end in the background and let go of what they carried.
        if client.statistics().futures == 1 {
            client.close().await;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("{} futures are left", client.statistics().futures).into())
}

async fn tells_when_nobody_takes_data(stage: &Stage) -> Outcome {
    let scatter = stage.client.scatter::<i64>(Data::value(&1)).hash(false).workers(["tcp://127.0.0.1:1"]);
    let error = scatter.timeout(Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Rpc | ErrorKind::Timeout), "{error:?}");
    Ok(())
}

async fn survives_a_lost_worker(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let (first, second) = addresses(client).await?;
    let workers = stage.cluster.cluster.workers();
    let doomed = workers.iter().find(|worker| worker.address == second).ok_or("no second worker")?;
    let calls = (0..20).map(|n| py("operator:add").args((n, 1)).workers([&second]).allow_other_workers());
    let computed: Vec<Future<i64>> = client.submit_many(calls).await?;
    client.wait(&computed).await?;
    let scattered: Future<Gathered> =
        client.scatter(Data::bytes(vec![1; 1 << 20])).hash(false).workers([&second]).await?;
    stage.cluster.cluster.kill_worker(doomed.index).await?;
    // Computed again.
    let numbers = client.gather(&computed).deadline(PATIENCE / 2).await?;
    assert_eq!(numbers, (1..=20).collect::<Vec<i64>>());
    for holders in client.who_has(&computed).await?.values() {
        assert_eq!(holders, std::slice::from_ref(&first));
    }
    // Not to be had again by anybody.
    let error = scattered.result().deadline(PATIENCE / 2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
    // And with the rest one goes on.
    assert_eq!(client.call::<i64>(py("operator:add").args((1, 2))).await?, 3);
    Ok(())
}
