//! `dask-rs tasks`

use dask_client::Client;
use serde_json::json;

use super::survey;
use crate::cli::Tasks;
use crate::commands::Context;
use crate::failure::Failure;
use crate::{output, progress};

pub(in crate::commands) async fn run(context: Context, options: &Tasks) -> Result<u8, Failure> {
    let client = options.cluster.connect(context).await?;
    let worker = match &options.worker {
        Some(named) => Some(address_of(&client, named).await?),
        None => None,
    };
    let asking = survey::tasks(&client);
    let mut rows = progress::patient(context.quiet, "asking for all tasks", asking).await?;
    client.close().await;
    let listing = options.list
        || context.wide()
        || options.state.is_some()
        || worker.is_some()
        || options.prefix.is_some();
    rows.retain(|row| {
        options.state.is_none_or(|state| row.state == state.name())
            && worker.as_ref().is_none_or(|worker| row.workers.contains(worker))
            && options.prefix.as_ref().is_none_or(|prefix| row.prefix.starts_with(prefix.as_str()))
    });
    let states = survey::count(&rows);
    let left_out = if listing { rows.len().saturating_sub(options.limit) } else { 0 };
    rows.truncate(options.limit);
    if context.json() {
        let mut object = json!({ "states": survey::sums(&states), "prefixes": states });
        if let (true, Some(object)) = (listing, object.as_object_mut()) {
            object.insert("tasks".to_owned(), json!(rows));
            object.insert("left_out".to_owned(), json!(left_out));
        }
        output::line(&object);
        return Ok(0);
    }
    if listing {
        let table = rows.iter().map(|row| vec![row.key.clone(), row.state.clone(), row.workers.join(" ")]);
        output::data(&output::table(&["key", "state", "workers"], table));
    } else {
        let sums = survey::sums(&states);
        let mut header = vec!["name"];
        header.extend(sums.keys().map(String::as_str));
        let line = |name: &str, counts: &std::collections::BTreeMap<String, u64>| {
            let mut cells = vec![name.to_owned()];
            let shown = |state: &String| counts.get(state).map_or_else(|| "-".to_owned(), u64::to_string);
            cells.extend(sums.keys().map(shown));
            cells
        };
        let mut table: Vec<_> = states.iter().map(|(name, counts)| line(name, counts)).collect();
        if states.len() > 1 {
            table.push(line("all", &sums));
        }
        if table.is_empty() {
            output::say(context.quiet, "no tasks");
        } else {
            output::data(&output::table(&header, table));
        }
    }
    if left_out > 0 {
        output::say(context.quiet, &format!("{left_out} more; --limit shows them"));
    }
    Ok(0)
}

/// The address of a worker that is named by address or name.
async fn address_of(client: &Client, named: &str) -> Result<String, Failure> {
    let workers = client.scheduler_info().await?.workers;
    let worker = workers.get(named).or_else(|| workers.values().find(|worker| worker.name == named));
    worker.map(|worker| worker.address.clone()).ok_or_else(|| {
        let some: Vec<&str> = workers.keys().take(8).map(String::as_str).collect();
        let all = workers.len();
        Failure::config(format!(
            "there is no worker {named:?}; among the {all} there are: {}",
            some.join(", ")
        ))
    })
}
