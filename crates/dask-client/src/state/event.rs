//! A named flag on the scheduler.

use std::time::Duration;

use dask_wire::{Request, Value};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::state::plain::{kept_by_scheduler, seconds};

/// A named flag on the scheduler that clients and tasks set, clear and wait for: Python's `distributed.Event`.
///
/// Ops `event_set`, `event_clear`, `event_is_set`, `event_wait`: every release.
#[derive(Clone, Debug)]
pub struct Event {
    client: Client,
    name: String,
}

impl Client {
    /// The event of this name. It is not set until somebody sets it. Nothing is sent.
    pub fn event(&self, name: impl Into<String>) -> Event {
        Event { client: self.clone(), name: name.into() }
    }
}

impl Event {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn request(&self, op: &str) -> Result<Request> {
        Ok(self.client.shared().request(op)?.with("name", self.name.clone())?)
    }

    /// Sets it and lets everybody go on who waits for it.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn set(&self) -> Result<()> {
        self.client.shared().rpc(self.request("event_set")?).await.map(drop)
    }

    /// Clears it.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn clear(&self) -> Result<()> {
        self.client.shared().rpc(self.request("event_clear")?).await.map(drop)
    }

    /// Whether it is set.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn is_set(&self) -> Result<bool> {
        let reply = self.client.shared().rpc(self.request("event_is_set")?).await?;
        let set = reply.value()?.as_bool();
        set.ok_or_else(|| reply.unexpected("neither true nor false"))
    }

    /// Waits until it is set: at most for the given time, or for as long as it takes with `None`.
    ///
    /// # Errors
    /// It is not set within that time ([`crate::ErrorKind::Timeout`]), or the connection breaks.
    pub async fn wait(&self, within: impl Into<Option<Duration>>) -> Result<()> {
        let within = within.into();
        let request = self.request("event_wait")?.with("timeout", seconds(within))?;
        let what = format!("the setting of event {:?}", self.name);
        let reply = kept_by_scheduler(within, &what, self.client.shared().rpc_waiting(request)).await?;
        match (reply.value()?, within) {
            (Value::Bool(true), _) => Ok(()),
            (Value::Bool(false), Some(within)) => Err(Error::timeout(what, within)),
            _ => Err(reply.unexpected("neither true nor false")),
        }
    }
}
