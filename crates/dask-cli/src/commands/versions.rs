//! `dask-rs versions`

use std::collections::BTreeMap;

use dask_client::ServerVersions;
use serde_json::json;

use super::Context;
use crate::cli::Cluster;
use crate::failure::Failure;
use crate::output;

pub(super) async fn run(context: Context, cluster: &Cluster) -> Result<u8, Failure> {
    let client = cluster.connect().await?;
    let versions = client.versions().await?;
    let dialect = client.dialect();
    client.close().await;
    if context.json() {
        let workers: BTreeMap<_, _> =
            versions.workers.iter().map(|(address, v)| (address, flat(v))).collect();
        output::line(&json!({
            "scheduler": flat(&versions.scheduler),
            "workers": workers,
            "dialect": dialect.submission().name(),
            "known": dialect.is_known(),
        }));
        return Ok(0);
    }
    if !dialect.is_known() {
        output::say(
            context.quiet,
            &format!(
                "release {} is not among those this program was checked against (up to {}); it speaks the nearest dialect",
                dialect.release(),
                dask_wire::dialect::NEWEST_KNOWN
            ),
        );
    }
    output::data(&format!("release {} (dialect {})", dialect.release(), dialect.submission().name()));
    let all: Vec<(&str, &ServerVersions)> = std::iter::once(("scheduler", &versions.scheduler))
        .chain(versions.workers.iter().map(|(address, versions)| (address.as_str(), versions)))
        .collect();
    let mut header = vec!["package"];
    header.extend(all.iter().map(|(name, _)| *name));
    let names: std::collections::BTreeSet<&String> =
        all.iter().flat_map(|(_, v)| v.packages.keys()).collect();
    let rows = names.into_iter().map(|name| {
        let mut row = vec![name.clone()];
        row.extend(
            all.iter()
                .map(|(_, v)| v.packages.get(name).cloned().flatten().unwrap_or_else(|| "-".to_owned())),
        );
        row
    });
    output::data(&output::table(&header, rows));
    Ok(0)
}

/// Packages and host entries in one object, as `distributed` calls them.
fn flat(versions: &ServerVersions) -> serde_json::Value {
    json!({ "host": versions.host, "packages": versions.packages })
}
