//! Exceptions with their Python traceback, retries, deadlines, cancelling.
#![expect(clippy::print_stdout, reason = "an example")]

use std::time::Duration;

use dask_client::{ErrorKind, Future, py};
use dask_examples::Stage;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stage = Stage::set().await?;
    let client = &stage.client;

    // A failed task is an error that prints like Python prints it.
    let outcome = client.call::<f64>(py("operator:truediv").args((1, 0)).retries(1)).await;
    if let Err(error) = outcome {
        println!("{error}");
        if let Some(exception) = error.python() {
            println!("{exception}");
        }
    }

    // A wait with an end. The call is dropped with it, so the scheduler forgets the task.
    let late = client.call::<()>(py("time:sleep").arg(2)).deadline(Duration::from_millis(200)).await;
    match late {
        Err(error) if error.kind() == ErrorKind::Timeout => println!("{error}"),
        other => println!("{other:?}"),
    }

    // Cancelled while somebody waits.
    let slow: Future<()> = client.submit(py("time:sleep").arg(2)).await?;
    let (outcome, cancelled) = tokio::join!(async { slow.result().await }, slow.cancel());
    cancelled?;
    println!("{:?}", outcome.err().map(|error| error.kind()));

    stage.clear().await?;
    Ok(())
}
