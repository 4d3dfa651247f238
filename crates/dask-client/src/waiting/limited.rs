//! Calls that may be given a limit of their own.

use std::fmt;
use std::future::Future as StdFuture;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::net::address::Address;

type Work<'c, T> = Box<dyn FnOnce(Duration) -> BoxFuture<'c, Result<T>> + Send + 'c>;

/// A call that may be given a limit of its own. Nothing is sent before it is awaited.
///
/// ```no_run
/// # async fn example(client: dask_client::Client) -> dask_client::Result<()> {
/// use std::time::Duration;
///
/// // Moving what they hold takes its time.
/// let retired = client.retire_workers(["tcp://10.0.23.16:43141"]).deadline(Duration::from_secs(600)).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens unless it is awaited"]
pub struct Limited<'c, T> {
    scheduler: Address,
    /// What every request may take.
    default: Duration,
    what: &'static str,
    deadline: Option<Duration>,
    work: Work<'c, T>,
}

impl<'c, T> Limited<'c, T> {
    /// `work` is given the time that each of its requests may take.
    pub(crate) fn new<F: StdFuture<Output = Result<T>> + Send + 'c>(
        client: &Client,
        what: &'static str,
        work: impl FnOnce(Duration) -> F + Send + 'c,
    ) -> Self {
        Self {
            scheduler: client.address().clone(),
            default: client.shared().settings.rpc_timeout,
            what,
            deadline: None,
            work: Box::new(|each| work(each).boxed()),
        }
    }

    /// Gives up when all of it takes longer than this, be that more or less than one request may take, which is the
    /// default for each ([`ClientBuilder::rpc_timeout`](crate::ClientBuilder::rpc_timeout)). What the cluster has begun
    /// by then goes on.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl<T> fmt::Debug for Limited<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited")
            .field("what", &self.what)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl<'c, T: Send + 'c> IntoFuture for Limited<'c, T> {
    type Output = Result<T>;
    type IntoFuture = BoxFuture<'c, Result<T>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { scheduler, default, what, deadline, work } = self;
        let Some(deadline) = deadline else { return work(default) };
        let work = work(deadline);
        async move {
            let late = |_| Error::timeout(format_args!("{what} at {scheduler}"), deadline);
            tokio::time::timeout(deadline, work).await.map_err(late)?
        }
        .boxed()
    }
}
