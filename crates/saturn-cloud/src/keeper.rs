//! The thread of a guard: it sends the requests that create clusters, and closes what they have made.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::api::Saturn;
use crate::api::legacy::Created;
use crate::api::public::{DaskCluster, Resource};
use crate::error::{Error, Result};
use crate::guard::{Creation, Ended, Held, Order, SharedBook, Uncertain, api, locked};
use crate::options::ClusterOptions;
use crate::settings::Settings;
use crate::surface::Surface;

/// How often closing is tried in a row while the server does not answer.
pub(crate) const TRIES: u32 = 3;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);
/// Pauses between such rows; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long it is tried further when nobody holds the guard any more.
const AFTERWARDS: Duration = Duration::from_secs(3600);

struct Keeper {
    saturn: Saturn,
    surface: Surface,
    book: SharedBook,
}

/// Why the clusters could not be closed.
struct Failure {
    error: Error,
    /// Whether trying again may help.
    again: bool,
}

/// The life of the thread.
pub(crate) fn run(
    settings: Settings,
    surface: Surface,
    book: SharedBook,
    inbox: &Receiver<Order>,
    mut deadline: Option<Instant>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => {
            return refuse(inbox, || Error::Io {
                what: "start a runtime to close the cluster in",
                source: std::io::Error::new(source.kind(), source.to_string()),
            });
        }
    };
    let saturn = match api(&settings) {
        Ok(saturn) => saturn,
        Err(error) => {
            let reason = error.to_string();
            return refuse(inbox, || Error::Crypto { what: "set up HTTPS", reason: reason.clone() });
        }
    };
    let mut keeper = Keeper { saturn, surface, book };
    let (mut pause, mut over, mut abandoned) = (FIRST_PAUSE, false, None);
    loop {
        let order = match (deadline, abandoned) {
            (None, _) => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            (Some(at), None) => inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
            (Some(at), Some(_)) => {
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                Err(RecvTimeoutError::Timeout)
            }
        };
        let mut tell: Option<Box<dyn FnOnce(Result<Ended>) + Send>> = None;
        match order {
            // Whoever asks after the time is up would start another cluster.
            Ok(Order::Create(_)) if over => continue,
            Ok(Order::Create(creation)) => {
                locked(&keeper.book).busy = true;
                runtime.block_on(keeper.create(creation));
                locked(&keeper.book).busy = false;
                continue;
            }
            Ok(Order::Deadline(changed)) => {
                deadline = changed;
                continue;
            }
            Ok(Order::Forget) => return,
            Ok(Order::Close(reply)) => tell = Some(reply),
            Err(RecvTimeoutError::Timeout) => {
                if !over {
                    tracing::warn!("the cluster's time is up; closing it");
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                // It was closed without success, and nobody is left to try again.
                let since = *abandoned.get_or_insert_with(Instant::now);
                if deadline.is_none() || since.elapsed() > AFTERWARDS {
                    return;
                }
                continue;
            }
        }
        // Whoever gives up because the time is up may come first.
        if !over && deadline.is_some_and(|at| at <= Instant::now()) {
            locked(&keeper.book).due = true;
        }
        let (outcome, again) = match runtime.block_on(keeper.close()) {
            Ok(ended) => {
                locked(&keeper.book).ended = Some(ended.clone());
                (Ok(ended), false)
            }
            Err(Failure { error, again }) => {
                tracing::error!(%error, "a cluster could not be closed and may cost");
                (Err(error), again)
            }
        };
        if let Some(tell) = tell {
            tell(outcome);
        }
        if !again {
            return;
        }
        over = true;
        deadline = Some(Instant::now() + pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
        if abandoned.is_some_and(|since: Instant| since.elapsed() > AFTERWARDS) {
            return;
        }
    }
}

/// Answers orders by an error until nobody gives any.
fn refuse(inbox: &Receiver<Order>, error: impl Fn() -> Error) {
    while let Ok(order) = inbox.recv() {
        match order {
            Order::Create(Creation::Legacy(_, reply)) => drop(reply.send(Err(error()))),
            Order::Create(Creation::Reset(_, reply)) => drop(reply.send(Err(error()))),
            Order::Create(
                Creation::Public(_, _, reply) | Creation::Replace(_, _, reply) | Creation::Start(_, reply),
            ) => drop(reply.send(Err(error()))),
            Order::Close(reply) => reply(Err(error())),
            Order::Deadline(_) => {}
            Order::Forget => return,
        }
    }
}

impl Keeper {
    async fn create(&mut self, creation: Creation) {
        // Whoever has asked may be gone: what was made stands in the book.
        match creation {
            Creation::Legacy(options, reply) => drop(reply.send(self.legacy(options).await)),
            Creation::Reset(options, reply) => drop(reply.send(self.reset(options).await)),
            Creation::Public(resource, options, reply) => {
                drop(reply.send(self.public(resource, &options).await));
            }
            Creation::Replace(id, options, reply) => drop(reply.send(self.replace(&id, &options).await)),
            Creation::Start(id, reply) => drop(reply.send(self.start(&id).await)),
        }
    }

    async fn legacy(&self, options: ClusterOptions) -> Result<Created> {
        let outcome = self.surface.legacy(&self.saturn).create(&options).await;
        let mut book = locked(&self.book);
        match &outcome {
            Ok(Created { id: Some(id), status, .. }) => {
                // A cluster that is ready at the first question was there before.
                let ours = book.destroyed || book.answered || !status.is_ready();
                book.note(id, ours);
                book.answered = true;
                book.uncertain = None;
            }
            // It exists, and the server keeps its id to itself for now.
            Ok(_) => {
                book.answered = true;
                book.uncertain = Some(Uncertain::Ask(options));
            }
            // About a cluster that is known this is a question, and no more.
            Err(error) if error.may_have_acted() && book.clusters.is_empty() => {
                book.uncertain = Some(Uncertain::Ask(options));
            }
            Err(_) => {}
        }
        drop(book);
        outcome
    }

    async fn reset(&self, options: ClusterOptions) -> Result<()> {
        let outcome = self.surface.legacy(&self.saturn).reset(&options).await;
        let mut book = locked(&self.book);
        let id = match outcome {
            Ok(id) => id,
            Err(error) => {
                if error.may_have_acted() {
                    book.destroyed = true;
                    book.uncertain = Some(Uncertain::Ask(options));
                }
                return Err(error);
            }
        };
        book.clusters.clear();
        book.destroyed = true;
        match id {
            Some(id) => book.note(&id, true),
            None => book.uncertain = Some(Uncertain::Ask(options)),
        }
        drop(book);
        Ok(())
    }

    async fn public(&self, resource: Resource, options: &ClusterOptions) -> Result<DaskCluster> {
        let outcome = self.saturn.public().create(&resource, options).await;
        let mut book = locked(&self.book);
        match &outcome {
            Ok(made) => book.note(&made.id, true),
            Err(error) if error.may_have_acted() => book.uncertain = Some(Uncertain::List(resource)),
            Err(_) => {}
        }
        drop(book);
        outcome
    }

    async fn replace(&self, id: &str, options: &ClusterOptions) -> Result<DaskCluster> {
        let resource = self.saturn.public().get(id).await?.resource().ok_or_else(|| {
            let reason = "the server does not say to which resource the cluster belongs".to_owned();
            Error::BadReply { url: format!("the description of cluster {id}"), reason }
        })?;
        match self.saturn.public().delete(id, true).await {
            // It is gone already.
            Ok(()) | Err(Error::UnknownCluster { .. }) => {}
            Err(error) => return Err(error),
        }
        locked(&self.book).clusters.retain(|held| held.id != id);
        self.public(resource, options).await
    }

    async fn start(&self, id: &str) -> Result<DaskCluster> {
        let outcome = self.saturn.public().start(id).await;
        let acted = outcome.as_ref().map_or_else(Error::may_have_acted, |_| true);
        if acted {
            locked(&self.book).note(id, true);
        }
        outcome
    }

    /// Closes every cluster that is to be closed.
    async fn close(&self) -> Result<Ended, Failure> {
        let unknown = self.find_out().await;
        let clusters = locked(&self.book).clusters.clone();
        let (mut left, mut failed) = (Vec::new(), None);
        for held in clusters {
            let closes = locked(&self.book).closes(&held);
            let Held { id, .. } = held;
            if !closes {
                left.push(id);
                continue;
            }
            match persist(|| self.surface.close(&self.saturn, &id)).await {
                Ok(()) => {
                    tracing::info!(cluster = id, "the cluster is closed");
                    let mut book = locked(&self.book);
                    book.clusters.retain(|held| held.id != id);
                    book.closed.push(id);
                }
                Err(source) => failed = Some(Error::NotClosed { id, source: Box::new(source) }),
            }
        }
        match (failed, unknown) {
            (Some(error), _) => Err(Failure { error, again: true }),
            (None, Some(failure)) => Err(failure),
            (None, None) => Ok(Ended { closed: locked(&self.book).closed.clone(), left }),
        }
    }

    /// Finds out what a request without an answer has made; what remains unknown is the failure.
    async fn find_out(&self) -> Option<Failure> {
        let uncertain = locked(&self.book).uncertain.clone()?;
        match uncertain {
            Uncertain::Ask(options) => {
                let outcome = persist(|| async {
                    match self.legacy(options.clone()).await {
                        Ok(Created { id: None, .. }) => Err(Error::Server {
                            url: "the request for the cluster's id".to_owned(),
                            status: 503,
                            message: "the server does not tell it yet".to_owned(),
                        }),
                        outcome => outcome,
                    }
                });
                let error = outcome.await.err()?;
                let again = error.is_transient();
                Some(Failure {
                    error: Error::MaybeCreated { found: Vec::new(), source: Box::new(error) },
                    again,
                })
            }
            Uncertain::List(resource) => {
                // Which of them it is, if any, only their owner can tell.
                let (found, source) = match persist(|| async { self.saturn.public().list().await }).await {
                    Ok(list) => {
                        let of_resource =
                            list.into_iter().filter(|one| one.resource().as_ref() == Some(&resource));
                        let found = of_resource.filter(|one| one.status.may_exist()).map(|one| one.id);
                        (found.collect(), None)
                    }
                    Err(error) => (Vec::new(), Some(error)),
                };
                let (kind, id) = resource.parts();
                let source = source.unwrap_or_else(|| Error::NoAnswer {
                    url: format!("the request to create a cluster for {kind} {id}"),
                    reason: "its answer did not come".to_owned(),
                });
                Some(Failure { error: Error::MaybeCreated { found, source: Box::new(source) }, again: false })
            }
        }
    }
}

/// Tries again a few times while the server does not answer.
async fn persist<T, F: Future<Output = Result<T>>>(attempt: impl Fn() -> F) -> Result<T> {
    let mut tries = 0;
    loop {
        tries += 1;
        match attempt().await {
            Err(error) if error.is_transient() && tries < TRIES => tokio::time::sleep(BETWEEN_TRIES).await,
            outcome => return outcome,
        }
    }
}
