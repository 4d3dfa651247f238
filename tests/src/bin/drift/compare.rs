//! What a release does against what the tables assume, as plain lines.

use std::collections::{BTreeMap, BTreeSet};

use dask_wire::{Peer, Release};
use serde_json::Value as Json;

/// The four tables, under the names that the script in the environment uses.
pub(crate) const PEERS: [(&str, Peer); 4] = [
    ("scheduler", Peer::Scheduler),
    ("stream", Peer::Stream),
    ("worker", Peer::Worker),
    ("nanny", Peer::Nanny),
];

/// Ops that workers send, and others that no client of this project has a use for. They may have any fields.
const NOT_OURS: &[(Peer, &[&str])] = &[
    (
        Peer::Scheduler,
        &[
            "add_keys",
            "check_idle",
            "connection_stream",
            "feed",
            "heartbeat_worker",
            "pubsub_add_publisher",
            "register-worker",
            "register_nanny",
            "set_resources",
            "set_restrictions",
            "shuffle_barrier",
            "shuffle_get",
            "shuffle_get_or_create",
            "shuffle_init",
            "shuffle_register_complete",
            "shuffle_restrict_task",
            "start_ipython",
            "unregister",
        ],
    ),
    (
        Peer::Stream,
        &[
            "add-keys",
            "keep-alive",
            "log-event",
            "long-running",
            "missing-data",
            "pubsub-add-subscriber",
            "pubsub-msg",
            "pubsub-remove-publisher",
            "pubsub-remove-subscriber",
            "release",
            "release-worker-data",
            "request-refresh-who-has",
            "reschedule",
            "steal-response",
            "task-erred",
            "task-finished",
            "update-graph-hlg",
            "worker-status-change",
        ],
    ),
    (
        Peer::Worker,
        &[
            "connection_stream",
            "delete_data",
            "free_keys",
            "shuffle_init",
            "shuffle_inputs_done",
            "shuffle_receive",
            "start_ipython",
        ],
    ),
    (Peer::Nanny, &["connection_stream"]),
];

fn is_ours(peer: Peer, op: &str) -> bool {
    !NOT_OURS.iter().any(|(whose, ops)| *whose == peer && ops.contains(&op))
}

/// Ops that Python's client would take and that no release sends.
const NEVER_SENT: &[&str] = &["error"];

/// Ops from the scheduler that [`dask_wire::session::Session`] acts on, with the fields that it reads. What is optional
/// came later than the op.
pub(crate) const HANDLED: &[(&str, &str)] = &[
    ("adjust-heartbeat-interval", "interval"),
    ("cancelled-key", "key"),
    ("cancelled-keys", "keys reason? msg?"),
    ("close", ""),
    ("event", "topic event"),
    ("key-in-memory", "key type workers"),
    ("lost-data", "key"),
    ("restart", ""),
    ("stream-closed", ""),
    ("stream-start", ""),
    ("task-erred", "key exception traceback"),
    ("task-retried", "key"),
];

/// What a release was seen to do.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// By peer and op: the fields, in the notation of the tables.
    pub(crate) handlers: BTreeMap<String, BTreeMap<String, String>>,
    /// Ops that the release's own client sends.
    pub(crate) sends: BTreeSet<String>,
    /// Ops that it takes from the scheduler's stream, with the fields that it finds in them.
    pub(crate) handles: BTreeMap<String, String>,
    /// What it said of pickles of ours that it could not read.
    pub(crate) unread: Vec<String>,
}

impl Seen {
    /// Reads what the script printed.
    pub(crate) fn from_json(text: &str) -> Result<Self, String> {
        // Some releases print warnings of their own first.
        let line = text.lines().rev().find(|line| line.starts_with('{')).ok_or("it printed no JSON")?;
        let json: Json = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let list = |name: &str| -> Vec<String> {
            let items = json.get(name).and_then(Json::as_array).cloned().unwrap_or_default();
            items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        let mut seen = Self {
            handlers: BTreeMap::new(),
            sends: list("sends").into_iter().collect(),
            handles: BTreeMap::new(),
            unread: list("unread"),
        };
        for (name, _) in PEERS {
            let ops = json.get("handlers").and_then(|handlers| handlers.get(name));
            let ops = ops.ok_or_else(|| format!("it printed no handlers of the {name}"))?;
            seen.handlers.insert(name.to_owned(), texts(ops));
        }
        seen.handles = texts(json.get("handles").ok_or("it printed no ops of the stream")?);
        Ok(seen)
    }
}

/// The fields by op, where the value is a map of them.
fn texts(json: &Json) -> BTreeMap<String, String> {
    let ops = json.as_object().into_iter().flatten();
    ops.map(|(op, fields)| (op.clone(), fields.as_str().unwrap_or("**").to_owned())).collect()
}

/// Everything that differs, one line each; empty where the tables are right.
pub(crate) fn compare(release: Release, seen: &Seen) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, peer) in PEERS {
        let Some(handlers) = seen.handlers.get(name) else { continue };
        let known: BTreeMap<&str, Option<&str>> = dask_wire::dialect::ops::fields_of(peer, release).fold(
            BTreeMap::new(),
            // A peer's own op comes before the one that every server has.
            |mut known, (op, fields)| {
                known.entry(op).or_insert(fields);
                known
            },
        );
        for (op, assumed) in &known {
            match (assumed, handlers.get(*op)) {
                (Some(assumed), Some(found)) => lines.extend(differences(peer, op, assumed, found)),
                (Some(_), None) => lines.push(format!("op \"{op}\" of {peer} is gone")),
                (None, Some(found)) => {
                    lines.push(format!("op \"{op}\" of {peer} exists, which the table denies: \"{found}\""));
                }
                (None, None) => {}
            }
        }
        for (op, found) in handlers {
            if is_ours(peer, op) && !known.contains_key(op.as_str()) {
                lines.push(format!("op \"{op}\" of {peer} is new: \"{found}\""));
            }
        }
    }
    let answered: BTreeSet<&str> = seen.handlers.values().flatten().map(|(op, _)| op.as_str()).collect();
    let known: BTreeSet<&str> = PEERS
        .iter()
        .flat_map(|(_, peer)| dask_wire::dialect::ops::fields_of(*peer, release))
        .filter_map(|(op, fields)| fields.map(|_| op))
        .collect();
    for op in &seen.sends {
        let unknown = answered.contains(op.as_str()) && !known.contains(op.as_str());
        if unknown && PEERS.iter().all(|(_, peer)| is_ours(*peer, op)) {
            lines.push(format!("Python's client sends \"{op}\", which no table has for this release"));
        }
    }
    for (op, found) in seen.handles.iter().filter(|(op, _)| !NEVER_SENT.contains(&op.as_str())) {
        match HANDLED.iter().find(|(known, _)| known == op) {
            None => lines.push(format!(
                "the scheduler's stream has an op that the session does not know: \"{op}\" with \"{found}\""
            )),
            Some((_, read)) => lines.extend(unlike(op, read, found)),
        }
    }
    lines.extend(seen.unread.iter().map(|error| format!("a graph of ours cannot be unpickled: {error}")));
    lines
}

/// How the fields of an op of the scheduler's differ from those that the session reads.
fn unlike(op: &str, read: &str, found: &str) -> Vec<String> {
    let name = |field: &str| field.trim_end_matches('?').to_owned();
    let fields = |text: &str| text.split(' ').filter(|field| !field.is_empty()).map(str::to_owned).collect();
    let (read, found): (Vec<String>, Vec<String>) = (fields(read), fields(found));
    let has = |fields: &[String], field: &str| fields.iter().any(|other| name(other) == name(field));
    let new = found.iter().filter(|field| !has(&read, field)).map(|field| {
        format!("the stream's op \"{op}\" has the field \"{}\", which the session does not read", name(field))
    });
    let gone = read.iter().filter(|field| !field.ends_with('?') && !has(&found, field));
    let gone = gone
        .map(|field| format!("the stream's op \"{op}\" has no field \"{field}\", which the session reads"));
    new.chain(gone).collect()
}

/// How the fields of one op differ.
fn differences(peer: Peer, op: &str, assumed: &str, found: &str) -> Vec<String> {
    let fields = |text: &str| -> BTreeMap<String, bool> {
        let fields = text.split(' ').filter(|field| !field.is_empty());
        fields.map(|field| (field.trim_end_matches('?').to_owned(), !field.ends_with('?'))).collect()
    };
    let (before, after) = (fields(assumed), fields(found));
    let mut changes = Vec::new();
    for (field, demanded) in &after {
        match before.get(field) {
            None if field == "**" => changes.push("it now takes any field".to_owned()),
            None if *demanded => changes.push(format!("field \"{field}\" is new and required")),
            None => changes.push(format!("field \"{field}\" is new and optional")),
            Some(was) if was == demanded => {}
            Some(_) if *demanded => changes.push(format!("field \"{field}\" is now required")),
            Some(_) => changes.push(format!("field \"{field}\" is now optional")),
        }
    }
    for field in before.keys().filter(|field| !after.contains_key(*field)) {
        let what = if field == "**" {
            "it no longer takes any field".to_owned()
        } else {
            format!("field \"{field}\" is gone")
        };
        changes.push(what);
    }
    if changes.is_empty() {
        return Vec::new();
    }
    vec![format!("op \"{op}\" of {peer}: {}; its fields are \"{found}\"", changes.join(", "))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use dask_wire::session::{OnReconnect, Session};
    use dask_wire::{Dialect, Key, Value};

    const RELEASE: Release = Release::new(2026, 8, 0);

    /// A release that is exactly as the tables have it.
    fn faithful() -> Seen {
        let mut seen = Seen::default();
        for (name, peer) in PEERS {
            let ops = dask_wire::dialect::ops::fields_of(peer, RELEASE).collect::<Vec<_>>();
            let ops =
                ops.into_iter().rev().filter_map(|(op, fields)| Some((op.to_owned(), fields?.to_owned())));
            seen.handlers.insert(name.to_owned(), ops.collect());
        }
        seen.sends = ["scatter", "update-graph"].map(str::to_owned).into();
        seen.handles = HANDLED.iter().map(|(op, fields)| ((*op).to_owned(), (*fields).to_owned())).collect();
        seen
    }

    fn ops<'s>(seen: &'s mut Seen, peer: &str) -> &'s mut BTreeMap<String, String> {
        seen.handlers.get_mut(peer).unwrap()
    }

    #[test]
    fn a_release_like_the_tables_differs_in_nothing() {
        assert_eq!(compare(RELEASE, &faithful()), Vec::<String>::new());
    }

    #[test]
    fn altered_signatures_are_told() {
        let mut seen = faithful();
        ops(&mut seen, "scheduler")
            .insert("scatter".into(), "data workers? broadcast? timeout? where".into());
        let lines = compare(RELEASE, &seen);
        assert_eq!(
            lines,
            [concat!(
                "op \"scatter\" of the scheduler: field \"where\" is new and required, ",
                "field \"workers\" is now optional, field \"client\" is gone; ",
                "its fields are \"data workers? broadcast? timeout? where\""
            )]
        );
    }

    #[test]
    fn ops_that_come_and_go_are_told() {
        let mut seen = faithful();
        ops(&mut seen, "stream").remove("cancel-keys");
        ops(&mut seen, "scheduler").insert("lock_acquire".into(), "name?".into());
        ops(&mut seen, "worker").insert("levitate".into(), "height".into());
        seen.sends.insert("levitate".into());
        seen.handles.insert("key-on-the-move".into(), "key".into());
        seen.handles.insert("task-erred".into(), "key exception? colour".into());
        seen.unread.push("ImportError: no LLGExpr".into());
        assert_eq!(
            compare(RELEASE, &seen),
            [
                "op \"lock_acquire\" of the scheduler exists, which the table denies: \"name?\"",
                "op \"cancel-keys\" of the scheduler's client stream is gone",
                "op \"levitate\" of a worker is new: \"height\"",
                "Python's client sends \"levitate\", which no table has for this release",
                "the scheduler's stream has an op that the session does not know: \"key-on-the-move\" with \"key\"",
                "the stream's op \"task-erred\" has the field \"colour\", which the session does not read",
                "the stream's op \"task-erred\" has no field \"traceback\", which the session reads",
                "a graph of ours cannot be unpickled: ImportError: no LLGExpr",
            ]
        );
    }

    #[test]
    fn what_the_environment_prints_is_read() {
        let text = concat!(
            "a warning\n",
            r#"{"handlers": {"scheduler": {"gather": "keys"}, "stream": {}, "worker": {}, "nanny": {}}, "#,
            r#""sends": ["gather"], "handles": {"restart": ""}, "unread": []}"#
        );
        let seen = Seen::from_json(text).unwrap();
        assert_eq!(seen.handlers["scheduler"]["gather"], "keys");
        assert!(seen.sends.contains("gather"));
        assert!(Seen::from_json("Traceback").is_err());
        assert!(Seen::from_json("{}").unwrap_err().contains("scheduler"));
    }

    /// The list of ops is the session's own: each changes a key or is noticed.
    #[test]
    fn the_session_acts_on_every_op_of_the_list() {
        for (op, _) in HANDLED {
            let mut session: Session<()> = Session::new("Client-x", Dialect::of(RELEASE), OnReconnect::Fail);
            let key = Key::from("k");
            session.desire(&key);
            // What takes an outcome back needs one first.
            let outcome = match *op {
                "task-retried" => Some("task-erred"),
                "lost-data" => Some("key-in-memory"),
                _ => None,
            };
            if let Some(outcome) = outcome {
                session.receive([("op", outcome), ("key", "k")].into_iter().collect());
            }
            let before = session.state(&key).map(|state| state.name());
            let keys: Value<'_> = ["k"].into_iter().collect();
            let event: Value<'_> = [Value::from(1.0), Value::from("message")].into_iter().collect();
            let fields: [(&str, Value<'_>); 7] = [
                ("op", (*op).into()),
                ("key", "k".into()),
                ("keys", keys),
                ("interval", 5.0.into()),
                ("warning", "text".into()),
                ("topic", "topic".into()),
                ("event", event),
            ];
            session.receive(fields.into_iter().collect());
            let changed = session.state(&key).map(|state| state.name()) != before;
            assert!(changed || !session.take_notices().is_empty(), "{op}");
        }
    }
}
