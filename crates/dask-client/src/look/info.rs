//! Looking at the cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use dask_wire::{Peer, Value};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::reply::Reply;
use crate::waiting::limit::Limit;

/// A worker, as the scheduler describes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its address, by which everything refers to it.
    pub address: String,
    /// Its name: a text, or a number for workers that Dask numbered.
    pub name: String,
    /// Threads that run tasks.
    pub nthreads: u64,
    /// Bytes it may use; `None` without a limit.
    pub memory_limit_bytes: Option<u64>,
    /// Bytes its process uses, by its last heartbeat.
    pub memory_bytes: Option<u64>,
    /// `running`, `paused`, …; `None` on releases that do not tell (before 2022.5.1).
    pub status: Option<String>,
    /// When the scheduler last heard of it, in seconds since 1970.
    #[serde(rename = "last_seen_unix_s")]
    pub last_seen: Option<f64>,
    /// Amounts of named resources.
    pub resources: BTreeMap<String, f64>,
    /// The address of its nanny, if it has one.
    pub nanny: Option<String>,
    /// Tasks it is executing, by its last heartbeat.
    pub executing: Option<u64>,
}

/// The scheduler and its workers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SchedulerInfo {
    /// The scheduler's unique name.
    pub id: String,
    /// The address it knows itself by, which may not be the one it was reached at.
    pub address: String,
    /// Ports of what else it serves, by name: mostly `dashboard`.
    pub services: BTreeMap<String, u64>,
    /// Where its dashboard should be, on the host that this client reached it at; `None` if it has none.
    pub dashboard: Option<String>,
    /// When it was started, in seconds since 1970; `None` on releases that do not tell (up to 2020.12.0).
    #[serde(rename = "started_unix_s")]
    pub started: Option<f64>,
    /// How many workers there are.
    pub n_workers: u64,
    /// Threads of all workers.
    pub total_threads: u64,
    /// Bytes that workers may use, of all that have a limit.
    pub total_memory_bytes: u64,
    /// Its workers by address; none in a [summary](Client::scheduler_summary).
    pub workers: BTreeMap<String, WorkerInfo>,
}

/// How one worker answered a health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerHealth {
    /// `OK`, `error` or `timeout`.
    pub status: String,
    /// What went wrong, unless it is OK.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

impl WorkerHealth {
    /// Whether the worker did what it was asked.
    pub fn is_ok(&self) -> bool {
        self.status == "OK"
    }
}

/// How many workers are asked at once.
const AT_ONCE: usize = 32;

impl Client {
    /// The scheduler and its workers (op `identity`, every release).
    ///
    /// # Errors
    /// The scheduler does not answer in time or not sensibly.
    pub async fn scheduler_info(&self) -> Result<SchedulerInfo> {
        let shared = self.shared();
        read_scheduler_info(&shared.rpc(shared.request("identity")?).await?)
    }

    /// The scheduler with its totals, without its workers: small and quick however many there are (from 2025.4.0 on;
    /// before, the scheduler tells of each worker and this client adds them up).
    ///
    /// Op `identity`, every release.
    ///
    /// # Errors
    /// As [`Client::scheduler_info`].
    pub async fn scheduler_summary(&self) -> Result<SchedulerInfo> {
        let shared = self.shared();
        let request = shared.request("identity")?.with_if_taken("n_workers", 0);
        let mut info = read_scheduler_info(&shared.rpc(request).await?)?;
        info.workers.clear();
        Ok(info)
    }

    /// Has every worker execute a small function, all within `deadline`, and says how that went: by worker address, as
    /// in `{'tcp://10.0.23.16:43141': {'status': 'OK'}}` (op `proxy` of `run`, every release).
    ///
    /// The function runs in the worker's event loop, so a worker whose threads are all busy is healthy. Workers are
    /// reached through the scheduler, so it works where they cannot be reached directly.
    ///
    /// # Errors
    /// The scheduler itself does not answer. What is wrong with a worker stands in the map.
    pub async fn health(&self, deadline: Duration) -> Result<BTreeMap<String, WorkerHealth>> {
        let info = self.scheduler_info().await?;
        let limit = Limit::new(deadline);
        let checks = info.workers.into_keys().map(|worker| async move {
            let outcome = match limit.left() {
                Some(left) => self.execute_on(&worker, left).await,
                // So many others were late that its turn did not come.
                None => Err(Error::timeout(format_args!("waiting for a turn to ask {worker}"), deadline)),
            };
            let health = match outcome {
                Ok(()) => WorkerHealth { status: "OK".to_owned(), reason: None },
                Err(error) => WorkerHealth {
                    status: match error.kind() {
                        crate::ErrorKind::Timeout => "timeout".to_owned(),
                        _ => "error".to_owned(),
                    },
                    reason: Some(error.to_string()),
                },
            };
            (worker, health)
        });
        Ok(futures::stream::iter(checks).buffer_unordered(AT_ONCE).collect().await)
    }

    /// Has one worker compute `operator.add(20, 22)` and checks the answer.
    async fn execute_on(&self, worker: &str, deadline: Duration) -> Result<()> {
        let shared = self.shared();
        let pickled = |template: Result<Vec<u8>, dask_pickle::Error>| template.map_err(Error::encode);
        let function = pickled(dask_pickle::to_vec(&dask_pickle::Global::new("operator:add")))?;
        let run = shared
            .dialect()
            .request(Peer::Worker, "run")?
            .with("function", function)?
            .with("args", pickled(dask_pickle::to_vec(&(20, 22)))?)?
            .with("kwargs", pickled(dask_pickle::to_vec(&BTreeMap::<String, ()>::new()))?)?
            .with("wait", true)?;
        let request =
            shared.request("proxy")?.with("worker", worker.to_owned())?.with("msg", run.into_rpc()?)?;
        let reply = shared.rpc_within(request, deadline).await?;
        let value = reply.value()?;
        if value.get("status").and_then(Value::as_str) != Some("OK") {
            return Err(match dask_wire::exception::PythonError::from_reply(&value) {
                Some(error) => Error::rpc(self.address(), "run", error),
                None => reply.unexpected("no status OK"),
            });
        }
        let answer: i64 = match value.get("result") {
            Some(Value::Payload(payload)) => {
                dask_wire::family::decode(payload, &shared.settings.pickle_limits)
                    .and_then(|decoded| decoded.to())
                    .map_err(|error| Error::decode(format_args!("the answer of {worker}"), error))?
            }
            Some(value) => value.to().map_err(|error| reply.unexpected(error))?,
            None => return Err(reply.unexpected("no result")),
        };
        if answer == 42 { Ok(()) } else { Err(reply.unexpected(format_args!("{answer} for 20 + 22"))) }
    }
}

/// The reply to op `identity`.
pub(crate) fn read_scheduler_info(reply: &Reply) -> Result<SchedulerInfo> {
    let value = reply.value()?;
    let text = |value: &Value<'_>, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut workers = BTreeMap::new();
    for (address, worker) in value.get("workers").and_then(Value::as_map).unwrap_or_default() {
        if let Some(address) = address.as_str() {
            workers.insert(address.to_owned(), worker_info(address, worker));
        }
    }
    let services = value.get("services").and_then(Value::as_map).unwrap_or_default();
    let services: BTreeMap<String, u64> = services
        .iter()
        .filter_map(|(name, port)| Some((name.as_str()?.to_owned(), port.as_u64()?)))
        .collect();
    let total = |name| value.get(name).and_then(Value::as_u64);
    Ok(SchedulerInfo {
        id: text(&value, "id").ok_or_else(|| reply.unexpected("no id; is this a scheduler?"))?,
        address: text(&value, "address").unwrap_or_default(),
        dashboard: services.get("dashboard").map(|port| {
            let host = reply.peer().host();
            // An IPv6 address needs its brackets.
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            format!("http://{host}:{port}/status")
        }),
        services,
        started: value.get("started").and_then(Value::as_f64),
        n_workers: total("n_workers").unwrap_or(workers.len() as u64),
        total_threads: total("total_threads")
            .unwrap_or_else(|| sum(workers.values().map(|worker| worker.nthreads))),
        total_memory_bytes: total("total_memory")
            .unwrap_or_else(|| sum(workers.values().filter_map(|worker| worker.memory_limit_bytes))),
        workers,
    })
}

fn worker_info(address: &str, worker: &Value<'_>) -> WorkerInfo {
    let number = |name| worker.get(name).and_then(Value::as_u64);
    let metric = |name: &str| worker.get("metrics").and_then(|metrics| metrics.get(name));
    WorkerInfo {
        address: address.to_owned(),
        name: match worker.get("name") {
            Some(Value::Str(name)) => name.to_string(),
            Some(Value::Int(number)) => number.to_string(),
            _ => address.to_owned(),
        },
        nthreads: number("nthreads").unwrap_or(0),
        memory_limit_bytes: number("memory_limit").filter(|limit| *limit > 0),
        memory_bytes: metric("memory").and_then(Value::as_u64),
        status: worker.get("status").and_then(Value::as_str).map(str::to_owned),
        last_seen: worker.get("last_seen").and_then(Value::as_f64),
        resources: worker
            .get("resources")
            .and_then(Value::as_map)
            .unwrap_or_default()
            .iter()
            .filter_map(|(name, amount)| Some((name.as_str()?.to_owned(), amount.as_f64()?)))
            .collect(),
        nanny: worker.get("nanny").and_then(Value::as_str).map(str::to_owned),
        executing: executing(worker.get("metrics")),
    }
}

/// A number of its own in older releases, one count among others in newer ones, where a state without tasks is left out.
fn executing(metrics: Option<&Value<'_>>) -> Option<u64> {
    let metrics = metrics?;
    match metrics.get("task_counts") {
        Some(counts) => Some(counts.get("executing").and_then(Value::as_u64).unwrap_or(0)),
        None => metrics.get("executing").and_then(Value::as_u64),
    }
}

/// A sum of what a peer says, which may be anything.
pub(crate) fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}
