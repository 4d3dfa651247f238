//! Workers coming and going.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use dask_wire::{Feature, Value};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::error::{ErrorKind, Result};
use crate::session::life::ClientEvent;
use crate::state::topics::{Subscription, TopicEvent};

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
/// By then the scheduler has taken in a subscription, which goes over another connection than the first look.
const SOON: Duration = Duration::from_secs(1);

impl Client {
    /// Says which workers are there, and from then on which come and which go.
    ///
    /// The scheduler is asked for its workers whenever it logs that something about them changed (from 2021.9.1 on), and
    /// in any case at this interval. What comes and goes in between is not seen.
    ///
    /// While the connection to the scheduler is broken nothing is said. Once the client has reached it again the watch
    /// goes on: workers of the old scheduler that did not come to the new one have left. It ends with an error when the
    /// scheduler is not reached within the time of [`Reconnect`](crate::Reconnect), or the client is closed.
    ///
    /// Op `ncores`, every release, and the topic `all`.
    pub fn watch_workers(&self, interval: Duration) -> WorkerChanges {
        let watch = Watch {
            client: self.clone(),
            interval: interval.max(Duration::from_millis(10)),
            hints: None,
            events: self.events().boxed(),
            soon: false,
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
    /// Tells when hints may have been missed.
    events: BoxStream<'static, ClientEvent>,
    /// The scheduler may not have taken in the subscription at the last look.
    soon: bool,
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
                if self.client.dialect().has(Feature::Topics) {
                    self.hints = Some(self.client.subscribe(OWN_TOPIC).await?);
                    self.soon = true;
                }
                self.started = true;
            }
            let now = self.look().await?;
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

    /// Asks for the workers, again and again while the scheduler is away.
    async fn look(&mut self) -> Result<BTreeMap<String, u64>> {
        let client = self.client.clone();
        let shared = client.shared();
        let policy = shared.settings.reconnect;
        let since = Instant::now();
        let mut pause = policy.map_or(Duration::ZERO, |policy| policy.first_pause);
        loop {
            let error = match client.nthreads().await {
                Ok(workers) => return Ok(workers),
                Err(error) => error,
            };
            // A client that is over says why by itself.
            shared.check_open()?;
            let away =
                matches!(error.kind(), ErrorKind::ConnectionLost | ErrorKind::Connect | ErrorKind::Timeout);
            let Some(policy) = policy.filter(|policy| away && since.elapsed() < policy.within) else {
                return Err(error);
            };
            tracing::debug!(scheduler = %client.address(), %error, "its workers are not known for now");
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(policy.longest_pause);
        }
    }

    /// Until it is time to look again.
    async fn pause(&mut self) {
        let Self { hints, events, .. } = self;
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
        let back = async {
            loop {
                match events.next().await {
                    Some(ClientEvent::Reconnected | ClientEvent::Missed(_)) => return,
                    Some(_) => (),
                    // The client has ended: the next look says so.
                    None => return,
                }
            }
        };
        let interval = if self.soon { self.interval.min(SOON) } else { self.interval };
        self.soon = tokio::select! {
            () = hint => false,
            // Subscribed anew.
            () = back => true,
            () = sleep(interval) => false,
        };
    }
}

fn is_hint(event: &TopicEvent) -> bool {
    let action = event.message.get("action").and_then(Value::as_str).unwrap_or_default();
    event.lagged > 0 || action.contains("worker")
}
