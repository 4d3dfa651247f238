//! `dask-rs logs`

use std::collections::BTreeMap;

use dask_client::WireValue;
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
    let client = options.cluster.connect(context).await?;
    // Servers whose op takes a start give the last lines, newest first. Older ones get the end of their log wrong when
    // asked for a number of lines, so they are asked for all, oldest first; and so is everyone of whom only some are shown.
    let newest_first = client
        .dialect()
        .request(dask_wire::Peer::Scheduler, "logs")
        .is_ok_and(|request| request.accepts("start"))
        && least == 0;
    let count = if newest_first { WireValue::from(options.n) } else { WireValue::Nil };
    let logs: BTreeMap<String, WireValue<'static>> =
        if options.workers || options.nanny || !options.worker.is_empty() {
            let mut fields = vec![("n", count), ("nanny", options.nanny.into())];
            if !options.worker.is_empty() {
                fields.push(("workers", options.worker.iter().cloned().collect()));
            }
            let asking = client.rpc("worker_logs", fields);
            match progress::patient(context.quiet, "asking the workers", asking).await? {
                WireValue::Map(logs) => logs
                    .into_iter()
                    .filter_map(|(worker, log)| Some((worker.as_str()?.to_owned(), log)))
                    .collect(),
                _ => BTreeMap::new(),
            }
        } else {
            let log = client.rpc("logs", [("n", count)]).await?;
            BTreeMap::from([("scheduler".to_owned(), log)])
        };
    client.close().await;
    for (server, log) in logs {
        // The newest last, as people read them.
        let mut entries: Vec<(&str, &str)> = log
            .as_array()
            .unwrap_or_default()
            .iter()
            .filter_map(|entry| match entry.as_array() {
                Some([level, message, ..]) => {
                    Some((level.as_str().unwrap_or_default(), message.as_str().unwrap_or_default()))
                }
                _ => None,
            })
            .filter(|(level, _)| LEVELS.iter().position(|known| known == level).is_none_or(|at| at >= least))
            .collect();
        if newest_first {
            entries.reverse();
        }
        let first = entries.len().saturating_sub(options.n as usize);
        for (level, message) in entries.into_iter().skip(first) {
            match context.json() {
                true => output::line(&json!({ "server": server, "level": level, "message": message })),
                false => output::data(&format!("[{server}] {message}")),
            }
        }
    }
    Ok(0)
}
