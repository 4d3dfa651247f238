//! Looking at the cluster, and ending it.
//!
//! Besides the two ends of history: 2021.12.0 (running workers are counted, lines of logs have times, workers are
//! watched by a topic), 2022.5.0 (first known one with stories and dumps), 2022.7.1 (restart became an RPC), 2024.4.2
//! (single workers are restarted).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dask_client::{Dialect, ErrorKind, Future, Key, LogLevel, Profile, WorkerChange, py};
use dask_live_tests::rounds::{another, over, python, releases_and};
use dask_live_tests::scenarios::{Failure, Outcome, Stage};
use dask_live_tests::told::Told;
use dask_live_tests::{PATIENCE, TestCluster, checks, ensure, ensure_eq};
use dask_local::{Protocol, WorkerSpec};
use futures::StreamExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_cluster_does() {
    let releases = releases_and(&["2021.12.0", "2022.5.0", "2022.7.1", "2024.4.2"]);
    // The last ones end what the others need.
    let checks = checks![
        sees_load_and_stacks,
        sees_profiles,
        sees_chosen_profiles,
        records_tasks,
        tells_stories,
        asks_about_tasks_still_on_their_way,
        reads_logs,
        dumps_the_cluster,
        compares_versions,
        names_the_worker_that_does_not_say_its_versions,
        sums_up_the_scheduler,
        forwards_logs,
        waits_for_workers_and_watches_them,
        hears_of_workers_by_topic,
        suggests_a_size,
        retires_workers,
        retires_those_that_can_be_spared,
        retires_without_closing,
        restarts_single_workers,
        restarts_all,
        restarts_without_waiting,
        shuts_down,
    ];
    over(releases, |builder| builder, checks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_workers_outlives_a_scheduler() {
    for release in dask_live_tests::releases() {
        let cluster = TestCluster::start(&release, Protocol::Tcp).await.unwrap();
        let client = cluster.client().connect().await.unwrap();
        let mut changes = client.watch_workers(Duration::from_millis(200));
        let mut next = async || {
            let next = tokio::time::timeout(PATIENCE, changes.next()).await;
            next.expect("a change").expect("the watch goes on").expect("no error")
        };
        let mut there = BTreeSet::new();
        while there.len() < 2 {
            let WorkerChange::Joined { address, .. } = next().await else { panic!("{release}: one left") };
            there.insert(address);
        }
        cluster.cluster.kill_scheduler().await.unwrap();
        cluster.cluster.restart_scheduler().await.unwrap();
        let later = cluster.cluster.add_worker(WorkerSpec::new().name("later")).await.unwrap();
        let later = cluster.cluster.workers()[later].address.clone();
        // Whether the workers of the old scheduler come back is up to the release.
        loop {
            match next().await {
                WorkerChange::Joined { address, .. } if address == later => break,
                change => println!("{release}: {change:?}"),
            }
        }
        client.close().await;
        let end = async {
            while let Some(change) = changes.next().await {
                if let Err(error) = change {
                    return Some(error.kind());
                }
            }
            None
        };
        let end = tokio::time::timeout(PATIENCE, end).await.expect("an end");
        assert_eq!(end, Some(ErrorKind::Closed), "{release}");
        cluster.cluster.stop().await.unwrap();
    }
}

fn kind<T>(outcome: Result<T, dask_client::Error>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind())
}

fn has(dialect: Dialect, op: &str) -> bool {
    dialect.request(dask_wire::Peer::Scheduler, op).is_ok()
}

async fn sees_load_and_stacks(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let threads = client.nthreads().await?;
    ensure_eq!(threads.values().copied().collect::<Vec<_>>(), [1, 1]);
    let sleeping: Future<()> =
        client.submit(py("time:sleep").arg(3600).key("sleeping").workers(["first"])).await?;
    let waiting: Future<()> =
        client.submit(py("time:sleep").arg(0).key("waiting").workers(["first"])).await?;
    let first = stage.cluster.cluster.workers()[0].address.clone();
    let both = BTreeSet::from([Key::from("sleeping"), Key::from("waiting")]);
    let mut stacks = BTreeMap::new();
    for _ in 0..1200 {
        let processing = client.processing().await?;
        ensure_eq!(processing.len(), 2);
        let on_first: BTreeSet<Key> =
            processing.get(&first).cloned().unwrap_or_default().into_iter().collect();
        stacks = client.call_stack(None).await?;
        // Newer releases leave what waits with the scheduler.
        if on_first.contains(&Key::from("sleeping")) && on_first.is_subset(&both) && !stacks.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let frames = stacks.get(&first).and_then(|tasks| tasks.get("sleeping"));
    ensure!(frames.is_some_and(|frames| !frames.is_empty()), "{stacks:?}");
    let of_one = client.call_stack(Some(&[Key::from("sleeping")])).await?;
    ensure!(of_one.get(&first).is_some_and(|tasks| tasks.len() == 1), "{of_one:?}");
    drop((sleeping, waiting));
    // The worker would sleep on; a new one takes its place.
    stage.cluster.cluster.kill_worker(0).await?;
    let path = stage.cluster.modules.path().display().to_string();
    stage.cluster.cluster.add_worker(WorkerSpec::new().name("third").env("PYTHONPATH", path)).await?;
    Ok(())
}

fn depth(profile: &Profile) -> usize {
    1 + profile.children.iter().map(depth).max().unwrap_or(0)
}

async fn sees_profiles(stage: &Stage) -> Outcome {
    let client = &stage.client;
    for _ in 0..60 {
        // Busy in Python code for a moment, so that samples fall into it.
        client.call::<i64>(py("builtins:sum").arg(py("builtins:range").arg(3_000_000))).await?;
        client.call::<()>(py("time:sleep").arg(0.2)).await?;
        let profile = client.profile(None).await?;
        if profile.count > 0 && depth(&profile) > 1 {
            let frame = &profile.children.first().ok_or("no frame")?.frame;
            ensure!(!frame.name.is_empty() && frame.file.ends_with(".py"), "{frame:?}");
            let other = client.profile(Some("no-such-task")).await?;
            ensure_eq!(other.count, 0);
            return Ok(());
        }
    }
    Err("no sample".into())
}

async fn sees_chosen_profiles(stage: &Stage) -> Outcome {
    let client = &stage.client;
    client.call::<()>(py("time:sleep").arg(0.2)).await?;
    let all = client.profile(None).await?.count;
    let count = async |query: dask_client::ProfileQuery<'_>| Ok::<_, dask_client::Error>(query.await?.count);
    ensure!(count(client.profile_of().start(1.0).stop(1e11)).await? >= all, "less than before");
    // Dask's cuts are coarse: what lies in the same second as a cut may fall on either side of it.
    let mut found = (0, 0, 0);
    for _ in 0..60 {
        client.call::<()>(py("time:sleep").arg(0.2)).await?;
        let (early, late) = (client.profile_of().stop(1.0), client.profile_of().start(1e11));
        found = (count(early).await?, count(late).await?, count(client.profile_of()).await?);
        if found.0 < found.2 && found.1 < found.2 {
            break;
        }
    }
    ensure!(found.0 < found.2 && found.1 < found.2, "of before, after and of all times: {found:?}");
    // Each worker by itself makes up the whole.
    let mut sum = 0;
    let names: Vec<String> = client.scheduler_info().await?.workers.into_values().map(|it| it.name).collect();
    for name in names {
        sum += count(client.profile_of().workers([name])).await?;
    }
    ensure!(sum >= all, "{sum} of {all} samples");
    ensure_eq!(kind(client.profile_of().workers(["no such"]).await), Some(ErrorKind::Config));
    ensure_eq!(count(client.profile_of().tasks_named("no-such-task")).await?, 0);
    // The loops are idle for the most part: that they can be asked for is what counts.
    client.profile_of().worker_loops().await?;
    client.profile_of().scheduler_loop().await?;
    Ok(())
}

async fn records_tasks(stage: &Stage) -> Outcome {
    let client = &stage.client;
    client.task_stream(None, None, None).await?;
    client.call::<()>(py("time:sleep").arg(0.05).key("recorded")).await?;
    let failed = client.call::<f64>(py("operator:truediv").args((1, 0)).key("failed")).await;
    ensure_eq!(kind(failed), Some(ErrorKind::Task));
    let records = client.task_stream(None, None, None).await?;
    let of =
        |key: &str| records.iter().find(|record| record.key == key).ok_or(format!("no {key} in {records:?}"));
    let slept = of("recorded")?;
    ensure!(slept.worker.starts_with("tcp://"), "{slept:?}");
    let compute = slept.startstops.iter().find(|part| part.action == "compute").ok_or("no compute")?;
    ensure!(compute.stop - compute.start >= 0.05, "{compute:?}");
    of("failed")?;
    ensure_eq!(client.task_stream(None, None, Some(1)).await?.len(), 1);
    ensure_eq!(client.task_stream(Some(compute.stop + 3600.0), None, None).await?.len(), 0);
    Ok(())
}

async fn tells_stories(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let key = Key::from("with-a-story");
    if !has(client.dialect(), "get_story") {
        ensure_eq!(kind(client.story(&[key]).await), Some(ErrorKind::NotAvailable));
        return Ok(());
    }
    let future: Future<i64> = client.submit(py("operator:add").args((1, 2)).key(key.clone())).await?;
    future.finished().await?;
    let story = client.story(&[key]).await?;
    let last = story.iter().rfind(|step| step.key == "with-a-story").ok_or("no story")?;
    ensure_eq!((last.from.as_str(), last.to.as_str()), ("processing", "memory"));
    ensure!(last.timestamp > 1e9 && !last.stimulus.is_empty(), "{last:?}");
    ensure!(story.windows(2).all(|steps| steps[0].timestamp <= steps[1].timestamp), "{story:?}");
    Ok(())
}

/// A task with a large argument takes its time to arrive; what is asked about it goes over another connection.
async fn asks_about_tasks_still_on_their_way(stage: &Stage) -> Outcome {
    let client = &stage.client;
    // Bytes that do not compress.
    let bytes: Vec<u8> = (0..8u64 << 20)
        .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect::<Vec<u8>>()
        .repeat(3);
    let bytes = serde_bytes::ByteBuf::from(bytes);
    let large = async |key: &str| client.submit::<i64>(py("builtins:len").arg(&bytes).key(key)).await;
    let one = large("on-its-way-to-a-stack").await?;
    client.call_stack(Some(&[one.key().clone()])).await?;
    let other = large("on-its-way-to-a-size").await?;
    client.nbytes([&other]).await?;
    if has(client.dialect(), "get_story") {
        let third = large("on-its-way-to-a-story").await?;
        let story = client.story(&[third.key().clone()]).await?;
        ensure!(story.iter().any(|step| step.key == "on-its-way-to-a-story"), "{story:?}");
        ensure_eq!(third.result().await?, 24 << 20);
    }
    ensure_eq!((one.result().await?, other.result().await?), (24 << 20, 24 << 20));
    Ok(())
}

async fn reads_logs(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let all = client.scheduler_logs(None).await?;
    ensure!(all.len() > 2 && all.iter().any(|line| line.message.contains("Register")), "{all:?}");
    ensure!(all.iter().all(|line| line.level.chars().all(char::is_uppercase)), "{all:?}");
    let last = client.scheduler_logs(Some(2)).await?;
    ensure_eq!(last.len(), 2);
    let workers = client.worker_logs(None).await?;
    ensure_eq!(workers.len(), 2);
    for lines in workers.into_values() {
        let lines = lines?;
        ensure!(lines.iter().any(|line| line.message.contains("Registered to")), "{lines:?}");
        ensure!(lines.windows(2).all(|pair| pair[0].timestamp <= pair[1].timestamp), "{lines:?}");
    }
    let one = client.worker_logs_of(["second"], Some(1)).await?;
    let lines: Vec<usize> = one.into_values().map(|lines| lines.map_or(0, |lines| lines.len())).collect();
    ensure_eq!(lines, [1]);
    ensure_eq!(kind(client.worker_logs_of(["no such"], None).await), Some(ErrorKind::Config));
    ensure_eq!(client.nanny_logs(None).await?.len(), 0);
    Ok(())
}

async fn dumps_the_cluster(stage: &Stage) -> Outcome {
    let client = &stage.client;
    if !has(client.dialect(), "get_cluster_state") {
        ensure_eq!(kind(client.cluster_dump(&[], PATIENCE).await), Some(ErrorKind::NotAvailable));
        return Ok(());
    }
    let future: Future<i64> = client.submit(py("operator:add").args((1, 2)).key("dumped")).await?;
    future.finished().await?;
    let dump = client.cluster_dump(&["run_spec"], PATIENCE).await?;
    let tasks = dump.get("scheduler").and_then(|scheduler| scheduler.get("tasks")).ok_or("no tasks")?;
    ensure!(tasks.get("dumped").is_some(), "{tasks:?}");
    let workers = dump.get("workers").and_then(|workers| workers.as_map()).ok_or("no workers")?;
    ensure_eq!(workers.len(), 2);
    // To a file, which Python's own reader of dumps can read.
    let path = stage.cluster.modules.path().join("dump");
    client.cluster_dump_to(&path.display().to_string(), "msgpack", &["run_spec"], PATIENCE).await?;
    let script = format!(
        "
from distributed.cluster_dump import DumpArtefact
dump = DumpArtefact.from_url('{}.msgpack.gz')
print(dump['scheduler']['tasks']['dumped']['state'])
",
        path.display()
    );
    ensure_eq!(python(stage, &script).await?, "memory");
    Ok(())
}

async fn compares_versions(stage: &Stage) -> Outcome {
    let mut versions = stage.client.versions().await?;
    ensure_eq!(versions.skew(), []);
    let worker = versions.workers.values_mut().next().ok_or("no worker")?;
    worker.packages.insert("msgpack".to_owned(), Some("0.0.1".to_owned()));
    let skew = versions.skew();
    ensure_eq!(skew.len(), 1);
    ensure!(skew[0].matters && skew[0].package == "msgpack" && skew[0].servers.len() == 2, "{skew:?}");
    Ok(())
}

async fn names_the_worker_that_does_not_say_its_versions(stage: &Stage) -> Outcome {
    let client = stage.cluster.client().rpc_timeout(Duration::from_secs(8)).connect().await?;
    let silent =
        stage.cluster.cluster.workers().iter().position(|worker| worker.running).ok_or("none runs")?;
    let address = stage.cluster.cluster.workers()[silent].address.clone();
    stage.cluster.cluster.pause_worker(silent).await?;
    let versions = client.versions().await;
    stage.cluster.cluster.resume_worker(silent).await?;
    let versions = versions?;
    ensure_eq!(versions.workers.len(), 1);
    ensure_eq!(versions.silent.keys().collect::<Vec<_>>(), [&address]);
    ensure!(versions.silent[&address].contains("took longer"), "{:?}", versions.silent);
    client.close().await;
    Ok(())
}

async fn sums_up_the_scheduler(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let (info, summary) = (client.scheduler_info().await?, client.scheduler_summary().await?);
    for it in [&info, &summary] {
        ensure_eq!((it.n_workers, it.total_threads), (2, 2));
        ensure_eq!(
            it.total_memory_bytes,
            info.workers.values().filter_map(|it| it.memory_limit_bytes).sum::<u64>()
        );
        ensure!(it.started.is_none_or(|started| started > 1e9), "{it:?}");
        ensure_eq!(it.started.is_some(), client.release() > "2020.12.0".parse()?);
        // This cluster serves no dashboard, or it is where its port says.
        ensure_eq!(it.dashboard.is_some(), it.services.contains_key("dashboard"));
    }
    ensure_eq!((info.workers.len(), summary.workers.len()), (2, 0));
    Ok(())
}

static FORWARDED: std::sync::OnceLock<Told> = std::sync::OnceLock::new();

async fn forwards_logs(stage: &Stage) -> Outcome {
    let client = &stage.client;
    if !client.dialect().has(dask_client::Feature::Topics) {
        ensure_eq!(kind(client.forward_logs("", LogLevel::Info).await), Some(ErrorKind::NotAvailable));
        return Ok(());
    }
    // Of the whole program: what is forwarded arrives in tasks on any of its threads.
    let collected = FORWARDED.get_or_init(|| {
        let collected = Told::new(|metadata| metadata.target() == "dask.worker");
        drop(tracing::subscriber::set_global_default(collected.clone()));
        collected
    });
    collected.forget();
    let forwarding = client.forward_logs("rust.test", LogLevel::Info).await?;
    let mut seen = Vec::new();
    for number in 0..50 {
        let warn = py("only_on_workers:log").args(("rust.test.sub", "warning", format!("look {number}")));
        client.call::<()>(warn).await?;
        client.call::<()>(py("only_on_workers:log").args(("rust.test", "debug", "hidden"))).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        seen = collected.lines();
        if !seen.is_empty() {
            break;
        }
    }
    ensure!(seen.iter().all(|(level, _)| *level == tracing::Level::WARN), "{seen:?}");
    let (_, text) = seen.first().ok_or("nothing is forwarded")?;
    ensure!(text.contains("message=look") && text.contains("logger=rust.test.sub"), "{text}");
    ensure!(text.contains("worker=tcp://"), "{text}");
    // With two of them the level is what either needs, until the last is gone.
    let level = || py("only_on_workers:level").arg("rust.test");
    let own: i64 = client.call(level()).await?;
    ensure_eq!(own, 20);
    let more = client.forward_logs("rust.test", LogLevel::Debug).await?;
    let becomes = async |wanted: i64| {
        for _ in 0..1200 {
            let levels = client.run::<i64>(level()).await?.into_values().collect::<Result<Vec<_>, _>>()?;
            if levels.iter().all(|level| *level == wanted) {
                return Ok::<_, Failure>(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("the level does not become {wanted}").into())
    };
    becomes(10).await?;
    drop(forwarding);
    tokio::time::sleep(Duration::from_millis(300)).await;
    becomes(10).await?;
    drop(more);
    // 0 is none of its own.
    becomes(0).await
}

async fn waits_for_workers_and_watches_them(stage: &Stage) -> Outcome {
    let client = &stage.client;
    ensure_eq!(client.wait_for_workers(2, PATIENCE).await?, 2);
    let missing = client.wait_for_workers(3, Duration::from_secs(5)).await;
    let error = missing.err().ok_or("no error")?;
    ensure_eq!(error.kind(), ErrorKind::Timeout);
    ensure!(error.to_string().contains("2 of 3"), "{error}");
    let mut changes = client.watch_workers(Duration::from_millis(200));
    let mut next = async || match tokio::time::timeout(PATIENCE, changes.next()).await {
        Ok(Some(change)) => change.map_err(|error| error.to_string()),
        _ => Err("no change".to_owned()),
    };
    for _ in 0..2 {
        let change = next().await?;
        ensure!(matches!(change, WorkerChange::Joined { nthreads: 1, .. }), "{change:?}");
    }
    let waiting = {
        let client = another(stage).await?;
        tokio::spawn(async move { client.wait_for_workers(3, PATIENCE).await })
    };
    let cluster = &stage.cluster.cluster;
    let extra = cluster.add_worker(WorkerSpec::new().name("extra").threads(2)).await?;
    ensure_eq!(waiting.await??, 3);
    let address = cluster.workers()[extra].address.clone();
    ensure_eq!(next().await?, WorkerChange::Joined { address: address.clone(), nthreads: 2 });
    cluster.kill_worker(extra).await?;
    ensure_eq!(next().await?, WorkerChange::Left { address });
    Ok(())
}

async fn hears_of_workers_by_topic(stage: &Stage) -> Outcome {
    let client = &stage.client;
    if !client.dialect().has(dask_client::Feature::Topics) {
        return Ok(());
    }
    // So rarely looked at by itself that only the scheduler's word can tell in time.
    let mut changes = client.watch_workers(Duration::from_secs(3600));
    for _ in 0..2 {
        ensure!(matches!(changes.next().await, Some(Ok(WorkerChange::Joined { .. }))), "nobody is there");
    }
    // Once more it looks early, in case that the subscription came late.
    let quiet = tokio::time::timeout(Duration::from_secs(3), changes.next()).await;
    ensure!(quiet.is_err(), "{quiet:?}");
    let cluster = &stage.cluster.cluster;
    let extra = cluster.add_worker(WorkerSpec::new().name("heard")).await?;
    let address = cluster.workers()[extra].address.clone();
    let joined = changes.next().await.ok_or("it ended")??;
    ensure_eq!(joined, WorkerChange::Joined { address: address.clone(), nthreads: 1 });
    cluster.stop_worker(extra).await?;
    ensure_eq!(changes.next().await.ok_or("it ended")??, WorkerChange::Left { address });
    Ok(())
}

async fn suggests_a_size(stage: &Stage) -> Outcome {
    let size = stage.client.adaptive_target(Some(Duration::from_secs(5))).await?;
    ensure!(size <= 2, "{size} workers for an idle cluster");
    Ok(())
}

async fn retires_workers(stage: &Stage) -> Outcome {
    let client = &stage.client;
    ensure_eq!(kind(client.retire_workers(["no such"]).await), Some(ErrorKind::Config));
    ensure_eq!(client.retire_workers(Vec::<String>::new()).await?.len(), 0);
    let cluster = &stage.cluster.cluster;
    let extra = cluster.add_worker(WorkerSpec::new().name("to-retire")).await?;
    let address = cluster.workers()[extra].address.clone();
    // Its data moves to the others.
    let future: Future<i64> = client.submit(py("operator:add").args((40, 2)).workers(["to-retire"])).await?;
    future.finished().await?;
    ensure_eq!(client.retire_workers(["to-retire"]).await?, std::slice::from_ref(&address));
    ensure_eq!(future.result().await?, 42);
    for _ in 0..1200 {
        let there = client.nthreads().await?.contains_key(&address);
        if !there && !cluster.workers()[extra].running {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the retired worker is still there".into())
}

async fn retires_those_that_can_be_spared(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let cluster = &stage.cluster.cluster;
    ensure_eq!(client.retire_some(0, 0).await?.len(), 0);
    let extra = cluster.add_worker(WorkerSpec::new().name("spare")).await?;
    client.wait_for_workers(3, PATIENCE).await?;
    // The others are busy until a file appears.
    let gate = stage.cluster.modules.path().join("spared");
    let wait = dask_client::python("import os, time\nwhile not os.path.exists(path): time.sleep(0.02)");
    let wait = wait.kwarg("path", gate.display().to_string());
    let busy: Vec<Future<()>> =
        client.submit_many(["first", "second", "third"].map(|name| wait.clone().workers([name]))).await?;
    let spare = cluster.workers()[extra].address.clone();
    loop {
        let processing = client.processing().await?;
        let busy = processing.iter().filter(|(_, tasks)| !tasks.is_empty()).count();
        if busy == 2 && processing.get(&spare).is_some_and(Vec::is_empty) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let retired = client.retire_some(1, 0).await;
    std::fs::write(gate, "")?;
    ensure_eq!(retired?, std::slice::from_ref(&spare));
    drop(busy);
    // As many are to stay as there are.
    let there = client.nthreads().await?.len();
    ensure_eq!(client.retire_some(1, there).await?.len(), 0);
    Ok(())
}

async fn retires_without_closing(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let cluster = &stage.cluster.cluster;
    let extra = cluster.add_worker(WorkerSpec::new().name("to-empty")).await?;
    let address = cluster.workers()[extra].address.clone();
    let future: Future<i64> = client.submit(py("operator:add").args((40, 2)).workers(["to-empty"])).await?;
    future.finished().await?;
    ensure_eq!(client.retire_workers_without_closing(["to-empty"]).await?, std::slice::from_ref(&address));
    ensure_eq!(future.result().await?, 42);
    ensure!(!client.who_has([&future]).await?[future.key()].contains(&address), "its data is still there");
    // Nobody tells it to end; when it reports and learns that it was forgotten it may.
    drop(cluster.stop_worker(extra).await);
    Ok(())
}

async fn restarts_single_workers(stage: &Stage) -> Outcome {
    let client = &stage.client;
    if !has(client.dialect(), "restart_workers") {
        ensure_eq!(kind(client.restart_workers(["x"], PATIENCE).await), Some(ErrorKind::NotAvailable));
        return Ok(());
    }
    ensure_eq!(kind(client.restart_workers(["second"], PATIENCE).await), Some(ErrorKind::Config));
    let cluster = &stage.cluster.cluster;
    let guarded = cluster.add_worker(WorkerSpec::new().name("guarded").nanny(true)).await?;
    let pid = |client: dask_client::Client| async move {
        let pids = client.run::<i64>(py("os:getpid")).workers(["guarded"]).await?;
        pids.into_values().next().unwrap_or_else(|| Ok(0))
    };
    let before = pid(client.clone()).await?;
    let outcome = client.restart_workers(["guarded"], PATIENCE).await?;
    ensure_eq!(outcome.into_values().collect::<Vec<_>>(), ["OK"]);
    let after = pid(client.clone()).await?;
    ensure!(before != after && after != 0, "still process {after}");
    cluster.stop_worker(guarded).await?;
    // The scheduler may learn of it later.
    while client.scheduler_info().await?.workers.values().any(|worker| worker.name == "guarded") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn restarts_all(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let cluster = &stage.cluster.cluster;
    // Only workers with nannies come back.
    cluster.add_worker(WorkerSpec::new().name("phoenix").nanny(true)).await?;
    let named: Vec<String> = client.scheduler_info().await?.workers.into_values().map(|w| w.name).collect();
    let others: Vec<String> = named.into_iter().filter(|name| name != "phoenix").collect();
    client.retire_workers(others).await?;
    let future: Future<i64> = client.submit(py("operator:add").args((1, 2))).await?;
    future.finished().await?;
    let before = client.run::<i64>(py("os:getpid")).await?;
    client.restart(PATIENCE).await?;
    ensure_eq!(kind(future.result().await), Some(ErrorKind::Lost));
    client.wait_for_workers(1, PATIENCE).await?;
    let after = client.run::<i64>(py("os:getpid")).await?;
    let pids = |map: BTreeMap<String, Result<i64, _>>| {
        map.into_values().collect::<Result<Vec<i64>, dask_client::Error>>()
    };
    let (before, after) = (pids(before)?, pids(after)?);
    ensure!(before.iter().all(|pid| !after.contains(pid)) && after.len() == 1, "{before:?} {after:?}");
    // The client goes on.
    ensure_eq!(client.call::<i64>(py("operator:add").args((1, 2))).await?, 3);
    Ok(())
}

async fn restarts_without_waiting(stage: &Stage) -> Outcome {
    let client = &stage.client;
    // One without a nanny does not come back: whoever waits for as many workers as there were waits in vain.
    stage.cluster.cluster.add_worker(WorkerSpec::new().name("mortal")).await?;
    client.wait_for_workers(2, PATIENCE).await?;
    let future: Future<i64> = client.submit(py("operator:add").args((1, 2)).workers(["phoenix"])).await?;
    future.finished().await?;
    client.restart_without_waiting(PATIENCE).await?;
    ensure_eq!(kind(future.result().await), Some(ErrorKind::Lost));
    client.wait_for_workers(1, PATIENCE).await?;
    ensure_eq!(client.call::<i64>(py("operator:add").args((1, 2))).await?, 3);
    Ok(())
}

async fn shuts_down(stage: &Stage) -> Outcome {
    let client = another(stage).await?;
    client.shutdown().await?;
    ensure_eq!(kind(client.nthreads().await), Some(ErrorKind::Closed));
    for _ in 0..400 {
        let fresh = stage.cluster.client().connect_timeout(Duration::from_secs(2)).connect().await;
        let running = stage.cluster.cluster.workers().iter().any(|worker| worker.running);
        if fresh.is_err() && !running {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the cluster is still there".into())
}
