//! Futures: handles on results that live on the cluster.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use dask_pickle::Ref;
use dask_wire::{FromPython, Key};
use serde::{Serialize, Serializer};

use crate::client::{Client, Handle};
use crate::error::Result;
use crate::waiting::wait::{ExceptionFuture, Finished, ResultFuture};

/// The result of a task, computed or still to come, kept on the cluster for as long as a handle on it exists.
///
/// As an argument of a call, anywhere in a structure, it stands for its result and never passes through this program.
/// Cloning gives another handle on the same key. When the last handle is dropped the scheduler is told, exactly once,
/// that this client no longer wants the key.
pub struct Future<R = dask_pickle::Value> {
    key: Key,
    handle: Arc<Handle>,
    result: PhantomData<fn() -> R>,
}

impl<R> Future<R> {
    /// Takes over one holder that the session already counts.
    pub(crate) fn new(key: Key, handle: Arc<Handle>) -> Self {
        Self { key, handle, result: PhantomData }
    }

    /// The key of the task and of its result.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// A client that this future belongs to.
    pub fn client(&self) -> Client {
        Client { handle: Arc::clone(&self.handle) }
    }

    /// Where the task stands, as far as the scheduler has told: `pending`, `finished`, `error`, `cancelled` or `lost`.
    pub fn status(&self) -> &'static str {
        self.handle
            .shared
            .session
            .look(|session| session.state(&self.key).map_or("lost", |state| state.name()))
    }

    /// Whether the outcome is there, good or bad.
    pub fn is_done(&self) -> bool {
        self.status() != "pending"
    }

    /// The same future with its result read as another type.
    pub fn typed<T>(self) -> Future<T> {
        let handle = Arc::clone(&self.handle);
        handle.shared.session.change(|session| session.hold(&self.key));
        Future::new(self.key.clone(), handle)
    }

    /// Gives up this handle, as dropping it does: after the last one is gone the scheduler is told that this client no
    /// longer wants the result.
    pub fn release(self) {}

    /// Waits until the task is done and gives the exception that it raised, if it did. Add [`ExceptionFuture::deadline`]
    /// for a limit on the wait. Python's `Future.exception`.
    ///
    /// # Errors
    /// There is neither a result nor an exception: the task was cancelled, or its result was lost.
    pub fn exception(&self) -> ExceptionFuture<'_> {
        ExceptionFuture::new(self.finished())
    }

    /// Waits until the task is finished, without fetching the result.
    ///
    /// # Errors
    /// The task failed, was cancelled or its result was lost.
    pub fn finished(&self) -> Finished<'_> {
        Finished::new(&self.handle.shared, &self.key)
    }
}

impl<R: FromPython> Future<R> {
    /// Waits for the result and fetches it. Add [`ResultFuture::deadline`] for a limit on the wait.
    ///
    /// # Errors
    /// The task failed, was cancelled, its result was lost or is not of type `R`.
    pub fn result(&self) -> ResultFuture<'_, R> {
        ResultFuture::new(self)
    }
}

impl<R: FromPython + Send + 'static> IntoFuture for Future<R> {
    type Output = Result<R>;
    type IntoFuture = futures::future::BoxFuture<'static, Result<R>>;

    /// Waits for the result and fetches it, as [`Future::result`] does.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.result().await })
    }
}

impl<R> Clone for Future<R> {
    fn clone(&self) -> Self {
        self.handle.shared.session.change(|session| session.hold(&self.key));
        Self::new(self.key.clone(), Arc::clone(&self.handle))
    }
}

impl<R> Drop for Future<R> {
    fn drop(&mut self) {
        self.handle.shared.session.change(|session| session.release(&self.key));
    }
}

impl<R> fmt::Debug for Future<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Future({}, {})", self.key, self.status())
    }
}

impl<R> Serialize for Future<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Ref(&self.key.as_reference()).serialize(serializer)
    }
}
