//! Results that outlive the process that asked for them.

use std::marker::PhantomData;
use std::time::Duration;

use futures::future::BoxFuture;
use tracing::Instrument;

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::work::future::Future;

/// How long [`Client::attach`] waits unless told otherwise: the answer of a busy scheduler, not for somebody to detach.
const MOMENT: Duration = Duration::from_millis(500);

impl Client {
    /// Leaves a future with the scheduler under a name: the task goes on and its result stays, also when every handle on it
    /// is dropped and this client is gone, until [`Client::forget_detached`]. Any other client collects it by the name: with
    /// [`Client::attach`], or in Python as `Variable(name).get().result()`, since the name is that of a
    /// [`Variable`](crate::Variable). What the name stood for before is replaced and let go.
    ///
    /// Returns when the scheduler has it, so that a program may end right after. It lives as long as the scheduler does.
    /// Op `variable_set`, every release.
    ///
    /// ```no_run
    /// # async fn example(client: dask_client::Client) -> dask_client::Result<()> {
    /// use dask_client::{Future, py};
    /// let report: Future<String> = client.submit(py("reports:monthly").arg("2026-11")).await?;
    /// client.detach(&report, "report-2026-11").await?;
    /// // … another process, another day:
    /// let report: String = client.attach("report-2026-11").await?.result().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The future is not this client's, its task is lost or was cancelled, or the scheduler does not answer.
    pub async fn detach<R>(&self, future: &Future<R>, name: impl Into<String>) -> Result<()> {
        let variable = self.variable(name);
        let span = tracing::debug_span!("dask.detach", key = %future.key(), name = variable.name());
        variable.set(future).instrument(span).await
    }

    /// A future of what was left under a name by [`Client::detach`], or by Python's `Variable(name).set(future)`. This
    /// client holds it, too, from now on; the name keeps it for others.
    ///
    /// Ops `variable_get` and the one that confirms it, every release.
    ///
    /// # Errors
    /// Nothing is there under that name within the time ([`Attach::within`]): [`ErrorKind::NotFound`]. What is there is a
    /// plain value ([`ErrorKind::Decode`]; see [`Variable::get`](crate::Variable::get)), or a task that the scheduler has
    /// lost ([`ErrorKind::Lost`]).
    pub fn attach<R>(&self, name: impl Into<String>) -> Attach<'_, R> {
        Attach { client: self, name: name.into(), within: MOMENT, result: PhantomData }
    }

    /// Lets go of what was left under a name; a result that nobody else holds is then forgotten. Nothing happens if there is
    /// nothing.
    ///
    /// Stream op `variable_delete`, every release.
    ///
    /// # Errors
    /// The client is closed, or the scheduler cannot be reached.
    pub async fn forget_detached(&self, name: impl Into<String>) -> Result<()> {
        self.variable(name).delete().await
    }
}

/// Takes up what was detached. Made by [`Client::attach`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Attach<'a, R> {
    client: &'a Client,
    name: String,
    within: Duration,
    result: PhantomData<fn() -> R>,
}

impl<R> Attach<'_, R> {
    /// Waits this long for somebody to leave something under the name. Default half a second: what is there already.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }
}

impl<'a, R: 'a> IntoFuture for Attach<'a, R> {
    type Output = Result<Future<R>>;
    type IntoFuture = BoxFuture<'a, Result<Future<R>>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { client, name, within, .. } = self;
        let span = tracing::debug_span!("dask.attach", name, key = tracing::field::Empty);
        let inside = span.clone();
        let work = async move {
            // The type is for the result and not for what is in the variable.
            let item = client.variable(name.as_str()).get::<dask_pickle::Value>(within).await;
            let item = item.map_err(|error| match error.kind() {
                ErrorKind::Timeout if error.diagnosis().is_none() => Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "nothing is left under the name {name:?} (waited {within:?}); was it detached on this cluster, and \
                         has the scheduler been up since?"
                    ),
                ),
                _ => error,
            })?;
            let future = item.into_future()?;
            inside.record("key", tracing::field::display(future.key()));
            Ok(future.typed())
        };
        Box::pin(work.instrument(span))
    }
}
