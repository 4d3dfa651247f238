//! Waiting for tasks: every wait can have a deadline, and dropping one loses nothing.

use std::future::Future as StdFuture;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use dask_wire::session::KeyState;
use dask_wire::{FromPython, Key};
use futures::future::BoxFuture;

use crate::call::Call;
use crate::client::{Client, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::future::Future;

/// Waits until a task is finished. Made by [`Future::finished`].
#[must_use = "futures do nothing unless awaited"]
pub struct Finished<'a> {
    shared: &'a Shared,
    key: &'a Key,
}

impl std::fmt::Debug for Finished<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Finished({})", self.key)
    }
}

impl<'a> Finished<'a> {
    pub(crate) fn new(shared: &'a Shared, key: &'a Key) -> Self {
        Self { shared, key }
    }
}

impl StdFuture for Finished<'_> {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        // Looking and registering under one lock, so that no change falls in between.
        let waker = cx.waker();
        let pending = self.shared.session.change(|session| {
            let pending = session.state(self.key).is_some_and(KeyState::is_pending);
            if pending {
                session.wait_once(self.key, |waiting| waiting.will_wake(waker), || waker.clone());
            }
            pending
        });
        if pending {
            return Poll::Pending;
        }
        Poll::Ready(self.shared.outcome(self.key).map(drop))
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

    /// Gives up after this time. The task goes on for as long as its future is held.
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
            within(deadline, future.key(), client.fetch_one(future.key())).await.and_then(|result| {
                R::from_python(result)
                    .map_err(|error| Error::decode(format_args!("the result of {}", future.key()), error))
            })
        })
    }
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

    /// Ends within this time, either with the result or with the reason why there is none. The task is then released.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl<'a, R: FromPython + Send + 'a> IntoFuture for CallFuture<'a, R> {
    type Output = Result<R>;
    type IntoFuture = BoxFuture<'a, Result<R>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let future: Future<R> = self.client.submit(self.call).await?;
            let result = future.result();
            match self.deadline {
                Some(deadline) => result.deadline(deadline).await,
                None => result.await,
            }
        })
    }
}

pub(crate) async fn within<T>(
    deadline: Option<Duration>,
    key: &Key,
    work: impl StdFuture<Output = Result<T>>,
) -> Result<T> {
    let Some(deadline) = deadline else { return work.await };
    match tokio::time::timeout(deadline, work).await {
        Ok(outcome) => outcome,
        Err(_) => {
            Err(Error::about(ErrorKind::Timeout, key, format!("task {key} has no result after {deadline:?}")))
        }
    }
}
