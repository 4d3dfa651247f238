//! A program without async: the same calls, each waited for.
#![expect(clippy::print_stdout, reason = "an example")]

use std::time::Duration;

use dask_client::blocking::{Iterate, Wait};
use dask_client::{Client, py};
use dask_local::LocalCluster;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The cluster at DASK_SCHEDULER_ADDRESS, or one that is started here. Starting processes is async work of another
    // crate, for which any runtime will do.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (address, local) = match std::env::var("DASK_SCHEDULER_ADDRESS") {
        Ok(address) => (address, None),
        Err(_) => {
            let cluster = runtime.block_on(LocalCluster::builder().workers(2).start())?;
            (cluster.address(), Some(cluster))
        }
    };

    let client = Client::connect(address).wait()?;
    println!("Dask {} at {}", client.release(), client.address());
    let three: i64 = client.call(py("operator:add").args((1, 2))).deadline(Duration::from_secs(20)).wait()?;
    println!("1 + 2 = {three}");

    let words = ["to", "be", "or", "not"];
    for item in client.map::<usize, _>(py("builtins:len"), words).ordered().iterate() {
        let (word, length) = item?;
        println!("{word}: {} letters", length?);
    }
    for (worker, health) in client.health(Duration::from_secs(5)).wait()? {
        println!("{worker}: {}", health.status);
    }
    client.close().wait()?;
    if let Some(cluster) = local {
        runtime.block_on(cluster.stop())?;
    }
    Ok(())
}
