//! Calls by name, futures, a graph, and the health of the workers.
#![expect(clippy::print_stdout, reason = "an example")]

use std::time::Duration;

use dask_client::{Future, Graph, py};
use dask_examples::Stage;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stage = Stage::set().await?;
    let client = &stage.client;
    println!("Dask {} at {}", client.release(), client.address());

    let three: i64 = client.call(py("operator:add").args((1, 2))).await?;
    println!("1 + 2 = {three}");

    // A future's result stays on the cluster; as an argument it never passes through this program.
    let words: Future = client.submit(py("builtins:str.split").arg("to be or not to be")).await?;
    let counts: Vec<(String, u32)> = client
        .call(py("collections:Counter.most_common").args((py("collections:Counter").arg(&words), 2)))
        .await?;
    println!("most common: {counts:?}");

    let mut graph = Graph::new();
    let squares: Vec<_> = (1..=100).map(|n| graph.add(py("operator:pow").args((n, 2)))).collect();
    let sum = graph.add(py("builtins:sum").arg(squares));
    let sum: i64 = client.compute(graph, sum).await?;
    println!("the first hundred squares sum to {sum}");

    for (worker, health) in client.health(Duration::from_secs(5)).await? {
        println!("{worker}: {}", health.status);
    }
    stage.clear().await?;
    Ok(())
}
