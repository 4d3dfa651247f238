//! Connections for requests and replies, kept open and used again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use dask_wire::{Message, Value};
use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::address::Address;
use super::comm::Comm;
use super::dial::Dialer;
use crate::client::Shared;
use crate::error::{Error, ErrorKind};

/// Idle comms kept for each server.
const IDLE: usize = 8;
/// Comms to servers other than the scheduler that are idle for this long are closed.
const OLD: Duration = Duration::from_secs(60);
/// How often idle comms are looked at.
const SWEEP: Duration = Duration::from_secs(2);

/// Sends requests to any server of the cluster.
#[derive(Debug)]
pub(crate) struct Pool {
    dialer: Dialer,
    /// The scheduler.
    home: Address,
    /// A comm to the scheduler broke since this was last asked: another one may answer by now.
    home_lost: AtomicBool,
    idle: Mutex<HashMap<Address, Vec<Idle>>>,
    /// Bounds how many requests are under way at once.
    room: Arc<Semaphore>,
    /// Set by [`Pool::close`]; ends the requests that take no room.
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct Idle {
    comm: Comm,
    since: Instant,
}

impl Idle {
    /// Nothing may arrive on an idle comm; whatever does (the end, mostly) makes it useless.
    fn is_alive(&mut self) -> bool {
        self.comm.reader.next().now_or_never().is_none()
    }
}

/// Closes comms that are idle for long or whose server has gone, until the client is closed or dropped.
pub(crate) async fn sweep(shared: Weak<Shared>, mut closed: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => (),
            _ = closed.wait_for(|closed| *closed) => return,
        }
        match shared.upgrade() {
            Some(shared) => shared.pool.sweep(OLD),
            None => return,
        }
    }
}

impl Pool {
    pub(crate) fn new(dialer: Dialer, home: Address, connections: usize) -> Self {
        Self {
            dialer,
            home,
            home_lost: AtomicBool::new(false),
            idle: Mutex::new(HashMap::new()),
            room: Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS))),
            closed: watch::Sender::new(false),
        }
    }

    pub(crate) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Tells when the pool is closed.
    pub(crate) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// How many comms are idle.
    pub(crate) fn idle(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    /// Room for one request more, waiting for it.
    pub(crate) async fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.room).acquire_owned().await.map_err(|_| Error::closed())
    }

    /// A comm to a server, kept or new. Dropping the lease closes it; [`Lease::done`] keeps it for the next request.
    pub(crate) async fn lease(&self, peer: &Address) -> Result<Lease<'_>, Error> {
        let permit = self.permit().await?;
        self.lease_with(permit, peer).await
    }

    /// As [`Pool::lease`], with the room for it.
    pub(crate) async fn lease_with(
        &self,
        permit: OwnedSemaphorePermit,
        peer: &Address,
    ) -> Result<Lease<'_>, Error> {
        let comm = self.take(peer).await?;
        Ok(Lease { pool: self, peer: peer.clone(), comm, _permit: permit })
    }

    /// An idle comm that the server has not closed meanwhile.
    fn kept(&self, peer: &Address) -> Option<Comm> {
        let mut idle = self.lock();
        let comms = idle.get_mut(peer)?;
        let mut found = None;
        while let Some(mut last) = comms.pop() {
            if last.is_alive() {
                found = Some(last.comm);
                break;
            }
            self.note_lost(peer);
        }
        if comms.is_empty() {
            idle.remove(peer);
        }
        found
    }

    /// Closes comms whose server has gone, and those to others than the scheduler that are idle for this long.
    fn sweep(&self, old: Duration) {
        self.lock().retain(|peer, comms| {
            comms.retain_mut(|comm| {
                let alive = comm.is_alive();
                if !alive {
                    self.note_lost(peer);
                }
                alive && (*peer == self.home || comm.since.elapsed() < old)
            });
            !comms.is_empty()
        });
    }

    fn note_lost(&self, peer: &Address) {
        if *peer == self.home {
            self.home_lost.store(true, Ordering::Relaxed);
        }
    }

    fn note_lost_by(&self, peer: &Address, error: &Error) {
        if error.kind() == ErrorKind::ConnectionLost {
            self.note_lost(peer);
        }
    }

    /// Whether comms to the scheduler broke or could not be opened since [`Pool::home_was_found`].
    pub(crate) fn home_was_lost(&self) -> bool {
        // Looks at those that are idle: the end of one may not have been noticed yet.
        if let Some(comms) = self.lock().get_mut(&self.home) {
            comms.retain_mut(|comm| {
                let alive = comm.is_alive();
                if !alive {
                    self.note_lost(&self.home);
                }
                alive
            });
        }
        self.home_lost.load(Ordering::Relaxed)
    }

    /// The scheduler was asked who it is.
    pub(crate) fn home_was_found(&self) {
        self.home_lost.store(false, Ordering::Relaxed);
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
            Ok(outcome) => outcome.inspect_err(|error| self.note_lost_by(peer, error)),
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
            outcome = exchange => outcome.inspect_err(|error| self.note_lost_by(peer, error)),
            _ = closed.wait_for(|closed| *closed) => Err(Error::closed()),
        }
    }

    /// Keeps a comm for the next request.
    pub(crate) fn keep(&self, peer: &Address, comm: Comm) {
        let mut idle = self.lock();
        // Looked at under the lock under which they are all closed, or one that comes just then would stay.
        if !self.room.is_closed() {
            let kept = idle.entry(peer.clone()).or_default();
            if kept.len() < IDLE {
                kept.push(Idle { comm, since: Instant::now() });
            }
        }
    }

    /// A comm, kept or new, that does not come back by itself: for a stream.
    pub(crate) async fn take(&self, peer: &Address) -> Result<Comm, Error> {
        match self.kept(peer) {
            Some(comm) => Ok(comm),
            None => match self.dialer.open(peer).await {
                Ok((comm, _)) => Ok(comm),
                Err(error) => {
                    self.note_lost(peer);
                    Err(error)
                }
            },
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

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Address, Vec<Idle>>> {
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
