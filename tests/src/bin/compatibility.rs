//! Makes the README's table of releases from the reports of a run: `compatibility target/compatibility [--write]`.
//!
//! Without `--write` it checks that every release of the run passed and that none in the README's table failed.
#![expect(clippy::print_stdout, reason = "a program")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use dask_client::Release;
use serde_json::Value;

const BEGIN: &str = "<!-- compatibility: begin -->";
const END: &str = "<!-- compatibility: end -->";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("which directory of reports?")?;
    let write = arguments.next().as_deref() == Some("--write");
    let directory = dask_live_tests::workspace().join(directory);
    let reports = read(&directory)?;
    let failed: Vec<String> = reports
        .iter()
        .filter(|(_, report)| !passed(report))
        .map(|(release, _)| release.to_string())
        .collect();
    println!(
        "{} releases in {}, {} failed {}",
        reports.len(),
        directory.display(),
        failed.len(),
        failed.join(" ")
    );
    if write {
        let path = dask_live_tests::workspace().join("README.md");
        let readme = std::fs::read_to_string(&path)?;
        let (before, rest) = readme.split_once(BEGIN).ok_or("README.md has no place for the table")?;
        let (_, after) = rest.split_once(END).ok_or("README.md has no end of the table")?;
        std::fs::write(path, format!("{before}{BEGIN}\n{}{END}{after}", table(&reports)))?;
        println!("README.md is up to date");
    }
    if failed.is_empty() { Ok(()) } else { Err("some releases failed".into()) }
}

fn read(directory: &Path) -> Result<BTreeMap<Release, Value>, Box<dyn Error>> {
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

fn table(reports: &BTreeMap<Release, Value>) -> String {
    let text = |report: &Value, name: &str| {
        report.get(name).and_then(Value::as_str).map(str::to_owned).unwrap_or_default()
    };
    let mut out = String::from(
        "| Dask | Python | submission | protocols | scenarios |\n| --- | --- | --- | --- | --- |\n",
    );
    for (release, report) in reports {
        let protocols: Vec<&str> = report
            .get("protocols")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let scenarios = report.get("scenarios").and_then(Value::as_u64).unwrap_or(0);
        let outcome = if passed(report) { format!("{scenarios} passed") } else { "FAILED".to_owned() };
        out += &format!(
            "| {release} | {} | {} | {} | {outcome} |\n",
            text(report, "python"),
            text(report, "dialect"),
            protocols.join(", "),
        );
    }
    out
}
