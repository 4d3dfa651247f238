//! Fetching results.

use std::collections::{HashMap, HashSet};
use std::future::Future as StdFuture;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dask_wire::family::{Decoded, decode};
use dask_wire::{FromPython, Key, Payload, Value};
use futures::future::BoxFuture;
use tracing::Instrument;

use crate::client::{Client, Shared};
use crate::error::{Error, Result};
use crate::waiting::limit::Limit;
use crate::waiting::wait::read;
use crate::waiting::wait_many::{all_finished, all_or_first};
use crate::work::future::Future;
use crate::work::graph::{Graph, Outputs};
use crate::work::submit::Room;

/// How often results that vanished between "finished" and the fetch are waited for again.
pub(crate) const ATTEMPTS: u32 = 12;
/// Results asked of one server with one request.
const AT_ONCE: usize = 2000;
/// The same where results may be large.
const BULKY_AT_ONCE: usize = 4;
/// Requests for data under way at once.
const REQUESTS: usize = 8;

/// What became of one key in one round of fetching.
#[derive(Clone, Debug)]
pub(crate) enum Fetched {
    /// Its result.
    Got(Arc<Decoded>),
    /// It has none that can be had.
    Failed(Error),
    /// Whoever held it does not any more; the scheduler was asked what becomes of it.
    Gone,
}

impl Client {
    /// Waits for several results and fetches them together, in the order of the futures.
    ///
    /// Large results and many small ones come from the workers themselves where these can be reached from here
    /// (`who_has`, then `get_data` of each worker), everything else through the scheduler (`gather`). Every release.
    ///
    /// # Errors
    /// As soon as a task has failed, was cancelled or lost, without waiting for the others, as Python's does: the first such
    /// in that order. Or a result is not of type `R`. See [`Gather::each`] and [`Gather::skip_errors`] for the others'
    /// results.
    pub fn gather<'a, R>(&'a self, futures: &'a [Future<R>]) -> Gather<'a, R> {
        Gather { client: self, futures, deadline: None }
    }

    /// Submits a graph and awaits the results of some of its nodes: [`Client::submit_graph`] and [`Client::gather`] in one.
    /// Python's `Client.get`.
    ///
    /// # Errors
    /// The graph cannot run, a task fails, or a result is not of the type asked for.
    pub fn compute<O: Outputs<R>, R>(&self, graph: Graph, outputs: O) -> Compute<'_, O, R> {
        Compute { client: self, graph, outputs, deadline: None, result: std::marker::PhantomData }
    }

    pub(crate) async fn fetch_one(&self, key: &Key) -> Result<Arc<Decoded>> {
        let found = self.fetch(std::slice::from_ref(&key)).await?.pop();
        found.ok_or_else(|| Error::vanished(key, ATTEMPTS))
    }

    /// Waits for keys and fetches their results, in their order; fails as soon as one of them has failed.
    async fn fetch(&self, keys: &[&Key]) -> Result<Vec<Arc<Decoded>>> {
        let span = gather_span(keys.iter().copied());
        let work = async {
            all_finished(self.shared(), keys).await?;
            self.fetch_there(keys, None, &span).await.into_iter().collect()
        };
        work.instrument(span.clone()).await
    }

    /// Waits for keys, until the limit, and fetches what there is, in their order.
    async fn fetch_each(&self, keys: &[&Key], limit: Option<Limit>) -> Vec<Result<Arc<Decoded>>> {
        let span = gather_span(keys.iter().copied());
        self.fetch_there(keys, limit, &span).instrument(span.clone()).await
    }

    /// Fetching itself may outlast the limit. What is open by then, or again, is not waited for any longer.
    async fn fetch_there(
        &self,
        keys: &[&Key],
        limit: Option<Limit>,
        span: &tracing::Span,
    ) -> Vec<Result<Arc<Decoded>>> {
        let shared = self.shared();
        let mut tally = Tally::default();
        let mut found: HashMap<Key, Result<Arc<Decoded>>> = HashMap::with_capacity(keys.len());
        let mut rest: Vec<&Key> = keys.to_vec();
        for attempt in 0..ATTEMPTS {
            pause_before(attempt).await;
            let late = wait_until(shared, &rest, limit).await;
            let mut there = Vec::with_capacity(rest.len());
            for key in rest.drain(..) {
                match (shared.outcome(key), &late) {
                    (Ok(false), Some((late, after))) => {
                        drop(found.insert(key.clone(), Err(late.of_another(key, *after))));
                    }
                    (Ok(_), _) => there.push(key.clone()),
                    (Err(error), _) => drop(found.insert(key.clone(), Err(error))),
                }
            }
            for (key, fetched) in shared.fetch_round(&there, &mut tally).await {
                match fetched {
                    Fetched::Got(result) => drop(found.insert(key, Ok(result))),
                    Fetched::Failed(error) => drop(found.insert(key, Err(error))),
                    Fetched::Gone => (),
                }
            }
            rest = keys.iter().copied().filter(|key| !found.contains_key(*key)).collect();
            if rest.is_empty() {
                break;
            }
        }
        tally.record(span);
        let result =
            |key: &&Key| found.get(*key).cloned().unwrap_or_else(|| Err(Error::vanished(key, ATTEMPTS)));
        keys.iter().map(result).collect()
    }
}

/// Waits until all of these keys have an outcome. When the limit passes first: its error for the first of those that have
/// none, and the time there was.
async fn wait_until(shared: &Shared, keys: &[&Key], limit: Option<Limit>) -> Option<(Error, Duration)> {
    let all = all_or_first(shared, keys, false);
    let Some(limit) = limit else {
        all.await;
        return None;
    };
    tokio::time::timeout_at(limit.until(), all).await.err()?;
    let open = keys.iter().find(|key| shared.is_pending(key))?;
    Some((shared.timed_out(open, limit.after()).await, limit.after()))
}

/// Waits longer before each attempt: a worker's death takes a moment to be noticed.
pub(crate) async fn pause_before(attempt: u32) {
    if attempt > 0 {
        tokio::time::sleep(Duration::from_millis(10 << attempt.min(8)).min(Duration::from_secs(2))).await;
    }
}

/// Waits for several results. Made by [`Client::gather`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Gather<'a, R> {
    client: &'a Client,
    futures: &'a [Future<R>],
    deadline: Option<Duration>,
}

impl<'a, R: FromPython + Send + 'a> Gather<'a, R> {
    /// Gives up after this time, with the reason why ([`Error::diagnosis`]).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Each result or what went wrong with it, in the order of the futures. With a deadline, what is not done by then is
    /// such an error, and what is done is there.
    pub fn each(self) -> BoxFuture<'a, Vec<Result<R>>> {
        let Self { client, futures, deadline } = self;
        Box::pin(async move {
            let keys: Vec<&Key> = futures.iter().map(Future::key).collect();
            let found = client.fetch_each(&keys, deadline.map(Limit::new)).await;
            found.into_iter().zip(keys).map(|(found, key)| read(key, found?)).collect()
        })
    }

    /// Each result, or `None` where there is none, in the order of the futures.
    pub fn skip_errors(self) -> BoxFuture<'a, Vec<Option<R>>> {
        let each = self.each();
        Box::pin(async move { each.await.into_iter().map(Result::ok).collect() })
    }
}

impl<'a, R: FromPython + Send + 'a> IntoFuture for Gather<'a, R> {
    type Output = Result<Vec<R>>;
    type IntoFuture = BoxFuture<'a, Result<Vec<R>>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { client, futures, deadline } = self;
        Box::pin(async move {
            let keys: Vec<&Key> = futures.iter().map(Future::key).collect();
            let limit = deadline.map(Limit::new);
            let results = within_any(client, limit, &keys, client.fetch(&keys)).await?;
            results.into_iter().zip(keys).map(|(result, key)| read(key, result)).collect()
        })
    }
}

/// Computes a graph. Made by [`Client::compute`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Compute<'a, O, R> {
    client: &'a Client,
    graph: Graph,
    outputs: O,
    deadline: Option<Duration>,
    result: std::marker::PhantomData<fn() -> R>,
}

impl<O, R> Compute<'_, O, R> {
    /// Ends within this time, either with the results or with the reason why there are none ([`Error::diagnosis`]). The
    /// tasks are then released.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl<'a, O: Outputs<R> + Send + 'a, R: 'a> IntoFuture for Compute<'a, O, R> {
    type Output = Result<R>;
    type IntoFuture = BoxFuture<'a, Result<R>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { client, graph, outputs, deadline, .. } = self;
        let outputs = outputs.keys();
        Box::pin(async move {
            let limit = deadline.map(Limit::new);
            let room = if limit.is_some() { Room::Patient } else { Room::AsSet };
            let submitting = client.submit_graph_with(graph, outputs, room);
            let futures: Vec<Future<()>> = Limit::submitting(limit, client.shared(), submitting).await?;
            let keys: Vec<&Key> = futures.iter().map(Future::key).collect();
            O::collect(within_any(client, limit, &keys, client.fetch(&keys)).await?)
        })
    }
}

/// Does work that waits for all of these keys, within a deadline.
async fn within_any<T>(
    client: &Client,
    limit: Option<Limit>,
    keys: &[&Key],
    work: impl StdFuture<Output = Result<T>>,
) -> Result<T> {
    let Some(limit) = limit else { return work.await };
    let shared = client.shared();
    match tokio::time::timeout_at(limit.until(), work).await {
        Ok(outcome) => outcome,
        Err(_) => match keys.iter().find(|key| shared.is_pending(key)).or(keys.first()) {
            Some(key) => Err(shared.timed_out(key, limit.after()).await),
            None => Err(Error::timeout("gathering nothing", limit.after())),
        },
    }
}

/// What gathering took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    bytes: u64,
    direct: u64,
    relayed: u64,
}

impl Tally {
    /// Writes it into a span that [`gather_span`] made.
    pub(crate) fn record(self, span: &tracing::Span) {
        span.record("bytes", self.bytes).record("direct", self.direct).record("relayed", self.relayed);
    }
}

/// The span of gathering these keys.
pub(crate) fn gather_span<'k>(keys: impl ExactSizeIterator<Item = &'k Key>) -> tracing::Span {
    use tracing::field::Empty;
    let number = keys.len();
    let mut keys = keys;
    tracing::debug_span!(
        "dask.gather",
        key = keys.next().map(tracing::field::display),
        keys = number,
        bytes = Empty,
        direct = Empty,
        relayed = Empty,
    )
}

impl Shared {
    /// Fetches what is there of these finished keys. Asks the scheduler what becomes of the others.
    pub(crate) async fn fetch_round(&self, keys: &[Key], tally: &mut Tally) -> HashMap<Key, Fetched> {
        let mut bytes = 0;
        let mut fetched: HashMap<Key, Fetched> = HashMap::with_capacity(keys.len());
        let mut note = |fetched: &mut HashMap<Key, Fetched>, key: Key, payload: &Payload| {
            bytes += payload.len() as u64;
            let found = match decode(payload, &self.settings.pickle_limits) {
                Ok(decoded) => Fetched::Got(Arc::new(decoded)),
                Err(error) => Fetched::Failed(Error::decode(format_args!("the result of {key}"), error)),
            };
            fetched.insert(key, found);
        };
        let mut relayed: Vec<Key> = Vec::new();
        match self.direct_plan(keys).await {
            None => relayed.extend_from_slice(keys),
            Some(plan) => {
                let results = self.fetch_direct(plan).await;
                tally.direct += results.len() as u64;
                self.counters.direct.fetch_add(results.len() as u64, Ordering::Relaxed);
                results.into_iter().for_each(|(key, payload)| note(&mut fetched, key, &payload));
                relayed.extend(keys.iter().filter(|key| !fetched.contains_key(*key)).cloned());
            }
        }
        for chunk in self.chunks(relayed) {
            match self.relay(&chunk).await {
                Ok(results) => {
                    tally.relayed += results.len() as u64;
                    self.counters.relayed.fetch_add(results.len() as u64, Ordering::Relaxed);
                    results.into_iter().for_each(|(key, payload)| note(&mut fetched, key, &payload));
                }
                Err(error) => {
                    fetched.extend(chunk.into_iter().map(|key| (key, Fetched::Failed(error.clone()))));
                }
            }
        }
        tally.bytes += bytes;
        let gone: Vec<&Key> = keys.iter().filter(|key| !fetched.contains_key(*key)).collect();
        if !gone.is_empty() {
            self.session.change(|session| gone.iter().for_each(|key| session.ask_again(key)));
            fetched.extend(gone.into_iter().map(|key| (key.clone(), Fetched::Gone)));
        }
        fetched
    }

    /// Keys by as many as are asked for at once; fewer where results may be large.
    pub(crate) fn chunks(&self, keys: Vec<Key>) -> Vec<Vec<Key>> {
        let bulky = |key: &Key| self.session.look(|session| session.placement(key).bulky);
        let mut chunks: Vec<Vec<Key>> = Vec::new();
        let (mut current, mut weight) = (Vec::new(), 0);
        for key in keys {
            weight += if bulky(&key) { AT_ONCE / BULKY_AT_ONCE } else { 1 };
            current.push(key);
            if weight >= AT_ONCE {
                chunks.push(std::mem::take(&mut current));
                weight = 0;
            }
        }
        chunks.push(current);
        chunks.retain(|chunk| !chunk.is_empty());
        chunks
    }

    /// Fetches through the scheduler what is there of these keys.
    async fn relay(&self, keys: &[Key]) -> Result<Vec<(Key, Payload)>> {
        let mut wanted: Vec<&Key> = keys.iter().collect();
        loop {
            let list = wanted.iter().copied().collect::<Value<'_>>();
            let reply = self.rpc_for_data(self.request("gather")?.with("keys", list)?).await?;
            let mut value = reply.value()?;
            match value.get("status").and_then(Value::as_str) {
                Some("OK") => {
                    let data = value.take("data").ok_or_else(|| reply.unexpected("no data"))?;
                    return results(data).map_err(|what| reply.unexpected(what));
                }
                // Some are not there: an array of them, up to 2023.8.0 a map. The others are asked for again.
                Some("error") => {
                    let missing: HashSet<Key> = match value.get("keys") {
                        Some(Value::Map(pairs)) => {
                            pairs.iter().filter_map(|(key, _)| Key::from_value(key)).collect()
                        }
                        Some(keys) => {
                            keys.as_array().unwrap_or_default().iter().filter_map(Key::from_value).collect()
                        }
                        None => HashSet::new(),
                    };
                    let before = wanted.len();
                    wanted.retain(|key| !missing.contains(key));
                    if wanted.is_empty() || wanted.len() == before {
                        return Ok(Vec::new());
                    }
                }
                _ => return Err(reply.unexpected("no status")),
            }
        }
    }

    /// Fetches from workers what they have of these keys. What fails is left out.
    async fn fetch_direct(&self, plan: Vec<(Arc<str>, Vec<Key>)>) -> Vec<(Key, Payload)> {
        use futures::StreamExt;
        let requests = plan.into_iter().flat_map(|(worker, keys)| {
            self.chunks(keys).into_iter().map(move |chunk| (Arc::clone(&worker), chunk))
        });
        let requests: Vec<_> = requests
            .map(|(worker, keys)| async move {
                match self.get_data(&worker, &keys).await {
                    Ok(results) => results,
                    Err(error) => {
                        tracing::debug!(%worker, %error, "no data from the worker; asking the scheduler");
                        Vec::new()
                    }
                }
            })
            .collect();
        let found: Vec<Vec<(Key, Payload)>> =
            futures::stream::iter(requests).buffer_unordered(REQUESTS).collect().await;
        found.into_iter().flatten().collect()
    }
}

/// The results in a reply's map.
pub(crate) fn results(data: Value<'_>) -> std::result::Result<Vec<(Key, Payload)>, String> {
    let Value::Map(data) = data else { return Err(format!("{} for results", data.kind())) };
    data.into_iter()
        .map(|(key, payload)| match (Key::from_value(&key), payload) {
            (Some(key), Value::Payload(payload)) => Ok((key, *payload)),
            (_, other) => Err(format!("{} for a result", other.kind())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn results_are_payloads_by_key() {
        let data = Value::Map(vec![("a".into(), Payload::bytes("x").into())]);
        assert_eq!(results(data).unwrap(), [(Key::from("a"), Payload::bytes("x"))]);
        assert!(results(Value::Map(vec![("a".into(), Value::Int(1))])).is_err());
        assert!(results(Value::Nil).is_err());
        assert_eq!(Error::vanished(&Key::from("a"), 3).kind(), ErrorKind::Lost);
    }
}
