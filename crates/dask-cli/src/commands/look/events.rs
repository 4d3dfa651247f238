//! `dask-rs events`

use std::time::Duration;

use dask_client::{Client, ClientEvent, ErrorKind, Subscription, WireValue};
use futures::StreamExt;
use serde_json::{Value as Json, json};

use super::clock;
use crate::cli::Events;
use crate::commands::Context;
use crate::failure::{Failure, UNUSABLE};
use crate::json::of_wire;
use crate::output;

pub(in crate::commands) async fn run(context: Context, options: &Events) -> Result<u8, Failure> {
    let client = options.cluster.connect(context).await?;
    let outcome = match &options.topic {
        None => topics(context, &client).await,
        Some(topic) => {
            let following = follow(context, options, &client, topic);
            tokio::select! {
                outcome = following => outcome,
                () = crate::signals::stopped() => Ok(()),
            }
        }
    };
    client.close().await;
    outcome.map(|()| 0)
}

/// Which topics there are, and how much was noted under each.
async fn topics(context: Context, client: &Client) -> Result<(), Failure> {
    let all = client.rpc("events", [("topic", WireValue::Nil)]).await?;
    let topics = all.as_map().unwrap_or_default().iter().filter_map(|(topic, events)| {
        let events = events.as_array().unwrap_or_default();
        let last = events.last().and_then(|event| event.as_array()?.first()?.as_f64());
        Some((topic.as_str()?.to_owned(), events.len(), last))
    });
    if context.json() {
        let topics: Vec<_> = topics
            .map(|(topic, count, last)| json!({ "topic": topic, "events": count, "last_unix_s": last }))
            .collect();
        output::line(&topics.into());
        return Ok(());
    }
    let rows = topics.map(|(topic, count, last)| {
        vec![topic, count.to_string(), last.map_or_else(|| "-".to_owned(), clock)]
    });
    output::data(&output::table(&["topic", "events", "last"], rows));
    Ok(())
}

/// Messages that are kept for a slow terminal or pipe.
const KEPT: usize = 100_000;
/// By then the scheduler has read a subscription that was sent to it: it has answered other requests meanwhile.
const SETTLED: Duration = Duration::from_secs(1);
/// So many events of a topic are kept by a scheduler that was not told otherwise.
const USUAL: usize = 1000;

/// Prints what is there, and with `--follow` what comes.
async fn follow(context: Context, options: &Events, client: &Client, topic: &str) -> Result<(), Failure> {
    let mut printer = Printer { context, topic, last: (f64::NEG_INFINITY, 0) };
    if !options.follow {
        printer.asked(&ask(client, topic).await?, None);
        return Ok(());
    }
    match client.subscribe_with(topic, KEPT).await {
        Ok(live) => subscribed(client, &mut printer, live).await,
        Err(error) if error.kind() == ErrorKind::NotAvailable => polled(options, client, &mut printer).await,
        Err(error) => Err(error.into()),
    }
}

/// What the scheduler keeps of a topic, each event with its time.
async fn ask(client: &Client, topic: &str) -> Result<Vec<(f64, Json)>, Failure> {
    let events = client.rpc("events", [("topic", topic.to_owned().into())]).await?;
    let event = |event: &WireValue<'static>| {
        let event = event.as_array()?;
        Some((event.first()?.as_f64()?, event.get(1).map(of_wire).unwrap_or_default()))
    };
    Ok(events.as_array().unwrap_or_default().iter().filter_map(event).collect())
}

/// What is there, then what comes by subscription: however fast it comes, nothing is missed while the connection holds.
async fn subscribed(
    client: &Client,
    printer: &mut Printer<'_>,
    mut live: Subscription,
) -> Result<(), Failure> {
    let mut life = std::pin::pin!(client.events());
    printer.asked(&ask(client, printer.topic).await?, None);
    // Between that answer and the subscription there may be events that neither has.
    tokio::time::sleep(SETTLED).await;
    let between = ask(client, printer.topic).await?;
    let mut next = None;
    if between.iter().any(|(time, _)| *time > printer.last.0) {
        next = tokio::time::timeout(SETTLED, live.next()).await.ok().flatten();
    }
    printer.asked(&between, next.as_ref().map(|event| event.timestamp));
    let mut seen: (f64, usize) = (f64::NEG_INFINITY, 0);
    loop {
        if !output::is_read() {
            return Ok(());
        }
        let event = match next.take() {
            Some(event) => Some(event),
            None => tokio::select! {
                event = live.next() => event,
                Some(change) = life.next() => {
                    if matches!(change, ClientEvent::Reconnected) {
                        // Nobody listened meanwhile; a scheduler that is still the same one has kept it.
                        output::words("the connection was lost for a while; events may have been lost");
                        printer.asked(&ask(client, printer.topic).await?, None);
                    }
                    continue;
                }
            },
        };
        let Some(event) = event else {
            return Err(Failure::new(UNUSABLE, "the connection to the scheduler has ended"));
        };
        if event.lagged > 0 {
            output::words(&format!("{} events were lost: they come faster than they are read", event.lagged));
        }
        count_in(&mut seen, event.timestamp);
        printer.came(seen, &of_wire(&event.message));
    }
}

/// Asks anew again and again, which misses nothing as long as the scheduler keeps what was noted since the last time.
async fn polled(options: &Events, client: &Client, printer: &mut Printer<'_>) -> Result<(), Failure> {
    let mut first = true;
    loop {
        let events = ask(client, printer.topic).await?;
        if !first && printer.may_have_missed(&events) {
            output::words("events may have been lost: more came than the scheduler keeps of a topic");
        }
        first = false;
        printer.asked(&events, None);
        if !output::is_read() {
            return Ok(());
        }
        tokio::time::sleep(options.every).await;
    }
}

/// Notes one more event of a time.
#[expect(clippy::float_cmp, reason = "the very same number")]
fn count_in(last: &mut (f64, usize), time: f64) {
    if last.0 == time {
        last.1 += 1;
    } else {
        *last = (time, 1);
    }
}

/// Prints each event once, whoever tells of it.
struct Printer<'a> {
    context: Context,
    topic: &'a str,
    /// What was printed last: its time, and how many had that same time.
    last: (f64, usize),
}

impl Printer<'_> {
    /// Prints what is new in an answer that may begin long before, up to a time.
    fn asked(&mut self, events: &[(f64, Json)], until: Option<f64>) {
        let mut seen: (f64, usize) = (f64::NEG_INFINITY, 0);
        for (time, message) in events {
            count_in(&mut seen, *time);
            if until.is_none_or(|until| *time < until) {
                self.came(seen, message);
            }
        }
    }

    /// Prints an event, which is the so-and-so-many-th of its time, unless it was printed.
    #[expect(clippy::float_cmp, reason = "the very same number")]
    fn came(&mut self, (time, number): (f64, usize), message: &Json) {
        if time < self.last.0 || (time == self.last.0 && number <= self.last.1) {
            return;
        }
        self.last = (time, number);
        match self.context.json() {
            true => {
                output::line(&json!({ "topic": self.topic, "time_unix_s": time, "event": message }));
            }
            false => output::data(&format!("{}  {message}", clock(time))),
        }
    }

    /// Whether there may have been events between the last one that was printed and the first of this answer.
    fn may_have_missed(&self, events: &[(f64, Json)]) -> bool {
        let newer = events.first().is_some_and(|(time, _)| *time > self.last.0);
        newer && (self.last.0.is_finite() || events.len() >= USUAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printer() -> Printer<'static> {
        let started = std::time::Instant::now();
        let context = Context { output: crate::cli::Format::Text, quiet: true, started };
        Printer { context, topic: "here", last: (f64::NEG_INFINITY, 0) }
    }

    #[test]
    fn an_answer_that_begins_after_the_last_event_may_lack_some() {
        let mut printer = printer();
        let events = |times: std::ops::Range<u32>| -> Vec<(f64, Json)> {
            times.map(|time| (f64::from(time), Json::Null)).collect()
        };
        assert!(!printer.may_have_missed(&events(1..5)));
        assert!(printer.may_have_missed(&events(1..1001)));
        printer.asked(&events(1..5), None);
        assert_eq!(printer.last, (4.0, 1));
        assert!(!printer.may_have_missed(&events(2..9)) && !printer.may_have_missed(&[]));
        assert!(printer.may_have_missed(&events(6..9)));
    }

    #[test]
    fn events_of_one_time_are_told_apart_by_their_number() {
        let mut printer = printer();
        let at = |time: f64| (time, Json::Null);
        printer.asked(&[at(1.0), at(2.0), at(2.0)], None);
        assert_eq!(printer.last, (2.0, 2));
        printer.asked(&[at(2.0), at(2.0), at(2.0), at(3.0)], Some(3.0));
        assert_eq!(printer.last, (2.0, 3));
    }
}
