//! Graphs: tasks that take each other's results.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dask_pickle::Ref;
use dask_wire::family::Decoded;
use dask_wire::graph::{Submission, Task, TaskOptions};
use dask_wire::{FromPython, Key};
use serde::{Serialize, Serializer};

use crate::error::{Error, Result};
use crate::work::call::{Call, KeyMaker};

/// Tasks to be computed together.
///
/// ```
/// use dask_client::{Graph, py};
///
/// let mut graph = Graph::new();
/// let three = graph.add(py("operator:add").args((1, 2)));
/// let thirty = graph.add(py("operator:mul").args((&three, 10)));
/// assert_eq!(graph.len(), 2);
/// ```
#[derive(Debug)]
pub struct Graph {
    tasks: Vec<Task>,
    keys: KeyMaker,
    options: TaskOptions,
    pub(crate) fifo_timeout: Option<Duration>,
    fault: Option<Error>,
}

impl Default for Graph {
    fn default() -> Self {
        Self::new()
    }
}

impl Graph {
    /// No tasks yet.
    pub fn new() -> Self {
        Self {
            tasks: Vec::new(),
            keys: KeyMaker::new(),
            options: TaskOptions::default(),
            fifo_timeout: None,
            fault: None,
        }
    }

    /// The priority of tasks that have none of their own. Higher runs earlier; 0 is the default.
    pub fn priority(mut self, priority: i64) -> Self {
        self.options.priority = Some(priority);
        self
    }

    /// How often tasks that say nothing themselves are run again when they fail.
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.retries = Some(retries);
        self
    }

    /// An amount of a named resource, for tasks that ask for none themselves. As [`Call::resource`].
    pub fn resource(mut self, name: impl Into<String>, amount: f64) -> Self {
        self.options.resources.push((name.into(), amount));
        self
    }

    /// The workers of tasks that name none themselves. As [`Call::workers`].
    pub fn workers<W: Into<String>>(mut self, workers: impl IntoIterator<Item = W>) -> Self {
        self.options.workers = workers.into_iter().map(Into::into).collect();
        self
    }

    /// Whether other workers may run those tasks, too. As [`Call::allow_other_workers`].
    pub fn allow_other_workers(mut self) -> Self {
        self.options.allow_other_workers = true;
        self
    }

    /// Graphs that are submitted within this time of each other have the same priority; later ones come after earlier
    /// ones. Whole milliseconds; default 100 ms.
    pub fn fifo_timeout(mut self, timeout: Duration) -> Self {
        self.fifo_timeout = Some(timeout);
        self
    }

    /// Adds a task and returns its node, to be used as an argument of others and as an output.
    ///
    /// A mistake in the call is reported when the graph is submitted.
    pub fn add(&mut self, call: impl Into<Call>) -> Node {
        match call.into().into_task(|name| self.keys.key(name)) {
            Ok(task) => {
                let node = Node { key: task.key.clone() };
                self.tasks.push(task);
                node
            }
            Err(error) => {
                self.fault.get_or_insert(error);
                Node { key: self.keys.key("invalid") }
            }
        }
    }

    /// A node for a task that is not added yet, so that others can refer to it. Add it with this key.
    pub fn declare(&self, name: &str) -> Node {
        Node { key: self.keys.key(name) }
    }

    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is no task.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Whether the graph can run, as far as it shows by itself: no cycle, no key used twice, no mistake in a call. Sends
    /// nothing, and needs no client. What tasks take from outside the graph is looked at when it is submitted.
    ///
    /// # Errors
    /// The task at fault, by name.
    pub fn check(&self) -> Result<()> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        Ok(Submission::new(self.tasks.clone(), Vec::new()).check(|_| true)?)
    }

    pub(crate) fn into_tasks(self) -> Result<Vec<Task>> {
        match self.fault {
            Some(fault) => Err(fault),
            None if self.options == TaskOptions::default() => Ok(self.tasks),
            None => {
                let with_defaults = |mut task: Task| {
                    task.options = task.options.or(&self.options);
                    task
                };
                Ok(self.tasks.into_iter().map(with_defaults).collect())
            }
        }
    }
}

/// A task of a [`Graph`]; as an argument it stands for the task's result.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Node {
    key: Key,
}

impl Node {
    /// The task's key.
    pub fn key(&self) -> &Key {
        &self.key
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.key)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Ref(&self.key.as_reference()).serialize(serializer)
    }
}

/// Nodes whose results are wanted, and the type that those results make: a node gives one value, a tuple of nodes a
/// tuple of values, a `Vec` or slice of nodes a `Vec`.
pub trait Outputs<R>: sealed::Keys {
    /// Makes the result of the nodes' results.
    #[doc(hidden)]
    fn collect(results: Vec<Arc<Decoded>>) -> Result<R>;
}

pub(crate) mod sealed {
    use super::{Key, Node};

    /// The keys of some nodes.
    pub trait Keys {
        /// In their order.
        fn keys(&self) -> Vec<Key>;
    }

    /// One node.
    pub trait One: Keys {}
    impl One for Node {}
    impl One for &Node {}

    impl Keys for Node {
        fn keys(&self) -> Vec<Key> {
            vec![self.key.clone()]
        }
    }
    impl Keys for &Node {
        fn keys(&self) -> Vec<Key> {
            vec![self.key.clone()]
        }
    }
    impl Keys for Vec<Node> {
        fn keys(&self) -> Vec<Key> {
            self.as_slice().keys()
        }
    }
    impl Keys for &[Node] {
        fn keys(&self) -> Vec<Key> {
            self.iter().map(|node| node.key.clone()).collect()
        }
    }
}

fn one<R: FromPython>(results: &mut impl Iterator<Item = Arc<Decoded>>) -> Result<R> {
    let result = results.next().ok_or_else(|| Error::config("fewer results than outputs"))?;
    R::from_python(result).map_err(|error| Error::decode("a result", error))
}

impl<R: FromPython> Outputs<R> for Node {
    fn collect(results: Vec<Arc<Decoded>>) -> Result<R> {
        one(&mut results.into_iter())
    }
}
impl<R: FromPython> Outputs<R> for &Node {
    fn collect(results: Vec<Arc<Decoded>>) -> Result<R> {
        one(&mut results.into_iter())
    }
}
impl<R: FromPython> Outputs<Vec<R>> for Vec<Node> {
    fn collect(results: Vec<Arc<Decoded>>) -> Result<Vec<R>> {
        <&[Node]>::collect(results)
    }
}
impl<R: FromPython> Outputs<Vec<R>> for &[Node] {
    fn collect(results: Vec<Arc<Decoded>>) -> Result<Vec<R>> {
        let count = results.len();
        let mut results = results.into_iter();
        (0..count).map(|_| one(&mut results)).collect()
    }
}

macro_rules! outputs_of_tuples {
    ($(($($name:ident $node:ident)+))+) => {$(
        impl<$($node: sealed::Keys),+> sealed::Keys for ($($node,)+) {
            fn keys(&self) -> Vec<Key> {
                #[allow(non_snake_case, reason = "each node under its type's name")]
                let ($($node,)+) = self;
                let mut keys = Vec::new();
                $(keys.extend($node.keys());)+
                keys
            }
        }
        impl<$($name: FromPython, $node: sealed::One),+> Outputs<($($name,)+)> for ($($node,)+) {
            fn collect(results: Vec<Arc<Decoded>>) -> Result<($($name,)+)> {
                let mut results = results.into_iter();
                Ok(($(one::<$name>(&mut results)?,)+))
            }
        }
    )+};
}
outputs_of_tuples! {
    (A A1) (A A1 B B1) (A A1 B B1 C C1) (A A1 B B1 C C1 D D1) (A A1 B B1 C C1 D D1 E E1)
    (A A1 B B1 C C1 D D1 E E1 F F1) (A A1 B B1 C C1 D D1 E E1 F F1 G G1) (A A1 B B1 C C1 D D1 E E1 F F1 G G1 H H1)
}
