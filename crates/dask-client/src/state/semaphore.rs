//! A named semaphore on the scheduler.

use std::sync::Arc;
use std::time::Duration;

use dask_wire::Request;

use crate::client::{Client, Handle};
use crate::error::Result;
use crate::state::guard::{Held, Lease, fresh_id};
use crate::state::plain::{in_turns, no_longer_than, seconds, to_the_end};

/// After which time without a refresh a lease runs out, unless configured: Dask's own default.
pub(crate) const LEASE_TIMEOUT: Duration = Duration::from_secs(30);

/// A named semaphore on the scheduler, which bounds how many clients and tasks do something at once: Python's
/// `distributed.Semaphore`.
///
/// Ops `semaphore_register`, `semaphore_acquire`, `semaphore_refresh_leases`, `semaphore_release`, `semaphore_value`,
/// `semaphore_close`: every release.
#[derive(Clone, Debug)]
pub struct Semaphore {
    client: Client,
    name: String,
    lease_timeout: Duration,
}

impl Client {
    /// The semaphore of this name, made if it does not exist yet, of which `max_leases` may be held at once. Leases run
    /// out 30 seconds after their holder was last heard of; see [`Client::semaphore_with`].
    ///
    /// # Errors
    /// It exists with another number of leases ([`crate::ErrorKind::Rpc`]), or the scheduler does not answer.
    pub async fn semaphore(&self, name: impl Into<String>, max_leases: u32) -> Result<Semaphore> {
        self.semaphore_with(name, max_leases, LEASE_TIMEOUT).await
    }

    /// As [`Client::semaphore`], with another time after which leases of a silent holder run out. It counts for whoever
    /// makes the semaphore. Up to 2024.7.0 the scheduler's configuration says when leases run out
    /// (`distributed.scheduler.locks.lease-timeout`); pass that time, by which leases are then refreshed.
    ///
    /// # Errors
    /// As [`Client::semaphore`].
    pub async fn semaphore_with(
        &self,
        name: impl Into<String>,
        max_leases: u32,
        lease_timeout: Duration,
    ) -> Result<Semaphore> {
        let name = name.into();
        register(self, &name, max_leases, lease_timeout).await?;
        Ok(Semaphore { client: self.clone(), name, lease_timeout })
    }
}

pub(crate) async fn register(
    client: &Client,
    name: &str,
    max_leases: u32,
    lease_timeout: Duration,
) -> Result<()> {
    let shared = client.shared();
    let request = shared
        .request("semaphore_register")?
        .with("name", name.to_owned())?
        .with("max_leases", max_leases)?
        .with_if_taken("lease_timeout", seconds(Some(lease_timeout)));
    shared.rpc(request).await.map(drop)
}

impl Semaphore {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Acquires a lease, waiting for one: at most for the given time, or for as long as it takes with `None`. A lease
    /// that is granted after the wait was given up is released at once.
    ///
    /// # Errors
    /// There is none within that time ([`crate::ErrorKind::Timeout`]), or the semaphore was closed.
    pub async fn acquire(&self, within: impl Into<Option<Duration>>) -> Result<Lease> {
        let within = within.into();
        let what = format!("a lease of semaphore {:?}", self.name);
        acquire(&self.client, &self.name, self.lease_timeout, within, &what).await
    }

    /// Acquires a lease if there is one right now.
    ///
    /// # Errors
    /// The semaphore was closed, or the scheduler does not answer.
    pub async fn try_acquire(&self) -> Result<Option<Lease>> {
        let handle = Arc::clone(self.client.handle());
        let limit = handle.shared.settings.rpc_timeout;
        let lease = lease(handle, &self.name, self.lease_timeout, Duration::ZERO);
        no_longer_than(Some(limit), "op \"semaphore_acquire\"", to_the_end(lease)).await
    }

    fn request(&self, op: &str) -> Result<Request> {
        Ok(self.client.shared().request(op)?.with("name", self.name.clone())?)
    }

    /// How many leases are held.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn value(&self) -> Result<u64> {
        let reply = self.client.shared().rpc(self.request("semaphore_value")?).await?;
        let value = reply.value()?.as_u64();
        value.ok_or_else(|| reply.unexpected("no number of leases"))
    }

    /// Deletes the semaphore for everybody. Who holds a lease is not told; who wants one gets an error.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn close(self) -> Result<()> {
        self.client.shared().rpc(self.request("semaphore_close")?).await.map(drop)
    }
}

/// Acquires a lease of a registered semaphore within a deadline.
pub(crate) async fn acquire(
    client: &Client,
    name: &str,
    lease_timeout: Duration,
    within: Option<Duration>,
    what: &str,
) -> Result<Lease> {
    in_turns(client.shared(), within, what, |turn| {
        to_the_end(lease(Arc::clone(client.handle()), name, lease_timeout, turn))
    })
    .await
}

/// One request for a lease, which waits at the scheduler. Whoever drops what it gives releases it.
fn lease(
    handle: Arc<Handle>,
    name: &str,
    timeout: Duration,
    within: Duration,
) -> impl Future<Output = Result<Option<Lease>>> + Send + 'static {
    let name = name.to_owned();
    async move {
        let lease = fresh_id();
        let request = handle
            .shared
            .request("semaphore_acquire")?
            .with("name", name.clone())?
            .with("timeout", seconds(Some(within)))?
            .with("lease_id", lease.clone())?;
        let reply = handle.shared.rpc_waiting(request).await?;
        match reply.value()?.as_bool() {
            Some(true) => Ok(Some(Lease::new(handle, Held::Semaphore { name, lease, timeout }))),
            Some(false) => Ok(None),
            None => Err(reply.unexpected("neither true nor false")),
        }
    }
}
