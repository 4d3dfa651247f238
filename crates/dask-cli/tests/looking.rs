//! Commands that look at a cluster in which something is going on: paused workers, versions that differ, logs, events,
//! dumps, records of tasks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test fails by panic"
)]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{cluster, first_line, program, releases, run_on};
use dask_local::{LocalCluster, WorkerSpec};
use serde_json::{Value as Json, json};

const NEWEST: &str = "2026.8.0";

/// Runs a client's script on the cluster.
async fn python(cluster: &LocalCluster, body: &str) -> String {
    let script = format!(
        "import operator, os, sys, time\nfrom distributed import Client\n\
         c = Client(os.environ['DASK_LOCAL_SCHEDULER'])\n{body}\n"
    );
    cluster.run_python(&script, &[]).await.unwrap().ok().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_worker_is_seen_everywhere() {
    let paused = WorkerSpec::new()
        .name("full")
        .memory_limit("2GB")
        .env("DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE", "0.001")
        .env("DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE", "False");
    let cluster = LocalCluster::builder().release(NEWEST).workers(1).worker(paused).start().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let full = loop {
        let workers = run_on(&cluster, &["workers", "-o", "json"]).exits(0).json();
        let full =
            workers.as_array().unwrap().iter().find(|worker| worker["name"] == "full").cloned().unwrap();
        if full["status"] == "paused" {
            break full["address"].as_str().unwrap().to_owned();
        }
        assert!(Instant::now() < deadline, "{workers}");
        std::thread::sleep(Duration::from_millis(100));
    };
    let ready = run_on(&cluster, &["probe", "ready"]).exits(4);
    assert_eq!(ready.stdout.trim(), format!("failing: {full} is paused"));
    run_on(&cluster, &["probe", "ready", "--allow-paused"]).exits(0);
    let workers = run_on(&cluster, &["workers"]).exits(0);
    assert!(
        workers.stdout.lines().any(|line| line.contains(&full) && line.contains("paused")),
        "{workers:#?}"
    );
    let doctor = run_on(&cluster, &["doctor", "-o", "json"]).exits(0).json();
    assert_eq!(doctor["verdict"], "usable, degraded", "{doctor}");
    assert!(doctor["next"].to_string().contains(&format!("{full} is paused")), "{doctor}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_differ_are_told() {
    for release in releases() {
        let directory = tempfile::tempdir().unwrap();
        let module = "import toolz\ntoolz.__version__ = '0.0.1'\n\
                      import importlib.metadata as m\nold = m.version\n\
                      m.version = lambda name: '0.0.1' if name == 'toolz' else old(name)\n";
        // Python 3.7 has no importlib.metadata, nor do its releases look there.
        let module = if release.starts_with("2.") {
            module.lines().take(2).collect::<Vec<_>>().join("\n")
        } else {
            module.to_owned()
        };
        std::fs::write(directory.path().join("sitecustomize.py"), module).unwrap();
        let odd = WorkerSpec::new().name("odd").env("PYTHONPATH", directory.path().to_str().unwrap());
        let cluster = LocalCluster::builder().release(&release).workers(1).worker(odd).start().await.unwrap();
        let versions = run_on(&cluster, &["versions", "-o", "json"]).exits(0).json();
        assert_eq!(versions["differing"], json!(["toolz"]), "{versions}");
        let table = run_on(&cluster, &["versions"]).exits(0);
        assert!(
            table.stdout.lines().any(|line| line.contains("0.0.1") && line.contains("must agree")),
            "{table:#?}"
        );
        assert!(table.stderr.contains("toolz should be the same everywhere"), "{table:#?}");
        run_on(&cluster, &["probe", "ready"]).exits(0);
        let strict = run_on(&cluster, &["probe", "ready", "--strict-versions"]).exits(4);
        assert!(
            strict.stdout.contains("toolz differs") && strict.stdout.contains("0.0.1 on 1"),
            "{strict:#?}"
        );
        let doctor = run_on(&cluster, &["doctor", "-o", "json"]).exits(0).json();
        assert_eq!(doctor["verdict"], "usable, degraded", "{doctor}");
        cluster.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_workers_and_nannies() {
    for release in releases() {
        let cluster = LocalCluster::builder().release(&release).workers(2).nanny(true).start().await.unwrap();
        let workers: Vec<String> = cluster.workers().into_iter().map(|worker| worker.address).collect();
        let logs = |args: &[&str]| run_on(&cluster, &[&["logs"], args].concat()).exits(0).stdout;
        let all = logs(&["--workers"]);
        for worker in &workers {
            assert!(all.lines().any(|line| line.starts_with(&format!("[{worker}] "))), "{worker} in {all}");
        }
        let one = logs(&["--worker", &workers[0]]);
        assert!(
            !one.is_empty() && one.lines().all(|line| !line.starts_with(&format!("[{}]", workers[1]))),
            "{one}"
        );
        let last = logs(&["--worker", &workers[0], "-n", "1", "-o", "json"]);
        let line: Json = serde_json::from_str(last.trim()).unwrap();
        assert_eq!(line["server"], workers[0].as_str(), "{line}");
        // The log may have grown since.
        let one = logs(&["--worker", &workers[0]]);
        // The last one of the whole log, also where the release counts from the other end.
        assert!(one.contains(line["message"].as_str().unwrap().lines().last().unwrap()), "{line} in {one}");
        let nannies = logs(&["--nanny"]);
        assert!(nannies.contains("Nanny"), "{nannies}");
        let one = logs(&["--nanny", "--worker", &workers[0]]);
        assert!(one.contains("Nanny") && one.lines().count() < nannies.lines().count(), "{one} in {nannies}");
        let nobody = run_on(&cluster, &["logs", "--worker", "nobody"]).exits(1);
        assert!(nobody.stderr.contains("no worker \"nobody\""), "{nobody:#?}");
        assert_eq!(logs(&["--workers", "--level", "critical"]), "");
        // The last of that level, not what of that level is among the last.
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("noise.py");
        let noise = "import logging\ndef make():\n    log = logging.getLogger('distributed.worker')\n    \
            log.critical('one to see')\n    for n in range(20):\n        log.info('noise %d', n)\n";
        std::fs::write(&source, noise).unwrap();
        run_on(&cluster, &["call", "noise:make", "--source", source.to_str().unwrap()]).exits(0);
        let seen = logs(&["--workers", "--level", "critical", "-n", "1"]);
        assert!(seen.contains("one to see") && seen.lines().count() == 1, "{seen}");
        run_on(&cluster, &["logs", "--level", "loud"]).exits(1);
        cluster.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_topic_and_those_to_come() {
    let cluster = cluster(NEWEST).await;
    python(&cluster, "c.log_event('here', {'n': 1})").await;
    let once = run_on(&cluster, &["events", "here", "-o", "json"]).exits(0).json();
    assert_eq!((&once["topic"], &once["event"]), (&json!("here"), &json!({ "n": 1 })), "{once}");
    assert!(once["time_unix_s"].is_f64());
    let text = run_on(&cluster, &["events", "here"]).exits(0);
    assert!(text.stdout.trim_end().ends_with("{\"n\":1}"), "{text:#?}");

    let mut follower = program()
        .args(["events", "here", "--follow", "--every", "100ms", "-o", "json"])
        .env("DASK_SCHEDULER_ADDRESS", cluster.address())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Json>(&lines.next().unwrap().unwrap()).unwrap()["event"].clone();
    assert_eq!(next(), json!({ "n": 1 }));
    python(&cluster, "for n in (2, 3): c.log_event('here', {'n': n})\nc.log_event('there', {'n': 9})").await;
    assert_eq!((next(), next()), (json!({ "n": 2 }), json!({ "n": 3 })));
    // More at once than the scheduler keeps.
    let burst =
        "def burst(dask_scheduler):\n    for n in range(5000): dask_scheduler.log_event('here', {'b': n})\n";
    python(&cluster, &format!("exec({burst:?})\nc.run_on_scheduler(burst)")).await;
    for n in 0..5000 {
        assert_eq!(next(), json!({ "b": n }));
    }
    #[cfg(unix)]
    {
        assert!(Command::new("kill").args(["-INT", &follower.id().to_string()]).status().unwrap().success());
        assert_eq!(follower.wait().unwrap().code(), Some(0));
    }
    let _ = follower.kill();

    // With the last reader ends the follower, as soon as it has something to say.
    let mut unread = program()
        .args(["events", "here", "--follow", "--every", "100ms"])
        .env("DASK_SCHEDULER_ADDRESS", cluster.address())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(first_line(&mut unread));
    python(&cluster, "c.log_event('here', {'n': 4})").await;
    let deadline = Instant::now() + Duration::from_secs(60);
    let code = loop {
        if let Some(status) = unread.try_wait().unwrap() {
            break status.code();
        }
        if Instant::now() > deadline {
            let _ = unread.kill();
            panic!("it speaks to nobody");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(code, Some(0));
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_hangs_is_left_out_of_a_dump() {
    for release in releases() {
        let cluster = cluster(&release).await;
        let workers: Vec<String> = cluster.workers().into_iter().map(|worker| worker.address).collect();
        cluster.pause_worker(1).await.unwrap();
        let dump = run_on(&cluster, &["dump", "--timeout", "20s"]).exits(4);
        assert!(dump.stderr.contains(&workers[1]) && !dump.stderr.contains(&workers[0]), "{dump:#?}");
        let state = dump.json();
        assert!(state["scheduler"]["tasks"].is_object(), "{state}");
        let silent = state["silent"].as_object().unwrap();
        assert!(silent.len() == 1 && silent.contains_key(&workers[1]), "{silent:?}");
        let answers = state["workers"].get("logs").unwrap_or(&state["workers"]);
        assert!(answers.get(&workers[0]).is_some() && answers.get(&workers[1]).is_none(), "{answers}");
        assert!(state["versions"]["workers"].get(&workers[0]).is_some(), "{}", state["versions"]);
        cluster.resume_worker(1).await.unwrap();
        let dump = run_on(&cluster, &["dump"]).exits(0).json();
        assert!(dump.get("silent").is_none(), "{}", dump["silent"]);
        cluster.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dumps_and_records_of_tasks() {
    for release in releases() {
        let cluster = cluster(&release).await;
        python(
            &cluster,
            "failed = c.submit(operator.truediv, 1, 0, key='failed-1')\nfailed.exception()\n\
             kept = c.submit(operator.add, 1, 2, key='kept-1')\nkept.result()\n\
             c.publish_dataset(kept=[kept, failed])\n\
             c.datasets\n",
        )
        .await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state.json");
        let dump = run_on(&cluster, &["dump", file.to_str().unwrap()]).exits(0);
        assert!(dump.stdout.is_empty() && dump.stderr.contains("state.json"), "{dump:#?}");
        let state: Json = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(state["scheduler"]["tasks"]["kept-1"]["state"], "memory");
        let nowhere = run_on(&cluster, &["dump", "/no/such/directory/state.json"]).exits(1);
        assert!(nowhere.stderr.contains("/no/such/directory"), "{nowhere:#?}");

        let task = run_on(&cluster, &["task", "failed-1", "-o", "json"]).exits(0).json();
        assert_eq!(task["state"], "erred", "{task}");
        if release.starts_with("2026") {
            assert!(task["record"].is_object(), "{task}");
            let task = run_on(&cluster, &["task", "failed-1", "-o", "json", "--limit", "1"]).exits(0).json();
            assert!(task["record"].is_null(), "{task}");
            assert!(task["record_missing"].as_str().unwrap().contains("its 2 tasks"), "{task}");
            let text = run_on(&cluster, &["task", "failed-1", "--limit", "1"]).exits(0);
            assert!(
                text.stdout.lines().any(|line| line.starts_with("record") && line.contains("--limit 2")),
                "{text:#?}"
            );
        }
        cluster.stop().await.unwrap();
    }
}
