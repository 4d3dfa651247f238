//! Data straight from and to workers, where they can be reached from here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dask_wire::{Key, Payload, Peer, Value};
use tokio::time::timeout;

use crate::client::Shared;
use crate::error::{Error, Result};
use crate::net::address::Address;
use crate::net::pool::Lease;
use crate::results::gather::results;
use crate::session::reply::Reply;

/// Whether data goes straight between this client and workers, or through the scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Direct {
    /// Where it pays (large values, many values) and workers can be reached, which is tried once and remembered. Behind an
    /// encrypted scheduler only encrypted workers are.
    #[default]
    Auto,
    /// Wherever workers can be reached, small values too. Opening a connection to one may take as long as any other
    /// ([`ClientBuilder::connect_timeout`](crate::ClientBuilder::connect_timeout)), not just a second.
    Always,
    /// Through the scheduler.
    Never,
}

/// Time for opening a connection to a worker before it counts as out of reach, where nobody insists on it.
const REACH: Duration = Duration::from_millis(1000);
/// How long a worker counts as out of reach.
const FORGET: Duration = Duration::from_secs(60);
/// After so many workers out of reach, and none within, no other is tried for a while.
const HOPELESS: usize = 2;
/// From so many results on, the workers are asked even for small ones.
const MANY: usize = 64;
/// From so many bytes on, values go straight to workers.
const LARGE: usize = 256 * 1024;

/// What is known of the way to workers.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    state: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Workers out of reach, and since when.
    beyond: HashMap<Address, Instant>,
    reached: bool,
}

impl Reach {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may be tried.
    fn may_try(&self, worker: &Address) -> bool {
        let mut known = self.lock();
        known.beyond.retain(|_, since| since.elapsed() < FORGET);
        !known.beyond.contains_key(worker) && (known.reached || known.beyond.len() < HOPELESS)
    }

    fn reached(&self, worker: &Address) {
        let mut known = self.lock();
        known.reached = true;
        known.beyond.remove(worker);
    }

    fn beyond(&self, worker: &Address) {
        self.lock().beyond.insert(worker.clone(), Instant::now());
    }
}

impl Shared {
    /// Whether a connection to this worker may be tried.
    fn reachable(&self, worker: &str) -> Option<Address> {
        if self.settings.direct == Direct::Never || self.settings.connect_via.is_some() {
            return None;
        }
        let address: Address = worker.parse().ok()?;
        // Behind an encrypted scheduler nothing travels in plain text: such workers sit in a network of their own, behind
        // a gateway.
        if self.address.scheme().is_encrypted() && !address.scheme().is_encrypted() {
            return None;
        }
        self.reach.may_try(&address).then_some(address)
    }

    /// The address of a worker that a connection can be opened to, as far as that is known or else tried.
    pub(crate) async fn within_reach(&self, worker: &str) -> Option<Address> {
        let address = self.reachable(worker)?;
        self.lease_worker(&address).await.ok()?.done();
        Some(address)
    }

    async fn lease_worker(&self, worker: &Address) -> Result<Lease<'_>> {
        // Waiting for one's turn says nothing of the way to the worker.
        let turn = self.settings.rpc_timeout;
        let permit = timeout(turn, self.pool.permit()).await.map_err(|_| {
            Error::timeout(format_args!("waiting for one of {} connections", self.settings.connections), turn)
        })??;
        let limit = match self.settings.direct {
            Direct::Always => self.settings.connect_timeout,
            _ => REACH.min(self.settings.connect_timeout),
        };
        let lease = match timeout(limit, self.pool.lease_with(permit, worker)).await {
            Ok(lease) => lease,
            Err(_) => Err(Error::connect_timeout(worker, "opening a connection", limit)),
        };
        match &lease {
            Ok(_) => self.reach.reached(worker),
            Err(error) => {
                tracing::debug!(%worker, %error, "the worker is out of reach");
                self.reach.beyond(worker);
            }
        }
        lease
    }

    /// Which keys to ask which worker for; `None` if the scheduler is to be asked for all.
    pub(crate) async fn direct_plan(&self, keys: &[Key]) -> Option<Vec<(Arc<str>, Vec<Key>)>> {
        if self.settings.direct == Direct::Never || self.settings.connect_via.is_some() || keys.is_empty() {
            return None;
        }
        let placements: Vec<_> =
            self.session.look(|session| keys.iter().map(|key| session.placement(key)).collect());
        // One small result takes one request through the scheduler and two from its worker, unless that one is known.
        let pays = self.settings.direct == Direct::Always
            || keys.len() >= MANY
            || placements.iter().any(|placement| placement.bulky || placement.worker.is_some());
        if !pays {
            return None;
        }
        let mut plan: HashMap<Arc<str>, Vec<Key>> = HashMap::new();
        let mut unknown: Vec<&Key> = Vec::new();
        for (key, placement) in keys.iter().zip(placements) {
            match placement.worker.filter(|worker| self.reachable(worker).is_some()) {
                Some(worker) => plan.entry(worker).or_default().push(key.clone()),
                None => unknown.push(key),
            }
        }
        if !unknown.is_empty() && self.reach_seems_possible() {
            let request = self.request("who_has").ok()?;
            let request = request.with("keys", unknown.iter().copied().collect::<Value<'_>>()).ok()?;
            if let Ok(reply) = self.rpc(request).await {
                self.plan_by_reply(&reply, &mut plan);
            }
        }
        Some(plan.into_iter().collect())
    }

    fn reach_seems_possible(&self) -> bool {
        let known = self.reach.lock();
        let beyond = known.beyond.values().filter(|since| since.elapsed() < FORGET).count();
        known.reached || beyond < HOPELESS
    }

    fn plan_by_reply(&self, reply: &Reply, plan: &mut HashMap<Arc<str>, Vec<Key>>) {
        let Ok(value) = reply.value() else { return };
        let mut may: HashMap<String, Option<Arc<str>>> = HashMap::new();
        for (at, (key, holders)) in value.as_map().unwrap_or_default().iter().enumerate() {
            let Some(key) = Key::from_value(key) else { continue };
            let holders = holders.as_array().unwrap_or_default();
            // Copies share the load.
            let from = at.checked_rem(holders.len()).unwrap_or(0);
            let holders = holders.iter().cycle().skip(from).take(holders.len()).filter_map(Value::as_str);
            for holder in holders {
                let may = may
                    .entry(holder.to_owned())
                    .or_insert_with(|| self.reachable(holder).map(|_| Arc::from(holder)));
                if let Some(worker) = may {
                    plan.entry(Arc::clone(worker)).or_default().push(key);
                    break;
                }
            }
        }
    }

    /// What a worker has of these keys (op `get_data`). The others are left out.
    pub(crate) async fn get_data(&self, worker: &str, keys: &[Key]) -> Result<Vec<(Key, Payload)>> {
        let address =
            self.reachable(worker).ok_or_else(|| Error::config(format!("{worker} is out of reach")))?;
        let client = self.session.look(|session| session.client().to_string());
        let request = self
            .dialect()
            .request(Peer::Worker, "get_data")?
            .with("keys", keys.iter().collect::<Value<'_>>())?
            .with("who", client)?
            // Up to 2023.8.0 the receiver's share of a worker's connections could be set; a client waits its turn below.
            .with_if_taken("max_connections", false)
            .into_rpc()?;
        self.exchanging("get_data", &address, &request, self.ask_for_data(&address, &request)).await
    }

    async fn ask_for_data(&self, address: &Address, request: &Value<'_>) -> Result<Vec<(Key, Payload)>> {
        // Large data may take long, but not come to a halt.
        let stall = self.settings.rpc_timeout;
        let late = |what: &str| Error::timeout(format_args!("op \"get_data\" at {address} ({what})"), stall);
        let start = Instant::now();
        let mut pause = Duration::from_millis(10);
        loop {
            let mut lease = self.lease_worker(address).await?;
            let moved = lease.comm.reader.agreed.moved.clone();
            let message = {
                let call = std::pin::pin!(lease.comm.call(request));
                moved.wait_for(call, stall).await.ok_or_else(|| late("nothing arrives"))??
            };
            let reply = Reply::new(address, "get_data", message)?;
            let mut value = reply.value()?;
            match value.get("status").and_then(Value::as_str) {
                Some("OK") => {
                    // The worker counts the transfer as under way until it hears this.
                    let thanks = Value::from("OK");
                    let thanks = lease.comm.writer.send(&thanks);
                    timeout(stall, thanks).await.map_err(|_| late("it does not hear"))??;
                    lease.done();
                    let data = value.take("data").ok_or_else(|| reply.unexpected("no data"))?;
                    return results(data).map_err(|what| reply.unexpected(what));
                }
                Some("busy") if start.elapsed() > stall => return Err(late("it is busy with others")),
                Some("busy") => {
                    lease.done();
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(500));
                }
                _ => return Err(reply.unexpected("no status")),
            }
        }
    }

    /// Sends values straight to workers, in turn, and tells the scheduler (op `update_data` of both). Says where each went:
    /// none if no worker can be reached or it does not pay, some if not all workers took theirs.
    pub(crate) async fn scatter_direct(
        &self,
        data: &[(Key, Payload)],
        workers: &[String],
        deadline: Duration,
    ) -> Result<Vec<(Key, Arc<str>)>> {
        let bytes: usize = data.iter().map(|(_, payload)| payload.len()).sum();
        let pays = self.settings.direct == Direct::Always || bytes >= LARGE;
        if !pays || self.settings.direct == Direct::Never || self.settings.connect_via.is_some() {
            return Ok(Vec::new());
        }
        if !self.reach_seems_possible() {
            return Ok(Vec::new());
        }
        // Releases that know paused workers leave them out.
        let request = self.request("ncores_running").or_else(|_| self.request("ncores"))?;
        let request = match workers {
            [] => request,
            workers => request.with("workers", workers.iter().cloned().collect::<Value<'_>>())?,
        };
        let reply = self.rpc_within(request, deadline).await?;
        let value = reply.value()?;
        let mut found: Vec<&str> =
            value.as_map().unwrap_or_default().iter().filter_map(|(worker, _)| worker.as_str()).collect();
        found.sort_unstable();
        let mut reachable = Vec::new();
        for worker in found {
            if let Some(address) = self.reachable(worker) {
                reachable.push((Arc::<str>::from(worker), address));
            }
        }
        if reachable.is_empty() {
            return Ok(Vec::new());
        }
        let turn = self.counters.next_turn(data.len());
        let mut parcels: HashMap<usize, Vec<&(Key, Payload)>> = HashMap::new();
        for (at, item) in data.iter().enumerate() {
            parcels.entry((turn + at) % reachable.len()).or_default().push(item);
        }
        let mut sends = Vec::new();
        for (worker, items) in parcels {
            let Some((worker, address)) = reachable.get(worker) else { continue };
            sends.push(async move { self.update_worker(worker, address, &items, deadline).await });
        }
        let mut nbytes: Vec<(Key, u64, Arc<str>)> = Vec::with_capacity(data.len());
        for sent in futures::future::join_all(sends).await {
            match sent {
                Ok(sent) => nbytes.extend(sent),
                Err(error) => {
                    tracing::debug!(%error, "cannot send to a worker; sending through the scheduler")
                }
            }
        }
        if nbytes.is_empty() {
            return Ok(Vec::new());
        }
        let holder = |worker: &str| [worker.to_owned()].into_iter().collect::<Value<'_>>();
        let who_has: Value<'_> = nbytes.iter().map(|(key, _, worker)| (key, holder(worker))).collect();
        let sizes: Value<'_> = nbytes.iter().map(|(key, bytes, _)| (key, *bytes)).collect();
        let client = self.session.look(|session| session.client().to_string());
        let request = self
            .request("update_data")?
            .with("who_has", who_has)?
            .with("nbytes", sizes)?
            .with("client", client)?;
        self.rpc_within(request, deadline).await?;
        Ok(nbytes.into_iter().map(|(key, _, worker)| (key, worker)).collect())
    }

    async fn update_worker(
        &self,
        worker: &Arc<str>,
        address: &Address,
        items: &[&(Key, Payload)],
        deadline: Duration,
    ) -> Result<Vec<(Key, u64, Arc<str>)>> {
        let data: Value<'_> = items.iter().map(|(key, payload)| (key, payload.clone())).collect();
        let request = self
            .dialect()
            .request(Peer::Worker, "update_data")?
            .with("data", data)?
            // The scheduler hears of it from here.
            .with_if_taken("report", false)
            .into_rpc()?;
        let exchange = async {
            let mut lease = self.lease_worker(address).await?;
            let message = lease.comm.call(&request).await?;
            lease.done();
            Ok(message)
        };
        let late = || Error::timeout(format_args!("op \"update_data\" at {address}"), deadline);
        let exchange = async { timeout(deadline, exchange).await.map_err(|_| late())? };
        let message = self.exchanging("update_data", address, &request, exchange).await?;
        let reply = Reply::new(address, "update_data", message)?;
        let value = reply.value()?;
        let sizes =
            value.get("nbytes").and_then(Value::as_map).ok_or_else(|| reply.unexpected("no sizes"))?;
        let sizes: HashMap<Key, u64> =
            sizes.iter().filter_map(|(key, size)| Some((Key::from_value(key)?, size.as_u64()?))).collect();
        let size = |(key, payload): &&(Key, Payload)| {
            let size = sizes.get(key).copied().unwrap_or(payload.len() as u64);
            (key.clone(), size, Arc::clone(worker))
        };
        Ok(items.iter().map(size).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_out_of_reach_are_remembered() {
        let reach = Reach::default();
        let address = |port: u16| -> Address { format!("tcp://10.0.0.1:{port}").parse().unwrap() };
        assert!(reach.may_try(&address(1)));
        reach.beyond(&address(1));
        assert!(!reach.may_try(&address(1)) && reach.may_try(&address(2)));
        reach.beyond(&address(2));
        // Two out of reach and none within: a network that does not route to workers.
        assert!(!reach.may_try(&address(3)));
        reach.reached(&address(2));
        assert!(reach.may_try(&address(3)) && reach.may_try(&address(2)) && !reach.may_try(&address(1)));
    }
}
