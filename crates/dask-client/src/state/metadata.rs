//! A tree of small values on the scheduler.

use dask_wire::{FromPython, Value};
use serde::Serialize;

use crate::client::Client;
use crate::error::{ErrorKind, Result};
use crate::state::plain::{data, typed};

impl Client {
    /// Sets the value at a path of the scheduler's metadata, for example `["deployments", "web"]`: Python's
    /// `Client.set_metadata`. What lies at a path that is a task's key alone goes when the task is forgotten.
    ///
    /// Op `set_metadata`, every release.
    ///
    /// # Errors
    /// The path is empty, the value cannot be sent, or the scheduler does not answer.
    pub async fn set_metadata<T: Serialize + ?Sized>(&self, path: &[&str], value: &T) -> Result<()> {
        let shared = self.shared();
        let request =
            shared.request("set_metadata")?.with("keys", keys(path)?)?.with("value", data(value)?)?;
        shared.rpc(request).await.map(drop)
    }

    /// The value at a path of the scheduler's metadata; `None` where there is none.
    ///
    /// Op `get_metadata`, every release.
    ///
    /// # Errors
    /// The path is empty, the value is not of type `R`, or the scheduler does not answer.
    pub async fn get_metadata<R: FromPython>(&self, path: &[&str]) -> Result<Option<R>> {
        let shared = self.shared();
        let request =
            shared.request("get_metadata")?.with("keys", keys(path)?)?.with("default", Value::Nil)?;
        let reply = match shared.rpc(request).await {
            // Before 2022.2.1 the default counts for the last part of the path only.
            Err(error)
                if error.kind() == ErrorKind::Rpc
                    && error.python().is_some_and(|python| python.class == "KeyError") =>
            {
                return Ok(None);
            }
            reply => reply?,
        };
        match reply.value()? {
            Value::Nil => Ok(None),
            value => typed(value, &shared.settings.pickle_limits, format_args!("the metadata at {path:?}"))
                .map(Some),
        }
    }
}

fn keys(path: &[&str]) -> Result<Value<'static>> {
    if path.is_empty() {
        return Err(crate::Error::config("a path of metadata needs at least one part"));
    }
    Ok(path.iter().map(|part| (*part).to_owned()).collect())
}
