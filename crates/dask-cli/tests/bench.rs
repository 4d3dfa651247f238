//! `dask-rs bench` on a real cluster: its data fits the schema, its page shows in a browser, its thresholds decide.

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

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Run, cluster, finish, first_line, program, run_on};
use serde_json::{Value as Json, json};

#[track_caller]
fn fits_schema(result: &Json) {
    let schema: Json = serde_json::from_str(include_str!("../schema/bench.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(result).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

fn counts(result: &Json, name: &str) -> u64 {
    result["counts"][name].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_measured_compared_and_judged() {
    let cluster = cluster("2026.8.0").await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let bench =
        |args: &[&str]| run_on(&cluster, &[&["bench", "--warmup", "100ms", "-o", "json"], args].concat());

    // Closed model, every shape.
    for (shape, tasks) in [("map", 1), ("chain", 10), ("tree", 15), ("all-to-all", 8)] {
        let result = bench(&["--shape", shape, "--tasks", "40", "--payload", "1KiB"]).exits(0).json();
        fits_schema(&result);
        assert_eq!(result["settings"]["tasks_per_request"], tasks);
        assert_eq!(counts(&result, "completed"), 40u64.div_ceil(tasks));
        assert_eq!(counts(&result, "failed"), 0, "{}", result["errors"]);
        assert_eq!(result["latency"]["corrected"]["count"], result["counts"]["completed"]);
    }

    // Open model: everything planned is sent or missed, and what is corrected is never less.
    let saved = file("open.json");
    let result = bench(&["--rate", "40", "--duration", "2s", "--save", &saved]).exits(0).json();
    fits_schema(&result);
    assert_eq!(counts(&result, "planned"), 80);
    assert_eq!(counts(&result, "sent") + counts(&result, "missed"), 80);
    assert_eq!(counts(&result, "completed") + counts(&result, "failed"), counts(&result, "sent"));
    let p50 = |which: &str| result["latency"][which]["percentiles_ns"]["p50"].as_u64().unwrap();
    assert!(p50("corrected") >= p50("uncorrected"));
    let timeline: u64 = result["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stretch| stretch["completed"].as_u64().unwrap())
        .sum();
    assert_eq!(timeline, counts(&result, "completed"));

    // More than the cluster can take, one at a time: the plan is missed, and it shows.
    let crowded = bench(&[
        "--rate",
        "2000",
        "--duration",
        "500ms",
        "--in-flight",
        "1",
        "--fail-if",
        "missed>0",
        "--fail-if",
        "p99>1h",
    ])
    .exits(5);
    fits_schema(&crowded.json());
    assert!(counts(&crowded.json(), "missed") > 0, "{crowded:#?}");
    assert!(crowded.stderr.contains("missed>0"), "{crowded:#?}");
    // What was never sent is no fast request.
    assert!(crowded.stderr.contains("crossed p99>1h: slower than any limit"), "{crowded:#?}");

    // Thresholds and comparison.
    let page = file("report.html");
    let compared = bench(&[
        "--rate",
        "40",
        "--duration",
        "1s",
        "--compare",
        &saved,
        "--html",
        &page,
        "--fail-if",
        // One that is missed on a busy machine is slower than any limit: a median stands that.
        "p50>1000000x",
        "--fail-if",
        "failed>0",
    ])
    .exits(0)
    .json();
    fits_schema(&compared);
    assert_eq!(compared["thresholds"].as_array().unwrap().len(), 2);
    assert!(
        compared["comparison"]["ratios"].as_array().unwrap().iter().any(|ratio| ratio["figure"] == "p99")
    );
    let slow = bench(&["--tasks", "5", "--fail-if", "p50>1ns"]).exits(5);
    fits_schema(&slow.json());
    assert_eq!(slow.json()["thresholds"][0]["crossed"], true);
    bench(&["--tasks", "5", "--compare", &page]).exits(1);

    shows_in_a_browser(Path::new(&page), directory.path());
    cluster.stop().await.unwrap();
}

/// Chromium or one of its relatives, by `CHROMIUM` or on the path.
fn browser() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CHROMIUM") {
        return Some(path.into());
    }
    let paths = std::env::var_os("PATH")?;
    ["chromium", "chromium-browser", "google-chrome", "chrome"]
        .iter()
        .flat_map(|name| std::env::split_paths(&paths).map(move |directory| directory.join(name)))
        .find(|path| path.is_file())
}

/// The page runs without an error in a real browser and draws what it should. Without a browser nothing is looked at,
/// which is an error if `DASK_BROWSER=required`.
fn shows_in_a_browser(page: &Path, directory: &Path) {
    let Some(browser) = browser() else {
        let required = std::env::var("DASK_BROWSER").is_ok_and(|browser| browser == "required");
        assert!(!required, "no browser found (chromium on the path, or CHROMIUM=path)");
        println!("no browser found (CHROMIUM=path): the report was not looked at");
        return;
    };
    let chromium = |args: &[&str]| -> Run {
        let mut command = Command::new(&browser);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        // It shall look at the page and at nothing else.
        command.args(["--disable-quic", "--no-first-run", "--disable-background-networking"]);
        command.args(["--disable-component-update", "--disable-sync"]);
        command.arg(format!("--user-data-dir={}", directory.join("profile").display()));
        command.args(args).arg(format!("file://{}", page.display()));
        finish(command, format!("{} {}", browser.display(), args.join(" ")))
    };
    let dom = chromium(&["--dump-dom"]).exits(0).stdout;
    // The script ran: it read the data and wrote the time.
    assert!(dom.contains("data-ready=\"dask-rs/bench/1\""), "{dom}");
    assert!(dom.matches("<svg").count() == 3, "{dom}");
    assert!(dom.contains("class=\"line total\"") && dom.contains("class=\"line old\""), "{dom}");
    assert!(dom.contains("Beside the earlier run"));

    let picture = directory.join("report.png");
    chromium(&[
        "--window-size=1000,2000",
        "--hide-scrollbars",
        &format!("--screenshot={}", picture.display()),
    ])
    .exits(0);
    let bytes = std::fs::read(&picture).unwrap();
    assert!(bytes.starts_with(b"\x89PNG"));
    // An empty page of this size is about 10 kB.
    assert!(bytes.len() > 40_000, "the picture has only {} bytes: is the page empty?", bytes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_rates_and_warm_ups_at_their_limits() {
    let cluster = cluster("2026.8.0").await;
    let bench = |args: &[&str]| run_on(&cluster, &[&["bench", "-o", "json"], args].concat());

    // Far more than can be sent: what waits is bounded, and what was not sent is missed.
    let flood =
        bench(&["--rate", "1000000", "--duration", "500ms", "--in-flight", "10", "--warmup", "0s"]).exits(0);
    assert_eq!(counts(&flood.json(), "planned"), 500_000);
    assert!(counts(&flood.json(), "missed") > 100_000, "{flood:#?}");

    // The warm-up makes hundreds of requests, which do not count.
    let one = bench(&["--tasks", "1", "--warmup", "1s"]).exits(0).json();
    assert_eq!(counts(&one, "completed"), 1);
    assert!(one["traffic"]["messages_out"].as_u64().unwrap() < 30, "{}", one["traffic"]);

    // A file that can be opened and not written: the figures are told all the same.
    #[cfg(target_os = "linux")]
    {
        let full = bench(&["--tasks", "1", "--warmup", "0s", "--save", "/dev/full"]).exits(3);
        assert_eq!(counts(&full.json(), "completed"), 1);
        assert!(full.stderr.contains("/dev/full"), "{full:#?}");
    }
    cluster.stop().await.unwrap();
}

#[test]
fn what_cannot_be_run_or_written_is_refused_before_connecting() {
    let address = format!("tcp://127.0.0.1:{}", common::dead_port());
    for (args, words) in [
        (&["--html", "/no/such/directory/report.html"][..], "/no/such/directory"),
        (&["--save", "/no/such/directory/report.json"], "/no/such/directory"),
        (&["--width", "10000", "--payload", "1MiB"], "--payload"),
        (&["--shape", "all-to-all", "--width", "10000"], "--width"),
        (&["--payload", "100MiB", "--in-flight", "1000"], "--in-flight"),
        (&["--rate", "0"], "--rate"),
        (&["--rate", "2000000"], "--rate"),
    ] {
        let refused = common::run(&[&["bench", "-s", &address], args].concat()).exits(1);
        assert!(refused.stderr.contains(words), "{words}: {refused:#?}");
    }
}

#[test]
fn a_command_that_comes_to_nothing_leaves_no_file_and_no_old_one_changed() {
    let address = format!("tcp://127.0.0.1:{}", common::dead_port());
    let directory = tempfile::tempdir().unwrap();
    let (new, old) = (directory.path().join("new"), directory.path().join("old"));
    std::fs::write(&old, "kept").unwrap();
    for command in [&["bench", "--save"][..], &["bench", "--html"], &["dump"]] {
        for file in [&new, &old] {
            let args = [command, &[file.to_str().unwrap(), "-s", &address]].concat();
            common::run(&args).exits(2);
        }
        assert!(!new.exists(), "{command:?}");
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "kept", "{command:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_release_can_be_measured_too() {
    let cluster = cluster("2.30.1").await;
    let result = run_on(
        &cluster,
        &["bench", "--tasks", "20", "--shape", "tree", "--width", "3", "--warmup", "0s", "-o", "json"],
    );
    let result = result.exits(0).json();
    fits_schema(&result);
    assert_eq!(result["environment"]["dialect"], json!("tasks"));
    let text = run_on(&cluster, &["bench", "--tasks", "5", "--warmup", "0s"]).exits(0);
    assert!(text.stdout.contains("requests/s") && text.stdout.contains("in_memory"), "{text:#?}");
    cluster.stop().await.unwrap();
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_signal_keeps_from_being_planned_is_not_missed() {
    let cluster = cluster("2026.8.0").await;
    for signal in ["-INT", "-TERM"] {
        ends_with_what_it_has(&cluster, signal);
    }
    cluster.stop().await.unwrap();
}

#[cfg(unix)]
fn ends_with_what_it_has(cluster: &dask_local::LocalCluster, signal: &str) {
    let mut bench = program();
    bench.args(["bench", "--rate", "20", "--duration", "10m", "--warmup", "0s", "-o", "json"]);
    bench.env("DASK_SCHEDULER_ADDRESS", cluster.address()).stdin(Stdio::null());
    let bench = bench.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The scheduler notes what a client has it do, some things for each request: this many mean that some are done.
    let noted = || {
        let topics = run_on(cluster, &["events", "-o", "json"]).exits(0).json();
        let of_clients = topics.as_array().unwrap().iter();
        let of_clients =
            of_clients.filter(|topic| topic["topic"].as_str().unwrap().starts_with("Client-rs-"));
        of_clients.map(|topic| topic["events"].as_u64().unwrap()).sum::<u64>()
    };
    let before = noted();
    let deadline = Instant::now() + Duration::from_secs(60);
    while noted() < before + 40 {
        assert!(Instant::now() < deadline, "nothing is done");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(Command::new("kill").args([signal, &bench.id().to_string()]).status().unwrap().success());
    let output = bench.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("interrupted"), "{output:?}");
    let result: Json = serde_json::from_slice(&output.stdout).unwrap();
    fits_schema(&result);
    assert_eq!(counts(&result, "planned"), counts(&result, "sent") + counts(&result, "missed"));
    let due = result["elapsed_ns"].as_u64().unwrap() * 20 / 1_000_000_000 + 1;
    assert!(counts(&result, "planned") <= due, "{due}: {}", result["counts"]);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn latency_sums_up_when_it_is_terminated() {
    let cluster = cluster("2026.8.0").await;
    for what in [&["latency"][..], &["latency", "--intrinsic"]] {
        let mut latency = program();
        latency.args(what).args(["--duration", "10m", "--interval", "50ms", "-o", "json"]);
        latency.env("DASK_SCHEDULER_ADDRESS", cluster.address()).stdin(Stdio::null());
        let mut latency = latency.stdout(Stdio::piped()).spawn().unwrap();
        let (first, rest) = first_line(&mut latency);
        assert!(first.contains("phases"), "{what:?}: {first}");
        assert!(Command::new("kill").args(["-TERM", &latency.id().to_string()]).status().unwrap().success());
        let last = rest.lines().map_while(Result::ok).last().unwrap_or_default();
        let last: Json = serde_json::from_str(&last).unwrap();
        assert!(last["summary"].as_object().is_some_and(|phases| !phases.is_empty()), "{what:?}: {last}");
        assert_eq!(latency.wait().unwrap().code(), Some(0), "{what:?}");
    }
    cluster.stop().await.unwrap();
}
