//! Differences between the versions on a cluster.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::look::versions::ClusterVersions;

/// One piece of software of which not every server has the same version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Skew {
    /// The package, or `python`.
    pub package: String,
    /// Servers by version; `None`: it is not installed there. The scheduler goes by `scheduler`, workers by address.
    pub servers: BTreeMap<Option<String>, Vec<String>>,
    /// Whether the difference is one that breaks things: Dask itself and what it sends messages with must agree.
    pub matters: bool,
}

/// What all servers must have alike, by Dask's own reckoning.
const MATTERS: &[&str] =
    &["python", "dask", "distributed", "msgpack", "cloudpickle", "tornado", "toolz", "lz4", "blosc"];

impl ClusterVersions {
    /// What differs between the servers, the differences that matter first. Empty if they all agree.
    pub fn skew(&self) -> Vec<Skew> {
        let mut found: BTreeMap<&str, BTreeMap<Option<String>, Vec<String>>> = BTreeMap::new();
        let workers = self.workers.iter().map(|(address, versions)| (address.as_str(), versions));
        let servers: Vec<_> = std::iter::once(("scheduler", &self.scheduler)).chain(workers).collect();
        for (_, versions) in &servers {
            for package in versions.packages.keys() {
                found.entry(package).or_default();
            }
        }
        for (package, by_version) in &mut found {
            for (server, versions) in &servers {
                let version = versions.packages.get(*package).cloned().flatten();
                by_version.entry(version).or_default().push((*server).to_owned());
            }
        }
        let mut skews: Vec<Skew> = found
            .into_iter()
            .filter(|(_, by_version)| by_version.len() > 1)
            .map(|(package, servers)| Skew {
                package: package.to_owned(),
                servers,
                matters: MATTERS.contains(&package),
            })
            .collect();
        skews.sort_by_key(|skew| !skew.matters);
        skews
    }
}

impl fmt::Display for Skew {
    /// One line: `msgpack: 1.0.7 on scheduler; 1.1.0 on 3 servers`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.package)?;
        for (at, (version, servers)) in self.servers.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{}", version.as_deref().unwrap_or("not installed"))?;
            match servers.as_slice() {
                [one] => write!(f, " on {one}")?,
                many => write!(f, " on {} servers", many.len())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::versions::ServerVersions;

    fn server(packages: &[(&str, Option<&str>)]) -> ServerVersions {
        let packages = packages.iter().map(|(name, v)| ((*name).to_owned(), v.map(str::to_owned)));
        ServerVersions { packages: packages.collect(), ..Default::default() }
    }

    #[test]
    fn only_differences_are_reported_and_the_grave_ones_first() {
        let scheduler = server(&[("dask", Some("1")), ("numpy", Some("1")), ("msgpack", Some("1.0"))]);
        let a = server(&[("dask", Some("1")), ("numpy", None), ("msgpack", Some("1.1"))]);
        let b = server(&[("dask", Some("1")), ("msgpack", Some("1.1"))]);
        let workers = [("a".to_owned(), a), ("b".to_owned(), b)].into_iter().collect();
        let skew = ClusterVersions { scheduler, workers, silent: BTreeMap::new() }.skew();
        let lines: Vec<String> = skew.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "msgpack: 1.0 on scheduler; 1.1 on 2 servers",
                "numpy: not installed on 2 servers; 1 on scheduler"
            ]
        );
        assert!(skew[0].matters && !skew[1].matters);
        let same = server(&[("dask", Some("1"))]);
        let workers = [("a".to_owned(), same.clone())].into_iter().collect();
        assert_eq!(ClusterVersions { scheduler: same, workers, silent: BTreeMap::new() }.skew(), []);
    }
}
