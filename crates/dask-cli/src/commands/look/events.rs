//! `dask-rs events`

use dask_client::{Client, WireValue};
use serde_json::json;

use super::clock;
use crate::cli::Events;
use crate::commands::Context;
use crate::failure::Failure;
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

/// Prints what is there, and with `--follow` what comes.
///
/// Asking anew misses nothing as long as the scheduler keeps what was noted since the last time, and needs no
/// registration, which the scheduler would note itself.
async fn follow(context: Context, options: &Events, client: &Client, topic: &str) -> Result<(), Failure> {
    // What was printed last: its time, and how many had that same time.
    let mut last: (f64, usize) = (f64::NEG_INFINITY, 0);
    loop {
        let events = client.rpc("events", [("topic", topic.to_owned().into())]).await?;
        let time_of = |event: &WireValue<'static>| event.as_array().and_then(|event| event.first()?.as_f64());
        let mut skip = last.1;
        for event in events.as_array().unwrap_or_default() {
            let Some(time) = time_of(event) else { continue };
            if time < last.0 {
                continue;
            }
            #[expect(clippy::float_cmp, reason = "the very same number")]
            if time == last.0 {
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                last.1 += 1;
            } else {
                last = (time, 1);
                skip = 0;
            }
            let message = event.as_array().and_then(|event| event.get(1)).map(of_wire).unwrap_or_default();
            match context.json() {
                true => output::line(&json!({ "topic": topic, "time_unix_s": time, "event": message })),
                false => output::data(&format!("{}  {message}", clock(time))),
            }
        }
        if !options.follow || !output::is_read() {
            return Ok(());
        }
        tokio::time::sleep(options.every).await;
    }
}
