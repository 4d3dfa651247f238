//! `dask-rs call` and `graph`: Python sources, the notation of values, tasks that fail and tasks that are cancelled.
//! Against real clusters of the ends of history.

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

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Run, cluster, dead_port, program, releases, run, run_on};
use dask_local::LocalCluster;
use serde_json::{Value as Json, json};

#[test]
fn mistakes_are_found_before_the_cluster_hears_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let dead = format!("tcp://127.0.0.1:{}", dead_port());
    let graph = |text: &str| {
        let path = directory.path().join("graph.json");
        std::fs::write(&path, text).unwrap();
        run(&["graph", path.to_str().unwrap(), "-s", &dead])
    };
    let cycle = graph(
        r#"{"tasks": {"a": {"call": "operator:neg", "args": [{"$ref": "b"}]},
            "b": {"call": "operator:neg", "args": [{"$ref": "a"}]}}, "outputs": ["a"]}"#,
    );
    assert!(cycle.exits(1).stderr.contains("cycle"));
    let name = graph(r#"{"tasks": {"a": {"call": "neg", "args": [1]}}, "outputs": ["a"]}"#);
    assert!(name.exits(1).stderr.contains("\"neg\" does not name"));
    let field = graph(r#"{"tasks": {"a": {"call": "operator:neg", "arguments": [1]}}, "outputs": ["a"]}"#);
    assert!(field.exits(1).stderr.contains("arguments"));
    let call = run(&["call", "add", "1", "-s", &dead]).exits(1);
    assert!(call.stderr.contains("\"add\" does not name"), "{call:#?}");
    let source = run(&["call", "work:f", "--source", "/no/such/work.py", "-s", &dead]).exits(1);
    assert!(source.stderr.contains("/no/such/work.py"), "{source:#?}");
    let bytes = run(&["call", "builtins:len", r#"{"$bytes": "no base64!"}"#, "-s", &dead]).exits(1);
    assert!(bytes.stderr.contains("$bytes"), "{bytes:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_their_values() {
    for release in releases() {
        let cluster = cluster(&release).await;
        sources(&cluster);
        values(&cluster);
        cancelled(&cluster);
        late(&cluster);
        cluster.stop().await.unwrap();
    }
}

fn sources(cluster: &LocalCluster) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("work.py");
    let shown = path.to_str().unwrap().to_owned();
    let call = |text: &str, args: &[&str]| -> Run {
        std::fs::write(&path, text).unwrap();
        run_on(cluster, &[&["call", "-o", "json"], args, &["--source", &shown]].concat())
    };
    let text = "import math\n\ndef area(r, scale=1):\n    return round(math.pi * r * r * scale)\n\n\
                class Shape:\n    @staticmethod\n    def sides(n):\n        return [n] * n\n\n\
                def fail(x):\n    return 1 / x\n";
    assert_eq!(call(text, &["work:area", "2"]).exits(0).json(), 13);
    assert_eq!(call(text, &["work:area", "2", "--kwargs", r#"{"scale": 2}"#]).exits(0).json(), 25);
    assert_eq!(call(text, &["work:Shape.sides", "2"]).exits(0).json(), json!([2, 2]));

    let failed = call(text, &["work:fail", "0"]).exits(6);
    let error = &failed.json()["error"];
    assert_eq!(error["type"], "ZeroDivisionError", "{error}");
    let last = error["traceback"].as_array().unwrap().last().unwrap();
    assert_eq!(*last, json!({ "file": shown, "line": 12, "function": "fail" }), "{error}");
    assert!(failed.stderr.contains(&format!("File \"{shown}\", line 12, in fail")), "{failed:#?}");

    let broken = call("def f(:\n    pass\n", &["work:f"]).exits(6);
    let error = &broken.json()["error"];
    assert_eq!(error["type"], "SyntaxError", "{error}");
    assert!(error["message"].as_str().unwrap().contains("line 1"), "{error}");
    assert!(broken.stderr.contains(&shown), "{broken:#?}");

    let missing = call("def f():\n    pass\n", &["work:g"]).exits(6);
    assert_eq!(missing.json()["error"]["type"], "AttributeError");
}

fn values(cluster: &LocalCluster) {
    let call = |args: &[&str]| -> Json {
        run_on(cluster, &[&["call", "-o", "json"], args].concat()).exits(0).json()
    };
    // Each notation goes there and comes back the same.
    let long = "100000000000000000000";
    assert_eq!(call(&["operator:add", long, "1"]), json!({ "$int": "100000000000000000001" }));
    assert_eq!(call(&["operator:add", r#"{"$int": "-100000000000000000000"}"#, long]), 0);
    assert_eq!(call(&["operator:add", "18446744073709551614", "1"]), 18_446_744_073_709_551_615_u64);
    assert_eq!(call(&["operator:mul", r#"{"$bytes": "AP8="}"#, "2"]), json!({ "$bytes": "AP8A/w==" }));
    assert_eq!(call(&["operator:mul", r#"{"$float": "inf"}"#, "-1"]), json!({ "$float": "-inf" }));
    assert_eq!(call(&["operator:mul", r#"{"$float": "nan"}"#, "1"]), json!({ "$float": "nan" }));
    assert_eq!(call(&["operator:add", "0.1", "0.2"]), 0.1 + 0.2);
    assert_eq!(call(&["builtins:dict", "[[1, 2]]"]), json!({ "$dict": [[1, 2]] }));
    assert_eq!(call(&["builtins:len", r#"{"$dict": [[1, 2], ["a", 3]]}"#]), 2);
    assert_eq!(call(&["operator:getitem", r#"{"$dict": [[1, "one"]]}"#, "1"]), "one");
    // A dict whose only key looks like a notation is not taken for that.
    assert_eq!(call(&["builtins:dict", r#"[["$bytes", "x"]]"#]), json!({ "$dict": [["$bytes", "x"]] }));
    assert_eq!(call(&["builtins:tuple", "[1, [null, true]]"]), json!([1, [null, true]]));
    assert_eq!(call(&["builtins:set", "[1]"]), json!([1]));
    let array = call(&["numpy:arange", "4"]);
    assert_eq!(
        (&array["$ndarray"]["shape"], &array["$ndarray"]["data"]),
        (&json!([4]), &json!([0, 1, 2, 3]))
    );
    assert!(array["$ndarray"]["dtype"].as_str().unwrap().contains('8'), "{array}");
    let object = call(&["fractions:Fraction", "1", "3"]);
    assert_eq!(object["$python"]["class"], "fractions.Fraction", "{object}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kinds.py");
    let text = "import array, collections, numpy\n\
                def records():\n    return numpy.array([(1, 2.5)], dtype=[('a', 'i4'), ('b', 'f8')])\n\
                def ordered():\n    return collections.OrderedDict(a=numpy.arange(2, dtype='u1'))\n\
                def others():\n    return [1j, array.array('d', [1]), numpy.ma.array([1], mask=[1]), range(3), int]\n";
    std::fs::write(&path, text).unwrap();
    let of = |name: &str| call(&[&format!("kinds:{name}"), "--source", path.to_str().unwrap()]);
    assert_eq!(of("records")["$ndarray"]["data"], json!([[1, 2.5]]));
    assert_eq!(
        of("ordered"),
        json!({ "a": { "$ndarray": { "dtype": "|u1", "shape": [2], "data": [0, 1] } } })
    );
    let classes: Vec<Json> =
        of("others").as_array().unwrap().iter().map(|other| other["$python"]["class"].clone()).collect();
    let expected =
        ["builtins.complex", "array.array", "numpy.ma.MaskedArray", "builtins.range", "builtins.type"];
    assert_eq!(classes, expected);
}

/// Waits until something is there.
#[track_caller]
fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Somebody else cancels the task: it did not raise anything, and still there is an error to be read.
fn cancelled(cluster: &LocalCluster) {
    let call = program()
        .args(["call", "time:sleep", "600", "--timeout", "110s"])
        .env("DASK_SCHEDULER_ADDRESS", cluster.address())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let key = until("the task does not come up", || {
        let tasks = run_on(cluster, &["tasks", "--prefix", "sleep", "-o", "json"]).exits(0).json();
        Some(tasks["tasks"][0]["key"].as_str()?.to_owned())
    });
    run_on(cluster, &["cancel", &key]).exits(0);
    let output = call.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(6), "{stdout}\n{stderr}");
    let error: Json = serde_json::from_str(&stdout).unwrap();
    assert_eq!(error["error"]["type"], "CancelledError", "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains(&key), "{error}");
    assert_eq!(error["error"]["traceback"], json!([]));
    assert!(stderr.contains("cancelled"), "{stderr}");
}

/// A graph that is late says what it waits for.
fn late(cluster: &LocalCluster) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("slow.json");
    std::fs::write(
        &path,
        r#"{"tasks": {"slow": {"call": "time:sleep", "args": [600]}}, "outputs": ["slow"]}"#,
    )
    .unwrap();
    let late = run_on(cluster, &["graph", path.to_str().unwrap(), "--timeout", "5s"]).exits(3);
    assert!(late.stderr.contains("slow-") && late.stderr.contains("  next "), "{late:#?}");
}
