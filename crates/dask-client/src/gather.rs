//! Fetching results.

use std::collections::HashMap;
use std::sync::Arc;

use dask_wire::family::{Decoded, decode};
use dask_wire::{FromPython, Key, Payload, Value};

use crate::client::{Client, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::future::Future;
use crate::wait::Finished;

/// How often results that vanished between "finished" and the fetch are waited for again.
const ATTEMPTS: usize = 10;

impl Client {
    /// Waits for several results and fetches them together, in the order of the futures.
    ///
    /// # Errors
    /// The first task in that order that failed, was cancelled or lost, or whose result is not of type `R`.
    pub async fn gather<R: FromPython>(&self, futures: &[Future<R>]) -> Result<Vec<R>> {
        let results = self.gather_decoded(futures).await?;
        let pairs = results.into_iter().zip(futures);
        pairs
            .map(|(result, future)| {
                R::from_python(result)
                    .map_err(|error| Error::decode(format_args!("the result of {}", future.key()), error))
            })
            .collect()
    }

    pub(crate) async fn gather_decoded<R>(&self, futures: &[Future<R>]) -> Result<Vec<Arc<Decoded>>> {
        let keys: Vec<&Key> = futures.iter().map(Future::key).collect();
        self.fetch(&keys).await
    }

    pub(crate) async fn fetch_one(&self, key: &Key) -> Result<Arc<Decoded>> {
        let mut results = self.fetch(&[key]).await?;
        results.pop().ok_or_else(|| Error::about(ErrorKind::Lost, key, format!("no result for {key}")))
    }

    /// Waits for keys and fetches their results, in their order.
    async fn fetch(&self, keys: &[&Key]) -> Result<Vec<Arc<Decoded>>> {
        let shared = self.shared();
        let mut found: HashMap<Key, Arc<Decoded>> = HashMap::with_capacity(keys.len());
        for _ in 0..ATTEMPTS {
            for key in keys {
                Finished::new(shared, key).await?;
            }
            let missing: Vec<&Key> = keys.iter().copied().filter(|key| !found.contains_key(*key)).collect();
            for (key, payload) in shared.gather(&missing).await? {
                let decoded = decode(&payload, &shared.settings.pickle_limits)
                    .map_err(|error| Error::decode(format_args!("the result of {key}"), error))?;
                found.insert(key, Arc::new(decoded));
            }
            let gone: Vec<&Key> = keys.iter().copied().filter(|key| !found.contains_key(*key)).collect();
            if gone.is_empty() {
                return Ok(keys.iter().filter_map(|key| found.get(*key).cloned()).collect());
            }
            // Their worker is gone; the scheduler says whether they are computed again.
            shared.session.change(|session| gone.iter().for_each(|key| session.ask_again(key)));
        }
        let key = keys.iter().find(|key| !found.contains_key(**key)).copied();
        let key = key.cloned().unwrap_or_else(|| Key::from(""));
        Err(Error::about(
            ErrorKind::Lost,
            &key,
            format!(
                "the result of {key} vanished {ATTEMPTS} times before it could be fetched; do workers keep dying?"
            ),
        ))
    }
}

impl Shared {
    /// Fetches what is there of these keys.
    async fn gather(&self, keys: &[&Key]) -> Result<Vec<(Key, Payload)>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let request = self.request("gather")?.with("keys", keys.iter().copied().collect::<Value<'_>>())?;
        let reply = self.rpc(request).await?;
        let mut value = reply.value()?;
        match value.get("status").and_then(Value::as_str) {
            Some("OK") => {
                let Some(Value::Map(data)) = value.take("data") else {
                    return Err(reply.unexpected("no data"));
                };
                let mut results = Vec::with_capacity(data.len());
                for (key, payload) in data {
                    match (Key::from_value(&key), payload) {
                        (Some(key), Value::Payload(payload)) => results.push((key, *payload)),
                        (_, other) => {
                            return Err(reply.unexpected(format_args!("{} for a result", other.kind())));
                        }
                    }
                }
                Ok(results)
            }
            // Some keys are not there; what was there is asked for again with the rest.
            Some("error") => Ok(Vec::new()),
            _ => Err(reply.unexpected("no status")),
        }
    }
}
