//! `dask-rs logs`

use std::collections::BTreeMap;

use dask_client::LogLine;
use serde_json::json;

use crate::cli::Logs;
use crate::commands::Context;
use crate::failure::Failure;
use crate::{output, progress};

/// Levels of Python's logging, from least to most.
const LEVELS: [&str; 5] = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

pub(in crate::commands) async fn run(context: Context, options: &Logs) -> Result<u8, Failure> {
    let least = match &options.level {
        None => 0,
        Some(level) => {
            LEVELS.iter().position(|known| known.eq_ignore_ascii_case(level)).ok_or_else(|| {
                Failure::config(format!(
                    "{level:?} is no level; there are debug, info, warning, error and critical"
                ))
            })?
        }
    };
    let client = options.cluster.connect_to_ask_many(context).await?;
    // Of whom only some lines are shown, all are asked for.
    let last = options.n as usize;
    let count = (least == 0).then_some(last);
    let named = &options.worker;
    let of_workers = options.workers || options.nanny || !named.is_empty();
    let logs = async {
        Ok::<_, dask_client::Error>(match (options.nanny, named.is_empty()) {
            _ if !of_workers => {
                BTreeMap::from([("scheduler".to_owned(), Ok(client.scheduler_logs(count).await?))])
            }
            (true, true) => client.nanny_logs(count).await?,
            (true, false) => client.nanny_logs_of(named, count).await?,
            (false, true) => client.worker_logs(count).await?,
            (false, false) => client.worker_logs_of(named, count).await?,
        })
    };
    let logs = progress::patient(context.quiet, "asking for logs", logs).await;
    client.close().await;
    let mut failed = None;
    for (server, lines) in logs? {
        let lines = match lines {
            Ok(lines) => lines,
            Err(error) => {
                output::words(&format!("[{server}] no log: {error}"));
                failed = failed.or(Some(error));
                continue;
            }
        };
        let severity = |line: &LogLine| LEVELS.iter().position(|known| *known == line.level);
        let lines: Vec<&LogLine> =
            lines.iter().filter(|line| severity(line).is_none_or(|at| at >= least)).collect();
        for line in lines.iter().skip(lines.len().saturating_sub(last)) {
            match context.json() {
                true => output::line(&json!({
                    "server": server,
                    "timestamp": line.timestamp,
                    "level": line.level,
                    "message": line.message,
                })),
                false => output::data(&format!("[{server}] {}", line.message)),
            }
        }
    }
    failed.map_or(Ok(0), |error| Err(error.into()))
}
