//! What is held on the scheduler and given back: leases of semaphores and locks.

use std::sync::Arc;
use std::time::Duration;

use dask_wire::{NotAvailable, Request, Value};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

use crate::client::{Client, Handle, Shared};
use crate::error::{Error, ErrorKind, Result};

/// What a [`Lease`] is of.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    /// One lease of a semaphore, which runs out unless it is refreshed.
    Semaphore {
        name: String,
        lease: String,
        /// How long the scheduler waits for a refresh.
        timeout: Duration,
    },
    /// A lock of its own kind.
    Lock { name: String, id: String },
    /// All locks that were acquired together.
    MultiLock { id: String },
}

impl Held {
    fn refresh(&self, shared: &Shared) -> Option<Result<Request, Error>> {
        match self {
            Held::Semaphore { name, lease, .. } => {
                Some(shared.request("semaphore_refresh_leases").and_then(|request| {
                    let leases: Value<'_> = [lease.clone()].into_iter().collect();
                    Ok(request.with("name", name.clone())?.with("lease_ids", leases)?)
                }))
            }
            Held::Lock { .. } | Held::MultiLock { .. } => None,
        }
    }

    fn release(&self, shared: &Shared) -> Result<Request, Error> {
        let dialect = shared.dialect();
        let request = |op| dialect.request(dask_wire::Peer::Scheduler, op);
        let built: Result<Request, NotAvailable> = match self {
            Held::Semaphore { name, lease, .. } => request("semaphore_release")
                .and_then(|request| request.with("name", name.clone())?.with("lease_id", lease.clone())),
            Held::Lock { name, id } => request("lock_release")
                .and_then(|request| request.with("name", name.clone())?.with("id", id.clone())),
            Held::MultiLock { id } => {
                request("multi_lock_release").and_then(|request| request.with("id", id.clone()))
            }
        };
        Ok(built?)
    }
}

type Answer = oneshot::Sender<Result<()>>;

/// A lock or a lease of a semaphore, held until it is dropped or [released](Lease::release).
///
/// A task in the background tells the scheduler of a semaphore's lease again and again, so that it does not run out,
/// and ends with the lease. Dropping releases without waiting for it to be done; the client stays open until then.
#[must_use = "dropping a lease releases it at once"]
pub struct Lease {
    handle: Option<Arc<Handle>>,
    end: Option<oneshot::Sender<(Arc<Handle>, Option<Answer>)>>,
    refreshed: watch::Receiver<Instant>,
    timeout: Option<Duration>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("is_current", &self.is_current()).finish_non_exhaustive()
    }
}

impl Lease {
    /// Takes charge of what was just acquired.
    pub(crate) fn new(handle: Arc<Handle>, held: Held) -> Self {
        let timeout = match &held {
            Held::Semaphore { timeout, .. } => Some(*timeout),
            Held::Lock { .. } | Held::MultiLock { .. } => None,
        };
        let (end, ended) = oneshot::channel();
        let (refresh, refreshed) = watch::channel(Instant::now());
        tokio::spawn(keep(Arc::clone(&handle.shared), held, ended, refresh));
        Self { handle: Some(handle), end: Some(end), refreshed, timeout }
    }

    /// Whether the scheduler was last told of the lease recently enough for it to be still held. Locks do not run out,
    /// except where the release makes them of semaphores (from 2024.7.1 on).
    pub fn is_current(&self) -> bool {
        self.timeout.is_none_or(|timeout| self.refreshed.borrow().elapsed() <= timeout)
    }

    /// Releases it and waits until that is done.
    ///
    /// # Errors
    /// The scheduler does not answer. A semaphore's lease then runs out by itself.
    pub async fn release(mut self) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        self.finish(Some(answer));
        answered.await.unwrap_or_else(|_| Err(Error::closed()))
    }

    fn finish(&mut self, answer: Option<Answer>) {
        if let (Some(end), Some(handle)) = (self.end.take(), self.handle.take()) {
            // The task is gone only when its runtime is.
            drop(end.send((handle, answer)));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.finish(None);
    }
}

/// How many refreshes fit into the time after which a lease runs out.
const REFRESHES: u32 = 5;
/// But not rarer than this: who made a lock first may have given it less time, by their own configuration.
const RAREST: Duration = Duration::from_secs(1);
/// Attempts at a release.
const RELEASES: u32 = 5;

/// Refreshes until the lease ends, then releases.
async fn keep(
    shared: Arc<Shared>,
    held: Held,
    mut ended: oneshot::Receiver<(Arc<Handle>, Option<Answer>)>,
    refreshed: watch::Sender<Instant>,
) {
    let (handle, answer) = match &held {
        Held::Semaphore { timeout, name, .. } => {
            let pause = (*timeout / REFRESHES).clamp(Duration::from_millis(10), RAREST);
            let refreshing = async {
                loop {
                    sleep(pause).await;
                    let before = Instant::now();
                    let Some(Ok(request)) = held.refresh(&shared) else { continue };
                    // It takes no room from other requests, nor waits for any, and can be tried again before the lease ends.
                    let left = (timeout.saturating_sub(refreshed.borrow().elapsed()) / 3)
                        .max(Duration::from_secs(1));
                    let outcome = tokio::time::timeout(left, shared.rpc_waiting(request))
                        .await
                        .unwrap_or_else(|_| Err(Error::timeout("refreshing a lease", left)));
                    match outcome {
                        Ok(_) => drop(refreshed.send_replace(before)),
                        Err(error) => {
                            tracing::warn!(semaphore = %name, %error, "a lease was not refreshed");
                        }
                    }
                }
            };
            tokio::select! {
                end = &mut ended => match end { Ok(end) => end, Err(_) => return },
                () = refreshing => return,
            }
        }
        Held::Lock { .. } | Held::MultiLock { .. } => match ended.await {
            Ok(end) => end,
            Err(_) => return,
        },
    };
    let outcome = give_back(&shared, &held).await;
    if let (Err(error), None) = (&outcome, &answer) {
        tracing::debug!(?held, %error, "not released");
    }
    if let Some(answer) = answer {
        drop(answer.send(outcome));
    }
    // Only now may the client say goodbye.
    drop(handle);
}

/// Releases, again if a connection breaks or the scheduler is late: a lock that it misses stays locked for everybody.
async fn give_back(shared: &Shared, held: &Held) -> Result<()> {
    let limit = shared.settings.rpc_timeout;
    let mut tries = 0;
    loop {
        let request = held.release(shared)?;
        let error = match tokio::time::timeout(limit, shared.rpc_waiting(request))
            .await
            .unwrap_or_else(|_| Err(Error::timeout("releasing a lease", limit)))
        {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        tries += 1;
        // What the scheduler says itself it would say again.
        if tries == RELEASES || error.kind() == ErrorKind::Rpc || shared.check_open().is_err() {
            return Err(error);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// A fresh id for a lease or an acquisition.
pub(crate) fn fresh_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

impl Client {
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }
}
