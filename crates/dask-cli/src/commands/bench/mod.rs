//! `dask-rs bench`: loads a cluster by plan and tells how long things took.

mod charts;
mod compare;
mod html;
mod load;
mod record;
mod report;
mod shape;
mod threshold;

use std::time::Duration;

use self::load::{Load, Plan};
use self::report::Report;
use self::shape::Work;
use self::threshold::Threshold;
use super::Context;
use crate::cli::Bench;
use crate::failure::{Failure, THRESHOLD};
use crate::output;

const DURATION: Duration = Duration::from_secs(10);
/// Requests under way at once in the open model: more only means that the cluster does not keep up.
const MANY: u32 = 1000;

pub(super) async fn run(context: Context, options: &Bench) -> Result<u8, Failure> {
    // Everything that can be refused is, before the cluster hears of us.
    let thresholds =
        options.fail_if.iter().map(|text| text.parse()).collect::<Result<Vec<Threshold>, _>>()?;
    let old = options.compare.as_deref().map(compare::read).transpose()?;
    if old.is_none() && thresholds.iter().any(Threshold::is_relative) {
        return Err(Failure::config("a factor such as 1.2x needs a run to compare with: --compare old.json"));
    }
    if options.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0 || rate > 1e6) {
        return Err(Failure::config("--rate is a number of requests a second above 0, at most a million"));
    }
    let work = Work::new(options.shape, options.width, options.depth, options.payload);
    let plan = Plan {
        rate: options.rate,
        duration: match (options.duration, options.tasks) {
            (None, None) => Some(DURATION),
            (duration, _) => duration,
        },
        requests: options.tasks.map(|tasks| tasks.div_ceil(work.tasks())),
        in_flight: options.in_flight.unwrap_or(if options.rate.is_some() { MANY } else { 1 }),
        warmup: options.warmup,
        deadline: options.cluster.deadline(),
    };

    let client = options.cluster.connect(context).await?;
    let environment = report::Environment::of(&client).await?;
    if environment.workers == 0 {
        client.close().await;
        return Err(Failure::new(
            crate::failure::UNHEALTHY,
            format!("{} has no workers, so nothing would ever be computed", client.address()),
        ));
    }
    output::say(
        context.quiet,
        &format!(
            "{}, Dask {}, {} workers, {} threads: {}",
            client.address(),
            environment.scheduler_release,
            environment.workers,
            environment.threads,
            plan.words(&work),
        ),
    );
    let load = Load::new(&client, &work, &plan, context.quiet);
    let record = load.run().await;
    let traffic = client.statistics();
    client.close().await;
    let record = record?;

    let mut report = Report::new(options, &plan, &work, environment, &record, &traffic);
    if let Some(old) = &old {
        report.comparison = Some(compare::with(&report, old));
    }
    report.thresholds = thresholds
        .iter()
        .map(|threshold| threshold.judge(&report, old.as_ref()))
        .collect::<Result<_, Failure>>()?;
    if let Some(path) = &options.save {
        write(path, &report.json().to_string())?;
    }
    if let Some(path) = &options.html {
        write(path, &html::page(&report, old.as_ref()))?;
        output::say(context.quiet, &format!("report: {}", path.display()));
    }
    match context.json() {
        true => output::line(&report.json()),
        false => output::data(&report.text()),
    }
    let crossed: Vec<&str> = report
        .thresholds
        .iter()
        .filter(|verdict| verdict.crossed)
        .map(|verdict| verdict.words.as_str())
        .collect();
    if report.counts.completed == 0 {
        let first = report.errors.first().map(|error| format!(": {}", error.message)).unwrap_or_default();
        return Err(Failure::new(crate::failure::UNUSABLE, format!("no request was completed{first}")));
    }
    match crossed.is_empty() {
        true => Ok(0),
        false => Err(Failure::new(THRESHOLD, crossed.join("; "))),
    }
}

fn write(path: &std::path::Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::config(format!("cannot write {}: {error}", path.display())))
}
