//! Actors: objects that stay on one worker, whose methods are called there.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use dask_pickle::Template;
use dask_wire::exception::PythonError;
use dask_wire::{FromPython, Key, Payload, Peer, Request, Value};
use futures::future::BoxFuture;
use serde::Serialize;
use tokio::sync::OnceCell;
use tracing::Instrument;

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::net::address::Address;
use crate::outside::run::Place;
use crate::waiting::limited::Limited;
use crate::work::arguments::{Args, Arguments, Collected};
use crate::work::future::Future;

/// An object on one worker, made by submitting its class with [`Call::actor`](crate::Call::actor). It lives for as long
/// as this handle, a clone of it or another future of its key does. Python's `Actor`.
///
/// ```no_run
/// # async fn example(client: dask_client::Client) -> dask_client::Result<()> {
/// use dask_client::py;
/// let counter = client.submit::<()>(py("collections:Counter").arg(["a"]).actor()).await?;
/// let counter = client.actor(&counter).await?;
/// counter.call::<()>("update").arg(["b", "a"]).await?;
/// let most: Vec<(String, i64)> = counter.call("most_common").arg(1).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Actor {
    future: Future<()>,
    worker: String,
    /// The worker's address if it can be reached from here; found out with the first call.
    direct: Arc<OnceCell<Option<Address>>>,
}

impl Client {
    /// The actor that a future stands for, once it is made. On old releases (2.30.1 is one) an object that is false in Python,
    /// such as an empty container, never gets that far: set a deadline.
    ///
    /// Op `who_has`, every release.
    ///
    /// # Errors
    /// Making it failed or takes longer than [`ActorFuture::deadline`], or its worker is gone.
    pub fn actor<R>(&self, future: &Future<R>) -> ActorFuture<'_> {
        ActorFuture { client: self, future: future.clone().typed(), deadline: None }
    }

    async fn actor_worker(&self, key: &Key) -> Result<String> {
        let shared = self.shared();
        let request = shared.request("who_has")?.with("keys", [key].into_iter().collect::<Value<'_>>())?;
        let reply = shared.rpc(request).await?;
        let value = reply.value()?;
        let workers = value.as_map().unwrap_or_default().iter().find_map(|(name, workers)| {
            (Key::from_value(name).as_ref() == Some(key)).then_some(workers.as_array()?)
        });
        let worker = workers.and_then(<[_]>::first).and_then(Value::as_str);
        worker.map(str::to_owned).ok_or_else(|| {
            Error::about(ErrorKind::Lost, key, format!("no worker has the actor {key}; is its worker gone?"))
        })
    }
}

/// Waits until an actor is made. Made by [`Client::actor`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct ActorFuture<'a> {
    client: &'a Client,
    future: Future<()>,
    deadline: Option<Duration>,
}

impl ActorFuture<'_> {
    /// Gives up after this time, with the reason why the actor is not there yet ([`Error::diagnosis`]).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl<'a> IntoFuture for ActorFuture<'a> {
    type Output = Result<Actor>;
    type IntoFuture = BoxFuture<'a, Result<Actor>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { client, future, deadline } = self;
        let span = tracing::debug_span!("dask.actor", key = %future.key());
        let work = async move {
            match deadline {
                Some(deadline) => future.finished().deadline(deadline).await?,
                None => future.finished().await?,
            }
            let worker = client.actor_worker(future.key()).await?;
            Ok(Actor { future, worker, direct: Arc::new(OnceCell::new()) })
        };
        Box::pin(work.instrument(span))
    }
}

impl Actor {
    /// The key of the task that made it.
    pub fn key(&self) -> &Key {
        self.future.key()
    }

    /// The address of the worker it is on.
    pub fn worker(&self) -> &str {
        &self.worker
    }

    /// Calls a method. Calls that are made at the same time may run in any order.
    ///
    /// Calls go to the worker itself, or through the scheduler if the worker cannot be reached from here or is not to be
    /// ([`ClientBuilder::direct`](crate::ClientBuilder::direct)).
    ///
    /// Op `actor_execute`, every release.
    pub fn call<R>(&self, method: impl Into<String>) -> ActorCall<'_, R> {
        ActorCall {
            actor: self,
            method: method.into(),
            arguments: Arguments::new(),
            deadline: None,
            result: PhantomData,
        }
    }

    /// The value of an attribute.
    ///
    /// Op `actor_attribute`, every release.
    ///
    /// # Errors
    /// There is no such attribute, it is not of type `R`, or the worker does not answer.
    pub fn attribute<'c, R: FromPython + 'c>(&'c self, name: &'c str) -> Limited<'c, R> {
        let what = "reading an actor's attribute";
        Limited::new(&self.future.client(), what, move |within| async move {
            let request = self.future.client().dialect().request(Peer::Worker, "actor_attribute")?;
            let request = request.with("actor", self.key().to_value())?.with("attribute", name.to_owned())?;
            let span = tracing::debug_span!("dask.actor_attribute", key = %self.key(), attribute = name);
            let what = || format!("attribute {name:?} of {}", self.key());
            self.send(request, within, what).instrument(span).await
        })
    }

    async fn send<R: FromPython>(
        &self,
        request: Request,
        deadline: Duration,
        what: impl Fn() -> String,
    ) -> Result<R> {
        let client = self.future.client();
        let shared = client.shared();
        // A worker that is gone would let calls wait for their deadline.
        shared.outcome(self.key())?;
        let op = request.op();
        let direct = self.direct.get_or_init(|| shared.within_reach(&self.worker));
        let (mut reply, peer) = match direct.await {
            Some(address) => {
                let reply = shared.rpc_at(address, request, deadline).await?;
                (reply.value()?.into_owned(), address)
            }
            None => {
                let message = request.into_rpc()?;
                (shared.ask(Place::Worker, &self.worker, message, deadline).await?, client.address())
            }
        };
        match reply.get("status").and_then(Value::as_str) {
            Some("OK") => {
                let value = reply.take("result").unwrap_or(Value::Nil);
                crate::state::plain::typed(value, &shared.settings.pickle_limits, what())
            }
            _ => Err(match PythonError::from_reply(&reply) {
                Some(error) => Error::rpc(peer, op, error),
                None => Error::unexpected(peer, op, "no result"),
            }),
        }
    }
}

/// A method call of an [`Actor`], not yet sent. Made by [`Actor::call`].
#[must_use = "a call does nothing until it is awaited"]
#[derive(Debug)]
pub struct ActorCall<'a, R> {
    actor: &'a Actor,
    method: String,
    arguments: Arguments,
    deadline: Option<Duration>,
    result: PhantomData<fn() -> R>,
}

impl<R> ActorCall<'_, R> {
    /// One more positional argument. Futures cannot be arguments of a method.
    pub fn arg(mut self, value: impl Serialize) -> Self {
        self.arguments.push(value);
        self
    }

    /// More positional arguments.
    pub fn args(mut self, values: impl Args) -> Self {
        self.arguments.extend(values);
        self
    }

    /// One more keyword argument.
    pub fn kwarg(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        self.arguments.name(name, value);
        self
    }

    /// Gives up waiting after this time; the method runs to its end. Default: as for every request.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl<'a, R: FromPython + Send + 'a> IntoFuture for ActorCall<'a, R> {
    type Output = Result<R>;
    type IntoFuture = BoxFuture<'a, Result<R>>;

    /// Sends the call and waits for what it returns.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { actor, method, arguments, deadline, .. } = self;
            let Collected { positional: args, named: kwargs } = arguments.collected()?;
            let pickled = |template: &Template| {
                let pickle = template.to_pickle().map_err(Error::encode)?;
                Ok::<_, Error>(Value::from(Payload::pickle(pickle, [])))
            };
            let args = args.iter().map(pickled).collect::<Result<Vec<_>>>()?;
            let kwargs = kwargs
                .iter()
                .map(|(name, value)| Ok((Value::from(name.clone()), pickled(value)?)))
                .collect::<Result<Vec<_>>>()?;
            let request = actor.future.client().dialect().request(Peer::Worker, "actor_execute")?;
            let request = request
                .with("actor", actor.key().to_value())?
                .with("function", method.clone())?
                .with("args", Value::Array(args))?
                .with("kwargs", Value::Map(kwargs))?;
            let span = tracing::debug_span!("dask.actor_call", key = %actor.key(), method);
            let deadline = deadline.unwrap_or(actor.future.client().shared().settings.rpc_timeout);
            let what = || format!("what {method:?} of {} returned", actor.key());
            actor.send(request, deadline, what).instrument(span).await
        })
    }
}
