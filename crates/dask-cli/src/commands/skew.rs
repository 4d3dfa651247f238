//! Which versions differ between scheduler and workers.

use std::collections::{BTreeMap, BTreeSet};

use dask_client::ClusterVersions;

/// Packages whose versions must agree, for tasks or data of one would not be understood by another.
const MUST_AGREE: [&str; 6] = ["dask", "distributed", "msgpack", "cloudpickle", "toolz", "numpy"];

/// One package, or Python itself, on every server.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) package: String,
    /// By server: `scheduler` first, then the workers' addresses.
    pub(crate) versions: Vec<Option<String>>,
    pub(crate) differs: bool,
    pub(crate) must_agree: bool,
}

impl Row {
    /// Each version and on how many servers it is.
    pub(crate) fn summary(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for version in &self.versions {
            *counts.entry(version.as_deref().unwrap_or("none")).or_default() += 1;
        }
        let parts: Vec<String> =
            counts.iter().map(|(version, count)| format!("{version} on {count}")).collect();
        parts.join(", ")
    }
}

type Host<'v> = &'v BTreeMap<String, String>;
type Packages<'v> = &'v BTreeMap<String, Option<String>>;

/// Every package of every server, Python first.
pub(crate) fn table(versions: &ClusterVersions) -> Vec<Row> {
    let servers: Vec<_> = std::iter::once(&versions.scheduler)
        .chain(versions.workers.values())
        .map(|server| (&server.host, &server.packages))
        .collect();
    rows(&servers)
}

fn rows(servers: &[(Host<'_>, Packages<'_>)]) -> Vec<Row> {
    let row = |package: &str, versions: Vec<Option<String>>, must_agree| Row {
        package: package.to_owned(),
        differs: versions.windows(2).any(|pair| matches!(pair, [left, right] if left != right)),
        versions,
        must_agree,
    };
    let python = servers.iter().map(|(host, _)| host.get("python").cloned()).collect();
    let names: BTreeSet<&String> = servers.iter().flat_map(|(_, packages)| packages.keys()).collect();
    let mut rows = vec![row("python", python, true)];
    rows.extend(names.into_iter().filter(|name| *name != "python").map(|name| {
        let versions = servers.iter().map(|(_, packages)| packages.get(name).cloned().flatten()).collect();
        row(name, versions, MUST_AGREE.contains(&name.as_str()))
    }));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_found() {
        let host = BTreeMap::from([("python".to_owned(), "3.13.0".to_owned())]);
        let with = |numpy: Option<&str>| {
            BTreeMap::from([
                ("numpy".to_owned(), numpy.map(str::to_owned)),
                ("lz4".to_owned(), Some("4.0".to_owned())),
            ])
        };
        let (old, new, none) = (with(Some("1.26")), with(Some("2.0")), with(None));
        let rows = rows(&[(&host, &old), (&host, &new), (&host, &new), (&host, &none)]);
        let found: Vec<_> =
            rows.iter().map(|row| (row.package.as_str(), row.differs, row.must_agree)).collect();
        assert_eq!(found, [("python", false, true), ("lz4", false, false), ("numpy", true, true)]);
        assert_eq!(rows[2].summary(), "1.26 on 1, 2.0 on 2, none on 1");
    }
}
