//! Workers coming and going.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use dask_wire::{Feature, Value};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use serde::Serialize;
use tokio::time::sleep;

use crate::client::Client;
use crate::error::Result;
use crate::topics::{Subscription, TopicEvent};

/// A worker came or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum WorkerChange {
    /// It is there.
    Joined {
        /// Its address.
        address: String,
        /// Threads that run tasks.
        nthreads: u64,
    },
    /// It is gone.
    Left {
        /// Its address.
        address: String,
    },
}

/// Workers coming and going, from [`Client::watch_workers`].
#[must_use = "streams do nothing unless polled"]
pub struct WorkerChanges(BoxStream<'static, Result<WorkerChange>>);

impl std::fmt::Debug for WorkerChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerChanges").finish_non_exhaustive()
    }
}

impl Stream for WorkerChanges {
    type Item = Result<WorkerChange>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

/// The topic on which the scheduler logs its own doings.
const OWN_TOPIC: &str = "all";

impl Client {
    /// Says which workers are there, and from then on which come and which go. Ends after an error, the first of which
    /// is that the scheduler cannot be asked any more.
    ///
    /// The scheduler is asked for its workers whenever it logs that something about them changed (from 2021.9.1 on), and
    /// in any case at this interval. What comes and goes in between is not seen.
    ///
    /// Op `ncores`, every release, and the topic `all`.
    pub fn watch_workers(&self, interval: Duration) -> WorkerChanges {
        let watch = Watch {
            client: self.clone(),
            interval: interval.max(Duration::from_millis(10)),
            hints: None,
            known: BTreeMap::new(),
            changes: VecDeque::new(),
            started: false,
        };
        let changes = futures::stream::unfold(Some(watch), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(change) => Some((Ok(change), Some(watch))),
                Err(error) => Some((Err(error), None)),
            }
        });
        WorkerChanges(changes.boxed())
    }
}

struct Watch {
    client: Client,
    interval: Duration,
    hints: Option<Subscription>,
    known: BTreeMap<String, u64>,
    changes: VecDeque<WorkerChange>,
    started: bool,
}

impl Watch {
    async fn next(&mut self) -> Result<WorkerChange> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Ok(change);
            }
            if self.started {
                self.pause().await;
            } else {
                // Before the first look, so that nothing falls in between.
                if self.client.dialect().has(Feature::Topics) {
                    self.hints = Some(self.client.subscribe(OWN_TOPIC).await?);
                }
                self.started = true;
            }
            let now = self.client.nthreads().await?;
            let left = self.known.keys().filter(|address| !now.contains_key(*address));
            let left = left.map(|address| WorkerChange::Left { address: address.clone() });
            let joined = now.iter().filter(|(address, _)| !self.known.contains_key(*address));
            let joined = joined.map(|(address, nthreads)| WorkerChange::Joined {
                address: address.clone(),
                nthreads: *nthreads,
            });
            self.changes.extend(left.chain(joined));
            self.known = now;
        }
    }

    /// Until it is time to look again.
    async fn pause(&mut self) {
        let hints = &mut self.hints;
        let hint = async {
            loop {
                let event = match hints {
                    Some(hints) => hints.next().await,
                    None => std::future::pending().await,
                };
                match event {
                    Some(event) if is_hint(&event) => return,
                    Some(_) => (),
                    None => *hints = None,
                }
            }
        };
        tokio::select! {
            () = hint => (),
            () = sleep(self.interval) => (),
        }
    }
}

fn is_hint(event: &TopicEvent) -> bool {
    let action = event.message.get("action").and_then(Value::as_str).unwrap_or_default();
    event.lagged > 0 || action.contains("worker")
}
