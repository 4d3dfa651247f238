//! A result that outlives the client that asked for it, and is collected by another one.
#![expect(clippy::print_stdout, reason = "an example")]

use std::time::Duration;

use dask_client::{Client, Future, python};
use dask_examples::Stage;

const REPORT: &str = "
import time
time.sleep(1)
return 'revenue is up in %d regions' % regions
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stage = Stage::set().await?;
    let address = stage.client.address().to_string();

    // One process asks, leaves the future under a name, and ends.
    let asking = Client::connect(&*address).await?;
    let report: Future<String> = asking.submit(python(REPORT).kwarg("regions", 3)).await?;
    asking.detach(&report, "report-2026-11").await?;
    println!("{report:?} is left behind");
    drop(report);
    asking.close().await;

    // Another collects, whenever it likes. In Python: Variable("report-2026-11").get().result()
    let collecting = Client::connect(&*address).await?;
    let report: Future<String> = collecting.attach("report-2026-11").within(Duration::from_secs(20)).await?;
    println!("{}", report.result().await?);
    collecting.forget_detached("report-2026-11").await?;
    collecting.close().await;

    stage.clear().await?;
    Ok(())
}
