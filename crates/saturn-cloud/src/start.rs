//! From nothing to a cluster whose scheduler can be connected to.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::Stream;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::api::Saturn;
use crate::api::legacy::Created;
use crate::api::public::{DaskCluster, Resource, WorkerCounts};
use crate::backoff::Backoff;
use crate::certificates::Verification;
use crate::cluster::SaturnCluster;
use crate::error::{Aftermath, Error, Result};
use crate::guard::Guard;
use crate::options::ClusterOptions;
use crate::settings::Settings;
use crate::sizes::Sizes;
use crate::status::Status;
use crate::surface::Surface;

/// Questions in a row that may fail, once a cluster is starting, before the start is given up.
const FAILURES_IN_A_ROW: u32 = 3;
/// How often in a row a cluster may be found stopped before it was seen starting.
const STOPPED_IN_A_ROW: u32 = 3;

/// A step on the way to a running cluster.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Progress {
    /// What the server says the cluster is doing. Sent for each answer, changed or not.
    Status {
        /// What the cluster is doing.
        status: Status,
        /// Its id, once the server has told it.
        id: Option<String>,
        /// Time since the start.
        elapsed: Duration,
    },
    /// Something that the user should know; each text once.
    Warning {
        /// The server's words, or this crate's about a question that failed.
        text: String,
    },
    /// How far the parts of the cluster are, where the server tells.
    Components {
        /// What the scheduler is doing.
        scheduler: Option<Status>,
        /// How many workers are how far.
        workers: WorkerCounts,
    },
    /// What the cluster costs in US dollars an hour while it runs, where prices are known.
    Cost {
        /// Dollars an hour; spot workers cost less.
        per_hour: f64,
    },
    /// The scheduler can be connected to.
    Ready {
        /// The cluster's id.
        id: String,
        /// The scheduler's address.
        address: String,
        /// Time since the start.
        elapsed: Duration,
    },
}

/// Which cluster is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// That of a project, as dask-saturn 0.2.2 names it.
    Project(String),
    /// That of the resource which the token belongs to, as dask-saturn since 0.3.0 does.
    Token,
    /// A new one for a resource.
    Resource(Resource),
    /// One that exists.
    Cluster(String),
}

/// Describes a cluster to be started or attached to. Made by [`SaturnCluster::builder`].
///
/// Without a project, a resource or a cluster it is that of the resource which the token belongs to.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until start is called"]
pub struct ClusterBuilder {
    pub(crate) settings: Settings,
    pub(crate) target: Target,
    pub(crate) options: ClusterOptions,
    pub(crate) deadline: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) verification: Verification,
    pub(crate) via: Option<(String, Option<u16>)>,
    pub(crate) connect_timeout: Duration,
    pub(crate) keep: Option<bool>,
    pub(crate) close_after: Option<Duration>,
    pub(crate) reset: bool,
}

impl ClusterBuilder {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            target: Target::Token,
            options: ClusterOptions::default(),
            deadline: Duration::from_secs(1200),
            backoff: Backoff::default(),
            verification: Verification::default(),
            via: None,
            connect_timeout: Duration::from_secs(30),
            keep: None,
            close_after: None,
            reset: false,
        }
    }

    /// The cluster of this project, as dask-saturn's `ExternalConnection(project_id=…)`.
    pub fn project_id(mut self, id: impl Into<String>) -> Self {
        self.target = Target::Project(id.into());
        self
    }

    /// A new cluster for this workspace, deployment or job, by the public API.
    pub fn resource(mut self, resource: Resource) -> Self {
        self.target = Target::Resource(resource);
        self
    }

    /// A cluster that exists, by its id; it is started if it is stopped.
    pub fn cluster_id(mut self, id: impl Into<String>) -> Self {
        self.target = Target::Cluster(id.into());
        self
    }

    /// What the cluster shall be, all at once. A cluster that runs already is not changed.
    pub fn options(mut self, options: ClusterOptions) -> Self {
        self.options = options;
        self
    }

    /// How many workers.
    pub fn n_workers(mut self, n: u32) -> Self {
        self.options = self.options.n_workers(n);
        self
    }

    /// The size of the workers' machines.
    pub fn worker_size(mut self, name: impl Into<String>) -> Self {
        self.options = self.options.worker_size(name);
        self
    }

    /// The size of the scheduler's machine.
    pub fn scheduler_size(mut self, name: impl Into<String>) -> Self {
        self.options = self.options.scheduler_size(name);
        self
    }

    /// How many worker processes on each worker's machine.
    pub fn nprocs(mut self, n: u32) -> Self {
        self.options = self.options.nprocs(n);
        self
    }

    /// How many threads in each worker process.
    pub fn nthreads(mut self, n: u32) -> Self {
        self.options = self.options.nthreads(n);
        self
    }

    /// Whether workers run on spot instances.
    pub fn worker_is_spot(mut self, spot: bool) -> Self {
        self.options = self.options.worker_is_spot(spot);
        self
    }

    /// How long starting may take (default 20 minutes). One request that is under way then is still waited for.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long to wait between two questions.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How the scheduler's certificate is judged.
    pub fn verification(mut self, verification: Verification) -> Self {
        self.verification = verification;
        self
    }

    /// Connects to this host, and port if given, instead of those of the scheduler's address, which then only name it
    /// (for TLS). For port forwards and names that do not resolve here. Hosts ending in `.localhost` need none.
    pub fn connect_via(mut self, host: impl Into<String>, port: Option<u16>) -> Self {
        self.via = Some((host.into(), port));
        self
    }

    /// How long connecting to the scheduler may take (default 30 s).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Whether the cluster goes on when this program lets go of it. By default one that this call has started is
    /// closed, and one that it found running is kept.
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = Some(keep);
        self
    }

    /// Closes the cluster when this time has passed since its start began, whatever happens to it until then, for as
    /// long as this program runs and holds the cluster.
    pub fn close_after(mut self, time: Duration) -> Self {
        self.close_after = Some(time);
        self
    }

    /// Destroys the project's or the resource's cluster first, so that the options surely hold.
    pub fn reset(mut self) -> Self {
        self.reset = true;
        self
    }

    /// Starts. Nothing happens until the result is awaited or read as a stream.
    pub fn start(self) -> Starting {
        let (sender, events) = mpsc::unbounded_channel();
        let slot = Arc::new(Mutex::new(Slot::default()));
        let run = Run {
            events: sender,
            slot: Arc::clone(&slot),
            begun: Instant::now(),
            builder: self,
            told: HashSet::new(),
        };
        Starting { events, work: Some(Box::pin(run.start())), outcome: None, slot }
    }

    pub(crate) fn surface(&self) -> Surface {
        match &self.target {
            Target::Project(id) => Surface::Legacy { project_id: Some(id.clone()) },
            Target::Token => Surface::Legacy { project_id: None },
            Target::Resource(_) | Target::Cluster(_) => Surface::Public,
        }
    }

    fn check(&self) -> Result<()> {
        let bad = |option, reason: &str| Err(Error::BadOption { option, reason: reason.to_owned() });
        match &self.target {
            Target::Project(id) if id.trim().is_empty() => return bad("project_id", "it is empty"),
            Target::Cluster(id) if id.trim().is_empty() => return bad("cluster_id", "it is empty"),
            Target::Resource(resource) if resource.parts().1.trim().is_empty() => {
                return bad("resource", "its id is empty");
            }
            Target::Resource(_) | Target::Cluster(_) if self.reset => {
                return bad("reset", "only the cluster of a project or of the token's resource can be reset");
            }
            _ => {}
        }
        match (self.options.nprocs, self.options.nthreads) {
            (Some(0), _) => bad("nprocs", "a worker has at least one process"),
            (_, Some(0)) => bad("nthreads", "a worker has at least one thread"),
            _ => Ok(()),
        }
    }
}

/// A cluster that is starting: await it for the [`SaturnCluster`], or read it as a stream of [`Progress`] first.
///
/// Dropping it gives the start up, and closes a cluster that was started for it (unless it is to be kept).
#[must_use = "nothing is started unless this is awaited"]
pub struct Starting {
    events: mpsc::UnboundedReceiver<Progress>,
    work: Option<BoxFuture<'static, Result<SaturnCluster>>>,
    outcome: Option<Result<SaturnCluster>>,
    slot: Arc<Mutex<Slot>>,
}

impl std::fmt::Debug for Starting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Starting").field("done", &self.outcome.is_some()).finish_non_exhaustive()
    }
}

/// What exists of a cluster that is starting.
#[derive(Default)]
struct Slot {
    id: Option<String>,
    guard: Option<Guard>,
    /// A request that creates something and must not be forgotten half-way.
    request: Option<JoinHandle<()>>,
}

fn held(slot: &Mutex<Slot>) -> std::sync::MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Starting {
    /// Gives the start up: a cluster that was started for it is closed (unless it is to be kept). The id of a cluster
    /// that may still run.
    ///
    /// # Errors
    /// Closing failed; the error names the cluster.
    pub async fn cancel(mut self) -> Result<Option<String>> {
        self.work = None;
        if let Some(Ok(cluster)) = self.outcome.take() {
            return cluster.let_go().await;
        }
        let request = held(&self.slot).request.take();
        if let Some(request) = request {
            // It closes what it has created when it finds nobody waiting for it.
            drop(request.await);
        }
        let (id, guard) = {
            let mut slot = held(&self.slot);
            (slot.id.take(), slot.guard.take())
        };
        match (guard, id) {
            (Some(guard), Some(id)) => match guard.close().await {
                Ok(()) => Ok(None),
                Err(source) => Err(Error::NotClosed { id, source: Box::new(source) }),
            },
            (_, id) => Ok(id),
        }
    }
}

impl Stream for Starting {
    type Item = Progress;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Progress>> {
        let this = &mut *self;
        if let Poll::Ready(Some(event)) = this.events.poll_recv(context) {
            return Poll::Ready(Some(event));
        }
        if let Some(work) = &mut this.work
            && let Poll::Ready(outcome) = work.as_mut().poll(context)
        {
            this.outcome = Some(outcome);
            this.work = None;
        }
        match this.events.poll_recv(context) {
            Poll::Ready(Some(event)) => Poll::Ready(Some(event)),
            _ if this.work.is_none() => Poll::Ready(None),
            _ => Poll::Pending,
        }
    }
}

impl IntoFuture for Starting {
    type Output = Result<SaturnCluster>;
    type IntoFuture = BoxFuture<'static, Result<SaturnCluster>>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            match (self.outcome.take(), self.work.take()) {
                (Some(outcome), _) => outcome,
                (None, Some(work)) => work.await,
                (None, None) => {
                    Err(Error::BadOption { option: "start", reason: "it was given up".to_owned() })
                }
            }
        })
    }
}

/// Where a cluster that has just become ready is.
struct Found {
    id: String,
    dashboard: Option<String>,
    cost: Option<f64>,
}

/// One attempt at starting.
struct Run {
    builder: ClusterBuilder,
    begun: Instant,
    events: mpsc::UnboundedSender<Progress>,
    slot: Arc<Mutex<Slot>>,
    told: HashSet<String>,
}

impl Run {
    async fn start(mut self) -> Result<SaturnCluster> {
        self.builder.check()?;
        let saturn = Saturn::new(self.builder.settings.clone())?;
        match self.proceed(&saturn).await {
            Ok(cluster) => Ok(cluster),
            Err(error) => Err(self.clean_up(error).await),
        }
    }

    async fn proceed(&mut self, saturn: &Saturn) -> Result<SaturnCluster> {
        let surface = self.builder.surface();
        let sizes = match &surface {
            Surface::Legacy { .. } => surface.legacy(saturn).sizes().await?,
            Surface::Public => saturn.public().sizes().await?,
        };
        sizes.check(&self.builder.options)?;
        if let Some(per_hour) = sizes.cost_of(&self.builder.options) {
            self.send(Progress::Cost { per_hour });
        }
        if self.builder.reset {
            self.builder.surface().legacy(saturn).reset(&self.builder.options).await?;
        }
        let found = match self.builder.target.clone() {
            Target::Project(_) | Target::Token => self.legacy(saturn, &surface).await?,
            Target::Resource(resource) => {
                let created = self.create_public(saturn, resource).await?;
                self.public(saturn, created, &sizes).await?
            }
            Target::Cluster(id) => {
                let known = saturn.public().get(&id).await?;
                self.public(saturn, known, &sizes).await?
            }
        };
        self.finish(saturn, surface, sizes, found).await
    }

    async fn finish(
        &mut self,
        saturn: &Saturn,
        surface: Surface,
        sizes: Sizes,
        found: Found,
    ) -> Result<SaturnCluster> {
        let info = surface.legacy(saturn).info(&found.id).await?;
        let address: dask_client::Address =
            info.scheduler_address.parse().map_err(|error| Error::BadReply {
                url: format!("the information about cluster {}", found.id),
                reason: format!("{error}"),
            })?;
        self.send(Progress::Ready {
            id: found.id.clone(),
            address: address.to_string(),
            elapsed: self.begun.elapsed(),
        });
        let guard = held(&self.slot).guard.take();
        let guard = match (guard, self.builder.close_after) {
            // Time is limited also for a cluster that was found running, if the caller says so.
            (None, Some(_)) if self.builder.keep.is_none() => Some(self.guard(&surface, &found.id)?),
            (guard, _) => guard,
        };
        Ok(SaturnCluster::new(
            saturn.clone(),
            surface,
            found.id,
            address,
            info.dashboard_link.or(found.dashboard),
            found.cost.or_else(|| sizes.cost_of(&self.builder.options)),
            &self.builder,
            guard,
        ))
    }

    fn send(&self, event: Progress) {
        // Nobody listens when the start is awaited without reading it.
        drop(self.events.send(event));
    }

    fn warn(&mut self, texts: &[String]) {
        for text in texts {
            if self.told.insert(text.clone()) {
                tracing::warn!(warning = text, "Saturn Cloud warns");
                self.send(Progress::Warning { text: text.clone() });
            }
        }
    }

    fn status(&self, status: &Status) {
        let id = held(&self.slot).id.clone();
        self.send(Progress::Status { status: status.clone(), id, elapsed: self.begun.elapsed() });
    }

    fn guard(&self, surface: &Surface, id: &str) -> Result<Guard> {
        let deadline = self.builder.close_after.map(|time| self.begun + time);
        Guard::new(self.builder.settings.clone(), surface.clone(), id, deadline)
    }

    /// Takes note of a cluster that exists now. `ours`: this start is what made it run.
    fn note(&self, surface: &Surface, id: &str, ours: bool) -> Result<()> {
        let close = match self.builder.keep {
            Some(keep) => !keep,
            None => ours,
        };
        let known = held(&self.slot).id.as_deref() == Some(id);
        let guarded = known && held(&self.slot).guard.is_some();
        let guard = if close && !guarded { Some(self.guard(surface, id)?) } else { None };
        let old = {
            let mut slot = held(&self.slot);
            slot.id = Some(id.to_owned());
            match guard {
                Some(_) => std::mem::replace(&mut slot.guard, guard),
                None => None,
            }
        };
        if let Some(old) = old {
            // The server has made another cluster instead. Closing the first one takes its time.
            drop(tokio::task::spawn_blocking(move || drop(old)));
        }
        Ok(())
    }

    /// Waits before the next question, or says that the time is up.
    async fn pause(&mut self, status: &Status) -> Result<()> {
        // Whoever asks after the cluster was closed for its time would start another one.
        let limit =
            self.builder.close_after.map_or(self.builder.deadline, |time| time.min(self.builder.deadline));
        let left = limit.saturating_sub(self.begun.elapsed());
        if left.is_zero() {
            return Err(Error::NotReady {
                id: held(&self.slot).id.clone(),
                status: status.clone(),
                waited: limit,
                after: Aftermath::Left,
            });
        }
        tokio::time::sleep(self.builder.backoff.next_wait().min(left)).await;
        Ok(())
    }

    /// Whether the question may be asked again in spite of this failure.
    fn tolerate(&mut self, error: Error, failures: &mut u32) -> Result<()> {
        *failures += 1;
        if !error.is_transient() || *failures >= FAILURES_IN_A_ROW {
            return Err(error);
        }
        self.warn(&[format!("{error}; asking again")]);
        Ok(())
    }

    async fn legacy(&mut self, saturn: &Saturn, surface: &Surface) -> Result<Found> {
        let mut status = Status::Pending;
        let (mut first, mut failures, mut watch) = (true, 0, Watch::default());
        loop {
            let reply = match first {
                true => self.create_legacy(saturn, surface).await,
                false => surface.legacy(saturn).create(&self.builder.options).await,
            };
            match reply {
                Ok(reply) => {
                    failures = 0;
                    if let Some(id) = &reply.id {
                        self.note(surface, id, !first || !reply.status.is_ready())?;
                    }
                    self.warn(&reply.warnings);
                    self.status(&reply.status);
                    status = reply.status;
                    first = false;
                    if status.is_ready() {
                        let id = reply.id.ok_or_else(|| Error::BadReply {
                            url: "the request to create a cluster".to_owned(),
                            reason: format!("the cluster is {status}, but there is no id"),
                        })?;
                        return Ok(Found { id, dashboard: None, cost: None });
                    }
                    watch.look(&status, reply.id.as_deref(), reply.errors)?;
                }
                Err(error) if first => return Err(error),
                Err(error) => self.tolerate(error, &mut failures)?,
            }
            self.pause(&status).await?;
        }
    }

    /// The first request, which creates: when it is given up half-way, what it creates is closed.
    async fn create_legacy(&self, saturn: &Saturn, surface: &Surface) -> Result<Created> {
        let options = self.builder.options.clone();
        let (api, way, close) = (saturn.clone(), surface.clone(), self.builder.keep != Some(true));
        let create = {
            let (api, way) = (api.clone(), way.clone());
            async move { way.legacy(&api).create(&options).await }
        };
        self.create(create, move |reply: Created| async move {
            let ours = close && !reply.status.is_ready();
            if let Some(id) = reply.id.filter(|_| ours) {
                drop(way.close(&api, &id).await);
            }
        })
        .await
    }

    async fn create_public(&self, saturn: &Saturn, resource: Resource) -> Result<DaskCluster> {
        let options = self.builder.options.clone();
        let (api, close) = (saturn.clone(), self.builder.keep != Some(true));
        let create = {
            let api = api.clone();
            async move { api.public().create(&resource, &options).await }
        };
        self.create(create, move |made: DaskCluster| async move {
            if close {
                drop(Surface::Public.close(&api, &made.id).await);
            }
        })
        .await
    }

    /// Runs a request in a task of its own; `abandoned` gets the answer that nobody waits for any more.
    async fn create<T: Send + 'static, F: Future<Output = ()> + Send>(
        &self,
        request: impl Future<Output = Result<T>> + Send + 'static,
        abandoned: impl FnOnce(T) -> F + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let task = tokio::spawn(async move {
            if let Err(Ok(made)) = sender.send(request.await) {
                abandoned(made).await;
            }
        });
        held(&self.slot).request = Some(task);
        let answer = receiver.await;
        held(&self.slot).request = None;
        answer.unwrap_or_else(|_| {
            let reason =
                "the runtime ended while the cluster was being created; look whether it runs".to_owned();
            Err(Error::Unreachable { url: self.builder.settings.base_url().to_owned(), reason })
        })
    }

    async fn public(&mut self, saturn: &Saturn, known: DaskCluster, sizes: &Sizes) -> Result<Found> {
        let (surface, api) = (Surface::Public, saturn.public());
        let mut cluster = known;
        let created = matches!(self.builder.target, Target::Resource(_));
        self.note(&surface, &cluster.id, created)?;
        self.warn(&cluster.warnings);
        self.status(&cluster.status);
        if let Some(per_hour) = cluster.cost_per_hour(sizes) {
            self.send(Progress::Cost { per_hour });
        }
        if cluster.status.is_over() {
            cluster = api.start(&cluster.id).await?;
            self.note(&surface, &cluster.id, true)?;
            self.status(&cluster.status);
        }
        let (mut failures, mut watch, mut parts) = (0, Watch::default(), None);
        loop {
            if cluster.status.is_ready() {
                let cost = cluster.cost_per_hour(sizes);
                return Ok(Found { id: cluster.id, dashboard: cluster.url, cost });
            }
            watch.look(&cluster.status, Some(&cluster.id), cluster.errors.clone())?;
            // A picture of the parts is good to have, and no reason to give up.
            if let Ok(summary) = api.runtime_summary(&cluster.id).await {
                let scheduler = summary.scheduler_summary.map(|scheduler| scheduler.status);
                let seen = (scheduler, summary.worker_summary);
                if parts.as_ref() != Some(&seen) {
                    self.send(Progress::Components { scheduler: seen.0.clone(), workers: seen.1 });
                    parts = Some(seen);
                }
            }
            self.pause(&cluster.status).await?;
            match api.get(&cluster.id).await {
                Ok(answer) => {
                    failures = 0;
                    cluster = answer;
                    self.warn(&cluster.warnings);
                    self.status(&cluster.status);
                }
                Err(error) => self.tolerate(error, &mut failures)?,
            }
        }
    }

    /// After a failure nothing is left running that this start has made, or the error says what is.
    async fn clean_up(&self, error: Error) -> Error {
        let (id, guard) = {
            let mut slot = held(&self.slot);
            (slot.id.take(), slot.guard.take())
        };
        let Some(id) = id else { return error };
        let after = match guard {
            None => Aftermath::Left,
            Some(guard) => match guard.close().await {
                Ok(()) => Aftermath::Closed,
                Err(problem) => {
                    tracing::error!(cluster = id, error = %problem, "the cluster could not be closed and may cost");
                    Aftermath::NotClosed
                }
            },
        };
        if error.aftermath().is_some() {
            return error.with_aftermath(after);
        }
        Error::Starting { id, source: Box::new(error), after }
    }
}

/// Tells a cluster that is not yet starting from one that is over.
#[derive(Default)]
struct Watch {
    seen_alive: bool,
    stopped: u32,
}

impl Watch {
    fn look(&mut self, status: &Status, id: Option<&str>, errors: Vec<String>) -> Result<()> {
        match status {
            Status::Error => {
                Err(Error::ClusterFailed { id: id.map(str::to_owned), errors, after: Aftermath::Left })
            }
            Status::Stopped | Status::Closed | Status::Completed => {
                self.stopped += 1;
                if self.seen_alive || self.stopped >= STOPPED_IN_A_ROW {
                    let id = id.unwrap_or("(without id)").to_owned();
                    return Err(Error::ClusterStopped { id, status: status.clone(), after: Aftermath::Left });
                }
                Ok(())
            }
            _ => {
                // One that is still going down may be that of yesterday.
                self.seen_alive |= *status != Status::Stopping;
                self.stopped = 0;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_cluster_is_given_time_to_start_and_no_second_chance() {
        let mut watch = Watch::default();
        let mut look = |status: Status| watch.look(&status, Some("c"), Vec::new());
        assert!(
            look(Status::Stopping).is_ok() && look(Status::Stopped).is_ok() && look(Status::Pending).is_ok()
        );
        assert!(matches!(look(Status::Closed), Err(Error::ClusterStopped { .. })));
        let mut watch = Watch::default();
        let outcomes: Vec<bool> =
            (0..3).map(|_| watch.look(&Status::Stopped, None, Vec::new()).is_ok()).collect();
        assert_eq!(outcomes, [true, true, false]);
        let error = watch.look(&Status::Error, Some("c"), vec!["no".into(), "quota".into()]).unwrap_err();
        assert!(error.to_string().contains("no quota"), "{error}");
    }
}
