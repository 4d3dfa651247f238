//! All tasks of a cluster: their states and where they are, by ops that every release has.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use dask_client::{Client, ErrorKind, Key, WireValue, python_module};
use serde::Serialize;

use super::keys;
use crate::failure::Failure;

/// One task as the scheduler knows it.
#[derive(Clone, Debug, Serialize)]
pub(in crate::commands) struct TaskRow {
    pub(in crate::commands) key: String,
    pub(in crate::commands) prefix: String,
    pub(in crate::commands) state: String,
    /// Who runs it, or who holds its result.
    pub(in crate::commands) workers: Vec<String>,
}

/// Counts of states by name of task.
pub(in crate::commands) type States = BTreeMap<String, BTreeMap<String, u64>>;

/// Keys asked about in one request.
const AT_ONCE: usize = 20_000;

/// Every task (ops `who_has`, `get_task_status`, `processing`).
pub(in crate::commands) async fn tasks(client: &Client) -> Result<Vec<TaskRow>, Failure> {
    let holders = client.rpc("who_has", []).await?;
    let processing = client.rpc("processing", []).await?;
    let mut where_to: HashMap<Key, Vec<String>> = HashMap::new();
    for (worker, keys) in processing.as_map().unwrap_or_default() {
        for key in keys.as_array().unwrap_or_default() {
            if let (Some(key), Some(worker)) = (Key::from_value(key), worker.as_str()) {
                where_to.entry(key).or_default().push(worker.to_owned());
            }
        }
    }
    let mut all: Vec<Key> = Vec::new();
    for (key, workers) in holders.as_map().unwrap_or_default() {
        let Some(key) = Key::from_value(key) else { continue };
        let workers = workers.as_array().unwrap_or_default().iter().filter_map(WireValue::as_str);
        where_to.entry(key.clone()).or_default().extend(workers.map(str::to_owned));
        all.push(key);
    }
    let mut rows = Vec::with_capacity(all.len());
    for keys in all.chunks(AT_ONCE) {
        let asked: WireValue<'static> = keys.iter().collect();
        let states = client.rpc("get_task_status", [("keys", asked)]).await?;
        for (key, state) in states.as_map().unwrap_or_default() {
            // A task that has gone in the meantime has no state.
            let (Some(key), Some(state)) = (Key::from_value(key), state.as_str()) else { continue };
            rows.push(TaskRow {
                prefix: keys::prefix(&key),
                state: state.to_owned(),
                workers: where_to.get(&key).cloned().unwrap_or_default(),
                key: key.to_string(),
            });
        }
    }
    rows.sort_by(|left, right| left.key.cmp(&right.key));
    Ok(rows)
}

/// Counts tasks by name and state.
pub(in crate::commands) fn count(rows: &[TaskRow]) -> States {
    let mut states = States::new();
    for row in rows {
        *states.entry(row.prefix.clone()).or_default().entry(row.state.clone()).or_default() += 1;
    }
    states
}

/// How long counts of queued tasks and of those that no worker can run are good: a scheduler notes it under a topic, and
/// in its log, when it is asked for them.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// The states that `get_task_prefix_states` leaves out, read off the scheduler.
const LEFT_OUT: &str = "
def left_out(dask_scheduler):
    counts = {}
    for name, prefix in dask_scheduler.task_prefixes.items():
        states = prefix.states
        some = {state: states.get(state, 0) for state in ('queued', 'no-worker')}
        if any(some.values()):
            counts[name] = some
    return counts
";

/// Counts the tasks of a cluster, again and again.
#[derive(Debug, Default)]
pub(in crate::commands) struct Counter {
    left_out: Option<(Instant, States)>,
}

impl Counter {
    /// As [`count`] of [`tasks`], by the cheaper op `get_task_prefix_states` where the release has it. What that does
    /// not tell is asked for by `run_function`, every ten seconds at most; all tasks are where that is not allowed.
    pub(in crate::commands) async fn count(&mut self, client: &Client) -> Result<States, Failure> {
        let reply = match client.rpc("get_task_prefix_states", []).await {
            Err(error) if error.kind() == ErrorKind::NotAvailable => {
                return Ok(count(&tasks(client).await?));
            }
            reply => reply?,
        };
        let mut states = States::new();
        for (prefix, counts) in reply.as_map().unwrap_or_default() {
            let Some(prefix) = prefix.as_str() else { continue };
            let counts = counts.as_map().unwrap_or_default().iter();
            let counts =
                counts.filter_map(|(state, count)| Some((state.as_str()?.to_owned(), count.as_u64()?)));
            states.insert(prefix.to_owned(), counts.collect());
        }
        let Some(left_out) = self.left_out(client).await? else {
            return Ok(count(&tasks(client).await?));
        };
        for (prefix, counts) in left_out {
            states.entry(prefix.clone()).or_default().extend(counts.clone());
        }
        for counts in states.values_mut() {
            counts.retain(|_, count| *count > 0);
        }
        Ok(states)
    }

    /// `None` if the scheduler runs nothing for clients.
    async fn left_out(&mut self, client: &Client) -> Result<Option<&States>, Failure> {
        if self.left_out.as_ref().is_none_or(|(asked, _)| asked.elapsed() >= GOOD_FOR) {
            let asking = client.run_on_scheduler(python_module(LEFT_OUT, "left_out"));
            match asking.await {
                Ok(states) => self.left_out = Some((Instant::now(), states)),
                Err(error) if is_refusal(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.left_out.as_ref().map(|(_, states)| states))
    }
}

/// Whether the scheduler has answered, and that it will not.
fn is_refusal(error: &dask_client::Error) -> bool {
    use ErrorKind::{Closed, Connect, ConnectionLost, Overloaded, Timeout};
    !matches!(error.kind(), Closed | Connect | ConnectionLost | Overloaded | Timeout)
}

/// The sums over all names.
pub(in crate::commands) fn sums(states: &States) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (state, count) in states.values().flatten() {
        *sums.entry(state.clone()).or_default() += count;
    }
    sums
}
