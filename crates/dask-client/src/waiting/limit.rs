//! One deadline for something that takes several steps.

use std::future::Future as StdFuture;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::client::Shared;
use crate::error::Result;

/// A time so far away that it never comes: thirty years, as tokio has it.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The moment after this time. What is too long for the clock is long enough.
pub(crate) fn from_now(after: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(after).unwrap_or_else(|| now + FAR)
}

/// A deadline that has begun to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    after: Duration,
    until: Instant,
}

impl Limit {
    /// Runs from now on.
    pub(crate) fn new(after: Duration) -> Self {
        Self { after, until: from_now(after) }
    }

    /// All of it, as the caller gave it.
    pub(crate) fn after(&self) -> Duration {
        self.after
    }

    /// What is left of it, if anything.
    pub(crate) fn left(&self) -> Option<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// When it is over.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// The step of submitting, which may have to wait for the scheduler, or for room.
    pub(crate) async fn submitting<T>(
        limit: Option<Self>,
        shared: &Shared,
        work: impl StdFuture<Output = Result<T>>,
    ) -> Result<T> {
        let Some(limit) = limit else { return work.await };
        match timeout_at(limit.until, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(shared.not_submitted(limit.after)),
        }
    }
}
