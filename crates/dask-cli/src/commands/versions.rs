//! `dask-rs versions`

use std::collections::BTreeMap;

use dask_client::ServerVersions;
use owo_colors::OwoColorize;
use serde_json::json;

use super::{Context, skew};
use crate::cli::Cluster;
use crate::failure::Failure;
use crate::output;

/// More workers than this are summed up, unless everything is asked for.
const COLUMNS: usize = 4;

pub(super) async fn run(context: Context, cluster: &Cluster) -> Result<u8, Failure> {
    let client = cluster.connect_to_ask_many(context).await?;
    let versions = client.versions().await?;
    let dialect = client.dialect();
    client.close().await;
    let rows = skew::table(&versions);
    if context.json() {
        let workers: BTreeMap<_, _> =
            versions.workers.iter().map(|(address, v)| (address, flat(v))).collect();
        let differing: Vec<_> =
            rows.iter().filter(|row| row.differs).map(|row| row.package.as_str()).collect();
        output::line(&json!({
            "scheduler": flat(&versions.scheduler),
            "workers": workers,
            "dialect": dialect.submission().name(),
            "known": dialect.is_known(),
            "differing": differing,
            "silent": versions.silent,
        }));
        return Ok(0);
    }
    output::data(&format!("release {} (dialect {})", dialect.release(), dialect.submission().name()));
    let summed_up = versions.workers.len() > COLUMNS && !context.wide();
    let mut header = vec!["package", "scheduler"];
    let count = format!("{} workers", versions.workers.len());
    match summed_up {
        true => header.push(&count),
        false => header.extend(versions.workers.keys().map(String::as_str)),
    }
    header.push("");
    let table = rows.iter().map(|row| {
        let shown = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
        let mut cells = vec![row.package.clone()];
        match (summed_up, row.versions.split_first()) {
            (true, Some((scheduler, workers))) if row.differs => {
                let workers = skew::Row {
                    package: String::new(),
                    versions: workers.to_vec(),
                    differs: true,
                    must_agree: false,
                };
                cells.extend([shown(scheduler), workers.summary()]);
            }
            (true, Some((scheduler, _))) => cells.extend([shown(scheduler), shown(scheduler)]),
            _ => cells.extend(row.versions.iter().map(shown)),
        }
        cells.push(match (row.differs, row.must_agree) {
            (true, true) => "must agree".red().to_string(),
            (true, false) => "differs".yellow().to_string(),
            (false, _) => String::new(),
        });
        cells
    });
    output::data(&output::table(&header, table));
    for (worker, why) in &versions.silent {
        output::say(context.quiet, &format!("worker {worker} does not say its versions: {why}"));
    }
    let broken: Vec<&str> =
        rows.iter().filter(|row| row.differs && row.must_agree).map(|row| row.package.as_str()).collect();
    if !broken.is_empty() {
        output::say(
            context.quiet,
            &format!(
                "{} should be the same everywhere; give scheduler and workers the same environment",
                broken.join(", ")
            ),
        );
    }
    Ok(0)
}

/// Packages and host entries in one object, as `distributed` calls them.
fn flat(versions: &ServerVersions) -> serde_json::Value {
    json!({ "host": versions.host, "packages": versions.packages })
}
