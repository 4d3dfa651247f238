//! The checks of `probe ready`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dask_client::{Client, SchedulerInfo};

use super::report::{Check, Outcome};
use crate::cli::Ready;
use crate::commands::{Context, skew};
use crate::failure::Failure;
use crate::output::pretty;

/// The name of the check that every worker executes something.
const ALL_EXECUTE: &str = "all_execute";

/// How many round trips are measured; the fastest counts, for a probe must not fail by one hiccup.
const ROUND_TRIPS: usize = 3;

/// What is wrong is noted as a check that failed; an error is what keeps from finding out.
pub(super) async fn check(
    context: Context,
    options: &Ready,
    client: &Client,
    timeout: Duration,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let mark = Instant::now();
    let info = client.scheduler_info().await?;
    outcome.phase("identity", mark.elapsed());
    let round_trip = round_trip(client).await?;
    outcome.phase("round_trip", round_trip);
    outcome.workers = Some(info.workers.len());
    outcome.threads = Some(info.total_threads);

    check_numbers(options, &info, outcome);
    check_workers(options, &info, outcome);
    check_round_trip(options, round_trip, outcome);
    // What is left of the time, but for the way back.
    let patience = || super::left(context, timeout).mul_f64(0.8);
    if !options.scheduler_only {
        let mark = Instant::now();
        check_execution(client, patience(), outcome).await?;
        outcome.phase("execute", mark.elapsed());
    }
    if options.strict_versions {
        let mark = Instant::now();
        check_versions(client, patience(), outcome).await;
        outcome.phase("versions", mark.elapsed());
    }
    outcome.phase("total", context.started.elapsed());
    client.close().await;
    Ok(())
}

/// The fastest of a few requests that ask for nothing.
async fn round_trip(client: &Client) -> Result<Duration, Failure> {
    let mut fastest = Duration::MAX;
    for _ in 0..ROUND_TRIPS {
        let mark = Instant::now();
        crate::commands::round_trip(client).await?;
        fastest = fastest.min(mark.elapsed());
    }
    Ok(fastest)
}

fn check_numbers(options: &Ready, info: &SchedulerInfo, outcome: &mut Outcome) {
    let workers = info.workers.len();
    outcome.checks.push(Check::new(
        "min_workers",
        workers >= options.min_workers,
        match workers {
            0 => format!("no workers, where at least {} must be", options.min_workers),
            1 => format!("1 worker, where at least {} must be", options.min_workers),
            _ => format!("{workers} workers, where at least {} must be", options.min_workers),
        },
    ));
    if let Some(wanted) = options.min_threads {
        let threads = outcome.threads.unwrap_or(0);
        outcome.checks.push(Check::new(
            "min_threads",
            threads >= wanted,
            format!("{threads} threads, where at least {wanted} must be"),
        ));
    }
}

fn check_workers(options: &Ready, info: &SchedulerInfo, outcome: &mut Outcome) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let mut silent = Vec::new();
    let mut oldest = 0f64;
    for worker in info.workers.values() {
        let age = worker.last_seen.map_or(0.0, |seen| (now - seen).max(0.0));
        oldest = oldest.max(age);
        if age > options.max_age_last_seen.as_secs_f64() {
            silent.push(format!("{} silent for {age:.0} s", worker.address));
        }
    }
    outcome.oldest_last_seen = Some(Duration::try_from_secs_f64(oldest).unwrap_or(Duration::MAX));
    outcome.checks.push(Check::new("last_seen", silent.is_empty(), silent.join(", ")));
    let paused: Vec<_> = info
        .workers
        .values()
        .filter(|worker| worker.status.as_deref().is_some_and(|status| status != "running"))
        .map(|worker| format!("{} is {}", worker.address, worker.status.as_deref().unwrap_or_default()))
        .collect();
    outcome.paused = Some(paused.len());
    outcome.checks.push(Check::new(
        "none_paused",
        options.allow_paused || paused.is_empty(),
        paused.join(", "),
    ));
}

fn check_round_trip(options: &Ready, round_trip: Duration, outcome: &mut Outcome) {
    let exceeded = |limit: Option<Duration>| limit.filter(|limit| round_trip > *limit);
    let words = |limit: Duration| {
        format!("round trip {}, where at most {} may be", pretty(round_trip), pretty(limit))
    };
    if let Some(limit) = options.rtt_critical {
        outcome.checks.push(Check::new("round_trip", round_trip <= limit, words(limit)));
    }
    if let Some(limit) = exceeded(options.rtt_warning) {
        outcome.warnings.push(words(limit));
    }
    outcome.limits = (options.rtt_warning, options.rtt_critical);
}

async fn check_execution(client: &Client, patience: Duration, outcome: &mut Outcome) -> Result<(), Failure> {
    let health = client.health(patience).await?;
    let ill: Vec<_> = health
        .iter()
        .filter(|(_, health)| !health.is_ok())
        .map(|(worker, health)| format!("{worker} {}", crate::commands::health::words(health)))
        .collect();
    outcome.checks.push(Check::new(ALL_EXECUTE, ill.is_empty(), ill.join(", ")));
    Ok(())
}

async fn check_versions(client: &Client, patience: Duration, outcome: &mut Outcome) {
    let failing = |words: String| Check::new("versions", words.is_empty(), words);
    // A worker that does not execute does not tell its versions either, and the scheduler would wait for it.
    if outcome.checks.iter().any(|check| check.name == ALL_EXECUTE && !check.ok) {
        outcome.checks.push(failing("versions not compared, for not every worker answers".to_owned()));
        return;
    }
    let versions = match tokio::time::timeout(patience, client.versions()).await {
        Ok(Ok(versions)) => versions,
        Ok(Err(error)) => {
            outcome.checks.push(failing(format!("versions not told: {error}")));
            return;
        }
        Err(_) => {
            outcome.checks.push(failing("not every worker told its versions in time".to_owned()));
            return;
        }
    };
    let dialect = client.dialect();
    let mut differing: Vec<String> = skew::table(&versions)
        .into_iter()
        .filter(|row| row.must_agree && row.differs)
        .map(|row| format!("{} differs ({})", row.package, row.summary()))
        .collect();
    // It executed a moment ago.
    differing.extend(versions.silent.keys().map(|worker| format!("{worker} does not tell its versions")));
    if !dialect.is_known() {
        differing.push(format!("{dialect} is not a known one"));
    }
    outcome.checks.push(failing(differing.join(", ")));
}
