//! `dask-rs graph`

use std::collections::HashMap;
use std::io::Read;

use dask_client::{Gathered, Node, py};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::Context;
use super::call::task_failure;
use crate::cli;
use crate::failure::Failure;
use crate::json::{self, Argument};
use crate::progress;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object of \"tasks\" and \"outputs\"")]
struct File {
    tasks: in_order::Tasks,
    outputs: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object of \"call\", \"args\" and \"kwargs\"")]
struct Task {
    call: String,
    #[serde(default)]
    args: Vec<Json>,
    #[serde(default)]
    kwargs: Map<String, Json>,
}

/// The tasks in the order of the file, with doubles refused.
mod in_order {
    use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

    #[derive(Debug)]
    pub(super) struct Tasks(pub(super) Vec<(String, super::Task)>);

    impl<'de> Deserialize<'de> for Tasks {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct InOrder;
            impl<'de> Visitor<'de> for InOrder {
                type Value = Tasks;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object of tasks")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tasks, A::Error> {
                    let mut tasks: Vec<(String, super::Task)> = Vec::new();
                    let mut seen = std::collections::HashSet::new();
                    while let Some((name, task)) = map.next_entry::<String, super::Task>()? {
                        if !seen.insert(name.clone()) {
                            return Err(A::Error::custom(format_args!("two tasks are called {name:?}")));
                        }
                        tasks.push((name, task));
                    }
                    Ok(Tasks(tasks))
                }
            }
            deserializer.deserialize_map(InOrder)
        }
    }
}

pub(super) async fn run(context: Context, options: &cli::Graph) -> Result<u8, Failure> {
    let shown = options.file.display().to_string();
    let text = if shown == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(&options.file)
    };
    let text = text.map_err(|error| Failure::config(format!("cannot read {shown}: {error}")))?;
    // A list of the same parts would be taken as well.
    if !text.trim_start().starts_with('{') {
        return Err(Failure::config(format!(
            "{shown} is not a graph: it is to be an object of \"tasks\" and \"outputs\" (dask-rs graph --help shows one)"
        )));
    }
    let file: File =
        json::parse(&text).map_err(|error| Failure::config(format!("{shown} is not a graph: {error}")))?;

    let mut graph = dask_client::Graph::new();
    // Keys on the cluster get a unique part, so that no text of an argument can be mistaken for one.
    let nodes: HashMap<&str, Node> =
        file.tasks.0.iter().map(|(name, _)| (name.as_str(), graph.declare(name))).collect();
    for (name, task) in &file.tasks.0 {
        let node = node_of(&nodes, name, "the file")?;
        let mut call = py(&task.call).key(node.key().clone());
        for value in &task.args {
            check_references(value, &nodes, name)?;
            call = call.arg(Argument::with_nodes(value, &nodes));
        }
        for (keyword, value) in &task.kwargs {
            check_references(value, &nodes, name)?;
            call = call.kwarg(keyword, Argument::with_nodes(value, &nodes));
        }
        graph.add(call);
    }
    let outputs = file
        .outputs
        .iter()
        .map(|name| node_of(&nodes, name, "\"outputs\"").cloned())
        .collect::<Result<Vec<Node>, Failure>>()?;

    graph.check()?;

    let client = options.cluster.connect(context).await?;
    let words = format!("{} tasks on {}", graph.len(), client.address());
    let computing = client.compute(graph, outputs).deadline(options.cluster.left(context));
    let computed: Result<Vec<Gathered>, _> = progress::patient(context.quiet, &words, computing).await;
    let code = match computed {
        Ok(results) => {
            let results: Map<String, Json> =
                file.outputs.iter().cloned().zip(results.iter().map(json::of_result)).collect();
            super::call::show(context, &Json::Object(results));
            Ok(0)
        }
        Err(error) => task_failure(&error, None),
    };
    client.close().await;
    code
}

fn node_of<'n>(nodes: &'n HashMap<&str, Node>, name: &str, place: &str) -> Result<&'n Node, Failure> {
    nodes
        .get(name)
        .ok_or_else(|| Failure::config(format!("{place} refers to {name:?}, which is no task of the graph")))
}

fn check_references(value: &Json, nodes: &HashMap<&str, Node>, task: &str) -> Result<(), Failure> {
    match value {
        Json::Array(items) => items.iter().try_for_each(|item| check_references(item, nodes, task)),
        Json::Object(map) => match json::reference(value) {
            Some(name) => node_of(nodes, name, &format!("task {task:?}")).map(drop),
            None => map.values().try_for_each(|item| check_references(item, nodes, task)),
        },
        _ => Ok(()),
    }
}
