//! Keeping tasks going: without anybody who waits, or after a failure.

use dask_wire::{Key, Value};
use tracing::Instrument;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::trace::about_keys;
use crate::work::future::Future;

impl Client {
    /// Has the scheduler finish tasks even if every future of them is dropped and this client is gone; their results are
    /// then forgotten. For what is done for its effect (stream op `client-desires-keys`, every release).
    ///
    /// Returns when the scheduler knows of it, so that a program may end right after. Dropped before that, it hands nothing
    /// over.
    ///
    /// # Errors
    /// The client is closed, a task is lost or was cancelled, or the scheduler does not answer.
    pub async fn fire_and_forget<'f, R: 'f>(
        &self,
        futures: impl IntoIterator<Item = &'f Future<R>>,
    ) -> Result<()> {
        let keys: Vec<Key> = futures.into_iter().map(|future| future.key().clone()).collect();
        self.hand_over(&keys).instrument(about_keys!("dask.fire_and_forget", keys)).await
    }

    async fn hand_over(&self, keys: &[Key]) -> Result<()> {
        let shared = self.shared();
        shared.check_open()?;
        shared.check_held(keys)?;
        keys.iter().try_for_each(|key| shared.outcome_if_gone(key))?;
        // One that has ended needs nobody any more, and the scheduler would keep its result for good.
        let open: Vec<Key> = keys.iter().filter(|key| shared.is_pending(key)).cloned().collect();
        if open.is_empty() {
            return Ok(());
        }
        shared.session.change(|session| session.fire_and_forget(&open))?;
        let mut handed = Handed { client: self, keys: open };
        let limit = shared.settings.rpc_timeout;
        // The stream has no replies. What was written to it is read there before what is asked afterwards.
        let taken_in = async {
            shared.session.written(shared).await?;
            shared.until_known(&handed.keys).await?;
            shared.states(&handed.keys, limit).await
        };
        let states = tokio::time::timeout(limit, taken_in)
            .await
            .map_err(|_| Error::timeout("handing tasks over to the scheduler", limit))??;
        // What ended before the scheduler was told is taken back.
        handed.keys.retain(|key| states.get(key).is_some_and(|state| state == "memory" || state == "erred"));
        Ok(())
    }

    /// Runs failed tasks again, with those they depend on that failed (op `retry`, every release). Their outcome is open
    /// from now on; what has not failed is left as it is.
    ///
    /// # Errors
    /// The scheduler does not know one of the tasks or does not answer, or one of the futures is another client's.
    pub async fn retry<'f, R: 'f>(&self, futures: impl IntoIterator<Item = &'f Future<R>>) -> Result<()> {
        let keys: Vec<Key> = futures.into_iter().map(|future| future.key().clone()).collect();
        let span = about_keys!("dask.retry", keys);
        self.run_again(keys).instrument(span).await
    }

    async fn run_again(&self, keys: Vec<Key>) -> Result<()> {
        let shared = self.shared();
        shared.check_held(&keys)?;
        let client = self.name().to_string();
        let request = shared.request("retry")?.with("client", client)?;
        // Open before the scheduler is asked: it may have told the new outcome by the time it replies.
        let failed: Vec<Key> =
            shared.session.change(|session| keys.into_iter().filter(|key| session.reopen(key)).collect());
        if failed.is_empty() {
            return Ok(());
        }
        let reopened = Reopened { client: self, keys: failed };
        let request = request.with("keys", reopened.keys.iter().collect::<Value<'_>>())?;
        shared.rpc(request).await?;
        reopened.done();
        Ok(())
    }
}

/// Tasks that the scheduler was asked to finish for nobody, and need not be.
struct Handed<'c> {
    client: &'c Client,
    keys: Vec<Key>,
}

impl Drop for Handed<'_> {
    fn drop(&mut self) {
        if !self.keys.is_empty() {
            self.client.shared().session.change(|session| session.take_back(&self.keys));
        }
    }
}

/// Tasks whose outcome was opened in the hope that they run again. If that hope is given up, by an error or because nobody
/// waits for the reply, the scheduler is asked for what it knows.
struct Reopened<'c> {
    client: &'c Client,
    keys: Vec<Key>,
}

impl Reopened<'_> {
    fn done(mut self) {
        self.keys.clear();
    }
}

impl Drop for Reopened<'_> {
    fn drop(&mut self) {
        let keys = &self.keys;
        if !keys.is_empty() {
            self.client.shared().session.change(|session| keys.iter().for_each(|key| session.report(key)));
        }
    }
}

impl<R> Future<R> {
    /// Runs the task again if it failed, as [`Client::retry`] does.
    ///
    /// # Errors
    /// As [`Client::retry`].
    pub async fn retry(&self) -> Result<()> {
        self.client().retry([self]).await
    }
}
