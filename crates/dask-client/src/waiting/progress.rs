//! Progress: how many tasks stand where, as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use dask_wire::session::KeyState;
use futures::Stream;
use tokio::time::Sleep;

use crate::client::Client;
use crate::waiting::watch::Watch;
use crate::work::future::Future;

/// How many of some tasks stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// The outcome is open.
    pub pending: usize,
    /// The result lies on a worker.
    pub finished: usize,
    /// The task raised an exception.
    pub erred: usize,
    /// The task was cancelled.
    pub cancelled: usize,
    /// The result is gone.
    pub lost: usize,
}

impl Counts {
    /// All together.
    pub fn total(&self) -> usize {
        self.pending + self.done()
    }

    /// Those with an outcome, good or bad.
    pub fn done(&self) -> usize {
        self.finished + self.erred + self.cancelled + self.lost
    }

    fn of(&mut self, state: Standing) -> &mut usize {
        match state {
            Standing::Pending => &mut self.pending,
            Standing::Finished => &mut self.finished,
            Standing::Erred => &mut self.erred,
            Standing::Cancelled => &mut self.cancelled,
            Standing::Lost => &mut self.lost,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Pending,
    Finished,
    Erred,
    Cancelled,
    Lost,
}

impl Client {
    /// A stream of how many of these tasks stand where: at once, and whenever that changed. It ends after every task has an
    /// outcome, and sends nothing: the scheduler tells by itself.
    ///
    /// The stream holds the futures; one of another client counts as lost. Changes that come together count as one; see [`Progress::at_most_every`].
    pub fn progress<'f, R: 'f>(&self, futures: impl IntoIterator<Item = &'f Future<R>>) -> Progress<R> {
        Progress {
            client: self.clone(),
            tasks: futures.into_iter().map(|future| (future.clone(), Standing::Pending)).collect(),
            counts: None,
            last: None,
            watch: Watch::default(),
            pause: Duration::ZERO,
            sleep: None,
        }
    }
}

/// A stream of [`Counts`]. Made by [`Client::progress`].
#[must_use = "streams do nothing unless polled"]
pub struct Progress<R> {
    client: Client,
    tasks: Vec<(Future<R>, Standing)>,
    /// `None` until first polled.
    counts: Option<Counts>,
    /// What was given out last.
    last: Option<Counts>,
    watch: Watch,
    pause: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<R> std::fmt::Debug for Progress<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl<R> Progress<R> {
    /// Lets at least this time pass between two items, except before the last one. Default none.
    pub fn at_most_every(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// The next counts; `None` after the last.
    pub async fn next(&mut self) -> Option<Counts> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn look(&mut self, number: u32) {
        let Some((future, standing)) = usize::try_from(number).ok().and_then(|at| self.tasks.get_mut(at))
        else {
            return;
        };
        let session = &self.client.shared().session;
        let now = session.look(|session| match session.state(future.key()) {
            Some(KeyState::Pending) => Standing::Pending,
            Some(KeyState::Finished) => Standing::Finished,
            Some(KeyState::Erred(_)) => Standing::Erred,
            Some(KeyState::Cancelled { .. }) => Standing::Cancelled,
            _ => Standing::Lost,
        });
        if let Some(counts) = &mut self.counts {
            *counts.of(*standing) -= 1;
            *counts.of(now) += 1;
        }
        *standing = now;
        if now == Standing::Pending {
            self.watch.add(session, [(number, future.key())]);
        }
    }
}

impl<R> Unpin for Progress<R> {}

impl<R> Stream for Progress<R> {
    type Item = Counts;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Counts>> {
        let this = self.get_mut();
        if this.counts.is_none() {
            this.counts = Some(Counts { pending: this.tasks.len(), ..Counts::default() });
            let keys = this.tasks.iter().zip(0u32..).map(|((future, _), number)| (number, future.key()));
            this.watch.add(&this.client.shared().session, keys);
        }
        while let Poll::Ready(changed) = this.watch.poll_changed(cx) {
            changed.into_iter().for_each(|number| this.look(number));
        }
        let counts = this.counts.unwrap_or_default();
        if this.last == Some(counts) {
            return if counts.pending == 0 { Poll::Ready(None) } else { Poll::Pending };
        }
        if counts.pending > 0 {
            if let Some(sleep) = &mut this.sleep {
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.sleep = None;
            }
            if !this.pause.is_zero() {
                this.sleep = Some(Box::pin(tokio::time::sleep(this.pause)));
            }
        }
        this.last = Some(counts);
        Poll::Ready(Some(counts))
    }
}
