//! Up to 2023.3.2.1: `tasks` maps each key to its pickles, which the scheduler passes on unread.
//!
//! A reference is the key's bare text: the worker replaces every text in the arguments that equals one of the task's
//! dependencies. Tasks that are calls of calls, or with texts that would be mistaken, go as one pickled legacy tuple.

use std::collections::HashMap;

use bytes::Bytes;
use dask_pickle::{CallTemplate, Callable, FillHoles, Pickler};

use super::legacy::{Legacy, Reference, callable_pickle};
use super::{SubmitError, inline, options, pickle};
use crate::dialect::{Dialect, Peer};
use crate::graph::{Submission, Task};
use crate::key::Key;
use crate::payload::Payload;
use crate::value::Value;

pub(super) fn encode(dialect: &Dialect, submission: &Submission) -> Result<Value<'static>, SubmitError> {
    let mut callables: HashMap<Callable, Bytes> = HashMap::new();
    let mut tasks = Vec::with_capacity(submission.tasks.len());
    let mut dependencies = Vec::with_capacity(submission.tasks.len());
    for task in &submission.tasks {
        let needs = task.dependencies();
        let call = inline::simplified(&task.call)
            .map_err(|source| SubmitError::Pickle { task: task.key.to_string(), source })?;
        let body = if fits_apart(&call, &needs) {
            let function = match callables.get(&call.callable) {
                Some(function) => function.clone(),
                None => {
                    let function = callable_pickle(&call.callable);
                    callables.insert(call.callable.clone(), function.clone());
                    function
                }
            };
            apart(task, &call, &function)?
        } else {
            let mut legacy = Legacy::new(submission, Reference::Text, false);
            let mut out = Pickler::new();
            legacy.task(&mut out, task)?;
            Value::from(Payload::pickle(out.finish(), []))
        };
        tasks.push((Value::from(&task.key), body));
        dependencies.push((Value::from(&task.key), needs.iter().collect()));
    }
    let order = submission.order();
    let priority =
        submission.tasks.iter().zip(order).map(|(task, place)| (&task.key, place)).collect::<Value<'_>>();
    let request = dialect
        .request(Peer::Stream, "update-graph")?
        .with("tasks", Value::Map(tasks))?
        .with("dependencies", Value::Map(dependencies))?
        .with("keys", submission.wanted.iter().collect::<Value<'_>>())?
        .with("priority", priority)?
        .with("submitting_task", Value::Nil)?
        .with("fifo_timeout", options::fifo_timeout(submission))?;
    Ok(options::by_field(request, submission)?.into_stream()?)
}

/// Whether callable and arguments can go as pickles of their own.
fn fits_apart(call: &CallTemplate, needs: &[Key]) -> bool {
    let values = || call.args.iter().chain(call.kwargs.iter().map(|(_, value)| value));
    let nested = values().any(|value| value.holes().any(|hole| matches!(hole, dask_pickle::Hole::Call(_))));
    let mistaken = !needs.is_empty()
        && values().any(|value| value.texts().any(|text| needs.iter().any(|key| key.as_str() == Some(text))));
    !nested && !mistaken
}

fn apart(task: &Task, call: &CallTemplate, function: &Bytes) -> Result<Value<'static>, SubmitError> {
    let failed = |source| SubmitError::Pickle { task: task.key.to_string(), source };
    let mut body = vec![(Value::from("function"), Value::from(function.to_vec()))];
    let mut outcome = Ok(());
    let args = pickle(|out| {
        out.mark();
        outcome = call.args.iter().try_for_each(|arg| arg.write_into(out, &mut BareKeys));
        out.tuple_from_mark();
    });
    outcome.map_err(failed)?;
    body.push((Value::from("args"), Value::from(args)));
    if !call.kwargs.is_empty() {
        let mut outcome = Ok(());
        let kwargs = pickle(|out| {
            out.empty_dict().mark();
            outcome = call.kwargs.iter().try_for_each(|(name, value)| {
                out.str(name);
                value.write_into(out, &mut BareKeys)
            });
            out.setitems_from_mark();
        });
        outcome.map_err(failed)?;
        body.push((Value::from("kwargs"), Value::from(kwargs)));
    }
    Ok(Value::Map(body))
}

struct BareKeys;

impl FillHoles for BareKeys {
    fn reference(&mut self, out: &mut Pickler, key: &str) -> Result<(), dask_pickle::Error> {
        Key::from_reference(key).pickle(out);
        Ok(())
    }

    fn call(&mut self, _: &mut Pickler, call: &CallTemplate) -> Result<(), dask_pickle::Error> {
        // Not reached: tasks with nested calls go as one tuple.
        Err(dask_pickle::Error::Call { callable: call.callable.to_string() })
    }
}
