//! Looking at what the cluster does: load, call stacks, task records, dumps.

use std::collections::BTreeMap;
use std::time::Duration;

use dask_wire::{Key, Value};
use serde::Serialize;
use tokio::time::sleep;
use tracing::Instrument;

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::session::trace::about_keys;
use crate::state::plain::seconds;

/// One stretch of work on a task: `compute`, `transfer`, `deserialize`, `disk-read`, …
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StartStop {
    /// What was done.
    pub action: String,
    /// When it began, in seconds since 1970 by the worker's clock.
    pub start: f64,
    /// When it ended.
    pub stop: f64,
}

/// One finished run of a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TaskRecord {
    /// The task's key, as text.
    pub key: String,
    /// The address of the worker that ran it.
    pub worker: String,
    /// The thread there.
    pub thread: Option<i64>,
    /// `OK` or `error`.
    pub status: String,
    /// The size of the result in bytes, where it is known.
    pub nbytes: Option<u64>,
    /// What was done and when.
    pub startstops: Vec<StartStop>,
}

impl Client {
    /// How many threads each worker has, by address: Python's `Client.nthreads`.
    ///
    /// Op `ncores`, every release.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn nthreads(&self) -> Result<BTreeMap<String, u64>> {
        self.threads_by("ncores").await
    }

    async fn threads_by(&self, op: &str) -> Result<BTreeMap<String, u64>> {
        let shared = self.shared();
        let reply = shared.rpc(shared.request(op)?).await?;
        let value = reply.value()?;
        value.to().map_err(|error| reply.unexpected(error))
    }

    /// The keys of the tasks that each worker is processing or has waiting, by address: Python's `Client.processing`.
    ///
    /// Op `processing`, every release.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn processing(&self) -> Result<BTreeMap<String, Vec<Key>>> {
        let shared = self.shared();
        let reply = shared.rpc(shared.request("processing")?).await?;
        let value = reply.value()?;
        let Some(workers) = value.as_map() else { return Err(reply.unexpected(value.kind())) };
        let keys = |keys: &Value<'_>| {
            keys.as_array().unwrap_or_default().iter().filter_map(Key::from_value).collect()
        };
        Ok(workers
            .iter()
            .filter_map(|(worker, tasks)| Some((worker.as_str()?.to_owned(), keys(tasks))))
            .collect())
    }

    /// Where in their Python code running tasks are: for each worker, the task's key and its frames, outermost first.
    /// With `keys` only those tasks and what they wait for; without, all that run. Python's `Client.call_stack`.
    ///
    /// Op `call_stack`, every release.
    ///
    /// # Errors
    /// A key is not known to the scheduler ([`ErrorKind::Rpc`]), or it does not answer.
    pub async fn call_stack(
        &self,
        keys: Option<&[Key]>,
    ) -> Result<BTreeMap<String, BTreeMap<String, Vec<String>>>> {
        let shared = self.shared();
        let asked = async {
            shared.until_taken_in(keys.unwrap_or_default()).await?;
            let keys = keys.map_or(Value::Nil, |keys| keys.iter().collect());
            shared.rpc(shared.request("call_stack")?.with("keys", keys)?).await
        };
        let reply = asked.instrument(about_keys!("dask.call_stack", keys.unwrap_or_default())).await?;
        let value = reply.value()?;
        let frames = |frames: &Value<'_>| {
            let frames = frames.as_array().unwrap_or_default().iter();
            frames.filter_map(Value::as_str).map(|frame| frame.trim_end().to_owned()).collect()
        };
        let tasks = |tasks: &Value<'_>| {
            let tasks = tasks.as_map().unwrap_or_default().iter();
            tasks
                .filter_map(|(key, stack)| Some((Key::from_value(key)?.to_string(), frames(stack))))
                .collect()
        };
        let workers = value.as_map().unwrap_or_default().iter();
        Ok(workers
            .filter_map(|(worker, running)| Some((worker.as_str()?.to_owned(), tasks(running))))
            .collect())
    }

    /// Records of the latest runs of tasks, oldest first: those that ended between `start` and `stop` (seconds since
    /// 1970), and at most `count`. Python's `Client.get_task_stream`.
    ///
    /// The scheduler begins to record when this is first called (or its dashboard is looked at), so call it once
    /// before the work begins.
    ///
    /// Op `get_task_stream`, every release.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn task_stream(
        &self,
        start: Option<f64>,
        stop: Option<f64>,
        count: Option<usize>,
    ) -> Result<Vec<TaskRecord>> {
        let shared = self.shared();
        let request = shared
            .request("get_task_stream")?
            .with("start", start)?
            .with("stop", stop)?
            .with("count", count)?;
        let reply = shared.rpc(request).await?;
        let value = reply.value()?;
        let records = value.as_array().ok_or_else(|| reply.unexpected(value.kind()))?;
        Ok(records.iter().map(task_record).collect())
    }

    /// The state of the scheduler and all workers, tasks included, as plain data: Python's `Client.dump_cluster_state`,
    /// without a file. What is named in `exclude` is left out, for example `run_spec`. On a busy cluster it is large
    /// and takes its time.
    ///
    /// Op `get_cluster_state`, from 2022.3.0 on.
    ///
    /// # Errors
    /// The release cannot do it, or it takes longer than `within`.
    pub async fn cluster_dump(&self, exclude: &[&str], within: Duration) -> Result<Value<'static>> {
        let shared = self.shared();
        let exclude = exclude.iter().map(|name| (*name).to_owned()).collect::<Value<'_>>();
        let request = shared.request("get_cluster_state")?.with("exclude", exclude)?;
        Ok(shared.rpc_within(request, within).await?.value()?.into_owned())
    }

    /// Has the scheduler write its dump to a file, on its own machine or wherever `url` says that fsspec can reach
    /// (`s3://…`). Python's `Client.dump_cluster_state(url, write_from_scheduler=True)`, whose `DumpArtefact` reads it.
    /// The format is `msgpack` (compressed; `.msgpack.gz` is appended to the url) or `yaml` (`.yaml` is appended).
    ///
    /// Op `dump_cluster_state_to_url`, from 2022.3.0 on.
    ///
    /// # Errors
    /// The release cannot do it, the file cannot be written or fsspec is missing there ([`ErrorKind::Rpc`]), or it takes
    /// longer than `within`.
    pub async fn cluster_dump_to(
        &self,
        url: &str,
        format: &str,
        exclude: &[&str],
        within: Duration,
    ) -> Result<()> {
        let shared = self.shared();
        let exclude = exclude.iter().map(|name| (*name).to_owned()).collect::<Value<'_>>();
        let request = shared
            .request("dump_cluster_state_to_url")?
            .with("url", url.to_owned())?
            .with("exclude", exclude)?
            .with("format", format.to_owned())?;
        shared.rpc_within(request, within).await.map(drop)
    }

    /// Waits until there are at least `count` workers that accept tasks (before 2021.11.0, that are there), and says how
    /// many there are. Python's `Client.wait_for_workers`.
    ///
    /// Op `ncores_running`, before 2021.11.0 `ncores`, asked again and again.
    ///
    /// # Errors
    /// There are fewer when the time is over ([`ErrorKind::Timeout`], which says how many), or the scheduler does not
    /// answer.
    pub async fn wait_for_workers(&self, count: usize, within: impl Into<Option<Duration>>) -> Result<usize> {
        let within = within.into();
        let op = match self.shared().request("ncores_running") {
            Ok(request) => request.op(),
            Err(_) => "ncores",
        };
        let mut pause = Duration::from_millis(20);
        let mut found = None;
        let look = async {
            loop {
                let workers = self.threads_by(op).await?.len();
                if workers >= count {
                    return Ok(workers);
                }
                found = Some(workers);
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(500));
            }
        };
        let Some(within) = within else { return look.await };
        match tokio::time::timeout(within, look).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                match found {
                    Some(found) => format!(
                        "{found} of {count} workers are there after {within:?}; are enough started, and do their logs \
                         say why they do not connect?"
                    ),
                    None => format!("the scheduler did not say within {within:?} how many workers it has"),
                },
            )),
        }
    }

    /// How many workers the scheduler thinks are right for its load: what Dask's adaptive scaling goes by. The load is
    /// to be done within `target`, by default what is configured on the scheduler.
    ///
    /// Op `adaptive_target`, every release.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn adaptive_target(&self, target: Option<Duration>) -> Result<u64> {
        let shared = self.shared();
        let reply =
            shared.rpc(shared.request("adaptive_target")?.with("target_duration", seconds(target))?).await?;
        let count = reply.value()?.as_u64();
        count.ok_or_else(|| reply.unexpected("no number of workers"))
    }
}

pub(crate) fn text(value: &Value<'_>, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn task_record(value: &Value<'_>) -> TaskRecord {
    let startstops = value.get("startstops").and_then(Value::as_array).unwrap_or_default();
    let time = |value: &Value<'_>, name| value.get(name).and_then(Value::as_f64).unwrap_or_default();
    TaskRecord {
        key: value.get("key").and_then(Key::from_value).map(|key| key.to_string()).unwrap_or_default(),
        worker: text(value, "worker"),
        thread: value.get("thread").and_then(Value::as_i64),
        status: text(value, "status"),
        nbytes: value.get("nbytes").and_then(Value::as_u64),
        startstops: startstops
            .iter()
            .map(|part| StartStop {
                action: text(part, "action"),
                start: time(part, "start"),
                stop: time(part, "stop"),
            })
            .collect(),
    }
}
