//! Waiting for several tasks.

use std::time::Duration;

use dask_wire::Key;
use dask_wire::session::KeyState;
use futures::future::BoxFuture;
use tracing::Instrument;

use crate::client::{Client, Shared};
use crate::error::{Error, Result};
use crate::session::trace::about_keys;
use crate::waiting::watch::Watch;
use crate::work::future::Future;

impl Client {
    /// Waits for tasks without fetching their results: for all of them, or (with [`Wait::first`]) for any. Asks nothing: the
    /// scheduler tells by itself, every release. Python's `wait`.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example(client: dask_client::Client, futures: Vec<dask_client::Future<i64>>) -> dask_client::Result<()> {
    /// let waited = client.wait(&futures).deadline(Duration::from_secs(10)).await?;
    /// if let Some(why) = &waited.timeout {
    ///     println!("{} of {} are done; {why}", waited.done.len(), futures.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait<'a, R>(&'a self, futures: &'a [Future<R>]) -> Wait<'a, R> {
        Wait { client: self, futures, first: false, deadline: None }
    }
}

/// Waits for several tasks. Made by [`Client::wait`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Wait<'a, R> {
    client: &'a Client,
    futures: &'a [Future<R>],
    first: bool,
    deadline: Option<Duration>,
}

/// How a wait for several tasks ended. What is done may have failed: ask each future.
#[derive(Debug)]
#[non_exhaustive]
pub struct Waited<'a, R> {
    /// Those with an outcome, good or bad, in the order they were given.
    pub done: Vec<&'a Future<R>>,
    /// Those whose outcome is open.
    pub not_done: Vec<&'a Future<R>>,
    /// If the deadline passed first: that, and why the first one of `not_done` is not done.
    pub timeout: Option<Error>,
}

impl<R> Wait<'_, R> {
    /// Until every task has an outcome. The default.
    pub fn all(mut self) -> Self {
        self.first = false;
        self
    }

    /// Until one task has an outcome, at least.
    pub fn first(mut self) -> Self {
        self.first = true;
        self
    }

    /// Gives up after this time, with the reason why ([`Waited::timeout`]).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl<'a, R: 'a> IntoFuture for Wait<'a, R> {
    type Output = Result<Waited<'a, R>>;
    type IntoFuture = BoxFuture<'a, Result<Waited<'a, R>>>;

    /// # Errors
    /// The client was closed while it waited, or one of the futures is another client's.
    fn into_future(self) -> Self::IntoFuture {
        let Self { client, futures, first, deadline } = self;
        let shared = client.shared();
        let keys: Vec<&Key> = futures.iter().map(Future::key).collect();
        // `Future<R>` is a handle, so that waiting for it needs nothing of `R`.
        let span = about_keys!("dask.wait", keys);
        let wait = wait_for(shared, keys, first, deadline).instrument(span);
        Box::pin(async move {
            shared.check_held(futures.iter().map(Future::key))?;
            let (open, timeout) = wait.await;
            if shared.is_closing() {
                return Err(Error::closed());
            }
            let mut waited = Waited { done: Vec::new(), not_done: Vec::new(), timeout };
            for (future, open) in futures.iter().zip(open) {
                if open { waited.not_done.push(future) } else { waited.done.push(future) }
            }
            Ok(waited)
        })
    }
}

/// Waits until all (or the first) of these have an outcome; says of each whether it is still open.
async fn wait_for(
    shared: &Shared,
    keys: Vec<&Key>,
    first: bool,
    deadline: Option<Duration>,
) -> (Vec<bool>, Option<Error>) {
    let done = all_or_first(shared, &keys, first);
    let timeout = match deadline {
        None => {
            done.await;
            None
        }
        Some(limit) if tokio::time::timeout(limit, done).await.is_err() => {
            let open = keys.iter().find(|key| shared.is_pending(key));
            match open {
                Some(key) => Some(shared.timed_out(key, limit).await),
                None => None,
            }
        }
        Some(_) => None,
    };
    (keys.iter().map(|key| shared.is_pending(key)).collect(), timeout)
}

/// Waits until all (or the first) of these keys have an outcome.
pub(crate) async fn all_or_first(shared: &Shared, keys: &[&Key], first: bool) {
    let watch = Watch::default();
    let numbered = keys.iter().enumerate().filter_map(|(at, key)| Some((u32::try_from(at).ok()?, *key)));
    watch.add(&shared.session, numbered);
    let mut open = keys.len();
    while open > 0 {
        for number in watch.changed().await {
            let Some(key) = usize::try_from(number).ok().and_then(|at| keys.get(at)) else { continue };
            if shared.is_pending(key) {
                watch.add(&shared.session, [(number, *key)]);
            } else {
                open -= 1;
            }
        }
        if first && open < keys.len() {
            return;
        }
    }
}

/// Waits until all of these keys are finished.
///
/// # Errors
/// One has failed: the first in their order of those that have by then. The others are not waited for.
pub(crate) async fn all_finished(shared: &Shared, keys: &[&Key]) -> Result<()> {
    let watch = Watch::default();
    let numbered = keys.iter().enumerate().filter_map(|(at, key)| Some((u32::try_from(at).ok()?, *key)));
    watch.add(&shared.session, numbered);
    let mut open = keys.len();
    while open > 0 {
        let mut changed = watch.changed().await;
        changed.sort_unstable();
        for number in changed {
            let Some(key) = usize::try_from(number).ok().and_then(|at| keys.get(at)) else { continue };
            match shared.outcome(key)? {
                true => open -= 1,
                false => watch.add(&shared.session, [(number, *key)]),
            }
        }
    }
    Ok(())
}

impl Shared {
    pub(crate) fn is_pending(&self, key: &Key) -> bool {
        self.session.look(|session| session.state(key).is_some_and(KeyState::is_pending))
    }
}
