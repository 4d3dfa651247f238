//! From a project id, a URL and a token to a Dask cluster whose workers answer:
//!
//! ```text
//! cargo run --example saturn -- [PROJECT_ID]
//! ```
//!
//! The URL is that of `SATURN_BASE_URL`, the token that of `token.json` in the working directory, else of `SATURN_TOKEN`.
//! Without a URL it starts an emulator of Saturn Cloud on this machine, and a real cluster of the Dask release that
//! dask-saturn 0.2.2 went with.
//!
//! Beside each step stands the line of Python that it is for.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use dask_client::{WorkerHealth, py};
use futures::StreamExt;
use saturn_cloud::emulator::Emulator;
use saturn_cloud::{Progress, SaturnCluster, Settings};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Box<dyn Error>> {
    let account = Account::find()?;

    // external_connection = ExternalConnection(project_id=…, base_url=…, saturn_token=json.load(open("token.json"))["token"])
    // cluster = SaturnCluster(
    //     external_connection=external_connection,
    let mut starting = SaturnCluster::builder(account.settings.clone())
        .project_id(&account.project_id)
        //     n_workers=3,
        .n_workers(3)
        //     worker_size="8xlarge",
        .worker_size("8xlarge")
        //     scheduler_size="2xlarge",
        .scheduler_size("2xlarge")
        //     nthreads=32,
        .nthreads(32)
        //     worker_is_spot=False,
        .worker_is_spot(false)
        // )
        .start();

    // INFO:dask-saturn:Starting cluster. Status: pending
    while let Some(event) = starting.next().await {
        match event {
            Progress::Status { status, .. } => println!("Starting cluster. Status: {status}"),
            Progress::Warning { text } => println!("{text}"),
            Progress::Ready { address, .. } => println!("Cluster is ready: {address}"),
            _ => {}
        }
    }
    let cluster = starting.await?;

    // client = Client(cluster)
    let client = cluster.connect().await?;
    cluster.wait_for_workers(&client, 3, Duration::from_secs(300)).await?;

    // INFO:dask-saturn:{'tcp://10.0.23.16:43141': {'status': 'OK'}}
    println!("{}", as_python(&client.health(Duration::from_secs(30)).await?));

    // client.submit(operator.add, 1, 2).result()
    let three: i64 = client.call(py("operator:add").args((1, 2))).await?;
    println!("1 + 2 = {three}");

    // cluster.close()
    client.close().await;
    cluster.close().await?;
    Ok(())
}

/// Where to start a cluster, and in which project.
struct Account {
    settings: Settings,
    project_id: String,
    /// Ends when this is dropped.
    _emulator: Option<Emulator>,
}

impl Account {
    fn find() -> Result<Self, Box<dyn Error>> {
        let given = std::env::args().nth(1);
        if ["SATURN_BASE_URL", "BASE_URL"].iter().all(|name| std::env::var_os(name).is_none()) {
            let emulator = Emulator::builder().release("2.30.1").delay(Duration::from_secs(1)).start()?;
            return Ok(Self {
                settings: emulator.settings()?,
                project_id: given.unwrap_or_else(|| emulator.project_id().to_owned()),
                _emulator: Some(emulator),
            });
        }
        let mut settings = Settings::builder();
        if std::fs::exists("token.json")? {
            settings = settings.token_file("token.json");
        }
        let project_id = given.ok_or("which project? Give its id, the last part of its URL")?;
        Ok(Self { settings: settings.build()?, project_id, _emulator: None })
    }
}

/// As Python shows a dict.
fn as_python(health: &BTreeMap<String, WorkerHealth>) -> String {
    let workers =
        health.iter().map(|(worker, health)| format!("'{worker}': {{'status': '{}'}}", health.status));
    format!("{{{}}}", workers.collect::<Vec<_>>().join(", "))
}
