//! Makes the environments of releases, if need be, and prints each one's interpreter:
//! `cargo run -p dask-local --example environment -- RELEASE...`

use std::io::Write;
use std::sync::Arc;

use dask_local::{Error, Event, LocalCluster};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    for release in std::env::args().skip(1) {
        let print = |event: &Event| drop(writeln!(std::io::stderr(), "{event}"));
        // A scheduler that came up proves that the environment is of use.
        let cluster =
            LocalCluster::builder().release(release).workers(0).on_event(Arc::new(print)).start().await?;
        drop(writeln!(std::io::stdout(), "{} {}", cluster.release(), cluster.python().display()));
        cluster.stop().await?;
    }
    Ok(())
}
