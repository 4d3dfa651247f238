//! Keys that are tuples, as Dask's collections make them: from Rust, and from Python's own client.
//!
//! Besides the two ends of history: the last release without them and the first with them, and both ends of each way to
//! refer to another task.

use dask_client::{ErrorKind, Future, Graph, Key, py};
use dask_live_tests::rounds::{another, over, python, releases_and};
use dask_live_tests::scenarios::{Outcome, Stage};
use dask_live_tests::{PATIENCE, checks, ensure, ensure_eq};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_may_be_tuples() {
    let releases = releases_and(&["2023.8.1", "2023.9.0", "2024.10.0", "2024.11.0"]);
    over(releases, |builder| builder, checks![tuples_name_tasks, tuples_of_python_are_met]).await;
}

async fn tuples_name_tasks(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let first = client.submit::<i64>(py("operator:add").args((1, 2)).key(("x", 0))).await;
    if !client.dialect().has(dask_client::Feature::TupleKeys) {
        let error = first.err().ok_or("a tuple key was accepted")?;
        ensure_eq!(error.kind(), ErrorKind::NotAvailable);
        ensure!(error.to_string().contains("2023.9.0"), "{error}");
        return Ok(());
    }
    let first = first?;
    ensure_eq!(*first.key(), Key::from(("x", 0)));
    ensure_eq!(first.result().await?, 3);
    // As argument of another task, alone and inside of something, and of tasks in a graph that also have tuple keys.
    let second: Future<i64> = client.submit(py("operator:mul").args((&first, 10)).key(("x", 1))).await?;
    let mut graph = Graph::new();
    let sum = graph.add(py("builtins:sum").arg([&first, &second]).key(("sum", 0, "part")));
    let inside = graph.add(py("builtins:dict").kwarg("pair", (&sum, &second)).key(("sum", (1, "nested"))));
    let (sum, inside): (i64, std::collections::HashMap<String, (i64, i64)>) =
        client.compute(graph, (sum, inside)).await?;
    ensure_eq!((sum, inside["pair"]), (33, (33, 30)));
    // Options by task, where tasks differ, are told apart by key.
    let mut graph = Graph::new();
    let a = graph.add(py("operator:add").args((1, 1)).key(("a", 0)).priority(3));
    let b = graph.add(py("operator:add").args((&a, 1)).key(("a", 1)).retries(2));
    ensure_eq!(client.compute::<_, (i64, i64)>(graph, (a, b)).await?, (2, 3));
    // Through the scheduler, where keys go as they are in a message.
    let never = stage.cluster.client().direct(dask_client::Direct::Never).connect().await?;
    let relayed: Future<i64> = never.submit(py("operator:add").args((20, 1)).key(("y", 0))).await?;
    ensure_eq!(never.gather(std::slice::from_ref(&relayed)).await?, [21]);
    ensure_eq!(never.statistics().results_relayed, 1);
    never.close().await;
    // A failure names it, and what depends on it fails with it.
    let failed: Future<i64> = client.submit(py("operator:floordiv").args((1, 0)).key(("failed", 0))).await?;
    let error = failed.result().await.err().ok_or("a division by zero succeeded")?;
    ensure_eq!((error.kind(), error.key()), (ErrorKind::Task, Some(failed.key())));
    // Cancelled and released.
    let slow: Future<()> = client.submit(py("time:sleep").arg(3).key(("slow", 0))).await?;
    slow.cancel().await?;
    ensure_eq!(slow.result().await.err().map(|error| error.kind()), Some(ErrorKind::Cancelled));
    // Texts that read like one are other keys.
    let text: Future<i64> = client.submit(py("operator:add").args((5, 5)).key("('x', 0)")).await?;
    ensure_eq!((text.result().await?, first.result().await?), (10, 3));
    // What no release takes.
    let odd = client.submit::<i64>(py("operator:add").args((1, 2)).key(Key::Int(7))).await;
    ensure_eq!(odd.err().map(|error| error.kind()), Some(ErrorKind::Encode));
    Ok(())
}

async fn tuples_of_python_are_met(stage: &Stage) -> Outcome {
    let script = "
import time
work = {('t', 0): (add, 1, 2), ('t', 1): (add, ('t', 0), 10), ('t', 2): (time.sleep, 600)}
futures = client.get(work, [('t', 0), ('t', 1), ('t', 2)], sync=False)
client.publish_dataset(futures, name='tuples')
";
    python(stage, script).await?;
    let client = another(stage).await?;
    let dataset = client.dataset("tuples").await?.ok_or("nothing is published")?;
    let futures = dataset.futures();
    ensure_eq!(futures.len(), 3);
    let is_tuple = futures.iter().all(|future| matches!(future.key(), Key::Tuple(_)));
    ensure_eq!(is_tuple, client.dialect().has(dask_client::Feature::TupleKeys));
    let done: Vec<Future<i64>> = futures[..2].iter().map(|future| future.clone().typed()).collect();
    client.wait(&done).all().deadline(PATIENCE).await?;
    ensure_eq!(client.gather(&done).await?, [3, 13]);
    ensure_eq!(client.call::<i64>(py("operator:add").args((&done[0], &done[1]))).await?, 16);
    client.cancel_for_all(&futures[2..]).await?;
    let error = futures[2].result().await.err().ok_or("a cancelled task has a result")?;
    ensure_eq!(error.kind(), ErrorKind::Cancelled);
    client.unpublish("tuples").await?;
    // And back.
    client.publish("ours", &done).await?;
    let printed = python(stage, "print([future.result() for future in client.get_dataset('ours')])").await?;
    ensure_eq!(printed.as_str(), "[3, 13]");
    client.unpublish("ours").await?;
    client.close().await;
    Ok(())
}
