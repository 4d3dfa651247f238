//! How tasks carry their options: as fields of their own, or as annotations.

use dask_pickle::Pickler;

use super::SubmitError;
use crate::dialect::Request;
use crate::graph::{Submission, Task, TaskOptions};
use crate::payload::Payload;
use crate::value::Value;

/// What Python's client sends for `submit` and `map`, in milliseconds.
const FIFO_TIMEOUT_MS: u128 = 100;

pub(super) fn fifo_timeout(submission: &Submission) -> Value<'static> {
    let millis = submission.fifo_timeout.map_or(FIFO_TIMEOUT_MS, |timeout| timeout.as_millis());
    Value::from(format!("{millis}ms"))
}

fn actors(submission: &Submission) -> Value<'static> {
    let actors: Vec<_> =
        submission.tasks.iter().filter(|task| task.options.actor).map(|task| &task.key).collect();
    if actors.is_empty() { Value::Nil } else { actors.into_iter().collect() }
}

/// One field for each option, with an entry for each task that has it (up to 2023.3.2.1).
pub(super) fn by_field(request: Request, submission: &Submission) -> Result<Request, SubmitError> {
    let per_task = |get: &dyn Fn(&TaskOptions) -> Option<Value<'static>>| -> Value<'static> {
        submission.tasks.iter().filter_map(|task| Some((&task.key, get(&task.options)?))).collect()
    };
    let loose: Vec<_> = submission
        .tasks
        .iter()
        .filter(|task| task.options.allow_other_workers)
        .map(|task| &task.key)
        .collect();
    Ok(request
        .with("user_priority", per_task(&|options| options.priority.map(Value::from)))?
        .with("retries", per_task(&|options| options.retries.map(Value::from)))?
        .with(
            "resources",
            per_task(&|options| {
                (!options.resources.is_empty()).then(|| options.resources.iter().cloned().collect())
            }),
        )?
        .with(
            "restrictions",
            per_task(&|options| {
                (!options.workers.is_empty()).then(|| options.workers.iter().cloned().collect())
            }),
        )?
        .with("loose_restrictions", loose.into_iter().collect::<Value<'_>>())?
        .with("actors", actors(submission))?)
}

/// One annotation for each option (from 2023.4.0 on).
///
/// An annotation holds for all tasks of a message, but may be a callable that the scheduler calls with each key. Where
/// tasks differ, that callable is the `get` of a plain dict.
pub(super) fn by_annotation(request: Request, submission: &Submission) -> Result<Request, SubmitError> {
    let request = request.with("actors", actors(submission))?;
    let Some(first) = submission.tasks.first() else { return Ok(request) };
    let same =
        |task: &Task| TaskOptions { actor: first.options.actor, ..task.options.clone() } == first.options;
    let used = KINDS.iter().filter(|kind| submission.tasks.iter().any(|task| (kind.used)(&task.options)));
    let used: Vec<_> = used.collect();
    if used.is_empty() {
        return Ok(request);
    }
    let mut out = Pickler::new();
    out.empty_dict().mark();
    if submission.tasks.iter().all(same) {
        for kind in used {
            out.str(kind.name);
            (kind.write)(&mut out, &first.options);
        }
    } else {
        for kind in used {
            out.str(kind.name);
            out.global("builtins", "getattr").empty_dict().mark();
            for task in &submission.tasks {
                task.key.pickle(&mut out);
                (kind.write)(&mut out, &task.options);
            }
            out.setitems_from_mark().str_memo("get").tuple2().reduce();
        }
    }
    out.setitems_from_mark();
    Ok(request.with("annotations", Payload::to_unpickle(out.finish()))?)
}

struct Kind {
    name: &'static str,
    used: fn(&TaskOptions) -> bool,
    /// Pushes the option's value, or what the scheduler takes for its absence.
    write: fn(&mut Pickler, &TaskOptions),
}

const KINDS: &[Kind] = &[
    Kind {
        name: "priority",
        used: |options| options.priority.is_some(),
        write: |out, options| {
            out.int(options.priority.unwrap_or(0));
        },
    },
    Kind {
        name: "retries",
        used: |options| options.retries.is_some(),
        write: |out, options| {
            out.int(options.retries.unwrap_or(0).into());
        },
    },
    Kind {
        name: "resources",
        used: |options| !options.resources.is_empty(),
        write: |out, options| {
            out.empty_dict().mark();
            for (name, amount) in &options.resources {
                out.str_memo(name).float(*amount);
            }
            out.setitems_from_mark();
        },
    },
    Kind {
        name: "workers",
        used: |options| !options.workers.is_empty(),
        write: |out, options| {
            out.empty_list().mark();
            options.workers.iter().for_each(|worker| {
                out.str_memo(worker);
            });
            out.appends_from_mark();
        },
    },
    Kind {
        name: "allow_other_workers",
        used: |options| options.allow_other_workers,
        write: |out, options| {
            out.bool(options.allow_other_workers);
        },
    },
];
