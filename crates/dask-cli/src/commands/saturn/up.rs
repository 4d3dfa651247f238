//! `dask-rs saturn up`

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use dask_client::{Pem, WorkerHealth};
use futures::StreamExt;
use saturn_cloud::{
    Aftermath, Backoff, ClusterOptions, Error, GivenUp, Progress, Resource, SaturnCluster, Verification,
};
use serde_json::json;

use super::super::Context;
use super::cli::{Up, Verify};
use super::code;
use super::shown::Shown;
use crate::failure::{Failure, UNHEALTHY, UNUSABLE};
use crate::output;
use crate::signals::Stops;

/// No question is asked less often than this.
const LEAST_OFTEN: Duration = Duration::from_secs(60);
/// How long a cluster whose time is up may take to be closed before that is a failure.
const GRACE: Duration = Duration::from_secs(600);

pub(super) async fn run(context: Context, options: &Up) -> Result<u8, Failure> {
    let lines = context.json() || !std::io::stdout().is_terminal();
    let begun = Instant::now();
    let mut starting = description(options)?.start();
    let shown = Shown::new(context, lines);
    let mut stops = Stops::listen();
    let mut id = None;
    // Somebody else's is let go of and not closed.
    let own = !options.keep && options.cluster_id.is_none();
    let started = loop {
        tokio::select! {
            event = starting.next() => match event {
                Some(event) => {
                    if let Progress::Status { id: Some(told), .. } = &event {
                        id = Some(told.clone());
                    }
                    shown.event(&event);
                }
                None => break starting.await,
            },
            () = stops.next() => {
                shown.end();
                let end = unless_stopped(&mut stops, id.as_deref(), own, starting.cancel()).await?;
                return Err(given_up(&end?));
            }
        }
    };
    let cluster = started.inspect_err(|_| shown.end())?;
    let outcome = tokio::select! {
        outcome = check(&cluster, options, &shown) => Some(outcome),
        () = stops.next() => None,
    };
    let id = cluster.id().to_owned();
    let closes = cluster.closes_on_drop();
    shown.end();
    let health = match outcome {
        Some(Ok(health)) => health,
        Some(Err(error)) => {
            let code = code(&error);
            let after = unless_stopped(&mut stops, Some(&id), closes, ended(cluster)).await?;
            let words = match error.aftermath() {
                Some(_) => error.with_aftermath(after).to_string(),
                None => format!("{error}; {after}"),
            };
            return Err(Failure::new(code, words));
        }
        None => {
            let end = unless_stopped(&mut stops, Some(&id), closes, end(cluster)).await?;
            return Err(end.map_or_else(Failure::from, |end| given_up(&end)));
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
        let count = health.len();
        let after = unless_stopped(&mut stops, Some(&id), closes, ended(cluster)).await?;
        let words = format!("{ill} of {count} workers of cluster {id} are not healthy; {after}");
        return Err(Failure::new(UNHEALTHY, words));
    }
    stay(context, options, cluster, begun, stops).await
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
        .allow_unencrypted(options.allow_unencrypted)
        .verification(match (options.tls_verify, &options.tls_ca_file) {
            (Verify::Pinned, Some(file)) => Verification::Pinned(Pem::File(file.clone())),
            (Verify::Pinned, None) => {
                return Err(Failure::config(
                    "--tls-verify pinned needs the scheduler's certificate: give it by --tls-ca-file",
                ));
            }
            (_, Some(_)) => {
                return Err(Failure::config(
                    "--tls-ca-file goes with --tls-verify pinned alone: else the server tells the cluster's authority",
                ));
            }
            (Verify::Chain, None) => Verification::Chain,
            (Verify::Name, None) => Verification::Name,
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
        let (host, port) = way(via).ok_or_else(|| {
            Failure::config(format!(
                "--connect-via {via:?} is neither HOST nor HOST:PORT; an IPv6 address with a port is written as [::1]:8786"
            ))
        })?;
        builder = builder.connect_via(host, port);
    }
    Ok(builder)
}

/// Host and port of `HOST`, `HOST:PORT`, `[IPv6]` and `[IPv6]:PORT`.
fn way(text: &str) -> Option<(&str, Option<u16>)> {
    let is_v6 = |host: &str| {
        let address = host.split_once('%').map_or(host, |(address, _)| address);
        address.parse::<std::net::Ipv6Addr>().is_ok()
    };
    if is_v6(text) {
        return Some((text, None));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').filter(|(host, _)| is_v6(host))?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(|port| port.parse().ok().filter(|port| *port > 0).ok_or(()));
    (!host.is_empty()).then_some((host, port.transpose().ok()?))
}

/// Connects, waits for the workers, and has each execute something.
async fn check(
    cluster: &SaturnCluster,
    options: &Up,
    shown: &Shown,
) -> Result<BTreeMap<String, WorkerHealth>, Error> {
    shown.say("connecting");
    let client = cluster.connect().await?;
    // A cluster that was there before has the workers that it has.
    let asked = options.n_workers.filter(|_| cluster.options_apply());
    let want = asked.map_or(1, |n| n.saturating_mul(options.nprocs.unwrap_or(1)));
    let want = usize::try_from(want).unwrap_or(usize::MAX);
    shown.say("waiting for workers");
    let told = |have| shown.workers(have, want);
    cluster.wait_and_tell(&client, want, options.workers_deadline, told).await?;
    let health = match client.health(options.workers_deadline).await {
        Ok(health) => health,
        Err(error) => return Err(cluster.diagnose(error).await),
    };
    client.close().await;
    Ok(health)
}

fn given_up(end: &GivenUp) -> Failure {
    let words = match end {
        GivenUp::Nothing => "given up before there was a cluster".to_owned(),
        GivenUp::Closed { id } => format!("given up; cluster {id} was closed"),
        GivenUp::Left { id } => {
            format!("given up; cluster {id} is left running, and costs: end it with dask-rs saturn down {id}")
        }
        other => format!("given up: {other:?}"),
    };
    Failure::new(UNUSABLE, words)
}

/// Waits for the end of a cluster, which a server that says nothing can draw out, unless told to stop once more.
async fn unless_stopped<T>(
    stops: &mut Stops,
    id: Option<&str>,
    closes: bool,
    ending: impl Future<Output = T>,
) -> Result<T, Failure> {
    let cluster = id.map_or_else(|| "what was started".to_owned(), |id| format!("cluster {id}"));
    if closes {
        output::words(&format!("closing {cluster}; Ctrl-C again leaves it running, and it may cost"));
    }
    tokio::select! {
        biased;
        ended = ending => Ok(ended),
        () = stops.next() => {
            let next = id.map_or_else(
                || "find it with dask-rs saturn list".to_owned(),
                |id| format!("end it with dask-rs saturn down {id}"),
            );
            Err(Failure::new(UNUSABLE, format!("given up; {cluster} may be running, and cost: {next}")))
        }
    }
}

/// Closes a cluster that was started for nothing.
async fn end(cluster: SaturnCluster) -> Result<GivenUp, Error> {
    let id = cluster.id().to_owned();
    if !cluster.closes_on_drop() {
        return Ok(GivenUp::Left { id });
    }
    cluster.close().await.map(|()| GivenUp::Closed { id })
}

/// Closes a cluster that was started for nothing; what became of it. Says more, in any case, if it may go on to cost.
async fn ended(cluster: SaturnCluster) -> Aftermath {
    match end(cluster).await {
        Ok(GivenUp::Left { id }) => {
            output::words(&format!("cluster {id} is left running; end it with: dask-rs saturn down {id}"));
            Aftermath::Left
        }
        Ok(_) => Aftermath::Closed,
        Err(error) => {
            output::words(&error.to_string());
            Aftermath::NotClosed
        }
    }
}

/// Lets the cluster go on, or waits for its end.
async fn stay(
    context: Context,
    options: &Up,
    mut cluster: SaturnCluster,
    begun: Instant,
    mut stops: Stops,
) -> Result<u8, Failure> {
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
    let died = tokio::select! {
        died = until_over(&cluster, options.poll, begun, time) => died,
        () = stops.next() => None,
    };
    let id = cluster.id().to_owned();
    let closed = unless_stopped(&mut stops, Some(&id), true, cluster.close()).await?;
    if let Some(died) = died {
        let after = match closed {
            Ok(()) => "it was closed".to_owned(),
            Err(error) => error.to_string(),
        };
        let words = format!(
            "cluster {id} is {died} before its time was up; look into its logs (dask-rs saturn logs {id}); {after}"
        );
        return Err(Failure::new(UNHEALTHY, words));
    }
    closed?;
    output::say(context.quiet, "the cluster was closed");
    Ok(0)
}

/// Waits until the cluster is closed because its time is up; what it is if it ends before.
async fn until_over(
    cluster: &SaturnCluster,
    poll: Duration,
    begun: Instant,
    time: Duration,
) -> Option<String> {
    loop {
        let left = time.saturating_sub(begun.elapsed());
        // The guard closes it when the time has come; the server knows.
        let pause = if left.is_zero() { poll } else { poll.min(left) };
        tokio::time::sleep(pause.max(Duration::from_millis(100))).await;
        let over = match cluster.status().await {
            Ok(status) => status.is_over().then(|| status.to_string()),
            Err(Error::UnknownCluster { .. }) => Some("gone".to_owned()),
            Err(_) => None,
        };
        if over.is_some() {
            // Looked at after the answer: the guard never closes before the time is up.
            return over.filter(|_| begun.elapsed() < time);
        }
        if begun.elapsed() > time.saturating_add(GRACE) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_a_host_and_perhaps_a_port() {
        for (text, host, port) in [
            ("gate", "gate", None),
            ("gate.example:8786", "gate.example", Some(8786)),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("::1", "::1", None),
            ("[::1]", "::1", None),
            ("[::1]:8786", "::1", Some(8786)),
            ("fe80::1%eth0", "fe80::1%eth0", None),
            ("2001:db8::8786", "2001:db8::8786", None),
        ] {
            assert_eq!(way(text), Some((host, port)), "{text}");
        }
        for text in [
            "",
            ":1",
            "[]",
            "[]:1",
            "[::1",
            "[::1]8786",
            "[::1]:",
            "[gate]:1",
            "gate:",
            "gate:many",
            "gate:0",
            "a:1:2",
        ] {
            assert_eq!(way(text), None, "{text}");
        }
    }
}
