//! Submitting: checks, room, and the message to the scheduler.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use dask_wire::Key;
use dask_wire::graph::Submission;
use dask_wire::session::{KeyState, LostReason};
use tracing::Instrument;

use crate::client::{Client, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::work::future::Future;
use crate::work::graph::Graph;
use crate::work::remote::IntoCall;

/// How long a submission waits while there is no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// For as long as the settings say.
    AsSet,
    /// The caller limits it.
    Patient,
}

impl Client {
    /// Submits one call and gives a future of its result. Returns as soon as the message is queued. Python's
    /// `Client.submit`.
    ///
    /// Stream op `update-graph`, every release.
    ///
    /// Waits while there is no room ([`crate::ClientBuilder::max_outstanding`],
    /// [`crate::ClientBuilder::max_unsent_bytes`]) for as long as [`crate::ClientBuilder::room_timeout`] says.
    ///
    /// # Errors
    /// The call cannot be sent, refers to a key that this client does not hold, there is no room in time
    /// ([`ErrorKind::Overloaded`]), or the client is closed.
    pub async fn submit<R>(&self, call: impl IntoCall<R>) -> Result<Future<R>> {
        self.submit_call(call, Room::AsSet).await
    }

    pub(crate) async fn submit_call<R>(&self, call: impl IntoCall<R>, room: Room) -> Result<Future<R>> {
        let task = call.into_call().into_task(|name| self.shared().keys.key(name))?;
        let key = task.key.clone();
        self.shared().submit(Submission::new(vec![task], vec![key.clone()]), room).await?;
        Ok(Future::new(key, Arc::clone(&self.handle)))
    }

    /// Submits a graph and gives futures of the tasks with these keys, in their order. Python's `Client.get(sync=False)`.
    ///
    /// Stream op `update-graph`, every release.
    ///
    /// # Errors
    /// The graph cannot run or cannot be sent, or there is no room in time; then nothing of it is.
    pub async fn submit_graph<R>(
        &self,
        graph: Graph,
        outputs: impl IntoIterator<Item = Key>,
    ) -> Result<Vec<Future<R>>> {
        self.submit_graph_with(graph, outputs.into_iter().collect(), Room::AsSet).await
    }

    pub(crate) async fn submit_graph_with<R>(
        &self,
        graph: Graph,
        outputs: Vec<Key>,
        room: Room,
    ) -> Result<Vec<Future<R>>> {
        let mut seen = HashSet::new();
        let wanted: Vec<Key> = outputs.iter().filter(|key| seen.insert((*key).clone())).cloned().collect();
        let fifo_timeout = graph.fifo_timeout;
        let mut submission = Submission::new(graph.into_tasks()?, wanted);
        submission.fifo_timeout = fifo_timeout;
        self.shared().submit(submission, room).await?;
        let mut first = HashSet::new();
        let futures = outputs.into_iter().map(|key| {
            // The submission counts as one holder; an output named twice needs another.
            if !first.insert(key.clone()) {
                self.shared().session.change(|session| session.hold(&key));
            }
            Future::new(key, Arc::clone(&self.handle))
        });
        Ok(futures.collect())
    }
}

/// What there is no room in.
#[derive(Clone, Copy)]
enum Full {
    Outstanding { open: usize, most: usize },
    Unsent { bytes: usize, most: usize },
}

impl Full {
    fn error(self, after: Duration) -> Error {
        let what = match self {
            Full::Outstanding { open, most } => format!(
                "{open} tasks are open and {most} may be (max_outstanding); wait for some of them, or raise the limit"
            ),
            Full::Unsent { bytes, most } => format!(
                "{bytes} bytes wait for the scheduler to take them and {most} may (max_unsent_bytes); is the scheduler \
                 overloaded or stopped?"
            ),
        };
        Error::new(ErrorKind::Overloaded, format!("no room to submit for {after:?}: {what}"))
    }
}

impl Shared {
    /// Checks, encodes and queues a graph.
    pub(crate) async fn submit(self: &Arc<Self>, submission: Submission, room: Room) -> Result<()> {
        let span = tracing::debug_span!(
            "dask.submit",
            key = submission
                .wanted
                .first()
                .or(submission.tasks.first().map(|task| &task.key))
                .map(tracing::field::display),
            tasks = submission.tasks.len(),
        );
        self.submit_now(submission, room).instrument(span).await
    }

    async fn submit_now(self: &Arc<Self>, submission: Submission, patience: Room) -> Result<()> {
        let held = |key: &Key| self.session.look(|session| session.holds(key));
        submission.check(held)?;
        self.check_dependencies(&submission)?;
        submission.check_size(self.settings.max_graph_tasks, self.settings.max_graph_bytes)?;
        let submission = Arc::new(submission);
        let limit = self.settings.room_timeout.unwrap_or(self.settings.rpc_timeout);
        let mut encoded = None;
        loop {
            self.stream().await?;
            let dialect = self.dialect();
            // Waiting for room may outlast the scheduler, and the next one may be of another release.
            let message = match encoded.take() {
                Some((of, message)) if of == dialect => message,
                _ => dialect.submit(&submission)?,
            };
            self.check_open()?;
            let mut room = std::pin::pin!(self.session.room());
            room.as_mut().enable();
            let (back, full) = self.session.change(|session| {
                let full = self.full(session, submission.wanted.len(), &submission);
                if !session.is_connected() || full.is_some() {
                    return (Some(message), full.filter(|_| session.is_connected()));
                }
                session.submit_encoded(message, Arc::clone(&submission));
                (None, None)
            });
            match back {
                None => return Ok(()),
                Some(message) => encoded = Some((dialect, message)),
            }
            match full {
                Some(_) if patience == Room::Patient => room.await,
                // Anew whenever there was some progress.
                Some(full) => {
                    tokio::time::timeout(limit, room).await.map_err(|_| full.error(limit))?;
                }
                // The stream broke just now; its task is about to say so.
                None => tokio::task::yield_now().await,
            }
        }
    }

    /// Whether there is no room for so many more wanted keys, or for this message. What needs more than there can be goes
    /// when nothing else is there.
    fn full<W>(
        &self,
        session: &dask_wire::session::Session<W>,
        wanted: usize,
        submission: &Submission,
    ) -> Option<Full> {
        let open = session.pending();
        if let Some(most) = self.settings.max_outstanding
            && open > 0
            && open.saturating_add(wanted) > most
        {
            return Some(Full::Outstanding { open, most });
        }
        let (bytes, most) = (session.unsent(), self.settings.max_unsent_bytes);
        let full = bytes > 0 && bytes.saturating_add(submission.size()) > most;
        full.then_some(Full::Unsent { bytes, most })
    }

    /// The error of a submission that a deadline ended.
    pub(crate) fn not_submitted(&self, after: Duration) -> Error {
        if !self.life.is_connected() {
            return Error::timeout(format_args!("{} at {}", self.life.doing(), self.address), after);
        }
        let full = self.session.look(|session| {
            let most = self.settings.max_outstanding.unwrap_or(usize::MAX);
            match session.pending() {
                open if open >= most => Full::Outstanding { open, most },
                _ => Full::Unsent { bytes: session.unsent(), most: self.settings.max_unsent_bytes },
            }
        });
        full.error(after)
    }

    /// An error if a task takes what this client knows to be gone. Releases say that in different ways, or late.
    fn check_dependencies(&self, submission: &Submission) -> Result<()> {
        self.session.look(|session| {
            let here: HashSet<&Key> = submission.tasks.iter().map(|task| &task.key).collect();
            for task in &submission.tasks {
                for needs in task.dependencies() {
                    if here.contains(&needs) {
                        continue;
                    }
                    match session.state(&needs) {
                        Some(KeyState::Cancelled { .. }) => {
                            return Err(Error::lost_dependency(&task.key, &needs, "that was cancelled"));
                        }
                        Some(KeyState::Lost(reason)) if *reason != LostReason::Closed => {
                            return Err(Error::lost_dependency(&task.key, &needs, reason));
                        }
                        _ => {}
                    }
                }
            }
            Ok(())
        })
    }
}
