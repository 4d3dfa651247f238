//! `dask-rs saturn`: looking at clusters that exist, steering and ending them.

use std::io::IsTerminal;

use saturn_cloud::{Component, Error, Running};
use serde_json::json;

use super::super::Context;
use super::cli::{Account, Adapt, Down, Logs, One, Part, Scale};
use crate::failure::Failure;
use crate::output;

fn dollars(price: Option<f64>) -> String {
    price.map_or_else(|| "-".to_owned(), |price| format!("{price:.2}"))
}

pub(super) async fn sizes(context: Context, account: &Account) -> Result<u8, Failure> {
    let sizes = account.saturn()?.public().sizes().await?;
    if context.json() {
        sizes.iter().for_each(|size| output::line(&json!(size)));
        return Ok(0);
    }
    let rows = sizes.iter().map(|size| {
        vec![
            size.name.clone(),
            size.cores.map(|cores| cores.to_string()).unwrap_or_default(),
            size.memory.clone().unwrap_or_default(),
            size.gpu.to_string(),
            dollars(size.price_per_hour),
            if size.disabled {
                format!("not available: {}", size.disabled_message)
            } else {
                size.display.clone()
            },
        ]
    });
    output::data(&output::table(&["size", "cores", "memory", "gpu", "USD/h", ""], rows));
    Ok(0)
}

pub(super) async fn list(context: Context, account: &Account) -> Result<u8, Failure> {
    let running = account.saturn()?.running().await?;
    if context.json() {
        running.iter().for_each(|one| output::line(&json!(one)));
        return Ok(0);
    }
    if running.is_empty() {
        output::say(context.quiet, "nothing runs");
        return Ok(0);
    }
    let known: f64 = running.iter().filter_map(|one| one.cost_per_hour).sum();
    output::data(&table(&running));
    output::say(context.quiet, &format!("together about {known:.2} USD/h, where prices are known"));
    Ok(0)
}

pub(super) async fn status(context: Context, one: &One) -> Result<u8, Failure> {
    let saturn = one.account.saturn()?;
    let cluster = match saturn.public().get(&one.id).await {
        // An older server says no more than a word.
        Err(Error::BadReply { .. }) => {
            let status = saturn.legacy(None).status(&one.id).await?;
            match context.json() {
                true => output::line(&json!({ "id": one.id, "status": status })),
                false => output::data(status.as_str()),
            }
            return Ok(0);
        }
        cluster => cluster?,
    };
    let sizes = saturn.public().sizes().await.unwrap_or_default();
    let cost = cluster.cost_per_hour(&sizes).filter(|_| cluster.status.may_cost());
    let summary = saturn.public().runtime_summary(&one.id).await.ok();
    if context.json() {
        let mut line = json!(cluster);
        if let Some(fields) = line.as_object_mut() {
            fields.insert("cost_per_hour_usd".to_owned(), json!(cost));
            fields.insert("summary".to_owned(), json!(summary));
        }
        output::line(&line);
        return Ok(0);
    }
    output::data(&format!("status     {}", cluster.status));
    if let Some(summary) = &summary {
        let workers = summary.worker_summary;
        output::data(&format!("workers    {} of {} run", workers.running_count, workers.count));
    }
    output::data(&format!(
        "machines   {} x {}, scheduler {}",
        cluster.n_workers, cluster.worker_size, cluster.scheduler_size
    ));
    if cost.is_some() {
        output::data(&format!("USD/h      {}", dollars(cost)));
    }
    if let Some(url) = &cluster.url {
        output::data(&format!("dashboard  {url}"));
    }
    for text in cluster.warnings.iter().map(|text| format!("warning    {text}")) {
        output::data(&text);
    }
    for text in cluster.errors.iter().map(|text| format!("error      {text}")) {
        output::data(&text);
    }
    Ok(0)
}

pub(super) async fn scale(options: &Scale) -> Result<u8, Failure> {
    options.one.account.saturn()?.public().scale(&options.one.id, options.n).await?;
    output::line(&json!({ "id": options.one.id, "workers": options.n }));
    Ok(0)
}

pub(super) async fn adapt(options: &Adapt) -> Result<u8, Failure> {
    if options.minimum > options.maximum {
        return Err(Failure::config("the minimum is above the maximum"));
    }
    let saturn = options.one.account.saturn()?;
    saturn.public().adapt(&options.one.id, options.minimum, options.maximum).await?;
    output::line(&json!({ "id": options.one.id, "minimum": options.minimum, "maximum": options.maximum }));
    Ok(0)
}

pub(super) async fn logs(context: Context, options: &Logs) -> Result<u8, Failure> {
    let component = options.component.map(|part| match part {
        Part::Kubecluster => Component::KubeCluster,
        Part::Scheduler => Component::Scheduler,
        Part::Worker => Component::Worker,
    });
    let logs = options.one.account.saturn()?.public().logs(&options.one.id, component, options.lines).await?;
    if logs.left_out > 0 {
        let words = format!("{} earlier lines are left out; --lines N shows more", logs.left_out);
        output::say(context.quiet, &words);
    }
    for line in logs.lines {
        match context.json() {
            true => output::line(&json!(line)),
            false => output::data(&format!("{}  {}  {}", line.timestamp, line.pod_name, line.content)),
        }
    }
    if logs.is_cut {
        output::say(false, "the log is too long: there are later lines, which were not read");
    }
    Ok(0)
}

pub(super) async fn down(context: Context, options: &Down) -> Result<u8, Failure> {
    let saturn = options.account.saturn()?;
    let ids = match options.all {
        true => every(context, options, saturn.running().await?)?,
        false => options.ids.clone(),
    };
    // One that cannot be closed keeps no other from being closed.
    let (count, mut failed): (_, Vec<(String, Failure)>) = (ids.len(), Vec::new());
    for id in ids {
        match saturn.close(&id).await {
            Ok(()) => output::line(&json!({ "id": id, "status": "closed" })),
            Err(error) => failed.push((id, Failure::from(error))),
        }
    }
    if count > 1 {
        failed
            .iter()
            .for_each(|(id, failure)| output::words(&format!("cluster {id}: {}", failure.message())));
    }
    let failures = failed.len();
    match failed.pop() {
        None => Ok(0),
        Some((_, only)) if count == 1 => Err(only),
        Some((_, last)) => {
            let words = format!("{failures} of {count} clusters could not be closed, and may cost");
            Err(Failure::new(last.code(), words))
        }
    }
}

/// The ids of all that runs, if they are really meant.
fn every(context: Context, options: &Down, running: Vec<Running>) -> Result<Vec<String>, Failure> {
    if running.is_empty() {
        output::say(context.quiet, "nothing runs");
        return Ok(Vec::new());
    }
    let quiet = context.quiet && options.yes;
    output::say(quiet, &table(&running));
    let count = running.len();
    let ids = running.into_iter().map(|one| one.cluster.id).collect();
    if options.yes {
        return Ok(ids);
    }
    let refused = || Failure::config(format!("{count} clusters would be closed; to do that, add --yes"));
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(refused());
    }
    output::say(false, &format!("Close {count} clusters, whoever uses them? Type yes:"));
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(_) if answer.trim().eq_ignore_ascii_case("yes") => Ok(ids),
        _ => Err(refused()),
    }
}

fn table(running: &[Running]) -> String {
    let rows = running.iter().map(|one| {
        vec![
            one.cluster.id.clone(),
            one.cluster.name.clone(),
            one.cluster.status.to_string(),
            format!("{} x {}", one.cluster.n_workers, one.cluster.worker_size),
            dollars(one.cost_per_hour),
        ]
    });
    output::table(&["cluster", "of", "status", "workers", "USD/h"], rows)
}
