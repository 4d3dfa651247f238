//! Sending requests by plan, and noting how each ended.

use std::time::{Duration, Instant};

use dask_client::{Client, ErrorKind, Future, Gathered};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::record::{Ended, Record, Sample};
use super::shape::Work;
use crate::failure::Failure;
use crate::progress;

/// When requests are sent, and how many.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Requests a second (open model), or as fast as `in_flight` allows (closed model).
    pub(super) rate: Option<f64>,
    pub(super) duration: Option<Duration>,
    pub(super) requests: Option<u64>,
    pub(super) in_flight: u32,
    pub(super) warmup: Duration,
    /// Of each request.
    pub(super) deadline: Duration,
}

impl Plan {
    pub(super) fn model(&self) -> &'static str {
        if self.rate.is_some() { "open" } else { "closed" }
    }

    pub(super) fn words(&self, work: &Work) -> String {
        let mut words = match self.rate {
            Some(rate) => format!("{rate} requests a second"),
            None => format!("{} at a time", self.in_flight),
        };
        if let Some(duration) = self.duration {
            words.push_str(&format!(" for {duration:?}"));
        }
        if let Some(requests) = self.requests {
            words.push_str(&format!(", {requests} requests"));
        }
        words.push_str(&format!(
            ", {} of {} tasks, {} bytes each",
            work.shape.name(),
            work.tasks(),
            work.payload_bytes()
        ));
        words
    }

    /// How many requests the open model plans; `None` in the closed one unless it is told.
    fn planned(&self) -> Option<u64> {
        self.planned_within(self.duration)
    }

    /// As many as that if it takes no longer than this.
    fn planned_within(&self, time: Option<Duration>) -> Option<u64> {
        let by_time = match (self.rate, time) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rate is at most a million and saturation is what is wanted"
            )]
            (Some(rate), Some(duration)) => Some((rate * duration.as_secs_f64()).ceil() as u64),
            _ => None,
        };
        match (by_time, self.requests) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (one, other) => one.or(other),
        }
    }
}

/// How often the terminal is told how far it is.
const LOOK: Duration = Duration::from_millis(200);
/// A send that is this late is counted: the plan could not be kept.
const LATE: Duration = Duration::from_millis(2);
/// What was planned for the very end may still be sent this much later: it is late then, not missed.
const OVERTIME: Duration = Duration::from_millis(100);
/// Planned times that wait to be sent; the clock waits with more.
const AHEAD: usize = 1024;
/// After the last send, requests get their deadline and this to end.
const GRACE: Duration = Duration::from_secs(1);

pub(super) struct Load<'a> {
    client: &'a Client,
    work: &'a Work,
    plan: &'a Plan,
    quiet: bool,
    warming_up: bool,
}

impl<'a> Load<'a> {
    pub(super) fn new(client: &'a Client, work: &'a Work, plan: &'a Plan, quiet: bool) -> Self {
        Self { client, work, plan, quiet, warming_up: false }
    }

    /// Requests that do not count; whether to go on, for being told to stop ends also this.
    pub(super) async fn warm_up(&self) -> Result<bool, Failure> {
        if self.plan.warmup.is_zero() {
            return Ok(true);
        }
        let warmup = Plan { duration: Some(self.plan.warmup), requests: None, ..self.plan.clone() };
        let load = Load { plan: &warmup, warming_up: true, ..*self };
        Ok(!load.measure().await?.interrupted)
    }

    /// Runs the plan and waits for what is under way. Being told to stop ends it early, with what was measured until then.
    pub(super) async fn measure(&self) -> Result<Record, Failure> {
        let mut record = Record::new(self.plan.duration);
        let start = Instant::now();
        let bar = progress::share(self.quiet, &self.words(&record));
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut interrupted = std::pin::pin!(crate::signals::stopped());
        let mut flying = FuturesUnordered::new();
        let mut pace = Pace::new(self.plan, start);
        let overtime = if self.plan.rate.is_some() { OVERTIME } else { Duration::ZERO };
        let end = self.plan.duration.map(|duration| start + duration + overtime);
        loop {
            let free = flying.len() < self.plan.in_flight as usize;
            let more = pace.more(end);
            if !more && flying.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                () = &mut interrupted => {
                    record.interrupted = true;
                    break;
                }
                _ = look.tick() => {
                    bar.set_position(self.hundredths(start, &record));
                    bar.set_message(self.words(&record));
                }
                planned = pace.next(end), if free && more => {
                    let Some(planned) = planned else { continue };
                    record.sent += 1;
                    if planned.elapsed() > LATE {
                        record.late += 1;
                    }
                    flying.push(self.request(start, planned));
                }
                Some(ended) = flying.next(), if !flying.is_empty() => {
                    let (ended, fatal): (Ended, bool) = ended;
                    if fatal {
                        return Err(self.given_up(&record, &ended));
                    }
                    record.add(ended);
                }
            }
            if end.is_some_and(|end| Instant::now() > end + self.plan.deadline + GRACE) {
                for _ in 0..flying.len() {
                    let outcome = Err(format!("no result after {:?}", self.plan.deadline));
                    record.add(Ended { at: start.elapsed(), outcome });
                }
                break;
            }
        }
        bar.finish_and_clear();
        record.elapsed = start.elapsed();
        let time = match self.plan.duration {
            // What would have been planned after that is not missed.
            duration if record.interrupted => {
                Some(duration.map_or(record.elapsed, |it| it.min(record.elapsed)))
            }
            duration => duration,
        };
        record.planned = self.plan.planned_within(time).unwrap_or(record.sent).max(record.sent);
        if self.plan.rate.is_some() {
            record.missed = record.planned - record.sent;
        } else {
            record.planned = record.sent;
        }
        Ok(record)
    }

    fn words(&self, record: &Record) -> String {
        match self.warming_up {
            true => "warming up".to_owned(),
            false => format!("{} requests, {} failed", record.completed, record.failed),
        }
    }

    /// How far the plan is, by time or by requests.
    fn hundredths(&self, start: Instant, record: &Record) -> u64 {
        let share = |part: u128, of: u128| u64::try_from(part * 100 / of.max(1)).unwrap_or(100).min(100);
        let time = self.plan.duration.map(|of| share(start.elapsed().as_nanos(), of.as_nanos()));
        let ended = u128::from(record.completed + record.failed);
        let requests = self.plan.requests.map(|of| share(ended, u128::from(of)));
        time.max(requests).unwrap_or(0)
    }

    fn given_up(&self, record: &Record, ended: &Ended) -> Failure {
        let why = ended.outcome.as_ref().err().map_or("", String::as_str);
        Failure::new(
            crate::failure::UNUSABLE,
            format!("the run broke off after {} requests: {why}", record.completed),
        )
    }

    /// One request; also whether no further one can succeed.
    async fn request(&self, start: Instant, planned: Instant) -> (Ended, bool) {
        let mut fatal = false;
        let outcome = match tokio::time::timeout(self.plan.deadline, self.steps(planned)).await {
            Ok(Ok(sample)) => Ok(sample),
            Ok(Err(error)) => {
                fatal = matches!(error.kind(), ErrorKind::ConnectionLost | ErrorKind::Closed);
                // Without the key, so that alike errors count as one.
                Err(match error.python() {
                    Some(python) => python.title(),
                    None => error.to_string(),
                })
            }
            Err(_) => Err(format!("no result after {:?}", self.plan.deadline)),
        };
        (Ended { at: start.elapsed(), outcome }, fatal)
    }

    async fn steps(&self, planned: Instant) -> dask_client::Result<Sample> {
        let sent = Instant::now();
        let (graph, outputs) = self.work.graph();
        let futures: Vec<Future<Gathered>> = self.client.submit_graph(graph, outputs).await?;
        let submitted = Instant::now();
        for future in &futures {
            future.finished().await?;
        }
        let in_memory = Instant::now();
        let _results = self.client.gather(&futures).await?;
        Ok(Sample {
            // In the closed model a request is planned when it is sent.
            queue: if self.plan.rate.is_some() { sent.duration_since(planned) } else { Duration::ZERO },
            submit: submitted.duration_since(sent),
            in_memory: in_memory.duration_since(submitted),
            fetch: in_memory.elapsed(),
        })
    }
}

/// Says when the next request is due.
enum Pace {
    /// A thread sleeps until each planned time: the runtime's own timers only know milliseconds.
    Open {
        due: mpsc::Receiver<Instant>,
        done: bool,
    },
    Closed {
        left: Option<u64>,
    },
}

impl Pace {
    fn new(plan: &Plan, start: Instant) -> Self {
        let Some(rate) = plan.rate else { return Pace::Closed { left: plan.requests } };
        let (sender, due) = mpsc::channel(AHEAD);
        let planned = plan.planned();
        std::thread::spawn(move || {
            let mut number = 0u64;
            while planned.is_none_or(|planned| number < planned) {
                // From the start on, so that errors do not add up.
                #[expect(clippy::cast_precision_loss, reason = "exact for 285 years of a million a second")]
                let after = Duration::try_from_secs_f64(number as f64 / rate).ok();
                let Some(at) = after.and_then(|after| start.checked_add(after)) else { break };
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                // Waits when requests are not sent as fast as they are due. Each keeps its planned time.
                if sender.blocking_send(at).is_err() {
                    break;
                }
                number += 1;
            }
        });
        Pace::Open { due, done: false }
    }

    /// Whether any request is still to be sent.
    fn more(&self, end: Option<Instant>) -> bool {
        let in_time = end.is_none_or(|end| Instant::now() < end);
        match self {
            Pace::Open { done, .. } => !done && in_time,
            Pace::Closed { left } => *left != Some(0) && in_time,
        }
    }

    /// The planned time of the next request, once that has come; `None` when there is none any more.
    async fn next(&mut self, end: Option<Instant>) -> Option<Instant> {
        match self {
            Pace::Open { due, done } => {
                let wait = async {
                    match end {
                        Some(end) => tokio::time::sleep_until(end.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    planned = due.recv() => {
                        *done = planned.is_none();
                        planned
                    }
                    () = wait => None,
                }
            }
            Pace::Closed { left } => {
                if let Some(left) = left {
                    *left = left.saturating_sub(1);
                }
                Some(Instant::now())
            }
        }
    }
}
