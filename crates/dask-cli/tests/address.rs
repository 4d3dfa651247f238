//! Where the command line finds the cluster: options, variables, scheduler files, Dask's own configuration; and how it
//! gets there: tcp, tls, ws, wss.

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

use std::path::Path;
use std::time::Duration;

use common::{Run, dead_port, finish, lonely_scheduler, program, run, run_on};
use dask_live_tests::fake::{Caller, Liar};
use dask_local::Protocol;
use dask_wire::Value;

const NEWEST: &str = "2026.8.0";

/// Probes with nothing but these variables and options.
fn probe(variables: &[(&str, &str)], args: &[&str]) -> Run {
    let mut command = program();
    command
        .args(["probe", "live", "-o", "json", "--timeout", "60s"])
        .args(args)
        .envs(variables.iter().copied());
    finish(command, args.join(" "))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn options_win_over_variables_and_variables_over_files() {
    let cluster = lonely_scheduler(NEWEST, Protocol::Tcp).await;
    let address = cluster.address();
    let dead = format!("tcp://127.0.0.1:{}", dead_port());
    let directory = tempfile::tempdir().unwrap();
    let file = cluster.scheduler_file();
    let dead_file = directory.path().join("dead.json");
    std::fs::write(&dead_file, format!(r#"{{"type": "Scheduler", "address": "{dead}"}}"#)).unwrap();
    let yaml = |name: &str, address: &str| {
        let place = directory.path().join(name);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("dask.yaml"), format!("scheduler-address: {address}\n")).unwrap();
        text(&place).to_owned()
    };
    let (live_yaml, dead_yaml) = (yaml("live", &address), yaml("dead", &dead));

    // One place each.
    let bare = address.strip_prefix("tcp://").unwrap();
    probe(&[], &["-s", bare]).exits(0);
    probe(&[], &["--scheduler-file", text(&file)]).exits(0);
    probe(&[("DASK_SCHEDULER_FILE", text(&file))], &[]).exits(0);
    probe(&[("DASK_SCHEDULER_ADDRESS", bare)], &[]).exits(0);
    probe(&[("DASK_CONFIG", &live_yaml)], &[]).exits(0);
    let home = directory.path().join("home");
    std::fs::create_dir_all(home.join(".config/dask")).unwrap();
    std::fs::copy(Path::new(&live_yaml).join("dask.yaml"), home.join(".config/dask/dask.yaml")).unwrap();
    probe(&[("HOME", text(&home))], &[]).exits(0);

    // A variable that is empty is none.
    probe(&[("DASK_SCHEDULER_ADDRESS", "")], &["--scheduler-file", text(&file)]).exits(0);
    probe(&[("DASK_SCHEDULER_ADDRESS", "")], &[]).exits(1);

    // Two places, of which the first named wins.
    probe(&[("DASK_SCHEDULER_ADDRESS", &dead)], &["-s", &address]).exits(0);
    probe(&[("DASK_SCHEDULER_ADDRESS", &address)], &["--scheduler-file", text(&dead_file)]).exits(0);
    probe(&[("DASK_SCHEDULER_ADDRESS", &dead)], &["--scheduler-file", text(&file)]).exits(2);
    probe(&[("DASK_CONFIG", &dead_yaml)], &["--scheduler-file", text(&file)]).exits(0);
    probe(&[("DASK_CONFIG", &dead_yaml), ("DASK_SCHEDULER_ADDRESS", &address)], &[]).exits(0);
    probe(&[("DASK_CONFIG", &dead_yaml)], &[]).exits(2);
    cluster.stop().await.unwrap();
}

#[test]
fn files_that_are_none_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("scheduler.json");
    std::fs::write(&file, "{}").unwrap();
    let empty = run(&["versions", "--scheduler-file", text(&file)]).exits(1);
    assert!(empty.stderr.contains("scheduler.json") && empty.stderr.contains("address"), "{empty:#?}");
    let yaml = directory.path().join("dask.yaml");
    std::fs::write(&yaml, "a: [1, 2").unwrap();
    let mut command = program();
    command.args(["versions", "-s", "tcp://127.0.0.1:1"]).env("DASK_CONFIG", &yaml);
    let broken = finish(command, "versions".to_owned()).exits(1);
    assert!(broken.stderr.contains("dask.yaml"), "{broken:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_by_options_variables_and_configuration() {
    let cluster = lonely_scheduler(NEWEST, Protocol::Tls).await;
    let address = cluster.address();
    let tls = cluster.tls().unwrap();
    let (ca, cert, key) = (text(&tls.ca), text(&tls.cert), text(&tls.key));
    let options = ["-s", &address, "--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key];
    probe(&[], &options).exits(0);
    let variables = [
        ("DASK_SCHEDULER_ADDRESS", address.as_str()),
        ("DASK_DISTRIBUTED__COMM__TLS__CA_FILE", ca),
        ("DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT", cert),
        ("DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY", key),
    ];
    probe(&variables, &[]).exits(0);
    let directory = tempfile::tempdir().unwrap();
    let yaml = directory.path().join("tls.yaml");
    let settings = format!(
        "scheduler-address: {address}\ndistributed:\n  comm:\n    tls:\n      ca-file: {ca}\n      client:\n        \
         cert: {cert}\n        key: {key}\n"
    );
    std::fs::write(&yaml, settings).unwrap();
    probe(&[("DASK_CONFIG", text(&yaml))], &[]).exits(0);
    // An option wins over the configuration.
    let stranger = directory.path().join("stranger.pem");
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&stranger, certificate.cert.pem()).unwrap();
    probe(&[("DASK_CONFIG", text(&yaml))], &["--tls-ca-file", text(&stranger)]).exits(2);

    // By a name that is not in the certificate only the chain is right; this is one for 127.0.0.1.
    let by_name = |host: &str, verify: &str| {
        let address = address.replace("127.0.0.1", host);
        probe(&[], &[&options[2..], &["-s", &address, "--tls-verify", verify]].concat())
    };
    by_name("127.0.0.1", "name").exits(0);
    by_name("127.0x1", "chain").exits(0);
    let other = by_name("127.0x1", "name").exits(2);
    assert!(other.stdout.contains("another name"), "{other:#?}");
    // Pinned to its CA, which is not the certificate itself, and to the certificate.
    by_name("127.0.0.1", "pinned").exits(2);
    let pinned = ["-s", &address, "--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key];
    probe(&[], &[&pinned[..], &["--tls-verify", "pinned"]].concat()).exits(0);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_in_the_clear_and_encrypted() {
    for protocol in [Protocol::Ws, Protocol::Wss] {
        let cluster = lonely_scheduler(NEWEST, protocol).await;
        assert!(cluster.address().starts_with(protocol.scheme()), "{}", cluster.address());
        let live = run_on(&cluster, &["probe", "live", "-o", "json"]).exits(0).json();
        assert!(live["phases_ns"]["websocket"].is_u64(), "{live}");
        assert_eq!(live["phases_ns"]["tls"].is_u64(), protocol == Protocol::Wss, "{live}");
        run_on(&cluster, &["info"]).exits(0);
        cluster.stop().await.unwrap();
    }
}

/// What a scheduler without workers answers.
fn answer(op: &str) -> Option<Value<'static>> {
    let empty = || Value::Map(Vec::new());
    match op {
        "identity" => {
            let id = ("id", Value::from("Scheduler-1"));
            Some([id, ("address", "tcp://127.0.0.1:1".into()), ("workers", empty())].into_iter().collect())
        }
        "broadcast" => Some(empty()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_from_the_future_is_told_once_and_used_all_the_same() {
    let liar = Liar::new("2031.1.0.dev3");
    let address = liar.listen(answer, |_| std::future::pending()).await;
    let told = |run: &Run| run.stderr.matches("not among those this program was checked against").count();
    let versions = run(&["versions", "-o", "json", "-s", &address]).exits(0);
    assert_eq!((&versions.json()["known"], told(&versions)), (&false.into(), 1), "{versions:#?}");
    assert!(versions.stderr.contains("2031.1.0") && versions.stderr.contains(NEWEST), "{versions:#?}");
    let health = run(&["health", "-s", &address]).exits(4);
    assert_eq!(told(&health), 1, "{health:#?}");
    // Nobody answers the registration, so that the call has no result; but why that may be is said.
    let call = run(&["call", "operator:add", "1", "2", "-s", &address, "--timeout", "5s"]).exits(3);
    assert_eq!(told(&call), 1, "{call:#?}");
    let quiet = run(&["versions", "-q", "-s", &address]).exits(0);
    assert_eq!(told(&quiet), 0, "{quiet:#?}");
    let strict =
        ["probe", "ready", "--strict-versions", "--scheduler-only", "--min-workers", "0", "-s", &address];
    let strict = run(&strict).exits(4);
    assert!(strict.stdout.contains("release 2031.1.0 is not a known one"), "{strict:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_too_old_is_one_error_and_a_build_without_a_number_none() {
    let old = Liar::new("2.20.0").listen(answer, |_| std::future::pending()).await;
    let workers = run(&["workers", "-s", &old]).exits(3);
    assert_eq!(workers.stderr.lines().count(), 1, "{workers:#?}");
    assert!(workers.stderr.contains("Dask 2.20.0 is older than 2.30.0"), "{workers:#?}");
    let doctor = run(&["doctor", "-s", &old]).exits(3);
    assert!(!format!("{doctor:?}").contains("dialect"), "{doctor:#?}");

    let build = Liar::new("0+unknown").listen(answer, |_| std::future::pending()).await;
    let versions = run(&["versions", "-o", "json", "-s", &build]).exits(0);
    assert_eq!(versions.json()["known"], false, "{versions:#?}");
    assert!(versions.stderr.contains("a development version, taken for release 2026.8.0"), "{versions:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_is_that_of_the_whole_command() {
    // Each answer comes well within the time, all of them together do not.
    let slow = |op: String, mut caller: Caller| async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        caller.send(&answer(&op)?).await;
        Some(caller)
    };
    let address = Liar::new(NEWEST).listen_and_answer(slow, |_| std::future::pending()).await;
    run(&["workers", "-s", &address, "--timeout", "60s"]).exits(0);
    let late = run(&["info", "-s", &address, "--timeout", "5s"]).exits(3);
    assert!(late.stderr.contains("did not answer everything within 5s"), "{late:#?}");
    let ready = run(&["probe", "ready", "--min-workers", "0", "-s", &address, "--timeout", "5s"]).exits(3);
    assert!(ready.stdout.contains("did not answer within 5s"), "{ready:#?}");
}
