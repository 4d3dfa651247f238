//! Finding out why a task has no result yet.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dask_wire::graph::TaskOptions;
use dask_wire::{Key, Value};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use crate::client::{Client, Shared};
use crate::error::{Error, Result};
use crate::look::info::{SchedulerInfo, WorkerInfo, read_scheduler_info, sum};
use crate::session::reply::Reply;
use crate::waiting::diagnosis::{Diagnosis, Offer};

/// Time for asking the cluster.
const TIME: Duration = Duration::from_secs(2);
/// Part of it after which the less important questions are given up.
const DETAILS: Duration = Duration::from_millis(1000);
/// A worker that was not heard of for this long is worth a word. Heartbeats come every second or so.
const SILENT: Duration = Duration::from_secs(10);
/// Tasks with needs of their own that are asked about.
const ASKED: usize = 200;
/// Tasks that wait, besides the one that is asked about, are counted up to this many.
const COUNTED: usize = 10_000;

impl Client {
    /// Asks the cluster why this key has no result yet; `None` if it has one, or an error. What a wait that timed out does
    /// by itself.
    ///
    /// Ops `identity`, `get_task_status`, `processing`, `who_has`, `call_stack` and, where the release has them,
    /// `get_story`. Takes two seconds at most.
    pub async fn diagnose(&self, key: &Key) -> Option<Diagnosis> {
        let shared = self.shared();
        if !shared.is_pending(key) {
            return None;
        }
        Some(shared.diagnose(key).await)
    }
}

impl Shared {
    /// The error of a wait that timed out, with the reason.
    pub(crate) async fn timed_out(&self, key: &Key, after: Duration) -> Error {
        if self.is_closing() {
            return Error::closed();
        }
        Error::late(key, after, self.diagnose(key).await)
    }

    /// The error of data that no worker took in time.
    pub(crate) async fn nobody_takes_it(&self, after: Duration) -> Error {
        let until = Instant::now() + TIME;
        let diagnosis = match timeout_at(until, self.look()).await {
            Ok(Ok(info)) => nobody(&info).unwrap_or(Diagnosis::State { state: "scattering".to_owned() }),
            _ => Diagnosis::SchedulerSilent,
        };
        Error::because("scattering data", after, diagnosis)
    }

    async fn diagnose(&self, key: &Key) -> Diagnosis {
        let span = tracing::debug_span!("dask.diagnose", %key);
        self.find_reason(key).instrument(span).await
    }

    async fn find_reason(&self, key: &Key) -> Diagnosis {
        let until = Instant::now() + TIME;
        let needs = self.session.look(|session| session.needs(key));
        let picky = needs.iter().flat_map(|needs| needs.iter()).take(ASKED);
        let mut keys = vec![key.clone()];
        keys.extend(picky.clone().filter(|(other, _)| other != key).map(|(other, _)| other.clone()));
        // What is asked next needs some of the time.
        let known = self.states_once_known(&keys, until - DETAILS / 2);
        let asked = async { futures::future::try_join(self.look(), known).await };
        let (info, states) = match timeout_at(until, asked).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) if error.kind() == crate::ErrorKind::Rpc => {
                return Diagnosis::State { state: error.to_string() };
            }
            _ => return Diagnosis::SchedulerSilent,
        };
        let state = states.get(key).map(String::as_str);
        if matches!(state, Some("memory")) {
            let workers = timeout_at(until, self.holders(key)).await;
            return Diagnosis::Fetching { workers: workers.ok().and_then(Result::ok).unwrap_or_default() };
        }
        if let Some(nobody) = nobody(&info) {
            return nobody;
        }
        // A task that no worker fits may be one that this one depends on.
        let stuck = picky.filter(|(task, _)| states.get(task).is_some_and(|state| state == "no-worker"));
        let misfit = stuck.clone().find(|(task, _)| task == key).or_else(|| stuck.clone().next());
        match (state, misfit) {
            (_, Some((task, options))) => none_fits(task, options, &info),
            (Some("no-worker"), None) => none_fits(key, &TaskOptions::default(), &info),
            (None, _) => Diagnosis::Unknown,
            (Some("processing"), _) => self.processing(key, &info, until).await,
            (Some("queued"), _) => self.queued(key, &info, until).await,
            (Some("waiting"), _) => {
                let stacks = timeout_at(details(until), self.stacks(key)).await.ok().and_then(Result::ok);
                let running = stacks.unwrap_or_default().into_iter().map(|stack| (stack.key, stack.worker));
                Diagnosis::Waiting { running: running.collect() }
            }
            (Some(state), _) => Diagnosis::State { state: state.to_owned() },
        }
    }

    async fn look(&self) -> Result<SchedulerInfo> {
        read_scheduler_info(&self.rpc_within(self.request("identity")?, TIME).await?)
    }

    /// The states of these keys. A task may still be on its way when it is asked about.
    async fn states_once_known(&self, keys: &[Key], until: Instant) -> Result<HashMap<Key, String>> {
        let mut pause = Duration::from_millis(5);
        loop {
            let states = self.states(keys, TIME).await?;
            let known = keys.first().is_none_or(|key| states.contains_key(key) || !self.is_pending(key));
            if known || Instant::now() + pause >= until {
                return Ok(states);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    async fn holders(&self, key: &Key) -> Result<Vec<String>> {
        let request = self.request("who_has")?.with("keys", [key].into_iter().collect::<Value<'_>>())?;
        let reply = self.rpc_within(request, TIME).await?;
        let value = reply.value()?;
        let holders = value.as_map().unwrap_or_default().first().and_then(|(_, holders)| holders.as_array());
        Ok(holders.unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// The tasks that each worker has.
    async fn assigned(&self) -> Result<Reply> {
        self.rpc_within(self.request("processing")?, TIME).await
    }

    async fn processing(&self, key: &Key, info: &SchedulerInfo, until: Instant) -> Diagnosis {
        let unclear = || Diagnosis::State { state: "processing".to_owned() };
        let Ok(Ok(reply)) = timeout_at(until, self.assigned()).await else { return unclear() };
        let Ok(value) = reply.value() else { return unclear() };
        let mine = value.as_map().unwrap_or_default().iter().find_map(|(worker, keys)| {
            let keys = keys.as_array()?;
            let has = keys.iter().any(|other| Key::from_value(other).as_ref() == Some(key));
            has.then(|| (worker.as_str().unwrap_or_default().to_owned(), keys.len() as u64))
        });
        let Some((worker, tasks)) = mine else { return unclear() };
        let known = info.workers.get(&worker);
        let silent = known.and_then(|known| known.last_seen).and_then(ago).filter(|silent| *silent > SILENT);
        let status = known.and_then(|known| known.status.clone()).filter(|status| status != "running");
        // A worker that is silent or paused would not tell.
        if silent.is_none() {
            let asked = async { futures::future::join(self.stacks(key), self.since(key)).await };
            if let Ok((stacks, since)) = timeout_at(details(until), asked).await {
                let stack = stacks.unwrap_or_default().into_iter().find(|stack| stack.key == *key);
                if let Some(stack) = stack {
                    return Diagnosis::Running { worker, since, at: stack.innermost };
                }
            }
        }
        let threads = known.map_or(1, |known| known.nthreads);
        Diagnosis::Assigned { worker, others: tasks.saturating_sub(1), threads, status, silent }
    }

    async fn queued(&self, key: &Key, info: &SchedulerInfo, until: Instant) -> Diagnosis {
        let with_workers = match timeout_at(until, self.assigned()).await {
            Ok(Ok(reply)) => reply.value().ok().map_or(0, |value| {
                let lists = value.as_map().unwrap_or_default().iter();
                lists.map(|(_, keys)| keys.as_array().map_or(0, <[_]>::len) as u64).sum()
            }),
            _ => 0,
        };
        // No op tells how long the queue is, only where tasks stand that one can name.
        let ours: Vec<Key> = self.session.look(|session| {
            session.pending_keys().filter(|other| *other != key).take(COUNTED).cloned().collect()
        });
        let others = async {
            let asked = ours.iter().collect::<Value<'_>>();
            let reply = self.rpc_within(self.request("get_task_status")?.with("keys", asked)?, TIME).await?;
            let value = reply.value()?;
            let states = value.as_map().unwrap_or_default().iter();
            Ok::<usize, Error>(states.filter(|(_, state)| state.as_str() == Some("queued")).count())
        };
        let others = timeout_at(until, others).await.ok().and_then(Result::ok).unwrap_or(0) as u64;
        let threads = sum(info.workers.values().map(|worker| worker.nthreads));
        Diagnosis::Queued { others, with_workers, threads }
    }

    /// What is being executed of a task and of those it waits for.
    async fn stacks(&self, key: &Key) -> Result<Vec<Stack>> {
        let request = self.request("call_stack")?.with("keys", [key].into_iter().collect::<Value<'_>>())?;
        let reply = self.rpc_within(request, DETAILS).await?;
        let value = reply.value()?;
        let mut stacks = Vec::new();
        for (worker, tasks) in value.as_map().unwrap_or_default() {
            for (key, frames) in tasks.as_map().unwrap_or_default() {
                let (Some(worker), Some(key)) = (worker.as_str(), Key::from_value(key)) else { continue };
                let frames = frames.as_array().unwrap_or_default();
                let innermost = frames.last().and_then(Value::as_str).map(one_line);
                stacks.push(Stack { worker: worker.to_owned(), key, innermost });
            }
        }
        Ok(stacks)
    }

    /// For how long a worker has had a task, by the scheduler's story of it.
    async fn since(&self, key: &Key) -> Option<Duration> {
        let request = self.request("get_story").ok()?;
        let field = if request.accepts("keys_or_stimuli") { "keys_or_stimuli" } else { "keys" };
        let request = request.with(field, [key].into_iter().collect::<Value<'_>>()).ok()?;
        let reply = self.rpc_within(request, DETAILS).await.ok()?;
        let value = reply.value().ok()?;
        // key, start, finish, recommendations, stimulus, time
        let processing = value.as_array()?.iter().rev().find(|transition| {
            let parts = transition.as_array().unwrap_or_default();
            parts.get(2).and_then(Value::as_str) == Some("processing")
        })?;
        ago(processing.as_array()?.last()?.as_f64()?)
    }
}

struct Stack {
    worker: String,
    key: Key,
    innermost: Option<String>,
}

fn details(until: Instant) -> Instant {
    until.min(Instant::now() + DETAILS)
}

fn one_line(frame: &str) -> String {
    frame.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
}

/// How long ago a time in seconds since 1970 was.
fn ago(time: f64) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    Duration::try_from_secs_f64((now - time).max(0.0)).ok()
}

/// Why nothing at all can run.
fn nobody(info: &SchedulerInfo) -> Option<Diagnosis> {
    if info.workers.is_empty() {
        return Some(Diagnosis::NoWorkers);
    }
    let paused = |worker: &WorkerInfo| worker.status.as_deref() == Some("paused");
    info.workers
        .values()
        .all(paused)
        .then(|| Diagnosis::AllPaused { workers: info.workers.keys().cloned().collect() })
}

fn none_fits(task: &Key, options: &TaskOptions, info: &SchedulerInfo) -> Diagnosis {
    let offers = info.workers.values().map(|worker| Offer {
        worker: worker.address.clone(),
        name: worker.name.clone(),
        resources: worker.resources.iter().map(|(name, amount)| (name.clone(), *amount)).collect(),
        status: worker.status.clone().filter(|status| status != "running"),
    });
    let workers = if options.allow_other_workers { Vec::new() } else { options.workers.clone() };
    Diagnosis::NoneFits {
        task: task.clone(),
        resources: options.resources.clone(),
        workers,
        offers: offers.collect(),
    }
}
