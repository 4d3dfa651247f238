//! `dask-rs saturn up`

use std::io::IsTerminal;
use std::time::Duration;

use dask_client::WorkerHealth;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use saturn_cloud::{Backoff, ClusterOptions, Progress, Resource, SaturnCluster, Verification};
use serde_json::{Value as Json, json};

use super::super::Context;
use super::super::local::stopped;
use super::cli::{Up, Verify};
use crate::failure::{Failure, UNHEALTHY, UNUSABLE};
use crate::output::{self, nanos};

/// No question is asked less often than this.
const LEAST_OFTEN: Duration = Duration::from_secs(60);

pub(super) async fn run(context: Context, options: &Up) -> Result<u8, Failure> {
    let lines = context.json() || !std::io::stdout().is_terminal();
    let mut starting = description(options)?.start();
    let shown = Shown::new(context, lines);
    let mut interrupted = std::pin::pin!(stopped());
    let started = loop {
        tokio::select! {
            event = starting.next() => match event {
                Some(event) => shown.event(&event),
                None => break starting.await,
            },
            () = &mut interrupted => {
                shown.end();
                return Err(given_up(starting.cancel().await?));
            }
        }
    };
    let cluster = started.inspect_err(|_| shown.end())?;
    let outcome = tokio::select! {
        outcome = check(&cluster, options, &shown) => outcome,
        () = &mut interrupted => Err(given_up(None)),
    };
    shown.end();
    let health = match outcome {
        Ok(health) => health,
        Err(failure) => {
            end(context, cluster).await;
            return Err(failure);
        }
    };
    let ill = health.values().filter(|worker| !worker.is_ok()).count();
    if lines {
        output::line(&json!({
            "event": "up",
            "id": cluster.id(),
            "scheduler": cluster.address().to_string(),
            "dashboard": cluster.dashboard(),
            "cost_per_hour_usd": cluster.cost_per_hour(),
            "health": health,
        }));
    } else {
        output::say(context.quiet, &format!("  ready     {}", cluster.address()));
        output::data(&json!(health).to_string());
    }
    if ill > 0 {
        let failure = Failure::new(UNHEALTHY, format!("{ill} of {} workers are not healthy", health.len()));
        end(context, cluster).await;
        return Err(failure);
    }
    stay(context, options, cluster).await
}

fn description(options: &Up) -> Result<saturn_cloud::ClusterBuilder, Failure> {
    let mut wanted = ClusterOptions::new();
    wanted.n_workers = options.n_workers;
    wanted.worker_size.clone_from(&options.worker_size);
    wanted.scheduler_size.clone_from(&options.scheduler_size);
    wanted.nprocs = options.nprocs;
    wanted.nthreads = options.nthreads;
    wanted.worker_is_spot = options.worker_is_spot;
    let mut builder = SaturnCluster::builder(options.account.settings()?)
        .options(wanted)
        .deadline(options.deadline)
        .backoff(Backoff::new(options.poll, LEAST_OFTEN.max(options.poll)))
        .verification(match options.tls_verify {
            Verify::Chain => Verification::Chain,
            Verify::Name => Verification::Name,
        });
    if let Some(id) = &options.project_id {
        builder = builder.project_id(id);
    }
    for (id, resource) in [
        (&options.workspace_id, Resource::Workspace as fn(String) -> Resource),
        (&options.deployment_id, Resource::Deployment),
        (&options.job_id, Resource::Job),
    ] {
        if let Some(id) = id {
            builder = builder.resource(resource(id.clone()));
        }
    }
    if let Some(id) = &options.cluster_id {
        builder = builder.cluster_id(id);
    }
    if options.reset {
        builder = builder.reset();
    }
    if options.keep {
        builder = builder.keep(true);
    }
    if let Some(time) = options.close_after {
        builder = builder.close_after(time);
    }
    if let Some(via) = &options.connect_via {
        let bad = || Failure::config(format!("--connect-via {via:?} is neither HOST nor HOST:PORT"));
        builder = match via.rsplit_once(':') {
            None => builder.connect_via(via, None),
            Some((host, port)) => {
                builder.connect_via(host.trim_matches(['[', ']']), Some(port.parse().map_err(|_| bad())?))
            }
        };
    }
    Ok(builder)
}

/// Connects, waits for the workers, and has each execute something.
async fn check(
    cluster: &SaturnCluster,
    options: &Up,
    shown: &Shown,
) -> Result<std::collections::BTreeMap<String, WorkerHealth>, Failure> {
    shown.say("connecting");
    let client = cluster.connect().await?;
    let want = options.n_workers.map_or(1, |n| n.saturating_mul(options.nprocs.unwrap_or(1)));
    shown.say("waiting for workers");
    cluster
        .wait_for_workers(&client, usize::try_from(want).unwrap_or(usize::MAX), options.workers_deadline)
        .await?;
    let health = match client.health(options.workers_deadline).await {
        Ok(health) => health,
        Err(error) => return Err(cluster.diagnose(error).await.into()),
    };
    client.close().await;
    Ok(health)
}

fn given_up(id: Option<String>) -> Failure {
    Failure::new(
        UNUSABLE,
        match id {
            None => "given up; a cluster that was started for it is closed".to_owned(),
            Some(id) => {
                format!("given up; cluster {id} may run and cost: end it with dask-rs saturn down {id}")
            }
        },
    )
}

/// Closes a cluster that was started for nothing.
async fn end(context: Context, cluster: SaturnCluster) {
    if !cluster.closes_on_drop() {
        let text = format!("cluster {} is left running; end it with: dask-rs saturn down {0}", cluster.id());
        return output::say(context.quiet, &text);
    }
    match cluster.close().await {
        Ok(()) => output::say(context.quiet, "the cluster was closed"),
        Err(error) => output::say(false, &error.to_string()),
    }
}

/// Lets the cluster go on, or waits for its end.
async fn stay(context: Context, options: &Up, mut cluster: SaturnCluster) -> Result<u8, Failure> {
    let cost = cluster.cost_per_hour().map(|cost| format!(", about {cost:.2} USD/h")).unwrap_or_default();
    let Some(time) = options.close_after else {
        cluster.keep();
        output::say(
            context.quiet,
            &format!("running{cost}; end it with: dask-rs saturn down {}", cluster.id()),
        );
        return Ok(0);
    };
    let text =
        format!("running{cost}; closed {} after its start, or by Ctrl-C", humantime::format_duration(time));
    output::say(context.quiet, &text);
    let over = async {
        // The guard closes it when the time has come; the server knows.
        loop {
            tokio::time::sleep(Duration::from_secs(1).min(time)).await;
            if cluster.status().await.is_ok_and(|status| status.is_over()) {
                break;
            }
        }
    };
    tokio::select! {
        () = over => (),
        () = stopped() => (),
    }
    cluster.close().await?;
    output::say(context.quiet, "the cluster was closed");
    Ok(0)
}

/// Where progress is shown: a bar on a terminal, otherwise lines of JSON.
struct Shown {
    lines: bool,
    bar: ProgressBar,
    cost: std::cell::Cell<Option<f64>>,
    quiet: bool,
}

impl Shown {
    fn new(context: Context, lines: bool) -> Self {
        let bar = if context.quiet || lines || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("  {prefix:9} {bar:20} {msg}  {elapsed}") {
                bar.set_style(style);
            }
            bar.set_prefix("starting");
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        };
        Self { lines, bar, cost: std::cell::Cell::new(None), quiet: context.quiet }
    }

    fn say(&self, text: &str) {
        let cost =
            self.cost.get().map(|cost| format!("   (about {cost:.2} USD/h when up)")).unwrap_or_default();
        self.bar.set_message(format!("{text}{cost}"));
    }

    fn event(&self, event: &Progress) {
        if self.lines {
            output::line(&describe(event));
        }
        match event {
            Progress::Status { status, .. } => self.say(status.as_str()),
            Progress::Warning { text } => {
                self.bar.suspend(|| output::say(self.quiet, &format!("  warning   {text}")))
            }
            Progress::Components { scheduler, workers } => {
                self.bar.set_length(workers.count.into());
                self.bar.set_position(workers.running_count.into());
                let scheduler = scheduler.as_ref().map_or("pending", saturn_cloud::Status::as_str);
                self.say(&format!(
                    "scheduler {scheduler}, workers {}/{}",
                    workers.running_count, workers.count
                ));
            }
            Progress::Cost { per_hour } => self.cost.set(Some(*per_hour)),
            _ => {}
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn describe(event: &Progress) -> Json {
    match event {
        Progress::Status { status, id, elapsed } => {
            json!({ "event": "status", "status": status, "id": id, "elapsed_ns": nanos(*elapsed) })
        }
        Progress::Warning { text } => json!({ "event": "warning", "text": text }),
        Progress::Components { scheduler, workers } => {
            json!({ "event": "components", "scheduler": scheduler, "workers": workers })
        }
        Progress::Cost { per_hour } => json!({ "event": "cost", "per_hour_usd": per_hour }),
        Progress::Ready { id, address, elapsed } => {
            json!({ "event": "ready", "id": id, "scheduler": address, "elapsed_ns": nanos(*elapsed) })
        }
        other => json!({ "event": "other", "text": format!("{other:?}") }),
    }
}
