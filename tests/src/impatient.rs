//! Futures that are dropped before they are done, at every await in turn.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use dask_client::{Client, py};

use crate::PATIENCE;

/// So many polls no call of these tests takes. One that does would never be seen to its end.
const POLLS: usize = 400;

/// What some work gives, which must not take too long.
///
/// # Panics
/// It does.
pub async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(value) => value,
        Err(_) => panic!("{what} hangs"),
    }
}

/// Polls a future so many times, then drops it.
#[derive(Debug)]
pub struct Impatient<F> {
    inner: Pin<Box<F>>,
    polls: usize,
}

impl<F> Impatient<F> {
    /// A future to be polled so many times.
    pub fn new(inner: F, polls: usize) -> Self {
        Self { inner: Box::pin(inner), polls }
    }
}

impl<F: Future> Future for Impatient<F> {
    /// What came out, if that was in time.
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        match self.inner.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // The last poll is over, and there will be no other.
            Poll::Pending if self.polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Drops what `make` gives after 0, 1, 2, … polls, until it is done in time and well; after each the session must still
/// work. Gives what came out at last.
///
/// # Panics
/// The session does not work any more, the work fails, or it is not done within any number of polls that was tried.
pub async fn drop_at_every_await<T, E: Display, F: IntoFuture<Output = Result<T, E>>>(
    what: &str,
    client: &Client,
    make: impl FnMut() -> F,
) -> T {
    let still_works = async |polls: usize| {
        let call = client.call::<i64>(py("operator:add").args((polls, 1)));
        let session = format!("the session, after {what} was dropped at poll {polls},");
        let sum = patiently(&session, call.into_future()).await;
        let sum = sum.unwrap_or_else(|error| panic!("after {what} dropped at poll {polls}: {error}"));
        assert_eq!(sum, polls as i64 + 1);
    };
    drop_at_every_await_and(what, make, still_works).await
}

/// As [`drop_at_every_await`], with another look after each.
///
/// # Panics
/// As [`drop_at_every_await`].
pub async fn drop_at_every_await_and<T, E: Display, F: IntoFuture<Output = Result<T, E>>>(
    what: &str,
    mut make: impl FnMut() -> F,
    mut look: impl AsyncFnMut(usize),
) -> T {
    for polls in 0..POLLS {
        let outcome = patiently(what, Impatient::new(make().into_future(), polls)).await;
        look(polls).await;
        match outcome {
            Some(Ok(value)) => return value,
            // What was dropped before may not keep the next from its end.
            Some(Err(error)) => panic!("{what} after {polls} drops: {error}"),
            None => (),
        }
    }
    panic!("{what} is not done within {POLLS} polls");
}
