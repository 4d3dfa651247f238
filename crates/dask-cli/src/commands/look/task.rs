//! `dask-rs task`: one task, and why it does not run.

use dask_client::{Client, ErrorKind, Key, SchedulerInfo, WireValue};
use serde_json::{Map, Value as Json, json};

use super::{clock, keys, survey};
use crate::cli::TaskOf;
use crate::commands::Context;
use crate::failure::{Failure, UNHEALTHY};
use crate::json::of_wire;
use crate::output;

/// What the scheduler's dump must not contain: all but the tasks.
const NOT_TASKS: [&str; 16] = [
    "transition_log",
    "transition_counter",
    "task_groups",
    "workers",
    "clients",
    "memory",
    "events",
    "extensions",
    "log",
    "run_spec",
    "group",
    "prefix",
    "dependents",
    "metadata",
    "story",
    "thread_id",
];

pub(in crate::commands) async fn run(context: Context, options: &TaskOf) -> Result<u8, Failure> {
    let client = options.cluster.connect(context).await?;
    let key = keys::parse(&client, &options.key);
    let found = look(&client, &key, options.limit).await;
    client.close().await;
    let found = found?;
    match context.json() {
        true => output::line(&found.json()),
        false => found.print(),
    }
    if found.state.is_none() {
        return Err(Failure::new(
            UNHEALTHY,
            format!(
                "the scheduler knows no task {key}; it may be done and forgotten (see: dask-rs tasks --list)"
            ),
        ));
    }
    Ok(0)
}

#[derive(Debug, Default)]
struct Found {
    key: String,
    state: Option<String>,
    holders: Vec<String>,
    running_on: Vec<String>,
    executing: bool,
    why: Vec<String>,
    /// The scheduler's own record, on releases that give one.
    record: Option<Map<String, Json>>,
    record_missing: Option<String>,
    story: Vec<Json>,
    story_missing: Option<String>,
}

/// The value of an op that only some releases have; `None` with the reason on others.
async fn if_available(
    client: &Client,
    op: &str,
    fields: impl IntoIterator<Item = (&'static str, WireValue<'static>)>,
) -> Result<Result<WireValue<'static>, String>, Failure> {
    match client.rpc(op, fields).await {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.kind() == ErrorKind::NotAvailable => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

async fn look(client: &Client, key: &Key, limit: u64) -> Result<Found, Failure> {
    let keys = || std::iter::once(key).collect::<WireValue<'static>>();
    let of_key = |map: &WireValue<'static>| -> Option<WireValue<'static>> {
        let pairs = map.as_map()?;
        pairs
            .iter()
            .find(|(name, _)| Key::from_value(name).as_ref() == Some(key))
            .map(|(_, value)| value.clone())
    };
    let mut found = Found { key: key.to_string(), ..Found::default() };
    let states = client.rpc("get_task_status", [("keys", keys())]).await?;
    found.state = of_key(&states).and_then(|state| state.as_str().map(str::to_owned));

    let field = if_available(client, "get_story", [("keys_or_stimuli", keys())]).await?;
    let story = match field {
        Ok(story) => Ok(story),
        // Two releases called the field differently.
        Err(_) => if_available(client, "get_story", [("keys", keys())]).await?,
    };
    match story {
        Ok(story) => found.story = story.as_array().unwrap_or_default().iter().map(of_wire).collect(),
        Err(why) => found.story_missing = Some(why),
    }
    let Some(state) = found.state.clone() else { return Ok(found) };

    let holders = client.rpc("who_has", [("keys", keys())]).await?;
    if let Some(workers) = of_key(&holders) {
        let workers = workers.as_array().unwrap_or_default().iter();
        found.holders = workers.filter_map(|worker| worker.as_str().map(str::to_owned)).collect();
    }
    let processing = client.rpc("processing", []).await?;
    for (worker, tasks) in processing.as_map().unwrap_or_default() {
        let tasks = tasks.as_array().unwrap_or_default();
        if tasks.iter().any(|task| Key::from_value(task).as_ref() == Some(key)) {
            found.running_on.extend(worker.as_str().map(str::to_owned));
        }
    }
    if state == "processing" {
        // Only a task that a thread is at has a stack.
        if let Ok(stacks) = client.rpc("call_stack", [("keys", keys())]).await {
            found.executing = stacks
                .as_map()
                .unwrap_or_default()
                .iter()
                .any(|(_, stacks)| of_key(stacks).is_some_and(|stack| !stack.is_nil()));
        }
    }
    if state != "memory" {
        match tasks_beyond(client, limit).await? {
            None => found.record = record(client, key).await?,
            Some(tasks) => {
                found.record_missing = Some(format!(
                    "not asked for: the scheduler would tell all of its {tasks} tasks (--limit {tasks} asks all the same)"
                ));
            }
        }
    }
    let info = client.scheduler_info().await?;
    found.why = why(&found, &state, &info);
    Ok(found)
}

/// How many tasks the scheduler has, if that is more than this. Releases that cannot be asked (before 2022.1.0) have
/// hardly any record to tell.
async fn tasks_beyond(client: &Client, limit: u64) -> Result<Option<u64>, Failure> {
    if client.dialect().request(dask_wire::Peer::Scheduler, "get_task_prefix_states").is_err() {
        return Ok(None);
    }
    let tasks: u64 = survey::sums(&survey::Counter::default().count(client).await?).values().sum();
    Ok(Some(tasks).filter(|tasks| *tasks > limit))
}

/// What the scheduler has written down about a task (op `dump_state`, from 2021.11.2 on).
async fn record(client: &Client, key: &Key) -> Result<Option<Map<String, Json>>, Failure> {
    let exclude: WireValue<'static> = NOT_TASKS.into_iter().collect();
    let Ok(dump) = if_available(client, "dump_state", [("exclude", exclude)]).await? else { return Ok(None) };
    let shown = key.to_string();
    let tasks = dump.get("tasks").and_then(WireValue::as_map).unwrap_or_default();
    let record = tasks.iter().find(|(name, _)| {
        Key::from_value(name).as_ref() == Some(key) || name.as_str() == Some(shown.as_str())
    });
    Ok(record.and_then(|(_, record)| of_wire(record).as_object().cloned()))
}

/// In plain words, what stands in the way.
fn why(found: &Found, state: &str, info: &SchedulerInfo) -> Vec<String> {
    let field = |name: &str| {
        found.record.as_ref().and_then(|record| record.get(name)).filter(|value| !is_empty(value))
    };
    let list = |value: &Json| match value {
        Json::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        value => shown(value),
    };
    let mut why = Vec::new();
    match state {
        "memory" => why.push("it is done; its result is in memory".to_owned()),
        "erred" => {
            let text = field("exception_text").map(shown).unwrap_or_else(|| "an exception".to_owned());
            why.push(format!("it failed: {text}"));
            if let Some(blame) = field("exception_blame") {
                why.push(format!("the task to blame is {}", shown(blame)));
            }
            if let Some(workers) = field("erred_on") {
                why.push(format!("it failed on {}", list(workers)));
            }
        }
        "waiting" => match field("waiting_on") {
            Some(others) => why.push(format!("it waits for {}", list(others))),
            None => why.push("it waits for other tasks".to_owned()),
        },
        "processing" if found.executing => why.push(format!("it runs on {}", found.running_on.join(", "))),
        "processing" => why.push(format!(
            "it is with {}, where other tasks come first or its data is still on the way",
            found.running_on.join(", ")
        )),
        "queued" => why.push("it is queued until a worker has room; every thread is busy".to_owned()),
        "released" => why.push("nobody wants it at the moment".to_owned()),
        "no-worker" => {
            why.push("no worker can run it".to_owned());
            if info.workers.is_empty() {
                why.push("there are no workers at all".to_owned());
            }
            if let Some(resources) = field("resource_restrictions") {
                why.push(format!("it asks for the resources {}", shown(resources)));
                let offered: Vec<String> = info
                    .workers
                    .values()
                    .filter(|worker| !worker.resources.is_empty())
                    .map(|worker| format!("{} offers {:?}", worker.address, worker.resources))
                    .collect();
                why.push(match offered.is_empty() {
                    true => format!("none of {} workers offers any resources", info.workers.len()),
                    false => offered.join(", "),
                });
            }
            for (name, words) in [
                ("worker_restrictions", "it may only run on the workers"),
                ("host_restrictions", "it may only run on the hosts"),
            ] {
                if let Some(places) = field(name) {
                    why.push(format!("{words} {}", list(places)));
                }
            }
        }
        _ => (),
    }
    if let Some(times) = field("suspicious").and_then(Json::as_u64).filter(|times| *times > 0) {
        why.push(format!("{times} workers died while they had it"));
    }
    why
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Array(items) => items.is_empty(),
        Json::Object(map) => map.is_empty(),
        Json::String(text) => text.is_empty() || text == "None",
        _ => false,
    }
}

fn shown(value: &Json) -> String {
    match value {
        Json::String(text) => task_of(text).unwrap_or_else(|| text.clone()),
        value => value.to_string(),
    }
}

/// `<TaskState 'sleeper' processing>` as `sleeper (processing)`.
fn task_of(text: &str) -> Option<String> {
    let (key, state) = text.strip_prefix("<TaskState ")?.strip_suffix('>')?.rsplit_once(' ')?;
    let quoted = key.strip_prefix('\'').and_then(|key| key.strip_suffix('\''));
    Some(format!("{} ({state})", quoted.unwrap_or(key)))
}

impl Found {
    fn json(&self) -> Json {
        json!({
            "key": self.key,
            "state": self.state,
            "holders": self.holders,
            "processing_on": self.running_on,
            "executing": self.executing,
            "why": self.why,
            "record": self.record,
            "record_missing": self.record_missing,
            "story": self.story,
        })
    }

    fn print(&self) {
        let line = |name: &str, value: &str| output::data(&format!("{name:<9} {value}"));
        line("key", &self.key);
        line("state", self.state.as_deref().unwrap_or("unknown"));
        if !self.holders.is_empty() {
            line("in memory", &self.holders.join(", "));
        }
        for (index, why) in self.why.iter().enumerate() {
            line(if index == 0 { "why" } else { "" }, why);
        }
        if let Some(why) = &self.record_missing {
            line("record", why);
        }
        let traceback = self.record.as_ref().and_then(|record| record.get("traceback_text")?.as_str());
        if let Some(text) = traceback.filter(|text| !text.is_empty()) {
            output::data(text.trim_end());
        }
        match &self.story_missing {
            Some(why) => line("story", &format!("not told: {why}")),
            None if self.story.is_empty() => (),
            None => {
                line("story", "");
                // (key, from, to, recommendations, stimulus, time)
                for step in &self.story {
                    let part = |index: usize| step.get(index).map(shown).unwrap_or_default();
                    let time = step.as_array().and_then(|parts| parts.last()).and_then(Json::as_f64);
                    let time = time.map_or_else(String::new, clock);
                    output::data(&format!("  {time:<23}  {:>10} -> {:<10}  {}", part(1), part(2), part(4)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_of_the_record_are_shown_by_key() {
        assert_eq!(task_of("<TaskState 'a b' processing>").as_deref(), Some("a b (processing)"));
        assert_eq!(task_of("<TaskState ('x', 1) waiting>").as_deref(), Some("('x', 1) (waiting)"));
        assert_eq!(task_of("tcp://10.0.0.1:1"), None);
    }
}
