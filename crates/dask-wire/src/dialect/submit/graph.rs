//! 2023.4.0 to 2025.3.1: `graph_frames` holds the pickle of `ToPickle(HighLevelGraph(…))`, which the scheduler
//! unpickles. Tasks are legacy tuples; references are objects.

use dask_pickle::Pickler;

use super::legacy::{Legacy, Reference};
use super::{SubmitError, options};
use crate::dialect::{Dialect, Feature, Peer, Request};
use crate::graph::Submission;
use crate::value::Value;

const LAYER: &str = "dask-rs";

pub(super) fn encode(dialect: &Dialect, submission: &Submission) -> Result<Value<'static>, SubmitError> {
    let mut out = Pickler::new();
    out.global("distributed.protocol.serialize", "ToPickle");
    out.global("dask.highlevelgraph", "HighLevelGraph");
    out.empty_dict().str_memo(LAYER);
    write_tasks(&mut out, dialect, submission)?;
    out.setitem();
    out.empty_dict().str_memo(LAYER).empty_set().setitem();
    out.tuple2().reduce().tuple1().reduce();
    let header = Value::Map(vec![
        (Value::from("serializer"), Value::from("pickle")),
        (Value::from("writeable"), Value::Array(Vec::new())),
    ]);
    let request = dialect
        .request(Peer::Stream, "update-graph")?
        .with("graph_header", header)?
        .with("graph_frames", [out.finish()].into_iter().collect::<Value<'_>>())?;
    finish(request, submission)
}

/// Pushes the dict of all tasks.
pub(super) fn write_tasks(
    out: &mut Pickler,
    dialect: &Dialect,
    submission: &Submission,
) -> Result<(), SubmitError> {
    let reference = if dialect.has(Feature::TaskRef) {
        Reference::Object("dask._task_spec", "TaskRef")
    } else {
        Reference::Object("distributed.utils_comm", "WrappedKey")
    };
    let mut legacy = Legacy::new(submission, reference, dialect.has(Feature::SchedulerUnpickles));
    out.empty_dict().mark();
    for task in &submission.tasks {
        task.key.pickle(out);
        legacy.task(out, task)?;
    }
    out.setitems_from_mark();
    Ok(())
}

/// Adds what both forms of a pickled graph have in common.
pub(super) fn finish(request: Request, submission: &Submission) -> Result<Value<'static>, SubmitError> {
    // Without inner references any order is right, and giving it saves the scheduler working one out. With them the
    // scheduler's own ordering is the better one.
    let priority = if submission.is_flat() {
        submission.tasks.iter().enumerate().map(|(at, task)| (&task.key, at)).collect()
    } else {
        Value::Nil
    };
    let request = request
        .with("keys", submission.wanted.iter().collect::<Value<'_>>())?
        .with("internal_priority", priority)?
        .with("submitting_task", Value::Nil)?
        .with("fifo_timeout", options::fifo_timeout(submission))?
        // Required from 2024.5.2 on, unknown before; empty means that no span is opened.
        .with_if_taken("span_metadata", Value::Map(Vec::new()));
    Ok(options::by_annotation(request, submission)?.into_stream()?)
}
