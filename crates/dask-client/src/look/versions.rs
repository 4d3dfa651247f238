//! Which software runs on the cluster.

use std::collections::BTreeMap;

use dask_wire::{Peer, Value};
use serde::Serialize;

use crate::client::Client;
use crate::error::Result;
use crate::outside::run::Place;

/// The versions of one server's software.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServerVersions {
    /// Python, operating system and the like.
    pub host: BTreeMap<String, String>,
    /// Packages that Dask reports; `None` where one is not installed.
    pub packages: BTreeMap<String, Option<String>>,
}

/// The versions on a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClusterVersions {
    /// The scheduler's.
    pub scheduler: ServerVersions,
    /// Each worker's, by address.
    pub workers: BTreeMap<String, ServerVersions>,
    /// Workers that did not say, by address, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub silent: BTreeMap<String, String>,
}

impl Client {
    /// The versions of Python and of the packages that matter, on the scheduler and on each worker: Python's
    /// `Client.get_versions`. See [`ClusterVersions::skew`] for what differs.
    ///
    /// Every worker is asked by itself, through the scheduler. One that does not answer in time
    /// ([`ClientBuilder::rpc_timeout`](crate::ClientBuilder::rpc_timeout)) is told of in [`ClusterVersions::silent`].
    ///
    /// Op `versions` of scheduler and workers, every release.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn versions(&self) -> Result<ClusterVersions> {
        let shared = self.shared();
        let scheduler = shared.rpc(shared.request("versions")?).await?;
        let ask = shared.dialect().request(Peer::Worker, "versions")?.into_rpc()?;
        let workers = self.pick_workers(Place::Worker, None).await?;
        let mut versions = ClusterVersions {
            scheduler: server_versions(&scheduler.value()?),
            workers: BTreeMap::new(),
            silent: BTreeMap::new(),
        };
        for (worker, reply) in shared.ask_each(Place::Worker, workers, &ask, None).await {
            match reply {
                Ok(reply) => drop(versions.workers.insert(worker, server_versions(&reply))),
                Err(error) => drop(versions.silent.insert(worker, error.to_string())),
            }
        }
        Ok(versions)
    }
}

fn server_versions(value: &Value<'_>) -> ServerVersions {
    // Maps in newer releases, arrays of pairs in the oldest.
    fn pairs<'v>(value: Option<&'v Value<'_>>) -> Vec<(&'v str, Option<String>)> {
        let text = |value: &Value<'_>| match value {
            Value::Nil => None,
            Value::Str(text) => Some(text.to_string()),
            Value::Int(number) => Some(number.to_string()),
            Value::Array(parts) => {
                let parts: Vec<String> = parts
                    .iter()
                    .map(|part| {
                        part.as_str().map_or_else(|| part.as_i64().unwrap_or(0).to_string(), str::to_owned)
                    })
                    .collect();
                Some(parts.join("."))
            }
            _ => None,
        };
        match value {
            Some(Value::Map(pairs)) => {
                pairs.iter().filter_map(|(name, version)| Some((name.as_str()?, text(version)))).collect()
            }
            Some(Value::Array(items)) => items
                .iter()
                .filter_map(|pair| match pair.as_array() {
                    Some([name, version]) => Some((name.as_str()?, text(version))),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }
    ServerVersions {
        host: pairs(value.get("host"))
            .into_iter()
            .filter_map(|(name, v)| Some((name.to_owned(), v?)))
            .collect(),
        packages: pairs(value.get("packages")).into_iter().map(|(name, v)| (name.to_owned(), v)).collect(),
    }
}
