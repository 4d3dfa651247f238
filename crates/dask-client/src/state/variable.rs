//! A named value on the scheduler.

use std::time::Duration;

use dask_wire::{Feature, FromPython, Peer, Request, Value};
use serde::Serialize;
use tracing::Instrument;

use crate::client::Client;
use crate::error::Result;
use crate::session::reply::Reply;
use crate::state::item::Item;
use crate::state::plain::{Sent, in_turns, seconds, to_the_end};
use crate::work::future::Future;

/// A named value or future on the scheduler that every client can set and get: Python's `distributed.Variable`.
///
/// A future in a variable keeps its task's result alive, also after the client that put it there is gone. Values pass
/// through the scheduler and should be small; scatter large data and put its future here.
///
/// Ops `variable_set`, `variable_get`, stream op `variable_delete`: every release.
#[derive(Clone, Debug)]
pub struct Variable {
    client: Client,
    name: String,
}

impl Client {
    /// The variable of this name. Nothing is sent.
    pub fn variable(&self, name: impl Into<String>) -> Variable {
        Variable { client: self.clone(), name: name.into() }
    }
}

impl Variable {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets it: to a future if `value` is one (`variable.set(&future)`), else to a copy of the value. Plain data
    /// (numbers, texts, bytes, lists, maps) goes as Python's client sends it, anything else as a pickle.
    ///
    /// # Errors
    /// The value cannot be sent or has a future inside, the future is not this client's, or the scheduler does not
    /// answer.
    pub async fn set<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        let shared = self.client.shared();
        let request = shared.request("variable_set")?.with("name", self.name.clone())?;
        let sent = Sent::of(value)?;
        let span = tracing::debug_span!(
            "dask.variable_set",
            name = self.name,
            key = sent.key().map(tracing::field::display)
        );
        let work = async {
            let request = sent.put_into(request, shared).await?;
            let request = request.with_if_taken("timeout", seconds(Some(shared.settings.rpc_timeout)));
            shared.rpc(request).await.map(drop)
        };
        work.instrument(span).await
    }

    /// Gets what it is set to, waiting until it is set: at most for the given time, or for as long as it takes with
    /// `None`. The scheduler is asked anew after each [`rpc_timeout`](crate::ClientBuilder::rpc_timeout), and one that does
    /// not answer then is an error.
    ///
    /// # Errors
    /// It is not set within that time ([`crate::ErrorKind::Timeout`]), its value is not of type `R`, or its future's
    /// task is not known to the scheduler any more.
    pub async fn get<R: FromPython + Send>(&self, within: impl Into<Option<Duration>>) -> Result<Item<R>> {
        let within = within.into();
        let shared = self.client.shared();
        shared.stream().await?;
        let what = format!("variable {:?}", self.name);
        // The scheduler hands a future out under a token that has to be confirmed, also when nobody waits any more: until
        // then it keeps the future, and what follows an unconfirmed one in the variable waits.
        let get = in_turns(shared, within, what, |turn| {
            let (client, name) = (self.client.clone(), self.name.clone());
            to_the_end(async move {
                let request = client
                    .shared()
                    .request("variable_get")?
                    .with("name", name.clone())?
                    .with("client", client.name().to_string())?
                    .with("timeout", seconds(Some(turn)))?;
                let reply = client.shared().rpc_waiting(request).await?;
                match reply.value()?.get("type").and_then(Value::as_str) {
                    Some("Future") => receive(&client, &name, &reply).map(Got::Future).map(Some),
                    _ => Ok(Some(Got::Value(reply))),
                }
            })
        });
        let span = tracing::debug_span!("dask.variable_get", name = self.name, key = tracing::field::Empty);
        match get.instrument(span.clone()).await? {
            Got::Future(future) => {
                span.record("key", tracing::field::display(future.key()));
                Ok(Item::Future(future.typed()))
            }
            Got::Value(reply) => {
                Item::receive(&self.client, &reply, reply.value()?, |request, _| Ok(request), "")
            }
        }
    }

    /// Deletes it for every client. Who waits for it goes on waiting.
    ///
    /// # Errors
    /// The client is closed.
    pub async fn delete(&self) -> Result<()> {
        let shared = self.client.shared();
        let request = shared.dialect().request(Peer::Stream, "variable_delete")?;
        let message = request.with("name", self.name.clone())?.into_stream()?;
        shared.stream().await?;
        shared.session.change(|session| session.send(message));
        Ok(())
    }
}

/// What was in a variable.
enum Got {
    /// Held by this client, and confirmed.
    Future(Future<()>),
    Value(Reply),
}

fn receive(client: &Client, name: &str, reply: &Reply) -> Result<Future<()>> {
    let op = match client.shared().dialect().has(Feature::VariableConfirm) {
        true => "variable-future-received-confirm",
        false => "variable-future-release",
    };
    let received = |request: Request, record: &Value<'_>| {
        let token = record.get("token").cloned().unwrap_or(Value::Nil).into_owned();
        Ok(request.with("name", name.to_owned())?.with("token", token)?)
    };
    Item::receive(client, reply, reply.value()?, received, op)?.into_future()
}
