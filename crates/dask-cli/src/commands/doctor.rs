//! `dask-rs doctor`: from the name to the workers, and in plain words where it stops.

use std::time::{Duration, Instant, SystemTime};

use dask_client::{Address, Client};
use owo_colors::OwoColorize;
use serde_json::{Value as Json, json};
use tokio::net::{TcpStream, lookup_host};

use super::look::age;
use super::{Context, skew};
use crate::cli::{Cluster, Doctor};
use crate::failure::{CONFIG, CONNECT, Failure, UNHEALTHY, code_of};
use crate::output::{self, nanos, pretty};
use crate::progress;

/// A worker that was not heard of for longer is called silent.
const SILENT: f64 = 30.0;
/// A certificate that ends sooner is worth a warning.
const EXPIRES_SOON: Duration = Duration::from_secs(30 * 86_400);

/// One step of the way.
struct Step {
    name: &'static str,
    ok: bool,
    words: String,
    took: Option<Duration>,
}

/// The way so far; prints each step as it is done.
struct Walk {
    context: Context,
    steps: Vec<Step>,
}

impl Walk {
    fn step(&mut self, name: &'static str, ok: bool, words: impl Into<String>, took: Option<Duration>) {
        let step = Step { name, ok, words: words.into(), took };
        if !self.context.json() {
            let words = if step.ok { step.words.clone() } else { step.words.red().to_string() };
            // Colours take no room.
            let pad = 58usize.saturating_sub(step.words.chars().count());
            let took = step.took.map(pretty).unwrap_or_default();
            output::data(format!("  {name:<11} {words}{:pad$} {took:>9}", "").trim_end());
        }
        self.steps.push(step);
    }

    /// Says the verdict; the exit code.
    fn end(self, verdict: &str, next: &[String], code: u8) -> u8 {
        if self.context.json() {
            let steps: Vec<Json> = self
                .steps
                .iter()
                .map(|step| {
                    json!({ "step": step.name, "ok": step.ok, "words": step.words, "took_ns": step.took.map(nanos) })
                })
                .collect();
            output::line(&json!({ "verdict": verdict, "next": next, "steps": steps }));
        } else {
            let verdict = match code {
                0 if next.is_empty() => verdict.green().to_string(),
                0 => verdict.yellow().to_string(),
                _ => verdict.red().to_string(),
            };
            output::data(&format!("  => {verdict}"));
            for advice in next {
                output::data(&format!("     {advice}"));
            }
        }
        code
    }
}

pub(super) async fn run(context: Context, options: &Doctor) -> Result<u8, Failure> {
    let mut cluster = options.cluster.clone();
    if let Some(address) = &options.address {
        cluster.scheduler = Some(address.clone());
    }
    let address: Address = cluster
        .address()?
        .parse()
        .map_err(|error: dask_client::BadAddress| Failure::config(error.to_string()))?;
    let mut walk = Walk { context, steps: Vec::new() };
    let mut advice = Vec::new();
    match reach(&mut walk, &cluster, &address, &mut advice).await? {
        Ok(client) => {
            let outcome = examine(&mut walk, &cluster, &client, advice).await;
            client.close().await;
            match outcome {
                Ok(advice) if advice.is_empty() => Ok(walk.end("usable", &[], 0)),
                Ok(advice) => Ok(walk.end("usable, degraded", &advice, 0)),
                Err(Stop { verdict, next, code }) => Ok(walk.end(&verdict, &next, code)),
            }
        }
        Err(Stop { verdict, next, code }) => Ok(walk.end(&verdict, &next, code)),
    }
}

/// Where the way ends.
struct Stop {
    verdict: String,
    next: Vec<String>,
    code: u8,
}

impl Stop {
    fn new(code: u8, verdict: &str, next: impl Into<String>) -> Self {
        Self { verdict: verdict.to_owned(), next: vec![next.into()], code }
    }
}

/// Name, TCP, TLS, handshake, release; what is amiss but does not stop anybody.
async fn reach(
    walk: &mut Walk,
    cluster: &Cluster,
    address: &Address,
    advice: &mut Vec<String>,
) -> Result<Result<Client, Stop>, Failure> {
    let mark = Instant::now();
    let looking = lookup_host((address.host(), address.port()));
    let found = tokio::time::timeout(cluster.left(walk.context), looking).await;
    let places: Vec<_> = match found {
        Ok(Ok(places)) => places.collect(),
        Ok(Err(error)) => {
            walk.step("name", false, format!("{} does not resolve: {error}", address.host()), None);
            let next = "Is the name right, and does this machine use the cluster's name server?";
            return Ok(Err(Stop::new(CONNECT, "cannot be reached: the name is not known here", next)));
        }
        Err(_) => {
            let words = format!("no answer from the name server in {:?}", cluster.deadline());
            walk.step("name", false, words, None);
            return Ok(Err(Stop::new(
                CONNECT,
                "cannot be reached: names are not resolved",
                "Is the network up?",
            )));
        }
    };
    let shown: Vec<String> = places.iter().map(|place| place.ip().to_string()).collect();
    walk.step("name", true, format!("{} -> {}", address.host(), shown.join(", ")), Some(mark.elapsed()));

    // Some time is left to find out how far it goes if it does not go all the way.
    match cluster.open(walk.context, cluster.left(walk.context).mul_f64(0.75)).await {
        Ok(client) => {
            connected(walk, &client, address, advice);
            Ok(Ok(client))
        }
        Err(failure) if failure.code() == CONFIG => Err(failure),
        Err(failure) => {
            // Only now, for a connection that is opened and dropped is a line in a scheduler's log.
            if !reaches_tcp(walk, &places, cluster.left(walk.context)).await {
                let next = "Does the scheduler run, on this port, and does no firewall stand between?";
                return Ok(Err(Stop::new(CONNECT, "cannot be reached: nobody answers there", next)));
            }
            Ok(Err(stopped(walk, &failure, address.scheme().is_encrypted())))
        }
    }
}

/// A connection that was opened, step by step.
fn connected(walk: &mut Walk, client: &Client, address: &Address, advice: &mut Vec<String>) {
    let phases = client.connect_phases();
    walk.step("tcp", true, format!("port {} accepts", address.port()), Some(phases.tcp));
    if let Some(took) = phases.tls {
        let session = phases.tls_session;
        let version = session.map_or("encrypted", |session| session.version);
        let expires = session.and_then(|session| session.expires);
        let (words, expiring) = tls_words(version, expires, SystemTime::now());
        walk.step("tls", true, words, Some(took));
        advice.extend(expiring);
    }
    if let Some(took) = phases.websocket {
        walk.step("websocket", true, "upgraded", Some(took));
    }
    walk.step("handshake", true, "Dask", Some(phases.handshake));
    let dialect = client.dialect();
    let known = if dialect.is_known() { "known" } else { "not among the known ones" };
    let words = format!("{} (dialect {}; {known})", dialect.release(), dialect.submission().name());
    walk.step("release", true, words, None);
}

/// What was agreed on, and a warning if the server's certificate is about to expire.
fn tls_words(version: &str, expires: Option<SystemTime>, now: SystemTime) -> (String, Option<String>) {
    let Some(left) = expires.and_then(|expires| expires.duration_since(now).ok()) else {
        return (format!("{version}, certificate accepted"), None);
    };
    let days = left.as_secs() / 86_400;
    let words = format!("{version}, certificate accepted, expires in {days} d");
    let soon = left < EXPIRES_SOON;
    (words, soon.then(|| format!("The scheduler's certificate expires in {days} days; renew it in time.")))
}

/// Where it ends after TCP.
fn stopped(walk: &mut Walk, failure: &Failure, encrypted: bool) -> Stop {
    let tls = encrypted && failure.code() == CONNECT;
    walk.step(if tls { "tls" } else { "handshake" }, false, failure.message(), None);
    let (verdict, next) = if tls {
        (
            "reachable, but TLS is not agreed on",
            "Compare --tls-ca-file, --tls-cert and --tls-key with the scheduler's own.",
        )
    } else {
        (
            "reachable, but no Dask scheduler answers there",
            "Is it the scheduler's port (usually 8786, not the dashboard's 8787), is tcp:// or tls:// right, and is the \
             scheduler not stopped or overloaded?",
        )
    };
    Stop::new(failure.code(), verdict, next)
}

/// Whether any of these places accepts a connection.
async fn reaches_tcp(walk: &mut Walk, places: &[std::net::SocketAddr], left: Duration) -> bool {
    let each = left / u32::try_from(places.len()).unwrap_or(u32::MAX).max(1);
    for place in places {
        let mark = Instant::now();
        match tokio::time::timeout(each, TcpStream::connect(place)).await {
            Ok(Ok(_)) => {
                walk.step("tcp", true, format!("{place} accepts"), Some(mark.elapsed()));
                return true;
            }
            Ok(Err(error)) => {
                let words = match error.kind() {
                    std::io::ErrorKind::ConnectionRefused => "nothing listens on that port".to_owned(),
                    _ => error.to_string(),
                };
                walk.step("tcp", false, format!("{place}: {words}"), Some(mark.elapsed()));
            }
            Err(_) => walk.step("tcp", false, format!("{place}: no answer"), None),
        }
    }
    false
}

/// Workers and versions; what is amiss but does not stop anybody.
async fn examine(
    walk: &mut Walk,
    cluster: &Cluster,
    client: &Client,
    mut advice: Vec<String>,
) -> Result<Vec<String>, Stop> {
    let failed = |error: dask_client::Error| {
        Stop::new(code_of(error.kind()), "connected, but requests fail", error.to_string())
    };
    let mark = Instant::now();
    let info = client.scheduler_info().await.map_err(failed)?;
    walk.step("scheduler", true, "answers requests", Some(mark.elapsed()));
    if info.workers.is_empty() {
        walk.step("workers", false, "there are none", None);
        let next = format!("Start some: dask worker {}", client.address());
        return Err(Stop::new(UNHEALTHY, "the scheduler runs, but nothing can be computed", next));
    }
    let mark = Instant::now();
    // But for the way back, and for the question after this one.
    let patience = cluster.left(walk.context).mul_f64(0.7);
    let health = progress::patient(walk.context.quiet, "asking every worker", client.health(patience)).await;
    let health = health.map_err(failed)?;
    let well = health.values().filter(|health| health.is_ok()).count();
    let now = super::look::now();
    for (worker, health) in health.iter().filter(|(_, health)| !health.is_ok()) {
        let seen = info.workers.get(worker).and_then(|worker| worker.last_seen);
        let silent = seen.map_or_else(String::new, |seen| format!("; last heard of {} ago", age(now - seen)));
        let words = super::health::words(health);
        advice.push(format!("{worker} {words}{silent}; see: dask-rs tasks --worker {worker}"));
    }
    walk.step("workers", well > 0, format!("{well} of {} answer", health.len()), Some(mark.elapsed()));
    for worker in info.workers.values() {
        if let Some(status) = worker.status.as_deref().filter(|status| *status != "running") {
            advice.push(format!("{} is {status}; is its memory full? See: dask-rs workers", worker.address));
        }
        if let Some(age) = worker.last_seen.map(|seen| now - seen).filter(|age| *age > SILENT) {
            advice.push(format!(
                "{} was last heard of {} ago (by this machine's clock)",
                worker.address,
                super::look::age(age)
            ));
        }
    }
    if well == 0 {
        return Err(Stop {
            verdict: "no worker executes anything".to_owned(),
            next: advice,
            code: UNHEALTHY,
        });
    }
    if well == health.len() {
        versions(walk, cluster, client, &mut advice).await;
    } else {
        // The scheduler would wait for the others.
        walk.step("versions", true, "not compared, for not every worker answers", None);
    }
    if !client.dialect().is_known() {
        advice.push(format!(
            "{} is not among those this program was checked against; it speaks the newest dialect",
            client.dialect()
        ));
    }
    Ok(advice)
}

async fn versions(walk: &mut Walk, cluster: &Cluster, client: &Client, advice: &mut Vec<String>) {
    let mark = Instant::now();
    match tokio::time::timeout(cluster.left(walk.context), client.versions()).await {
        Ok(Ok(versions)) => {
            let rows = skew::table(&versions);
            let broken: Vec<_> = rows.iter().filter(|row| row.differs && row.must_agree).collect();
            let words = match broken.as_slice() {
                [] => "what must agree agrees".to_owned(),
                rows => {
                    let names: Vec<&str> = rows.iter().map(|row| row.package.as_str()).collect();
                    format!("{} not the same everywhere", names.join(", "))
                }
            };
            walk.step("versions", broken.is_empty(), words, Some(mark.elapsed()));
            advice
                .extend(versions.silent.keys().map(|worker| format!("{worker} does not tell its versions.")));
            if !broken.is_empty() {
                advice.push(
                    "Give scheduler and workers the same environment; see: dask-rs versions".to_owned(),
                );
            }
        }
        told => {
            let words = match told {
                Ok(Err(error)) => error.to_string(),
                _ => "not told in time".to_owned(),
            };
            walk.step("versions", false, words, None);
            advice.push("Not every worker told its versions.".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_that_expire_soon_are_worth_a_warning() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let after = |days: u64| tls_words("TLS 1.3", Some(now + Duration::from_secs(days * 86_400)), now);
        assert_eq!(after(41), ("TLS 1.3, certificate accepted, expires in 41 d".to_owned(), None));
        let (words, warning) = after(3);
        assert!(words.ends_with("expires in 3 d") && warning.unwrap().contains("in 3 days"));
        assert_eq!(tls_words("TLS 1.2", None, now), ("TLS 1.2, certificate accepted".to_owned(), None));
    }
}
