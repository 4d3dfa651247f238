//! `dask-rs saturn` as scripts see it: lines of JSON, and exit codes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::{Command, Output};

use saturn_cloud::Status;
use saturn_cloud::emulator::{Chain, Emulator, EmulatorBuilder, Outcome};
use serde_json::Value as Json;

fn command(emulator: &Emulator, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dask-rs"));
    command
        .arg("saturn")
        .args(args)
        .env("SATURN_BASE_URL", emulator.url())
        .env("SATURN_TOKEN", emulator.token());
    command
}

fn run(emulator: &Emulator, args: &[&str]) -> Output {
    command(emulator, args).output().unwrap()
}

fn lines(output: &Output) -> Vec<Json> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn from_nothing_to_healthy_and_down_again() {
    let emulator = Emulator::builder().warning("prices are high").start().unwrap();
    let options = ["--project-id", emulator.project_id(), "--n-workers", "2", "--worker-size", "8xlarge"];
    let more = ["--scheduler-size", "2xlarge", "--nthreads", "1", "--poll", "200ms"];
    let up = run(&emulator, &[&["up"], &options[..], &more[..]].concat());
    assert_eq!(up.status.code(), Some(0), "{}", stderr(&up));
    let events = lines(&up);
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert!(
        named("status") >= 2 && named("warning") == 1 && named("cost") == 1 && named("ready") == 1,
        "{events:?}"
    );
    let last = events.last().unwrap();
    assert!(last["scheduler"].as_str().unwrap().starts_with("tls://"), "{last}");
    assert_eq!(last["cost_per_hour_usd"], 5.4);
    let health = last["health"].as_object().unwrap();
    assert!(health.len() == 2 && health.values().all(|worker| worker["status"] == "OK"), "{last}");

    let id = last["id"].as_str().unwrap();
    let list = lines(&run(&emulator, &["list", "-o", "json"]));
    assert_eq!((list.len(), &list[0]["id"], &list[0]["cost_per_hour"]), (1, &last["id"], &5.4.into()));
    assert_eq!(run(&emulator, &["scale", id, "1"]).status.code(), Some(0));
    assert_eq!(run(&emulator, &["adapt", id, "1", "3"]).status.code(), Some(0));
    assert_eq!(run(&emulator, &["adapt", id, "3", "1"]).status.code(), Some(1));
    let status = lines(&run(&emulator, &["status", id, "-o", "json"]));
    assert_eq!((&status[0]["status"], &status[0]["n_workers"]), (&"running".into(), &1.into()));
    let logs = lines(&run(&emulator, &["logs", id, "--component", "scheduler", "-o", "json"]));
    assert!(logs.iter().any(|line| line["content"].as_str().unwrap().contains("Scheduler at")), "{logs:?}");
    let down = run(&emulator, &["down", "--all"]);
    assert_eq!((down.status.code(), &lines(&down)[0]["status"]), (Some(0), &"closed".into()));
    assert!(run(&emulator, &["list"]).stdout.is_empty());
    assert_eq!(emulator.clusters()[0].1, Status::Closed);
}

#[test]
fn each_failure_has_its_exit_code_and_leaves_nothing_running() {
    let bare = || Emulator::builder().dask(false);
    let up = |builder: EmulatorBuilder, more: &[&str]| {
        let emulator = builder.start().unwrap();
        let base = ["up", "--project-id", emulator.project_id(), "--poll", "50ms"];
        let output = run(&emulator, &[&base[..], more].concat());
        let left = emulator.clusters().into_iter().filter(|(_, status)| *status != Status::Closed).count();
        assert_eq!(left, 0, "{:?}", emulator.clusters());
        (output.status.code().unwrap(), stderr(&output))
    };
    let delay = std::time::Duration::from_millis(20);
    for (builder, more, code, words) in [
        (bare(), &["--worker-size", "huge"][..], 1, "8xlarge"),
        (bare(), &["--nthreads", "0"], 1, "at least one thread"),
        (bare().delay(delay).unreachable(true), &[], 2, "cannot be reached"),
        (bare().delay(delay).chain(Chain::Short), &[], 2, "1 certificate(s)"),
        (bare().delay(delay).chain(Chain::Foreign), &[], 2, "did not sign"),
        (bare().outcome(Outcome::Never), &["--deadline", "500ms"], 4, "it was closed"),
        (bare().outcome(Outcome::Error(vec!["no quota".to_owned()])), &[], 4, "no quota"),
    ] {
        let (got, said) = up(builder, more);
        assert_eq!(got, code, "{said}");
        assert!(said.contains(words), "{said}");
    }
    let emulator = bare().start().unwrap();
    let wrong = command(&emulator, &["sizes"]).env("SATURN_TOKEN", "wr0ng").output().unwrap();
    assert_eq!(wrong.status.code(), Some(3));
    assert!(!stderr(&wrong).contains("wr0ng"));
    let none = command(&emulator, &["sizes"]).env_remove("SATURN_TOKEN").output().unwrap();
    assert_eq!(none.status.code(), Some(1));
    let nowhere =
        command(&emulator, &["sizes"]).env("SATURN_BASE_URL", "http://127.0.0.1:1").output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2), "{}", stderr(&nowhere));
}
