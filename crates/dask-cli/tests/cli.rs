//! The command line as scripts rely on it: exit codes, JSON shapes, what goes to stdout and what to stderr. Runs the
//! real binary, against real clusters of the ends of history.

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

use std::io::BufReader;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use common::{Peer, cluster, dead_port, first_line, lonely_scheduler, releases, run, run_on};
use dask_local::{LocalCluster, Protocol};
use serde_json::{Value as Json, json};

const NEWEST: &str = "2026.8.0";

#[test]
fn an_address_where_nobody_listens_is_code_2() {
    let address = format!("tcp://127.0.0.1:{}", dead_port());
    for command in [
        &["versions"][..],
        &["workers"],
        &["health"],
        &["call", "operator:add", "1", "2"],
        &["probe", "live"],
    ] {
        let mut args = command.to_vec();
        args.extend(["-s", &address, "--timeout", "5s"]);
        let run = run(&args).exits(2);
        assert!(format!("{}{}", run.stdout, run.stderr).contains("nothing listens"), "{run:#?}");
    }
}

#[test]
fn a_name_that_does_not_resolve_is_code_2() {
    let run = run(&["versions", "-s", "tcp://no-such-host.invalid:8786", "--timeout", "8s"]).exits(2);
    assert!(run.stderr.contains("no-such-host.invalid"), "{run:#?}");
}

#[test]
fn ports_that_are_no_dask_are_code_3_within_the_deadline() {
    for (peer, words) in [
        (Peer::Silent, "says nothing"),
        (Peer::Http, "HTTP"),
        (Peer::Tls, "TLS"),
        (Peer::Closes, "without a word"),
    ] {
        let address = format!("tcp://127.0.0.1:{}", peer.listen());
        let run = run(&["versions", "-s", &address, "--timeout", "2s"]).exits(3);
        assert!(run.stderr.contains(words), "{words}: {run:#?}");
        assert!(run.stdout.is_empty(), "{run:#?}");
    }
}

#[test]
fn no_address_and_bad_ones_are_code_1() {
    let none = run(&["versions"]).exits(1);
    assert!(none.stderr.contains("DASK_SCHEDULER_ADDRESS"), "{none:#?}");
    for address in ["http://127.0.0.1:8787", "inproc://1", "tcp://", "tcp://host:port"] {
        run(&["versions", "-s", address]).exits(1);
    }
    run(&["versions", "--scheduler-file", "/no/such/file"]).exits(1);
    run(&["no-such-command"]).exits(1);
    run(&["bench", "--fail-if", "p42>1ms", "-s", "tcp://127.0.0.1:1"]).exits(1);
    run(&["bench", "--payload", "many", "-s", "tcp://127.0.0.1:1"]).exits(1);
    run(&["bench", "--fail-if", "p99>1.2x", "-s", "tcp://127.0.0.1:1"]).exits(1);
    let state = run(&["tasks", "--state", "memry", "-s", "tcp://127.0.0.1:1"]).exits(1);
    assert!(state.stderr.contains("memory") && state.stderr.contains("no-worker"), "{state:#?}");
}

#[test]
fn tls_without_certificates_is_code_1() {
    let address = format!("tls://127.0.0.1:{}", Peer::Silent.listen());
    let run = run(&["versions", "-s", &address, "--timeout", "2s"]).exits(1);
    assert!(run.stderr.contains("CA file"), "{run:#?}");
}

#[test]
fn graphs_that_cannot_run_are_code_1_before_anything_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("tcp://127.0.0.1:{}", dead_port());
    for (text, words) in [
        ("{", "is not a graph"),
        (r#"[{"a": {"call": "operator:add"}}, ["a"]]"#, "an object of"),
        (r#"{"tasks": {}}"#, "outputs"),
        (
            r#"{"tasks": {"a": {"call": "operator:add", "args": [{"$ref": "ghost"}]}}, "outputs": ["a"]}"#,
            "ghost",
        ),
        (r#"{"tasks": {"a": {"call": "operator:add"}}, "outputs": ["b"]}"#, "\"b\""),
        (r#"{"tasks": {"a": {"call": "f:x"}, "a": {"call": "f:x"}}, "outputs": ["a"]}"#, "two tasks"),
    ] {
        let path = directory.path().join("graph.json");
        std::fs::write(&path, text).unwrap();
        let run = run(&["graph", path.to_str().unwrap(), "-s", &address]).exits(1);
        assert!(run.stderr.contains(words), "{words}: {run:#?}");
    }
    run(&["graph", "/no/such/graph.json", "-s", &address]).exits(1);
    run(&["call", "operator:add", "--kwargs", "[1]", "-s", &address]).exits(1);
}

#[test]
fn help_pages_and_completions_need_no_cluster() {
    let help = run(&["--help"]).exits(0);
    assert!(help.stdout.contains("Exit codes:") && help.stdout.contains("Examples:"), "{help:#?}");
    for shell in ["bash", "zsh", "fish"] {
        let text = run(&["completions", shell]).exits(0).stdout;
        assert!(text.contains("dask-rs") && text.contains("saturn") && text.contains("latency"), "{shell}");
    }
    assert!(run(&["man"]).exits(0).stdout.starts_with(".ie"));
    let directory = tempfile::tempdir().unwrap();
    run(&["man", "--dir", directory.path().to_str().unwrap()]).exits(0);
    let pages = std::fs::read_dir(directory.path()).unwrap().count();
    assert!(pages > 20, "{pages} pages");
    assert!(directory.path().join("dask-rs-probe-ready.1").exists());
}

/// The commands that a help page lists.
fn commands_of(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| line.starts_with("  ")).filter_map(|line| {
        // Descriptions that go on are indented further.
        line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?.split(' ').next()
    });
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_help_with_examples() {
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    let mut checked = Vec::new();
    while let Some(path) = open.pop() {
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let help = run(&args).exits(0).stdout;
        let commands = commands_of(&help);
        if commands.is_empty() {
            let name = path.join(" ");
            let example = format!("dask-rs {name} ");
            let shown = help.contains("\nExample:\n") || help.contains("\nExamples:\n");
            let named = help.split("\nExample").nth(1).is_some_and(|text| {
                format!("{text} ").contains(&example) || text.contains(&format!("dask-rs {name}\n"))
            });
            assert!(shown && named, "{name} has no example:\n{help}");
            checked.push(name);
        }
        open.extend(commands.into_iter().map(|command| [path.clone(), vec![command]].concat()));
    }
    assert!(checked.len() > 34 && checked.contains(&"probe ready".to_owned()), "{checked:?}");
}

#[test]
fn it_installs_itself() {
    let directory = tempfile::tempdir().unwrap();
    run(&["install", directory.path().to_str().unwrap(), "-q"]).exits(0);
    let copy = directory.path().join("dask-rs");
    let version = std::process::Command::new(&copy).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&version.stdout), run(&["--version"]).exits(0).stdout);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    run(&["install", "/no/such/directory"]).exits(1);
}

#[test]
fn intrinsic_latency_needs_no_cluster() {
    let run = run(&["latency", "--intrinsic", "--count", "3", "-o", "json"]).exits(0);
    let last: Json = serde_json::from_str(run.stdout.lines().last().unwrap()).unwrap();
    for phase in ["loopback", "timer_late", "processor_away"] {
        assert_eq!(last["summary"][phase]["count"], 3, "{last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_contract() {
    for release in releases() {
        let cluster = cluster(&release).await;
        let workers: Vec<String> = cluster.workers().into_iter().map(|worker| worker.address).collect();
        looking(&cluster, &release, &workers);
        calling(&cluster);
        graphs(&cluster);
        probing(&cluster);
        measuring(&cluster);
        steering(&cluster, &workers);
        cluster.stop().await.unwrap();
    }
}

fn looking(cluster: &LocalCluster, release: &str, workers: &[String]) {
    let versions = run_on(cluster, &["versions", "-o", "json"]).exits(0).json();
    assert_eq!(versions["known"], true);
    assert!(versions["dialect"].is_string());
    assert_eq!(versions["differing"], json!([]));
    let of_scheduler = versions["scheduler"]["packages"]["distributed"].as_str().unwrap();
    assert!(of_scheduler.replace(".0", ".").starts_with(&release.replace(".0", ".")), "{of_scheduler}");
    let found = run_on(cluster, &["workers", "-o", "json"]).exits(0).json();
    for worker in found.as_array().unwrap() {
        assert!(workers.iter().any(|address| worker["address"] == **address), "{worker}");
        assert_eq!(worker["nthreads"], 1);
        assert!(worker["memory_limit_bytes"].is_u64() || worker["memory_limit_bytes"].is_null());
        assert!(worker["last_seen_unix_s"].is_f64(), "{worker}");
        assert!(worker["executing"].is_u64(), "{worker}");
    }
    assert_eq!(found.as_array().unwrap().len(), 2);
    let wide = run_on(cluster, &["workers", "-o", "wide"]).exits(0);
    assert!(wide.stdout.contains("resources") && wide.stdout.lines().count() == 3, "{wide:#?}");

    let health = run_on(cluster, &["health", "-o", "json"]).exits(0).json();
    assert_eq!(health.as_object().unwrap().len(), 2);
    for worker in workers {
        assert_eq!(health[worker], json!({ "status": "OK" }));
    }

    let info = run_on(cluster, &["info", "-o", "json"]).exits(0).json();
    assert_eq!((&info["workers"], &info["threads"]), (&json!(2), &json!(2)));
    let doctor = run_on(cluster, &["doctor", "-o", "json"]).exits(0).json();
    assert_eq!(doctor["verdict"], "usable", "{doctor}");
    let steps: Vec<&str> =
        doctor["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["name", "tcp", "handshake", "release", "scheduler", "workers", "versions"]);
    let logs = run_on(cluster, &["logs", "-n", "3"]).exits(0);
    assert!(
        !logs.stdout.is_empty() && logs.stdout.lines().all(|line| line.starts_with("[scheduler]")),
        "{logs:#?}"
    );
    let dump = run_on(cluster, &["dump"]).exits(0).json();
    assert!(dump["scheduler"]["tasks"].is_object(), "{dump}");
}

fn calling(cluster: &LocalCluster) {
    let call = |args: &[&str]| run_on(cluster, &[&["call", "-o", "json"], args].concat());
    assert_eq!(call(&["operator:add", "1", "2"]).exits(0).json(), 3);
    assert_eq!(call(&["builtins:str.upper", "text"]).exits(0).json(), "TEXT");
    assert_eq!(
        call(&["builtins:sorted", "[3,1,2]", "--kwargs", r#"{"reverse":true}"#]).exits(0).json(),
        json!([3, 2, 1])
    );
    assert_eq!(call(&["builtins:bytes", "3"]).exits(0).json(), json!({ "$bytes": "AAAA" }));
    assert_eq!(call(&["builtins:float", "nan"]).exits(0).json(), json!({ "$float": "nan" }));
    assert_eq!(
        call(&["operator:pow", "2", "70"]).exits(0).json(),
        json!({ "$int": "1180591620717411303424" })
    );
    assert_eq!(call(&["operator:neg", "-5"]).exits(0).json(), 5);
    assert_eq!(call(&["operator:add", "--", "-x", "y"]).exits(0).json(), "-xy");

    let failed = call(&["operator:truediv", "1", "0"]).exits(6);
    assert_eq!(failed.json()["error"]["type"], "ZeroDivisionError");
    assert_eq!(failed.json()["error"]["message"], "division by zero");
    assert!(failed.json()["error"]["traceback"].is_array());
    assert!(failed.stderr.contains("ZeroDivisionError: division by zero"), "{failed:#?}");
    let unknown = call(&["no_such_module:thing", "1"]).exits(6);
    assert!(unknown.json()["error"]["message"].as_str().unwrap().contains("no_such_module"), "{unknown:#?}");
    let unnamed = call(&["add", "1"]).exits(1);
    assert!(unnamed.stderr.contains("module:name"), "{unnamed:#?}");
    let slow = call(&["time:sleep", "10", "--timeout", "3s"]).exits(3);
    assert!(slow.stderr.contains("has no result after "), "{slow:#?}");
}

fn graphs(cluster: &LocalCluster) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("graph.json");
    let graph = |text: &str| {
        std::fs::write(&path, text).unwrap();
        run_on(cluster, &["graph", path.to_str().unwrap(), "-o", "json"])
    };
    let good = r#"{"tasks": {"a": {"call": "operator:add", "args": [1, 2]},
        "b": {"call": "operator:mul", "args": [{"$ref": "a"}, 10]},
        "c": {"call": "builtins:dict", "kwargs": {"x": [{"$ref": "a"}, {"y": {"$ref": "b"}}]}}}, "outputs": ["b", "c"]}"#;
    assert_eq!(graph(good).exits(0).json(), json!({ "b": 30, "c": { "x": [3, { "y": 30 }] } }));
    let cycle = r#"{"tasks": {"a": {"call": "operator:neg", "args": [{"$ref": "b"}]},
        "b": {"call": "operator:neg", "args": [{"$ref": "a"}]}}, "outputs": ["a"]}"#;
    let cycle = graph(cycle).exits(1);
    assert!(cycle.stderr.contains("cycle"), "{cycle:#?}");
    let failing = r#"{"tasks": {"a": {"call": "builtins:int", "args": ["x"]}}, "outputs": ["a"]}"#;
    assert_eq!(graph(failing).exits(6).json()["error"]["type"], "ValueError");
}

fn probing(cluster: &LocalCluster) {
    let before = settled_log(cluster);
    for _ in 0..3 {
        let live = run_on(cluster, &["probe", "live", "-o", "json"]).exits(0).json();
        assert_eq!(live["status"], "ok");
        for phase in ["resolve", "tcp", "handshake", "identity", "total"] {
            assert!(live["phases_ns"][phase].is_u64(), "{phase}: {live}");
        }
        let ready =
            run_on(cluster, &["probe", "ready", "--min-workers", "2", "--strict-versions", "-o", "json"]);
        let ready = ready.exits(0).json();
        assert_eq!((&ready["workers"], &ready["threads"]), (&json!(2), &json!(2)));
        assert!(ready["checks"].as_array().unwrap().iter().all(|check| check["ok"] == true), "{ready}");
    }
    let after = settled_log(cluster);
    // A busy machine shows in the log, too.
    let by_itself = |line: &&str| line.contains("unresponsive") || line.contains("garbage collect");
    let left = after.strip_prefix(&before).map(|new| new.lines().filter(|line| !by_itself(line)).collect());
    assert_eq!(left, Some(Vec::<&str>::new()), "a probe left lines in the scheduler's log");

    let few = run_on(cluster, &["probe", "ready", "--min-workers", "3", "-o", "json"]).exits(4).json();
    assert_eq!(few["status"], "failing");
    assert!(few["reason"].as_str().unwrap().contains("at least 3"), "{few}");
    let slow = run_on(cluster, &["probe", "ready", "--rtt-critical", "1ns"]).exits(4);
    assert!(slow.stdout.starts_with("failing: round trip"), "{slow:#?}");
    run_on(cluster, &["probe", "ready", "--max-age-last-seen", "1ns"]).exits(4);
    let nagios = run_on(cluster, &["probe", "ready", "--format", "nagios", "--rtt-warning", "1ns"]).exits(1);
    assert!(nagios.stdout.starts_with("DASK WARNING - ") && nagios.stdout.contains("| "), "{nagios:#?}");
    run_on(cluster, &["probe", "ready", "--format", "nagios", "--min-workers", "9"]).exits(2);
    let metrics = run_on(cluster, &["probe", "ready", "--format", "prometheus"]).exits(0).stdout;
    assert!(metrics.contains("dask_probe_success 1\n") && metrics.ends_with("# EOF\n"), "{metrics}");
}

/// The scheduler's log once it has come to rest: the end of a connection is noticed later than it happens.
fn settled_log(cluster: &LocalCluster) -> String {
    let mut log = cluster.scheduler_log();
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = cluster.scheduler_log();
        if now == log {
            return log;
        }
        log = now;
    }
}

fn measuring(cluster: &LocalCluster) {
    let latency = run_on(cluster, &["latency", "--count", "5", "--pause", "0ms", "-o", "json"]).exits(0);
    let last: Json = serde_json::from_str(latency.stdout.lines().last().unwrap()).unwrap();
    for phase in ["resolve", "tcp", "handshake", "rpc", "in_memory", "fetch"] {
        assert_eq!(last["summary"][phase]["count"], 5, "{phase}: {last}");
        assert!(last["summary"][phase]["percentiles_ns"]["p99"].is_u64());
    }
}

fn steering(cluster: &LocalCluster, workers: &[String]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sent_by_upload.py");
    std::fs::write(&path, "def twice(x):\n    return 2 * x\n").unwrap();
    run_on(cluster, &["upload", path.to_str().unwrap()]).exits(0);
    assert_eq!(run_on(cluster, &["call", "sent_by_upload:twice", "21", "-o", "json"]).exits(0).json(), 42);
    std::fs::write(&path, "raise ValueError('not importable')\n").unwrap();
    let bad = run_on(cluster, &["upload", path.to_str().unwrap()]).exits(3);
    assert!(bad.stderr.contains("not importable"), "{bad:#?}");

    let ghost = run_on(cluster, &["task", "ghost"]).exits(4);
    assert!(ghost.stderr.contains("no task ghost"), "{ghost:#?}");
    let ghost = run_on(cluster, &["cancel", "ghost"]).exits(4);
    assert!(ghost.stderr.contains("no task ghost"), "{ghost:#?}");
    let asks = run_on(cluster, &["restart"]).exits(1);
    assert!(asks.stderr.contains("--yes"), "{asks:#?}");
    run_on(cluster, &["retire", "tcp://127.0.0.1:1"]).exits(4);
    let retired = run_on(cluster, &["retire", &workers[1], "-o", "json"]).exits(0).json();
    assert_eq!(retired["retired"], json!([workers[1]]));
    // One that has not heard of it yet may come back for a moment.
    let deadline = std::time::Instant::now() + Duration::from_secs(90);
    loop {
        let left = run_on(cluster, &["workers", "-o", "json"]).exits(0).json();
        if left.as_array().unwrap().len() == 1 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{left}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs a Python client's script, which says that it is ready and then holds its futures for as long as it is let.
fn hold(cluster: &LocalCluster, script: &str) -> (Child, BufReader<ChildStdout>) {
    let mut holder = Command::new(cluster.python())
        .args(["-c", script])
        .env("DASK_LOCAL_SCHEDULER", cluster.address())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (line, output) = first_line(&mut holder);
    assert_eq!(line.trim(), "ready");
    (holder, output)
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_seen_explained_and_cancelled() {
    for release in releases() {
        let cluster = cluster(&release).await;
        // A client that holds tasks in several states, until its input ends.
        let script = "import operator, os, sys, time\n\
            from distributed import Client\n\
            c = Client(os.environ['DASK_LOCAL_SCHEDULER'])\n\
            done = c.submit(operator.add, 1, 2, key='done-task')\n\
            broken = c.submit(operator.truediv, 1, 0, key='broken-task')\n\
            done.result(); broken.exception()\n\
            long = c.submit(time.sleep, 300, key='long-task', pure=False)\n\
            after = c.submit(operator.is_, long, None, key='after-task')\n\
            picky = c.submit(operator.add, 1, 5, key='picky-task', resources={'GPU': 1})\n\
            print('ready', flush=True)\n\
            sys.stdin.read()\n";
        let (mut holder, _output) = hold(&cluster, script);

        let why = |key: &str| {
            let task = run_on(&cluster, &["task", key, "-o", "json"]).json();
            let words: Vec<&str> =
                task["why"].as_array().unwrap().iter().map(|why| why.as_str().unwrap()).collect();
            (task["state"].as_str().unwrap_or("unknown").to_owned(), words.join("; "))
        };
        // They may still be on their way, or the scheduler may be placing them.
        let deadline = std::time::Instant::now() + Duration::from_secs(90);
        while why("picky-task").0 != "no-worker" || !why("long-task").1.contains("runs on") {
            assert!(std::time::Instant::now() < deadline, "{:?} {:?}", why("picky-task"), why("long-task"));
            std::thread::sleep(Duration::from_millis(50));
        }
        let states = run_on(&cluster, &["tasks", "-o", "json"]).exits(0).json();
        assert_eq!(
            states["states"],
            json!({ "erred": 1, "memory": 1, "no-worker": 1, "processing": 1, "waiting": 1 })
        );
        let erred = run_on(&cluster, &["tasks", "--state", "Erred", "-o", "json"]).exits(0).json();
        assert_eq!(erred["tasks"][0]["key"], "broken-task", "{erred}");
        let worker = &cluster.workers()[0];
        let named = |name: &str| run_on(&cluster, &["tasks", "--worker", name, "-o", "json"]);
        let by_address = named(&worker.address).exits(0).json();
        assert_eq!(by_address["tasks"], named(&worker.name).exits(0).json()["tasks"]);
        let nobody = named("tcp://127.0.0.1:1").exits(1);
        assert!(nobody.stderr.contains(&worker.address), "{nobody:#?}");
        assert_eq!(why("done-task").0, "memory");
        assert_eq!(why("after-task").0, "waiting");
        if release.starts_with("2026") {
            assert!(why("after-task").1.contains("long-task"), "{:?}", why("after-task"));
            assert!(why("picky-task").1.contains("GPU"), "{:?}", why("picky-task"));
            assert!(why("broken-task").1.contains("ZeroDivisionError"), "{:?}", why("broken-task"));
            let story = run_on(&cluster, &["task", "done-task", "-o", "json"]).exits(0).json();
            assert!(story["story"].as_array().unwrap().len() >= 3, "{story}");
            let events = run_on(&cluster, &["events", "-o", "json"]).exits(0).json();
            assert!(events.as_array().unwrap().iter().any(|topic| topic["topic"] == "all"), "{events}");
        }
        let cancelled = run_on(&cluster, &["cancel", "after-task", "-o", "json"]).exits(0).json();
        assert_eq!(cancelled["cancelled"], json!(["after-task"]));
        let deadline = std::time::Instant::now() + Duration::from_secs(90);
        while run_on(&cluster, &["task", "after-task"]).code != 4 {
            assert!(std::time::Instant::now() < deadline, "the cancelled task is still there");
            std::thread::sleep(Duration::from_millis(50));
        }
        holder.kill().unwrap();
        holder.wait().unwrap();
        cluster.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_wait_for_a_worker_are_counted() {
    for release in releases() {
        let cluster = cluster(&release).await;
        let script = "import operator, os, sys, time\n\
            from distributed import Client\n\
            c = Client(os.environ['DASK_LOCAL_SCHEDULER'])\n\
            crowd = c.map(time.sleep, [600] * 40, pure=False)\n\
            picky = c.submit(operator.add, 1, 5, key='picky-task', resources={'GPU': 1})\n\
            print('ready', flush=True)\n\
            sys.stdin.read()\n";
        let (mut holder, _output) = hold(&cluster, script);
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        let states = loop {
            let states = run_on(&cluster, &["tasks", "-o", "json"]).exits(0).json()["states"].clone();
            let sum: u64 = states.as_object().unwrap().values().filter_map(Json::as_u64).sum();
            if sum == 41 && states["no-worker"] == 1 {
                break states;
            }
            assert!(std::time::Instant::now() < deadline, "{states}");
            std::thread::sleep(Duration::from_millis(50));
        };
        if release == NEWEST {
            assert!(states["queued"].as_u64().is_some_and(|queued| queued > 30), "{states}");
            let task =
                run_on(&cluster, &["task", "picky-task", "--limit", "40", "-o", "json"]).exits(0).json();
            assert!(task["record_missing"].as_str().unwrap().contains("its 41 tasks"), "{task}");
        }
        let info = run_on(&cluster, &["info", "-o", "json"]).exits(0).json();
        assert_eq!(info["tasks"], states, "{release}");
        holder.kill().unwrap();
        holder.wait().unwrap();
        cluster.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_without_workers_is_alive_and_not_healthy() {
    let cluster = lonely_scheduler(NEWEST, Protocol::Tcp).await;
    run_on(&cluster, &["probe", "live"]).exits(0);
    let ready = run_on(&cluster, &["probe", "ready"]).exits(4);
    assert!(ready.stdout.contains("no workers"), "{ready:#?}");
    let health = run_on(&cluster, &["health", "-o", "json"]).exits(4);
    assert_eq!(health.json(), json!({}));
    assert!(health.stderr.contains("no workers"), "{health:#?}");
    run_on(&cluster, &["bench", "--tasks", "10"]).exits(4);
    let doctor = run_on(&cluster, &["doctor"]).exits(4);
    assert!(doctor.stdout.contains("dask worker tcp://"), "{doctor:#?}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_works_and_its_failures_are_told_apart() {
    let cluster = lonely_scheduler(NEWEST, Protocol::Tls).await;
    let live = run_on(&cluster, &["probe", "live", "-o", "json"]).exits(0).json();
    assert!(live["phases_ns"]["tls"].is_u64(), "{live}");
    let plain = cluster.address().replace("tls://", "tcp://");
    let plain = run(&["probe", "live", "-s", &plain]).exits(3);
    assert!(plain.stdout.contains("tls://"), "{plain:#?}");
    // A certificate authority that did not sign the scheduler's certificate.
    let directory = tempfile::tempdir().unwrap();
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let path = directory.path().join("stranger.pem");
    std::fs::write(&path, stranger.cert.pem()).unwrap();
    let wrong = run_on(&cluster, &["probe", "live", "--tls-ca-file", path.to_str().unwrap()]).exits(2);
    assert!(wrong.stdout.contains("certificate"), "{wrong:#?}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_brings_workers_with_nannies_back() {
    let builder = LocalCluster::builder().release(NEWEST).workers(1).nanny(true);
    let cluster = builder.start().await.unwrap();
    let restarted = run_on(&cluster, &["restart", "--yes", "--timeout", "60s", "-o", "json"]).exits(0).json();
    assert_eq!(restarted, json!({ "workers_before": 1, "workers_after": 1 }));
    run_on(&cluster, &["probe", "ready", "--timeout", "10s"]).exits(0);
    cluster.stop().await.unwrap();
}

#[test]
fn demo_is_one_json_object() {
    for release in releases() {
        let demo = run(&["demo", "--release", &release, "-o", "json"]).exits(0).json();
        assert_eq!(demo["release"].as_str().unwrap().parse::<dask_client::Release>(), release.parse());
        assert_eq!(demo["results"]["words"], 76_800, "{demo}");
        assert_eq!(demo["health"].as_object().unwrap().len(), 2, "{demo}");
        assert!(demo["tasks"].as_u64().unwrap() > 300, "{demo}");
        assert!(demo["phases_ns"]["compute"].is_u64(), "{demo}");
    }
}
