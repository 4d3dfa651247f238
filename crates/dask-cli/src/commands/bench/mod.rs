//! `dask-rs bench`: loads a cluster by plan and tells how long things took.

mod charts;
mod compare;
mod html;
mod load;
mod record;
mod report;
mod shape;
mod threshold;

use std::io::Write;
use std::time::Duration;

use self::load::{Load, Plan};
use self::record::Record;
use self::report::{Report, Traffic};
use self::shape::Work;
use self::threshold::Threshold;
use super::Context;
use crate::cli::Bench;
use crate::failure::{Failure, THRESHOLD, UNUSABLE};
use crate::{file, output};

const DURATION: Duration = Duration::from_secs(10);
/// Requests under way at once in the open model: more only means that the cluster does not keep up.
const MANY: u32 = 1000;
/// The most bytes of requests under way at once.
const MOST_IN_FLIGHT: u64 = 4 << 30;

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
    let work = Work::new(options.shape, options.width, options.depth, options.payload)?;
    let plan = Plan {
        rate: options.rate,
        duration: match (options.duration, options.tasks) {
            (None, None) => Some(DURATION),
            (duration, _) => duration,
        },
        requests: options.tasks.map(|tasks| tasks.div_ceil(work.tasks())),
        in_flight: in_flight(options, &work)?,
        warmup: options.warmup,
        deadline: options.cluster.deadline(),
    };

    for path in [&options.save, &options.html].into_iter().flatten() {
        file::check_writable(path)?;
    }

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
    let warm = load.warm_up().await;
    let before = client.statistics();
    let record = match warm {
        Ok(true) => load.measure().await,
        // Told to stop before anything was measured.
        Ok(false) => Ok(Record::new(None)),
        Err(failure) => Err(failure),
    };
    let traffic = Traffic::between(&before, &client.statistics());
    client.close().await;
    let record = record?;
    if record.interrupted {
        output::say(context.quiet, "interrupted: this is what was measured until then");
    }

    let mut report = Report::new(options, &plan, &work, environment, &record, traffic);
    if let Some(old) = &old {
        report.comparison = Some(compare::with(&report, old));
    }
    report.thresholds = thresholds
        .iter()
        .map(|threshold| threshold.judge(&report, old.as_ref()))
        .collect::<Result<_, Failure>>()?;
    match context.json() {
        true => output::line(&report.json()),
        false => output::data(&report.text()),
    }
    // After the figures have been told: they are not lost if the disk is full.
    if let Some(path) = &options.save {
        file::write(path, |file| file.write_all(report.json().to_string().as_bytes()))?;
    }
    if let Some(path) = &options.html {
        file::write(path, |file| file.write_all(html::page(&report, old.as_ref()).as_bytes()))?;
        output::say(context.quiet, &format!("report: {}", path.display()));
    }
    let crossed: Vec<&str> = report
        .thresholds
        .iter()
        .filter(|verdict| verdict.crossed)
        .map(|verdict| verdict.words.as_str())
        .collect();
    if report.counts.completed == 0 {
        let first = report.errors.first().map(|error| format!(": {}", error.message)).unwrap_or_default();
        return Err(Failure::new(UNUSABLE, format!("no request was completed{first}")));
    }
    match crossed.is_empty() {
        true => Ok(0),
        false => Err(Failure::new(THRESHOLD, crossed.join("; "))),
    }
}

/// How many requests may be under way: with a rate as many as usual, as far as memory allows.
fn in_flight(options: &Bench, work: &Work) -> Result<u32, Failure> {
    let most = u32::try_from(MOST_IN_FLIGHT / work.carried().max(1)).unwrap_or(u32::MAX).max(1);
    match options.in_flight {
        Some(wanted) if wanted > most => Err(Failure::config(format!(
            "{wanted} requests of {} at once are too many for this machine's memory; --in-flight may be at most {most}",
            output::bytes(work.carried())
        ))),
        Some(wanted) => Ok(wanted),
        None if options.rate.is_some() => Ok(MANY.min(most)),
        None => Ok(1),
    }
}
