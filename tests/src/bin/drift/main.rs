//! Asks a release of Dask whether the tables of `dask-wire` still describe it:
//! `cargo run -p dask-live-tests --bin drift -- [--no-live] [RELEASE...]`
//!
//! Without a release, the newest published one is asked. Each is installed by `dask-local`; the signatures of its
//! handlers and the source of its client are compared with the tables, our graphs are unpickled by it, and then the
//! live tests run against it, unless `--no-live` is given.
//!
//! Ends with 0 where nothing differs, with 1 where something does, and with 2 where a release could not be asked.
//! What to do about a difference is told in `crates/dask-wire/src/dialect/mod.rs`.

mod compare;

use std::io::Write;
use std::process::{Command, ExitCode};

use dask_local::LocalCluster;
use dask_pickle::{CallTemplate, Callable, Template};
use dask_wire::graph::{Submission, Task};
use dask_wire::{Dialect, Key, Release, Value};

use compare::{Seen, compare};

const SCRIPT: &str = include_str!("inspect_release.py");
const NEWEST: &str = include_str!("newest_release.py");

fn main() -> ExitCode {
    let (flags, mut releases): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    if flags.iter().any(|flag| flag != "--no-live") {
        say("usage: drift [--no-live] [RELEASE...]");
        return ExitCode::from(2);
    }
    if releases.is_empty() {
        match newest_published() {
            Ok(release) => releases.push(release),
            Err(error) => {
                say(&format!("the newest release is not known ({error}); name one"));
                return ExitCode::from(2);
            }
        }
    }
    let mut worst = 0;
    for release in &releases {
        worst = worst.max(match check(release, flags.is_empty()) {
            Ok(true) => 0,
            Ok(false) => 1,
            Err(error) => {
                say(&format!("{release} could not be asked: {error}"));
                2
            }
        });
    }
    ExitCode::from(worst)
}

/// A closed standard output is no reason to stop.
fn say(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// Whether a release is as assumed; prints where it is not.
fn check(name: &str, live: bool) -> Result<bool, String> {
    let release: Release = name.parse().map_err(|error| format!("{error}"))?;
    let text = ask(name, &graphs(release)?)?;
    let lines = compare(release, &Seen::from_json(&text)?);
    for line in &lines {
        say(&format!("{name}: {line}"));
    }
    if lines.is_empty() {
        say(&format!("{name}: the tables describe it"));
    }
    let passed = !live || {
        let passed = run_live(name)?;
        say(&format!("{name}: the live tests {}", if passed { "pass" } else { "fail" }));
        passed
    };
    Ok(lines.is_empty() && passed)
}

fn ask(name: &str, graphs: &[String]) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let answer = runtime.block_on(async {
        let cluster = LocalCluster::builder().release(name).workers(0).start().await?;
        let arguments: Vec<&str> = graphs.iter().map(String::as_str).collect();
        let output = cluster.run_python(SCRIPT, &arguments).await;
        cluster.stop().await?;
        output?.ok()
    });
    answer.map_err(|error: dask_local::Error| error.to_string())
}

/// The pickles of a small graph of ours that the scheduler itself unpickles, in hexadecimal; none in releases where it
/// unpickles nothing.
fn graphs(release: Release) -> Result<Vec<String>, String> {
    let call = |args: Vec<Template>| {
        let callable = Callable::Name { module: "operator".into(), qualname: "add".into() };
        CallTemplate { callable, args, kwargs: Vec::new() }
    };
    let template = |number: i64| Template::of(&number).map_err(|error| error.to_string());
    let first = Task::new("first", call(vec![template(1)?, template(2)?]));
    let mut second = Task::new("second", call(vec![Template::of_reference("first"), template(3)?]));
    second.call.callable = Callable::Name { module: "package.module".into(), qualname: "function".into() };
    second.options.retries = Some(2);
    let submission = Submission::new(vec![first, second], vec![Key::from("second")]);
    let message = Dialect::of(release).submit(&submission).map_err(|error| error.to_string())?;
    let mut pickles = Vec::new();
    if let Some(frames) = message.get("graph_frames").and_then(Value::as_array) {
        pickles.extend(frames.first().and_then(Value::as_bytes).map(hexadecimal));
    }
    for field in ["expr_ser", "annotations"] {
        let payload = message.get(field).and_then(Value::as_payload);
        pickles
            .extend(payload.and_then(|payload| payload.frames().first()).map(|pickle| hexadecimal(pickle)));
    }
    Ok(pickles)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn run_live(release: &str) -> Result<bool, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["test", "--package", "dask-live-tests", "--test", "releases"])
        .env("DASK_RELEASES", release)
        .status()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    Ok(status.success())
}

/// The newest release that the package index offers, as the Python of an environment that is here anyway finds it: by its
/// pip, else by the index's own list.
fn newest_published() -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let answer = runtime.block_on(async {
        let cluster = LocalCluster::builder().workers(0).start().await?;
        let output = cluster.run_python(NEWEST, &[]).await;
        cluster.stop().await?;
        output?.ok()
    });
    let text = answer.map_err(|error: dask_local::Error| error.to_string())?;
    match text.lines().last().map(str::trim) {
        Some(version) if version.parse::<Release>().is_ok() => Ok(version.to_owned()),
        _ => Err(format!("the package index's answer was {text:?}")),
    }
}
