//! Sending values to workers.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dask_wire::{Key, Payload, Value};
use futures::future::BoxFuture;
use tokio::time::timeout;
use tracing::Instrument;

use crate::client::{Client, Handle, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::results::data::Data;
use crate::state::plain::GRACE;
use crate::work::future::Future;

impl Client {
    /// Sends a value to a worker and gives a future of it, to be passed to calls: the value then travels once, not with each
    /// call.
    ///
    /// ```no_run
    /// # async fn example(client: dask_client::Client) -> dask_client::Result<()> {
    /// use dask_client::{Data, Future, py};
    /// let table: Future<Vec<f64>> = client.scatter(Data::value(&[1.0, 2.0])).await?;
    /// let total: f64 = client.call(py("builtins:sum").arg(&table)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Large values go straight to workers where these can be reached from here (op `update_data`), others through the
    /// scheduler (op `scatter`). Every release.
    pub fn scatter<R>(&self, data: impl Into<Data>) -> Scatter<'_, R> {
        let many = self.scatter_many([data.into()]);
        Scatter { many }
    }

    /// Sends several values to workers in turn, and gives futures of them in their order.
    pub fn scatter_many<R, D: Into<Data>>(&self, data: impl IntoIterator<Item = D>) -> ScatterMany<'_, R> {
        ScatterMany {
            client: self,
            data: data.into_iter().map(Into::into).collect(),
            options: Options { broadcast: false, workers: Vec::new(), hash: true, timeout: None },
            result: PhantomData,
        }
    }
}

#[derive(Clone, Debug)]
struct Options {
    broadcast: bool,
    workers: Vec<String>,
    hash: bool,
    timeout: Option<Duration>,
}

/// Sends one value. Made by [`Client::scatter`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Scatter<'a, R> {
    many: ScatterMany<'a, R>,
}

/// Sends several values. Made by [`Client::scatter_many`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct ScatterMany<'a, R> {
    client: &'a Client,
    data: Vec<Data>,
    options: Options,
    result: PhantomData<fn() -> R>,
}

macro_rules! options {
    ($type:ident, $($path:ident).+) => {
        impl<R> $type<'_, R> {
            /// A copy on every worker (of those in question), not on one alone.
            pub fn broadcast(mut self) -> Self {
                self.$($path).+.broadcast = true;
                self
            }

            /// Only to these workers: addresses, host names or worker names.
            pub fn workers<W: Into<String>>(mut self, workers: impl IntoIterator<Item = W>) -> Self {
                self.$($path).+.workers = workers.into_iter().map(Into::into).collect();
                self
            }

            /// Whether keys are made of the content, so that equal values share one key (the default), or unique.
            pub fn hash(mut self, hash: bool) -> Self {
                self.$($path).+.hash = hash;
                self
            }

            /// Gives up after this time: no worker is there to take the data, or sending takes too long. Default is the
            /// time for one request ([`crate::ClientBuilder::rpc_timeout`]).
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.$($path).+.timeout = Some(timeout);
                self
            }
        }
    };
}
options!(Scatter, many.options);
options!(ScatterMany, options);

impl<'a, R: 'a> IntoFuture for Scatter<'a, R> {
    type Output = Result<Future<R>>;
    type IntoFuture = BoxFuture<'a, Result<Future<R>>>;

    fn into_future(self) -> Self::IntoFuture {
        let many = self.many.into_future();
        Box::pin(async move { many.await?.pop().ok_or_else(Error::closed) })
    }
}

impl<'a, R: 'a> IntoFuture for ScatterMany<'a, R> {
    type Output = Result<Vec<Future<R>>>;
    type IntoFuture = BoxFuture<'a, Result<Vec<Future<R>>>>;

    /// # Errors
    /// A value cannot be sent, no worker takes it in time, or a worker that was named does not exist.
    fn into_future(self) -> Self::IntoFuture {
        let Self { client, data, options, .. } = self;
        Box::pin(async move {
            let span = tracing::debug_span!(
                "dask.scatter",
                key = tracing::field::Empty,
                keys = data.len(),
                bytes = tracing::field::Empty,
            );
            let futures = scatter(client, data, options, &span).instrument(span.clone()).await?;
            Ok(futures.into_iter().map(Future::typed).collect())
        })
    }
}

async fn scatter(
    client: &Client,
    data: Vec<Data>,
    options: Options,
    span: &tracing::Span,
) -> Result<Vec<Future<()>>> {
    let shared = client.shared();
    shared.stream().await?;
    let parts = {
        let unique = |name: &str| shared.keys.key(name);
        let unique: Option<&dyn Fn(&str) -> Key> = if options.hash { None } else { Some(&unique) };
        data.into_iter().map(|data| data.into_parts(unique)).collect::<Result<Vec<_>>>()?
    };
    if let Some((key, _)) = parts.first() {
        span.record("key", tracing::field::display(key));
    }
    span.record("bytes", parts.iter().map(|(_, payload)| payload.len() as u64).sum::<u64>());
    let mut futures: Vec<Future<()>> = Vec::with_capacity(parts.len());
    let mut to_send: Vec<(Key, Payload)> = Vec::new();
    let mut sent: HashMap<Key, ()> = HashMap::new();
    for (key, payload) in parts {
        let needed = shared.session.change(|session| session.expect(&key));
        futures.push(Future::new(key.clone(), Arc::clone(&client.handle)));
        if (needed || options.broadcast || !options.workers.is_empty())
            && sent.insert(key.clone(), ()).is_none()
        {
            to_send.push((key, payload));
        }
    }
    if to_send.is_empty() {
        return Ok(futures);
    }
    // By a task of its own, which holds the futures: whoever stops waiting halfway then releases what arrived.
    let handle = Arc::clone(&client.handle);
    let work = async move {
        send(&handle, to_send, &options).await?;
        Ok(futures)
    };
    let sending = tokio::spawn(work.instrument(span.clone()));
    sending.await.map_err(|_| Error::closed())?
}

async fn send(handle: &Arc<Handle>, data: Vec<(Key, Payload)>, options: &Options) -> Result<()> {
    let shared = &handle.shared;
    let keys: Vec<Key> = data.iter().map(|(key, _)| key.clone()).collect();
    let result = shared.send_data(data, options).await;
    if let Err(error) = &result {
        // Whoever else waits for these keys learns from the scheduler what it knows of them.
        tracing::debug!(%error, "scattering failed");
        shared.session.change(|session| keys.iter().for_each(|key| session.report(key)));
    }
    result
}

impl Shared {
    async fn send_data(&self, data: Vec<(Key, Payload)>, options: &Options) -> Result<()> {
        let limit = options.timeout.unwrap_or(self.settings.rpc_timeout);
        // The scheduler itself waits for a worker for that long, so it has a little longer to say that there is none.
        let work = self.send_within(data, options, limit);
        match timeout(limit.saturating_add(GRACE), work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.nobody_takes_it(limit).await),
        }
    }

    async fn send_within(&self, data: Vec<(Key, Payload)>, options: &Options, limit: Duration) -> Result<()> {
        let arrived = self.scatter_direct(&data, &options.workers, limit).await?;
        self.counters.sent_direct.fetch_add(arrived.len() as u64, Ordering::Relaxed);
        self.session.change(|session| {
            arrived.iter().for_each(|(key, worker)| session.arrived(key, Some(Arc::clone(worker))));
        });
        let arrived: HashMap<Key, Arc<str>> = arrived.into_iter().collect();
        let rest: Vec<&(Key, Payload)> = data.iter().filter(|(key, _)| !arrived.contains_key(key)).collect();
        if !rest.is_empty() {
            self.scatter_relayed(&rest, options, limit).await?;
            self.counters.sent_relayed.fetch_add(rest.len() as u64, Ordering::Relaxed);
            self.session.change(|session| rest.iter().for_each(|(key, _)| session.arrived(key, None)));
        }
        if options.broadcast && !arrived.is_empty() {
            let keys: Vec<Key> = arrived.into_keys().collect();
            self.replicate(&keys, None, &options.workers, self.settings.rpc_timeout.max(limit)).await?;
        }
        Ok(())
    }

    async fn scatter_relayed(
        &self,
        data: &[&(Key, Payload)],
        options: &Options,
        limit: Duration,
    ) -> Result<()> {
        let data: Value<'_> = data.iter().map(|(key, payload)| (key, payload.clone())).collect();
        let workers = match options.workers.as_slice() {
            [] => Value::Nil,
            workers => workers.iter().cloned().collect(),
        };
        let client = self.session.look(|session| session.client().to_string());
        let request = self
            .request("scatter")?
            .with("data", data)?
            .with("workers", workers)?
            .with("client", client)?
            .with("broadcast", options.broadcast)?
            .with("timeout", limit.as_secs_f64())?;
        let outcome = self.rpc_within(request, limit.saturating_add(GRACE)).await;
        match outcome {
            Ok(_) => Ok(()),
            Err(error) if is_timeout(&error) => Err(self.nobody_takes_it(limit).await),
            Err(error) => Err(error),
        }
    }
}

fn is_timeout(error: &Error) -> bool {
    let class = error.python().map(|python| python.class.as_str());
    error.kind() == ErrorKind::Timeout || class.is_some_and(|class| class.ends_with("TimeoutError"))
}
