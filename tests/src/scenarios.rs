//! What every release must do for us, one function each. A scenario that a release lacks says which release has it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future as StdFuture;
use std::pin::Pin;
use std::time::Duration;

use dask_client::pickle::Value as Python;
use dask_client::{
    Client, Data, Direct, ErrorKind, Future, Gathered, Graph, Item, NdArray, Node, WireValue, py,
};

use crate::{PATIENCE, ROUND, TestCluster};

/// Why a scenario failed.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
/// What a scenario gives.
pub type Outcome = Result<(), Failure>;
/// One thing to check on a running cluster.
pub type Scenario = for<'c> fn(&'c Stage) -> Pin<Box<dyn StdFuture<Output = Outcome> + 'c>>;

/// A client on a running cluster.
#[derive(Debug)]
pub struct Stage {
    /// The client.
    pub client: Client,
    /// The cluster.
    pub cluster: TestCluster,
}

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+).into());
        }
    };
}

macro_rules! ensure_eq {
    ($found:expr, $expected:expr) => {{
        let (found, expected) = ($found, $expected);
        ensure!(found == expected, "{} is {:?}, not {:?}", stringify!($found), found, expected);
    }};
}

macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        /// Every scenario by name.
        pub const ALL: &[(&str, Scenario)] = &[$((stringify!($name), |stage| Box::pin($name(stage)))),+];
    };
}

scenarios![
    looks_around,
    checks_health,
    calls_by_name,
    passes_keyword_arguments,
    nests_calls,
    computes_a_graph,
    refers_from_anywhere_in_a_structure,
    takes_futures_as_arguments,
    keeps_texts_that_look_like_keys,
    maps_many,
    reports_exceptions,
    refuses_lost_references,
    releases_what_is_dropped,
    gathers_collections,
    gathers_numpy,
    gathers_compressible_bytes,
    calls_what_only_workers_import,
    obeys_options,
    obeys_options_that_differ,
    answers_unknown_ops_itself,
    calls_python_by_source,
    scatters,
    runs_outside_of_tasks,
    shares_variables,
    cancels,
];

/// Runs one scenario with a limit on its time.
pub async fn run(scenario: Scenario, stage: &Stage) -> Outcome {
    match tokio::time::timeout(ROUND, scenario(stage)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("not done after {ROUND:?}").into()),
    }
}

async fn looks_around(stage: &Stage) -> Outcome {
    let info = stage.client.scheduler_info().await?;
    ensure_eq!(info.workers.len(), 2);
    let names: HashSet<&str> = info.workers.values().map(|worker| worker.name.as_str()).collect();
    ensure_eq!(names, HashSet::from(["first", "second"]));
    ensure!(info.workers.values().all(|worker| worker.nthreads == 1), "{info:?}");
    let versions = stage.client.versions().await?;
    ensure_eq!(versions.workers.len(), 2);
    let release = versions.scheduler.packages.get("distributed").cloned().flatten().unwrap_or_default();
    ensure_eq!(release.parse::<dask_client::Release>()?, stage.client.release());
    Ok(())
}

async fn checks_health(stage: &Stage) -> Outcome {
    let health = stage.client.health(Duration::from_secs(20)).await?;
    ensure_eq!(health.len(), 2);
    ensure!(health.values().all(|worker| worker.is_ok()), "{health:?}");
    Ok(())
}

async fn calls_by_name(stage: &Stage) -> Outcome {
    let three: i64 = stage.client.call(py("operator:add").args((1, 2))).await?;
    ensure_eq!(three, 3);
    let text: String = stage.client.call(py("builtins:str.upper").arg("ünïcode")).await?;
    ensure_eq!(text, "ÜNÏCODE");
    let number: i64 = stage.client.call(py("builtins:int.from_bytes").args((vec![1u8, 0], "big"))).await?;
    ensure_eq!(number, 256);
    Ok(())
}

async fn passes_keyword_arguments(stage: &Stage) -> Outcome {
    let call = py("builtins:sorted").arg([3, 1, 2]).kwarg("reverse", true);
    ensure_eq!(stage.client.call::<Vec<i64>>(call).await?, [3, 2, 1]);
    let call = py("builtins:dict").kwarg("a", "text").kwarg("b", (1, 2.5)).kwarg("c", Option::<i64>::None);
    let found: HashMap<String, Python> = stage.client.call(call).await?;
    ensure_eq!(found.len(), 3);
    ensure_eq!(found.get("a"), Some(&Python::Str("text".to_owned())));
    ensure_eq!(found.get("b"), Some(&Python::Tuple(vec![Python::Int(1), Python::Float(2.5)])));
    ensure_eq!(found.get("c"), Some(&Python::None));
    Ok(())
}

async fn nests_calls(stage: &Stage) -> Outcome {
    let inner = py("operator:mul").args((3, 4));
    let sum: i64 = stage.client.call(py("operator:add").args((&inner, 5))).await?;
    ensure_eq!(sum, 17);
    let sum: i64 = stage.client.call(py("builtins:sum").arg([&inner, &inner])).await?;
    ensure_eq!(sum, 24);
    let three: Future<i64> = stage.client.submit(py("operator:add").args((1, 2))).await?;
    let nested = py("operator:mul").args((&three, 10));
    let sum: i64 = stage.client.call(py("operator:add").args((&nested, &three))).await?;
    ensure_eq!(sum, 33);
    let call = py("builtins:sorted").arg([2, 1]).kwarg("reverse", py("operator:eq").args((&three, 3)));
    ensure_eq!(stage.client.call::<Vec<i64>>(call).await?, [2, 1]);
    Ok(())
}

async fn computes_a_graph(stage: &Stage) -> Outcome {
    let mut graph = Graph::new();
    let a = graph.add(py("operator:add").args((1, 2)));
    let b = graph.add(py("operator:mul").args((&a, 10)));
    let (x, y): (i64, i64) = stage.client.compute(graph, (a, b)).await?;
    ensure_eq!((x, y), (3, 30));
    // A tree of a few hundred tasks, only its root wanted.
    let mut graph = Graph::new();
    let mut level: Vec<Node> = (0..128).map(|n| graph.add(py("operator:add").args((n, 1)))).collect();
    while level.len() > 1 {
        level = level.chunks(2).map(|pair| graph.add(py("builtins:sum").arg(pair))).collect();
    }
    let total: Vec<i64> = stage.client.compute(graph, level).await?;
    ensure_eq!(total, [(1..=128).sum::<i64>()]);
    Ok(())
}

async fn refers_from_anywhere_in_a_structure(stage: &Stage) -> Outcome {
    let mut graph = Graph::new();
    let one = graph.add(py("operator:add").args((0, 1)));
    let two = graph.add(py("operator:add").args((&one, 1)));
    let map = BTreeMap::from([("x", &one), ("y", &two)]);
    let dict = graph.add(py("builtins:dict").arg(map));
    let lists = graph.add(py("builtins:list").arg((vec![vec![&one], vec![&two, &one]], &two)));
    let tuple = graph.add(py("builtins:tuple").arg([(&one, "text", &two)]));
    let keyword = graph.add(py("builtins:dict").kwarg("k", &two).kwarg("l", [&one, &two]));
    let alias = graph.add(py("operator:itemgetter").arg(0));
    let called = graph.add(py("builtins:map").args((&alias, vec![vec![&two]])));
    let listed = graph.add(py("builtins:list").arg(&called));
    type Found = (
        HashMap<String, i64>,
        (Vec<Vec<i64>>, i64),
        Vec<(i64, String, i64)>,
        HashMap<String, Python>,
        Vec<i64>,
    );
    let outputs = (dict, lists, tuple, keyword, listed);
    let found: Found = stage.client.compute(graph, outputs).await?;
    ensure_eq!(found.0, HashMap::from([("x".to_owned(), 1), ("y".to_owned(), 2)]));
    ensure_eq!(found.1, (vec![vec![1], vec![2, 1]], 2));
    ensure_eq!(found.2, [(1, "text".to_owned(), 2)]);
    ensure_eq!(found.3.get("k").and_then(|value| value.as_i64()), Some(2));
    ensure_eq!(found.4, [2]);
    Ok(())
}

async fn takes_futures_as_arguments(stage: &Stage) -> Outcome {
    let first: Future<i64> = stage.client.submit(py("operator:add").args((1, 2))).await?;
    let second: Future<i64> = stage.client.submit(py("operator:mul").args((&first, 10))).await?;
    let list: Vec<i64> = stage.client.call(py("builtins:list").arg([&second, &first])).await?;
    ensure_eq!(list, [30, 3]);
    let mut graph = Graph::new();
    let sum = graph.add(py("operator:add").args((&second, &first)));
    ensure_eq!(stage.client.compute::<_, i64>(graph, sum).await?, 33);
    Ok(())
}

async fn keeps_texts_that_look_like_keys(stage: &Stage) -> Outcome {
    let mut graph = Graph::new();
    let named = graph.add(py("operator:add").args((1, 2)).key("a-plain-name"));
    let text = graph.add(py("operator:concat").args(("a-plain-name", "!")).key("concat-plain"));
    let both = graph.add(py("builtins:list").arg(["a-plain-name", "x"]).key("list-plain"));
    let keyword =
        graph.add(py("builtins:dict").kwarg("x", "a-plain-name").kwarg("n", &named).key("dict-plain"));
    type Found = (i64, String, Vec<String>, HashMap<String, Python>);
    let found: Found = stage.client.compute(graph, (named, text, both, keyword)).await?;
    ensure_eq!((found.0, found.1.as_str()), (3, "a-plain-name!"));
    ensure_eq!(found.2, ["a-plain-name", "x"]);
    ensure_eq!(found.3.get("x").and_then(|value| value.as_str()), Some("a-plain-name"));
    ensure_eq!(found.3.get("n").and_then(|value| value.as_i64()), Some(3));
    // The key of a task that was submitted before, as a text and as a keyword beside its result.
    let key = "an-earlier-name";
    let earlier: Future<i64> = stage.client.submit(py("operator:add").args((2, 3)).key(key)).await?;
    let same: bool = stage.client.call(py("operator:eq").args((&earlier, key))).await?;
    ensure!(!same, "a text became the result of the task of that name");
    let call = py("builtins:dict").kwarg(key, &earlier).kwarg("text", key);
    let found: HashMap<String, Python> = stage.client.call(call).await?;
    ensure_eq!(found.get(key).and_then(|value| value.as_i64()), Some(5));
    ensure_eq!(found.get("text").and_then(|value| value.as_str()), Some(key));
    Ok(())
}

async fn maps_many(stage: &Stage) -> Outcome {
    let mut futures: Vec<Future<i64>> = Vec::new();
    for n in 0..300 {
        futures.push(stage.client.submit(py("operator:mul").args((n, n))).await?);
    }
    let squares = stage.client.gather(&futures).await?;
    ensure_eq!(squares, (0..300).map(|n| n * n).collect::<Vec<i64>>());
    Ok(())
}

async fn reports_exceptions(stage: &Stage) -> Outcome {
    let outcome = stage.client.call::<f64>(py("operator:truediv").args((1, 0))).await;
    let error = outcome.err().ok_or("a division by zero succeeded")?;
    ensure_eq!(error.kind(), ErrorKind::Task);
    let python = error.python().ok_or("no Python exception")?;
    ensure_eq!(python.class.as_str(), "ZeroDivisionError");
    ensure_eq!(python.message.as_str(), "division by zero");
    // An exception of a class that only workers know, with the line it came from.
    let outcome = stage.client.call::<i64>(py("only_on_workers:spend").args((5, 7))).await;
    let error = outcome.err().ok_or("overspending succeeded")?;
    let python = error.python().ok_or("no Python exception")?;
    ensure_eq!(python.class.as_str(), "OutOfMoney");
    ensure_eq!(python.message.as_str(), "7 is more than 5");
    let last = python.traceback.last().ok_or("no traceback")?;
    ensure_eq!(last.function.as_str(), "spend");
    ensure!(last.file.ends_with("only_on_workers.py"), "{}", last.file);
    // What depends on a failed task fails with the same exception.
    let failed: Future<f64> = stage.client.submit(py("operator:truediv").args((1, 0))).await?;
    let outcome = stage.client.call::<f64>(py("operator:add").args((&failed, 1))).await;
    let class = outcome.err().and_then(|error| error.python().map(|python| python.class.clone()));
    ensure_eq!(class.as_deref(), Some("ZeroDivisionError"));
    // A name that does not exist.
    let outcome = stage.client.call::<i64>(py("no_such_module:function").arg(1)).await;
    let error = outcome.err().ok_or("a module that does not exist was called")?;
    ensure_eq!(error.kind(), ErrorKind::TaskImport);
    ensure!(error.to_string().contains("no_such_module"), "{error}");
    Ok(())
}

async fn refuses_lost_references(stage: &Stage) -> Outcome {
    let mut graph = Graph::new();
    let ghost = graph.declare("ghost");
    let haunted = graph.add(py("operator:add").args((&ghost, 1)));
    let outcome = stage.client.compute::<_, i64>(graph, haunted).await;
    let error = outcome.err().ok_or("a graph with a missing reference ran")?;
    ensure_eq!(error.kind(), ErrorKind::Graph);
    Ok(())
}

async fn calls_python_by_source(stage: &Stage) -> Outcome {
    let call =
        dask_client::python("import math\nreturn math.fsum(values) + extra").kwarg("values", [0.1; 10]);
    ensure_eq!(stage.client.call::<f64>(call.kwarg("extra", 1)).await?, 2.0);
    let error = stage.client.call::<()>(dask_client::python("raise KeyError('gone')")).await.err();
    let class = error.and_then(|error| error.python().map(|python| python.class.clone()));
    ensure_eq!(class.as_deref(), Some("KeyError"));
    Ok(())
}

async fn scatters(stage: &Stage) -> Outcome {
    let list: Future<Vec<i64>> = stage.client.scatter(Data::value(&[1, 2, 3])).await?;
    let bytes: Future = stage.client.scatter(Data::bytes("abc")).await?;
    ensure_eq!(stage.client.call::<i64>(py("builtins:sum").arg(&list)).await?, 6);
    ensure_eq!(stage.client.call::<i64>(py("builtins:len").arg(&bytes)).await?, 3);
    ensure_eq!(stage.client.gather(&[list.clone(), list]).await?, [[1, 2, 3], [1, 2, 3]]);
    Ok(())
}

async fn runs_outside_of_tasks(stage: &Stage) -> Outcome {
    let found = stage.client.run::<i64>(py("operator:add").args((40, 2))).await?;
    ensure_eq!(found.len(), 2);
    for outcome in found.into_values() {
        ensure_eq!(outcome?, 42);
    }
    let text: String = stage.client.run_on_scheduler(py("builtins:str.upper").arg("scheduler")).await?;
    ensure_eq!(text, "SCHEDULER");
    Ok(())
}

async fn shares_variables(stage: &Stage) -> Outcome {
    let other = stage.cluster.client().connect().await?;
    stage.client.variable("value").set(&(1, "ü")).await?;
    let value: (i64, String) = other.variable("value").get(PATIENCE).await?.into_value()?;
    ensure_eq!(value, (1, "ü".to_owned()));
    let future: Future<i64> = stage.client.submit(py("operator:add").args((1, 2))).await?;
    stage.client.variable("future").set(&future).await?;
    let item: Item<i64> = other.variable("future").get(PATIENCE).await?;
    drop(future);
    ensure_eq!(item.into_future()?.result().await?, 3);
    other.close().await;
    Ok(())
}

async fn cancels(stage: &Stage) -> Outcome {
    let slow: Future<()> = stage.client.submit(py("time:sleep").arg(4)).await?;
    let waiting: Future<()> = stage.client.submit(py("builtins:str").arg(&slow)).await?;
    waiting.cancel().await?;
    slow.cancel().await?;
    for future in [&slow, &waiting] {
        let error = future.result().await.err().ok_or("a cancelled task has a result")?;
        ensure_eq!(error.kind(), ErrorKind::Cancelled);
    }
    // The client goes on. The sleeping worker still sleeps, so this runs on the other one.
    let info = stage.client.scheduler_info().await?;
    ensure_eq!(info.workers.len(), 2);
    Ok(())
}

async fn releases_what_is_dropped(stage: &Stage) -> Outcome {
    let future: Future<i64> = stage.client.submit(py("operator:add").args((40, 2))).await?;
    let copy = future.clone();
    ensure_eq!(future.result().await?, 42);
    let key = future.key().clone();
    drop(future);
    tokio::time::sleep(Duration::from_millis(100)).await;
    ensure_eq!(copy.result().await?, 42);
    drop(copy);
    let mut known = true;
    for _ in 0..1200 {
        let keys: WireValue<'_> = [&key].into_iter().collect();
        let status = stage.client.rpc("get_task_status", [("keys", keys)]).await?;
        let state = status.as_map().unwrap_or_default().first().map(|(_, state)| state.clone());
        known = !matches!(state, Some(WireValue::Nil) | None);
        if !known {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(!known, "the scheduler still knows {key}");
    Ok(())
}

async fn gathers_collections(stage: &Stage) -> Outcome {
    let client = &stage.client;
    ensure_eq!(client.call::<Vec<String>>(py("builtins:list").arg("abc")).await?, ["a", "b", "c"]);
    ensure_eq!(client.call::<(i64, String)>(py("builtins:tuple").arg((1, "x"))).await?, (1, "x".to_owned()));
    ensure_eq!(client.call::<HashSet<i64>>(py("builtins:set").arg([1, 2, 2])).await?, HashSet::from([1, 2]));
    let nested: BTreeMap<String, Vec<Option<bool>>> =
        client.call(py("builtins:dict").arg(BTreeMap::from([("k", vec![Some(true), None])]))).await?;
    ensure_eq!(nested, BTreeMap::from([("k".to_owned(), vec![Some(true), None])]));
    ensure_eq!(client.call::<Vec<i64>>(py("builtins:list").arg(Vec::<i64>::new())).await?, Vec::<i64>::new());
    client.call::<()>(py("builtins:print")).await?;
    Ok(())
}

async fn gathers_numpy(stage: &Stage) -> Outcome {
    let array: NdArray = stage.client.call(py("numpy:arange").arg(6.0)).await?;
    ensure_eq!(array.to_vec::<f64>()?, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let reshaped = py("numpy:reshape").args((py("numpy:arange").arg(6), (2, 3)));
    let transposed: NdArray = stage.client.call(py("numpy:transpose").arg(reshaped)).await?;
    ensure_eq!(transposed.shape(), [3, 2]);
    ensure_eq!(transposed.to_vec::<i64>()?, [0, 3, 1, 4, 2, 5]);
    Ok(())
}

async fn gathers_compressible_bytes(stage: &Stage) -> Outcome {
    // Large enough to be compressed by workers that do so, and to be passed on like that by the scheduler.
    let relayed = stage.cluster.client().direct(Direct::Never).connect().await?;
    for client in [&stage.client, &relayed] {
        let before = client.statistics();
        let call = py("operator:mul").args((dask_client::pickle::PyBytes("abc".into()), 100_000));
        let result: Gathered = client.call(call).await?;
        let dask_wire::family::Decoded::Bytes(bytes) = &*result else {
            return Err(format!("{result:?}").into());
        };
        ensure!(bytes.len() == 300_000 && bytes.starts_with(b"abcabc"), "{} bytes", bytes.len());
        let after = client.statistics();
        ensure_eq!(
            after.results_direct + after.results_relayed,
            before.results_direct + before.results_relayed + 1
        );
    }
    let traffic = relayed.statistics();
    ensure_eq!(traffic.results_relayed, 1);
    // Servers that compress among themselves pass on what they have, whatever was agreed with the client.
    let setting = py("dask.config:get").args(("distributed.comm.compression", Option::<i64>::None));
    let setting: Python = stage.client.call(setting).await?;
    if setting.as_str() == Some("auto") {
        ensure!(traffic.bytes_in < 100_000, "the relayed result was not compressed: {traffic:?}");
    } else {
        ensure!(traffic.bytes_in > 300_000, "{setting:?} compresses: {traffic:?}");
    }
    relayed.close().await;
    Ok(())
}

async fn calls_what_only_workers_import(stage: &Stage) -> Outcome {
    ensure_eq!(stage.client.call::<i64>(py("only_on_workers:double").arg(21)).await?, 42);
    let three: Future<i64> = stage.client.submit(py("operator:add").args((1, 2))).await?;
    let nested = py("only_on_workers:double").kwarg("x", py("only_on_workers:double").arg(&three));
    ensure_eq!(stage.client.call::<i64>(nested).await?, 12);
    Ok(())
}

/// The address of the worker that runs it.
fn whereabouts() -> dask_client::Call {
    py("builtins:getattr").args((py("distributed:get_worker"), "address"))
}

async fn obeys_options(stage: &Stage) -> Outcome {
    let info = stage.client.scheduler_info().await?;
    for worker in info.workers.values() {
        for by in [&worker.address, &worker.name] {
            let found: String = stage.client.call(whereabouts().workers([by.as_str()])).await?;
            ensure_eq!(&found, &worker.address);
        }
    }
    let with_slot =
        info.workers.values().find(|worker| worker.name == "first").ok_or("no worker called first")?;
    let found: String = stage.client.call(whereabouts().resource("SLOT", 1.0)).await?;
    ensure_eq!(&found, &with_slot.address);
    let elsewhere = whereabouts().workers(["tcp://127.0.0.1:1"]).allow_other_workers();
    let found: String = stage.client.call(elsewhere).await?;
    ensure!(info.workers.contains_key(&found), "{found}");
    let file = stage.cluster.modules.path().join("attempts").display().to_string();
    let count: i64 = stage.client.call(py("only_on_workers:fail_until").args((&file, 2)).retries(3)).await?;
    ensure_eq!(count, 3);
    let three: i64 = stage.client.call(py("operator:add").args((1, 2)).priority(10)).await?;
    ensure_eq!(three, 3);
    Ok(())
}

async fn obeys_options_that_differ(stage: &Stage) -> Outcome {
    let info = stage.client.scheduler_info().await?;
    let file = stage.cluster.modules.path().join("other-attempts").display().to_string();
    let mut graph = Graph::new();
    let there: Vec<Node> =
        info.workers.keys().map(|worker| graph.add(whereabouts().workers([worker.as_str()]))).collect();
    let retried = graph.add(py("only_on_workers:fail_until").args((&file, 1)).retries(1).priority(-5));
    let plain = graph.add(py("operator:add").args((&retried, 1)));
    let (addresses, retried, plain) = {
        let mut outputs = there.clone();
        outputs.extend([retried, plain]);
        let found: Vec<Python> = stage.client.compute(graph, outputs).await?;
        let texts: Vec<String> = found.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect();
        let numbers: Vec<i64> = found.iter().filter_map(|value| value.as_i64()).collect();
        (texts, numbers.first().copied(), numbers.last().copied())
    };
    ensure_eq!(addresses, info.workers.keys().cloned().collect::<Vec<_>>());
    ensure_eq!((retried, plain), (Some(2), Some(3)));
    Ok(())
}

async fn answers_unknown_ops_itself(stage: &Stage) -> Outcome {
    let outcome = stage.client.rpc("no_such_op", []).await;
    ensure_eq!(outcome.err().map(|error| error.kind()), Some(ErrorKind::NotAvailable));
    // An op that every release has, with a keyword that none has.
    let outcome = stage.client.rpc("who_has", [("colour", WireValue::from("red"))]).await;
    ensure_eq!(outcome.err().map(|error| error.kind()), Some(ErrorKind::NotAvailable));
    Ok(())
}
