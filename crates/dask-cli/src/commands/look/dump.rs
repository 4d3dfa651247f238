//! `dask-rs dump`

use dask_client::{Client, ErrorKind, WireValue};
use serde_json::{Map, Value as Json, json};

use crate::cli::Dump;
use crate::commands::Context;
use crate::failure::Failure;
use crate::json::of_wire;
use crate::{file, output, progress};

pub(in crate::commands) async fn run(context: Context, options: &Dump) -> Result<u8, Failure> {
    if let Some(path) = &options.file {
        // Before the cluster is asked for everything it knows.
        file::check_writable(path)?;
    }
    let client = options.cluster.connect(context).await?;
    let state = progress::patient(context.quiet, "asking scheduler and workers", ask(&client, options)).await;
    client.close().await;
    let state = state?;
    let Some(path) = &options.file else {
        output::line(&state);
        return Ok(0);
    };
    file::write(path, |file| Ok(serde_json::to_writer(file, &state)?))?;
    let tasks = state.pointer("/scheduler/tasks").and_then(Json::as_object).map_or(0, Map::len);
    output::say(context.quiet, &format!("{}: {tasks} tasks", path.display()));
    Ok(0)
}

async fn ask(client: &Client, options: &Dump) -> Result<Json, Failure> {
    let exclude: WireValue<'static> = options.exclude.iter().cloned().collect();
    match client.rpc("get_cluster_state", [("exclude", exclude)]).await {
        Ok(state) => Ok(of_wire(&state)),
        Err(error) if error.kind() == ErrorKind::NotAvailable => piece_by_piece(client).await,
        Err(error) => Err(error.into()),
    }
}

/// What older releases tell, put together.
async fn piece_by_piece(client: &Client) -> Result<Json, Failure> {
    let ask = async |op: &str| Ok::<_, Failure>(of_wire(&client.rpc(op, []).await?));
    let tasks: Map<String, Json> = super::survey::tasks(client)
        .await?
        .into_iter()
        .map(|task| {
            let record = json!({ "state": task.state, "prefix": task.prefix, "workers": task.workers });
            (task.key, record)
        })
        .collect();
    let sizes = of_wire(&client.rpc("nbytes", [("summary", false.into())]).await?);
    let versions = client.versions().await?;
    Ok(json!({
        "scheduler": {
            "identity": ask("identity").await?,
            "tasks": tasks,
            "processing": ask("processing").await?,
            "has_what": ask("has_what").await?,
            "nbytes": sizes,
            "log": ask("logs").await?,
        },
        "workers": { "logs": ask("worker_logs").await? },
        "versions": versions,
    }))
}
