//! `dask-rs demo`: the whole story on this machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dask_client::{Client, Graph, Node, WorkerHealth, py};
use dask_local::LocalCluster;
use serde_json::{Map, Value as Json, json};

use super::Context;
use super::local::listener;
use crate::cli::Demo;
use crate::failure::{Failure, UNHEALTHY, UNUSABLE};
use crate::output::{self, nanos, pretty};
use crate::progress;

/// Texts that the graph counts words of.
const CHUNKS: usize = 128;
const WORKERS_ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Names of phases and how long they took, in order.
type Phases = Vec<(&'static str, Duration)>;

pub(super) async fn run(context: Context, options: &Demo) -> Result<u8, Failure> {
    let mut phases = Phases::new();
    let say = |text: &str| output::say(context.quiet, text);
    say(&format!("Dask {} with {} workers, on this machine", options.release, options.workers));

    let mark = Instant::now();
    let spinner = progress::spinner(context.quiet);
    let cluster = LocalCluster::builder()
        .release(&options.release)
        .workers(options.workers.into())
        .on_event(listener(context, &spinner))
        .start()
        .await;
    spinner.finish_and_clear();
    let cluster = cluster?;
    phases.push(("start cluster", mark.elapsed()));
    say(&format!("  cluster    {} runs Dask {}", cluster.address(), cluster.release()));

    let working = work(context, cluster.address(), &mut phases);
    let outcome = tokio::time::timeout(options.timeout, working).await;
    let mark = Instant::now();
    cluster.stop().await?;
    phases.push(("shut down", mark.elapsed()));
    let Done { release, dialect, tasks, results, health } = outcome.unwrap_or_else(|_| {
        let words = format!(
            "the cluster did not compute everything within {:?}; give it longer with --timeout",
            options.timeout
        );
        Err(Failure::new(UNUSABLE, words))
    })?;
    if context.json() {
        let phases: Map<String, Json> =
            phases.iter().map(|(name, took)| (name.replace(' ', "_"), nanos(*took))).collect();
        output::line(&json!({
            "release": release,
            "dialect": dialect,
            "tasks": tasks,
            "results": results,
            "health": health,
            "phases_ns": phases,
        }));
    } else {
        output::data(&format!("{tasks} tasks, results:"));
        for (name, value) in &results {
            output::data(&format!("  {name:<15} {value}"));
        }
        output::data("worker health:");
        output::data(&format!("  {}", json!(health)));
        output::data("time of each phase:");
        for (name, took) in &phases {
            output::data(&format!("  {name:<15} {}", pretty(*took)));
        }
    }
    let healthy = !health.is_empty() && health.values().all(dask_client::WorkerHealth::is_ok);
    if healthy { Ok(0) } else { Err(Failure::new(UNHEALTHY, "not every worker is healthy")) }
}

/// What the cluster did.
struct Done {
    release: String,
    dialect: &'static str,
    tasks: usize,
    results: Map<String, Json>,
    health: BTreeMap<String, WorkerHealth>,
}

/// Everything between the cluster's start and its end.
async fn work(context: Context, address: String, phases: &mut Phases) -> Result<Done, Failure> {
    let mark = Instant::now();
    let client = Client::connect(address).await?;
    phases.push(("connect", mark.elapsed()));
    let (tasks, results) = compute(context, &client, phases).await?;
    let health = client.health(WORKERS_ANSWER_WITHIN).await?;
    client.close().await;
    let release = client.release().to_string();
    Ok(Done { release, dialect: client.dialect().submission().name(), tasks, results, health })
}

/// Counts words: makes texts, splits and counts each, merges the counts pairwise, asks three questions of the total.
async fn compute(
    context: Context,
    client: &Client,
    phases: &mut Phases,
) -> Result<(usize, Map<String, Json>), Failure> {
    let mut graph = Graph::new();
    let mut all: Vec<Node> = Vec::new();
    let mut counts: Vec<Node> = (0..CHUNKS)
        .map(|chunk| {
            let text = graph.add(py("operator:mul").args((passage(chunk), 40)));
            let words = graph.add(py("builtins:str.split").args((&text,)));
            let count = graph.add(py("collections:Counter").args((&words,)));
            all.extend([text, words, count.clone()]);
            count
        })
        .collect();
    while counts.len() > 1 {
        counts = counts
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => {
                    let both = graph.add(py("operator:add").args((left, right)));
                    all.push(both.clone());
                    both
                }
                rest => rest.first().cloned().unwrap_or_else(|| graph.declare("none")),
            })
            .collect();
    }
    let Some(total) = counts.pop() else { return Err(Failure::config("no chunks")) };
    let common = graph.add(py("collections:Counter.most_common").args((&total, 3)));
    let distinct = graph.add(py("builtins:len").args((&total,)));
    let words = graph.add(py("builtins:sum").args((py("builtins:dict.values").args((&total,)),)));
    all.extend([common.clone(), distinct.clone(), words.clone()]);
    let tasks = graph.len();

    let mark = Instant::now();
    // Every task is held, so that it is known when each is done.
    let futures = client.submit_graph::<()>(graph, all.iter().map(|node| node.key().clone())).await?;
    phases.push(("submit", mark.elapsed()));
    let mark = Instant::now();
    let bar = progress::bar(context.quiet, tasks as u64, "tasks");
    let mut progress = client.progress(&futures).at_most_every(Duration::from_millis(50));
    while let Some(counts) = progress.next().await {
        bar.set_position(counts.done() as u64);
    }
    drop(progress);
    bar.finish_and_clear();
    phases.push(("compute", mark.elapsed()));

    let mark = Instant::now();
    let results = futures.len().saturating_sub(3);
    let mut futures = futures.into_iter().skip(results);
    let mut next = || futures.next().ok_or_else(|| Failure::config("fewer futures than outputs"));
    let common: Vec<(String, u64)> = next()?.typed().result().await?;
    let distinct: u64 = next()?.typed().result().await?;
    let words: u64 = next()?.typed().result().await?;
    phases.push(("fetch results", mark.elapsed()));

    let results = json!({ "words": words, "distinct words": distinct, "most common": common });
    Ok((tasks, results.as_object().cloned().unwrap_or_default()))
}

/// A few words that differ from chunk to chunk.
fn passage(chunk: usize) -> String {
    let places = ["harbour", "valley", "market", "tower", "garden", "bridge", "station"];
    let place = places.get(chunk % places.len()).copied().unwrap_or_default();
    format!("the road from the {place} to house {chunk} is long and the night is clear ")
}
