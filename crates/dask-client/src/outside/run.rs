//! Running functions in the servers themselves, outside of tasks.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

use dask_wire::exception::PythonError;
use dask_wire::{FromPython, Peer, Value};
use futures::StreamExt;
use futures::future::BoxFuture;

use crate::client::{Client, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::outside::pickled::pickle_parts;
use crate::state::plain::typed;
use crate::waiting::limit::Limit;
use crate::waiting::limited::Limited;
use crate::work::call::Call;

/// How many servers are asked at once.
const AT_ONCE: usize = 32;

/// Which of a worker's servers is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Worker,
    Nanny,
}

impl Place {
    pub(crate) fn peer(self) -> Peer {
        match self {
            Place::Worker => Peer::Worker,
            Place::Nanny => Peer::Nanny,
        }
    }
}

impl Client {
    /// Runs a function in the workers' processes, outside of tasks: Python's `Client.run`.
    ///
    /// ```no_run
    /// # async fn example(client: dask_client::Client) -> dask_client::Result<()> {
    /// use dask_client::py;
    /// for (worker, directory) in client.run::<String>(py("os:getcwd")).await? {
    ///     println!("{worker}: {}", directory?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Every worker is asked through the scheduler, so it works where workers cannot be reached from here, and one that
    /// fails spoils nothing for the others. The function runs in the worker's event loop, which does nothing else
    /// meanwhile, and gets the worker as `dask_worker` if it has such a parameter. Futures cannot be arguments.
    ///
    /// Ops `proxy` and `run`, every release.
    pub fn run<R>(&self, call: Call) -> Run<'_, R> {
        Run::new(self, call, Place::Worker)
    }

    /// As [`Client::run`], in the processes of the workers' nannies. Workers without a nanny are passed over.
    ///
    /// Ops `broadcast` and `run`, every release.
    pub fn run_on_nannies<R>(&self, call: Call) -> Run<'_, R> {
        Run::new(self, call, Place::Nanny)
    }

    /// Runs a function in the scheduler's process: Python's `Client.run_on_scheduler`. It runs in the event loop, which
    /// does nothing else meanwhile, and gets the scheduler as `dask_scheduler` if it has such a parameter.
    ///
    /// Op `run_function`, every release.
    ///
    /// # Errors
    /// The function raises an exception, its result is not of type `R`, or the scheduler does not answer in time.
    pub fn run_on_scheduler<'c, R: FromPython + 'c>(&'c self, call: Call) -> Limited<'c, R> {
        Limited::new(self, "running a function on the scheduler", move |within| async move {
            let limits = self.shared().settings.pickle_limits;
            let reply = self.run_function(call, true, within).await?;
            typed(reply, &limits, "the scheduler's result")
        })
    }

    /// Starts a coroutine function in the scheduler's process without waiting for its end.
    ///
    /// Op `run_function`, every release.
    ///
    /// # Errors
    /// It is no coroutine function, or the scheduler does not answer in time.
    pub fn start_on_scheduler(&self, call: Call) -> Limited<'_, ()> {
        Limited::new(self, "starting a function on the scheduler", move |within| async move {
            self.run_function(call, false, within).await.map(drop)
        })
    }

    async fn run_function(&self, call: Call, wait: bool, within: Duration) -> Result<Value<'static>> {
        let shared = self.shared();
        let (function, args, kwargs) = pickle_parts(&call.into_template()?)?;
        let request = shared
            .request("run_function")?
            .with("function", function)?
            .with("args", args)?
            .with("kwargs", kwargs)?
            .with("wait", wait)?;
        let reply = shared.rpc_within(request, within).await?;
        result_of(self, reply.value()?.into_owned(), "run_function")
    }
}

/// The result in a reply to an op that runs a function.
fn result_of(client: &Client, mut reply: Value<'static>, op: &str) -> Result<Value<'static>> {
    match reply.get("status").and_then(Value::as_str) {
        Some("OK") => Ok(reply.take("result").unwrap_or(Value::Nil)),
        _ => Err(match PythonError::from_reply(&reply) {
            Some(error) => Error::rpc(client.address(), op, error),
            None => Error::unexpected(client.address(), op, "no result"),
        }),
    }
}

/// A function about to run on workers or nannies. Made by [`Client::run`].
#[must_use = "nothing runs unless awaited"]
#[derive(Debug)]
pub struct Run<'c, R> {
    client: &'c Client,
    call: Call,
    place: Place,
    workers: Option<Vec<String>>,
    deadline: Option<Duration>,
    result: PhantomData<fn() -> R>,
}

impl<'c, R> Run<'c, R> {
    fn new(client: &'c Client, call: Call, place: Place) -> Self {
        Self { client, call, place, workers: None, deadline: None, result: PhantomData }
    }

    /// Only on these workers, by address or name. Default: on all.
    pub fn workers<W: Into<String>>(mut self, workers: impl IntoIterator<Item = W>) -> Self {
        self.workers = Some(workers.into_iter().map(Into::into).collect());
        self
    }

    /// How long each worker may take. Default: as for every request
    /// ([`ClientBuilder::rpc_timeout`](crate::ClientBuilder::rpc_timeout)).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    async fn send(self, wait: bool) -> Result<BTreeMap<String, Result<Value<'static>>>> {
        let shared = self.client.shared();
        let (function, args, kwargs) = pickle_parts(&self.call.into_template()?)?;
        let request = shared
            .dialect()
            .request(self.place.peer(), "run")?
            .with("function", function)?
            .with("args", args)?
            .with("kwargs", kwargs)?
            .with("wait", wait)?
            .into_rpc()?;
        let workers = self.client.pick_workers(self.place, self.workers.as_deref()).await?;
        let replies = shared.ask_each(self.place, workers, &request, self.deadline).await;
        let result = |reply: Result<Value<'static>>| reply.and_then(|it| result_of(self.client, it, "run"));
        Ok(replies.into_iter().map(|(worker, reply)| (worker, result(reply))).collect())
    }

    /// Starts a coroutine function without waiting for its end; says of each worker whether it was started.
    ///
    /// # Errors
    /// The scheduler does not answer, an argument cannot be sent, or there is no such worker.
    pub async fn start(self) -> Result<BTreeMap<String, Result<()>>> {
        let replies = self.send(false).await?;
        Ok(replies.into_iter().map(|(worker, reply)| (worker, reply.map(drop))).collect())
    }
}

impl<'c, R: FromPython + Send + 'c> IntoFuture for Run<'c, R> {
    type Output = Result<BTreeMap<String, Result<R>>>;
    type IntoFuture = BoxFuture<'c, Self::Output>;

    /// Waits for every worker. The map has each worker's address and its result, or what went wrong there.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let limits = self.client.shared().settings.pickle_limits;
            let replies = self.send(true).await?;
            let result = |worker: &str, reply: Result<Value<'static>>| {
                reply.and_then(|value| typed(value, &limits, format_args!("the result of {worker}")))
            };
            Ok(replies
                .into_iter()
                .map(|(worker, reply)| {
                    let result = result(&worker, reply);
                    (worker, result)
                })
                .collect())
        })
    }
}

impl Client {
    /// Addresses of workers: of all (with a nanny, where that matters), or of those named by address or name.
    pub(crate) async fn pick_workers(&self, place: Place, named: Option<&[String]>) -> Result<Vec<String>> {
        let info = self.scheduler_info().await?;
        let workers = info.workers;
        let Some(named) = named else {
            let all = workers.into_values().filter(|worker| place == Place::Worker || worker.nanny.is_some());
            return Ok(all.map(|worker| worker.address).collect());
        };
        let mut picked = Vec::with_capacity(named.len());
        for name in named {
            let worker = workers.get(name).or_else(|| workers.values().find(|worker| &worker.name == name));
            let worker = worker.ok_or_else(|| {
                Error::config(format!(
                    "there is no worker {name:?}; among the {} there are: {}",
                    workers.len(),
                    {
                        let some: Vec<&str> =
                            workers.values().take(8).map(|worker| worker.name.as_str()).collect();
                        some.join(", ")
                    }
                ))
            })?;
            if place == Place::Nanny && worker.nanny.is_none() {
                return Err(Error::config(format!("worker {name:?} has no nanny")));
            }
            if !picked.contains(&worker.address) {
                picked.push(worker.address.clone());
            }
        }
        Ok(picked)
    }
}

impl Shared {
    /// Sends one request to many servers through the scheduler and collects replies and failures by the worker's address.
    /// The deadline is that of each and of all: those whose turn does not come before it are late.
    pub(crate) async fn ask_each(
        &self,
        place: Place,
        workers: Vec<String>,
        message: &Value<'static>,
        deadline: Option<Duration>,
    ) -> BTreeMap<String, Result<Value<'static>>> {
        let deadline = deadline.unwrap_or(self.settings.rpc_timeout);
        let limit = Limit::new(deadline);
        let asked = workers.into_iter().map(|worker| async move {
            let reply = match limit.left() {
                Some(left) => self.ask(place, &worker, message.clone(), left).await,
                None => Err(Error::timeout(format_args!("waiting for a turn to ask {worker}"), deadline)),
            };
            (worker, reply)
        });
        futures::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await
    }

    /// Sends one request to a worker or its nanny through the scheduler.
    pub(crate) async fn ask(
        &self,
        place: Place,
        worker: &str,
        message: Value<'static>,
        deadline: Duration,
    ) -> Result<Value<'static>> {
        match place {
            Place::Worker => {
                let request =
                    self.request("proxy")?.with("worker", worker.to_owned())?.with("msg", message)?;
                Ok(self.rpc_within(request, deadline).await?.value()?.into_owned())
            }
            Place::Nanny => {
                let only: Value<'_> = [worker.to_owned()].into_iter().collect();
                let request = self.request("broadcast")?.with("msg", message)?.with("workers", only)?;
                let reply = self.rpc_within(request.with("nanny", true)?, deadline).await?;
                match reply.value()? {
                    Value::Map(mut replies) => match replies.pop() {
                        Some((_, reply)) => Ok(reply.into_owned()),
                        None => Err(Error::new(
                            ErrorKind::Config,
                            format!("worker {worker} has no nanny that could be asked"),
                        )),
                    },
                    other => Err(reply.unexpected(other.kind())),
                }
            }
        }
    }
}
