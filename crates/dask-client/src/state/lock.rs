//! A named lock on the scheduler.

use std::sync::Arc;
use std::time::Duration;

use dask_wire::Feature;

use crate::client::Client;
use crate::error::Result;
use crate::state::guard::{Held, Lease, fresh_id};
use crate::state::plain::{no_longer_than, to_the_end};
use crate::state::semaphore::{self, LEASE_TIMEOUT};

/// A named lock on the scheduler, held by one client or task at a time: Python's `distributed.Lock`.
///
/// Up to 2024.7.0 it has ops of its own, `lock_acquire` and `lock_release`, and is held until it is released. From
/// 2024.7.1 on it is a semaphore of one lease, which runs out 30 seconds after its holder was last heard of.
///
/// The older locks have a fault: when the time of one who waits runs out at the scheduler while others wait, too, one
/// of them is forgotten and the first gets an exception. This client never lets the scheduler's time run out, so it
/// harms no other waiter, but a Python client that waits with a limit while this one waits can do so. Nor can a wait be
/// withdrawn there: one that was given up goes on in the background and releases what it gets, but if the program ends
/// before that, the lock is granted to nobody and stays locked.
#[derive(Clone, Debug)]
pub struct Lock {
    client: Client,
    name: String,
}

impl Client {
    /// The lock of this name. Nothing is sent.
    pub fn lock(&self, name: impl Into<String>) -> Lock {
        Lock { client: self.clone(), name: name.into() }
    }
}

impl Lock {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether somebody holds it.
    ///
    /// Op `semaphore_value`, from 2024.7.1 on: older schedulers do not tell.
    ///
    /// # Errors
    /// The release does not tell ([`crate::ErrorKind::NotAvailable`]), or the scheduler does not answer.
    pub async fn is_locked(&self) -> Result<bool> {
        let shared = self.client.shared();
        shared.dialect().need(Feature::LockIsSemaphore)?;
        // Schedulers know of no semaphore's value before it is registered.
        semaphore::register(&self.client, &self.name, 1, LEASE_TIMEOUT).await?;
        let reply = shared.rpc(shared.request("semaphore_value")?.with("name", self.name.clone())?).await?;
        let value = reply.value()?.as_u64();
        value.map(|leases| leases > 0).ok_or_else(|| reply.unexpected("no number of leases"))
    }

    /// Acquires the lock, waiting until it is free: at most for the given time, or for as long as it takes with `None`.
    /// A lock that is granted after the wait was given up is released at once. Up to 2024.7.0 such a wait is over no earlier
    /// than that (a limit that passes at those schedulers makes them forget others who wait), and keeps this client open;
    /// later it is asked for anew after each [`rpc_timeout`](crate::ClientBuilder::rpc_timeout), which one that was given up
    /// is not.
    ///
    /// # Errors
    /// It is not free within that time ([`crate::ErrorKind::Timeout`]), or the scheduler does not answer.
    pub async fn acquire(&self, within: impl Into<Option<Duration>>) -> Result<Lease> {
        let within = within.into();
        let what = format!("lock {:?}", self.name);
        if self.client.dialect().has(Feature::LockIsSemaphore) {
            semaphore::register(&self.client, &self.name, 1, LEASE_TIMEOUT).await?;
            return semaphore::acquire(&self.client, &self.name, LEASE_TIMEOUT, within, &what).await;
        }
        let handle = Arc::clone(self.client.handle());
        let name = self.name.clone();
        // Without a timeout for the scheduler: one that passes there while others wait for the lock, too, makes it
        // forget another one of them.
        let lease = to_the_end(async move {
            let id = fresh_id();
            let request = handle.shared.request("lock_acquire")?;
            let request = request.with("name", name.clone())?.with("id", id.clone())?;
            let reply = handle.shared.rpc_waiting(request).await?;
            match reply.value()?.as_bool() {
                Some(true) => Ok(Lease::new(handle, Held::Lock { name, id })),
                _ => Err(reply.unexpected("no lock")),
            }
        });
        no_longer_than(within, what, lease).await
    }
}
