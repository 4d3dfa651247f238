//! One attempt at starting.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::api::Saturn;
use crate::api::legacy::ClusterInfo;
use crate::api::public::{DaskCluster, WorkerCounts};
use crate::builder::{ClusterBuilder, Target};
use crate::cluster::SaturnCluster;
use crate::error::{Aftermath, Error, Result};
use crate::guard::Guard;
use crate::sizes::Sizes;
use crate::start::{Progress, Slot, held};
use crate::status::Status;
use crate::surface::Surface;
use crate::watch::Watch;

/// Questions in a row that may fail, once a cluster may be starting or running, before it is given up.
pub(crate) const FAILURES_IN_A_ROW: u32 = 3;

/// Where a cluster that has just become ready is.
struct Found {
    id: String,
    dashboard: Option<String>,
    cost: Option<f64>,
    /// It was made with the options of this start.
    options_apply: bool,
}

/// What was seen of a cluster's parts.
#[derive(Default)]
struct Parts {
    last: Option<(Option<Status>, Option<Status>, WorkerCounts)>,
    failures: u32,
}

pub(crate) struct Run {
    builder: ClusterBuilder,
    begun: Instant,
    events: mpsc::UnboundedSender<Progress>,
    slot: Slot,
    told: HashSet<String>,
}

impl Run {
    pub(crate) fn new(builder: ClusterBuilder, events: mpsc::UnboundedSender<Progress>, slot: Slot) -> Self {
        Self { builder, begun: Instant::now(), events, slot, told: HashSet::new() }
    }

    pub(crate) async fn start(mut self) -> Result<SaturnCluster> {
        match self.proceed().await {
            Ok(cluster) => Ok(cluster),
            Err(error) => Err(self.clean_up(error).await),
        }
    }

    async fn proceed(&mut self) -> Result<SaturnCluster> {
        self.builder.check()?;
        let saturn = Saturn::new(self.builder.settings.clone())?;
        let surface = self.builder.surface();
        let sizes = match &surface {
            Surface::Legacy { .. } => surface.legacy(&saturn).sizes().await?,
            Surface::Public => saturn.public().sizes().await?,
        };
        sizes.check(&self.builder.options)?;
        let guard = self.guard(&surface)?;
        let found = match self.builder.target.clone() {
            Target::Project(_) | Target::Token => self.legacy(&saturn, &guard, &sizes).await?,
            Target::Resource(resource) => {
                let created = guard.public(resource, &self.builder.options).await;
                let created = self.in_time(created, &Status::Pending)?;
                self.public(&saturn, &guard, created, &sizes).await?
            }
            Target::Replacement(id) => {
                let created = guard.replace(&id, &self.builder.options).await;
                let created = self.in_time(created, &Status::Pending)?;
                self.public(&saturn, &guard, created, &sizes).await?
            }
            Target::Cluster(id) => {
                let known = saturn.public().get(&id).await?;
                guard.note(&known.id, false);
                self.public(&saturn, &guard, known, &sizes).await?
            }
        };
        drop(guard);
        self.finish(&saturn, surface, found).await
    }

    async fn finish(&mut self, saturn: &Saturn, surface: Surface, found: Found) -> Result<SaturnCluster> {
        let info = self.info(saturn, &surface, &found.id).await?;
        let address: dask_client::Address =
            info.scheduler_address.parse().map_err(|error| Error::BadReply {
                url: format!("the information about cluster {}", found.id),
                reason: format!("{error}"),
            })?;
        if !self.builder.allow_unencrypted && !address.scheme().is_encrypted() && !is_here(&address) {
            let (id, address) = (found.id, address.to_string());
            return Err(Error::Unencrypted { id, address, after: Aftermath::Left });
        }
        self.send(Progress::Ready {
            id: found.id.clone(),
            address: address.to_string(),
            elapsed: self.begun.elapsed(),
        });
        let guard = held(&self.slot).take().and_then(|guard| {
            // Time is limited also for a cluster that was found running, if the caller says so.
            if self.builder.close_after.is_some() && self.builder.keep.is_none() {
                guard.adopt();
            }
            if guard.is_limited() || guard.closes() {
                return Some(guard);
            }
            guard.forget();
            None
        });
        Ok(SaturnCluster::new(
            saturn.clone(),
            surface,
            found.id,
            address,
            info.dashboard_link.or(found.dashboard),
            found.cost,
            &self.builder,
            guard,
            found.options_apply,
        ))
    }

    /// Where a cluster that has become ready is. It is not thrown away because one question failed.
    async fn info(&mut self, saturn: &Saturn, surface: &Surface, id: &str) -> Result<ClusterInfo> {
        let mut failures = 0;
        loop {
            let error = match surface.legacy(saturn).info(id).await {
                Ok(info) if info.scheduler_address.trim().is_empty() => {
                    Error::NoAddress { id: id.to_owned() }
                }
                Ok(info) => return Ok(info),
                Err(error) => error,
            };
            if self.left().is_zero() {
                return Err(error);
            }
            self.tolerate(error, &mut failures)?;
            self.pause(&Status::Ready).await?;
        }
    }

    /// The guard of this start, made before anything is created.
    fn guard(&self, surface: &Surface) -> Result<Arc<Guard>> {
        // A time beyond what the clock knows is no limit.
        let deadline = self.builder.close_after.and_then(|time| self.begun.checked_add(time));
        let mut slot = held(&self.slot);
        if let Some(guard) = slot.as_ref() {
            guard.set_keep(self.builder.keep);
            if deadline.is_some() {
                guard.set_deadline(deadline);
            }
            return Ok(Arc::clone(guard));
        }
        let settings = self.builder.settings.clone();
        let guard = Arc::new(Guard::new(settings, surface.clone(), self.builder.keep, deadline)?);
        *slot = Some(Arc::clone(&guard));
        Ok(guard)
    }

    fn send(&self, event: Progress) {
        // Nobody listens when the start is awaited without reading it.
        drop(self.events.send(event));
    }

    fn cost(&self, cost: Option<f64>) {
        if let Some(per_hour) = cost {
            self.send(Progress::Cost { per_hour });
        }
    }

    fn warn(&mut self, texts: &[String]) {
        for text in texts {
            if self.told.insert(text.clone()) {
                tracing::warn!(warning = text, "Saturn Cloud warns");
                self.send(Progress::Warning { text: text.clone() });
            }
        }
    }

    fn newest(&self) -> Option<String> {
        held(&self.slot).as_ref().and_then(|guard| guard.newest())
    }

    fn status(&self, status: &Status) {
        let (status, id) = (status.clone(), self.newest());
        self.send(Progress::Status { status, id, elapsed: self.begun.elapsed() });
    }

    /// The time after which nothing is asked any more.
    fn limit(&self) -> Duration {
        self.builder.close_after.map_or(self.builder.deadline, |time| time.min(self.builder.deadline))
    }

    fn left(&self) -> Duration {
        self.limit().saturating_sub(self.begun.elapsed())
    }

    fn not_ready(&self, status: &Status, waited: Duration) -> Error {
        Error::NotReady { id: self.newest(), status: status.clone(), waited, after: Aftermath::Left }
    }

    /// The answer to a request that creates, unless the guard's time is up.
    fn in_time<T>(&self, answer: Option<Result<T>>, status: &Status) -> Result<T> {
        answer.unwrap_or_else(|| Err(self.not_ready(status, self.begun.elapsed())))
    }

    /// Waits before the next question, or says that the time is up.
    async fn pause(&mut self, status: &Status) -> Result<()> {
        let left = self.left();
        if left.is_zero() {
            return Err(self.not_ready(status, self.limit()));
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

    async fn reset(&mut self, guard: &Guard) -> Result<()> {
        let mut failures = 0;
        loop {
            let answer = guard.reset(&self.builder.options).await;
            match self.in_time(answer, &Status::Pending) {
                Ok(()) => return Ok(()),
                Err(error) if !error.may_have_acted() => return Err(error),
                Err(error) => self.tolerate(error, &mut failures)?,
            }
            self.pause(&Status::Pending).await?;
        }
    }

    async fn legacy(&mut self, saturn: &Saturn, guard: &Guard, sizes: &Sizes) -> Result<Found> {
        if self.builder.reset {
            self.reset(guard).await?;
        }
        let mut status = Status::Pending;
        let (mut answered, mut failures, mut watch, mut parts) =
            (false, 0, Watch::default(), Parts::default());
        let (mut cost, mut options_apply) = (None, true);
        loop {
            let answer = guard.legacy(&self.builder.options).await;
            match self.in_time(answer, &status) {
                Ok(reply) => {
                    let found = !answered && !self.builder.reset && reply.status.is_ready();
                    if !answered {
                        options_apply = !found;
                        // The options are not those of a cluster that was there before.
                        cost = match (found, &reply.id) {
                            (true, Some(id)) => price(saturn, id, sizes).await,
                            _ => sizes.cost_of(&self.builder.options),
                        };
                        self.cost(cost);
                    }
                    if found && failures > 0 {
                        self.warn(&[
                            "the cluster runs, and an earlier request to create it was not answered: it is \
                                     taken for one that was there before, and not closed by itself"
                                .to_owned(),
                        ]);
                    }
                    (answered, failures) = (true, 0);
                    self.warn(&reply.warnings);
                    self.status(&reply.status);
                    status = reply.status;
                    if status.is_ready() {
                        let id = reply.id.ok_or_else(|| Error::BadReply {
                            url: "the request to create a cluster".to_owned(),
                            reason: format!("the cluster is {status}, but there is no id"),
                        })?;
                        return Ok(Found { id, dashboard: None, cost, options_apply });
                    }
                    watch.look(&status, reply.id.as_deref(), reply.errors)?;
                    if let Some(id) = &reply.id {
                        self.components(saturn, id, &mut parts).await;
                    }
                }
                // Nothing was created. Otherwise asking again tells, as this request does no harm when it is repeated.
                Err(error) if !answered && !error.may_have_acted() => return Err(error),
                Err(error) => self.tolerate(error, &mut failures)?,
            }
            self.pause(&status).await?;
        }
    }

    async fn public(
        &mut self,
        saturn: &Saturn,
        guard: &Guard,
        known: DaskCluster,
        sizes: &Sizes,
    ) -> Result<Found> {
        let options_apply = !matches!(self.builder.target, Target::Cluster(_));
        let mut cluster = known;
        self.warn(&cluster.warnings);
        self.status(&cluster.status);
        self.cost(cluster.cost_per_hour(sizes));
        if cluster.status.is_over() {
            cluster = self.revive(saturn, guard, cluster).await?;
            self.status(&cluster.status);
        }
        let (mut failures, mut watch, mut parts) = (0, Watch::default(), Parts::default());
        loop {
            if cluster.status.is_ready() {
                let cost = cluster.cost_per_hour(sizes);
                return Ok(Found { id: cluster.id, dashboard: cluster.url, cost, options_apply });
            }
            watch.look(&cluster.status, Some(&cluster.id), cluster.errors.clone())?;
            self.components(saturn, &cluster.id, &mut parts).await;
            self.pause(&cluster.status).await?;
            match saturn.public().get(&cluster.id).await {
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

    /// Starts a cluster that is over.
    async fn revive(
        &mut self,
        saturn: &Saturn,
        guard: &Guard,
        mut known: DaskCluster,
    ) -> Result<DaskCluster> {
        let mut failures = 0;
        loop {
            let answer = guard.start(&known.id).await;
            match self.in_time(answer, &known.status) {
                Ok(started) => return Ok(started),
                Err(error) => self.tolerate(error, &mut failures)?,
            }
            self.pause(&known.status).await?;
            // It may have been started all the same, and a server may refuse to do that twice.
            if let Ok(seen) = saturn.public().get(&known.id).await {
                known = seen;
                if !known.status.is_over() {
                    return Ok(known);
                }
            }
        }
    }

    /// How far the parts are, where the server tells: good to have, and no reason to give up.
    async fn components(&self, saturn: &Saturn, id: &str, parts: &mut Parts) {
        if parts.failures >= FAILURES_IN_A_ROW {
            return;
        }
        match saturn.public().runtime_summary(id).await {
            Ok(summary) => {
                parts.failures = 0;
                let part = |summary: Option<crate::api::public::PartSummary>| summary.map(|part| part.status);
                let (manager, scheduler) =
                    (part(summary.kubecluster_summary), part(summary.scheduler_summary));
                let seen = (manager, scheduler, summary.worker_summary);
                if parts.last.as_ref() != Some(&seen) {
                    let (manager, scheduler, workers) = seen.clone();
                    self.send(Progress::Components { manager, scheduler, workers });
                    parts.last = Some(seen);
                }
            }
            // Servers before 2026 have never heard of it.
            Err(Error::UnknownCluster { .. } | Error::NotFound { .. } | Error::NotSaturn { .. }) => {
                parts.failures = FAILURES_IN_A_ROW;
            }
            Err(_) => parts.failures += 1,
        }
    }

    /// After a failure nothing is left running that this start has made, or the error says what is.
    async fn clean_up(&self, error: Error) -> Error {
        let guard = held(&self.slot).take();
        let Some(guard) = guard else { return error };
        let newest = guard.newest();
        let (id, after) = match guard.close().await {
            Ok(ended) => {
                let closed =
                    ended.closed.iter().rev().find(|id| newest.as_ref().is_none_or(|new| new == *id));
                match (closed, ended.left.last()) {
                    (Some(id), _) => (id.clone(), Aftermath::Closed),
                    (None, Some(id)) => (id.clone(), Aftermath::Left),
                    (None, None) => return error,
                }
            }
            Err(Error::MaybeCreated { found, .. }) => {
                return Error::MaybeCreated { found, source: Box::new(error) };
            }
            Err(Error::NotClosed { id, .. }) => (id, Aftermath::NotClosed),
            Err(_) => match newest {
                Some(id) => (id, Aftermath::NotClosed),
                None => return error,
            },
        };
        if error.aftermath().is_some() {
            return error.with_aftermath(after);
        }
        Error::Starting { id, source: Box::new(error), after }
    }
}

/// What a cluster that was found running costs, where the server tells how it was made.
async fn price(saturn: &Saturn, id: &str, sizes: &Sizes) -> Option<f64> {
    saturn.public().get(id).await.ok()?.cost_per_hour(sizes)
}

/// Whether an address is this machine's, so that nobody on a network can listen in.
fn is_here(address: &dask_client::Address) -> bool {
    address.is_loopback() || address.host().ends_with(".localhost")
}
