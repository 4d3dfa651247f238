//! Real clusters. The first run of each installs its release.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::{Arc, Mutex};

use dask_local::{Error, Event, LocalCluster, NEWEST, Protocol, WorkerSpec};

/// A Python client: the sum of a task on every worker, and the names of the workers.
const CLIENT: &str = r#"
import os
from distributed import Client
client = Client(os.environ["DASK_LOCAL_SCHEDULER"], timeout=30)
workers = client.scheduler_info()["workers"]
futures = [client.submit(lambda n: n + 1, n, workers=[address]) for n, address in enumerate(sorted(workers))]
print(sum(client.gather(futures)), sorted(str(worker["name"]) for worker in workers.values()))
"#;

async fn gone(cluster: LocalCluster) {
    let mut pids = vec![cluster.scheduler_pid()];
    pids.extend(cluster.supervisor_pid());
    pids.extend(cluster.workers().iter().map(|worker| worker.pid));
    let directory = cluster.directory().to_owned();
    assert!(directory.exists());
    cluster.stop().await.unwrap();
    assert_eq!(common::running(&pids), Vec::<String>::new());
    assert!(!directory.exists());
}

#[tokio::test]
async fn the_newest_release_runs_tasks_on_two_workers() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let cluster = LocalCluster::builder()
        .workers(2)
        .worker_names(["a", "b"])
        .worker_resources([("GPU", 2.0)])
        .config("distributed.scheduler.allowed-failures", "7")
        .on_event(Arc::new(move |event: &Event| seen.lock().unwrap().push(event.clone())))
        .start()
        .await
        .unwrap();
    assert_eq!(cluster.release(), NEWEST);
    assert!(cluster.address().starts_with("tcp://127.0.0.1:"), "{}", cluster.address());
    assert!(std::fs::read_to_string(cluster.scheduler_file()).unwrap().contains(&cluster.address()));
    let output = cluster.run_python(CLIENT, &[]).await.unwrap().ok().unwrap();
    assert_eq!(output.trim(), "3 ['a', 'b']");

    let code = "import os, sys, dask\n\
                from distributed import Client\n\
                info = Client(os.environ['DASK_LOCAL_SCHEDULER']).scheduler_info()['workers'].values()\n\
                print(sys.argv[1:], [w['resources'] for w in info], dask.config.get('distributed.scheduler.allowed-failures'))";
    let output = cluster.run_python(code, &["x y"]).await.unwrap().ok().unwrap();
    assert_eq!(output.trim(), "['x y'] [{'GPU': 2.0}, {'GPU': 2.0}] 7");

    let failed = cluster.run_python("import sys; sys.exit('no luck')", &[]).await.unwrap();
    assert_eq!((failed.code, failed.stderr.trim()), (1, "no luck"));
    assert!(matches!(failed.ok(), Err(Error::ScriptFailed { code: 1, .. })));

    let names: Vec<String> = cluster.logs().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["scheduler", "worker 0", "worker 1"]);
    assert!(cluster.worker_log(1).unwrap().contains("Registered to"));
    gone(cluster).await;
    let events = events.lock().unwrap();
    let ready = events.iter().filter(|event| matches!(event, Event::WorkerReady { .. })).count();
    assert_eq!(ready, 2);
    assert!(matches!(events.last(), Some(Event::Stopped { .. })));
}

#[tokio::test]
async fn progress_is_told_while_it_installs_and_the_next_start_finds_it() {
    let cache = tempfile::tempdir().unwrap();
    let start = || async {
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let builder = LocalCluster::builder().workers(0).cache_directory(cache.path());
        let on_event = Arc::new(move |event: &Event| seen.lock().unwrap().push(event.clone()));
        let cluster = builder.on_event(on_event).start().await.unwrap();
        assert!(cluster.environment().python.starts_with(cache.path()), "{:?}", cluster.environment());
        gone(cluster).await;
        events.lock().unwrap().clone()
    };
    let place = |events: &[Event], what: fn(&Event) -> bool| events.iter().position(what);
    let events = start().await;
    let steps = [
        place(&events, |event| matches!(event, Event::FindingPython)),
        place(&events, |event| matches!(event, Event::UsingPython { path, .. } if path.is_absolute())),
        place(&events, |event| matches!(event, Event::CreatingEnvironment { .. })),
        place(&events, |event| matches!(event, Event::Installing { line } if line.contains("distributed"))),
        place(&events, |event| matches!(event, Event::EnvironmentReady { cached: false, .. })),
        place(&events, |event| matches!(event, Event::StartingScheduler { release } if release == NEWEST)),
        place(&events, |event| matches!(event, Event::SchedulerReady { .. })),
    ];
    assert!(steps.iter().all(Option::is_some) && steps.is_sorted(), "{steps:?} {events:#?}");

    let events = start().await;
    assert!(place(&events, |event| matches!(event, Event::Installing { .. })).is_none(), "{events:#?}");
    assert!(place(&events, |event| matches!(event, Event::EnvironmentReady { cached: true, .. })).is_some());
}

#[tokio::test]
async fn the_oldest_release_runs_tasks_on_two_workers() {
    let cluster =
        LocalCluster::builder().release("2.30.1").workers(2).worker_names(["a", "b"]).start().await.unwrap();
    let output = cluster.run_python(CLIENT, &[]).await.unwrap().ok().unwrap();
    assert_eq!(output.trim(), "3 ['a', 'b']");
    gone(cluster).await;
}

#[tokio::test]
async fn tls_is_valid_by_the_strictest_rules() {
    let cluster = LocalCluster::builder().protocol(Protocol::Tls).nanny(true).start().await.unwrap();
    assert!(cluster.address().starts_with("tls://127.0.0.1:"), "{}", cluster.address());
    let output = cluster.run_python(CLIENT, &[]).await.unwrap().ok().unwrap();
    assert!(output.starts_with("1 "), "{output}");
    let tls = cluster.tls().unwrap();
    let strict = r#"
import socket, ssl, sys
ca, cert, key, port = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.load_cert_chain(cert, key)
context.verify_flags |= ssl.VERIFY_X509_STRICT
for name in ("127.0.0.1", "localhost"):
    with context.wrap_socket(socket.create_connection(("127.0.0.1", int(port))), server_hostname=name) as tls:
        print(tls.getpeercert()["issuer"])
"#;
    let [ca, cert, key] = [&tls.ca, &tls.cert, &tls.key].map(|path| path.to_str().unwrap());
    let port = cluster.port().to_string();
    cluster.run_python(strict, &[ca, cert, key, &port]).await.unwrap().ok().unwrap();
    gone(cluster).await;
}

#[tokio::test]
async fn websockets_stay_on_loopback() {
    let cluster = LocalCluster::builder().protocol(Protocol::Wss).start().await.unwrap();
    assert!(cluster.address().starts_with("wss://127.0.0.1:"), "{}", cluster.address());
    let output = cluster.run_python(CLIENT, &[]).await.unwrap().ok().unwrap();
    assert!(output.starts_with("1 "), "{output}");
    gone(cluster).await;
}

#[tokio::test]
async fn processes_are_steered_one_by_one() {
    let cluster = LocalCluster::builder().workers(1).start().await.unwrap();
    let nanny = cluster.add_worker(WorkerSpec::new().name("watched").threads(2).nanny(true)).await.unwrap();
    assert_eq!(nanny, 1);
    let worker = &cluster.workers()[nanny];
    assert!(worker.running && worker.nanny && worker.name == "watched");
    // The nanny and its worker are one group of more than one process.
    assert!(common::running(&[worker.pid]).len() > 1);

    cluster.kill_worker(0).await.unwrap();
    assert!(!cluster.workers()[0].running);
    let error = cluster.kill_worker(0).await.unwrap_err();
    assert!(matches!(error, Error::NotRunning { code: Some(_), .. }), "{error}");
    let error = cluster.stop_worker(7).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchWorker { index: 7, count: 2 }), "{error}");

    cluster.stop_worker(nanny).await.unwrap();
    assert!(!cluster.workers()[nanny].running);

    cluster.pause_scheduler().await.unwrap();
    cluster.resume_scheduler().await.unwrap();
    let (before, address) = (cluster.scheduler_pid(), cluster.address());
    cluster.kill_scheduler().await.unwrap();
    cluster.restart_scheduler().await.unwrap();
    assert_ne!(cluster.scheduler_pid(), before);
    assert_eq!(cluster.address(), address);
    cluster.add_worker(WorkerSpec::new().name("late")).await.unwrap();
    cluster.pause_worker(2).await.unwrap();
    cluster.resume_worker(2).await.unwrap();
    let wait = "import os\nfrom distributed import Client\n\
                Client(os.environ['DASK_LOCAL_SCHEDULER']).wait_for_workers(1, timeout=30)";
    cluster.run_python(wait, &[]).await.unwrap().ok().unwrap();

    let endless = "print('begun', flush=True)\nimport time\nwhile True: time.sleep(1)";
    let error = cluster.run_python_within(endless, &[], std::time::Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(error, Error::ScriptTimeout { .. }), "{error}");
    // What is paused when the cluster stops ends as well.
    cluster.pause_worker(2).await.unwrap();
    gone(cluster).await;
}

#[tokio::test]
async fn dropping_a_cluster_ends_it() {
    let cluster = LocalCluster::builder().nanny(true).start().await.unwrap();
    let mut pids = vec![cluster.scheduler_pid(), cluster.workers()[0].pid];
    pids.extend(cluster.supervisor_pid());
    let directory = cluster.directory().to_owned();
    drop(cluster);
    let ended = tokio::task::spawn_blocking(move || {
        common::wait_until("the end of every process", || {
            common::running(&pids).is_empty() && !directory.exists()
        });
    });
    ended.await.unwrap();
}
