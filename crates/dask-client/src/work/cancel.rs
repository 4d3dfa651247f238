//! Cancelling tasks.

use dask_wire::session::{CancelVia, Session};
use dask_wire::{Feature, Key};
use tracing::Instrument;

use crate::client::{Client, Shared};
use crate::error::Result;
use crate::session::reply::Reply;
use crate::session::trace::about_keys;
use crate::work::future::Future;

/// What releases that carry a reason (from 2025.3.0 on) are told.
const REASON: &str = "client";
const MESSAGE: &str = "cancelled by a Rust client";

impl Client {
    /// Cancels tasks: their futures end as cancelled at once, and tasks that only this client wants are forgotten by the
    /// scheduler. What a worker is already running runs to its end, unseen. Stream op `cancel-keys`, before 2023.3.1 the
    /// RPC `cancel`.
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
        self.shared().cancel(&keys, true, MESSAGE).await
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
        self.shared().cancel(&keys, true, reason).await
    }

    /// Cancels tasks by key, whoever submitted them and wants them; see [`Client::cancel_for_all`].
    ///
    /// # Errors
    /// As [`Client::cancel`].
    pub async fn cancel_keys(&self, keys: impl IntoIterator<Item = Key>) -> Result<()> {
        let keys: Vec<Key> = keys.into_iter().collect();
        // What goes over the stream needs one.
        self.shared().stream().await?;
        self.shared().cancel(&keys, true, MESSAGE).await
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
