//! Calls of Python callables by name.

use std::sync::Arc;

use dask_pickle::{CallTemplate, Callable, Template};
use dask_wire::Key;
use dask_wire::graph::{Task, TaskOptions};
use serde::{Serialize, Serializer};

use crate::error::{Error, Result};
use crate::work::arguments::{Args, Arguments, Collected};

/// A call of an importable Python callable: `py("package.module:function")`.
///
/// What stands before the colon is imported on the worker (never here), what stands after it may be dotted:
/// `py("builtins:int.from_bytes")`. Without a colon the last dot divides: `py("operator.add")`.
pub fn py(name: &str) -> Call {
    let divided = match name.split_once(':') {
        Some(parts) => Some(parts),
        None => name.rsplit_once('.'),
    };
    let is_path = |text: &str| !text.is_empty() && text.split('.').all(|part| !part.is_empty());
    let callable = match divided {
        Some((module, qualname)) if is_path(module) && is_path(qualname) => Ok(Target::Callable {
            name: qualname.to_owned(),
            callable: Callable::Name { module: module.to_owned(), qualname: qualname.to_owned() },
        }),
        _ => Err(Error::config(format!(
            "{name:?} does not name a Python callable; expected module:name, for example operator:add"
        ))),
    };
    Call::new(callable)
}

/// A call with its arguments and options, not yet sent.
///
/// Arguments are anything that serde can serialize, futures and graph nodes included: they may stand anywhere inside a
/// structure and arrive as the results they stand for. Another `Call` as an argument is evaluated on the worker as part
/// of the same task. A mistake made while building (a name that is none, a value that cannot be sent) is reported
/// where the call is used.
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until it is submitted"]
pub struct Call {
    target: Result<Target>,
    arguments: Arguments,
    options: TaskOptions,
    key: Option<Key>,
}

/// What is called.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A callable, and a name for tasks that call it.
    Callable { callable: Callable, name: String },
    /// The body of a function whose parameters are the keyword arguments.
    Body(String),
}

impl Target {
    fn callable(self, kwargs: &[(String, Template)]) -> Callable {
        match self {
            Target::Callable { callable, .. } => callable,
            Target::Body(body) => {
                let params: Vec<&str> = kwargs.iter().map(|(name, _)| name.as_str()).collect();
                Callable::Pickled(dask_wire::source::body(&body, &params))
            }
        }
    }
}

impl Call {
    pub(crate) fn new(target: Result<Target>) -> Self {
        Self { target, arguments: Arguments::new(), options: TaskOptions::default(), key: None }
    }

    /// One more positional argument.
    pub fn arg(mut self, value: impl Serialize) -> Self {
        self.arguments.push(value);
        self
    }

    /// More positional arguments: a tuple of up to twelve, a slice, an array or a `Vec`.
    pub fn args(mut self, values: impl Args) -> Self {
        self.arguments.extend(values);
        self
    }

    /// One more keyword argument.
    pub fn kwarg(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        self.arguments.name(name, value);
        self
    }

    /// More keyword arguments, all of one type.
    pub fn kwargs<N: Into<String>, V: Serialize>(mut self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        pairs.into_iter().for_each(|(name, value)| self.arguments.name(name, value));
        self
    }

    /// The key of the task and of its result. Without one a unique key is made from the callable's name.
    ///
    /// A key that is already on the scheduler gives that task's result: nothing is computed again. Keys are texts, and from
    /// 2023.9.0 on tuples such as `("part", 0)` as well.
    pub fn key(mut self, key: impl Into<Key>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Higher runs earlier; 0 is the default.
    pub fn priority(mut self, priority: i64) -> Self {
        self.options.priority = Some(priority);
        self
    }

    /// How often the task is run again when it fails.
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.retries = Some(retries);
        self
    }

    /// An amount of a named resource that the worker must have free (`dask worker --resources "GPU=1"`).
    pub fn resource(mut self, name: impl Into<String>, amount: f64) -> Self {
        self.options.resources.push((name.into(), amount));
        self
    }

    /// Only these workers may run it: addresses, host names or worker names.
    pub fn workers<W: Into<String>>(mut self, workers: impl IntoIterator<Item = W>) -> Self {
        self.options.workers = workers.into_iter().map(Into::into).collect();
        self
    }

    /// Other workers may run it, too, when none of [`Call::workers`] can.
    pub fn allow_other_workers(mut self) -> Self {
        self.options.allow_other_workers = true;
        self
    }

    /// The result stays on its worker as an actor, and method calls go there.
    pub fn actor(mut self) -> Self {
        self.options.actor = true;
        self
    }

    /// Whether the call can be sent: the name of a callable is one, and every argument can be pickled. Sends nothing, and
    /// needs no client; a call that cannot be sent says the same where it is used.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<()> {
        self.target.as_ref().map_err(Error::clone)?;
        self.arguments.check()
    }

    /// The task of this call; `name` makes a unique key for it.
    pub(crate) fn into_task(self, name: impl FnOnce(&str) -> Key) -> Result<Task> {
        let target = self.target?;
        // A key is used up only for a call that can be sent.
        let Collected { positional: args, named: kwargs } = self.arguments.collected()?;
        let key = self.key.unwrap_or_else(|| {
            name(match &target {
                Target::Callable { name, .. } => name,
                Target::Body(_) => "python",
            })
        });
        let mut task = Task::new(key, CallTemplate { callable: target.callable(&kwargs), args, kwargs });
        task.options = self.options;
        Ok(task)
    }

    /// The bare call, for uses other than a task: options and key do not count there.
    pub(crate) fn into_template(self) -> Result<CallTemplate> {
        let target = self.target?;
        let Collected { positional: args, named: kwargs } = self.arguments.collected()?;
        Ok(CallTemplate { callable: target.callable(&kwargs), args, kwargs })
    }
}

/// As an argument of another call: evaluated on the worker, in the same task. Its key and options do not count.
impl Serialize for Call {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.clone().into_template() {
            Ok(template) => template.serialize(serializer),
            Err(error) => Err(serde::ser::Error::custom(error)),
        }
    }
}

/// Makes keys that no other client makes, in the form `name-…` by which Dask groups tasks.
#[derive(Debug)]
pub(crate) struct KeyMaker {
    token: Arc<str>,
    next: std::sync::atomic::AtomicU64,
}

impl KeyMaker {
    pub(crate) fn new() -> Self {
        // Dask takes what follows the name for a hash, not for a part of the name, if it has digits.
        let token = format!("0{}", &uuid::Uuid::new_v4().simple().to_string()[..15]);
        Self { token: token.into(), next: std::sync::atomic::AtomicU64::new(0) }
    }

    pub(crate) fn key(&self, name: &str) -> Key {
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = name.rsplit('.').next().unwrap_or(name);
        Key::from(format!("{name}-{}{number:x}", self.token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_divide_at_the_colon_or_the_last_dot() {
        let name = |text: &str| match py(text).into_template().unwrap().callable {
            Callable::Name { module, qualname } => (module, qualname),
            Callable::Pickled(_) => unreachable!(),
        };
        assert_eq!(name("operator:add"), ("operator".into(), "add".into()));
        assert_eq!(name("a.b:C.d"), ("a.b".into(), "C.d".into()));
        assert_eq!(name("a.b.c"), ("a.b".into(), "c".into()));
        for bad in ["add", "", ":", "a:", ":b", "a..b:c", "a:b."] {
            assert!(py(bad).into_template().is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_unique_and_named() {
        let keys = KeyMaker::new();
        let (a, b) = (keys.key("int.from_bytes"), keys.key("add"));
        assert!(a.to_string().starts_with("from_bytes-0"));
        assert_ne!(a.to_string().split_once('-').unwrap().1, b.to_string().split_once('-').unwrap().1);
    }
}
