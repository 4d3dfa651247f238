//! A cluster that is starting, and what is heard of it meanwhile.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::api::public::WorkerCounts;
use crate::builder::ClusterBuilder;
use crate::cluster::SaturnCluster;
use crate::error::{Error, Result};
use crate::guard::{Ended, Guard};
use crate::run::Run;
use crate::status::Status;

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
        /// What that which manages the cluster inside of Saturn Cloud is doing.
        manager: Option<Status>,
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

/// What became of a start that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GivenUp {
    /// There was no cluster yet.
    Nothing,
    /// The cluster was closed.
    Closed {
        /// Its id.
        id: String,
    },
    /// The cluster goes on, and costs: it is to be kept, or was found running.
    Left {
        /// Its id.
        id: String,
    },
}

impl From<Ended> for GivenUp {
    fn from(mut ended: Ended) -> Self {
        match (ended.left.pop(), ended.closed.pop()) {
            (Some(id), _) => Self::Left { id },
            (None, Some(id)) => Self::Closed { id },
            (None, None) => Self::Nothing,
        }
    }
}

/// The guard of a start, once there is one.
pub(crate) type Slot = Arc<Mutex<Option<Arc<Guard>>>>;

pub(crate) fn held(slot: &Slot) -> std::sync::MutexGuard<'_, Option<Arc<Guard>>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cluster that is starting: await it for the [`SaturnCluster`], or read it as a stream of [`Progress`] first.
///
/// Dropping it gives the start up, and closes a cluster that was started for it (unless it is to be kept). That waits for
/// the server, as dropping a [`SaturnCluster`] does; [`Starting::cancel`] does the same without blocking the thread.
#[must_use = "nothing is started unless this is awaited"]
pub struct Starting {
    events: mpsc::UnboundedReceiver<Progress>,
    work: Option<BoxFuture<'static, Result<SaturnCluster>>>,
    outcome: Option<Result<SaturnCluster>>,
    slot: Slot,
}

impl std::fmt::Debug for Starting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Starting").field("done", &self.outcome.is_some()).finish_non_exhaustive()
    }
}

impl Starting {
    pub(crate) fn new(mut builder: ClusterBuilder) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let slot = Slot::new(Mutex::new(builder.guard.take()));
        let run = Run::new(builder, sender, Arc::clone(&slot));
        Self { events, work: Some(Box::pin(run.start())), outcome: None, slot }
    }

    /// Gives the start up: a cluster that was started for it is closed (unless it is to be kept). A request that creates
    /// is waited for first.
    ///
    /// # Errors
    /// Closing failed; the error names the cluster. [`Error::MaybeCreated`] if the server did not say what it had created.
    pub async fn cancel(mut self) -> Result<GivenUp> {
        // The guard stays in the slot, so that dropping the work blocks nothing.
        self.work = None;
        if let Some(Ok(cluster)) = self.outcome.take() {
            return cluster.let_go().await;
        }
        let guard = held(&self.slot).take();
        match guard {
            Some(guard) => guard.close().await.map(GivenUp::from),
            None => Ok(GivenUp::Nothing),
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
