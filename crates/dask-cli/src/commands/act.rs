//! Commands that change a cluster: cancel, retire, restart, upload.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use dask_client::{Client, Key, WireValue};
use serde_json::json;

use super::Context;
use super::look::keys;
use crate::cli::{Cancel, Restart, Retire, Upload};
use crate::failure::{Failure, UNHEALTHY, UNUSABLE};
use crate::{output, progress};

pub(super) async fn cancel(context: Context, options: &Cancel) -> Result<u8, Failure> {
    let client = options.cluster.connect(context).await?;
    let keys: Vec<Key> = options.keys.iter().map(|text| keys::parse(&client, text)).collect();
    let asked: WireValue<'static> = keys.iter().collect();
    let states = client.rpc("get_task_status", [("keys", asked)]).await?;
    let states = states.as_map().unwrap_or_default().iter().filter(|(_, state)| !state.is_nil());
    let known: HashSet<Key> = states.filter_map(|(name, _)| Key::from_value(name)).collect();
    let (known, unknown): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(|key| known.contains(key));
    if !known.is_empty() {
        client.cancel_keys(known.iter().cloned()).await?;
    }
    client.close().await;
    let shown = |keys: &[Key]| keys.iter().map(Key::to_string).collect::<Vec<_>>();
    match context.json() {
        true => output::line(&json!({ "cancelled": shown(&known), "unknown": shown(&unknown) })),
        false => shown(&known).iter().for_each(|key| output::data(&format!("cancelled {key}"))),
    }
    if unknown.is_empty() {
        return Ok(0);
    }
    Err(Failure::new(UNHEALTHY, format!("the scheduler knows no task {}", shown(&unknown).join(", "))))
}

pub(super) async fn retire(context: Context, options: &Retire) -> Result<u8, Failure> {
    let client = options.cluster.connect(context).await?;
    let known = client.scheduler_info().await?.workers;
    if let Some(stranger) = options.workers.iter().find(|worker| !known.contains_key(*worker)) {
        client.close().await;
        let all = known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(Failure::new(
            UNHEALTHY,
            format!("{stranger} is no worker of this cluster; there are: {all}"),
        ));
    }
    let workers = options.workers.iter().cloned();
    let asking = async {
        match options.keep_running {
            true => client.retire_workers_without_closing(workers).await,
            false => client.retire_workers(workers).await,
        }
    };
    let retired = progress::patient(context.quiet, "moving data to other workers", asking).await?;
    client.close().await;
    match context.json() {
        true => output::line(&json!({ "retired": retired })),
        false => retired.iter().for_each(|worker| output::data(&format!("retired {worker}"))),
    }
    let stayed: Vec<&String> = options.workers.iter().filter(|worker| !retired.contains(worker)).collect();
    if stayed.is_empty() {
        return Ok(0);
    }
    Err(Failure::new(
        UNHEALTHY,
        format!(
            "{stayed:?} could not be retired: their data has nowhere to go, or they have gone by themselves"
        ),
    ))
}

pub(super) async fn restart(context: Context, options: &Restart) -> Result<u8, Failure> {
    let client = options.cluster.connect(context).await?;
    let info = client.scheduler_info().await?;
    if !options.yes {
        let lonely = info.workers.values().filter(|worker| worker.nanny.is_none()).count();
        let question = format!(
            "Restart {} with {} workers? Every task and result of every client is lost{}. [y/N] ",
            client.address(),
            info.workers.len(),
            if lonely > 0 {
                format!("; {lonely} workers have no nanny and will not come back")
            } else {
                String::new()
            }
        );
        if !agreed(&question)? {
            client.close().await;
            return Err(Failure::config("not restarted"));
        }
    }
    let deadline = options.cluster.deadline();
    let expected = info.workers.values().filter(|worker| worker.nanny.is_some()).count();
    let asking = async {
        // The scheduler would wait for those that do not come back, too.
        match options.no_wait || expected < info.workers.len() {
            true => client.restart_without_waiting(deadline).await,
            false => client.restart(deadline).await,
        }
    };
    let until = Instant::now() + deadline;
    progress::patient(context.quiet, "waiting for the workers", asking).await?;
    // The scheduler may have counted one that was about to go.
    let back = loop {
        let back = client.scheduler_info().await?.workers.len();
        if back >= expected || options.no_wait || Instant::now() >= until {
            break back;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    client.close().await;
    match context.json() {
        true => output::line(&json!({ "workers_before": info.workers.len(), "workers_after": back })),
        false => output::data(&format!("restarted; {back} workers")),
    }
    Ok(0)
}

/// Asks on the terminal.
fn agreed(question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::config("this cannot be undone and there is nobody to ask; say --yes"));
    }
    output::ask(question);
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Failure::config(format!("cannot read the answer: {error}")))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

pub(super) async fn upload(context: Context, options: &Upload) -> Result<u8, Failure> {
    let shown = options.file.display();
    let data = std::fs::read(&options.file)
        .map_err(|error| Failure::config(format!("cannot read {shown}: {error}")))?;
    let name = options.file.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let name =
        name.ok_or_else(|| Failure::config(format!("{shown} has no file name that Python could use")))?;
    let client = options.cluster.connect(context).await?;
    let outcome = send(context, options, &client, &name, data).await;
    client.close().await;
    outcome
}

async fn send(
    context: Context,
    options: &Upload,
    client: &Client,
    name: &str,
    data: Vec<u8>,
) -> Result<u8, Failure> {
    let asking = client.upload_bytes(name, &data, !options.no_load);
    // Newer schedulers import the file themselves, first.
    let replies = progress::patient(context.quiet, "sending the file", asking).await.map_err(|error| {
        match error.python() {
            Some(python) => {
                Failure::new(UNUSABLE, format!("the cluster cannot use the file: {}", python.message))
            }
            None => error.into(),
        }
    })?;
    let (stored, failed): (Vec<_>, Vec<_>) = replies.iter().partition(|(_, health)| health.is_ok());
    let stored: Vec<&String> = stored.into_iter().map(|(worker, _)| worker).collect();
    let failed: Vec<String> = failed
        .into_iter()
        .map(|(worker, health)| format!("{worker}: {}", health.reason.as_deref().unwrap_or(&health.status)))
        .collect();
    match context.json() {
        true => output::line(&json!({ "file": name, "workers": stored })),
        false => output::data(&format!("{name} is on {} workers", stored.len())),
    }
    if replies.is_empty() {
        return Err(Failure::new(UNHEALTHY, "there are no workers to put the file on"));
    }
    match failed.is_empty() {
        true => Ok(0),
        false => Err(Failure::new(UNUSABLE, format!("the file could not be used by {}", failed.join("; ")))),
    }
}
