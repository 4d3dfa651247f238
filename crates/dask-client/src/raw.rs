//! Requests that have no method of their own.

use dask_wire::{Peer, Value};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::net::address::Address;

impl Client {
    /// Sends any request to the scheduler and gives its reply, for ops that have no method of their own.
    ///
    /// The op and its fields are checked against what the scheduler's release takes, so an op that it lacks is an error
    /// and not the silent `nil` that Dask answers.
    ///
    /// # Errors
    /// The release lacks the op or a field, or the scheduler answers with an exception or not in time.
    pub async fn rpc(
        &self,
        op: &str,
        fields: impl IntoIterator<Item = (&'static str, Value<'static>)>,
    ) -> Result<Value<'static>> {
        let shared = self.shared();
        let mut request = shared.request(op)?;
        for (name, value) in fields {
            request = request.with(name, value)?;
        }
        Ok(shared.rpc(request).await?.value()?.into_owned())
    }

    /// As [`Client::rpc`], to a worker at its own address.
    ///
    /// # Errors
    /// As [`Client::rpc`]; also if the worker cannot be reached from here.
    pub async fn rpc_at_worker(
        &self,
        worker: &Address,
        op: &str,
        fields: impl IntoIterator<Item = (&'static str, Value<'static>)>,
    ) -> Result<Value<'static>> {
        let shared = self.shared();
        if shared.settings.connect_via.is_some() {
            return Err(Error::config(format!(
                "{worker} cannot be reached: every connection of this client goes by connect_via, which leads to the scheduler"
            )));
        }
        let mut request = shared.dialect().request(Peer::Worker, op)?;
        for (name, value) in fields {
            request = request.with(name, value)?;
        }
        Ok(shared.rpc_at(worker, request, shared.settings.rpc_timeout).await?.value()?.into_owned())
    }
}
