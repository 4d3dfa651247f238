//! Makes the README's table of releases from the reports of a run: `compatibility target/compatibility [--write]`.
//!
//! Without `--write` it compares them: it fails where a release of the run failed, or where its row reads otherwise than
//! the README's. A release that could not be run here is no difference, and neither is the Python that ran it.
#![expect(clippy::print_stdout, reason = "a program")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use dask_client::Release;
use serde_json::Value;

const BEGIN: &str = "<!-- compatibility: begin -->";
const END: &str = "<!-- compatibility: end -->";
const HEAD: &str =
    "| Dask | Python | submission | tcp | tls | ws | wss |\n| --- | --- | --- | --- | --- | --- | --- |\n";
const PROTOCOLS: [&str; 4] = ["tcp", "tls", "ws", "wss"];

type Reports = BTreeMap<Release, Value>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("which directory of reports?")?;
    let write = arguments.next().as_deref() == Some("--write");
    let directory = dask_live_tests::workspace().join(directory);
    let reports = read(&directory)?;
    let (not_run, ran): (Reports, Reports) =
        reports.into_iter().partition(|(_, report)| report.get("not_run").is_some());
    println!("{} releases ran, {} did not: {}", ran.len(), not_run.len(), names(not_run.keys()));

    let path = dask_live_tests::workspace().join("README.md");
    let readme = std::fs::read_to_string(&path)?;
    let (before, rest) = readme.split_once(BEGIN).ok_or("README.md has no place for the table")?;
    let (kept, after) = rest.split_once(END).ok_or("README.md has no end of the table")?;
    let failed: Vec<_> =
        ran.iter().filter(|(_, report)| !passed(report)).map(|(release, _)| release).collect();
    if write {
        if !not_run.is_empty() || !failed.is_empty() {
            let why = format!("not run: {}; failed: {}", names(not_run.keys()), names(failed));
            return Err(format!("the table is made from a complete run that passed ({why})").into());
        }
        std::fs::write(path, format!("{before}{BEGIN}\n{}{END}{after}", table(&ran)))?;
        println!("README.md is up to date");
        return Ok(());
    }
    let differences = differences(kept, &ran);
    differences.iter().for_each(|line| println!("{line}"));
    match (failed.is_empty(), differences.is_empty()) {
        (false, _) => Err(format!("some releases failed: {}", names(failed)).into()),
        (_, false) => Err("README.md's table is not what this run found; --write makes it anew".into()),
        _ => Ok(()),
    }
}

fn names<'r>(releases: impl IntoIterator<Item = &'r Release>) -> String {
    releases.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn read(directory: &Path) -> Result<Reports, Box<dyn Error>> {
    let mut reports = BTreeMap::new();
    let entries =
        std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let report: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
            let release = report.get("release").and_then(Value::as_str).ok_or("a report without release")?;
            reports.insert(release.parse()?, report);
        }
    }
    Ok(reports)
}

fn passed(report: &Value) -> bool {
    report.get("failures").and_then(Value::as_array).is_some_and(Vec::is_empty)
}

fn table(reports: &Reports) -> String {
    reports.iter().fold(HEAD.to_owned(), |out, (release, report)| out + &row(*release, report) + "\n")
}

fn row(release: Release, report: &Value) -> String {
    let text = |name: &str| report.get(name).and_then(Value::as_str).unwrap_or_default();
    let python: Vec<&str> = text("python").splitn(3, '.').take(2).collect();
    let cells = PROTOCOLS.map(|protocol| match report.pointer(&format!("/passed/{protocol}")) {
        Some(count) => count.to_string(),
        None => "–".to_owned(),
    });
    let outcome = if passed(report) { "" } else { " FAILED" };
    let (python, dialect) = (python.join("."), text("dialect"));
    format!("| {release} | {python} | {dialect} | {} |{outcome}", cells.join(" | "))
}

/// Where the run is not as the README's table says.
fn differences(kept: &str, ran: &Reports) -> Vec<String> {
    let without_python = |row: &str| {
        let cells = row.split('|').map(str::trim).enumerate();
        cells.filter(|(at, _)| *at != 2).map(|(_, cell)| cell.to_owned()).collect::<Vec<_>>()
    };
    let of = |release: &Release| {
        kept.lines()
            .find(|line| line.split('|').nth(1).is_some_and(|cell| cell.trim() == release.to_string()))
    };
    let mut found = Vec::new();
    for (release, report) in ran {
        let now = row(*release, report);
        match of(release) {
            None => found.push(format!("not in the table: {now}")),
            Some(row) if without_python(row) != without_python(&now) => {
                found.push(format!("in the table: {row}\n         now: {now}"));
            }
            Some(_) => (),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_that_reads_otherwise_is_a_difference_and_another_python_is_none() {
        let report = |python: &str, tls: u64| json!({"python": python, "dialect": "tasks", "passed": {"tcp": 25, "tls": tls}, "failures": []});
        let release: Release = "2.30.1".parse().unwrap();
        let kept = table(&Reports::from([(release, report("3.7.16", 4))]));
        assert!(kept.contains("| 2.30.1 | 3.7 | tasks | 25 | 4 | – | – |"), "{kept}");
        let now = |report| Reports::from([(release, report)]);
        assert_eq!(differences(&kept, &now(report("3.8.1", 4))), Vec::<String>::new());
        assert_eq!(differences(&kept, &now(report("3.7.16", 5))).len(), 1);
        assert_eq!(differences(HEAD, &now(report("3.7.16", 4))).len(), 1);
        assert_eq!(differences(&kept, &Reports::new()), Vec::<String>::new());
    }
}
