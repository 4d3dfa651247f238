//! What stands in a variable or a queue.

use std::sync::Arc;

use dask_wire::{FromPython, Key, Peer, Request, Value};

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::session::reply::Reply;
use crate::state::plain::typed;
use crate::work::future::Future;

/// The content of a [`Variable`](crate::Variable) or an item of a [`Queue`](crate::Queue).
#[derive(Clone, Debug)]
pub enum Item<R = dask_pickle::Value> {
    /// A value.
    Value(R),
    /// A future of a task's result, now held by this client, too.
    Future(Future<R>),
}

impl<R> Item<R> {
    /// The key of the future, if it is one.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Item::Future(future) => Some(future.key()),
            Item::Value(_) => None,
        }
    }

    /// The value.
    ///
    /// # Errors
    /// It is a future.
    pub fn into_value(self) -> Result<R> {
        match self {
            Item::Value(value) => Ok(value),
            Item::Future(future) => Err(Error::about(
                ErrorKind::Decode,
                future.key(),
                format!(
                    "the future {} where a value was expected; await it with Item::resolve",
                    future.key()
                ),
            )),
        }
    }

    /// The future.
    ///
    /// # Errors
    /// It is a value.
    pub fn into_future(self) -> Result<Future<R>> {
        match self {
            Item::Future(future) => Ok(future),
            Item::Value(_) => Err(Error::new(
                ErrorKind::Decode,
                "a value where a future was expected; see Item::into_value",
            )),
        }
    }
}

impl<R: FromPython + Send> Item<R> {
    /// The value, or the result of the future once it is there.
    ///
    /// # Errors
    /// The future's task failed, was cancelled or lost, or its result is not of type `R`.
    pub async fn resolve(self) -> Result<R> {
        match self {
            Item::Value(value) => Ok(value),
            Item::Future(future) => future.result().await,
        }
    }

    /// Reads the record in which the scheduler hands an item out. A future in it is from now on held by this client;
    /// `received` makes the op that tells the scheduler so, after which it lets go of the future itself.
    ///
    /// The client must be registered already: nothing here waits.
    pub(crate) fn receive(
        client: &Client,
        reply: &Reply,
        mut record: Value<'_>,
        received: impl FnOnce(Request, &Value<'_>) -> Result<Request>,
        op: &str,
    ) -> Result<Self> {
        let shared = client.shared();
        let kind = record.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let value = record.take("value").ok_or_else(|| reply.unexpected("no value"))?;
        if kind != "Future" {
            return typed(value, &shared.settings.pickle_limits, "the value").map(Item::Value);
        }
        let key = Key::from_value(&value).ok_or_else(|| reply.unexpected("a future without a key"))?;
        let request = shared.dialect().request(Peer::Stream, op)?.with("key", key.to_value())?;
        let message = received(request, &record)?.into_stream()?;
        shared.session.change(|session| {
            session.desire(&key);
            session.send(message);
        });
        let future = Future::new(key, Arc::clone(client.handle()));
        if record.get("state").and_then(Value::as_str) == Some("lost") {
            let key = future.key().clone();
            return Err(Error::about(
                ErrorKind::Lost,
                &key,
                format!("the scheduler does not know the task {key} any more"),
            ));
        }
        Ok(Item::Future(future))
    }
}
