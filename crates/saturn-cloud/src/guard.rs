//! Sees to it that a cluster does not outlive its purpose.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::api::Saturn;
use crate::api::legacy::Created;
use crate::api::public::{DaskCluster, Resource};
use crate::error::{Error, Result};
use crate::keeper::{self, TRIES};
use crate::options::ClusterOptions;
use crate::settings::Settings;
use crate::surface::Surface;

/// What became of the clusters that a guard knew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Closed.
    pub(crate) closed: Vec<String>,
    /// Not to be closed: they go on.
    pub(crate) left: Vec<String>,
}

/// A cluster that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) id: String,
    /// The guard's own start is what made it run.
    pub(crate) ours: bool,
}

/// What a guard knows, shared by its handle and its thread.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Whether clusters go on when they are let go of; by default those do that were found running.
    pub(crate) keep: Option<bool>,
    /// There is a deadline.
    pub(crate) limited: bool,
    /// The deadline has passed: nothing goes on.
    pub(crate) due: bool,
    pub(crate) clusters: Vec<Held>,
    /// A request that may have made a cluster whose id is not known.
    pub(crate) uncertain: Option<Uncertain>,
    /// The cluster that was there before was destroyed, so that what is found now is ours.
    pub(crate) destroyed: bool,
    /// The server has told of a cluster at least once.
    pub(crate) answered: bool,
    /// A request that creates is under way.
    pub(crate) busy: bool,
    /// Those that were closed.
    pub(crate) closed: Vec<String>,
    pub(crate) ended: Option<Ended>,
}

/// How to find out what a request without an answer has made.
#[derive(Clone, Debug)]
pub(crate) enum Uncertain {
    /// dask-saturn's request is repeated: it tells of the cluster that it has created before.
    Ask(ClusterOptions),
    /// The clusters of the resource are listed.
    List(Resource),
}

impl Book {
    pub(crate) fn closes(&self, held: &Held) -> bool {
        self.due || self.keep.map_or(held.ours, |keep| !keep)
    }

    /// What became of the clusters once there is no thread any more.
    fn outcome(&self) -> Result<Ended> {
        if let Some(ended) = &self.ended {
            return Ok(ended.clone());
        }
        match self.clusters.iter().find(|held| self.closes(held)) {
            Some(held) => {
                let source = std::io::Error::other("the thread that closes clusters has ended before it did");
                let source = Error::Io { what: "close the cluster", source };
                Err(Error::NotClosed { id: held.id.clone(), source: Box::new(source) })
            }
            None => {
                let left = self.clusters.iter().map(|held| held.id.clone()).collect();
                Ok(Ended { closed: self.closed.clone(), left })
            }
        }
    }

    /// Takes note of a cluster. One that is ours stays ours.
    pub(crate) fn note(&mut self, id: &str, ours: bool) {
        match self.clusters.iter_mut().find(|held| held.id == id) {
            Some(held) => held.ours |= ours,
            None => self.clusters.push(Held { id: id.to_owned(), ours }),
        }
    }
}

pub(crate) type SharedBook = Arc<Mutex<Book>>;

pub(crate) fn locked(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request that creates a cluster, or may.
pub(crate) enum Creation {
    Legacy(ClusterOptions, oneshot::Sender<Result<Created>>),
    Reset(ClusterOptions, oneshot::Sender<Result<()>>),
    Public(Resource, ClusterOptions, oneshot::Sender<Result<DaskCluster>>),
    Replace(String, ClusterOptions, oneshot::Sender<Result<DaskCluster>>),
    Start(String, oneshot::Sender<Result<DaskCluster>>),
}

pub(crate) enum Order {
    Create(Creation),
    Deadline(Option<Instant>),
    Close(Box<dyn FnOnce(Result<Ended>) + Send>),
    Forget,
}

/// Closes clusters when a deadline passes, and those that are not kept when it is dropped, unless it is told to forget
/// them.
///
/// It has a thread of its own, which waits without cost: so that it works while a runtime shuts down, during a panic, and
/// when every task of the program hangs. Requests that create clusters are sent by the same thread: nothing can get lost
/// between the server's answer and the guard.
#[derive(Debug)]
pub(crate) struct Guard {
    orders: mpsc::Sender<Order>,
    book: SharedBook,
    request_timeout: Duration,
    /// Nothing is to be done any more when this is dropped.
    released: AtomicBool,
}

impl Guard {
    /// A guard that knows no cluster yet.
    pub(crate) fn new(
        settings: Settings,
        surface: Surface,
        keep: Option<bool>,
        deadline: Option<Instant>,
    ) -> Result<Self> {
        let (orders, inbox) = mpsc::channel();
        let limited = deadline.is_some();
        let book = SharedBook::new(Mutex::new(Book { keep, limited, ..Book::default() }));
        let request_timeout = settings.request_timeout();
        let shared = Arc::clone(&book);
        std::thread::Builder::new()
            .name("saturn-cloud-guard".to_owned())
            .spawn(move || keeper::run(settings, surface, shared, &inbox, deadline))
            .map_err(|source| Error::Io { what: "start the thread that closes the cluster", source })?;
        Ok(Self { orders, book, request_timeout, released: AtomicBool::new(false) })
    }

    /// A guard of a cluster that exists.
    pub(crate) fn holding(
        settings: Settings,
        surface: Surface,
        id: &str,
        deadline: Option<Instant>,
    ) -> Result<Self> {
        // The deadline comes last, so that there is something to close when it does.
        let guard = Self::new(settings, surface, Some(false), None)?;
        guard.note(id, true);
        guard.set_deadline(deadline);
        Ok(guard)
    }

    fn order(&self, order: Order) -> bool {
        self.orders.send(order).is_ok()
    }

    async fn create<T>(
        &self,
        creation: impl FnOnce(oneshot::Sender<Result<T>>) -> Creation,
    ) -> Option<Result<T>> {
        let (sender, answer) = oneshot::channel();
        self.order(Order::Create(creation(sender)));
        answer.await.ok()
    }

    /// dask-saturn's request to create a cluster, or to ask how far it is. `None` if the guard's time is up.
    pub(crate) async fn legacy(&self, options: &ClusterOptions) -> Option<Result<Created>> {
        self.create(|sender| Creation::Legacy(options.clone(), sender)).await
    }

    /// dask-saturn's request to destroy the cluster and to create another.
    pub(crate) async fn reset(&self, options: &ClusterOptions) -> Option<Result<()>> {
        self.create(|sender| Creation::Reset(options.clone(), sender)).await
    }

    /// A new cluster for a resource.
    pub(crate) async fn public(
        &self,
        resource: Resource,
        options: &ClusterOptions,
    ) -> Option<Result<DaskCluster>> {
        self.create(|sender| Creation::Public(resource, options.clone(), sender)).await
    }

    /// Another cluster for the same resource instead of this one, which is destroyed.
    pub(crate) async fn replace(&self, id: &str, options: &ClusterOptions) -> Option<Result<DaskCluster>> {
        self.create(|sender| Creation::Replace(id.to_owned(), options.clone(), sender)).await
    }

    /// Starts a cluster that is stopped.
    pub(crate) async fn start(&self, id: &str) -> Option<Result<DaskCluster>> {
        self.create(|sender| Creation::Start(id.to_owned(), sender)).await
    }

    /// Takes note of a cluster.
    pub(crate) fn note(&self, id: &str, ours: bool) {
        locked(&self.book).note(id, ours);
    }

    /// Treats clusters that were found running as if they had been started here.
    pub(crate) fn adopt(&self) {
        locked(&self.book).clusters.iter_mut().for_each(|held| held.ours = true);
    }

    /// The id of the newest cluster.
    pub(crate) fn newest(&self) -> Option<String> {
        locked(&self.book).clusters.last().map(|held| held.id.clone())
    }

    /// Whether the newest cluster is closed when this is dropped.
    pub(crate) fn closes(&self) -> bool {
        let book = locked(&self.book);
        book.clusters.last().map_or(book.keep != Some(true), |held| book.closes(held))
    }

    /// Whether a cluster was closed by this.
    pub(crate) fn has_closed(&self, id: &str) -> bool {
        locked(&self.book).closed.iter().any(|closed| closed == id)
    }

    /// Whether clusters go on when they are let go of, from now on.
    pub(crate) fn set_keep(&self, keep: Option<bool>) {
        locked(&self.book).keep = keep;
    }

    /// Whether there is a deadline, at which clusters are closed even if they are kept.
    pub(crate) fn is_limited(&self) -> bool {
        locked(&self.book).limited
    }

    /// Replaces the deadline.
    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) {
        locked(&self.book).limited = deadline.is_some();
        self.order(Order::Deadline(deadline));
    }

    /// Lets every cluster go on for good.
    pub(crate) fn forget(&self) {
        self.released.store(true, Ordering::Release);
        self.order(Order::Forget);
    }

    /// Closes what is to be closed, now, and waits for it. After a failure the thread goes on trying.
    pub(crate) async fn close(&self) -> Result<Ended> {
        self.released.store(true, Ordering::Release);
        let (sender, outcome) = oneshot::channel();
        self.order(Order::Close(Box::new(move |ended| drop(sender.send(ended)))));
        match outcome.await {
            Ok(outcome) => outcome,
            Err(_) => self.ended(),
        }
    }

    /// What became of the clusters when the thread has ended.
    fn ended(&self) -> Result<Ended> {
        locked(&self.book).outcome()
    }

    /// How long closing may take while the server does not answer.
    fn patience(&self) -> Duration {
        let book = locked(&self.book);
        let count = u32::try_from(book.clusters.len()).unwrap_or(u32::MAX).max(1);
        let mut requests = TRIES.saturating_mul(count);
        if book.busy {
            requests = requests.saturating_add(1);
        }
        if book.busy || book.uncertain.is_some() {
            requests = requests.saturating_add(TRIES);
        }
        self.request_timeout.saturating_add(Duration::from_secs(2)).saturating_mul(requests)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if *self.released.get_mut() {
            return;
        }
        let (sender, outcome) = mpsc::sync_channel(1);
        self.order(Order::Close(Box::new(move |ended| drop(sender.send(ended)))));
        let limit = self.patience();
        // The program may end right after this, and the thread with it.
        let ended = match outcome.recv_timeout(limit) {
            Ok(ended) => ended,
            Err(mpsc::RecvTimeoutError::Disconnected) => self.ended(),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let clusters = format!("{:?}", locked(&self.book).clusters);
                Err(Error::RequestTimeout { url: format!("closing {clusters}"), after: limit })
            }
        };
        match ended {
            Ok(ended) if !ended.left.is_empty() => {
                tracing::warn!(clusters = ?ended.left, "left running, as asked for; they cost until they are closed");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "a cluster may still be running, and cost"),
        }
    }
}

/// A handle on the API for a thread whose runtime sleeps between requests: connections are not kept.
pub(crate) fn api(settings: &Settings) -> Result<Saturn> {
    Saturn::without_pool(settings.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_to_be_closed_that_was_not() {
        let mut book = Book::default();
        assert_eq!(book.outcome().unwrap(), Ended::default());
        book.note("found", false);
        assert_eq!(book.outcome().unwrap().left, ["found"]);
        book.note("made", true);
        // What is ours stays ours.
        book.note("made", false);
        let error = book.outcome().unwrap_err();
        assert!(matches!(&error, Error::NotClosed { id, .. } if id == "made"), "{error}");
        book.keep = Some(true);
        assert_eq!(book.outcome().unwrap().left, ["found", "made"]);
        // When the time is up, nothing is kept.
        book.due = true;
        assert!(matches!(book.outcome(), Err(Error::NotClosed { .. })));
        book.due = false;
        let ended = Ended { closed: vec!["made".to_owned()], left: Vec::new() };
        book.ended = Some(ended.clone());
        assert_eq!(book.outcome().unwrap(), ended);
    }
}
