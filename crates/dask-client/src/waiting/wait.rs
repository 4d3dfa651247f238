//! Waiting for one task: every wait can have a deadline, and dropping one loses nothing.

use std::future::Future as StdFuture;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use dask_wire::exception::PythonError;
use dask_wire::session::KeyState;
use dask_wire::{FromPython, Key};
use futures::future::BoxFuture;
use tracing::Instrument;

use crate::client::{Client, Shared};
use crate::error::{Error, Result};
use crate::waiting::limit::Limit;
use crate::waiting::watch::Watch;
use crate::work::call::Call;
use crate::work::future::Future;
use crate::work::submit::Room;

/// Waits until a task is finished. Made by [`Future::finished`].
#[must_use = "futures do nothing unless awaited"]
pub struct Finished<'a> {
    shared: &'a Shared,
    key: &'a Key,
    watch: Option<Watch>,
    span: Option<tracing::Span>,
}

impl std::fmt::Debug for Finished<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Finished({})", self.key)
    }
}

impl<'a> Finished<'a> {
    pub(crate) fn new(shared: &'a Shared, key: &'a Key) -> Self {
        Self { shared, key, watch: None, span: None }
    }

    /// Gives up after this time, with the reason why the task is not done. The task goes on for as long as its future
    /// is held.
    pub fn deadline(self, deadline: Duration) -> BoxFuture<'a, Result<()>> {
        let (shared, key) = (self.shared, self.key);
        Box::pin(async move { within(shared, Some(Limit::new(deadline)), key, self).await })
    }
}

impl StdFuture for Finished<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let (shared, key) = (self.shared, self.key);
        let span = self.span.get_or_insert_with(|| tracing::debug_span!("dask.wait", %key)).clone();
        let _entered = span.enter();
        loop {
            if !shared.session.look(|session| session.state(key).is_some_and(KeyState::is_pending)) {
                return Poll::Ready(shared.outcome(key).map(drop));
            }
            match &self.watch {
                // A wake may be for an outcome that is open again by now.
                Some(watch) => match watch.poll_changed(cx) {
                    Poll::Ready(_) => watch.add(&shared.session, [(0, key)]),
                    Poll::Pending => return Poll::Pending,
                },
                None => self.watch.insert(Watch::default()).add(&shared.session, [(0, key)]),
            }
        }
    }
}

/// Waits until a task is done and gives its exception. Made by [`Future::exception`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct ExceptionFuture<'a> {
    finished: Finished<'a>,
    deadline: Option<Duration>,
}

impl<'a> ExceptionFuture<'a> {
    pub(crate) fn new(finished: Finished<'a>) -> Self {
        Self { finished, deadline: None }
    }

    /// Gives up after this time, with the reason why the task is not done ([`Error::diagnosis`]).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl<'a> IntoFuture for ExceptionFuture<'a> {
    type Output = Result<Option<PythonError>>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { finished, deadline } = self;
        Box::pin(async move {
            let (shared, key) = (finished.shared, finished.key);
            match within(shared, deadline.map(Limit::new), key, finished).await {
                Ok(()) => Ok(None),
                Err(error) => error.python().cloned().map(Some).ok_or(error),
            }
        })
    }
}

/// Waits for a result and fetches it. Made by [`Future::result`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct ResultFuture<'a, R> {
    future: &'a Future<R>,
    deadline: Option<Duration>,
}

impl<'a, R> ResultFuture<'a, R> {
    pub(crate) fn new(future: &'a Future<R>) -> Self {
        Self { future, deadline: None }
    }

    /// Gives up after this time, with the reason why there is no result yet ([`Error::diagnosis`]). The task goes on for
    /// as long as its future is held.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl<'a, R: FromPython + Send + 'a> IntoFuture for ResultFuture<'a, R> {
    type Output = Result<R>;
    type IntoFuture = BoxFuture<'a, Result<R>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { future, deadline } = self;
        Box::pin(async move {
            let client = future.client();
            let key = future.key();
            let limit = deadline.map(Limit::new);
            let result = within(client.shared(), limit, key, client.fetch_one(key)).await?;
            read(key, result)
        })
    }
}

/// A result as the type that was asked for.
pub(crate) fn read<R: FromPython>(
    key: &Key,
    result: std::sync::Arc<dask_wire::family::Decoded>,
) -> Result<R> {
    R::from_python(result).map_err(|error| Error::decode(format_args!("the result of {key}"), error))
}

/// Submits a call and waits for its result. Made by [`Client::call`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct CallFuture<'a, R> {
    client: &'a Client,
    call: Call,
    deadline: Option<Duration>,
    result: PhantomData<fn() -> R>,
}

impl<'a, R> CallFuture<'a, R> {
    pub(crate) fn new(client: &'a Client, call: Call) -> Self {
        Self { client, call, deadline: None, result: PhantomData }
    }

    #[cfg(feature = "arrow")]
    pub(crate) fn into_parts(self) -> (&'a Client, Call, Option<Duration>) {
        (self.client, self.call, self.deadline)
    }

    /// Ends within this time, either with the result or with the reason why there is none ([`Error::diagnosis`]). The task
    /// is then released.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl<'a, R: FromPython + Send + 'a> IntoFuture for CallFuture<'a, R> {
    type Output = Result<R>;
    type IntoFuture = BoxFuture<'a, Result<R>>;

    fn into_future(self) -> Self::IntoFuture {
        let span = tracing::debug_span!("dask.call", key = tracing::field::Empty);
        let inside = span.clone();
        let work = async move {
            let Self { client, call, deadline, .. } = self;
            let limit = deadline.map(Limit::new);
            let room = if limit.is_some() { Room::Patient } else { Room::AsSet };
            // Also submitting may have to wait: for the scheduler, or for room among outstanding tasks.
            let future: Future<R> =
                Limit::submitting(limit, client.shared(), client.submit_call(call, room)).await?;
            let key = future.key();
            inside.record("key", tracing::field::display(key));
            let result = within(client.shared(), limit, key, client.fetch_one(key)).await?;
            read(key, result)
        };
        Box::pin(work.instrument(span))
    }
}

/// Does work that waits for `key`, within a deadline. When that passes the cluster is asked why, briefly; a result that
/// arrives meanwhile is still taken.
pub(crate) async fn within<T>(
    shared: &Shared,
    limit: Option<Limit>,
    key: &Key,
    work: impl StdFuture<Output = Result<T>>,
) -> Result<T> {
    let Some(limit) = limit else { return work.await };
    let mut work = std::pin::pin!(work);
    match tokio::time::timeout_at(limit.until(), &mut work).await {
        Ok(outcome) => outcome,
        Err(_) => tokio::select! {
            biased;
            outcome = &mut work => outcome,
            error = shared.timed_out(key, limit.after()) => Err(error),
        },
    }
}
