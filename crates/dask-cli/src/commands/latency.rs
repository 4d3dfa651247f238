//! `dask-rs latency`: where the time goes, phase by phase.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use dask_client::{Client, Future, Gathered, py};
use indicatif::ProgressBar;
use serde_json::{Map, Value as Json, json};

use super::Context;
use crate::cli::Latency;
use crate::failure::Failure;
use crate::hist::Hist;
use crate::output::{self, nanos, pretty};
use crate::progress;

const DURATION: Duration = Duration::from_secs(10);

/// Histograms by phase, in the order in which phases came up.
#[derive(Debug, Default)]
pub(super) struct Phases(Vec<(&'static str, Hist)>);

impl Phases {
    pub(super) fn record(&mut self, phase: &'static str, took: Duration) {
        match self.0.iter_mut().find(|(name, _)| *name == phase) {
            Some((_, hist)) => hist.record(took),
            None => {
                let mut hist = Hist::default();
                hist.record(took);
                self.0.push((phase, hist));
            }
        }
    }

    fn merge(&mut self, other: &Phases) {
        for (name, hist) in &other.0 {
            match self.0.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => known.merge(hist),
                None => self.0.push((name, hist.clone())),
            }
        }
    }

    /// The medians and the worst of all, so short that every phase has room on a terminal of 100 columns. Finding an
    /// address takes no time to speak of: the table has it.
    fn line(&self) -> String {
        let shown = self.0.iter().filter(|(name, _)| *name != "resolve");
        let mut words: Vec<String> =
            shown.map(|(name, hist)| format!("{name} {}", pretty(hist.at(50.0)))).collect();
        let worst = self.0.iter().map(|(_, hist)| hist.max()).max().unwrap_or_default();
        words.push(format!("(max {})", pretty(worst)));
        words.join("  ")
    }

    fn json(&self) -> Json {
        let phases: Map<String, Json> =
            self.0.iter().map(|(name, hist)| ((*name).to_owned(), json!(hist.summary()))).collect();
        phases.into()
    }

    /// A line of an interval: no curves.
    fn short_json(&self) -> Json {
        let short = |hist: &Hist| {
            json!({
                "count": hist.count(),
                "p50_ns": nanos(hist.at(50.0)),
                "p99_ns": nanos(hist.at(99.0)),
                "max_ns": nanos(hist.max()),
            })
        };
        let phases: Map<String, Json> =
            self.0.iter().map(|(name, hist)| ((*name).to_owned(), short(hist))).collect();
        phases.into()
    }

    fn table(&self) -> String {
        output::table(
            &["phase", "count", "min", "p50", "p90", "p99", "p99.9", "max"],
            self.0.iter().map(|(name, hist)| {
                let mut row = vec![(*name).to_owned(), hist.count().to_string()];
                row.push(pretty(Duration::from_nanos(hist.summary().min_ns)));
                row.extend([50.0, 90.0, 99.0, 99.9].map(|percent| pretty(hist.at(percent))));
                row.push(pretty(hist.max()));
                row
            }),
        )
    }
}

/// Prints what has come up since the last time, in the way that suits stdout.
pub(super) struct Ticker {
    /// The line on a terminal, cut to its width.
    live: Option<ProgressBar>,
    every: Duration,
    start: Instant,
    last: Instant,
    window: Phases,
    total: Phases,
}

impl Ticker {
    pub(super) fn new(context: Context, every: Duration) -> Self {
        let live = (std::io::stdout().is_terminal() && !context.json()).then(progress::live_line);
        let start = Instant::now();
        Self { live, every, start, last: start, window: Phases::default(), total: Phases::default() }
    }

    pub(super) fn record(&mut self, phase: &'static str, took: Duration) {
        self.window.record(phase, took);
    }

    /// Prints a line if it is time for one.
    pub(super) fn tick(&mut self) {
        if self.last.elapsed() >= self.every {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.last = Instant::now();
        if self.window.0.is_empty() {
            return;
        }
        if let Some(live) = &self.live {
            live.set_message(self.window.line());
        } else {
            output::line(&json!({
                "elapsed_ns": nanos(self.start.elapsed()),
                "phases": self.window.short_json(),
            }));
        }
        self.total.merge(&std::mem::take(&mut self.window));
    }

    /// Prints the sum of all.
    pub(super) fn finish(mut self) {
        self.flush();
        if let Some(live) = &self.live {
            live.finish_and_clear();
            output::data(&self.total.table());
        } else {
            output::line(&json!({
                "summary": self.total.json(),
                "elapsed_ns": nanos(self.start.elapsed()),
            }));
        }
    }
}

pub(super) async fn run(context: Context, options: &Latency) -> Result<u8, Failure> {
    let duration = match (options.duration, options.count) {
        (None, None) => Some(DURATION),
        (duration, _) => duration,
    };
    let end = || duration.map(|duration| Instant::now() + duration);
    if options.intrinsic {
        let (mut ticker, end) = (Ticker::new(context, options.interval), end());
        super::intrinsic::run(&mut ticker, options, end).await?;
        ticker.finish();
        return Ok(0);
    }
    let client = options.cluster.connect(context).await?;
    output::say(context.quiet, &format!("{}, Dask {}", client.address(), client.release()));
    // What it took to connect is not measured here.
    let (mut ticker, end) = (Ticker::new(context, options.interval), end());
    let rounds = rounds(context, options, &client, &mut ticker, end);
    let outcome = tokio::select! {
        outcome = rounds => outcome,
        () = crate::signals::stopped() => Ok(()),
    };
    ticker.finish();
    client.close().await;
    outcome.map(|()| 0)
}

/// Whether there is another round after this many: by count, by time, and as long as somebody reads.
pub(super) fn goes_on(options: &Latency, end: Option<Instant>, round: u64) -> bool {
    options.count.is_none_or(|count| round < count)
        && end.is_none_or(|end| Instant::now() < end)
        && output::is_read()
}

async fn rounds(
    context: Context,
    options: &Latency,
    client: &Client,
    ticker: &mut Ticker,
    end: Option<Instant>,
) -> Result<(), Failure> {
    let deadline = options.cluster.deadline();
    let quiet = context.quiet;
    let mut round = 0;
    while goes_on(options, end, round) {
        round += 1;
        let connecting = options.cluster.builder(deadline)?.connect();
        let fresh = progress::patient(quiet, "waiting for a new connection", connecting).await?;
        let steps = fresh.connect_phases();
        ticker.record("resolve", steps.resolve);
        ticker.record("tcp", steps.tcp);
        if let Some(took) = steps.tls {
            ticker.record("tls", took);
        }
        if let Some(took) = steps.websocket {
            ticker.record("websocket", took);
        }
        ticker.record("handshake", steps.handshake);
        fresh.close().await;

        let mark = Instant::now();
        progress::patient(quiet, "waiting for an answer", super::round_trip(client)).await?;
        ticker.record("rpc", mark.elapsed());

        if !options.no_tasks {
            let task = tokio::time::timeout(deadline, one_task(client, ticker));
            progress::patient(quiet, "waiting for a small task", task).await.map_err(|_| {
                let words = format!(
                    "a small task has no result after {deadline:?}; are there workers, and are they free? \
                     (--no-tasks measures without tasks)"
                );
                Failure::new(crate::failure::UNUSABLE, words)
            })??;
        }
        ticker.tick();
        if !options.pause.is_zero() {
            tokio::time::sleep(options.pause).await;
        }
    }
    Ok(())
}

async fn one_task(client: &Client, ticker: &mut Ticker) -> Result<(), Failure> {
    let mark = Instant::now();
    let future: Future<Gathered> = client.submit(py("operator:add").args((1, 2))).await?;
    future.finished().await?;
    ticker.record("in_memory", mark.elapsed());
    let mark = Instant::now();
    let _result: Gathered = future.result().await?;
    ticker.record("fetch", mark.elapsed());
    Ok(())
}
