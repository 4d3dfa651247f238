//! Commands that change a cluster: cancel, retire, restart, upload.

use std::io::{IsTerminal, Write};

use dask_client::{Client, Key, WireValue};
use serde_json::json;

use super::Context;
use super::look::keys;
use crate::cli::{Cancel, Restart, Retire, Upload};
use crate::failure::{Failure, UNHEALTHY, UNUSABLE};
use crate::json::of_wire;
use crate::output;

pub(super) async fn cancel(context: Context, options: &Cancel) -> Result<u8, Failure> {
    let client = options.cluster.connect().await?;
    let keys: Vec<Key> = options.keys.iter().map(|text| keys::parse(&client, text)).collect();
    let asked: WireValue<'static> = keys.iter().collect();
    let states = client.rpc("get_task_status", [("keys", asked)]).await?;
    let known = |key: &Key| {
        states
            .as_map()
            .unwrap_or_default()
            .iter()
            .any(|(name, state)| Key::from_value(name).as_ref() == Some(key) && !state.is_nil())
    };
    let (known, unknown): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(known);
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
    let client = options.cluster.connect().await?;
    let known = client.scheduler_info().await?.workers;
    if let Some(stranger) = options.workers.iter().find(|worker| !known.contains_key(*worker)) {
        client.close().await;
        let all = known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(Failure::new(
            UNHEALTHY,
            format!("{stranger} is no worker of this cluster; there are: {all}"),
        ));
    }
    let workers: WireValue<'static> = options.workers.iter().cloned().collect();
    let close = !options.keep_running;
    let asking = client.rpc(
        "retire_workers",
        [("workers", workers), ("close_workers", close.into()), ("remove", true.into())],
    );
    let retired = output::patient(context.quiet, "moving data to other workers", asking).await?;
    client.close().await;
    // A map in newer releases, a list in the oldest.
    let retired: Vec<String> = match &retired {
        WireValue::Map(workers) => {
            workers.iter().filter_map(|(worker, _)| worker.as_str().map(str::to_owned)).collect()
        }
        workers => workers
            .as_array()
            .unwrap_or_default()
            .iter()
            .filter_map(|worker| worker.as_str().map(str::to_owned))
            .collect(),
    };
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
    let client = options.cluster.connect().await?;
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
    let request =
        client.dialect().request(dask_wire::Peer::Scheduler, "restart").map_err(dask_client::Error::from)?;
    let mut fields: Vec<(&'static str, WireValue<'static>)> =
        vec![("timeout", deadline.as_secs_f64().into()), ("wait_for_workers", (!options.no_wait).into())];
    if request.accepts("stimulus_id") {
        fields.push(("stimulus_id", "restart-by-dask-rs".into()));
    }
    let asking = client.rpc("restart", fields);
    output::patient(context.quiet, "waiting for the workers", asking).await?;
    let back = client.scheduler_info().await?.workers.len();
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
    anstream::eprint!("{question}");
    let _ = std::io::stderr().flush();
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
    let client = options.cluster.connect().await?;
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
    let message = client.dialect().request(dask_wire::Peer::Worker, "upload_file");
    let message = message
        .and_then(|request| request.with("filename", name.to_owned()))
        .and_then(|request| request.with("data", data))
        .and_then(|request| request.with("load", !options.no_load))
        .and_then(dask_wire::Request::into_rpc)
        .map_err(dask_client::Error::from)?;
    let asking = client.rpc("broadcast", [("msg", message)]);
    // Newer schedulers pass on the first worker's exception, older ones give every worker's reply.
    let replies = output::patient(context.quiet, "sending the file", asking).await.map_err(|error| {
        match error.python() {
            Some(python) => {
                Failure::new(UNUSABLE, format!("a worker cannot use the file: {}", python.message))
            }
            None => error.into(),
        }
    })?;
    let replies = replies.as_map().unwrap_or_default();
    let mut failed = Vec::new();
    let mut stored = Vec::new();
    for (worker, reply) in replies {
        let worker = worker.as_str().unwrap_or_default().to_owned();
        match reply.get("status").and_then(WireValue::as_str) {
            Some("OK") => stored.push(worker),
            _ => match dask_wire::exception::PythonError::from_reply(reply) {
                Some(error) => failed.push(format!("{worker}: {}", error.title())),
                None => failed.push(format!("{worker}: {}", of_wire(reply))),
            },
        }
    }
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
