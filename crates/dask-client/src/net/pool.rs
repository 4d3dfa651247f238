//! Connections for requests and replies, kept open and used again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dask_wire::{Message, Value};
use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::address::Address;
use super::comm::Comm;
use super::dial::Dialer;
use crate::error::Error;

/// Idle comms kept for each server.
const IDLE: usize = 8;

/// Sends requests to any server of the cluster.
#[derive(Debug)]
pub(crate) struct Pool {
    dialer: Dialer,
    idle: Mutex<HashMap<Address, Vec<Comm>>>,
    /// Bounds how many requests are under way at once.
    room: Arc<Semaphore>,
    /// Set by [`Pool::close`]; ends the requests that take no room.
    closed: watch::Sender<bool>,
}

impl Pool {
    pub(crate) fn new(dialer: Dialer, connections: usize) -> Self {
        Self {
            dialer,
            idle: Mutex::new(HashMap::new()),
            room: Arc::new(Semaphore::new(connections.max(1))),
            closed: watch::Sender::new(false),
        }
    }

    pub(crate) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// A comm to a server, kept or new. Dropping the lease closes it; [`Lease::done`] keeps it for the next request.
    pub(crate) async fn lease(&self, peer: &Address) -> Result<Lease<'_>, Error> {
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| Error::closed())?;
        let comm = match self.kept(peer) {
            Some(comm) => comm,
            None => self.dialer.open(peer).await?.0,
        };
        Ok(Lease { pool: self, peer: peer.clone(), comm, _permit: permit })
    }

    /// An idle comm that the server has not closed meanwhile.
    fn kept(&self, peer: &Address) -> Option<Comm> {
        loop {
            let mut comm = self.lock().get_mut(peer).and_then(Vec::pop)?;
            // Nothing may arrive on an idle comm; whatever does (the end, mostly) makes it useless.
            if comm.reader.next().now_or_never().is_none() {
                return Some(comm);
            }
        }
    }

    /// One request and its reply, within a deadline.
    ///
    /// Dropping the future closes the comm it used, so a torn request or a late reply can never be mistaken for
    /// another one's. Nothing is ever sent twice: a request that got no reply may have been carried out.
    pub(crate) async fn call(
        &self,
        peer: &Address,
        op: &str,
        request: &Value<'_>,
        deadline: Duration,
    ) -> Result<Message, Error> {
        let exchange = async {
            let mut lease = self.lease(peer).await?;
            let reply = lease.comm.call(request).await?;
            lease.done();
            Ok(reply)
        };
        match timeout(deadline, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::timeout(format_args!("op {op:?} at {peer}"), deadline)),
        }
    }

    /// One request that waits at the server until something happens, and its reply, however long that takes. It takes
    /// no room from other requests, since those may be what it waits for.
    pub(crate) async fn call_waiting(&self, peer: &Address, request: &Value<'_>) -> Result<Message, Error> {
        let mut closed = self.closed.subscribe();
        let exchange = async {
            let mut comm = self.take(peer).await?;
            let reply = comm.call(request).await?;
            self.keep(peer, comm);
            Ok(reply)
        };
        tokio::select! {
            outcome = exchange => outcome,
            _ = closed.wait_for(|closed| *closed) => Err(Error::closed()),
        }
    }

    /// Keeps a comm for the next request.
    pub(crate) fn keep(&self, peer: &Address, comm: Comm) {
        if !self.room.is_closed() {
            let mut idle = self.lock();
            let kept = idle.entry(peer.clone()).or_default();
            if kept.len() < IDLE {
                kept.push(comm);
            }
        }
    }

    /// A comm that does not come back: for a stream.
    pub(crate) async fn take(&self, peer: &Address) -> Result<Comm, Error> {
        match self.kept(peer) {
            Some(comm) => Ok(comm),
            None => Ok(self.dialer.open(peer).await?.0),
        }
    }

    /// Closes the idle comms to one server.
    pub(crate) fn forget(&self, peer: &Address) {
        self.lock().remove(peer);
    }

    /// Closes all idle comms and refuses new requests.
    pub(crate) fn close(&self) {
        self.room.close();
        self.closed.send_replace(true);
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Address, Vec<Comm>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A comm taken from the pool.
pub(crate) struct Lease<'p> {
    pool: &'p Pool,
    peer: Address,
    pub(crate) comm: Comm,
    _permit: OwnedSemaphorePermit,
}

impl Lease<'_> {
    /// The exchange is complete: the comm may be used again.
    pub(crate) fn done(self) {
        self.pool.keep(&self.peer, self.comm);
    }
}
