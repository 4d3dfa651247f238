//! A named queue on the scheduler.

use std::sync::Arc;
use std::time::Duration;

use dask_wire::{FromPython, Key, Peer, Request, Value};
use serde::Serialize;
use tokio::runtime;
use tokio::time::Instant;
use tracing::Instrument;

use crate::client::{Client, Handle};
use crate::error::{ErrorKind, Result};
use crate::session::reply::Reply;
use crate::state::item::Item;
use crate::state::plain::{Sent, in_turns, kept_by_scheduler, seconds, to_the_end};
use crate::waiting::limit::from_now;

/// A named queue of values and futures on the scheduler: Python's `distributed.Queue`.
///
/// Every item goes to one receiver. A future in the queue keeps its task's result alive. Values pass through the
/// scheduler and should be small.
///
/// Ops `queue_create`, `queue_put`, `queue_get`, `queue_qsize`, stream op `queue_release`: every release.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    name: String,
}

impl Client {
    /// The queue of this name, made if it does not exist yet. `max_size` bounds how many items it holds (0: no bound)
    /// and counts only for whoever makes it.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn queue(&self, name: impl Into<String>, max_size: usize) -> Result<Queue> {
        let name = name.into();
        let shared = self.shared();
        let request =
            shared.request("queue_create")?.with("name", name.clone())?.with("maxsize", max_size)?;
        shared.rpc(request).await?;
        Ok(Queue { client: self.clone(), name })
    }
}

impl Queue {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn request(&self, op: &str) -> Result<Request> {
        Ok(self.client.shared().request(op)?.with("name", self.name.clone())?)
    }

    /// Puts a future (`queue.put(&future, None)`) or a copy of a value, waiting while the queue is full: at most for
    /// the given time, or for as long as it takes with `None`. Plain data goes as Python's client sends it, anything
    /// else as a pickle.
    ///
    /// Dropping the returned future leaves it open whether the item is put.
    ///
    /// # Errors
    /// There is no room within that time ([`crate::ErrorKind::Timeout`]), the value cannot be sent or has a future
    /// inside, or the future is not this client's.
    pub async fn put<T: Serialize + ?Sized>(
        &self,
        value: &T,
        within: impl Into<Option<Duration>>,
    ) -> Result<()> {
        let within = within.into();
        let shared = self.client.shared();
        let request = self.request("queue_put")?.with("timeout", seconds(within))?;
        let sent = Sent::of(value)?;
        let span = tracing::debug_span!(
            "dask.queue_put",
            name = self.name,
            key = sent.key().map(tracing::field::display)
        );
        let what = format!("room in queue {:?}", self.name);
        let work = async {
            let request = sent.put_into(request, shared).await?;
            kept_by_scheduler(within, what, shared.rpc_waiting(request)).await.map(drop)
        };
        work.instrument(span).await
    }

    /// Takes the oldest item, waiting for one: at most for the given time, or for as long as it takes with `None`.
    ///
    /// The scheduler's clock decides when the time is over, so none of its items is lost; one that is silent is given up
    /// two seconds later. It is asked anew after each [`rpc_timeout`](crate::ClientBuilder::rpc_timeout), so that a wait that
    /// was given up is over with its turn. An item that arrives after the wait was given up (the returned future was dropped) is put back,
    /// at the end of the queue.
    ///
    /// # Errors
    /// There is no item within that time ([`crate::ErrorKind::Timeout`]), the value is not of type `R` (it is then
    /// taken and gone), or the future's task is not known to the scheduler any more.
    pub async fn get<R: FromPython + Send>(&self, within: impl Into<Option<Duration>>) -> Result<Item<R>> {
        let span = self.get_span();
        let taken = self.take(within.into()).instrument(span.clone()).await?;
        let item = self.unwrap(taken)?;
        tell(&span, std::slice::from_ref(&item));
        Ok(item)
    }

    /// Takes `count` items, the oldest first, waiting for them as they come: at most for the given time, or for as long
    /// as it takes with `None`. When the time is over, those that came, if any. Python's `Queue.get(batch=count)`, with
    /// a limit.
    ///
    /// Each is taken by itself, so that other receivers get items in between. If the returned future is dropped, what
    /// it has taken by then is put back, at the end of the queue.
    ///
    /// # Errors
    /// As [`Queue::get`], without the timeout. What stands before a value that is not of type `R` is taken and gone, too;
    /// what comes after is put back.
    pub async fn get_many<R: FromPython + Send>(
        &self,
        count: usize,
        within: impl Into<Option<Duration>>,
    ) -> Result<Vec<Item<R>>> {
        let until = within.into().map(from_now);
        let span = self.get_span();
        let mut taken = Vec::new();
        while taken.len() < count {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match self.take(left).instrument(span.clone()).await {
                Ok(item) => taken.push(item),
                Err(error) if error.kind() == ErrorKind::Timeout && error.diagnosis().is_none() => break,
                Err(error) => return Err(error),
            }
        }
        let items: Vec<Item<R>> = taken.into_iter().map(|item| self.unwrap(item)).collect::<Result<_>>()?;
        tell(&span, &items);
        Ok(items)
    }

    fn get_span(&self) -> tracing::Span {
        use tracing::field::Empty;
        tracing::debug_span!("dask.queue_get", name = self.name, key = Empty, items = Empty)
    }

    /// Takes an item, which is put back unless it is unwrapped.
    async fn take(&self, within: Option<Duration>) -> Result<Taken> {
        let shared = self.client.shared();
        shared.stream().await?;
        let what = format!("an item of queue {:?}", self.name);
        in_turns(shared, within, what, |turn| {
            let request = self.request("queue_get");
            // Kept open until the item is safe: the wait may outlive every other handle on the client.
            let (handle, name) = (Arc::clone(self.client.handle()), self.name.clone());
            to_the_end(async move {
                let request = request?.with("timeout", seconds(Some(turn)))?;
                let reply = handle.shared.rpc_waiting(request).await?;
                Ok(Some(Taken { handle, name, reply: Some(reply), runtime: runtime::Handle::current() }))
            })
        })
        .await
    }

    fn unwrap<R: FromPython + Send>(&self, mut taken: Taken) -> Result<Item<R>> {
        match taken.reply.take() {
            Some(reply) => self.receive(&reply, reply.value()?),
            None => Err(crate::Error::closed()),
        }
    }

    /// Takes everything that is there, without waiting for more. Items that arrive after the returned future was dropped
    /// are put back.
    ///
    /// # Errors
    /// As [`Queue::get`], without the timeout. All items are then taken and gone.
    pub async fn get_all<R: FromPython + Send>(&self) -> Result<Vec<Item<R>>> {
        let shared = self.client.shared();
        shared.stream().await?;
        let request = self.request("queue_get")?.with("batch", true)?;
        let name = self.name.clone();
        let handle = Arc::clone(self.client.handle());
        let span = self.get_span();
        let take = to_the_end(async move {
            let reply = handle.shared.rpc(request).await?;
            Ok(Taken { handle, name, reply: Some(reply), runtime: runtime::Handle::current() })
        });
        let mut taken = take.instrument(span.clone()).await?;
        let Some(reply) = taken.reply.take() else { return Err(crate::Error::closed()) };
        let Value::Array(records) = reply.value()? else { return Err(reply.unexpected("no array")) };
        // All of them, also after one that cannot be read: the scheduler keeps futures until it hears that they came.
        let items: Vec<_> = records.into_iter().map(|record| self.receive(&reply, record)).collect();
        let items: Vec<Item<R>> = items.into_iter().collect::<Result<_>>()?;
        tell(&span, &items);
        Ok(items)
    }

    fn receive<R: FromPython + Send>(&self, reply: &Reply, record: Value<'_>) -> Result<Item<R>> {
        let received = |request: Request, _: &Value<'_>| Ok(request.with("name", self.name.clone())?);
        Item::receive(&self.client, reply, record, received, "queue-future-release")
    }

    /// How many items there are.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn size(&self) -> Result<usize> {
        let reply = self.client.shared().rpc(self.request("queue_qsize")?).await?;
        let size = reply.value()?.as_u64().and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| reply.unexpected("no size"))
    }

    /// Gives up this use of the queue. When everybody who opened it has done so, the scheduler deletes it with what is
    /// in it. Dropping a `Queue` does not count: its items outlive their sender.
    ///
    /// # Errors
    /// The client is closed.
    pub async fn close(self) -> Result<()> {
        let shared = self.client.shared();
        let request = shared.dialect().request(Peer::Stream, "queue_release")?;
        let message = request.with("name", self.name.clone())?.into_stream()?;
        shared.stream().await?;
        shared.session.change(|session| session.send(message));
        Ok(())
    }
}

/// Records what came out of a queue: how many items, and the key of the first that is a future.
fn tell<R>(span: &tracing::Span, items: &[Item<R>]) {
    span.record("items", items.len());
    if let Some(key) = items.iter().find_map(Item::key) {
        span.record("key", tracing::field::display(key));
    }
}

/// One item or several on their way to the caller, put back if there is none any more.
struct Taken {
    handle: Arc<Handle>,
    name: String,
    reply: Option<Reply>,
    runtime: runtime::Handle,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            let (handle, name) = (Arc::clone(&self.handle), std::mem::take(&mut self.name));
            self.runtime.spawn(async move {
                if let Err(error) = put_back(&handle, &name, &reply).await {
                    tracing::warn!(queue = %name, %error, "an item that nobody waited for could not be put back");
                }
            });
        }
    }
}

async fn put_back(handle: &Arc<Handle>, name: &str, reply: &Reply) -> Result<()> {
    let items = match reply.value()?.into_owned() {
        Value::Array(records) => records,
        record => vec![record],
    };
    for item in items {
        put_back_one(handle, name, reply, item).await?;
    }
    Ok(())
}

async fn put_back_one(
    handle: &Arc<Handle>,
    name: &str,
    reply: &Reply,
    mut record: Value<'static>,
) -> Result<()> {
    let shared = &handle.shared;
    let request = shared.request("queue_put")?.with("name", name.to_owned())?;
    let future = record.get("type").and_then(Value::as_str) == Some("Future");
    let value = record.take("value").unwrap_or(Value::Nil);
    if !future {
        shared.rpc(request.with("data", value)?).await?;
        return Ok(());
    }
    let key = Key::from_value(&value).ok_or_else(|| reply.unexpected("a future without a key"))?;
    shared.rpc(request.with("key", value)?).await?;
    // The queue holds the future twice now, once for the item that was taken out.
    let received = shared.dialect().request(Peer::Stream, "queue-future-release")?;
    let received = received.with("name", name.to_owned())?.with("key", key.to_value())?.into_stream()?;
    shared.session.change(|session| {
        session.desire(&key);
        session.send(received);
        session.release(&key);
    });
    Ok(())
}
