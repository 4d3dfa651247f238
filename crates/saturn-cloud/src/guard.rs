//! Sees to it that a cluster does not outlive its purpose.

use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::api::Saturn;
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::surface::Surface;

/// How long dropping a guard may hold up the thread.
const AT_DROP: Duration = Duration::from_secs(20);
/// How often closing is tried while the server does not answer.
const TRIES: u32 = 3;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

enum Order {
    Deadline(Option<Instant>),
    Close,
    Forget,
}

/// Closes a cluster when it is dropped or when a deadline passes, unless it is told to forget it.
///
/// It has a thread of its own, which waits without cost: so that it works while a runtime shuts down, during a panic, and
/// when every task of the program hangs.
#[derive(Debug)]
pub(crate) struct Guard {
    id: String,
    orders: mpsc::Sender<Order>,
    /// Locked never; the lock lets the guard be shared between threads.
    closed: Option<Mutex<mpsc::Receiver<Result<()>>>>,
}

impl Guard {
    pub(crate) fn new(
        settings: Settings,
        surface: Surface,
        id: &str,
        deadline: Option<Instant>,
    ) -> Result<Self> {
        let (orders, inbox) = mpsc::channel();
        let (report, closed) = mpsc::sync_channel(1);
        let cluster = id.to_owned();
        std::thread::Builder::new()
            .name("saturn-cloud-guard".to_owned())
            .spawn(move || {
                if wait(&inbox, &cluster, deadline) {
                    let outcome = close(settings, &surface, &cluster);
                    if let Err(error) = &outcome {
                        tracing::error!(cluster, %error, "the cluster could not be closed and may cost");
                    }
                    drop(report.send(outcome));
                }
            })
            .map_err(|source| Error::Io { what: "start the thread that closes the cluster", source })?;
        Ok(Self { id: id.to_owned(), orders, closed: Some(Mutex::new(closed)) })
    }

    /// Replaces the deadline.
    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) {
        drop(self.orders.send(Order::Deadline(deadline)));
    }

    /// Lets the cluster go on for good.
    pub(crate) fn forget(mut self) {
        self.closed = None;
        drop(self.orders.send(Order::Forget));
    }

    /// Closes the cluster now and waits for it.
    pub(crate) async fn close(mut self) -> Result<()> {
        drop(self.orders.send(Order::Close));
        let Some(closed) = self.closed.take() else { return Ok(()) };
        let id = self.id.clone();
        tokio::task::spawn_blocking(move || outcome(closed, &id)).await.unwrap_or_else(|error| {
            Err(Error::Crypto { what: "wait for the cluster's end", reason: error.to_string() })
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(closed) = self.closed.take() {
            drop(self.orders.send(Order::Close));
            // The program may end right after this, and the thread with it.
            if let Err(error) = outcome(closed, &self.id) {
                tracing::error!(cluster = self.id, %error, "the cluster may still be running, and cost");
            }
        }
    }
}

fn outcome(closed: Mutex<mpsc::Receiver<Result<()>>>, id: &str) -> Result<()> {
    let closed = closed.into_inner().unwrap_or_else(PoisonError::into_inner);
    closed.recv_timeout(AT_DROP).unwrap_or_else(|_| {
        Err(Error::RequestTimeout { url: format!("closing cluster {id}"), after: AT_DROP })
    })
}

/// Whether the cluster is to be closed, when that is known.
fn wait(inbox: &mpsc::Receiver<Order>, id: &str, mut deadline: Option<Instant>) -> bool {
    loop {
        let order = match deadline {
            None => inbox.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            Some(at) => inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match order {
            Ok(Order::Deadline(changed)) => deadline = changed,
            Ok(Order::Close) => return true,
            Ok(Order::Forget) => return false,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                tracing::warn!(cluster = id, "the cluster's time is up; closing it");
                return true;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return true,
        }
    }
}

/// Closes the cluster from a thread that has no runtime. Connections of other runtimes cannot be used here.
fn close(settings: Settings, surface: &Surface, id: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Io { what: "start a runtime to close the cluster in", source })?;
    runtime.block_on(async {
        let saturn = Saturn::new(settings)?;
        let mut tries = 0;
        loop {
            tries += 1;
            match surface.close(&saturn, id).await {
                Err(error) if error.is_transient() && tries < TRIES => {
                    tokio::time::sleep(BETWEEN_TRIES).await
                }
                outcome => {
                    if outcome.is_ok() {
                        tracing::info!(cluster = id, "the cluster is closed");
                    }
                    return outcome;
                }
            }
        }
    })
}
