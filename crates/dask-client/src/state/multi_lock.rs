//! Several named locks, acquired together.

use std::sync::Arc;
use std::time::Duration;

use dask_wire::Value;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::state::guard::{Held, Lease, fresh_id};
use crate::state::plain::{in_turns, seconds, to_the_end};

/// Several named locks that are acquired together, all or some of them: Python's `distributed.MultiLock`. Their names
/// have nothing to do with those of [`Lock`](crate::Lock)s.
///
/// Ops `multi_lock_acquire`, `multi_lock_release`, from 2021.3.1 on.
#[derive(Clone, Debug)]
pub struct MultiLock {
    client: Client,
    names: Vec<String>,
}

impl Client {
    /// The locks of these names. Nothing is sent.
    pub fn multi_lock<N: Into<String>>(&self, names: impl IntoIterator<Item = N>) -> MultiLock {
        let mut all: Vec<String> = Vec::new();
        for name in names.into_iter().map(Into::into) {
            // A scheduler that is asked for one twice lets it wait for itself.
            if !all.contains(&name) {
                all.push(name);
            }
        }
        MultiLock { client: self.clone(), names: all }
    }
}

impl MultiLock {
    /// Their names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Acquires all of them, waiting until they are free: at most for the given time, or for as long as it takes with
    /// `None`. Locks that are granted after the wait was given up are released at once.
    ///
    /// # Errors
    /// They are not free within that time ([`crate::ErrorKind::Timeout`]), there is no name, or the release has no such
    /// locks ([`crate::ErrorKind::NotAvailable`]).
    pub async fn acquire(&self, within: impl Into<Option<Duration>>) -> Result<Lease> {
        self.acquire_some(self.names.len(), within).await
    }

    /// As [`MultiLock::acquire`], for any `count` of them.
    ///
    /// # Errors
    /// As [`MultiLock::acquire`]; also if `count` is zero or more than there are names.
    pub async fn acquire_some(&self, count: usize, within: impl Into<Option<Duration>>) -> Result<Lease> {
        let within = within.into();
        if count == 0 || count > self.names.len() {
            return Err(Error::config(format!(
                "{count} of {} locks cannot be acquired; name at least as many locks as are wanted, and want one",
                self.names.len()
            )));
        }
        let what = format!("{count} of the locks {}", self.names.join(", "));
        in_turns(self.client.shared(), within, what, |turn| {
            let handle = Arc::clone(self.client.handle());
            let names: Value<'static> = self.names.iter().cloned().collect();
            to_the_end(async move {
                let id = fresh_id();
                let request = handle
                    .shared
                    .request("multi_lock_acquire")?
                    .with("locks", names)?
                    .with("id", id.clone())?
                    .with("timeout", seconds(Some(turn)))?
                    .with("num_locks", count)?;
                let reply = handle.shared.rpc_waiting(request).await?;
                match reply.value()?.as_bool() {
                    Some(true) => Ok(Some(Lease::new(handle, Held::MultiLock { id }))),
                    Some(false) => Ok(None),
                    None => Err(reply.unexpected("neither true nor false")),
                }
            })
        })
        .await
    }
}
