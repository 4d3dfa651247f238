//! A session driven by any interleaving of calls and of what a scheduler may say.

use std::collections::HashMap;
use std::sync::Arc;

use dask_pickle::{CallTemplate, Callable, Template};
use dask_wire::graph::{Submission, Task};
use dask_wire::session::{OnReconnect, Session};
use dask_wire::{Dialect, Encoding, Key, Limits, Message, Release, Value};

const RELEASES: [Release; 4] =
    [Release::new(2, 30, 1), Release::new(2023, 3, 2), Release::new(2024, 8, 2), Release::new(2026, 8, 0)];
/// Few keys, so that events meet.
const KEYS: u8 = 6;
const OPS: [&str; 8] = [
    "key-in-memory",
    "lost-data",
    "task-erred",
    "task-retried",
    "cancelled-keys",
    "restart",
    "stream-closed",
    "error",
];

fn key(byte: u8) -> Key {
    match byte % KEYS {
        5 => Key::from(("tuple", 5)),
        number => Key::from(format!("key-{number}")),
    }
}

fn submission(first: u8, second: u8) -> Option<Arc<Submission>> {
    let call = |args| CallTemplate {
        callable: Callable::Name { module: "operator".into(), qualname: "add".into() },
        args,
        kwargs: Vec::new(),
    };
    let (a, b) = (key(first), key(second));
    let mut tasks = vec![Task::new(a.clone(), call(Vec::new()))];
    if a != b {
        tasks.push(Task::new(b.clone(), call(vec![Template::of_reference(&a.as_reference())])));
    }
    let wanted = if a == b { vec![a] } else { vec![a, b] };
    let submission = Submission::new(tasks, wanted);
    submission.check(|_| false).ok().map(|()| Arc::new(submission))
}

/// A message of the scheduler's about some keys: an op with every field that any op has.
fn said(op: u8, first: u8, second: u8) -> Value<'static> {
    let name = OPS[usize::from(op) % OPS.len()];
    let keys: Value<'_> = [key(first), key(second)].iter().collect();
    let fields = [
        ("op", Value::from(name)),
        ("key", key(first).to_value()),
        ("keys", keys),
        ("type", Value::from("int")),
        ("reason", if second.is_multiple_of(2) { Value::Nil } else { Value::from("already forgotten") }),
    ];
    Value::Array(vec![fields.into_iter().collect()])
}

/// Who holds how much of what, as the program around a session counts it.
#[derive(Default)]
struct Held(HashMap<Key, usize>);

impl Held {
    fn add(&mut self, key: Key) {
        *self.0.entry(key).or_default() += 1;
    }

    fn take(&mut self, key: &Key) -> bool {
        match self.0.get_mut(key) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => drop(self.0.remove(key)),
            None => return false,
        }
        true
    }
}

/// Three bytes an event.
pub fn session(data: &[u8]) {
    let Some((&settings, data)) = data.split_first() else { return };
    let dialect = Dialect::of(RELEASES[usize::from(settings) % RELEASES.len()]);
    let policy = if settings & 0x80 == 0 { OnReconnect::Fail } else { OnReconnect::Resubmit };
    let mut session: Session<usize> = Session::new("Client-fuzz", dialect, policy);
    let mut held = Held::default();
    let mut waiting = 0usize;
    let mut woken = 0usize;
    for (number, event) in data.chunks_exact(3).enumerate() {
        let (what, first, second) = (event[0], event[1], event[2]);
        match what % 16 {
            // Whoever drives a session submits and asks only where there is somebody to be asked.
            0 | 1 if session.is_connected() => {
                if let Some(submission) = submission(first, second)
                    && session.submit(Arc::clone(&submission)).is_ok()
                {
                    submission.wanted.iter().for_each(|key| held.add(key.clone()));
                }
            }
            2 if session.is_connected() => {
                session.desire(&key(first));
                held.add(key(first));
            }
            3 if session.holds(&key(first)) => {
                session.hold(&key(first));
                held.add(key(first));
            }
            4 | 5 if held.take(&key(first)) => session.release(&key(first)),
            6 if session.holds(&key(first)) => {
                session.wait(&key(first), number);
                waiting += 1;
            }
            7..=10 => session.receive(said(what ^ second, first, second)),
            11 => {
                // Whatever a peer may say.
                let frames = vec![bytes::Bytes::copy_from_slice(&data[data.len().min(first.into())..])];
                if let Ok(message) = Message::new(frames, Encoding::Placeholders, Limits::default())
                    && let Ok(value) = message.value()
                {
                    session.receive(value);
                }
            }
            12 => {
                let keys = [key(first), key(second)];
                drop(session.cancel(&keys, second.is_multiple_of(2), "reason", "message"));
            }
            13 => session.disconnected("lost".into()),
            14 if !session.is_connected() => {
                let dialect = Dialect::of(RELEASES[usize::from(first) % RELEASES.len()]);
                drop(session.reconnected("Client-again", dialect));
            }
            15 => drop((session.take_outgoing(), session.take_notices(), session.ask_again(&key(first)))),
            _ => (),
        }
        woken += session.take_wakes().len();
        assert!(woken <= waiting, "somebody was woken twice");
        assert!(session.pending() <= session.held(), "more is pending than held");
        assert_eq!(session.held(), held.0.len(), "after event {number} ({})", what % 16);
    }
    // Everybody leaves; then nothing is held, and nobody still waits.
    session.disconnected("the end".into());
    for (key, count) in std::mem::take(&mut held.0) {
        (0..count).for_each(|_| session.release(&key));
    }
    woken += session.take_wakes().len();
    assert_eq!((session.held(), session.pending()), (0, 0));
    assert!(woken <= waiting);
}
