//! Tasks and graphs, before any release's way of writing them down.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use dask_pickle::CallTemplate;

use crate::key::Key;

/// One task: a call, the key of its result, and how to schedule it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Task {
    /// The key of the task and of its result.
    pub key: Key,
    /// What to call; its arguments may refer to other tasks by key.
    pub call: CallTemplate,
    /// How to schedule it.
    pub options: TaskOptions,
}

impl Task {
    /// A task with default options.
    pub fn new(key: impl Into<Key>, call: CallTemplate) -> Self {
        Self { key: key.into(), call, options: TaskOptions::default() }
    }

    /// The keys of the tasks whose results this one takes, each once.
    pub fn dependencies(&self) -> Vec<Key> {
        let mut seen = HashSet::new();
        references(&self.call).filter(|key| seen.insert(*key)).map(Key::from_reference).collect()
    }

    /// About how many bytes the task takes in a message.
    pub fn size(&self) -> usize {
        let key = self.key.as_str().map_or(32, str::len);
        key.saturating_add(call_size(&self.call))
    }
}

/// What a task's place in a message costs besides its arguments.
const TASK_OVERHEAD: usize = 40;

fn call_size(call: &CallTemplate) -> usize {
    let mut size = TASK_OVERHEAD;
    let mut rest = vec![call];
    while let Some(call) = rest.pop() {
        if let dask_pickle::Callable::Pickled(pickle) = &call.callable {
            size = size.saturating_add(pickle.len());
        }
        for template in call.args.iter().chain(call.kwargs.iter().map(|(_, template)| template)) {
            size = size.saturating_add(template.code_len());
            rest.extend(template.holes().filter_map(|hole| match hole {
                dask_pickle::Hole::Call(call) => Some(&**call),
                _ => None,
            }));
        }
    }
    size
}

/// What a call refers to, as its templates do.
fn references(call: &CallTemplate) -> impl Iterator<Item = &str> {
    call.args.iter().chain(call.kwargs.iter().map(|(_, template)| template)).flat_map(|t| t.references())
}

/// How the scheduler treats a task.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TaskOptions {
    /// Higher runs earlier; 0 is the default.
    pub priority: Option<i64>,
    /// How often a failed task is run again.
    pub retries: Option<u32>,
    /// Amounts of named resources that the worker must have free.
    pub resources: Vec<(String, f64)>,
    /// Addresses, host names or names of the workers that may run it; empty means any.
    pub workers: Vec<String>,
    /// Whether other workers may run it when none of `workers` can.
    pub allow_other_workers: bool,
    /// Whether the result is an actor that stays on its worker.
    pub actor: bool,
}

impl TaskOptions {
    /// Whether any worker will do.
    pub fn fits_everywhere(&self) -> bool {
        self.resources.is_empty() && (self.workers.is_empty() || self.allow_other_workers)
    }

    /// Takes from `others` what is not set here.
    pub fn or(mut self, others: &TaskOptions) -> Self {
        self.priority = self.priority.or(others.priority);
        self.retries = self.retries.or(others.retries);
        if self.resources.is_empty() {
            self.resources.clone_from(&others.resources);
        }
        if self.workers.is_empty() {
            self.workers.clone_from(&others.workers);
            self.allow_other_workers |= others.allow_other_workers;
        }
        self
    }
}

/// Tasks to send in one message, and the keys whose results are wanted.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Submission {
    /// The tasks. Those that depend on nothing here run in this order, if all else is equal.
    pub tasks: Vec<Task>,
    /// Keys of tasks whose results the client wants to keep.
    pub wanted: Vec<Key>,
    /// Submissions within this time of each other count as one generation and so have equal priority.
    pub fifo_timeout: Option<Duration>,
}

/// Tasks of one submission that not every worker can run, with what they ask for.
pub type Needs = Arc<[(Key, TaskOptions)]>;

/// A graph is not one that Dask could run. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Tasks depend on each other in a circle.
    #[error("the graph has a cycle: {}; break it by removing one of these references", .path.iter().map(Key::to_string).collect::<Vec<_>>().join(" -> "))]
    Cycle {
        /// The tasks of the circle, each depending on the next; the first stands again at the end.
        path: Vec<Key>,
    },
    /// A task refers to a key that is neither in the graph nor held by the client.
    #[error(
        "task {task} refers to \"{missing}\", which is neither a task of this graph nor a future this client holds"
    )]
    MissingReference {
        /// The task that refers.
        task: Key,
        /// The key it refers to.
        missing: Key,
    },
    /// Two tasks have the same key.
    #[error("two tasks of the graph have the key {key}; keys must differ")]
    DuplicateKey {
        /// The key.
        key: Key,
    },
    /// A wanted key is no task.
    #[error("the output {key} is neither a task of this graph nor a future this client holds")]
    MissingOutput {
        /// The key.
        key: Key,
    },
    /// More tasks than the program allows in one graph.
    #[error(
        "the graph has {tasks} tasks, more than the {limit} that are allowed at once; submit it in parts or raise the limit"
    )]
    TooManyTasks {
        /// Its tasks.
        tasks: usize,
        /// The limit.
        limit: usize,
    },
    /// More bytes than the program allows in one graph.
    #[error(
        "the graph takes {bytes} bytes, more than the {limit} that are allowed at once; its largest task is {largest} with \
         {largest_bytes} bytes. Scatter large arguments and pass the futures instead, or raise the limit"
    )]
    TooLarge {
        /// Its bytes, about.
        bytes: usize,
        /// The limit.
        limit: usize,
        /// The largest task.
        largest: Key,
        /// That task's bytes, about.
        largest_bytes: usize,
    },
}

impl Submission {
    /// A submission of these tasks that wants these results.
    pub fn new(tasks: Vec<Task>, wanted: Vec<Key>) -> Self {
        Self { tasks, wanted, fifo_timeout: None }
    }

    /// Checks that Dask could run this: unique keys, known references, no cycle.
    ///
    /// `known` answers whether a key that no task here has is held by the client already.
    ///
    /// # Errors
    /// Names the task at fault.
    pub fn check(&self, known: impl Fn(&Key) -> bool) -> Result<(), GraphError> {
        let index = self.index()?;
        let here = |key: &Key| index.contains_key(&*key.as_reference()) || known(key);
        if let Some(key) = self.wanted.iter().find(|key| !here(key)) {
            return Err(GraphError::MissingOutput { key: key.clone() });
        }
        for task in &self.tasks {
            let elsewhere = references(&task.call).filter(|key| !index.contains_key(*key));
            if let Some(missing) = elsewhere.map(Key::from_reference).find(|key| !known(key)) {
                return Err(GraphError::MissingReference { task: task.key.clone(), missing });
            }
        }
        self.depth_first(&index).map(drop)
    }

    /// Checks that the graph is not larger than a program allows.
    ///
    /// # Errors
    /// Names the largest task if there are too many bytes.
    pub fn check_size(&self, tasks: usize, bytes: usize) -> Result<(), GraphError> {
        if self.tasks.len() > tasks {
            return Err(GraphError::TooManyTasks { tasks: self.tasks.len(), limit: tasks });
        }
        let size = self.size();
        match self.tasks.iter().max_by_key(|task| task.size()) {
            Some(largest) if size > bytes => Err(GraphError::TooLarge {
                bytes: size,
                limit: bytes,
                largest: largest.key.clone(),
                largest_bytes: largest.size(),
            }),
            _ => Ok(()),
        }
    }

    /// About how many bytes it takes in a message.
    pub fn size(&self) -> usize {
        self.tasks.iter().fold(0, |size: usize, task| size.saturating_add(task.size()))
    }

    /// The tasks that not every worker can run, with their options; `None` if any worker will do for all.
    pub(crate) fn needs(&self) -> Option<Needs> {
        let picky = self.tasks.iter().filter(|task| !task.options.fits_everywhere());
        let needs: Vec<_> = picky.map(|task| (task.key.clone(), task.options.clone())).collect();
        (!needs.is_empty()).then(|| needs.into())
    }

    /// The tasks by how templates refer to them.
    fn index(&self) -> Result<HashMap<Cow<'_, str>, usize>, GraphError> {
        let mut index = HashMap::with_capacity(self.tasks.len());
        for (at, task) in self.tasks.iter().enumerate() {
            if index.insert(task.key.as_reference(), at).is_some() {
                return Err(GraphError::DuplicateKey { key: task.key.clone() });
            }
        }
        Ok(index)
    }

    /// Whether no task takes the result of another one of the same submission.
    pub(crate) fn is_flat(&self) -> bool {
        let keys: HashSet<Cow<'_, str>> = self.tasks.iter().map(|task| task.key.as_reference()).collect();
        !self.tasks.iter().any(|task| references(&task.call).any(|key| keys.contains(key)))
    }

    /// The place of each task in an order that finishes what it starts: depth first from the tasks in their order.
    pub(crate) fn order(&self) -> Vec<usize> {
        let order = self.index().and_then(|index| self.depth_first(&index));
        let mut place = vec![0; self.tasks.len()];
        for (at, task) in order.unwrap_or_else(|_| (0..self.tasks.len()).collect()).into_iter().enumerate() {
            if let Some(place) = place.get_mut(task) {
                *place = at;
            }
        }
        place
    }

    /// Tasks after everything they depend on; without recursion, since graphs may be long chains.
    fn depth_first(&self, index: &HashMap<Cow<'_, str>, usize>) -> Result<Vec<usize>, GraphError> {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            No,
            Open,
            Done,
        }
        let inner: Vec<Vec<usize>> = self
            .tasks
            .iter()
            .map(|task| references(&task.call).filter_map(|key| index.get(key).copied()).collect())
            .collect();
        let mut seen = vec![Seen::No; self.tasks.len()];
        let mut order = Vec::with_capacity(self.tasks.len());
        for root in 0..self.tasks.len() {
            let mut stack = vec![(root, 0usize)];
            while let Some((task, next)) = stack.pop() {
                match seen.get(task) {
                    Some(Seen::Done) | None => continue,
                    Some(_) => (),
                }
                let dependency = inner.get(task).and_then(|inner| inner.get(next)).copied();
                if let Some(state) = seen.get_mut(task) {
                    *state = if dependency.is_some() { Seen::Open } else { Seen::Done };
                }
                let Some(dependency) = dependency else {
                    order.push(task);
                    continue;
                };
                stack.push((task, next + 1));
                match seen.get(dependency) {
                    Some(Seen::No) => stack.push((dependency, 0)),
                    Some(Seen::Open) => return Err(self.cycle(&stack, dependency)),
                    _ => (),
                }
            }
        }
        Ok(order)
    }

    fn cycle(&self, stack: &[(usize, usize)], closing: usize) -> GraphError {
        let from = stack.iter().position(|(task, _)| *task == closing).unwrap_or(0);
        let tasks = stack.iter().skip(from).map(|(task, _)| *task).chain([closing]);
        GraphError::Cycle {
            path: tasks.filter_map(|at| self.tasks.get(at)).map(|task| task.key.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dask_pickle::{Callable, Template};

    fn task(key: &str, needs: &[&str]) -> Task {
        let callable = Callable::Name { module: "operator".into(), qualname: "add".into() };
        let args = needs.iter().map(|key| Template::of_reference(key)).collect();
        Task::new(key, CallTemplate { callable, args, kwargs: Vec::new() })
    }

    fn graph(tasks: &[(&str, &[&str])], wanted: &[&str]) -> Submission {
        let tasks = tasks.iter().map(|(key, needs)| task(key, needs)).collect();
        Submission::new(tasks, wanted.iter().map(|key| Key::from(*key)).collect())
    }

    #[test]
    fn sound_graphs_pass_and_are_ordered_after_their_needs() {
        let graph = graph(&[("c", &["a", "b"]), ("a", &[]), ("b", &["a", "held"])], &["c"]);
        graph.check(|key| *key == Key::from("held")).unwrap();
        assert_eq!(graph.order(), [2, 0, 1]);
        assert!(!graph.is_flat());
    }

    #[test]
    fn faults_are_named() {
        let text = |graph: Submission| graph.check(|_| false).unwrap_err().to_string();
        let cycle = text(graph(&[("x", &["a"]), ("a", &["b"]), ("b", &["c"]), ("c", &["a"])], &["x"]));
        assert!(cycle.contains("a -> b -> c -> a"), "{cycle}");
        assert!(text(graph(&[("a", &["a"])], &["a"])).contains("a -> a"));
        assert!(text(graph(&[("a", &["nope"])], &["a"])).contains("task a refers to \"nope\""));
        assert!(text(graph(&[("a", &[]), ("a", &[])], &["a"])).contains("two tasks"));
        assert!(text(graph(&[("a", &[])], &["z"])).contains("output z"));
    }

    #[test]
    fn tuple_keys_are_keys_like_any_other() {
        let of = |number: i32, needs: &[i32]| {
            let names: Vec<Key> = needs.iter().map(|need| Key::from(("x", *need))).collect();
            let mut task = task("unused", &[]);
            task.key = Key::from(("x", number));
            task.call.args = names.iter().map(|key| Template::of_reference(&key.as_reference())).collect();
            task
        };
        let graph = |tasks: Vec<Task>| Submission::new(tasks, vec![Key::from(("x", 0))]);
        let sound = graph(vec![of(0, &[1, 2]), of(1, &[]), of(2, &[1, 9])]);
        sound.check(|key| *key == Key::from(("x", 9))).unwrap();
        assert_eq!((sound.order(), sound.is_flat()), (vec![2, 0, 1], false));
        let text = |graph: Submission| graph.check(|_| false).unwrap_err().to_string();
        assert!(text(sound).contains("task ('x', 2) refers to \"('x', 9)\""));
        assert!(text(graph(vec![of(0, &[1]), of(1, &[0])])).contains("('x', 0) -> ('x', 1) -> ('x', 0)"));
        assert!(text(graph(vec![of(0, &[]), of(0, &[])])).contains("two tasks"));
        assert!(text(graph(vec![of(1, &[])])).contains("output ('x', 0)"));
    }

    #[test]
    fn too_large_graphs_name_their_largest_task() {
        let mut graph = graph(&[("a", &[]), ("b", &["a"])], &["b"]);
        assert_eq!(graph.check_size(1, 1 << 20), Err(GraphError::TooManyTasks { tasks: 2, limit: 1 }));
        let mut inner = task("unused", &[]).call;
        inner.args.push(Template::of(&"x".repeat(5000)).unwrap());
        graph.tasks[1].call.args.push(Template::of_call(inner).unwrap());
        graph.check_size(2, 6000).unwrap();
        let error = graph.check_size(2, 5000).unwrap_err();
        assert!(
            matches!(&error, GraphError::TooLarge { largest, largest_bytes: 5000.., .. } if *largest == Key::from("b"))
        );
    }

    #[test]
    fn only_tasks_that_do_not_fit_everywhere_have_needs() {
        let mut graph = graph(&[("a", &[]), ("b", &["a"])], &["b"]);
        assert_eq!(graph.needs(), None);
        graph.tasks[0].options.workers = vec!["w".into()];
        graph.tasks[0].options.allow_other_workers = true;
        assert_eq!(graph.needs(), None);
        graph.tasks[0].options.resources = vec![("GPU".into(), 1.0)];
        assert_eq!(graph.needs().unwrap()[0].0, Key::from("a"));
    }

    #[test]
    fn long_chains_do_not_recurse() {
        let names: Vec<String> = (0..200_000).map(|n| format!("t{n}")).collect();
        let tasks = (0..names.len()).rev().map(|n| match n {
            0 => task(&names[0], &[]),
            n => task(&names[n], &[&names[n - 1]]),
        });
        let graph = Submission::new(tasks.collect(), vec![Key::from(names[199_999].as_str())]);
        graph.check(|_| false).unwrap();
        assert_eq!(graph.order()[0], 199_999);
    }
}
