//! Starts a cluster, runs a task on it from Python, and stops it:
//! `cargo run -p dask-local --example up -- RELEASE [tcp|tls|ws|wss] [WORKERS] [nanny]`

use std::io::Write;
use std::sync::Arc;

use dask_local::{Error, Event, LocalCluster, Protocol};

const CLIENT: &str = "
import os, sys
from distributed import Client
client = Client(os.environ['DASK_LOCAL_SCHEDULER'], timeout=20)
print(client.submit(lambda x: x + 1, 41).result(timeout=20), sorted(client.ncores()), sys.version.split()[0])
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |index: usize, default: &str| args.get(index).cloned().unwrap_or_else(|| default.to_owned());
    let protocol = match arg(1, "tcp").as_str() {
        "tls" => Protocol::Tls,
        "ws" => Protocol::Ws,
        "wss" => Protocol::Wss,
        _ => Protocol::Tcp,
    };
    let print = |event: &Event| {
        // A closed standard error is no reason to stop.
        drop(writeln!(std::io::stderr(), "{event}"));
    };
    let cluster = LocalCluster::builder()
        .release(arg(0, "latest"))
        .protocol(protocol)
        .workers(arg(2, "1").parse().unwrap_or(1))
        .nanny(arg(3, "") == "nanny")
        .on_event(Arc::new(print))
        .start()
        .await?;
    let answer = cluster.run_python(CLIENT, &[]).await?.ok()?;
    drop(writeln!(std::io::stdout(), "{} {} {}", cluster.release(), cluster.address(), answer.trim()));
    cluster.stop().await
}
