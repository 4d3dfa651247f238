//! Legacy task tuples, the form of a task that every release can run: `(callable, arg, …)`.
//!
//! What is inside such a tuple is looked at by Dask: texts that equal a key are replaced by its result, and tuples
//! that start with a callable are run. So every literal that Dask could misread travels as bytes and is unpickled
//! inside the task: `(_pickle.loads, b"…")`. The same hides callables that only the workers can import from a
//! scheduler that unpickles graphs. Calls that this form cannot express are first made into ones that it can.

use std::collections::HashSet;

use bytes::Bytes;
use dask_pickle::{CallTemplate, Callable, FillHoles, Pickler, Template};

use super::{SubmitError, inline};
use crate::graph::{Submission, Task};
use crate::key::Key;

/// Modules that any scheduler can import, so callables from them are passed by plain reference.
const EVERYWHERE: &[&str] = &[
    "_operator",
    "base64",
    "builtins",
    "collections",
    "dask",
    "datetime",
    "decimal",
    "distributed",
    "fractions",
    "functools",
    "hashlib",
    "itertools",
    "json",
    "math",
    "operator",
    "os",
    "platform",
    "random",
    "re",
    "socket",
    "statistics",
    "string",
    "struct",
    "sys",
    "threading",
    "time",
    "uuid",
    "zlib",
];

fn importable_everywhere(module: &str) -> bool {
    let root = module.split('.').next().unwrap_or(module);
    EVERYWHERE.contains(&root)
}

/// How a release refers to the result of another task inside a task.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reference {
    /// The bare key: the worker replaces it.
    Text,
    /// `cls(key)`.
    Object(&'static str, &'static str),
}

/// Writes tasks as tuples.
pub(super) struct Legacy<'s> {
    reference: Reference,
    /// Whether the scheduler unpickles what is written, and so must be able to import all of it.
    scheduler_imports: bool,
    /// Keys of the submission, which a text must not equal.
    keys: HashSet<&'s str>,
    /// Keys of earlier tasks that the task at hand refers to: workers replace those as well.
    earlier: HashSet<String>,
}

impl<'s> Legacy<'s> {
    pub(super) fn new(submission: &'s Submission, reference: Reference, scheduler_imports: bool) -> Self {
        let keys = submission.tasks.iter().filter_map(|task| task.key.as_str());
        Self { reference, scheduler_imports, keys: keys.collect(), earlier: HashSet::new() }
    }

    /// Writes one task as a tuple.
    pub(super) fn task(&mut self, out: &mut Pickler, task: &Task) -> Result<(), SubmitError> {
        let needs = task.dependencies();
        let needs = needs.iter().filter_map(Key::as_str).filter(|key| !self.keys.contains(key));
        self.earlier = needs.map(str::to_owned).collect();
        let written = inline::simplified(&task.call).and_then(|call| self.tuple(out, &call, true));
        written.map_err(|source| SubmitError::Pickle { task: task.key.to_string(), source })
    }

    fn tuple(
        &mut self,
        out: &mut Pickler,
        call: &CallTemplate,
        outermost: bool,
    ) -> Result<(), dask_pickle::Error> {
        let hidden = match &call.callable {
            Callable::Name { module, .. } => self.scheduler_imports && !importable_everywhere(module),
            Callable::Pickled(_) => true,
        };
        // Where the callable is itself a task, the tuple must start with something else: workers up to 2024.10.0 take
        // the second element of an outermost `apply` for the function.
        let shielded = hidden && outermost;
        out.mark();
        if shielded {
            out.global("toolz.functoolz", "identity").mark();
        }
        if hidden || !call.kwargs.is_empty() {
            out.global("dask.utils", "apply");
            self.callable(out, &call.callable, hidden)?;
            out.empty_list().mark();
            for arg in &call.args {
                self.value(out, arg)?;
            }
            out.appends_from_mark();
            self.kwargs(out, &call.kwargs)?;
        } else {
            self.callable(out, &call.callable, false)?;
            for arg in &call.args {
                self.value(out, arg)?;
            }
        }
        if shielded {
            out.tuple_from_mark();
        }
        out.tuple_from_mark();
        Ok(())
    }

    fn callable(
        &self,
        out: &mut Pickler,
        callable: &Callable,
        hidden: bool,
    ) -> Result<(), dask_pickle::Error> {
        match callable {
            Callable::Name { module, qualname } if hidden => {
                loads(
                    out,
                    &super::pickle(|out| {
                        out.global(module, qualname);
                    }),
                );
            }
            Callable::Name { module, qualname } => {
                out.global(module, qualname);
            }
            Callable::Pickled(pickle) => {
                out.global("_pickle", "loads").bytes_memo(pickle).tuple2();
            }
        }
        Ok(())
    }

    fn kwargs(&mut self, out: &mut Pickler, kwargs: &[(String, Template)]) -> Result<(), dask_pickle::Error> {
        // A dict's values are not run as tasks by older workers; a call of `dict` with a list of pairs is.
        let as_call = kwargs.iter().any(|(_, value)| !is_literal(value));
        if as_call {
            out.mark().global("builtins", "dict").empty_list().mark();
            for (name, value) in kwargs {
                out.empty_list().mark();
                self.text(out, name);
                self.value(out, value)?;
                out.appends_from_mark();
            }
            out.appends_from_mark().tuple_from_mark();
        } else {
            out.empty_dict().mark();
            for (name, value) in kwargs {
                out.str_memo(name);
                value.write_into(out, &mut NoHoles)?;
            }
            out.setitems_from_mark();
        }
        Ok(())
    }

    /// Writes a literal text that must stay one.
    fn text(&self, out: &mut Pickler, text: &str) {
        if self.keys.contains(text) || self.earlier.contains(text) {
            loads(
                out,
                &super::pickle(|out| {
                    out.str(text);
                }),
            );
        } else {
            out.str(text);
        }
    }

    fn value(&mut self, out: &mut Pickler, value: &Template) -> Result<(), dask_pickle::Error> {
        if value.is_scalar() {
            return value.write_into(out, self);
        }
        if let Some(text) = value.as_str() {
            self.text(out, text);
            return Ok(());
        }
        if value.references().next().is_none() {
            loads(out, &inline::pickle_of(value)?);
            return Ok(());
        }
        // What is left are references, calls and lists of references.
        value.write_into(out, self)
    }
}

fn is_literal(value: &Template) -> bool {
    value.is_scalar()
}

/// `(_pickle.loads, b"…")`: a value that is unpickled when the task runs.
fn loads(out: &mut Pickler, pickle: &[u8]) {
    out.global("_pickle", "loads").bytes(pickle).tuple2();
}

impl FillHoles for Legacy<'_> {
    fn reference(&mut self, out: &mut Pickler, key: &str) -> Result<(), dask_pickle::Error> {
        match self.reference {
            Reference::Text => Key::from_reference(key).pickle(out),
            Reference::Object(module, class) => {
                out.global(module, class);
                Key::from_reference(key).pickle(out);
                out.tuple1().reduce();
            }
        }
        Ok(())
    }

    fn call(&mut self, out: &mut Pickler, call: &CallTemplate) -> Result<(), dask_pickle::Error> {
        self.tuple(out, call, false)
    }
}

/// For templates known to have no holes but globals.
struct NoHoles;

impl FillHoles for NoHoles {
    fn reference(&mut self, _: &mut Pickler, _: &str) -> Result<(), dask_pickle::Error> {
        Ok(())
    }
    fn call(&mut self, _: &mut Pickler, _: &CallTemplate) -> Result<(), dask_pickle::Error> {
        Ok(())
    }
}

/// The pickle of a callable by itself, for releases that send it beside its arguments.
pub(super) fn callable_pickle(callable: &Callable) -> Bytes {
    match callable {
        Callable::Name { module, qualname } => super::pickle(|out| {
            out.global(module, qualname);
        })
        .into(),
        Callable::Pickled(pickle) => pickle.clone(),
    }
}
