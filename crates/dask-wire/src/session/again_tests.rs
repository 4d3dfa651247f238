//! What a session asks of the next scheduler.

use dask_pickle::{CallTemplate, Callable, Template};
use proptest::prelude::*;

use super::*;
use crate::graph::Task;

fn dialect(release: &str) -> Dialect {
    Dialect::of(release.parse().unwrap())
}

fn session(release: &str) -> Session<usize> {
    Session::new("Client-test", dialect(release), OnReconnect::Resubmit)
}

/// Tasks with what each takes; those in `wanted` are outputs.
fn submission(tasks: &[(&str, &[&str])], wanted: &[&str]) -> Arc<Submission> {
    let call = |needs: &[&str]| CallTemplate {
        callable: Callable::Name { module: "operator".into(), qualname: "add".into() },
        args: needs.iter().map(|key| Template::of_reference(key)).collect(),
        kwargs: Vec::new(),
    };
    let tasks = tasks.iter().map(|(key, needs)| Task::new(*key, call(needs))).collect();
    Arc::new(Submission::new(tasks, wanted.iter().map(|key| Key::from(*key)).collect()))
}

fn op(name: &'static str, key: &str) -> Value<'static> {
    Value::Array(vec![Value::Map(vec![("op".into(), name.into()), ("key".into(), key.to_owned().into())])])
}

/// What a batch for 2.30.1 asks for: by submission the tasks, and all wanted keys.
fn asked(session: &mut Session<usize>) -> (Vec<Vec<String>>, Vec<String>) {
    let (mut graphs, mut wanted) = (Vec::new(), Vec::new());
    for op in session.take_outgoing().iter().flat_map(|batch| batch.as_array().unwrap()) {
        assert_eq!(op.get("op").unwrap().as_str(), Some("update-graph"));
        let tasks = op.get("tasks").unwrap().as_map().unwrap();
        graphs.push(tasks.iter().map(|(key, _)| key.as_str().unwrap().to_owned()).collect::<Vec<_>>());
        graphs.last_mut().unwrap().sort();
        let keys = op.get("keys").unwrap().as_array().unwrap();
        wanted.extend(keys.iter().map(|key| key.as_str().unwrap().to_owned()));
    }
    (graphs, wanted)
}

fn cut(session: &mut Session<usize>) {
    session.disconnected("gone".into());
    session.reconnected("Client-again", dialect("2.30.1")).unwrap();
}

fn status(session: &Session<usize>, key: &str) -> &'static str {
    session.state(&Key::from(key)).map_or("", KeyState::name)
}

#[test]
fn graphs_go_again_in_the_order_in_which_they_came() {
    // Many keys, so that an order by chance does not pass.
    let mut session = session("2.30.1");
    let names: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
    session.submit(submission(&[(&names[0], &[])], &[&names[0]])).unwrap();
    for pair in names.windows(2) {
        session.submit(submission(&[(&pair[1], &[&pair[0]])], &[&pair[1]])).unwrap();
    }
    session.take_outgoing();
    cut(&mut session);
    let (graphs, wanted) = asked(&mut session);
    assert_eq!(graphs.concat(), names);
    assert_eq!(wanted, names);
}

#[test]
fn what_a_held_key_takes_is_computed_again_though_nobody_holds_it() {
    let mut session = session("2.30.1");
    session.submit(submission(&[("a", &[]), ("unused", &[])], &["a", "unused"])).unwrap();
    session.submit(submission(&[("b", &["a"]), ("other", &[])], &["b", "other"])).unwrap();
    session.take_outgoing();
    for key in ["a", "unused", "other"] {
        session.receive(op("key-in-memory", key));
        session.release(&Key::from(key));
    }
    cut(&mut session);
    // Of each graph what is needed, and no more; together, since nobody would hold the first alone.
    assert_eq!(asked(&mut session), (vec![vec!["a".into(), "b".into()]], vec!["b".into()]));
    session.release(&Key::from("b"));
    assert_eq!(session.origins.len(), 0, "graphs that nobody needs are kept");
}

#[test]
fn a_key_of_two_graphs_that_go_together_is_still_wanted() {
    let mut session = session("2.30.1");
    session.submit(submission(&[("a", &[]), ("b", &["a"])], &["b"])).unwrap();
    // The same task again, this time wanted, and one that takes what nobody will hold.
    session.submit(submission(&[("a", &[]), ("c", &["b"])], &["a", "c"])).unwrap();
    session.take_outgoing();
    session.release(&Key::from("b"));
    cut(&mut session);
    let (graphs, mut wanted) = asked(&mut session);
    wanted.sort();
    assert_eq!(graphs, [["a", "b", "c"]]);
    // What is not wanted is never heard of, and its future would wait without end.
    assert_eq!(wanted, ["a", "c"]);
}

#[test]
fn what_takes_data_that_is_gone_is_lost_and_says_why() {
    let mut session = session("2.30.1");
    session.expect(&Key::from("data"));
    session.arrived(&Key::from("data"), None);
    session.submit(submission(&[("b", &["data"]), ("free", &[])], &["b", "free"])).unwrap();
    session.submit(submission(&[("c", &["b"])], &["c"])).unwrap();
    session.take_outgoing();
    cut(&mut session);
    assert_eq!(asked(&mut session), (vec![vec!["free".into()]], vec!["free".into()]));
    for key in ["data", "b", "c"] {
        assert_eq!(status(&session, key), "lost", "{key}");
    }
    let Some(KeyState::Lost(reason)) = session.state(&Key::from("c")) else { panic!("not lost") };
    assert!(reason.to_string().contains("result of data"), "{reason}");
    assert_eq!((status(&session, "free"), session.pending()), ("pending", 1));
}

#[test]
fn a_graph_that_the_next_release_cannot_express_ends_all_its_keys() {
    let mut session = session("2026.8.0");
    session.submit(submission(&[("a", &[]), ("b", &[])], &["a", "b"])).unwrap();
    session.submit(submission(&[("c", &["b"])], &["c"])).unwrap();
    session.disconnected("gone".into());
    // Older than any that is known.
    session.reconnected("Client-again", dialect("1.0.0")).unwrap_err();
    for key in ["a", "b", "c"] {
        assert_eq!(status(&session, key), "lost", "{key}");
    }
    assert_eq!((session.pending(), session.take_outgoing()), (0, None));
}

#[test]
fn keys_that_are_tuples_go_again_as_well() {
    let mut session = session("2026.8.0");
    let key = Key::from(("x", 0));
    let mut one = Submission::clone(&submission(&[("a", &[])], &["a"]));
    one.tasks[0].key = key.clone();
    one.wanted = vec![key.clone()];
    session.submit(Arc::new(one)).unwrap();
    session.take_outgoing();
    session.disconnected("gone".into());
    session.reconnected("Client-again", dialect("2026.8.0")).unwrap();
    assert_eq!(session.pending(), 1);
    let batch = session.take_outgoing().unwrap();
    let wanted = batch.as_array().unwrap()[0].get("keys").unwrap().as_array().unwrap();
    assert_eq!(Key::from_value(&wanted[0]), Some(key));
}

#[test]
fn what_failed_stays_failed() {
    let mut session = session("2.30.1");
    session.submit(submission(&[("a", &[]), ("b", &[])], &["a", "b"])).unwrap();
    session.take_outgoing();
    session.receive(op("task-erred", "a"));
    cut(&mut session);
    assert_eq!((status(&session, "a"), status(&session, "b")), ("error", "pending"));
    assert_eq!(asked(&mut session).0, [["b"]]);
}

#[test]
fn nothing_that_was_said_without_a_scheduler_reaches_the_next() {
    let mut session = session("2.30.1");
    session.submit(submission(&[("a", &[]), ("b", &[])], &["a", "b"])).unwrap();
    session.disconnected("gone".into());
    let a = Key::from("a");
    assert_eq!(session.cancel(std::slice::from_ref(&a), false, "", "").unwrap(), CancelVia::Nothing);
    session.report(&a);
    session.fire_and_forget(&[a]).unwrap();
    session.send(Value::Nil);
    session.desire(&Key::from("other"));
    assert_eq!(status(&session, "other"), "lost");
    session.reconnected("Client-again", dialect("2.30.1")).unwrap();
    assert_eq!(asked(&mut session).0, [["b"]]);
}

#[test]
fn an_attempt_that_came_to_nothing_leaves_nothing_behind() {
    let mut session = session("2.30.1");
    session.submit(submission(&[("a", &[])], &["a"])).unwrap();
    cut(&mut session);
    cut(&mut session);
    assert_eq!(asked(&mut session).0, [["a"]]);
}

#[test]
fn what_waits_to_be_sent_is_weighed() {
    let mut session = session("2.30.1");
    assert_eq!(session.unsent(), 0);
    session.submit(submission(&[("a", &[])], &["a"])).unwrap();
    let one = session.unsent();
    session.submit(submission(&[("b", &[])], &["b"])).unwrap();
    assert_eq!(session.unsent(), 2 * one);
    session.take_outgoing();
    assert_eq!(session.unsent(), 0);
    session.submit(submission(&[("c", &[])], &["c"])).unwrap();
    session.disconnected("gone".into());
    assert_eq!(session.unsent(), 0);
}

proptest! {
    /// Graphs of several keys that take results of earlier ones, released and answered in any order: the next scheduler
    /// is told of everything that is still open, each thing after what it takes, and of nothing else.
    #[test]
    fn the_next_scheduler_can_run_what_it_is_asked_for(
        graphs in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(0usize..40, 0..3), 1..4), 1..12),
        released in proptest::collection::vec(any::<bool>(), 48),
        erred in proptest::collection::vec(0u8..6, 48),
    ) {
        let mut session = session("2.30.1");
        let mut names: Vec<String> = Vec::new();
        for graph in &graphs {
            let before = names.len();
            let tasks: Vec<(String, Vec<String>)> = graph.iter().enumerate().map(|(at, needs)| {
                let known = before + at;
                // Of earlier graphs and of earlier tasks of the same one.
                let needs = needs.iter().filter(|_| known > 0).map(|need| format!("k{}", need % known)).collect();
                (format!("k{known}"), needs)
            }).collect();
            names.extend(tasks.iter().map(|(key, _)| key.clone()));
            let needs: Vec<Vec<&str>> = tasks.iter().map(|(_, needs)| needs.iter().map(String::as_str).collect()).collect();
            let tasks: Vec<(&str, &[&str])> =
                tasks.iter().zip(&needs).map(|((key, _), needs)| (key.as_str(), needs.as_slice())).collect();
            let wanted: Vec<&str> = tasks.iter().map(|(key, _)| *key).collect();
            session.submit(submission(&tasks, &wanted)).unwrap();
        }
        session.take_outgoing();
        let mut open: Vec<&str> = Vec::new();
        for ((name, released), erred) in names.iter().zip(&released).zip(&erred) {
            if *erred == 0 {
                session.receive(op("task-erred", name));
            } else if *erred < 3 {
                session.receive(op("key-in-memory", name));
            }
            if *released {
                session.release(&Key::from(name.as_str()));
            } else if *erred > 0 {
                open.push(name);
            }
        }
        session.disconnected("gone".into());
        // Nothing of the older session is applied any more.
        for name in &names {
            session.receive(op("task-erred", name));
        }
        session.reconnected("Client-again", dialect("2.30.1")).unwrap();
        prop_assert_eq!(session.pending(), open.len());
        let (mut told, mut wanted) = (HashSet::new(), Vec::new());
        for op in session.take_outgoing().iter().flat_map(|batch| batch.as_array().unwrap()) {
            let here: Vec<&str> = op.get("tasks").unwrap().as_map().unwrap().iter().map(|(key, _)| key.as_str().unwrap()).collect();
            for key in &here {
                prop_assert!(told.insert((*key).to_owned()), "{} twice", key);
            }
            for (_, needs) in op.get("dependencies").unwrap().as_map().unwrap() {
                for need in needs.as_array().unwrap_or_default() {
                    let need = need.as_str().unwrap();
                    // Held by what came before, or part of the same message.
                    let held = open.contains(&need) && told.contains(need);
                    prop_assert!(held || here.contains(&need), "{} is not there yet", need);
                }
            }
            wanted.extend(op.get("keys").unwrap().as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()));
        }
        wanted.sort();
        open.sort_unstable();
        prop_assert_eq!(wanted, open);
        for name in &names {
            session.release(&Key::from(name.as_str()));
        }
        prop_assert_eq!((session.held(), session.origins.len()), (0, 0));
    }
}
