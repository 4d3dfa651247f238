//! Where results lie on the cluster, and moving them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use dask_wire::{Key, Value};
use tracing::Instrument;

use crate::client::{Client, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::outside::run::Place;
use crate::session::reply::Reply;
use crate::session::trace::about_keys;
use crate::waiting::limited::Limited;
use crate::work::future::Future;

impl Client {
    /// The addresses of the workers that hold each result; none for a result that is not there (op `who_has`, every
    /// release).
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn who_has<'f, R: 'f>(
        &self,
        futures: impl IntoIterator<Item = &'f Future<R>>,
    ) -> Result<HashMap<Key, Vec<String>>> {
        let keys: Vec<&Key> = futures.into_iter().map(Future::key).collect();
        let request =
            self.shared().request("who_has")?.with("keys", keys.iter().copied().collect::<Value<'_>>())?;
        let asked = async {
            self.shared().until_taken_in(keys.iter().copied()).await?;
            self.shared().rpc(request).await
        };
        holders(&asked.instrument(about_keys!("dask.who_has", keys)).await?)
    }

    /// As [`Client::who_has`], of every result on the cluster, whoever asked for it: large on a busy one (op `who_has`,
    /// every release).
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn who_has_everything(&self) -> Result<HashMap<Key, Vec<String>>> {
        holders(&self.shared().rpc(self.shared().request("who_has")?).await?)
    }

    /// The keys of the results that each worker holds: of these workers (addresses or names), or of all if none is given
    /// (op `has_what`, every release).
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn has_what<W: Into<String>>(
        &self,
        workers: impl IntoIterator<Item = W>,
    ) -> Result<BTreeMap<String, Vec<Key>>> {
        let workers: Vec<String> = workers.into_iter().map(Into::into).collect();
        let mut request = self.shared().request("has_what")?;
        if !workers.is_empty() {
            request = request.with("workers", workers.into_iter().collect::<Value<'_>>())?;
        }
        let reply = self.shared().rpc(request).await?;
        let value = reply.value()?;
        let pairs = value.as_map().ok_or_else(|| reply.unexpected(value.kind()))?;
        let of_worker = |keys: &Value<'_>| {
            keys.as_array().unwrap_or_default().iter().filter_map(Key::from_value).collect()
        };
        Ok(pairs
            .iter()
            .filter_map(|(worker, keys)| Some((worker.as_str()?.to_owned(), of_worker(keys))))
            .collect())
    }

    /// The bytes that each result takes in a worker's memory, as far as known (op `nbytes`, every release).
    ///
    /// # Errors
    /// The scheduler does not answer or does not know one of the keys.
    pub async fn nbytes<'f, R: 'f>(
        &self,
        futures: impl IntoIterator<Item = &'f Future<R>>,
    ) -> Result<HashMap<Key, u64>> {
        let keys: Vec<&Key> = futures.into_iter().map(Future::key).collect();
        let request = self.shared().request("nbytes")?.with("summary", false)?;
        let request = request.with("keys", keys.iter().copied().collect::<Value<'_>>())?;
        let asked = async {
            self.shared().until_taken_in(keys.iter().copied()).await?;
            self.shared().rpc(request).await
        };
        let reply = asked.instrument(about_keys!("dask.nbytes", keys)).await?;
        let value = reply.value()?;
        let pairs = value.as_map().ok_or_else(|| reply.unexpected(value.kind()))?;
        Ok(pairs.iter().filter_map(|(key, size)| Some((Key::from_value(key)?, size.as_u64()?))).collect())
    }

    /// The bytes of all results on the cluster, by the names that keys begin with (op `nbytes`, every release).
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn nbytes_by_name(&self) -> Result<BTreeMap<String, u64>> {
        let reply = self.shared().rpc(self.shared().request("nbytes")?.with("summary", true)?).await?;
        let value = reply.value()?;
        let pairs = value.as_map().ok_or_else(|| reply.unexpected(value.kind()))?;
        Ok(pairs
            .iter()
            .filter_map(|(name, size)| Some((name.as_str()?.to_owned(), size.as_u64()?)))
            .collect())
    }

    /// Copies finished results until each lies on `copies` workers (`None`: on all), of these workers or of any if none is
    /// given. Fewer copies than there are removes some (op `replicate`, every release). Moves data between workers; none
    /// passes through here. Waits for tasks that are not finished yet, for as long as they take or up to its
    /// [`deadline`](Limited::deadline).
    ///
    /// # Errors
    /// A task fails or its result is lost before, a worker that was named does not exist, or the scheduler does not answer.
    pub fn replicate<'f, R: 'f>(
        &self,
        futures: impl IntoIterator<Item = &'f Future<R>>,
        copies: Option<usize>,
        workers: &[&str],
    ) -> Limited<'_, ()> {
        let futures = untyped(futures);
        let workers: Vec<String> = workers.iter().map(|worker| (*worker).to_owned()).collect();
        Limited::new(self, "replicating results", move |within| async move {
            let keys: Vec<Key> = futures.iter().map(|future| future.key().clone()).collect();
            let work = async {
                all_finished(&futures).await?;
                // The scheduler takes a name for a part of an address.
                let workers = match workers.as_slice() {
                    [] => Vec::new(),
                    named => self.pick_workers(Place::Worker, Some(named)).await?,
                };
                self.shared().replicate(&keys, copies, &workers, within).await
            };
            work.instrument(about_keys!("dask.replicate", keys)).await
        })
    }

    /// Moves finished results so that workers use about equally much memory: these results, or all if none is given (op
    /// `rebalance`, every release). Waits for tasks that are not finished yet, as [`Client::replicate`] does. From 2021.8.0
    /// on, releases go by the memory that processes use and leave small imbalances as they are.
    ///
    /// # Errors
    /// A task fails or its result is lost before, or the scheduler does not answer.
    pub fn rebalance<'f, R: 'f>(&self, futures: impl IntoIterator<Item = &'f Future<R>>) -> Limited<'_, ()> {
        self.rebalance_among(futures, &[])
    }

    /// As [`Client::rebalance`], among these workers alone (addresses or names), or all if none is given.
    ///
    /// # Errors
    /// As [`Client::rebalance`]; also if there is no such worker.
    pub fn rebalance_among<'f, R: 'f>(
        &self,
        futures: impl IntoIterator<Item = &'f Future<R>>,
        workers: &[&str],
    ) -> Limited<'_, ()> {
        let futures = untyped(futures);
        let named: Vec<String> = workers.iter().map(|worker| (*worker).to_owned()).collect();
        Limited::new(self, "rebalancing results", move |within| async move {
            let keys: Vec<&Key> = futures.iter().map(|future| future.key()).collect();
            let work = async {
                all_finished(&futures).await?;
                let mut request = self.shared().request("rebalance")?;
                if !keys.is_empty() {
                    request = request.with("keys", keys.iter().copied().collect::<Value<'_>>())?;
                }
                if !named.is_empty() {
                    let workers = self.pick_workers(Place::Worker, Some(&named)).await?;
                    request = request.with("workers", workers.into_iter().collect::<Value<'_>>())?;
                }
                moved(&self.shared().rpc_within(request, within).await?)
            };
            work.instrument(about_keys!("dask.rebalance", keys)).await
        })
    }
}

fn untyped<'f, R: 'f>(futures: impl IntoIterator<Item = &'f Future<R>>) -> Vec<Future<()>> {
    futures.into_iter().map(|future| future.clone().typed()).collect()
}

async fn all_finished(futures: &[Future<()>]) -> Result<()> {
    for future in futures {
        future.finished().await?;
    }
    Ok(())
}

fn holders(reply: &Reply) -> Result<HashMap<Key, Vec<String>>> {
    let value = reply.value()?;
    let pairs = value.as_map().ok_or_else(|| reply.unexpected(value.kind()))?;
    Ok(pairs.iter().filter_map(|(key, workers)| Some((Key::from_value(key)?, texts(workers)))).collect())
}

fn texts(value: &Value<'_>) -> Vec<String> {
    value.as_array().unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether a request that moves data did so.
fn moved(reply: &Reply) -> Result<()> {
    let value = reply.value()?;
    match value.get("status").and_then(Value::as_str) {
        // Nothing at all, or a status.
        None | Some("OK") => Ok(()),
        Some("missing-data" | "partial-fail") => {
            let missing = match value.get("keys") {
                Some(Value::Map(pairs)) => pairs.iter().filter_map(|(key, _)| Key::from_value(key)).collect(),
                Some(keys) => {
                    keys.as_array().unwrap_or_default().iter().filter_map(Key::from_value).collect()
                }
                None => Vec::new(),
            };
            let missing: Vec<String> = missing.iter().map(Key::to_string).collect();
            Err(Error::new(
                ErrorKind::Lost,
                format!("not all data could be moved; not found: {}", missing.join(", ")),
            ))
        }
        Some(status) => Err(reply.unexpected(format_args!("status {status:?}"))),
    }
}

impl Shared {
    pub(crate) async fn replicate(
        &self,
        keys: &[Key],
        copies: Option<usize>,
        workers: &[String],
        within: Duration,
    ) -> Result<()> {
        let mut request = self.request("replicate")?.with("keys", keys.iter().collect::<Value<'_>>())?;
        if let Some(copies) = copies {
            request = request.with("n", copies)?;
        }
        if !workers.is_empty() {
            request = request.with("workers", workers.iter().cloned().collect::<Value<'_>>())?;
        }
        moved(&self.rpc_within(request, within).await?)
    }
}
