//! Any interleaving of calls, messages and disconnects keeps the promises of the module's documentation.

use dask_pickle::{CallTemplate, Callable};
use proptest::prelude::*;

use super::*;
use crate::graph::Task;
use crate::payload::Payload;

fn session(release: &str, policy: OnReconnect) -> Session<usize> {
    Session::new("Client-test", Dialect::of(release.parse().unwrap()), policy)
}

fn submission(keys: &[&str]) -> Arc<Submission> {
    let call = || CallTemplate {
        callable: Callable::Name { module: "operator".into(), qualname: "add".into() },
        args: Vec::new(),
        kwargs: Vec::new(),
    };
    let tasks = keys.iter().map(|key| Task::new(*key, call())).collect();
    Arc::new(Submission::new(tasks, keys.iter().map(|key| Key::from(*key)).collect()))
}

fn op(name: &'static str, key: &str) -> Value<'static> {
    Value::Array(vec![Value::Map(vec![("op".into(), name.into()), ("key".into(), key.to_owned().into())])])
}

fn ops(batch: &Value<'_>) -> Vec<String> {
    batch.as_array().unwrap().iter().map(|op| op.get("op").unwrap().as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_key_is_released_once_after_its_last_holder() {
    let mut session = session("2026.8.0", OnReconnect::Fail);
    let key = Key::from("a");
    session.submit(submission(&["a"])).unwrap();
    session.hold(&key);
    assert_eq!(ops(&session.take_outgoing().unwrap()), ["update-graph"]);
    session.release(&key);
    assert!(!session.has_outgoing());
    session.release(&key);
    session.release(&key);
    let batch = session.take_outgoing().unwrap();
    assert_eq!(ops(&batch), ["client-releases-keys"]);
    assert_eq!(batch.as_array().unwrap()[0].get("keys").unwrap().as_array().unwrap().len(), 1);
    assert_eq!((session.held(), session.pending()), (0, 0));
}

#[test]
fn a_key_wanted_again_is_not_released() {
    let mut session = session("2026.8.0", OnReconnect::Fail);
    session.submit(submission(&["a"])).unwrap();
    session.take_outgoing();
    session.release(&Key::from("a"));
    session.submit(submission(&["a"])).unwrap();
    assert_eq!(ops(&session.take_outgoing().unwrap()), ["update-graph"]);
}

#[test]
fn outcomes_wake_waiters_and_stay() {
    let mut session = session("2026.8.0", OnReconnect::Fail);
    session.submit(submission(&["a", "b"])).unwrap();
    session.wait(&Key::from("a"), 7);
    session.receive(op("key-in-memory", "a"));
    assert_eq!(session.take_wakes(), [7]);
    assert_eq!(session.state(&Key::from("a")), Some(&KeyState::Finished));
    assert_eq!(session.pending(), 1);
    session.receive(op("key-in-memory", "a"));
    session.receive(op("key-in-memory", "stranger"));
    session.receive(op("no-such-op", "b"));
    session.receive(Value::Nil);
    assert!(session.take_wakes().is_empty());
    let error = Value::Map(vec![
        ("op".into(), "task-erred".into()),
        ("key".into(), "b".into()),
        ("exception".into(), Payload::bytes("pickle").into()),
    ]);
    session.receive(error);
    assert!(matches!(session.state(&Key::from("b")), Some(KeyState::Erred(_))));
    session.receive(op("task-retried", "b"));
    assert_eq!(session.pending(), 1);
}

#[test]
fn cancelling_takes_the_way_of_the_release() {
    for (release, stream) in [("2.30.1", false), ("2023.3.0", false), ("2023.3.1", true), ("2026.8.0", true)]
    {
        let mut session = session(release, OnReconnect::Fail);
        session.submit(submission(&["a"])).unwrap();
        session.take_outgoing();
        let via = session.cancel(&[Key::from("a")], false, "user", "asked").unwrap();
        assert_eq!(matches!(via, CancelVia::Stream), stream, "{release}");
        assert!(
            matches!(session.state(&Key::from("a")), Some(KeyState::Cancelled { reason, .. }) if &**reason == "user")
        );
        session.receive(op("key-in-memory", "a"));
        assert_eq!(session.state(&Key::from("a")).unwrap().name(), "cancelled");
    }
}

#[test]
fn word_of_an_earlier_cancelling_does_not_end_what_was_submitted_since() {
    for release in ["2.30.1", "2026.8.0"] {
        let mut session = session(release, OnReconnect::Fail);
        let (a, word) = (Key::from("a"), op("cancelled-key", "a"));
        session.submit(submission(&["a"])).unwrap();
        let _ = session.cancel(std::slice::from_ref(&a), true, "", "").unwrap();
        session.submit(submission(&["a"])).unwrap();
        session.take_outgoing();
        session.receive(word.clone());
        assert!(session.state(&a).unwrap().is_pending(), "{release}");
        assert_eq!(ops(&session.take_outgoing().unwrap()), ["report-key"], "{release}");
        // The scheduler does not know it.
        session.receive(word);
        assert_eq!(session.state(&a).unwrap().name(), "cancelled", "{release}");
        // One that is wanted by another handle is open again, too.
        session.desire(&a);
        assert_eq!(ops(&session.take_outgoing().unwrap()), ["client-desires-keys", "report-key"]);
        session.receive(op("key-in-memory", "a"));
        assert_eq!(session.state(&a).unwrap().name(), "finished", "{release}");
    }
}

#[test]
fn a_disconnect_answers_everybody_with_its_cause() {
    let mut session = session("2024.8.2", OnReconnect::Fail);
    session.submit(submission(&["a", "b"])).unwrap();
    session.wait(&Key::from("a"), 1);
    session.wait(&Key::from("b"), 2);
    session.disconnected("reset by peer".into());
    let mut woken = session.take_wakes();
    woken.sort_unstable();
    assert_eq!(woken, [1, 2]);
    assert!(
        session.state(&Key::from("a")).unwrap()
            == &KeyState::Lost(LostReason::Disconnected("reset by peer".into()))
    );
    session.receive(op("key-in-memory", "a"));
    assert_eq!(session.state(&Key::from("a")).unwrap().name(), "lost");
    assert!(session.take_outgoing().is_none());
}

#[test]
fn held_work_is_submitted_again_only_when_asked() {
    let mut session = session("2024.8.2", OnReconnect::Resubmit);
    session.submit(submission(&["a", "b"])).unwrap();
    session.take_outgoing();
    session.receive(op("key-in-memory", "a"));
    session.release(&Key::from("b"));
    session.disconnected("gone".into());
    assert!(session.state(&Key::from("a")).unwrap().is_pending());
    session.reconnected("Client-again", Dialect::of("2026.8.0".parse().unwrap())).unwrap();
    let batch = session.take_outgoing().unwrap();
    assert_eq!(ops(&batch), ["update-graph"]);
    assert!(batch.as_array().unwrap()[0].get("expr_ser").is_some());
    assert_eq!(batch.as_array().unwrap()[0].get("keys").unwrap().as_array().unwrap().len(), 1);
}

#[test]
fn lost_data_comes_again_or_is_reported_as_lost() {
    let mut session = session("2026.8.0", OnReconnect::Fail);
    session.submit(submission(&["a", "b", "c"])).unwrap();
    session.take_outgoing();
    for key in ["a", "b"] {
        session.receive(op("key-in-memory", key));
        session.receive(op("lost-data", key));
        assert_eq!(session.state(&Key::from(key)), Some(&KeyState::Pending));
    }
    assert_eq!(ops(&session.take_outgoing().unwrap()), ["report-key", "report-key"]);
    session.receive(op("key-in-memory", "a"));
    session.receive(op("cancelled-key", "b"));
    session.receive(op("cancelled-key", "c"));
    assert_eq!(session.state(&Key::from("a")), Some(&KeyState::Finished));
    assert_eq!(session.state(&Key::from("b")), Some(&KeyState::Lost(LostReason::Data)));
    assert!(matches!(session.state(&Key::from("c")), Some(KeyState::Cancelled { .. })));
    session.expect(&Key::from("d"));
    session.arrived(&Key::from("d"), None);
    session.receive(op("cancelled-key", "d"));
    assert_eq!(session.state(&Key::from("d")), Some(&KeyState::Lost(LostReason::Data)));
    // Computed again and then cancelled is cancelled.
    session.receive(op("cancelled-key", "a"));
    assert!(matches!(session.state(&Key::from("a")), Some(KeyState::Cancelled { .. })));
}

#[test]
fn what_any_worker_can_run_needs_no_notes() {
    let mut session = session("2026.8.0", OnReconnect::Fail);
    session.submit(submission(&["a"])).unwrap();
    assert_eq!(session.needs(&Key::from("a")), None);
    let mut picky = Submission::clone(&submission(&["b"]));
    picky.tasks[0].options.resources = vec![("GPU".into(), 1.0)];
    session.submit(Arc::new(picky)).unwrap();
    assert_eq!(session.needs(&Key::from("b")).unwrap()[0].0, Key::from("b"));
    session.receive(op("key-in-memory", "b"));
    assert_eq!(session.needs(&Key::from("b")), None);
}

#[derive(Clone, Debug)]
enum Step {
    Submit(u8),
    Desire(u8),
    Hold(u8),
    Release(u8),
    Cancel(u8),
    Message(&'static str, u8),
    Flush,
    Disconnect,
    Reconnect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let message = prop::sample::select(vec![
        "key-in-memory",
        "task-erred",
        "lost-data",
        "cancelled-key",
        "task-retried",
        "restart",
        "nonsense",
    ]);
    let step = prop_oneof![
        (0u8..4).prop_map(Step::Submit),
        (0u8..4).prop_map(Step::Desire),
        (0u8..4).prop_map(Step::Hold),
        (0u8..4).prop_map(Step::Release),
        (0u8..4).prop_map(Step::Cancel),
        (message, 0u8..4).prop_map(|(op, key)| Step::Message(op, key)),
        Just(Step::Flush),
        Just(Step::Disconnect),
        Just(Step::Reconnect),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn any_interleaving_keeps_the_promises(steps in steps(), resubmit in any::<bool>()) {
        let policy = if resubmit { OnReconnect::Resubmit } else { OnReconnect::Fail };
        let mut session = session("2026.8.0", policy);
        let mut holders = [0usize; 4];
        let mut connected = true;
        // What the scheduler believes this client wants, from the messages alone.
        let mut wanted = HashSet::new();
        for step in steps {
            let name = |n: u8| format!("k{n}");
            match step {
                Step::Submit(n) if connected => {
                    session.submit(submission(&[&name(n)])).unwrap();
                    holders[n as usize] += 1;
                }
                Step::Desire(n) if connected => {
                    session.desire(&Key::from(name(n)));
                    holders[n as usize] += 1;
                }
                Step::Hold(n) if holders[n as usize] > 0 => {
                    session.hold(&Key::from(name(n)));
                    holders[n as usize] += 1;
                }
                Step::Release(n) if holders[n as usize] > 0 => {
                    session.release(&Key::from(name(n)));
                    holders[n as usize] -= 1;
                }
                Step::Cancel(n) if connected => {
                    let _ = session.cancel(&[Key::from(name(n))], false, "r", "m").unwrap();
                }
                Step::Message(op_name, n) => session.receive(op(op_name, &name(n))),
                Step::Flush => {
                    for op in session.take_outgoing().iter().flat_map(|b| b.as_array().unwrap()) {
                        let keys = op.get("keys").and_then(Value::as_array).unwrap_or_default();
                        let keys: Vec<String> = keys.iter().map(|k| k.as_str().unwrap().to_owned()).collect();
                        match op.get("op").unwrap().as_str().unwrap() {
                            "update-graph" | "client-desires-keys" => wanted.extend(keys),
                            "client-releases-keys" => keys.iter().for_each(|k| { wanted.remove(k); }),
                            "cancel-keys" => keys.iter().for_each(|k| { wanted.remove(k); }),
                            "report-key" => (),
                            other => panic!("{other}"),
                        }
                    }
                    // After a flush the scheduler wants nothing for this client that nobody here holds.
                    for n in 0..4u8 {
                        prop_assert!(!(wanted.contains(&name(n)) && holders[n as usize] == 0), "k{} leaks", n);
                    }
                }
                Step::Disconnect => {
                    session.disconnected("cut".into());
                    connected = false;
                    wanted.clear();
                }
                Step::Reconnect if !connected => {
                    session.reconnected("Client-again", Dialect::of("2026.8.0".parse().unwrap())).unwrap();
                    connected = true;
                }
                _ => (),
            }
            let open = (0..4u8).filter(|n| session.state(&Key::from(name(*n))).is_some_and(KeyState::is_pending));
            prop_assert_eq!(open.count(), session.pending());
            for n in 0..4u8 {
                prop_assert_eq!(session.state(&Key::from(name(n))).is_some(), holders[n as usize] > 0);
            }
            if !connected && policy == OnReconnect::Fail {
                prop_assert_eq!(session.pending(), 0);
            }
            prop_assert!(connected || !session.has_outgoing() || session.take_outgoing().is_none());
        }
    }
}
