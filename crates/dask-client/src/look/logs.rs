//! What servers log: read afterwards, or forwarded as it happens.

use std::collections::BTreeMap;
use std::sync::Arc;

use dask_wire::{Dialect, Feature, Request, Value};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::runtime;

use crate::client::{Client, Handle};
use crate::error::Result;
use crate::outside::plugin::Plugin;
use crate::outside::run::Place;
use crate::session::reply::Reply;
use crate::state::guard::fresh_id;

/// A line of a server's log.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LogLine {
    /// When, in seconds since 1970; `None` on releases that do not tell (before 2021.10.0).
    pub timestamp: Option<f64>,
    /// `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`.
    pub level: String,
    /// The line, formatted as the server is configured to.
    pub message: String,
}

impl Client {
    /// The latest lines of the scheduler's log, oldest first, at most `count`. How many it keeps is configured there.
    /// Python's `Client.get_scheduler_logs`.
    ///
    /// Op `get_logs`, every release.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn scheduler_logs(&self, count: Option<usize>) -> Result<Vec<LogLine>> {
        let shared = self.shared();
        let reply = shared.rpc(with_count(shared.dialect(), shared.request("get_logs")?, count)?).await?;
        let value = reply.value()?;
        lines(&value, count).ok_or_else(|| unexpected(&reply, &value))
    }

    /// As [`Client::scheduler_logs`], of every worker, by address. Workers that do not answer have an error there.
    /// Python's `Client.get_worker_logs`.
    ///
    /// Ops `proxy` and `get_logs`, every release.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn worker_logs(&self, count: Option<usize>) -> Result<BTreeMap<String, Result<Vec<LogLine>>>> {
        self.logs_at(Place::Worker, None, count).await
    }

    /// As [`Client::worker_logs`], of these workers alone, by address or name.
    ///
    /// # Errors
    /// There is no such worker, or the scheduler does not answer.
    pub async fn worker_logs_of<W: Into<String>>(
        &self,
        workers: impl IntoIterator<Item = W>,
        count: Option<usize>,
    ) -> Result<BTreeMap<String, Result<Vec<LogLine>>>> {
        let named: Vec<String> = workers.into_iter().map(Into::into).collect();
        self.logs_at(Place::Worker, Some(&named), count).await
    }

    /// As [`Client::worker_logs`], of the nannies.
    ///
    /// Ops `broadcast` and `get_logs`, every release.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn nanny_logs(&self, count: Option<usize>) -> Result<BTreeMap<String, Result<Vec<LogLine>>>> {
        self.logs_at(Place::Nanny, None, count).await
    }

    /// As [`Client::nanny_logs`], of the nannies of these workers alone, by address or name.
    ///
    /// # Errors
    /// There is no such worker or it has no nanny, or the scheduler does not answer.
    pub async fn nanny_logs_of<W: Into<String>>(
        &self,
        workers: impl IntoIterator<Item = W>,
        count: Option<usize>,
    ) -> Result<BTreeMap<String, Result<Vec<LogLine>>>> {
        let named: Vec<String> = workers.into_iter().map(Into::into).collect();
        self.logs_at(Place::Nanny, Some(&named), count).await
    }

    async fn logs_at(
        &self,
        place: Place,
        named: Option<&[String]>,
        count: Option<usize>,
    ) -> Result<BTreeMap<String, Result<Vec<LogLine>>>> {
        let shared = self.shared();
        let request =
            with_count(shared.dialect(), shared.dialect().request(place.peer(), "get_logs")?, count)?
                .into_rpc()?;
        let workers = self.pick_workers(place, named).await?;
        let replies = shared.ask_each(place, workers, &request, None).await;
        let read = |reply: Result<Value<'static>>| {
            let value = reply?;
            lines(&value, count)
                .ok_or_else(|| crate::Error::unexpected(self.address(), "get_logs", value.kind()))
        };
        Ok(replies.into_iter().map(|(worker, reply)| (worker, read(reply))).collect())
    }

    /// Forwards what the workers log from now on as `tracing` events, until the returned value is dropped: Python's
    /// `Client.forward_logging`.
    ///
    /// Records of the Python logger of this name and those below it (`""`: of all), of this level and above. Each comes as
    /// an event of the target `dask.worker` with the fields `worker`, `logger`, and the time as `timestamp`. The
    /// logger's level is lowered to `level` where it is higher.
    ///
    /// Ops `register_worker_plugin` and `log_event`, stream op `subscribe-topic`: from 2021.9.1 on.
    ///
    /// # Errors
    /// The release has no subscriptions, or the scheduler does not answer.
    pub async fn forward_logs(&self, logger: &str, level: LogLevel) -> Result<LogForwarding> {
        self.dialect().need(Feature::Topics)?;
        let topic = format!("forwarded-logs-{}", fresh_id());
        let mut records = self.subscribe(topic.clone()).await?;
        let plugin = Plugin::source(FORWARD, "ForwardLogs")
            .args((logger, level.number(), topic.as_str()))
            .name(topic.as_str());
        // Before anything is registered, so that no way out of here leaves it registered.
        let forwarding = LogForwarding {
            handle: Arc::clone(self.handle()),
            plugin: topic,
            runtime: runtime::Handle::current(),
            reader: tokio::spawn(async move {
                while let Some(event) = records.next().await {
                    match event.to::<Record>() {
                        Ok(record) => record.emit(event.lagged),
                        Err(error) => tracing::debug!(%error, "a forwarded log record cannot be read"),
                    }
                }
            }),
        };
        self.register_worker_plugin(plugin).await?;
        Ok(forwarding)
    }
}

/// From which severity on records are forwarded; the names are Python's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What happens.
    Info,
    /// What may be wrong.
    Warning,
    /// What failed.
    Error,
}

impl LogLevel {
    fn number(self) -> i64 {
        match self {
            LogLevel::Debug => 10,
            LogLevel::Info => 20,
            LogLevel::Warning => 30,
            LogLevel::Error => 40,
        }
    }
}

/// Workers' logs are forwarded for as long as this lives. Made by [`Client::forward_logs`].
#[must_use = "dropping it ends the forwarding"]
pub struct LogForwarding {
    handle: Arc<Handle>,
    plugin: String,
    runtime: runtime::Handle,
    reader: tokio::task::JoinHandle<()>,
}

impl std::fmt::Debug for LogForwarding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogForwarding").field("topic", &self.plugin).finish_non_exhaustive()
    }
}

impl Drop for LogForwarding {
    fn drop(&mut self) {
        self.reader.abort();
        let client = Client { handle: Arc::clone(&self.handle) };
        let plugin = std::mem::take(&mut self.plugin);
        self.runtime.spawn(async move {
            if let Err(error) = client.unregister_worker_plugin(&*plugin).await {
                tracing::debug!(%error, "the plugin that forwards logs was not removed");
            }
        });
    }
}

/// What the plugin sends.
#[derive(Deserialize)]
struct Record {
    worker: String,
    logger: String,
    level: i64,
    message: String,
    time: f64,
}

impl Record {
    fn emit(self, lagged: u64) {
        let Record { worker, logger, level, message, time: timestamp } = self;
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(target: "dask.worker", %worker, %logger, timestamp, lagged, "{message}")
            };
        }
        match level {
            40.. => event!(error),
            30.. => event!(warn),
            20.. => event!(info),
            _ => event!(debug),
        }
    }
}

/// Sends log records to a topic. A record may come from any thread, the message must leave from the event loop's.
const FORWARD: &str = r#"
import logging

from distributed.diagnostics.plugin import WorkerPlugin


class ToTopic(logging.Handler):
    def __init__(self, worker, level, topic):
        super().__init__(level)
        self.worker = worker
        self.topic = topic

    def emit(self, record):
        try:
            message = {
                "worker": self.worker.address,
                "logger": record.name,
                "level": record.levelno,
                "message": self.format(record),
                "time": record.created,
            }
            self.worker.loop.add_callback(self.worker.log_event, self.topic, message)
        except Exception:
            self.handleError(record)


# For each logger its own level, and those of who forwards it.
forwarded = {}


class ForwardLogs(WorkerPlugin):
    def __init__(self, logger, level, topic):
        self.logger = logger
        self.level = level
        self.topic = topic

    def setup(self, worker):
        self.handler = ToTopic(worker, self.level, self.topic)
        logger = logging.getLogger(self.logger or None)
        forwarded.setdefault(self.logger, (logger.level, []))[1].append(self.level)
        if logger.getEffectiveLevel() > self.level:
            logger.setLevel(self.level)
        logger.addHandler(self.handler)

    def teardown(self, worker):
        logger = logging.getLogger(self.logger or None)
        logger.removeHandler(self.handler)
        own, levels = forwarded[self.logger]
        levels.remove(self.level)
        logger.setLevel(own)
        if not levels:
            del forwarded[self.logger]
        elif logger.getEffectiveLevel() > min(levels):
            logger.setLevel(min(levels))
"#;

/// Asks for timestamps where there are any: only then is the order known. A count is sent where it means the latest.
fn with_count(dialect: Dialect, request: Request, count: Option<usize>) -> Result<Request> {
    if !request.accepts("timestamps") {
        return Ok(request);
    }
    let request = request.with("timestamps", true)?;
    Ok(match count {
        Some(count) if dialect.has(Feature::LatestLogLines) => request.with("n", count)?,
        _ => request,
    })
}

fn lines(value: &Value<'_>, count: Option<usize>) -> Option<Vec<LogLine>> {
    let line = |line: &Value<'_>| match line.as_array()? {
        [timestamp, level, message] => Some(LogLine {
            timestamp: timestamp.as_f64(),
            level: level.as_str()?.to_owned(),
            message: message.as_str()?.to_owned(),
        }),
        [level, message] => Some(LogLine {
            timestamp: None,
            level: level.as_str()?.to_owned(),
            message: message.as_str()?.to_owned(),
        }),
        _ => None,
    };
    let mut lines = value.as_array()?.iter().map(line).collect::<Option<Vec<_>>>()?;
    lines.sort_by(|a, b| {
        let (a, b) = (a.timestamp.unwrap_or_default(), b.timestamp.unwrap_or_default());
        a.total_cmp(&b)
    });
    if let Some(count) = count {
        lines.drain(..lines.len().saturating_sub(count));
    }
    Some(lines)
}

fn unexpected(reply: &Reply, value: &Value<'_>) -> crate::Error {
    reply.unexpected(format_args!("{} for a log", value.kind()))
}
