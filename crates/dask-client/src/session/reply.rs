//! Replies to requests.

use dask_wire::exception::PythonError;
use dask_wire::{Message, Value};

use crate::error::{Error, Result};
use crate::net::address::Address;

/// A reply that is no exception.
#[derive(Debug)]
pub(crate) struct Reply {
    peer: Address,
    op: &'static str,
    message: Message,
}

impl Reply {
    /// # Errors
    /// The reply cannot be read or reports an exception of the server's handler.
    pub(crate) fn new(peer: &Address, op: &'static str, message: Message) -> Result<Self> {
        let reply = Self { peer: peer.clone(), op, message };
        let failure = {
            let value = reply.value()?;
            match value.get("status").and_then(Value::as_str) {
                Some("uncaught-error") => PythonError::from_reply(&value),
                _ => None,
            }
        };
        match failure {
            Some(error) => Err(Error::rpc(peer, op, error)),
            None => Ok(reply),
        }
    }

    pub(crate) fn value(&self) -> Result<Value<'_>> {
        self.message.value().map_err(|error| Error::wire(&self.peer, error))
    }

    pub(crate) fn peer(&self) -> &Address {
        &self.peer
    }

    pub(crate) fn unexpected(&self, what: impl std::fmt::Display) -> Error {
        Error::unexpected(&self.peer, self.op, what)
    }
}
