//! Where threads spend their time.

use dask_wire::Value;
use futures::future::BoxFuture;
use serde::Serialize;

use crate::client::Client;
use crate::error::Result;
use crate::look::cluster::text;
use crate::outside::run::Place;

/// One place in Python code of a [`Profile`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Frame {
    /// The function's name.
    pub name: String,
    /// Its file.
    pub file: String,
    /// The line in the file.
    pub line: u64,
    /// The text of the line.
    pub text: String,
}

/// How often threads were seen where, as a tree of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Profile {
    /// How many samples fall here or below.
    pub count: u64,
    /// Where this is; empty at the root.
    pub frame: Frame,
    /// What is called from here, most often seen first.
    pub children: Vec<Profile>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Threads {
    Tasks,
    WorkerLoops,
    SchedulerLoop,
}

/// A question for a [`Profile`]. Made by [`Client::profile_of`].
#[must_use = "nothing is asked unless awaited"]
#[derive(Debug)]
pub struct ProfileQuery<'c> {
    client: &'c Client,
    threads: Threads,
    key: Option<String>,
    workers: Option<Vec<String>>,
    start: Option<f64>,
    stop: Option<f64>,
}

impl ProfileQuery<'_> {
    /// Only in tasks of this name: the part of their keys before the first dash.
    pub fn tasks_named(mut self, name: impl Into<String>) -> Self {
        self.key = Some(name.into());
        self
    }

    /// Only of these workers, by address or name. Default: of all.
    pub fn workers<W: Into<String>>(mut self, workers: impl IntoIterator<Item = W>) -> Self {
        self.workers = Some(workers.into_iter().map(Into::into).collect());
        self
    }

    /// Only samples taken from this time on, in seconds since 1970.
    pub fn start(mut self, start: f64) -> Self {
        self.start = Some(start);
        self
    }

    /// Only samples taken before this time, in seconds since 1970.
    pub fn stop(mut self, stop: f64) -> Self {
        self.stop = Some(stop);
        self
    }

    /// The event loops of the workers, instead of the threads that run tasks.
    pub fn worker_loops(mut self) -> Self {
        self.threads = Threads::WorkerLoops;
        self
    }

    /// The event loop of the scheduler, instead of the workers' threads. Neither tasks nor workers matter then.
    pub fn scheduler_loop(mut self) -> Self {
        self.threads = Threads::SchedulerLoop;
        self
    }
}

impl<'c> IntoFuture for ProfileQuery<'c> {
    type Output = Result<Profile>;
    type IntoFuture = BoxFuture<'c, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let shared = self.client.shared();
            let mut request = shared
                .request("profile")?
                .with("key", self.key)?
                .with("start", self.start)?
                .with("stop", self.stop)?
                .with("server", self.threads == Threads::WorkerLoops)?
                .with("scheduler", self.threads == Threads::SchedulerLoop)?;
            if let Some(named) = &self.workers {
                let workers = self.client.pick_workers(Place::Worker, Some(named)).await?;
                request = request.with("workers", workers.into_iter().collect::<Value<'_>>())?;
            }
            let reply = shared.rpc(request).await?;
            let value = reply.value()?;
            if value.as_map().is_none() {
                return Err(reply.unexpected(value.kind()));
            }
            Ok(profile(&value))
        })
    }
}

impl Client {
    /// Where the workers' threads spent their time of late, over all workers; with `key` only in tasks of that name (the
    /// part of their keys before the first dash). Dask samples a hundred times a second or so. Python's
    /// `Client.profile`; see [`Client::profile_of`] for its other options.
    ///
    /// Op `profile`, every release.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn profile(&self, key: Option<&str>) -> Result<Profile> {
        let mut query = self.profile_of();
        query.key = key.map(str::to_owned);
        query.await
    }

    /// As [`Client::profile`], of a time, of some workers, of their event loops or of the scheduler's.
    ///
    /// ```no_run
    /// # async fn example(client: dask_client::Client) -> dask_client::Result<()> {
    /// let busy = client.profile_of().scheduler_loop().await?;
    /// println!("{} samples, mostly in {}", busy.count, busy.children.first().map_or("", |it| &it.frame.name));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Op `profile`, every release.
    ///
    /// # Errors
    /// The scheduler does not answer, or there is no such worker.
    pub fn profile_of(&self) -> ProfileQuery<'_> {
        ProfileQuery {
            client: self,
            threads: Threads::Tasks,
            key: None,
            workers: None,
            start: None,
            stop: None,
        }
    }
}

/// The message's own limit on nesting bounds the recursion.
fn profile(value: &Value<'_>) -> Profile {
    let frame = value.get("description").unwrap_or(&Value::Nil);
    let children = value.get("children").and_then(Value::as_map).unwrap_or_default();
    let mut children: Vec<Profile> = children.iter().map(|(_, child)| profile(child)).collect();
    children.sort_by_key(|child| std::cmp::Reverse(child.count));
    Profile {
        count: value.get("count").and_then(Value::as_u64).unwrap_or(0),
        frame: Frame {
            name: text(frame, "name"),
            file: text(frame, "filename"),
            line: frame.get("line_number").and_then(Value::as_u64).unwrap_or(0),
            text: text(frame, "line").trim().to_owned(),
        },
        children,
    }
}
