//! Cancelling tasks.

use dask_wire::session::{CancelVia, Session};
use dask_wire::{Feature, Key};
use tracing::Instrument;

use crate::client::{Client, Shared};
use crate::error::Result;
use crate::session::reply::Reply;
use crate::session::trace::about_keys;
use crate::work::future::Future;
use crate::work::python::python_module;

/// What releases that carry a reason (from 2025.3.0 on) are told.
const REASON: &str = "client";
const MESSAGE: &str = "cancelled by a Rust client";
/// What nobody wants of tasks and of what depends on them, on the scheduler.
const UNWANTED: &str = "
def unwanted(keys, dask_scheduler):
    tasks, found, rest = dask_scheduler.tasks, {}, list(keys)
    while rest:
        task = tasks.get(rest.pop())
        if task is not None and task.key not in found:
            found[task.key] = task
            rest.extend(other.key for other in task.dependents)
    return [key for key, task in found.items() if isinstance(key, str) and not task.who_wants]
";

impl Client {
    /// Cancels tasks: their futures end as cancelled at once, and tasks that only this client wants are forgotten by the
    /// scheduler. What a worker is already running runs to its end, unseen.
    ///
    /// Up to 2023.11.0 tasks that depend on them, and that only this client wants, are cancelled with them; later ones go
    /// on: their schedulers end the session of a client that cancels a task with a dependent that nobody wants, so they
    /// are only told that this client does not want the task any more. Cancel what depends on it, too.
    ///
    /// Stream op `client-releases-keys`; up to 2023.11.0 `cancel-keys`, before 2023.3.1 the RPC `cancel`.
    ///
    /// # Errors
    /// The client is closed, one of the futures is another client's, or (before 2023.3.1) the scheduler does not answer.
    pub async fn cancel<'f, R: 'f>(&self, futures: impl IntoIterator<Item = &'f Future<R>>) -> Result<()> {
        let keys: Vec<Key> = futures.into_iter().map(|future| future.key().clone()).collect();
        self.shared().check_held(&keys)?;
        self.shared().cancel(&keys, false, MESSAGE).await
    }

    /// As [`Client::cancel`], telling why: the error of whoever waits here for one of these tasks carries the reason.
    ///
    /// # Errors
    /// As [`Client::cancel`].
    pub async fn cancel_with<'f, R: 'f>(
        &self,
        futures: impl IntoIterator<Item = &'f Future<R>>,
        reason: &str,
    ) -> Result<()> {
        let keys: Vec<Key> = futures.into_iter().map(|future| future.key().clone()).collect();
        self.shared().check_held(&keys)?;
        self.shared().cancel(&keys, false, reason).await
    }

    /// As [`Client::cancel`], even where other clients want the tasks.
    ///
    /// # Errors
    /// As [`Client::cancel`].
    pub async fn cancel_for_all<'f, R: 'f>(
        &self,
        futures: impl IntoIterator<Item = &'f Future<R>>,
    ) -> Result<()> {
        let keys: Vec<Key> = futures.into_iter().map(|future| future.key().clone()).collect();
        self.cancel_forced(&keys, MESSAGE).await
    }

    /// As [`Client::cancel_for_all`], telling why: also the errors of other clients carry the reason (from 2025.3.0 on).
    ///
    /// # Errors
    /// As [`Client::cancel`].
    pub async fn cancel_for_all_with<'f, R: 'f>(
        &self,
        futures: impl IntoIterator<Item = &'f Future<R>>,
        reason: &str,
    ) -> Result<()> {
        let keys: Vec<Key> = futures.into_iter().map(|future| future.key().clone()).collect();
        self.cancel_forced(&keys, reason).await
    }

    /// Cancels tasks by key, whoever submitted them and wants them; see [`Client::cancel_for_all`].
    ///
    /// # Errors
    /// As [`Client::cancel`].
    pub async fn cancel_keys(&self, keys: impl IntoIterator<Item = Key>) -> Result<()> {
        let keys: Vec<Key> = keys.into_iter().collect();
        self.cancel_forced(&keys, MESSAGE).await
    }

    async fn cancel_forced(&self, keys: &[Key], message: &str) -> Result<()> {
        let shared = self.shared();
        // What is queued without a stream waits for one, and may meet other tasks then.
        shared.stream().await?;
        if shared.dialect().has(Feature::CancelStumbles) {
            // What is asked about tasks that are still on their way would overtake them.
            shared.until_taken_in(keys).await?;
            self.want_dependents(keys).await;
        }
        shared.cancel(keys, true, message).await
    }

    /// Wants what depends on these tasks and nobody wants, and them, so that the scheduler can cancel them. One that runs no
    /// functions does not tell; then they are cancelled as Python's client does it.
    async fn want_dependents(&self, keys: &[Key]) {
        let names: Vec<String> = keys.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect();
        let call = python_module(UNWANTED, "unwanted").arg(names);
        let unwanted: Vec<Key> = match self.run_on_scheduler::<Vec<String>>(call).await {
            Ok(names) => names.into_iter().map(Key::from).collect(),
            Err(error) => {
                tracing::debug!(%error, "what depends on the tasks to be cancelled is not told");
                return;
            }
        };
        if !unwanted.is_empty()
            && let Err(error) = self.shared().session.change(|session| session.want_in_passing(&unwanted))
        {
            tracing::debug!(%error, "not wanted");
        }
    }
}

impl<R> Future<R> {
    /// Cancels the task, as [`Client::cancel`] does.
    ///
    /// # Errors
    /// As [`Client::cancel`].
    pub async fn cancel(&self) -> Result<()> {
        self.client().cancel([self]).await
    }
}

impl Shared {
    async fn cancel(&self, keys: &[Key], force: bool, message: &str) -> Result<()> {
        self.cancel_now(keys, force, message).instrument(about_keys!("dask.cancel", keys)).await
    }

    async fn cancel_now(&self, keys: &[Key], force: bool, message: &str) -> Result<()> {
        self.check_open()?;
        if !self.dialect().has(Feature::CancelOnStream) && self.session.look(Session::is_connected) {
            // A request may overtake the task.
            self.until_taken_in(keys).await?;
        }
        match self.session.change(|session| session.cancel(keys, force, REASON, message))? {
            CancelVia::Rpc(request) => {
                let deadline = self.settings.rpc_timeout;
                let call = self.pool.call(&self.address, "cancel", &request, deadline);
                let reply = self.exchanging("cancel", &self.address, &request, call).await?;
                Reply::new(&self.address, "cancel", reply).map(drop)
            }
            CancelVia::Stream | CancelVia::Nothing => Ok(()),
        }
    }
}
