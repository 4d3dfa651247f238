//! `dask-rs dump`

use std::collections::BTreeMap;
use std::time::Duration;

use dask_client::{Client, ErrorKind, WireValue};
use futures::StreamExt;
use serde_json::{Map, Value as Json, json};

use crate::cli::Dump;
use crate::commands::Context;
use crate::failure::{Failure, UNHEALTHY};
use crate::json::of_wire;
use crate::{file, output, progress};

/// Workers asked at once.
const AT_ONCE: usize = 32;

pub(in crate::commands) async fn run(context: Context, options: &Dump) -> Result<u8, Failure> {
    if let Some(path) = &options.file {
        // Before the cluster is asked for everything it knows.
        file::check_writable(path)?;
    }
    let client = options.cluster.connect(context).await?;
    let asking = ask(&client, options, options.cluster.left(context));
    let found = progress::patient(context.quiet, "asking scheduler and workers", asking).await;
    client.close().await;
    let Found { mut state, silent } = found?;
    if let (false, Some(state)) = (silent.is_empty(), state.as_object_mut()) {
        state.insert("silent".to_owned(), json!(silent));
    }
    if let Some(path) = &options.file {
        file::write(path, |file| Ok(serde_json::to_writer(file, &state)?))?;
        let tasks = state.pointer("/scheduler/tasks").and_then(Json::as_object).map_or(0, Map::len);
        output::say(context.quiet, &format!("{}: {tasks} tasks", path.display()));
    } else {
        output::line(&state);
    }
    if silent.is_empty() {
        return Ok(0);
    }
    let silent: Vec<String> = silent.iter().map(|(worker, why)| format!("{worker} ({why})")).collect();
    Err(Failure::new(UNHEALTHY, format!("all but what these workers know is told: {}", silent.join(", "))))
}

/// What was asked for, and who did not answer and why.
struct Found {
    state: Json,
    silent: BTreeMap<String, String>,
}

/// Asks for the whole. If it is not there in half of the time, which one worker that hangs is enough for, each is asked by
/// itself meanwhile.
async fn ask(client: &Client, options: &Dump, left: Duration) -> Result<Found, Failure> {
    let exclude: WireValue<'static> = options.exclude.iter().cloned().collect();
    let mut whole = std::pin::pin!(client.rpc("get_cluster_state", [("exclude", exclude.clone())]));
    match tokio::time::timeout(left / 2, &mut whole).await {
        Ok(Ok(state)) => return Ok(Found { state: of_wire(&state), silent: BTreeMap::new() }),
        Ok(Err(error)) if error.kind() == ErrorKind::NotAvailable => {
            return piece_by_piece(client, left / 2).await;
        }
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => (),
    }
    tokio::select! {
        biased;
        Ok(state) = &mut whole => Ok(Found { state: of_wire(&state), silent: BTreeMap::new() }),
        found = each_by_itself(client, exclude, left * 3 / 8) => found,
    }
}

/// As `get_cluster_state`, from the scheduler and each worker.
async fn each_by_itself(
    client: &Client,
    exclude: WireValue<'static>,
    deadline: Duration,
) -> Result<Found, Failure> {
    let states = Question { op: "dump_state", fields: vec![("exclude", exclude.clone())] };
    let versions = Question { op: "versions", fields: Vec::new() };
    let questions = [states, versions];
    let (scheduler, own_versions, workers) = tokio::try_join!(
        client.rpc("dump_state", [("exclude", exclude)]),
        client.rpc("versions", []),
        ask_workers(client, &questions, deadline),
    )?;
    let Workers { answers, silent } = workers;
    let (states, versions) = match <[Map<String, Json>; 2]>::try_from(answers) {
        Ok([states, versions]) => (states, versions),
        Err(_) => Default::default(),
    };
    let state = json!({
        "scheduler": of_wire(&scheduler),
        "workers": states,
        "versions": { "scheduler": of_wire(&own_versions), "workers": versions },
    });
    Ok(Found { state, silent })
}

/// What every worker is asked.
struct Question {
    op: &'static str,
    fields: Vec<(&'static str, WireValue<'static>)>,
}

#[derive(Default)]
struct Workers {
    /// By question, each by worker.
    answers: Vec<Map<String, Json>>,
    silent: BTreeMap<String, String>,
}

/// Asks each worker by itself, through the scheduler; each has this long to answer everything.
async fn ask_workers(
    client: &Client,
    questions: &[Question],
    deadline: Duration,
) -> dask_client::Result<Workers> {
    let workers = client.scheduler_info().await?.workers.into_keys();
    let asked = workers.map(|worker| async move {
        let asking = async {
            let mut answers = Vec::new();
            for question in questions {
                let mut request = client.dialect().request(dask_wire::Peer::Worker, question.op)?;
                for (name, value) in &question.fields {
                    request = request.with(name, value.clone())?;
                }
                let fields = [("worker", worker.clone().into()), ("msg", request.into_rpc()?)];
                answers.push(of_wire(&client.rpc("proxy", fields).await?));
            }
            Ok::<_, dask_client::Error>(answers)
        };
        let answers = match tokio::time::timeout(deadline, asking).await {
            Ok(answers) => answers.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {deadline:?}")),
        };
        (worker, answers)
    });
    let mut found = Workers { answers: vec![Map::new(); questions.len()], ..Workers::default() };
    let mut asked = futures::stream::iter(asked).buffer_unordered(AT_ONCE);
    while let Some((worker, answers)) = asked.next().await {
        match answers {
            Ok(answers) => {
                for (map, answer) in found.answers.iter_mut().zip(answers) {
                    map.insert(worker.clone(), answer);
                }
            }
            Err(why) => drop(found.silent.insert(worker, why)),
        }
    }
    Ok(found)
}

/// What older releases tell, put together.
async fn piece_by_piece(client: &Client, deadline: Duration) -> Result<Found, Failure> {
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
    let logs = Question { op: "get_logs", fields: Vec::new() };
    let versions = Question { op: "versions", fields: Vec::new() };
    let Workers { answers, silent } = ask_workers(client, &[logs, versions], deadline).await?;
    let (logs, versions) = match <[Map<String, Json>; 2]>::try_from(answers) {
        Ok([logs, versions]) => (logs, versions),
        Err(_) => Default::default(),
    };
    let state = json!({
        "scheduler": {
            "identity": ask("identity").await?,
            "tasks": tasks,
            "processing": ask("processing").await?,
            "has_what": ask("has_what").await?,
            "nbytes": sizes,
            "log": ask("logs").await?,
        },
        "workers": { "logs": logs },
        "versions": { "scheduler": ask("versions").await?, "workers": versions },
    });
    Ok(Found { state, silent })
}
