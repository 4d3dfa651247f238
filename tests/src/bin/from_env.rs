//! Connects as the environment of this process says, and prints what came of it. Run by `tests/configured.rs`.

use std::time::Duration;

use dask_client::ClientBuilder;

#[tokio::main]
async fn main() {
    let connected =
        async { ClientBuilder::from_env()?.connect_timeout(Duration::from_secs(30)).connect().await };
    match connected.await {
        Ok(client) => println!("connected to {}", client.address()),
        Err(error) => println!("failed: {error:?}"),
    }
}
